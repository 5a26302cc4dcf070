"""What one routing decision costs, and whether the number of routes shows in it.

Run compiled (`make build`) and, for comparison, interpreted (`make pure`):

    pytest benchmarks/micro/test_router.py --benchmark-columns=min,median --benchmark-sort=name

Each round decides the same 64 requests, spread evenly over the routes that are there, so divide by 64. Budget:
0.3 microseconds a decision with 50 routes, and 10,000 routes at most 1.15 times that.
"""

from __future__ import annotations

from collections.abc import Callable

import pytest

from discovery.model import MatchKind, NameMatch, PathKind, Route, RouteMatch
from mesh.request import SampleRequest
from mesh.router import Router

DECISIONS = 64
HEADERS = [
    (b"user-agent", b"curl/8.5.0"),
    (b"accept", b"*/*"),
    (b"accept-encoding", b"gzip"),
    (b"x-request-id", b"3f2a"),
]


def by_host_path_and_header(count: int) -> list[Route]:
    """Groups of five routes a host: two prefixes, one of them twice by header, an exact path, and the rest."""
    routes = []
    for group in range(count // 5):
        host = f"shop{group}.example.org"
        for name, match in (
            ("items", RouteMatch(host=host, path="/api/v2/items", methods=("GET", "POST"))),
            ("api", RouteMatch(host=host, path="/api/v2")),
            ("beta", RouteMatch(host=host, path="/api/v2", headers=(NameMatch(name="x-beta", value="1"),))),
            ("exact", RouteMatch(host=host, path="/healthz", path_kind=PathKind.EXACT)),
            ("rest", RouteMatch(host=host)),
        ):
            routes.append(Route(name=f"{name}-{group}", match=match))
    return routes


def requests_for(count: int) -> list[SampleRequest]:
    groups = count // 5
    requests = []
    for index in range(DECISIONS):
        host = b"shop%d.example.org" % (index * groups // DECISIONS)
        path = (b"/api/v2/items/42", b"/api/v2/carts", b"/api/v2/users/7", b"/healthz")[index % 4]
        headers = [*HEADERS, (b"x-beta", b"1")] if index % 4 == 2 else HEADERS
        requests.append(SampleRequest(host=host, path=path, headers=headers))
    return requests


def decide(router: Router, requests: list[SampleRequest]) -> Callable[[], None]:
    match = router.match
    assert all(match(request) is not None for request in requests)

    def round_of_decisions() -> None:
        for request in requests:
            match(request)

    return round_of_decisions


@pytest.mark.parametrize("count", [50, 10_000])
def test_routes_by_host_path_and_header(benchmark, count: int) -> None:
    router = Router([(route, route.name) for route in by_host_path_and_header(count)])
    benchmark(decide(router, requests_for(count)))


@pytest.mark.parametrize("count", [50, 10_000])
def test_routes_of_one_path_that_differ_by_a_header(benchmark, count: int) -> None:
    router = Router(
        [
            (Route(name=str(n), match=RouteMatch(headers=(NameMatch(name="x-tenant", value=f"t{n}"),))), n)
            for n in range(count)
        ]
    )
    requests = [
        SampleRequest(path=b"/api/items", headers=[*HEADERS, (b"x-tenant", b"t%d" % (n * count // DECISIONS))])
        for n in range(DECISIONS)
    ]
    benchmark(decide(router, requests))


@pytest.mark.parametrize("count", [50, 10_000])
def test_routes_with_regular_expressions(benchmark, count: int) -> None:
    router = Router(
        [
            (Route(name=str(n), match=RouteMatch(path=f"/t{n}/[a-z]+/v[0-9]+(/.*)?", path_kind=PathKind.REGEX)), n)
            for n in range(count)
        ]
    )
    requests = [SampleRequest(path=b"/t%d/items/v2/x" % (n * count // DECISIONS)) for n in range(DECISIONS)]
    benchmark(decide(router, requests))


def test_query_condition(benchmark) -> None:
    wanted = NameMatch(name="version", kind=MatchKind.EXACT, value="2")
    router = Router([(Route(name="v2", match=RouteMatch(query=(wanted,))), 1), (Route(name="any"), 2)])
    benchmark(decide(router, [SampleRequest(query=b"page=3&sort=name&version=2")] * DECISIONS))
