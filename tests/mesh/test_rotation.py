"""Round robin by weight: exact shares, spread over time, and no bursts whatever changes."""

from __future__ import annotations

from collections import Counter

import pytest
from candidates import Place, picked, picks, place, places
from hypothesis import given
from hypothesis import strategies as st

from discovery.policies import Balancing, LoadBalancingStrategy
from mesh.balance import Balancer
from mesh.draws import Draws
from mesh.strategies import make_balancer


def weighted(candidates: list[Place], start: int = 0, slow_start: float = 0.0, seed: int = 1) -> Balancer:
    settings = Balancing(slow_start=slow_start)
    return make_balancer(LoadBalancingStrategy.WEIGHTED_ROUND_ROBIN, candidates, start, settings, draws=Draws(seed))


def by_weight(*weights: int) -> list[Place]:
    names = "abcdefghij" if len(weights) <= 10 else [f"e{number}" for number in range(len(weights))]
    return [place(name, weight) for name, weight in zip(names, weights, strict=False)]


def longest_run(text: list[str], name: str) -> int:
    longest = run = 0
    for each in text:
        run = run + 1 if each == name else 0
        longest = max(longest, run)
    return longest


@pytest.mark.parametrize(
    ("weights", "wanted"),
    [
        ((5, 1, 1), "aabacaa" * 2),
        ((1, 1, 1), "abcabc"),
        ((2, 1), "abaaba"),
        ((3, 1), "aabaaaba"),
        ((3, 2, 1), "abacbaabacba"),
        ((4, 0, 4), "acacac"),
        ((7,), "aaa"),
    ],
)
def test_few_go_round_as_nginx_has_it(weights: tuple[int, ...], wanted: str) -> None:
    assert picks(weighted(by_weight(*weights)), len(wanted)) == wanted


def test_the_start_moves_the_rotation() -> None:
    assert picks(weighted(by_weight(1, 1, 1), start=1), 3) == "bca"
    assert picks(weighted(by_weight(5, 1, 1), start=2), 7) == "bacaaaa"


@given(st.lists(st.integers(0, 20), min_size=1, max_size=32))
def test_shares_of_a_round_are_exact(weights: list[int]) -> None:
    candidates = [place(str(number), weight) for number, weight in enumerate(weights)]
    balancer = weighted(candidates)
    counted = Counter(picked(balancer) for _ in range(sum(weights)))
    assert counted == {str(number): weight for number, weight in enumerate(weights) if weight}


@given(st.lists(st.integers(1, 50), min_size=33, max_size=60), st.integers(0, 99))
def test_many_are_never_more_than_a_turn_from_their_share(weights: list[int], seed: int) -> None:
    candidates = [place(str(number), weight) for number, weight in enumerate(weights)]
    balancer = weighted(candidates, seed=seed)
    total = sum(weights)
    counted: Counter[str] = Counter()
    for step in range(1, 301):
        counted[picked(balancer)] += 1
        if step % 50 == 0:
            for number, weight in enumerate(weights):
                assert abs(counted[str(number)] - step * weight / total) < 2.0


def test_a_heavy_one_among_many_is_never_picked_in_a_row_that_its_weight_does_not_explain() -> None:
    candidates = by_weight(40, *[1] * 40)  # half of the traffic
    balancer = weighted(candidates)
    names = [picked(balancer) for _ in range(800)]
    assert longest_run(names, "e0") <= 4
    assert names.count("e0") == pytest.approx(400, abs=2)


def test_changed_weights_take_effect_without_a_burst() -> None:
    a, b = by_weight(1000, 1000)
    balancer = weighted([a, b])
    picks(balancer, 3)  # b is owed half a turn of a thousand
    a.become(weight=1)
    b.become(weight=1)
    assert picks(balancer, 6) in ("bababa", "ababab")
    a.become(weight=3)
    assert Counter(picks(balancer, 400)) == {"a": 300, "b": 100}


