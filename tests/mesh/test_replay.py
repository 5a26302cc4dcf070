"""A request is repeated only when doing it twice is harmless or nothing of it was done."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mesh.replay import Repeat, Sent, is_idempotent, may_repeat, may_retry, may_use_idle

IDEMPOTENT = [b"GET", b"HEAD", b"OPTIONS", b"TRACE", b"PUT", b"DELETE"]
OTHERS = [b"POST", b"PATCH", b"CONNECT", b"LOCK", b"get", b"BREW"]


def ask(method: bytes = b"GET", sent: Sent = Sent.HEAD, **change: bool) -> Repeat:
    usual = {"reused": True, "response_started": False, "body_kept": True, "endpoint_left": True}
    return may_repeat(method, sent, **{**usual, **change})


@pytest.mark.parametrize("method", IDEMPOTENT)
@pytest.mark.parametrize("sent", [Sent.HEAD, Sent.BODY])
def test_an_idempotent_request_survives_a_stale_connection(method: bytes, sent: Sent) -> None:
    assert is_idempotent(method)
    assert ask(method, sent) == (True, "stale_connection")
    assert ask(method, sent, endpoint_left=False) == (True, "stale_connection")


@pytest.mark.parametrize(
    ("method", "reason"),
    [
        (b"POST", "post_bytes_sent"),
        (b"PATCH", "patch_bytes_sent"),
        (b"CONNECT", "non_idempotent_bytes_sent"),
        (b"get", "non_idempotent_bytes_sent"),
        (b"BREW", "non_idempotent_bytes_sent"),
    ],
)
def test_another_request_is_not_repeated_once_bytes_were_sent(method: bytes, reason: str) -> None:
    assert not is_idempotent(method)
    assert ask(method, Sent.HEAD) == (False, reason)
    assert ask(method, Sent.BODY) == (False, reason)


@pytest.mark.parametrize("method", IDEMPOTENT + OTHERS)
def test_any_request_of_which_nothing_was_sent_goes_elsewhere(method: bytes) -> None:
    assert ask(method, Sent.NOTHING, reused=False) == (True, "nothing_sent")
    assert ask(method, Sent.NOTHING, reused=False, endpoint_left=False) == (False, "no_endpoint_left")
    assert ask(method, Sent.NOTHING, reused=True, endpoint_left=False) == (True, "nothing_sent")


def test_a_fresh_connection_that_breaks_is_not_the_connections_fault() -> None:
    assert ask(b"GET", Sent.HEAD, reused=False) == (False, "fresh_connection")


@given(st.sampled_from(IDEMPOTENT + OTHERS), st.sampled_from(Sent), st.booleans(), st.booleans(), st.booleans())
def test_nothing_is_repeated_after_the_first_byte_of_an_answer_or_without_its_body(
    method: bytes, sent: Sent, reused: bool, kept: bool, left: bool
) -> None:
    assert ask(method, sent, response_started=True, reused=reused, body_kept=kept, endpoint_left=left) == (
        False,
        "response_started",
    )
    without = ask(method, sent, reused=reused, body_kept=False, endpoint_left=left)
    assert not without.allowed
    # The better reason wins: with its body kept it would not be repeated either.
    assert (without.reason == "body_not_kept") is (sent is Sent.NOTHING or is_idempotent(method))
    if ask(method, sent, reused=reused, body_kept=kept, endpoint_left=left).allowed:
        assert sent is Sent.NOTHING or (is_idempotent(method) and reused)


@given(
    st.sampled_from(IDEMPOTENT + OTHERS),
    st.sampled_from(Sent),
    st.booleans(),
    st.booleans(),
    st.booleans(),
    st.booleans(),
)
def test_a_policy_may_repeat_what_is_harmless_wherever_it_broke_and_nothing_else(
    method: bytes, sent: Sent, keyed: bool, started: bool, kept: bool, reused: bool
) -> None:
    law = may_retry(method, sent, keyed=keyed, response_started=started, body_kept=kept)
    harmless = sent is Sent.NOTHING or keyed or is_idempotent(method)
    assert law.allowed is (harmless and kept and not started)
    # Whatever is repeated without a policy is repeated with one.
    without = ask(method, sent, reused=reused, response_started=started, body_kept=kept, keyed=keyed)
    assert law.allowed or not without.allowed


@pytest.mark.parametrize(
    ("idle_for", "learned", "allowed"),
    [
        (0.0, None, True),
        (0.99, None, True),
        (1.0, None, False),
        (0.99, 60.0, True),
        (1.0, 60.0, False),
        (0.49, 1.0, True),
        (0.5, 1.0, False),
        (0.0, 0.0, False),
    ],
)
def test_a_request_that_cannot_be_repeated_uses_young_connections_only(
    idle_for: float, learned: float | None, allowed: bool
) -> None:
    assert may_use_idle(False, idle_for, learned) is allowed
    assert may_use_idle(True, idle_for, learned) is True
