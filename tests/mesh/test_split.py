"""Shares are drawn by weight; a share without endpoints gives its requests to the others."""

from __future__ import annotations

import random
from collections import Counter
from math import nextafter, sqrt

import pytest
from hypothesis import given
from hypothesis import strategies as st

from discovery.model import TrafficSplit
from mesh.split import Split, SplitError

ALMOST_ONE = nextafter(1.0, 0.0)

V1 = TrafficSplit(version="v1", weight=80)
V2 = TrafficSplit(version="v2", weight=15)
V3 = TrafficSplit(version="v3", weight=5)


def within_chance(count: int, draws: int, share: float) -> bool:
    """Is `count` within five standard deviations of the binomial distribution? Chance fails this once in a million."""
    return abs(count - draws * share) <= 5 * sqrt(draws * share * (1 - share))


def test_a_draw_falls_on_the_share_whose_width_covers_it() -> None:
    split = Split([V1, V2, V3])
    assert [split.draw(at).version for at in (0.0, 0.79, 0.8, 0.94, 0.95, ALMOST_ONE)] == [
        "v1",
        "v1",
        "v2",
        "v2",
        "v3",
        "v3",
    ]


def test_draws_follow_the_weights() -> None:
    draws, rng, split = 20_000, random.Random(7), Split([V1, V2, V3])
    counts = Counter(split.draw(rng.random()).version for _ in range(draws))
    assert within_chance(counts["v1"], draws, 0.80)
    assert within_chance(counts["v2"], draws, 0.15)
    assert within_chance(counts["v3"], draws, 0.05)


def test_a_share_without_weight_is_never_drawn_even_at_the_edges() -> None:
    none = TrafficSplit(version="none", weight=0)
    split = Split([none, V1, none, V2, none])
    assert "none" not in {split.draw(at).version for at in (0.0, 80 / 95, nextafter(80 / 95, 0), ALMOST_ONE)}
    assert split.draw_usable(0.5, lambda share: share is none) is None


@pytest.mark.parametrize(
    ("shares", "message"),
    [
        ([], "no share has a weight above 0"),
        ([TrafficSplit(version="v1", weight=0)], "no share has a weight above 0"),
        ([V1, TrafficSplit(service="web", version="v2", weight=-1)], "weight -1 of web v2 is negative"),
    ],
)
def test_shares_that_nothing_can_be_drawn_from_are_refused(shares: list[TrafficSplit], message: str) -> None:
    with pytest.raises(SplitError, match=message):
        Split(shares)


@pytest.mark.parametrize("draw", [-0.1, 1.0, float("nan")])
def test_a_draw_outside_its_range_is_an_error(draw: float) -> None:
    with pytest.raises(ValueError, match="a draw is a number"):
        Split([V1]).draw(draw)


def test_a_usable_share_keeps_its_requests() -> None:
    choice = Split([V1, V2]).draw_usable(0.1, lambda share: True)
    assert choice is not None and (choice.share, choice.failed_over) == (V1, False)


@pytest.mark.parametrize("down", [(), ("v1",), ("v1", "v2")])
def test_what_is_left_of_a_number_is_even_and_independent_of_the_choice(down: tuple[str, ...]) -> None:
    draws, rng, split = 30_000, random.Random(13), Split([V1, V2, V3])
    left: dict[str, Counter[int]] = {}
    for _ in range(draws):
        choice = split.draw_usable(rng.random(), lambda share: share.version not in down)
        assert choice is not None and 0.0 <= choice.rest < 1.0
        left.setdefault(choice.share.version, Counter())[int(choice.rest * 4)] += 1
    for quarters in left.values():
        assert all(within_chance(quarters[quarter], quarters.total(), 0.25) for quarter in range(4))


def test_requests_of_an_unusable_share_go_to_the_others_by_weight_and_say_so() -> None:
    draws, rng, split = 40_000, random.Random(11), Split([V1, V2, V3])
    choices = [split.draw_usable(rng.random(), lambda share: share is not V1) for _ in range(draws)]
    counts = Counter(choice.share.version for choice in choices if choice and choice.failed_over)
    moved = counts.total()
    assert within_chance(moved, draws, 0.80)
    assert counts["v1"] == 0
    assert within_chance(counts["v2"], moved, 0.75)
    kept = Counter(choice.share.version for choice in choices if choice and not choice.failed_over)
    assert set(kept) == {"v2", "v3"}


def test_equal_shares_are_told_apart() -> None:
    twin = TrafficSplit(version="v1", weight=1)
    asked: list[TrafficSplit] = []
    choice = Split([twin, TrafficSplit(version="v1", weight=1)]).draw_usable(
        0.9, lambda share: bool(asked.append(share))
    )
    assert choice is None and len(asked) == 2


def test_shares_are_told_in_percent() -> None:
    assert Split([V1, V2, V3, TrafficSplit(weight=0)]).shares_pct() == [(V1, 80.0), (V2, 15.0), (V3, 5.0)]


@given(
    st.lists(st.integers(0, 10**9), min_size=1, max_size=8),
    st.floats(0, 1, exclude_max=True),
    st.sets(st.integers(0, 7)),
)
def test_every_draw_finds_a_share_that_may_be_drawn(weights: list[int], draw: float, down: set[int]) -> None:
    shares = [TrafficSplit(version=str(index), weight=weight) for index, weight in enumerate(weights)]
    if not any(weights):
        with pytest.raises(SplitError):
            Split(shares)
        return
    split = Split(shares)
    assert split.draw(draw).weight > 0
    choice = split.draw_usable(draw, lambda share: int(share.version) not in down)
    up = {share.version for share in shares if share.weight and int(share.version) not in down}
    if choice is None:
        assert not up
    else:
        assert choice.share.version in up
        assert choice.failed_over is (int(split.draw(draw).version) in down)