def test_many_take_changed_weights_without_a_burst() -> None:
    candidates = by_weight(*[1] * 40)
    balancer = weighted(candidates)
    for _ in range(100):
        picked(balancer)
    candidates[0].become(weight=39)  # half from now on
    names = [picked(balancer) for _ in range(780)]
    assert names.count("e0") == pytest.approx(390, abs=40)
    assert longest_run(names, "e0") <= 3


def test_one_that_was_away_saves_up_nothing() -> None:
    for count in (3, 40):
        candidates = places(count)
        balancer = weighted(candidates)
        candidates[0].usable = False
        assert "e0" not in [picked(balancer) for _ in range(20 * count)]
        candidates[0].usable = True
        names = [picked(balancer) for _ in range(4 * count)]
        assert names.count("e0") in (3, 4, 5)
        assert longest_run(names, "e0") == 1


def test_many_of_which_nearly_all_are_away_are_still_found() -> None:
    candidates = places(300)
    for each in candidates[:-2]:
        each.usable = False
    balancer = weighted(candidates)
    names = Counter(picked(balancer) for _ in range(100))
    assert names.keys() == {"e298", "e299"}
    assert names["e298"] == pytest.approx(50, abs=6)
    candidates[298].usable = candidates[299].usable = False
    assert picked(balancer) == "-"


def test_the_rotation_goes_on_when_candidates_come_and_go() -> None:
    a, b, c = by_weight(1, 1, 1)
    balancer = weighted([a, b, c])
    assert picks(balancer, 1) == "a"
    balancer.exchange([c], [])
    assert picks(balancer, 4) in ("baba", "bbab")
    fresh = place("d")
    balancer.exchange([], [fresh])
    assert Counter(picks(balancer, 30)) == {"a": 10, "b": 10, "d": 10}


def test_those_that_come_to_many_do_not_get_a_turn_all_at_once() -> None:
    candidates = places(50)
    balancer = weighted(candidates)
    for _ in range(1000):
        picked(balancer)
    balancer.exchange([], [place(f"n{number}") for number in range(50)])
    names = [picked(balancer) for _ in range(100)]
    fresh = [name.startswith("n") for name in names]
    assert 30 <= sum(fresh) <= 70
    assert 5 <= sum(fresh[:30]) <= 25
    for limit in (40, 20):  # few again, and the turns go on
        balancer.exchange(balancer.candidates[limit:], [])
        assert Counter(picked(balancer) for _ in range(10 * limit)) == {
            each.endpoint.id: pytest.approx(10, abs=1.1) for each in balancer.candidates
        }


def test_two_of_many_workers_do_not_begin_with_the_same_endpoint() -> None:
    firsts = {picked(weighted(places(1000), seed=seed)) for seed in range(20)}
    assert len(firsts) > 15


def test_full_ones_wait_until_their_equals_are_full() -> None:
    for count in (3, 40):
        candidates = places(count)
        balancer = weighted(candidates)
        for each in candidates[1:]:
            each.full = True
        assert {picked(balancer) for _ in range(10)} == {"e0"}
        candidates[0].full = True
        assert len({picked(balancer) for _ in range(count)}) > 2


def test_round_robin_lets_one_in_slow_start_pass_and_its_turn_is_everybodys() -> None:
    candidates = places(4)
    candidates[0].recovered = 1
    balancer = make_balancer(LoadBalancingStrategy.ROUND_ROBIN, candidates, 0, Balancing(slow_start=10), draws=Draws(5))
    counted = Counter(picked(balancer, None, 5_000_000) for _ in range(3500))
    assert counted["e0"] == pytest.approx(500, abs=60)
    assert max(counted[f"e{each}"] for each in (1, 2, 3)) - min(counted[f"e{each}"] for each in (1, 2, 3)) < 2


def test_everybody_in_slow_start_is_as_nobody() -> None:
    candidates = places(3)
    for each in candidates:
        each.recovered = 1
    balancer = make_balancer(LoadBalancingStrategy.ROUND_ROBIN, candidates, 0, Balancing(slow_start=1e6))
    counted = Counter(picked(balancer) for _ in range(300))
    assert counted == {name: pytest.approx(100, abs=30) for name in ("e0", "e1", "e2")}
