"""What one pick costs, for each strategy, among 3, 50 and 10,000 endpoints; and a slice of making a table.

    pytest benchmarks/micro/test_balance.py --benchmark-columns=min,median --benchmark-sort=name

Each round picks 64 times, for clients of their own, so divide by 64. All endpoints are usable. Loads are read from
plain attributes here; in the proxy each costs one cache line per worker.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest

from discovery.model import Endpoint
from discovery.policies import Balancing, LoadBalancingStrategy
from mesh.balance import Balancer, Candidate
from mesh.draws import Draws
from mesh.request import SampleRequest
from mesh.strategies import make_balancer
from mesh.tables import KeyTable, Maglev, Ring

PICKS = 64
REQUESTS = [SampleRequest(client=b"10.1.%d.%d" % (number, number)) for number in range(PICKS)]


def made(count: int, weighted: bool) -> list[Candidate]:
    return [
        Candidate(Endpoint(id=f"e{number}", address=f"10.0.0.1:{number}", weight=1 + number % 3 if weighted else 1))
        for number in range(count)
    ]


def picking(balancer: Balancer) -> Callable[[], None]:
    pick = balancer.pick
    for _ in range(100):  # tables are made in slices, one with each pick
        for request in REQUESTS:
            pick(request, None, 1_000_000)

    def run() -> None:
        for request in REQUESTS:
            pick(request, None, 1_000_000)

    return run


@pytest.mark.parametrize("count", [3, 50, 10_000])
@pytest.mark.parametrize("strategy", list(LoadBalancingStrategy))
def test_a_pick(benchmark, strategy: LoadBalancingStrategy, count: int) -> None:
    benchmark(picking(make_balancer(strategy, made(count, True), 0, Balancing(), "", Draws(1))))


@pytest.mark.parametrize("count", [3, 50])
def test_a_pick_with_bounded_load(benchmark, count: int) -> None:
    settings = Balancing(bounded_load=1.25)
    benchmark(picking(make_balancer(LoadBalancingStrategy.RING_HASH, made(count, True), 0, settings, "", Draws(1))))


@pytest.mark.parametrize("count", [50, 10_000])
@pytest.mark.parametrize("kind", [Ring, Maglev])
def test_the_slices_of_a_table(benchmark, kind: type[KeyTable], count: int) -> None:
    """One round is one slice, whichever it is; look at the maximum."""
    members = made(count, False)

    def slices() -> Iterator[None]:
        while True:
            yield from kind().build(members)

    benchmark(slices().__next__)
