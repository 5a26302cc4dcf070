"""What a traffic split, a bond between a client and an endpoint, and a subset cost a request.

    pytest benchmarks/micro/test_split.py --benchmark-columns=min,median --benchmark-sort=name

Each round decides 64 times. A split must not depend on how many endpoints a version has, as long as the first of them
is usable; a hash has to look at all of them. `test_a_preview`, once a round: what it takes a worker to tell which
endpoint a request would get. It does nothing else meanwhile.
"""

from __future__ import annotations

import os
from typing import Any

import pytest

from discovery.model import Endpoint, Listener, Route, Service, Settings, Snapshot, TrafficSplit
from discovery.policies import Affinity, KeyKind, LoadBalancingStrategy, Subset
from mesh.decision import MOST_ENDPOINTS
from mesh.draws import Draws
from mesh.request import SampleRequest
from mesh.subsets import SubsetRule
from proxy.kernel.cells import Table
from proxy.kernel.entropy import new_request_id, random_unit
from proxy.stats import slots
from proxy.stats.allocator import SlotAllocator, keys_of
from proxy.stats.rows import Rows
from proxy.table import Tables
from proxy.upstream.preview import preview

TIMES = 64
SHARES = (TrafficSplit(version="v1", weight=90), TrafficSplit(version="v2", weight=10))


def tables(endpoints: int, **given: Any) -> Tables:
    made = tuple(
        Endpoint(id=f"e{n}", address=f"127.0.0.1:{n + 1}", version=f"v{n % 2 + 1}", metadata={"zone": str(n % 4)})
        for n in range(endpoints)
    )
    service = Service(name="app", endpoints=made, **given)
    listener = Listener(name="web", address="127.0.0.1:0", routes=(Route(name="all", service="app"),))
    snapshot = Snapshot(version=1, settings=Settings(secret="s"), listeners=(listener,), services=(service,))
    rows = 2 * endpoints + 64
    descriptor = os.memfd_create("statistics")
    os.ftruncate(descriptor, slots.table_size(1, rows))
    table = Table(descriptor, 1, rows)
    os.close(descriptor)
    found = Tables(Rows(table, 0, lambda number: None))
    found.apply(snapshot, SlotAllocator(rows, lambda number: None).assign(keys_of(snapshot), 1))
    return found


@pytest.mark.parametrize("endpoints", [4, 1000])
def test_a_split(benchmark, endpoints: int) -> None:
    made = tables(endpoints, traffic_split=SHARES)
    split, request, request_id = made.services["app"].split, SampleRequest(), new_request_id()
    assert split is not None

    def decide() -> None:
        for _ in range(TIMES):
            split.draw_for(request, split.number_of(request_id), 0)

    benchmark(decide)


@pytest.mark.parametrize("source", ["draws", "kernel"])
def test_a_random_number(benchmark, source: str) -> None:
    draw = Draws(1).unit if source == "draws" else random_unit

    def decide() -> None:
        for _ in range(TIMES):
            draw()

    benchmark(decide)


@pytest.mark.parametrize("endpoints", [4, 100])
@pytest.mark.parametrize("kind", [KeyKind.COOKIE, KeyKind.HEADER])
def test_a_bond(benchmark, kind: KeyKind, endpoints: int) -> None:
    made = tables(endpoints, affinity=Affinity(kind=kind, name="hm"))
    service = made.services["app"]
    affinities, balancer = service.affinities, service.balancer
    assert affinities is not None and balancer is not None
    fresh = affinities.bond(SampleRequest(headers=[(b"hm", b"ann")]))
    assert fresh is not None
    line = affinities.line(balancer.candidates[1], fresh) or b": hm=;"
    cookie = line.partition(b": ")[2].partition(b";")[0]
    request = SampleRequest(headers=[(b"cookie", b"theme=dark; " + cookie + b"; lang=en"), (b"hm", b"ann")])

    def decide() -> None:
        for _ in range(TIMES):
            bond = affinities.bond(request)
            assert bond is not None and bond.target(balancer, None, 0) is not None

    benchmark(decide)


@pytest.mark.parametrize("endpoints", [4, 1000])
def test_a_subset(benchmark, endpoints: int) -> None:
    service = tables(endpoints).services["app"]
    rule, request = SubsetRule(Subset(headers={"zone": "x-zone"})), SampleRequest(headers=[(b"x-zone", b"2")])
    balancer = service.balancer
    assert balancer is not None

    def decide() -> None:
        for _ in range(TIMES):
            assert service.subsets.balancer(rule, request, "", balancer, balancer, service.make_balancer) is not None

    benchmark(decide)


@pytest.mark.parametrize("endpoints", [4, 100, 10_000])
@pytest.mark.parametrize("strategy", list(LoadBalancingStrategy))
def test_a_preview(benchmark, strategy: LoadBalancingStrategy, endpoints: int) -> None:
    service, request = tables(endpoints, load_balancing=strategy).services["app"], SampleRequest()
    benchmark(lambda: preview(service, "", None, request, None, 1_000_000, MOST_ENDPOINTS))
