"""Thresholds: how many results in a row it takes to change a state."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from discovery.health.hysteresis import Hysteresis
from discovery.model import EndpointState

CHECKING, HEALTHY, UNHEALTHY = EndpointState.CHECKING, EndpointState.HEALTHY, EndpointState.UNHEALTHY


def after(results: str, state: EndpointState = CHECKING, healthy: int = 2, unhealthy: int = 3) -> Hysteresis:
    """`results`: + and -, one after the other."""
    hysteresis = Hysteresis(state, healthy, unhealthy)
    fed(hysteresis, results)
    return hysteresis


def fed(hysteresis: Hysteresis, results: str) -> list[EndpointState]:
    """The states it changed to."""
    changes = []
    for result in results:
        if hysteresis.success() if result == "+" else hysteresis.failure():
            changes.append(hysteresis.state)
    return changes


@pytest.mark.parametrize(
    ("results", "state"),
    [
        ("", CHECKING),
        ("+", HEALTHY),
        ("-", CHECKING),
        ("--", CHECKING),
        ("--+", HEALTHY),
        ("---", UNHEALTHY),
        ("---+", UNHEALTHY),
        ("---++", HEALTHY),
        ("---+-+", UNHEALTHY),
        ("---+-++", HEALTHY),
        ("+--", HEALTHY),
        ("+--+--", HEALTHY),
        ("+---", UNHEALTHY),
    ],
)
def test_a_new_endpoint(results: str, state: EndpointState) -> None:
    assert after(results).state is state


@pytest.mark.parametrize(
    ("begins", "results", "state"),
    [
        (HEALTHY, "--", HEALTHY),
        (HEALTHY, "---", UNHEALTHY),
        (UNHEALTHY, "+", UNHEALTHY),
        (UNHEALTHY, "++", HEALTHY),
        (CHECKING, "+", HEALTHY),
    ],
)
def test_an_adopted_endpoint_begins_as_it_was(begins: EndpointState, results: str, state: EndpointState) -> None:
    assert after(results, begins).state is state


@pytest.mark.parametrize("state", [EndpointState.DRAINING, EndpointState.EJECTED])
def test_a_state_that_no_check_gives_begins_as_checking(state: EndpointState) -> None:
    assert after("", state).state is CHECKING


def test_a_change_is_told_once() -> None:
    assert fed(Hysteresis(CHECKING, 2, 3), "+++-----++++") == [HEALTHY, UNHEALTHY, HEALTHY]


def test_a_changed_check_keeps_the_state_and_its_first_success_is_enough() -> None:
    renewed = after("---").renewed(2, 3)
    assert (renewed.state, renewed.failures) == (UNHEALTHY, 0)
    assert fed(renewed, "+") == [HEALTHY]


def test_a_changed_check_whose_first_result_is_a_failure_goes_by_the_thresholds() -> None:
    assert fed(after("---").renewed(2, 3), "-+") == []
    assert fed(after("+").renewed(2, 3), "--") == [], "one failure of a new check takes nobody out"
    assert fed(after("+").renewed(2, 3), "---") == [UNHEALTHY]


def test_a_report_decides_at_once() -> None:
    hysteresis = Hysteresis(CHECKING, 2, 3)
    assert hysteresis.decide(UNHEALTHY)
    assert not hysteresis.decide(UNHEALTHY)
    assert hysteresis.failures == 2
    assert hysteresis.decide(HEALTHY)
    assert (hysteresis.successes, hysteresis.failures) == (1, 0)


@pytest.mark.parametrize(
    ("results", "is_between"),
    [("", True), ("-", True), ("+", False), ("+-", True), ("+-+", False), ("---", False), ("---+", True)],
)
def test_it_is_between_while_a_change_is_under_way(results: str, is_between: bool) -> None:
    assert after(results).is_between is is_between


@given(
    st.sampled_from([CHECKING, HEALTHY, UNHEALTHY]), st.integers(1, 4), st.integers(1, 4), st.text("+-", max_size=30)
)
def test_a_state_is_what_the_last_results_in_a_row_say(
    begins: EndpointState, healthy: int, unhealthy: int, results: str
) -> None:
    state = after(results, begins, healthy, unhealthy).state
    if results.endswith("+" * healthy):
        assert state is HEALTHY
    elif results.endswith("-" * unhealthy):
        assert state is UNHEALTHY
    elif "+" in results or "-" * unhealthy in results:
        assert state is not CHECKING
