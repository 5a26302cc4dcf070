"""Configuration applied again and again: what has the same identity is the same object, what is gone lets go."""

from __future__ import annotations

import gc
import os
from collections.abc import Mapping

import pytest
from msgspec.structs import replace

from discovery.delta import change_between
from discovery.model import (
    Endpoint,
    EndpointState,
    Filters,
    HeaderEdit,
    Listener,
    PoolPolicy,
    Route,
    RouteMatch,
    Service,
    Settings,
    Snapshot,
    TrafficSplit,
)
from mesh.request import SampleRequest
from proxy.http1.parties import RouteRuntime
from proxy.kernel.cells import Table
from proxy.stats import slots
from proxy.stats.allocator import SlotAllocator, keys_of
from proxy.stats.rows import Rows
from proxy.table import Tables
from proxy.upstream.endpoint import EndpointRuntime

ROWS = 64


class Applied:
    """Tables with the agent's side of their rows."""

    def __init__(self) -> None:
        fd = os.memfd_create("statistics")
        os.ftruncate(fd, slots.table_size(1, ROWS))
        self.table = Table(fd, 1, ROWS)
        os.close(fd)
        self.allocator = SlotAllocator(ROWS, self.table.clear)
        self.released: list[int] = []
        self.tables = Tables(Rows(self.table, 0, self.released.append))
        self.numbers: Mapping[str, int] = {}
        self.version = 0

    def apply(
        self,
        services: tuple[Service, ...] = (),
        listeners: tuple[Listener, ...] = (),
        settings: Settings | None = None,
    ) -> None:
        self.version += 1
        snapshot = Snapshot(
            version=self.version, services=services, listeners=listeners, settings=settings or Settings()
        )
        self.numbers = self.allocator.assign(keys_of(snapshot), self.version)
        self.allocator.sent(0, self.numbers.values())
        self.tables.apply(snapshot, self.numbers)

    def endpoint(self, service: str, id_: str) -> EndpointRuntime:
        (found,) = (each for (key, _), each in self.tables.services[service].endpoints.items() if key == id_)
        return found

    def route(self, listener: str = "web", path: bytes = b"/") -> RouteRuntime:
        found = self.tables.listeners[listener].router.match(SampleRequest(path=path))
        assert isinstance(found, RouteRuntime)
        return found


def endpoints(*ids: str, **given: object) -> tuple[Endpoint, ...]:
    return tuple(Endpoint(id=id_, address=f"127.0.0.1:{9000 + ord(id_)}", **given) for id_ in ids)


def app(*ids: str, **given: object) -> Service:
    return Service(name="app", endpoints=endpoints(*ids), **given)


def web(*routes: Route) -> Listener:
    return Listener(name="web", address="127.0.0.1:8080", routes=routes or (Route(name="all", service="app"),))


# --- identity -----------------------------------------------------------------------------------------------------


def test_the_same_endpoint_is_the_same_object() -> None:
    applied = Applied()
    applied.apply((app("a", "b"),))
    first, service = applied.endpoint("app", "a"), applied.tables.services["app"]
    changed = Endpoint(id="a", address=first.endpoint.address, weight=5, version="v2", backup=True)
    applied.apply((Service(name="app", endpoints=(changed, *endpoints("c")), pool=PoolPolicy(max_idle=3)),))
    assert applied.endpoint("app", "a") is first
    assert applied.tables.services["app"] is service
    assert (first.weight, first.backup, first.max_idle, first.endpoint.version) == (5, True, 3, "v2")
    assert {id_ for id_, _ in service.endpoints} == {"a", "c"}


def test_another_address_is_another_endpoint() -> None:
    applied = Applied()
    applied.apply((app("a"),))
    first = applied.endpoint("app", "a")
    applied.apply((Service(name="app", endpoints=(Endpoint(id="a", address="127.0.0.1:1"),)),))
    assert applied.endpoint("app", "a") is not first
    assert first.removed


def test_the_same_endpoint_of_two_services_is_two() -> None:
    applied = Applied()
    applied.apply((app("a"), Service(name="other", endpoints=endpoints("a"))))
    assert applied.endpoint("app", "a") is not applied.endpoint("other", "a")


@pytest.mark.parametrize("whole", [True, False], ids=["service", "endpoint"])
def test_what_is_gone_is_retired(whole: bool) -> None:
    applied = Applied()
    applied.apply((app("a", "b"),))
    gone, stays = applied.endpoint("app", "a"), applied.endpoint("app", "b")
    applied.apply(() if whole else (app("b"),))
    assert gone.removed and not gone.usable
    assert stays.removed == whole


