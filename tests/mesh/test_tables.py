"""Tables of many endpoints are made in slices, while the one before is in use."""

from __future__ import annotations

import gc
import weakref

import pytest
from candidates import keyed, picked, place, places

from discovery.policies import Balancing, LoadBalancingStrategy
from mesh.balance import Candidate
from mesh.strategies import make_balancer
from mesh.tables import KeyTable, Maglev, Ring


def built(table: KeyTable, members: list[Candidate]) -> int:
    """How many slices it took."""
    return sum(1 for _ in table.build(members))


@pytest.mark.parametrize("kind", [Ring, Maglev])
@pytest.mark.parametrize("members", [[], [place("a", 0)]])
def test_a_table_of_nobody_is_empty(kind: type[KeyTable], members: list[Candidate]) -> None:
    table = kind()
    built(table, members)
    assert table.size == 0


def test_the_size_of_a_ring_follows_the_lightest_and_has_a_limit() -> None:
    for members, size in (
        (places(3), 480),
        ([place("a", 2), place("b", 1)], 480),
        (places(3, weight=64), 480),
        ([place("a", 1_000_000), place("b", 1)], pytest.approx(610_000, rel=0.1)),
        ([place("a", 0), place("b", 1)], 160),
    ):
        table = Ring()
        built(table, list(members))
        assert table.size == size


def test_a_large_table_takes_many_slices() -> None:
    table = Maglev()
    assert built(table, list(places(1_000))) > 5
    assert table.size == 65_537


@pytest.mark.parametrize("strategy", [LoadBalancingStrategy.RING_HASH, LoadBalancingStrategy.MAGLEV])
def test_requests_are_served_while_a_table_is_made(strategy: LoadBalancingStrategy) -> None:
    candidates = places(300)
    balancer = make_balancer(strategy, candidates, 0, Balancing())
    first = [picked(balancer, request=keyed(number)) for number in range(50)]
    assert "-" not in first
    for _ in range(400):
        picked(balancer)
    settled = [picked(balancer, request=keyed(number)) for number in range(50)]
    # One that leaves is met no more at once, though the table still has it; nor is one that came back too early.
    gone = next(each for each in candidates if each.endpoint.id == settled[0])
    balancer.exchange([gone], [])
    assert picked(balancer, request=keyed(0)) != gone.endpoint.id
    assert [picked(balancer, request=keyed(number)) for number in range(50) if settled[number] != gone.endpoint.id] == [
        name for name in settled if name != gone.endpoint.id
    ]


@pytest.mark.parametrize("strategy", list(LoadBalancingStrategy))
def test_whoever_has_left_is_kept_by_nothing(strategy: LoadBalancingStrategy) -> None:
    """Its row of statistics is somebody else's only when it is gone."""
    candidates = [*places(299), gone := place("gone")]
    balancer = make_balancer(strategy, candidates, 0, Balancing())
    for number in range(400):
        picked(balancer, request=keyed(number))
        if number == 390:
            gone.become(weight=2)
    seen = weakref.ref(gone)
    balancer.exchange([gone], [])
    gone.changes.forget(gone)
    candidates.remove(gone)
    del gone
    gc.collect()
    assert seen() is None
