"""When checks begin and end; random numbers are given."""

from __future__ import annotations

from collections.abc import Callable
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from discovery.checks import HealthCheck
from discovery.health.schedule import JITTER, SPACING, Lateness, first_delay, next_begin, overtime

CHECK = HealthCheck(interval=30.0, transition_interval=2.0)


def first_delays(newcomers: int, is_known: bool = False, check: HealthCheck = CHECK) -> list[float]:
    draw = Random(1).random
    return sorted(first_delay(check, newcomers, is_known, draw) for _ in range(2000))


def test_a_single_new_endpoint_is_checked_at_once() -> None:
    assert max(first_delays(1)) <= SPACING


def test_endpoints_that_appear_together_are_spread_evenly() -> None:
    delays = first_delays(2000)
    assert max(delays) <= 2000 * SPACING
    busiest = max(sum(second <= delay < second + 0.1 for delay in delays) for second in (0.0, 1.0, 2.0, 3.0))
    assert busiest < 2 * 0.1 / SPACING


def test_they_are_spread_over_no_more_than_an_interval() -> None:
    assert 29.0 < max(first_delays(10**6)) <= 30.0


def test_an_endpoint_whose_state_is_known_is_spread_over_the_interval() -> None:
    delays = first_delays(1, is_known=True)
    assert 29.0 < max(delays) <= 30.0
    assert 14.0 < delays[len(delays) // 2] < 16.0


def drawn_as(value: float) -> Callable[[], float]:
    return lambda: value


@pytest.mark.parametrize(("drawn", "begins"), [(0.0, 28.5), (0.5, 30.0), (1.0, 31.5)])
def test_the_interval_is_from_begin_to_begin_give_or_take(drawn: float, begins: float) -> None:
    assert JITTER == 0.05
    assert next_begin(CHECK, 100.0, 104.0, False, drawn_as(drawn)) == pytest.approx(100.0 + begins)


def test_between_two_thresholds_it_is_shorter() -> None:
    assert next_begin(CHECK, 100.0, 101.0, True, drawn_as(0.5)) == 102.0
    assert next_begin(HealthCheck(interval=30.0), 100.0, 101.0, True, drawn_as(0.5)) == 130.0


def test_a_check_that_took_longer_than_the_interval_is_repeated_at_its_end() -> None:
    assert next_begin(CHECK, 100.0, 140.0, False, drawn_as(0.5)) == 140.0


def test_what_a_timer_is_always_late_by_is_not_lost_time() -> None:
    lateness = Lateness()
    lateness.observe(10.0, 10.01)
    assert lateness.total == 0.0


def test_lost_time_is_counted_once_however_many_notice_it() -> None:
    lateness = Lateness()
    lateness.observe(10.0, 13.0)
    lateness.observe(11.0, 13.0)
    lateness.observe(12.5, 13.1)
    assert lateness.total == pytest.approx(3.1)
    lateness.observe(20.0, 21.0)
    assert lateness.total == pytest.approx(4.1)


@given(st.lists(st.tuples(st.floats(0, 100), st.floats(0, 10)), max_size=20))
def test_lost_time_is_never_more_than_the_time_that_passed(events: list[tuple[float, float]]) -> None:
    lateness = Lateness()
    events.sort(key=lambda event: event[0] + event[1])
    for due, late in events:
        lateness.observe(due, due + late)
    assert 0.0 <= lateness.total <= 111.0
    if events:
        assert lateness.total <= max(due + late for due, late in events) + 1e-6


def test_lost_time_is_given_back_once_and_at_most_the_timeout() -> None:
    assert overtime(5.0, 0.0, 0.0) == 0.0
    assert overtime(5.0, 2.0, 0.0) == 2.0
    assert overtime(5.0, 2.0, 2.0) == 0.0
    assert overtime(5.0, 3.0, 2.0) == 1.0
    assert overtime(5.0, 60.0, 0.0) == 5.0
    assert overtime(5.0, 60.0, 5.0) == 0.0
