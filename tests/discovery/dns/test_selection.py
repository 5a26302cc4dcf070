"""In which order addresses are listed: everybody's share of first places."""

from __future__ import annotations

import random
from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from discovery.dns.selection import (
    MAX_VARIANTS,
    MAX_VARIED,
    first_places,
    parse_address,
    shuffled,
    weighted,
)

WEIGHTS = st.lists(st.integers(1, 1_000_000), min_size=1, max_size=40)


def addresses(count: int) -> list[bytes]:
    return [number.to_bytes(4, "big") for number in range(count)]


@given(WEIGHTS, st.integers(1, MAX_VARIANTS), st.integers(0, 2**32))
def test_first_places_follow_the_weights_as_closely_as_so_many_turns_can(
    weights: list[int], most: int, seed: int
) -> None:
    turns = first_places(weights, most, random.Random(seed))
    assert 1 <= len(turns) <= most
    counts = Counter(turns)
    for index, weight in enumerate(weights):
        exact = len(turns) * weight / sum(weights)
        assert exact - 1 < counts[index] < exact + 1


@pytest.mark.parametrize(
    ("weights", "turns"),
    [([5], [0]), ([2, 2], [0, 1]), ([3, 1], [0, 0, 1, 0]), ([5, 1, 1], [0, 0, 1, 0, 2, 0, 0])],
)
def test_where_turns_suffice_the_proportion_is_exact_and_smooth(weights: list[int], turns: list[int]) -> None:
    assert first_places(weights, MAX_VARIANTS, random.Random(1)) == turns


def test_a_share_too_small_for_a_turn_gets_one_now_and_then() -> None:
    rng = random.Random(3)
    made = 2000
    seen = sum(1 in first_places([99, 1], MAX_VARIANTS, rng) for _ in range(made))
    # 16 turns of which 1 % are its own; five standard deviations
    assert abs(seen - made * 0.16) < 5 * (made * 0.16 * 0.84) ** 0.5


@given(st.dictionaries(st.binary(min_size=4, max_size=4), st.integers(1, 100), min_size=1), st.integers(1, 50))
def test_weighted_lists_have_each_address_once(by_weight: dict[bytes, int], limit: int) -> None:
    lists = weighted(by_weight, limit, random.Random(1))
    for each in lists:
        assert len(each) == len(set(each)) == min(limit, len(by_weight))
        assert set(each) <= set(by_weight)


def test_what_comes_second_follows_the_weights_too() -> None:
    rng = random.Random(5)
    second = Counter(each[1] for _ in range(500) for each in weighted({b"a": 1, b"b": 3, b"c": 6}, 3, rng))
    assert second[b"b"] > second[b"a"]


@given(st.integers(1, 300), st.integers(1, 100))
def test_shuffled_lists_are_of_one_length_and_cover_as_much_as_they_can(count: int, limit: int) -> None:
    lists = shuffled(addresses(count), limit, random.Random(1))
    assert {len(each) for each in lists} == {min(count, limit)}
    assert all(len(set(each)) == len(each) for each in lists)
    covered = {address for each in lists for address in each}
    assert len(covered) == min(count, len(lists) * limit)
    assert len(lists) <= MAX_VARIANTS


def test_large_answers_have_few_variants() -> None:
    assert len(shuffled(addresses(60_000), 4000, random.Random(1))) == 1
    assert len(shuffled(addresses(60_000), 1000, random.Random(1))) == MAX_VARIED // 1000
    by_weight = {address: 1 + index % 7 for index, address in enumerate(addresses(3000))}
    assert len(weighted(by_weight, 3000, random.Random(1))) == 1


def test_an_endpoints_address_is_taken_apart() -> None:
    assert parse_address("10.0.0.1:80") == (b"\x0a\0\0\1", 80)
    assert parse_address("[::1]:8080") == (bytes(15) + b"\1", 8080)
    assert parse_address("unix:/run/web:1.sock") is None
