"""An endpoint that fails more often than the others is found, in groups of any size, and a healthy one is not."""

from __future__ import annotations

from math import comb
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from discovery.policies import CircuitBreaker
from mesh.outlier import Tally, is_worse, outliers, tail

POLICY = CircuitBreaker()


def places(group: list[Tally], policy: CircuitBreaker = POLICY) -> list[int]:
    return [found.place for found in outliers(group, policy)]


@given(st.integers(1, 40), st.integers(1, 40), st.data())
def test_the_tail_is_that_of_fishers_exact_test(attempts: int, rest: int, data: st.DataObject) -> None:
    failures = data.draw(st.integers(0, attempts))
    rest_failures = data.draw(st.integers(0, rest))
    failed, everything = failures + rest_failures, attempts + rest
    ways = sum(
        comb(failed, count) * comb(everything - failed, attempts - count)
        for count in range(failures, min(attempts, failed) + 1)
        if attempts - count <= everything - failed
    )
    assert tail(attempts, failures, rest, rest_failures) == pytest.approx(ways / comb(everything, attempts), rel=1e-6)


def test_very_many_requests_take_no_longer() -> None:
    assert is_worse(10_000_000, 2_000_000, 10_000_000, 100_000, 1e-6)


def binomial(rng: Random, count: int, share: float) -> int:
    return sum(rng.random() < share for _ in range(count))


@pytest.mark.parametrize("size", range(2, 10))
def test_a_healthy_group_is_left_alone(size: int) -> None:
    """1 % errors, 1,000 sweeps of 100 requests each."""
    rng = Random(size)
    ejected = sum(
        len(outliers([Tally(100, binomial(rng, 100, 0.01)) for _ in range(size)], POLICY)) for _ in range(1000)
    )
    assert ejected == 0


@pytest.mark.parametrize("share", [0.0, 0.05, 0.2, 0.5, 1.0])
def test_a_group_that_fails_together_is_left_alone(share: float) -> None:
    rng = Random(1)
    for _ in range(200):
        assert outliers([Tally(60, binomial(rng, 60, share)) for _ in range(3)], POLICY) == []


@pytest.mark.parametrize("size", range(2, 10))
def test_an_endpoint_with_30_percent_errors_is_out_within_two_sweeps(size: int) -> None:
    rng = Random(size)
    late = 0
    for _ in range(200):
        for _ in range(2):
            group = [Tally(100, binomial(rng, 100, 0.3))] + [
                Tally(100, binomial(rng, 100, 0.01)) for _ in range(size - 1)
            ]
            found = places(group)
            assert found in ([], [0])
            if found:
                break
        else:
            late += 1
    assert late == 0


def test_twenty_requests_that_all_fail_are_enough_beside_twenty_that_work() -> None:
    assert places([Tally(20, 20), Tally(20, 0)]) == [0]
    assert places([Tally(19, 19), Tally(20, 0)]) == []


def test_a_difference_that_does_not_matter_is_none_however_certain() -> None:
    assert places([Tally(1_000_000, 14_000), Tally(1_000_000, 10_000)]) == []
    assert places([Tally(1_000_000, 59_000), Tally(1_000_000, 10_000)]) == []
    assert places([Tally(1_000_000, 61_000), Tally(1_000_000, 10_000)]) == [0]
    assert places([Tally(100_000, 38_000), Tally(100_000, 20_000)]) == []


def test_the_last_one_in_use_stays() -> None:
    assert places([Tally(100, 100)]) == []
    assert places([Tally(100, 90), Tally(100, 0, closed=False)]) == []


def test_nothing_to_compare_with_is_no_reason() -> None:
    assert places([Tally(100, 90), Tally(0, 0)]) == []


@pytest.mark.parametrize(("size", "out"), [(2, 1), (3, 1), (4, 2), (5, 2), (9, 4)])
def test_at_most_half_of_a_group_is_out_and_at_least_one(size: int, out: int) -> None:
    bad = size - 1
    group = [Tally(1000, 900)] * bad + [Tally(10_000, 0)]
    found = outliers(group, POLICY)
    assert len(found) <= out
    tight = CircuitBreaker(max_ejection_pct=1.0)
    assert len(outliers(group, tight)) <= 1


def test_the_cap_counts_those_that_are_out_already() -> None:
    out = Tally(0, 0, closed=False, by_comparison=True)
    group = [Tally(100, 50), Tally(100, 0), Tally(100, 0), out]
    assert places(group) == [0]
    assert places([*group[:3], out, out], CircuitBreaker(max_ejection_pct=40.0)) == []
    # One that is open because of errors in a row takes nobody's place.
    assert places([*group[:3], Tally(0, 0, closed=False)], CircuitBreaker(max_ejection_pct=1.0)) == [0]


def test_the_worst_goes_first_and_the_next_is_compared_without_it() -> None:
    group = [Tally(100, 40), Tally(100, 95), Tally(100, 1), Tally(100, 1), Tally(100, 0)]
    found = outliers(group, POLICY)
    assert [each.place for each in found] == [1, 0]
    assert found[0].share == 0.95
    assert found[1].rest == pytest.approx(2 / 300)
