from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.stats.quantile import quantile

BOUNDS = (0.001, 0.01, 0.1, 1.0)
counts = st.lists(st.integers(0, 1_000), min_size=5, max_size=5)


def test_nothing_has_no_quantile() -> None:
    assert quantile(0.5, BOUNDS, [0, 0, 0, 0, 0]) is None


def test_inside_a_bucket_durations_are_taken_to_be_even() -> None:
    assert quantile(0.5, BOUNDS, [0, 10, 0, 0, 0]) == pytest.approx(0.0055)
    assert quantile(1.0, BOUNDS, [0, 10, 0, 0, 0]) == pytest.approx(0.01)


def test_above_the_highest_bound_nothing_more_is_known() -> None:
    assert quantile(0.99, BOUNDS, [0, 0, 0, 0, 7]) == 1.0


@given(counts, st.floats(0, 1), st.floats(0, 1))
def test_a_higher_share_is_never_a_shorter_duration(counts: list[int], one: float, other: float) -> None:
    low, high = (quantile(share, BOUNDS, counts) for share in sorted((one, other)))
    if sum(counts):
        assert low is not None
        assert high is not None
        assert 0 <= low <= high + 1e-12 <= BOUNDS[-1] + 1e-9
    else:
        assert low is high is None
