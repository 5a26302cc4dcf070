"""Routes by domain: one rule, and a router kept true to it while services come and go."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from discovery.model import Listener, PathKind, Position, Protocol, Route, RouteMatch, Service, StreamRoute
from mesh.domains import Domains, all_routes_of, domain_route, routes_of
from mesh.request import SampleRequest
from mesh.router import Router

PLACE = Position(file="f", line=3, column=1)
A = Service(name="a", domain="a.local", position=PLACE)
OWN = Route(name="own", match=RouteMatch(path="/own"), service="b")


def test_every_service_with_a_domain_has_a_route() -> None:
    listener = Listener(name="web", address="127.0.0.1:80", by_domain=True)

    assert routes_of(listener, [A, Service(name="b"), Service(name="c", domain="c")]) == (
        Route(name="a", match=RouteMatch(host="a.local"), service="a", position=PLACE),
        Route(name="c", match=RouteMatch(host="c"), service="c"),
    )


def test_routes_that_are_written_come_first() -> None:
    listener = Listener(name="web", address="127.0.0.1:80", routes=(OWN,), by_domain=True)

    assert [route.name for route in routes_of(listener, [A])] == ["own", "a"]


def test_a_listener_that_is_not_by_domain_has_its_own_routes() -> None:
    streams = (StreamRoute(name="rest", service="b"),)
    listener = Listener(name="web", address="127.0.0.1:80", protocol=Protocol.AUTO, routes=(OWN,), streams=streams)

    assert all_routes_of(listener, [A]) == (OWN, *streams)


# Written routes for some of the hosts, for a wildcard and for all.
WRITTEN = [
    Route(name="w0", match=RouteMatch(host="a.test", path="/x"), service="w"),
    Route(name="w1", match=RouteMatch(host="b.test"), service="w"),
    Route(name="w2", match=RouteMatch(host="*.test", path="/x"), service="w"),
    Route(name="w3", match=RouteMatch(path="/y", path_kind=PathKind.EXACT), service="w"),
]
HOSTS = ("", "a.test", "b.test", "c.test")
services = st.builds(Service, name=st.sampled_from("stuv"), domain=st.sampled_from(HOSTS))


@given(
    written=st.lists(st.sampled_from(WRITTEN), unique_by=lambda route: route.name),
    changes=st.lists(st.one_of(services, st.sampled_from("stuv")), max_size=12),
)
def test_a_router_kept_true_routes_like_one_that_is_made_new(
    written: list[Route], changes: list[Service | str]
) -> None:
    listener = Listener(name="web", address="127.0.0.1:80", routes=tuple(written), by_domain=True)
    domains = Domains([(route, route.name) for route in written])
    there: dict[str, Service] = {}

    for change in changes:
        if isinstance(change, str):
            there.pop(change, None)
            domains.drop(change)
            continue
        there[change.name] = change
        order = list(there).index
        if change.domain:
            domains.put(change.name, domain_route(change), change.name, order)
        else:
            domains.drop(change.name)

    fresh = Router([(route, route.name) for route in routes_of(listener, there.values())])
    for host in (*HOSTS, "d.test", "other"):
        for path in (b"/", b"/x", b"/y"):
            request = SampleRequest(host=host.encode(), path=path)
            assert domains.router.match(request) == fresh.match(request)