def test_an_unchanged_service_is_not_looked_into() -> None:
    applied = Applied()
    service = app("a")
    applied.apply((service,))
    balancer = applied.tables.services["app"].balancer
    applied.apply((service, Service(name="other")))
    assert applied.tables.services["app"].balancer is balancer


def test_a_listener_keeps_its_object_and_takes_new_routes() -> None:
    applied = Applied()
    applied.apply((app("a"),), (web(),))
    listener = applied.tables.listeners["web"]
    applied.apply((app("a"),), (web(Route(name="new", match=RouteMatch(path="/new"), service="app")),))
    assert applied.tables.listeners["web"] is listener
    assert applied.route(path=b"/new").route.name == "new"
    assert listener.router.match(SampleRequest(path=b"/")) is None
    applied.apply((app("a"),))
    assert applied.tables.listeners == {}


def test_health_decides_what_is_usable() -> None:
    applied = Applied()
    for state in EndpointState:
        applied.apply((Service(name="app", endpoints=endpoints("a", state=state)),))
        assert applied.endpoint("app", "a").usable == (state is EndpointState.HEALTHY)


# --- routes -------------------------------------------------------------------------------------------------------


def test_a_route_to_a_service_that_does_not_exist_has_none_until_it_does() -> None:
    applied = Applied()
    listener = web()
    applied.apply((), (listener,))
    assert applied.route().service is None
    applied.apply((app("a"),), (listener,))
    assert applied.route().service is applied.tables.services["app"]
    applied.apply((), (listener,))
    assert applied.route().service is None


def test_a_service_that_comes_back_is_a_new_one_for_its_routes_too() -> None:
    applied = Applied()
    listener = web()
    applied.apply((app("a"),), (listener,))
    old = applied.tables.services["app"]
    applied.apply((), (listener,))
    applied.apply((app("a"),), (listener,))
    assert applied.tables.services["app"] is not old
    assert applied.route().service is applied.tables.services["app"]


def test_header_edits_and_rewrites_are_prepared_once() -> None:
    edit = HeaderEdit(set={"X-A": "1"}, remove=("X-B",))
    applied = Applied()
    applied.apply((app("a"),), (web(Route(name="all", service="app", filters=Filters(request_headers=edit))),))
    route = applied.route()
    assert route.request_edits is not None
    assert (set(route.request_edits.drop), route.request_edits.append) == ({b"x-a", b"x-b"}, b"X-A: 1\r\n")
    assert route.response_edits is None


# --- splits -------------------------------------------------------------------------------------------------------

V1, V2 = Endpoint(id="a", address="127.0.0.1:1", version="v1"), Endpoint(id="b", address="127.0.0.1:2", version="v2")


def draws(applied: Applied) -> dict[str, int]:
    split = applied.tables.services["app"].split
    assert split is not None
    counts: dict[str, int] = {}
    for step in range(100):
        drawn = split.draw(SampleRequest(), step / 100, 0)
        key = drawn.version + (" failed over" if drawn.failed_over else "")
        counts[key] = counts.get(key, 0) + 1
    return counts


def test_a_split_follows_its_weights() -> None:
    shares = (TrafficSplit(version="v1", weight=90), TrafficSplit(version="v2", weight=10))
    applied = Applied()
    applied.apply((Service(name="app", endpoints=(V1, V2), traffic_split=shares),))
    assert draws(applied) == {"v1": 90, "v2": 10}
    assert set(applied.tables.services["app"].versions) == {"v1", "v2"}


def test_another_name_of_the_instance_draws_anew() -> None:
    """Two instances that a request passes must not draw alike."""
    shares = (TrafficSplit(version="v1", weight=1), TrafficSplit(version="v2", weight=1))
    whole = Service(name="app", endpoints=(V1, V2), traffic_split=shares)
    listener = Listener(name="web", address="127.0.0.1:1", routes=(Route(name="all", service="app", split=shares),))
    applied = Applied()
    found = []
    for instance in ("one", "one", "two"):
        applied.apply((whole,), (listener,), Settings(instance=instance))
        for split in (applied.route().split, applied.tables.services["app"].split):
            assert split is not None
            found.append([split.number_of(b"%d" % number) for number in range(20)])
    assert found[0:2] == found[2:4]
    assert len({tuple(numbers) for numbers in found}) == 4


