"""Requests go round the endpoints that may take them."""

from __future__ import annotations

from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from discovery.model import Endpoint
from discovery.policies import LoadBalancingStrategy
from mesh.balance import Balancer, Candidate, RoundRobin
from mesh.request import SampleRequest
from mesh.strategies import make_balancer

REQUEST = SampleRequest()


def candidate(name: str, *, usable: bool = True, weight: int = 1, backup: bool = False) -> Candidate:
    made = Candidate(Endpoint(id=name, address="127.0.0.1:1", weight=weight, backup=backup))
    made.usable = usable
    return made


def picks(balancer: Balancer, count: int, tried: list[Candidate] | None = None) -> str:
    return "".join(found.endpoint.id if (found := balancer.pick(REQUEST, tried, 0)) else "-" for _ in range(count))


def test_every_endpoint_takes_its_turn() -> None:
    assert picks(RoundRobin([candidate("a"), candidate("b"), candidate("c")]), 7) == "abcabca"


def test_the_start_moves_the_rotation() -> None:
    candidates = [candidate("a"), candidate("b"), candidate("c")]
    assert picks(make_balancer(LoadBalancingStrategy.ROUND_ROBIN, candidates, 2), 4) == "cabc"
    assert picks(make_balancer(LoadBalancingStrategy.ROUND_ROBIN, candidates, 1_000_000), 3) == "bca"


def test_unusable_endpoints_and_weight_zero_are_skipped_without_favouring_their_neighbour() -> None:
    balancer = RoundRobin([candidate("a"), candidate("b", usable=False), candidate("c"), candidate("d", weight=0)])
    assert picks(balancer, 6) == "acacac"


def test_no_usable_endpoint_is_none() -> None:
    assert picks(RoundRobin([]), 1) == "-"
    assert picks(RoundRobin([candidate("a", usable=False), candidate("b", weight=0)]), 2) == "--"


def test_health_is_read_at_every_pick() -> None:
    a, b = candidate("a"), candidate("b")
    balancer = RoundRobin([a, b])
    assert picks(balancer, 2) == "ab"
    a.usable = False
    assert picks(balancer, 2) == "bb"
    a.usable, b.usable = True, False
    assert picks(balancer, 2) == "aa"


def test_backups_take_turns_while_no_primary_is_usable() -> None:
    primary = candidate("p", usable=False)
    balancer = RoundRobin([primary, candidate("x", backup=True), candidate("y", backup=True)])
    assert picks(balancer, 4) == "xyxy"
    primary.usable = True
    assert picks(balancer, 2) == "pp"


def test_an_endpoint_that_was_tried_is_the_last_resort() -> None:
    a, b, backup = candidate("a"), candidate("b"), candidate("x", backup=True)
    balancer = RoundRobin([a, b, backup])
    assert picks(balancer, 2, tried=[a]) == "bb"
    assert picks(balancer, 2, tried=[a, b]) == "xx"
    assert picks(balancer, 2, tried=[a, b, backup]) in ("ab", "ba")
    backup.usable = False
    assert set(picks(balancer, 2, tried=[a, b])) == {"a", "b"}


def test_candidates_can_be_replaced_while_in_use() -> None:
    balancer = RoundRobin([candidate(name) for name in "abcdef"])
    picks(balancer, 5)
    balancer.candidates = [candidate("x"), candidate("y")]
    assert Counter(picks(balancer, 4)) == {"x": 2, "y": 2}


@pytest.mark.parametrize("strategy", list(LoadBalancingStrategy))
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
    balancer = RoundRobin(candidates, start)
    if not best:
        assert balancer.pick(REQUEST, tried, 0) is None
    else:
        assert Counter(picks(balancer, 3 * len(best), tried)) == dict.fromkeys(best, 3)


# --- candidates that come and go ------------------------------------------------------------------------------------


def test_the_turn_goes_on_when_candidates_come_and_go() -> None:
    a, b, c, d = (candidate(name) for name in "abcd")
    balancer = RoundRobin([a, b, c])
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
    at_once, one_by_one = RoundRobin(candidates), RoundRobin(candidates)
    for balancer in (at_once, one_by_one):
        picks(balancer, picked)

    at_once.exchange(left, fresh)
    for each in left:
        one_by_one.exchange([each], [])
    one_by_one.exchange([], fresh)

    assert at_once.candidates == one_by_one.candidates
    assert picks(at_once, 2 * count) == picks(one_by_one, 2 * count)


class Ejectable(Candidate):
    until_ms = 0

    def is_ejected(self, now_ms: int) -> bool:
        return now_ms < self.until_ms


def test_an_ejected_endpoint_is_left_out_until_its_time_is_over() -> None:
    ejected = Ejectable(Endpoint(id="e", address="127.0.0.1:1"))
    ejected.until_ms = 500
    balancer = RoundRobin([ejected, candidate("a"), candidate("b", backup=True)])
    named = [balancer.pick(REQUEST, None, now) for now in (0, 499_999, 500_000, 500_000)]
    assert [found.endpoint.id for found in named if found] == ["a", "a", "e", "a"]
    assert RoundRobin([ejected]).pick(REQUEST, None, 0) is None
