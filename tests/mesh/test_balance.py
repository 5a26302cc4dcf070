"""Requests go round the endpoints that may take them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

import pytest
from candidates import REQUEST, Place, Scripted, keyed, picked, picks, place, places
from hypothesis import given
from hypothesis import strategies as st

from discovery.policies import Balancing, LoadBalancingStrategy
from mesh.balance import NOTES, Balancer, Candidate, Changes
from mesh.strategies import make_balancer

SECOND = 1_000_000
EVERY_STRATEGY = list(LoadBalancingStrategy)


def candidate(name: str, *, usable: bool = True, weight: int = 1, backup: bool = False) -> Place:
    return place(name, weight, usable=usable, backup=backup)


def round_robin(candidates: Sequence[Candidate], start: int = 0) -> Balancer:
    return make_balancer(LoadBalancingStrategy.ROUND_ROBIN, candidates, start)


def test_every_endpoint_takes_its_turn() -> None:
    assert picks(round_robin([candidate("a"), candidate("b"), candidate("c")]), 7) == "abcabca"


def test_the_start_moves_the_rotation() -> None:
    candidates = [candidate("a"), candidate("b"), candidate("c")]
    assert picks(make_balancer(LoadBalancingStrategy.ROUND_ROBIN, candidates, 2), 4) == "cabc"
    assert picks(make_balancer(LoadBalancingStrategy.ROUND_ROBIN, candidates, 1_000_000), 3) == "bca"


def test_unusable_endpoints_and_weight_zero_are_skipped_without_favouring_their_neighbour() -> None:
    balancer = round_robin([candidate("a"), candidate("b", usable=False), candidate("c"), candidate("d", weight=0)])
    assert picks(balancer, 6) == "acacac"


def test_no_usable_endpoint_is_none() -> None:
    assert picks(round_robin([]), 1) == "-"
    assert picks(round_robin([candidate("a", usable=False), candidate("b", weight=0)]), 2) == "--"


def test_health_is_read_at_every_pick() -> None:
    a, b = candidate("a"), candidate("b")
    balancer = round_robin([a, b])
    assert picks(balancer, 2) == "ab"
    a.usable = False
    assert picks(balancer, 2) == "bb"
    a.usable, b.usable = True, False
    assert picks(balancer, 2) == "aa"


def test_backups_take_turns_while_no_primary_is_usable() -> None:
    primary = candidate("p", usable=False)
    balancer = round_robin([primary, candidate("x", backup=True), candidate("y", backup=True)])
    assert picks(balancer, 4) == "xyxy"
    primary.usable = True
    assert picks(balancer, 2) == "pp"


def test_an_endpoint_that_was_tried_is_the_last_resort() -> None:
    a, b, backup = candidate("a"), candidate("b"), candidate("x", backup=True)
    balancer = round_robin([a, b, backup])
    assert picks(balancer, 2, tried=[a]) == "bb"
    assert picks(balancer, 2, tried=[a, b]) == "xx"
    assert picks(balancer, 2, tried=[a, b, backup]) in ("ab", "ba")
    backup.usable = False
    assert set(picks(balancer, 2, tried=[a, b])) == {"a", "b"}


def test_candidates_can_be_replaced_while_in_use() -> None:
    balancer = round_robin([candidate(name) for name in "abcdef"])
    picks(balancer, 5)
    balancer.exchange(balancer.candidates[:], [candidate("x"), candidate("y")])
    assert Counter(picks(balancer, 4)) == {"x": 2, "y": 2}


@pytest.mark.parametrize("strategy", EVERY_STRATEGY)
def test_every_strategy_of_the_model_has_a_balancer(strategy: LoadBalancingStrategy) -> None:
    assert picks(make_balancer(strategy, [candidate("a")], 0), 2) == "aa"


states = st.tuples(st.booleans(), st.integers(0, 2), st.booleans(), st.booleans())  # usable, weight, backup, tried


@given(st.lists(states, max_size=8), st.integers(0, 20))
def test_the_best_kind_of_endpoint_shares_the_requests_evenly(
    found: list[tuple[bool, int, bool, bool]], start: int
) -> None:
    candidates = [candidate(chr(97 + n), usable=u, weight=w, backup=b) for n, (u, w, b, _) in enumerate(found)]
    tried = [each for each, (_, _, _, was_tried) in zip(candidates, found, strict=True) if was_tried]
    kinds = {each: (each in tried, each.backup) for each in candidates if each.usable and each.weight}
    best = sorted(each.endpoint.id for each in kinds if kinds[each] == min(kinds.values()))
    balancer = round_robin(candidates, start)
    if not best:
        assert balancer.pick(REQUEST, tried, 0) is None
    else:
        assert Counter(picks(balancer, 3 * len(best), tried)) == dict.fromkeys(best, 3)


# --- candidates that come and go ------------------------------------------------------------------------------------


def test_the_turn_goes_on_when_candidates_come_and_go() -> None:
    a, b, c, d = (candidate(name) for name in "abcd")
    balancer = round_robin([a, b, c])
    assert picks(balancer, 2) == "ab"
    balancer.exchange([a], [d])
    assert picks(balancer, 4) == "cdbc"
    balancer.exchange([d], [])
    assert picks(balancer, 2) == "bc"


@given(
    count=st.integers(1, 60),
    picked=st.integers(0, 100),
    gone=st.sets(st.integers(0, 59)),
    new=st.integers(0, 5),
)
def test_many_leave_as_if_they_left_one_by_one(count: int, picked: int, gone: set[int], new: int) -> None:
    candidates = [candidate(f"{number}.") for number in range(count)]
    fresh = [candidate(f"n{number}.") for number in range(new)]
    left = [candidates[number] for number in sorted(gone) if number < count]
    at_once, one_by_one = round_robin(candidates), round_robin(candidates)
    for balancer in (at_once, one_by_one):
        picks(balancer, picked)

    at_once.exchange(left, fresh)
    for each in left:
        one_by_one.exchange([each], [])
    one_by_one.exchange([], fresh)

    assert at_once.candidates == one_by_one.candidates
    assert picks(at_once, 2 * count) == picks(one_by_one, 2 * count)


# --- what counts, whatever the strategy -----------------------------------------------------------------------------


def all_picked(balancer: Balancer, now: int = 0, tried: list[Candidate] | None = None, count: int = 200) -> set[str]:
    """Whom many requests of many clients meet."""
    return {picked(balancer, tried, now, keyed(number)) for number in range(count)}


@pytest.mark.parametrize("strategy", EVERY_STRATEGY)
@pytest.mark.parametrize("count", [3, 40, 100])
def test_what_counts_is_the_same_for_every_strategy(strategy: LoadBalancingStrategy, count: int) -> None:
    a, b, *others = candidates = places(count)
    balancer = make_balancer(strategy, candidates, draws=None)
    assert len(all_picked(balancer, count=count * 50)) == count
    for other in others:
        other.usable = False
    assert all_picked(balancer) == {"e0", "e1"}
    a.ejected_until_ms = 500
    assert all_picked(balancer, 499_999) == {"e1"}
    assert all_picked(balancer, 500_000) == {"e0", "e1"}
    a.full = True
    assert all_picked(balancer, 500_000) == {"e1"}
    b.full = True
    assert all_picked(balancer, 500_000) == {"e0", "e1"}
    assert all_picked(balancer, 500_000, [a]) == {"e1"}
    assert all_picked(balancer, 500_000, [a, b]) == {"e0", "e1"}
    b.become(weight=0)
    assert all_picked(balancer, 500_000) == {"e0"}
    a.usable = False
    assert all_picked(balancer, 500_000) == {"-"}


@pytest.mark.parametrize("strategy", EVERY_STRATEGY)
def test_levels_are_used_one_after_the_other(strategy: LoadBalancingStrategy) -> None:
    first, backup, third = candidates = [place("a"), place("b", backup=True), place("c", priority=2)]
    balancer = make_balancer(strategy, candidates)
    assert all_picked(balancer) == {"a"}
    first.full = True  # a request rather waits
    assert all_picked(balancer) == {"a"}
    assert all_picked(balancer, tried=[first]) == {"b"}
    first.usable = False
    assert all_picked(balancer) == {"b"}
    assert all_picked(balancer, tried=[backup]) == {"c"}
    backup.usable = False
    assert all_picked(balancer) == {"c"}
    third.usable = False
    assert all_picked(balancer) == {"-"}


def test_a_priority_of_its_own_says_more_than_backup() -> None:
    balancer = round_robin([place("a", priority=3, backup=True), place("b", priority=2)])
    assert picks(balancer, 2) == "bb"


def test_levels_and_weights_may_change_while_in_use() -> None:
    a, b = candidates = [place("a"), place("b")]
    balancer = round_robin(candidates)
    assert picks(balancer, 2) == "ab"
    b.become(backup=True)
    assert picks(balancer, 2) == "aa"
    a.become(backup=True)
    assert Counter(picks(balancer, 4)) == {"a": 2, "b": 2}
    a.become(backup=False)
    assert picks(balancer, 2) == "aa"


def test_a_balancer_that_is_far_behind_with_the_notes_looks_at_everybody() -> None:
    changes = Changes()
    a, b = [place("a", changes=changes), place("b", changes=changes)]
    stranger = place("s", changes=changes)
    balancer = round_robin([a, b])
    b.become(backup=True)
    for _ in range(NOTES):
        stranger.become()
    assert picks(balancer, 2) == "aa"


def test_what_is_awaited_is_what_would_be_picked_among() -> None:
    a, b, c = candidates = [place("a"), place("b", backup=True), place("c", backup=True)]
    balancer = round_robin(candidates)
    assert balancer.awaited(None, 0) == [a]
    assert balancer.awaited([a], 0) == [b, c]
    assert balancer.has_usable([a, b], 0)
    assert not balancer.has_usable([a, b, c], 0)
    assert balancer.awaited([a, b, c], 0) == []


# --- zones ----------------------------------------------------------------------------------------------------------


def zoned(draws: Sequence[float], near: int, far: int, **balancing: float) -> tuple[list[Place], Balancer]:
    candidates = [place(f"n{each}", zone="here") for each in range(near)]
    candidates += [place(f"f{each}", zone="there") for each in range(far)]
    settings = Balancing(prefer_zone=True, **balancing)
    made = make_balancer(LoadBalancingStrategy.ROUND_ROBIN, candidates, 0, settings, "here", Scripted(draws))
    return candidates, made


def test_the_own_zone_has_all_traffic_while_enough_of_it_is_usable() -> None:
    candidates, balancer = zoned([0.99], 4, 4, zone_min_pct=70)
    assert all_picked(balancer) == {"n0", "n1", "n2", "n3"}
    candidates[0].usable = False
    assert all_picked(balancer) == {"n1", "n2", "n3"}  # 75 %


def test_with_less_of_it_the_rest_of_the_traffic_goes_everywhere() -> None:
    candidates, balancer = zoned([0.0, 0.24, 0.5, 0.75], 4, 4, zone_min_pct=100)
    for each in candidates[:3]:
        each.usable = False
    counted = Counter(picked(balancer) for _ in range(4 * 50))
    # A quarter of the zone is there: half of the draws are below 0.25. Of the other half it has one in five.
    assert counted["n3"] == 100 + 20
    assert {counted[f"f{each}"] for each in range(4)} == {20}


def test_a_zone_without_endpoints_or_without_usable_ones_costs_nothing() -> None:
    _, nobody_near = zoned([0.0], 0, 2)
    assert all_picked(nobody_near) == {"f0", "f1"}
    candidates, balancer = zoned([0.0], 2, 2)
    for each in candidates[:2]:
        each.usable = False
    assert all_picked(balancer) == {"f0", "f1"}


def test_a_zone_that_is_not_preferred_means_nothing() -> None:
    candidates = [place("a", zone="here"), place("b", zone="there")]
    balancer = make_balancer(LoadBalancingStrategy.ROUND_ROBIN, candidates, 0, Balancing(), "here")
    assert picks(balancer, 4) == "abab"


def test_what_was_tried_in_the_zone_is_looked_for_elsewhere() -> None:
    candidates, balancer = zoned([0.0], 1, 1)
    assert picks(balancer, 1, [candidates[0]]) == "f0"


# --- panic ----------------------------------------------------------------------------------------------------------


def panicking(threshold: float, *candidates: Place) -> Balancer:
    settings = Balancing(panic_threshold_pct=threshold)
    return make_balancer(LoadBalancingStrategy.ROUND_ROBIN, candidates, 0, settings)


def test_with_too_few_usable_all_that_are_not_draining_are_used() -> None:
    a, b, c, d = [place(name) for name in "abcd"]
    balancer = panicking(50, a, b, c, d)
    a.usable = b.usable = False
    assert picks(balancer, 4) == "cdcd"
    assert not balancer.panicked
    c.ejected_until_ms = 10
    assert picks(balancer, 4) == "abcd"
    assert balancer.panicked
    a.draining = True  # it does not count any more either: one of three is usable
    assert picks(balancer, 3) == "bcd"
    assert picks(balancer, 2, now=10_000) in ("cd", "dc")
    assert not balancer.panicked


def test_panic_is_off_by_default() -> None:
    a, b = place("a", usable=False), place("b", usable=False)
    assert picks(round_robin([a, b]), 1) == "-"
    assert picks(panicking(50, a, b), 2) == "ab"


def test_a_backup_level_that_can_serve_comes_before_panic() -> None:
    a, b, backup = place("a", usable=False), place("b", usable=False), place("x", backup=True)
    balancer = panicking(50, a, b, backup)
    assert picks(balancer, 2) == "xx"
    assert not balancer.panicked
    backup.usable = False
    assert picks(balancer, 2) == "ab"
    assert balancer.panicked


# --- slow start -----------------------------------------------------------------------------------------------------


def test_the_share_of_one_that_came_back_rises_with_time() -> None:
    settings = Balancing(slow_start=10.0, slow_start_aggression=2.0, slow_start_min_pct=10.0)
    terms = make_balancer(LoadBalancingStrategy.RANDOM, [], 0, settings).terms
    each = place("a")
    assert terms.warmth(each, 5_000) == 1.0  # it has always been there
    each.recovered = 100_000
    assert terms.warmth(each, 99_990) == 0.1  # another worker's clock
    assert terms.warmth(each, 100_000) == 0.1
    assert terms.warmth(each, 102_500) == pytest.approx(0.5)
    assert terms.warmth(each, 109_999) == pytest.approx(1.0, abs=1e-3)
    assert terms.warmth(each, 110_000) == 1.0


@pytest.mark.parametrize("strategy", EVERY_STRATEGY)
@pytest.mark.parametrize(("after", "part"), [(0.0, 0.1), (5.0, 0.5), (10.0, 1.0)])
def test_one_in_slow_start_gets_part_of_its_share(strategy: LoadBalancingStrategy, after: float, part: float) -> None:
    candidates = places(4)
    candidates[0].recovered = 1_000
    balancer = make_balancer(strategy, candidates, 0, Balancing(slow_start=10.0))
    now = 1 * SECOND + int(after * SECOND)
    count = 4_000
    counted = Counter(picked(balancer, None, now, keyed(number)) for number in range(count))
    if strategy is LoadBalancingStrategy.PEAK_EWMA:
        assert (counted["e0"] == 0) == (part < 1.0)  # among equals its cost is above theirs
    else:
        assert counted["e0"] / count == pytest.approx(part / (part + 3), abs=0.05)


# --- any mix of all of it --------------------------------------------------------------------------------------

facts = st.tuples(st.booleans(), st.integers(0, 2), st.integers(0, 2), st.booleans(), st.booleans(), st.booleans())


@given(st.sampled_from(EVERY_STRATEGY), st.lists(facts, max_size=6), st.integers(0, 2**32))
def test_every_pick_is_one_of_the_best_kind(
    strategy: LoadBalancingStrategy, found: list[tuple[bool, int, int, bool, bool, bool]], number: int
) -> None:
    candidates = []
    tried: list[Candidate] = []
    for index, (usable, weight, priority, full, ejected, was_tried) in enumerate(found):
        each = place(str(index), weight, usable=usable, priority=priority)
        each.full = full
        each.ejected_until_ms = 1 if ejected else 0
        candidates.append(each)
        if was_tried:
            tried.append(each)
    balancer = make_balancer(strategy, candidates, number % 7)
    kinds = {
        each: (each in tried, each.endpoint.priority, each.full)
        for each in candidates
        if each.usable and each.weight and not each.is_ejected(0)
    }
    best = {each for each in kinds if kinds[each] == min(kinds.values())}
    for step in range(3):
        one = balancer.pick(keyed(number + step), tried, 0)
        assert one in best if best else one is None
