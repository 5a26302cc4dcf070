"""How long an idle connection is worth keeping, from what an endpoint says and does."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.upstream.habits import BELIEVED_FOR, SAFE_SHARE, IdleHabit

CONFIGURED = 60.0


@pytest.mark.parametrize(
    ("field", "known"),
    [
        (b"timeout=5", 5.0),
        (b"timeout=5, max=100", 5.0),
        (b"max=100,Timeout = 7", 7.0),
        (b"timeout=0", None),
        (b"timeout", None),
        (b"timeout=-5", None),
        (b"timeout=5.5", None),
        (b"timeout=x", None),
        (b"max=5", None),
        (b"", None),
        (b"timeout=99999999999999999999", 86_400.0),
        (b"timeout=\xb2", None),
    ],
)
def test_what_an_endpoint_says(field: bytes, known: float | None) -> None:
    habit = IdleHabit()
    habit.hear(field)
    assert habit.known(0.0) == known


@given(st.binary(max_size=40))
def test_any_field_is_read_without_harm(field: bytes) -> None:
    habit = IdleHabit()
    habit.hear(field)
    known = habit.known(0.0)
    assert known is None or 0 < known <= 86_400


def test_one_close_is_no_rule_and_two_alike_are() -> None:
    habit = IdleHabit()
    habit.see_close(10.0, 0.0)
    assert habit.known(0.0) is None
    habit.see_close(11.0, 20.0)
    assert habit.known(20.0) == 10.0
    assert habit.keep_for(CONFIGURED, 20.0) == 10.0 * SAFE_SHARE


def test_closes_far_apart_are_no_rule() -> None:
    habit = IdleHabit()
    for idle_for in (10.0, 30.0, 3.0):
        habit.see_close(idle_for, 0.0)
    assert habit.known(0.0) is None


def test_a_close_just_after_a_response_says_nothing_about_idling() -> None:
    habit = IdleHabit()
    habit.see_close(0.1, 0.0)
    habit.see_close(0.1, 0.0)
    assert habit.known(0.0) is None


def test_what_was_seen_is_forgotten_and_what_was_said_is_not() -> None:
    habit = IdleHabit()
    habit.see_close(10.0, 0.0)
    habit.see_close(10.0, 0.0)
    assert habit.known(BELIEVED_FOR - 1) == 10.0
    assert habit.known(BELIEVED_FOR) is None
    assert habit.keep_for(CONFIGURED, BELIEVED_FOR) == CONFIGURED
    habit.hear(b"timeout=5")
    assert habit.known(10 * BELIEVED_FOR) == 5.0


def test_the_shorter_of_both_counts_and_the_configuration_is_the_most() -> None:
    habit = IdleHabit()
    habit.hear(b"timeout=20")
    habit.see_close(10.0, 0.0)
    habit.see_close(10.0, 0.0)
    assert habit.known(0.0) == 10.0
    assert habit.keep_for(2.0, 0.0) == 2.0
    assert habit.keep_for(CONFIGURED, 0.0) == 10.0 * SAFE_SHARE