@pytest.mark.parametrize("missing", ["unhealthy", "weight 0", "absent"])
def test_a_share_without_usable_endpoints_fails_over(missing: str) -> None:
    shares = (TrafficSplit(version="v1", weight=90), TrafficSplit(version="v2", weight=10))
    rest = {
        "unhealthy": (Endpoint(id="b", address="127.0.0.1:2", version="v2", state=EndpointState.UNHEALTHY),),
        "weight 0": (Endpoint(id="b", address="127.0.0.1:2", version="v2", weight=0),),
        "absent": (),
    }[missing]
    applied = Applied()
    applied.apply((Service(name="app", endpoints=(V1, *rest), traffic_split=shares),))
    assert draws(applied) == {"v1": 90, "v1 failed over": 10}


def test_when_no_share_is_usable_the_drawn_one_is_answered_for() -> None:
    shares = (TrafficSplit(version="v1", weight=1), TrafficSplit(version="v2", weight=1))
    applied = Applied()
    applied.apply((Service(name="app", traffic_split=shares),))
    assert draws(applied) == {"v1": 50, "v2": 50}


def test_a_route_may_split_between_services() -> None:
    split = (TrafficSplit(service="app", weight=1), TrafficSplit(service="other", weight=1))
    applied = Applied()
    listener = web(Route(name="all", split=split))
    applied.apply((app("a"), Service(name="other", endpoints=endpoints("b"))), (listener,))
    route = applied.route()
    assert route.split is not None
    both = applied.tables.services
    assert [route.split.draw(SampleRequest(), draw, 0).service for draw in (0.1, 0.9)] == [both["app"], both["other"]]
    # One of them loses its endpoints; the other takes its part.
    applied.apply((app("a"), Service(name="other")), (listener,))
    drawn = applied.route().split.draw(SampleRequest(), 0.9, 0)
    assert (drawn.service, drawn.failed_over) == (both["app"], True)


# --- rows of statistics -------------------------------------------------------------------------------------------


def test_what_is_named_is_counted_in_its_own_row() -> None:
    applied = Applied()
    applied.apply((app("a"),), (web(),))
    for key, slot in {
        "listener/web": applied.tables.listeners["web"].slot,
        "route/web/all": applied.route().slot,
        "service/app": applied.tables.services["app"].slot,
        f"endpoint/app/a/{endpoints('a')[0].address}": applied.endpoint("app", "a").slot,
    }.items():
        assert slot.number == applied.numbers[key]


def test_a_row_is_released_when_nobody_can_write_to_it_any_more() -> None:
    applied = Applied()
    applied.apply((app("a", "b"),), (web(),))
    number = applied.numbers[f"endpoint/app/a/{endpoints('a')[0].address}"]
    busy = applied.endpoint("app", "a")
    applied.apply((app("b"),), (web(),))
    gc.collect()
    assert applied.released == []
    # A stream or an exchange still holds the endpoint, and counts.
    busy.slot.add(slots.REQUESTS, 1)
    del busy
    gc.collect()
    assert applied.released == [number]


def test_everything_is_released_in_the_end() -> None:
    applied = Applied()
    applied.apply((app("a", "b"), Service(name="other", endpoints=endpoints("c"))), (web(),))
    numbers = set(applied.numbers.values())
    applied.apply()
    gc.collect()
    assert sorted(applied.released) == sorted(numbers)
    assert applied.tables.services == {} and applied.tables.listeners == {}


def test_a_key_that_comes_back_counts_on_in_its_row() -> None:
    applied = Applied()
    applied.apply((app("a"),))
    old = applied.endpoint("app", "a")
    number = old.slot.number
    applied.apply((app("b"),))
    applied.apply((app("a"),))
    new = applied.endpoint("app", "a")
    assert new is not old
    assert new.slot.number == number
    # The old one ends while the new one writes: the row is not free.
    del old
    gc.collect()
    assert number not in applied.released
    applied.apply((app("b"),))
    del new
    gc.collect()
    assert applied.released.count(number) == 1


def test_applying_the_same_again_releases_nothing() -> None:
    applied = Applied()
    for _ in range(3):
        applied.apply((app("a"),), (web(),))
        gc.collect()
    assert applied.released == []


# --- how much a change is -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("settings", [Settings(secret="other"), Settings(instance="other")])
def test_listeners_that_are_made_anew_for_other_settings_count(settings: Settings) -> None:
    applied = Applied()
    applied.apply((app("a", "b"),), (web(),))
    was = applied.tables.snapshot
    routes, again = applied.tables.listeners["web"].router, replace(was, settings=settings)
    assert applied.tables.size(change_between(was, replace(was, version=2))) == 0
    # a service with its two endpoints, a listener with its route
    assert applied.tables.size(change_between(was, again)) == 3 + 2
    applied.apply(was.services, was.listeners, settings)
    assert applied.tables.listeners["web"].router is not routes
