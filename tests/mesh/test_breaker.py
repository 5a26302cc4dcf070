"""An endpoint that fails is left alone for a while, and comes back when real requests have shown that it works."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from discovery.policies import CircuitBreaker
from mesh import breaker
from mesh.breaker import (
    CHECK_SUCCESS,
    CLOSED,
    FAILURE,
    HALF_OPEN,
    MOMENT,
    OPEN,
    OUTLIER,
    OUTLIER_BIT,
    PROBE_FAILURE,
    PROBE_SUCCESS,
    SUCCESS,
    count_of,
    describe,
    next_word,
    pack,
    probes_left,
    state_of,
    times_of,
    until_of,
    view,
)

# As by default, without the jitter.
POLICY = CircuitBreaker(ejection_jitter_pct=0.0)
EVENTS = (FAILURE, SUCCESS, PROBE_FAILURE, PROBE_SUCCESS, CHECK_SUCCESS, OUTLIER, MOMENT)
START = 1_000_000


class Machine:
    """A breaker with a clock (milliseconds)."""

    def __init__(self, policy: CircuitBreaker = POLICY, now: int = START) -> None:
        self.policy = policy
        self.now = now
        self.word = 0

    def see(self, *events: int, draw: float = 0.0) -> None:
        for event in events:
            self.word = next_word(self.word, event, self.now, self.policy, draw)

    def trip(self) -> None:
        self.see(*[FAILURE] * self.policy.consecutive_errors)

    def wait_out(self) -> None:
        self.now = until_of(self.word)
        self.see(MOMENT)

    @property
    def state(self) -> int:
        return state_of(self.word, self.now)

    @property
    def ejected_for(self) -> float:
        return (until_of(self.word) - self.now) / 1000


def test_five_errors_in_a_row_open_it_for_thirty_seconds() -> None:
    machine = Machine()
    machine.see(*[FAILURE] * 4)
    assert machine.state == CLOSED
    machine.see(FAILURE)
    assert (machine.state, machine.ejected_for) == (OPEN, 30.0)


def test_a_success_in_between_begins_the_row_anew() -> None:
    machine = Machine()
    machine.see(*[FAILURE] * 4, SUCCESS, *[FAILURE] * 4)
    assert machine.state == CLOSED
    machine.see(SUCCESS)
    assert machine.word == 0


def test_a_success_of_a_healthy_endpoint_changes_nothing() -> None:
    assert next_word(0, SUCCESS, START, POLICY, 0.0) == 0


def test_its_time_makes_it_half_open_and_five_successes_close_it() -> None:
    machine = Machine()
    machine.trip()
    machine.now = until_of(machine.word) - 1
    assert machine.state == OPEN
    machine.now += 1
    assert machine.state == HALF_OPEN
    machine.see(MOMENT, *[PROBE_SUCCESS] * 4)
    assert (machine.state, probes_left(machine.word, POLICY)) == (HALF_OPEN, 1)
    machine.see(PROBE_SUCCESS)
    assert machine.state == CLOSED


def test_every_failure_in_between_opens_it_for_longer_up_to_the_cap() -> None:
    machine = Machine()
    machine.trip()
    times = [machine.ejected_for]
    for _ in range(11):
        machine.wait_out()
        machine.see(PROBE_SUCCESS, PROBE_FAILURE)
        times.append(machine.ejected_for)
    assert times == [30.0, 60.0, 90.0, 120.0, 150.0, 180.0, 210.0, 240.0, 270.0, 300.0, 300.0, 300.0]


def test_jitter_adds_up_to_its_share_even_to_the_cap() -> None:
    machine = Machine(CircuitBreaker(consecutive_errors=1, max_ejection_time=30.0))
    machine.see(FAILURE, draw=0.5)
    assert machine.ejected_for == 31.5


def test_a_cap_below_the_base_is_no_cap() -> None:
    machine = Machine(CircuitBreaker(consecutive_errors=1, max_ejection_time=10.0, ejection_jitter_pct=0.0))
    machine.see(FAILURE)
    assert machine.ejected_for == 30.0


def closed_again(times: int) -> Machine:
    """A machine that has just closed after so many ejections in a row."""
    machine = Machine()
    machine.trip()
    for _ in range(times - 1):
        machine.wait_out()
        machine.see(PROBE_FAILURE)
    machine.wait_out()
    machine.see(*[PROBE_SUCCESS] * 5)
    assert machine.state == CLOSED
    return machine


@pytest.mark.parametrize(
    ("clean", "ejected_for"), [(0, 120.0), (9, 120.0), (10, 90.0), (25, 60.0), (30, 30.0), (900, 30.0)]
)
def test_each_clean_interval_forgets_one_ejection(clean: int, ejected_for: float) -> None:
    machine = closed_again(3)
    machine.now += clean * 1000
    machine.trip()
    assert machine.ejected_for == ejected_for


def test_an_interval_with_an_error_is_not_clean() -> None:
    machine = closed_again(3)
    for _ in range(6):
        machine.now += 9_000
        machine.see(FAILURE, SUCCESS)
    machine.trip()
    assert machine.ejected_for == 120.0


def test_successes_note_what_was_forgotten_and_keep_the_rest_of_an_interval() -> None:
    machine = closed_again(2)
    machine.now += 15_000
    machine.see(SUCCESS)
    assert times_of(machine.word) == 1
    word = machine.word
    machine.now += 4_999
    machine.see(SUCCESS)
    assert machine.word == word
    machine.now += 1
    machine.see(SUCCESS)
    assert machine.word == 0


def test_a_check_that_succeeds_makes_it_half_open_and_no_more() -> None:
    machine = Machine()
    machine.trip()
    machine.see(CHECK_SUCCESS)
    assert machine.state == HALF_OPEN
    machine.see(*[CHECK_SUCCESS] * 10)
    assert (machine.state, count_of(machine.word)) == (HALF_OPEN, 0)


def test_requests_from_before_the_ejection_decide_nothing() -> None:
    machine = Machine()
    machine.trip()
    word = machine.word
    machine.see(FAILURE, SUCCESS, PROBE_FAILURE, PROBE_SUCCESS, OUTLIER)
    assert machine.word == word
    machine.wait_out()
    word = machine.word
    machine.see(FAILURE, SUCCESS, OUTLIER)
    assert machine.word == word


def test_being_worse_than_the_group_opens_it_and_is_marked_until_it_closes() -> None:
    machine = Machine()
    machine.see(OUTLIER)
    assert (machine.state, machine.ejected_for, machine.word & OUTLIER_BIT) == (OPEN, 30.0, OUTLIER_BIT)
    machine.wait_out()
    machine.see(PROBE_FAILURE)
    assert machine.word & OUTLIER_BIT
    machine.wait_out()
    machine.see(*[PROBE_SUCCESS] * 5)
    assert not machine.word & OUTLIER_BIT


def test_zero_consecutive_errors_is_never() -> None:
    machine = Machine(CircuitBreaker(consecutive_errors=0))
    machine.see(*[FAILURE] * 1000)
    assert machine.word == 0


def test_a_lower_number_of_probes_closes_one_that_has_done_as_many() -> None:
    machine = Machine()
    machine.trip()
    machine.wait_out()
    machine.see(PROBE_SUCCESS, PROBE_SUCCESS)
    machine.policy = CircuitBreaker(half_open_requests=2)
    assert probes_left(machine.word, machine.policy) == 0
    machine.see(MOMENT)
    assert machine.state == CLOSED


def test_it_can_be_read() -> None:
    machine = Machine()
    assert describe(machine.word, machine.now) == "closed"
    machine.see(FAILURE, FAILURE)
    assert describe(machine.word, machine.now) == "closed, 2 errors in a row"
    machine.trip()
    assert describe(machine.word, machine.now + 10_000) == "open for another 20.0 s, ejected once"
    assert view(machine.word, machine.now) == ("open", 30.0, 1, 0, 0)
    assert describe(machine.word, machine.now + 30_000) == "half-open, 0 requests have worked, ejected once"
    machine.wait_out()
    machine.see(PROBE_SUCCESS)
    assert view(machine.word, machine.now) == ("half-open", 0.0, 1, 0, 1)
    machine.see(PROBE_FAILURE)
    assert describe(machine.word, machine.now) == "open for another 60.0 s, ejected 2 times in a row"


def test_what_is_larger_than_its_place_stays_at_the_largest() -> None:
    word = pack(HALF_OPEN, OUTLIER_BIT, 1000, 10_000, 2**40)
    assert (times_of(word), count_of(word), word & 3, word & OUTLIER_BIT) == (255, 4095, HALF_OPEN, OUTLIER_BIT)
    assert until_of(pack(OPEN, 0, 1000, 10_000, 2**40)) == 2**40


policies = st.builds(
    CircuitBreaker,
    consecutive_errors=st.integers(0, 6),
    interval=st.floats(0.01, 20.0),
    base_ejection_time=st.floats(0.001, 60.0),
    max_ejection_time=st.floats(0.001, 300.0),
    ejection_jitter_pct=st.floats(0.0, 100.0),
    half_open_requests=st.integers(1, 6),
)
steps = st.lists(st.tuples(st.sampled_from(EVENTS), st.integers(-5, 40_000), st.floats(0.0, 0.999)), max_size=60)


@settings(max_examples=300)
@given(policies, steps)
def test_whatever_happens_it_opens_only_by_errors_and_closes_only_by_successes(
    policy: CircuitBreaker, steps: list[tuple[int, int, float]]
) -> None:
    now, word, worked, errors = START, 0, 0, 0
    for event, passed, draw in steps:
        now += passed  # sometimes back: no two workers have the same clock
        before, was = state_of(word, now), word & 3
        after = next_word(word, event, now, policy, draw)
        state = after & 3
        assert 0 <= after < 2**64 and state in (CLOSED, OPEN, HALF_OPEN)
        if was == CLOSED:
            errors = (
                errors + 1
                if event in (FAILURE, PROBE_FAILURE)
                else 0
                if event != MOMENT and event != CHECK_SUCCESS
                else errors
            )
            assert state != HALF_OPEN
            if state == OPEN:
                assert event == OUTLIER or errors >= policy.consecutive_errors > 0
        elif was == OPEN:
            assert state != CLOSED
            assert after == word or event == CHECK_SUCCESS or (event == MOMENT and before == HALF_OPEN)
            worked = 0
        else:
            worked += event == PROBE_SUCCESS
            if state == CLOSED:
                assert worked >= policy.half_open_requests
            if state == OPEN:
                assert event == PROBE_FAILURE
            if state == HALF_OPEN:
                assert count_of(after) == worked < policy.half_open_requests
        if state != CLOSED:
            errors = 0
        if state == OPEN and was != OPEN:
            longest = max(policy.base_ejection_time, policy.max_ejection_time)
            ejected = (until_of(after) - now) / 1000
            assert policy.base_ejection_time - 0.001 <= ejected
            assert ejected <= longest * (1 + policy.ejection_jitter_pct / 100) + 0.001
        word = after


@given(policies, st.integers(0, 254), st.floats(0.0, 0.999))
def test_the_more_ejections_in_a_row_the_longer(policy: CircuitBreaker, times: int, draw: float) -> None:
    shorter, longer = (
        until_of(next_word(pack(HALF_OPEN, 0, each, 0, START), PROBE_FAILURE, START, policy, draw))
        for each in (times, times + 1)
    )
    assert START < shorter <= longer


def test_the_names_of_states_are_in_their_order() -> None:
    assert [breaker.STATE_NAMES[state] for state in (CLOSED, OPEN, HALF_OPEN)] == ["closed", "open", "half-open"]
