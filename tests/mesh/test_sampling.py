"""Random, least connections and peak EWMA."""

from __future__ import annotations

from collections import Counter

import pytest
from candidates import Place, Scripted, picked, picks, place, places
from hypothesis import given
from hypothesis import strategies as st

from discovery.policies import Balancing, LoadBalancingStrategy
from mesh.balance import Balancer
from mesh.draws import Draws
from mesh.sampling import penalty_us
from mesh.strategies import make_balancer

SECOND = 1_000_000
LEAST = LoadBalancingStrategy.LEAST_CONNECTIONS
EWMA = LoadBalancingStrategy.PEAK_EWMA
RANDOM = LoadBalancingStrategy.RANDOM


def balancer(
    strategy: LoadBalancingStrategy, candidates: list[Place], draws: Draws | None = None, choices: int = 2
) -> Balancer:
    return make_balancer(strategy, candidates, 0, Balancing(choices=choices), draws=draws or Draws(3))


# --- random ---------------------------------------------------------------------------------------------------------


def test_a_draw_falls_on_shares_as_wide_as_weights() -> None:
    draws = Scripted([0.0, 0.49, 0.5, 0.74, 0.75, 0.99])
    assert picks(balancer(RANDOM, [place("a", 2), place("b", 1), place("c", 1)], draws), 6) == "aabbcc"
    assert picks(balancer(RANDOM, [place("a"), place("b")], Scripted([0.0, 0.49, 0.5, 0.99])), 4) == "aabb"


@pytest.mark.parametrize("away", [0, 1, 30])
def test_shares_are_those_of_the_weights_whoever_is_away(away: int) -> None:
    candidates = [place(f"e{number}", 1 + number % 3) for number in range(40)]
    for each in candidates[:away]:
        each.usable = False
    one = balancer(RANDOM, candidates)
    count = 20_000
    counted = Counter(picked(one) for _ in range(count))
    total = sum(each.weight for each in candidates[away:])
    chi_square = sum(
        (counted[each.endpoint.id] - count * each.weight / total) ** 2 / (count * each.weight / total)
        for each in candidates[away:]
    )
    degrees = 40 - away - 1
    assert sum(counted.values()) == count
    assert chi_square < degrees + 5 * (2 * degrees) ** 0.5  # five standard deviations


def test_changed_weights_count_at_once() -> None:
    a, b = place("a"), place("b")
    one = balancer(RANDOM, [a, b], Scripted([0.2, 0.7]))
    assert picks(one, 2) == "ab"
    a.become(weight=9)
    assert picks(one, 2) == "aa"
    a.become(weight=0)
    assert picks(one, 4) == "bbbb"


# --- least connections ----------------------------------------------------------------------------------------------


def loaded(*loads: int, weights: tuple[int, ...] = ()) -> list[Place]:
    found = [place(chr(97 + number), weights[number] if weights else 1) for number in range(len(loads))]
    for each, load in zip(found, loads, strict=True):
        each.loaded = load
    return found


def test_the_least_loaded_of_few_is_picked_whatever_is_drawn() -> None:
    assert picks(balancer(LEAST, loaded(3, 1, 2)), 5) == "bbbbb"
    assert picks(balancer(LEAST, loaded(6, 3, 2, weights=(3, 1, 1))), 3) in (
        "aaa",
        "ccc",
        "aca",
        "cac",
        "aac",
        "cca",
        "acc",
        "caa",
    )
    assert picks(balancer(LEAST, loaded(5, 2, 2, weights=(3, 1, 1))), 3) == "aaa"  # 5/3 is less than 2


def test_the_idle_share_requests_by_weight() -> None:
    one = balancer(LEAST, loaded(0, 0, 0, weights=(5, 1, 1)))
    counted = Counter(picks(one, 7_000))
    assert counted["a"] == pytest.approx(5_000, abs=150)
    assert counted["b"] == pytest.approx(1_000, abs=150)


@given(st.lists(st.integers(0, 9), min_size=2, max_size=16), st.integers(0, 2**32))
def test_few_end_up_level(loads: list[int], seed: int) -> None:
    candidates = loaded(*loads)
    one = balancer(LEAST, candidates, Draws(seed))
    for _ in range(10 * len(candidates) - sum(loads)):
        found = one.pick(None, None, 0)  # type: ignore[arg-type]
        assert isinstance(found, Place)
        found.loaded += 1
    assert {each.loaded for each in candidates} == {10}


def test_of_many_the_less_loaded_of_two_drawn_is_picked() -> None:
    candidates = places(100)
    candidates[10].loaded = 5
    candidates[20].loaded = 4
    assert picked(balancer(LEAST, candidates, Scripted([0.10, 0.20]))) == "e20"
    assert picked(balancer(LEAST, candidates, Scripted([0.10, 0.10, 0.30]))) == "e30"  # never one with itself
    assert picked(balancer(LEAST, candidates, Scripted([0.10, 0.20, 0.50]), choices=3)) == "e50"


