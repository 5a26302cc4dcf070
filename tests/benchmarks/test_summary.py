import pytest
from hypothesis import given
from hypothesis import strategies as st

from benchmarks.compare.summary import Comparison, percentile, ratio, rotated, spread, summarise

positive = st.floats(min_value=0.001, max_value=1e6)


def test_the_ratio_is_the_median_of_the_rounds_not_the_ratio_of_medians():
    found = ratio(Comparison("a", "b"), of=[1.0, 20.0, 3.0], to=[2.0, 20.0, 4.0])

    assert found.median == 0.75
    assert (found.min, found.max) == (0.5, 1.0)


@pytest.mark.parametrize(("goal", "met"), [(0.9, False), (1.0, True), (1.1, True), (None, None)])
def test_a_goal_is_met_up_to_and_including_its_value(goal, met):
    assert ratio(Comparison("a", "b", goal), of=[5.0], to=[5.0]).met is met


def test_lanes_of_different_rounds_are_not_compared():
    with pytest.raises(ValueError, match="a has 2 samples and b has 1"):
        ratio(Comparison("a", "b"), of=[1.0, 2.0], to=[1.0])


def test_nothing_is_said_about_no_samples():
    with pytest.raises(ValueError, match="no samples"):
        spread([])
    with pytest.raises(ValueError, match="nothing but zero"):
        ratio(Comparison("a", "b"), of=[1.0], to=[0.0])


@given(st.lists(positive, min_size=1))
def test_the_median_lies_between_the_ends(values):
    found = spread(values)

    assert found.min <= found.median <= found.max
    assert found.spread_pct >= 0


@given(st.lists(positive, min_size=1, max_size=9), positive)
def test_slowing_both_sides_of_a_round_changes_no_ratio(values, factor):
    plain = ratio(Comparison("a", "b"), of=values, to=[1.0] * len(values))
    slowed = ratio(Comparison("a", "b"), of=[value * factor for value in values], to=[factor] * len(values))

    assert slowed.median == pytest.approx(plain.median)


@given(st.lists(st.integers(), min_size=1), st.floats(min_value=0.001, max_value=1.0))
def test_a_percentile_is_the_smallest_value_that_covers_its_share(values, share):
    ordered = sorted(values)
    found = percentile(ordered, share)

    covered = sum(value <= found for value in ordered)
    below = sum(value < found for value in ordered)
    assert covered >= share * len(ordered) - 1e-9
    assert below < share * len(ordered) + 1e-9


def test_p99_of_a_hundred_is_the_ninety_ninth():
    assert percentile(list(range(1, 101)), 0.99) == 99
    assert percentile(list(range(1, 101)), 1.0) == 100


@given(st.lists(st.text(), min_size=1, max_size=5, unique=True))
def test_every_lane_is_first_equally_often(labels):
    orders = [rotated(labels, turn) for turn in range(2 * len(labels))]

    assert all(sorted(order) == sorted(labels) for order in orders)
    assert sorted(order[0] for order in orders) == sorted(labels * 2)


def test_a_lane_without_samples_is_in_no_ratio():
    found = summarise(
        {"a": [{"cost": 1.0}], "b": [{"cost": 2.0}], "c": []},
        "cost",
        (Comparison("a", "b"), Comparison("a", "c"), Comparison("a", "d")),
    )

    assert list(found["lanes"]) == ["a", "b"]
    assert [(row["of"], row["to"], row["median"]) for row in found["ratios"]] == [("a", "b", 0.5)]
