"""Which requests are copied."""

from __future__ import annotations

import pytest

from discovery.policies import Mirror
from mesh.draws import Draws
from mesh.mirror import may_copy, may_send


def test_a_share_of_requests_is_copied() -> None:
    draws = Draws(3)
    mirror = Mirror("shadow", percent=5.0)
    copied = sum(may_copy(mirror, draws, marked=False, upgrade=False) for _ in range(20_000))
    assert copied == pytest.approx(1000, rel=0.15)


@pytest.mark.parametrize(
    ("marked", "upgrade", "copied"), [(False, False, True), (True, False, False), (False, True, False)]
)
def test_neither_a_copy_nor_an_upgrade_is_copied(marked: bool, upgrade: bool, copied: bool) -> None:
    assert may_copy(Mirror("shadow"), Draws(1), marked=marked, upgrade=upgrade) is copied


@pytest.mark.parametrize(
    ("attempts", "complete", "status", "sent"),
    [
        (1, True, 200, True),
        (2, True, 503, True),  # the endpoint's own
        (0, True, 503, False),  # ours
        (1, False, 499, False),  # the client left in the middle of its body
        (1, True, 101, False),
    ],
)
def test_what_an_endpoint_has_had_as_a_whole_is_sent(attempts: int, complete: bool, status: int, sent: bool) -> None:
    assert may_send(attempts=attempts, complete=complete, status=status) is sent