def test_two_choices_keep_many_close_together() -> None:
    candidates = places(200)
    for strategy, most in ((LEAST, 5), (RANDOM, 99)):
        for each in candidates:
            each.loaded = 0
        one = balancer(strategy, candidates)
        for _ in range(400):  # two each
            found = one.pick(None, None, 0)  # type: ignore[arg-type]
            assert isinstance(found, Place)
            found.loaded += 1
        assert max(each.loaded for each in candidates) <= most


def test_a_heavy_one_of_many_gets_its_part() -> None:
    """Two of many drawn evenly would meet it twice in a hundred picks."""
    candidates = places(100)
    candidates[0].become(weight=100)
    one = balancer(LEAST, candidates)
    for _ in range(2_000):
        found = one.pick(None, None, 0)  # type: ignore[arg-type]
        assert isinstance(found, Place)
        found.loaded += 1
    assert candidates[0].loaded == pytest.approx(1_000, rel=0.15)


def test_many_that_are_nearly_all_away_are_still_compared() -> None:
    candidates = places(100)
    for each in candidates[2:]:
        each.usable = False
    candidates[0].loaded = 1
    assert {picked(balancer(LEAST, candidates)) for _ in range(20)} == {"e1"}


# --- peak EWMA ------------------------------------------------------------------------------------------------------


def test_the_one_that_answers_soonest_is_picked_until_it_has_more_to_do() -> None:
    quick, slow = candidates = [place("q"), place("s")]
    one = balancer(EWMA, candidates)
    assert quick.measured
    quick.observe(1_000, 0, SECOND)
    slow.observe(10_000, 0, SECOND)
    assert picks(one, 3, now=SECOND) == "qqq"
    quick.loaded = 8
    assert picks(one, 1, now=SECOND) == "q"  # 9 ms before 10
    quick.loaded = 10
    assert picks(one, 1, now=SECOND) == "s"
    slow.become(weight=1)
    quick.become(weight=2)
    assert picks(one, 1, now=SECOND) == "q"


def test_nobody_has_been_measured_at_first_and_then_thirty_milliseconds_are_assumed() -> None:
    new, known = candidates = [place("n"), place("k")]
    one = balancer(EWMA, candidates)
    assert set(picks(one, 50)) == {"n", "k"}
    known.observe(31_000, 0, SECOND)
    assert picks(one, 3, now=SECOND) == "nnn"
    known.observe(29_000, 0, 400 * SECOND)  # long after, so the last counts alone
    assert picks(one, 3, now=400 * SECOND) == "kkk"
    assert not new.rtt_at


def test_a_peak_counts_at_once_and_fades() -> None:
    each = place("a")
    each.decay_us = 10.0 * SECOND
    each.observe(1_000, 0, SECOND)
    each.observe(100_000, 0, 2 * SECOND)
    assert each.rtt == 100_000
    each.observe(1_000, 0, 12 * SECOND)  # one decay later
    assert each.rtt == pytest.approx(1_000 + 99_000 / 2.718281828, rel=1e-6)


def test_a_slow_one_is_tried_again_after_a_while() -> None:
    a, b = candidates = [place("a"), place("b")]
    one = balancer(EWMA, candidates)
    a.observe(2_000, 0, SECOND)
    b.observe(2_000_000, 0, SECOND)
    b_since = next(second for second in range(1, 200) if _measured_again(one, a, second * SECOND) == "b")
    assert 60 < b_since < 80  # ln(1000) decays of 10 s


def _measured_again(one: Balancer, a: Place, now: int) -> str:
    a.observe(2_000, 0, now)
    return picked(one, None, now)


def test_failures_and_refusals_are_no_quick_answers() -> None:
    failing, good = candidates = [place("f"), place("g")]
    one = balancer(EWMA, candidates)
    good.observe(50_000, 0, SECOND)
    failing.observe(200, penalty_us(None), SECOND)
    assert failing.rtt == 5 * SECOND
    assert picks(one, 5, now=SECOND) == "ggggg"


@pytest.mark.parametrize(
    ("retry_after", "seconds"),
    [
        (None, 5),
        (b"1", 5),
        (b"120", 120),
        (b"301", 300),
        (b"9" * 40, 5),
        (b"-7", 5),
        (b"Wed, 21 Oct 2026 07:28:00 GMT", 5),
    ],
)
def test_retry_after_makes_it_longer_up_to_a_limit(retry_after: bytes | None, seconds: int) -> None:
    assert penalty_us(retry_after) == seconds * SECOND


def test_only_strategies_that_measure_ask_for_it() -> None:
    each = place("a")
    balancer(EWMA, [each])
    assert each.measured
    balancer(LEAST, [each])
    assert not each.measured
