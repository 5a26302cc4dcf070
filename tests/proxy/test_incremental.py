"""However changes arrive, what a worker decides by in the end is what it would be had it begun with the last snapshot.

Agent and worker are the real ones, with tables but without sockets; a channel between them that fills up; and whoever
may be cut off in the middle: a change that is carried out in slices, a worker that is started again, a new agent.
"""

from __future__ import annotations

import gc
import os
import socket
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any
from unittest import mock

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from discovery.delta import SnapshotChange, change_between, identity
from discovery.model import (
    Endpoint,
    EndpointState,
    Listener,
    PoolPolicy,
    Protocol,
    Route,
    RouteMatch,
    Service,
    Snapshot,
    StreamRoute,
    TrafficSplit,
)
from mesh.request import SampleRequest
from proxy.control.channel import Message
from proxy.control.fleet import Fleet, State
from proxy.control.worker import Worker
from proxy.http1.parties import RouteRuntime
from proxy.kernel.cells import Table
from proxy.l4.routes import StreamRouteRuntime
from proxy.stats.allocator import SlotAllocator, key_change, keys_of
from proxy.stats.rows import Rows
from proxy.stats.slots import table_size
from proxy.table import Tables
from proxy.upstream.endpoint import EndpointRuntime, ServiceRuntime

ROWS = 256
HOSTS = ("a.test", "b.test", "c.test", "other")

endpoints = st.builds(
    Endpoint,
    id=st.sampled_from("abcdef"),
    address=st.sampled_from(["127.0.0.1:1", "127.0.0.1:2"]),
    version=st.sampled_from(["", "v1", "v2"]),
    weight=st.integers(0, 2),
    state=st.sampled_from(EndpointState),
)
services = st.builds(
    Service,
    name=st.sampled_from("stuv"),
    domain=st.sampled_from(["", "a.test", "b.test"]),
    endpoints=st.lists(endpoints, max_size=6, unique_by=identity).map(tuple),
    traffic_split=st.sampled_from([(), (TrafficSplit(version="v1"), TrafficSplit(service="t"))]),
    pool=st.sampled_from([PoolPolicy(), PoolPolicy(max_total=5)]),
)
web = st.builds(
    Listener,
    name=st.just("web"),
    address=st.just("127.0.0.1:80"),
    routes=st.lists(
        st.sampled_from(
            [
                Route(name="c", match=RouteMatch(host="c.test"), service="s"),
                Route(name="a", match=RouteMatch(host="a.test", path="/a"), service="t"),
                Route(name="split", match=RouteMatch(path="/split"), split=(TrafficSplit(service="u"),)),
            ]
        ),
        unique_by=lambda route: route.name,
    ).map(tuple),
    by_domain=st.booleans(),
)
tcp = st.builds(
    Listener,
    name=st.just("tcp"),
    address=st.just("127.0.0.1:81"),
    protocol=st.just(Protocol.TCP),
    streams=st.sampled_from([(), (StreamRoute(name="all", service="s"),)]),
)
listeners = st.lists(st.one_of(web, tcp), max_size=2, unique_by=lambda listener: listener.name).map(tuple)
some_services = st.lists(services, max_size=4, unique_by=lambda service: service.name).map(tuple)


class Turns:
    """As much of an event loop as a worker needs, turned by hand."""

    def __init__(self) -> None:
        self.ready: deque[tuple[Callable[..., Any], tuple[Any, ...]]] = deque()

    def call_soon(self, callback: Callable[..., Any], *arguments: Any) -> None:
        self.ready.append((callback, arguments))

    call_soon_threadsafe = call_soon

    def call_later(self, delay: float, callback: Callable[..., Any], *arguments: Any) -> mock.Mock:
        return mock.Mock()

    def turn(self) -> bool:
        if not self.ready:
            return False
        callback, arguments = self.ready.popleft()
        callback(*arguments)
        return True


class TablesPlane:
    """The tables of a data plane, and a follower that is told of their services."""

    def __init__(self, loop: object, *, table: Table, worker: int, emit: object, released: Callable[..., None]) -> None:
        self.rows = Rows(table, worker, lambda number: released((number,)))
        self.tables = Tables(self.rows)
        self.known: dict[str, Service] = {}
        self.tables.followers.append(self)

    def put(self, service: Service) -> None:
        self.known[service.name] = service

    def remove(self, name: str) -> None:
        del self.known[name]

    def steps(self, change: SnapshotChange, slots: Mapping[str, int]) -> Iterator[None]:
        self.rows.numbers = slots
        return self.tables.steps(change)

    def forget(self, numbers: Iterable[tuple[str, int]]) -> None:
        self.rows.forget(numbers)

    def untap(self, number: int | None = None) -> None:
        pass

    def close(self) -> None:
        pass


class Wire:
    """One end of a channel; messages stay in `sent` until somebody delivers them."""

    def __init__(self) -> None:
        self.backlog = 0
        self.drained: Callable[[], None] | None = None
        self.sent: deque[Message] = deque()

    def send(self, message: Message, sock: socket.socket | None = None) -> None:
        self.sent.append(message)

    def close(self) -> None:
        self.sent.clear()


def view(tables: Tables) -> dict[str, object]:
    """All that a request may meet."""
    return {
        "services": {name: _service(runtime) for name, runtime in tables.services.items()},
        "shared": {runtime.name for runtime in tables.service_table.shared},
        "routes": {
            (name, host, path): _route(tables, listener.router.match(SampleRequest(host=host.encode(), path=path)))
            for name, listener in tables.listeners.items()
            for host in HOSTS
            for path in (b"/", b"/a", b"/split")
        },
        "streams": {
            name: _route(tables, listener.streams.match(b"", b"127.0.0.1"))
            for name, listener in tables.listeners.items()
        },
    }


def _service(runtime: ServiceRuntime) -> object:
    assert runtime.balancer is not None
    return (
        runtime.service,
        {key: _endpoint(endpoint) for key, endpoint in runtime.endpoints.items()},
        _candidates(runtime.balancer.candidates),
        {version: _candidates(balancer.candidates) for version, balancer in runtime.versions.items()},
        runtime.split is None,
        runtime.max_total,
    )


def _candidates(candidates: Iterable[Any]) -> list[object]:
    return sorted(identity(candidate.endpoint) for candidate in candidates)


def _endpoint(endpoint: EndpointRuntime) -> object:
    return endpoint.endpoint, endpoint.usable, endpoint.weight, endpoint.removed, endpoint.slot.number > 0


def _route(tables: Tables, found: object) -> object:
    if found is None:
        return None
    assert isinstance(found, RouteRuntime | StreamRouteRuntime)
    service = found.service
    assert service is None or tables.services[service.name] is service
    return found.route.name, None if service is None else service.name, found.split is None


class Changes(RuleBasedStateMachine):
    def __init__(self) -> None:
        super().__init__()
        descriptor = os.memfd_create("table")
        os.ftruncate(descriptor, table_size(1, ROWS))
        self.table = Table(descriptor, 1, ROWS)
        os.close(descriptor)
        self.snapshot = Snapshot()
        self.pid = 0
        self.slicing = mock.patch("proxy.control.worker._SLICE", 0.0)
        self.stepping = mock.patch("proxy.upstream.services.STEP", 2)
        # What is usual with thousands happens with a few.
        self.parting = mock.patch.multiple("proxy.control.parts", PART_SIZE=4, MOST_IN_DELTA=8)
        self.slicing.start()
        self.stepping.start()
        self.parting.start()
        self.start_worker()
        self.start_agent(is_successor=False)
        self.publish((), ())

    def teardown(self) -> None:
        try:
            self.settle()
            self.check()
        finally:
            self.slicing.stop()
            self.stepping.stop()
            self.parting.stop()

    # --- who there is -----------------------------------------------------------------------------------------------

    def start_worker(self) -> None:
        self.loop = Turns()
        self.pid += 1
        self.worker = Worker(
            self.loop,  # type: ignore[arg-type]
            TablesPlane,  # type: ignore[arg-type]
            number=0,
            table=self.table,
            ended=lambda: None,
        )

    def start_agent(self, is_successor: bool) -> None:
        allocator = SlotAllocator(ROWS, self.table.clear, is_fresh=not is_successor)
        self.fleet = Fleet(1, allocator, self.table, lambda *_: None, is_successor=is_successor)
        self.connect()

    def connect(self) -> None:
        self.to_worker, self.to_agent = Wire(), Wire()
        self.fleet.connect(0, self.pid, self.to_worker)
        self.worker.attach(self.to_agent)

    @property
    def tables(self) -> Tables:
        plane = self.worker._plane
        assert isinstance(plane, TablesPlane)
        return plane.tables

    # --- what may happen --------------------------------------------------------------------------------------------

    def publish(self, services: tuple[Service, ...], listeners: tuple[Listener, ...]) -> None:
        wanted = Snapshot(version=self.snapshot.version + 1, services=services, listeners=listeners)
        change = change_between(self.snapshot, wanted)
        self.fleet.allocator.change(key_change(self.snapshot, change), wanted.version)
        self.snapshot = change.snapshot
        self.fleet.publish(State(self.snapshot, self.fleet.allocator.numbers, {}))

    @rule(services=some_services, listeners=listeners)
    def anything_changes(self, services: tuple[Service, ...], listeners: tuple[Listener, ...]) -> None:
        self.publish(services, listeners)

    @rule(services=some_services)
    def services_change(self, services: tuple[Service, ...]) -> None:
        self.publish(services, self.snapshot.listeners)

    @precondition(lambda self: any(service.endpoints for service in self.snapshot.services))
    @rule(data=st.data())
    def one_endpoint_changes(self, data: st.DataObject) -> None:
        services = list(self.snapshot.services)
        index = data.draw(st.sampled_from([index for index, each in enumerate(services) if each.endpoints]))
        endpoints = list(services[index].endpoints)
        where = data.draw(st.integers(0, len(endpoints) - 1))
        was = endpoints.pop(where)
        if data.draw(st.booleans()):
            state = data.draw(st.sampled_from(EndpointState))
            endpoints.insert(where, Endpoint(id=was.id, address=was.address, version=was.version, state=state))
        services[index] = Service(name=services[index].name, domain=services[index].domain, endpoints=tuple(endpoints))
        self.publish(tuple(services), self.snapshot.listeners)

    @rule()
    def a_message_arrives(self) -> None:
        if self.to_worker.sent:
            self.worker.receive(self.to_worker.sent.popleft(), None)

    @rule()
    def an_answer_arrives(self) -> None:
        if self.to_agent.sent:
            self.fleet.receive(0, self.to_agent.sent.popleft())

    @rule(times=st.integers(1, 4))
    def the_loop_turns(self, times: int) -> None:
        for _ in range(times):
            self.loop.turn()

    @rule(backlog=st.integers(0, 1))
    def the_channel_is_full_or_not(self, backlog: int) -> None:
        self.to_worker.backlog = backlog
        if not backlog and self.to_worker.drained is not None:
            self.to_worker.drained()

    @rule()
    def the_worker_is_started_again(self) -> None:
        self.worker.close()
        self.fleet.gone(0, self.pid)
        self.start_worker()
        self.connect()

    @rule()
    def the_agent_is_started_again(self) -> None:
        self.start_agent(is_successor=True)
        while not self.fleet.links[0].is_greeted:
            while self.loop.turn():
                pass
            self.fleet.receive(0, self.to_agent.sent.popleft())
        self.snapshot = Snapshot(
            version=max(self.snapshot.version, self.fleet.known_version) + 1,
            services=self.snapshot.services,
            listeners=self.snapshot.listeners,
        )
        self.fleet.allocator.assign(keys_of(self.snapshot), self.snapshot.version)
        self.fleet.publish(State(self.snapshot, self.fleet.allocator.numbers, {}))

    # --- what must hold ---------------------------------------------------------------------------------------------

    @invariant()
    def no_route_leads_to_what_is_not_there(self) -> None:
        view(self.tables)  # looks at each
        for name, runtime in self.tables.services.items():
            assert runtime.balancer is not None
            assert not any(endpoint.removed for endpoint in runtime.endpoints.values()), name

    @invariant()
    def two_keys_never_have_the_same_row(self) -> None:
        slots = self.worker.slots
        assert len(set(slots.values())) == len(slots)

    def settle(self) -> None:
        self.the_channel_is_full_or_not(0)
        while self.to_worker.sent or self.to_agent.sent or self.loop.ready:
            self.a_message_arrives()
            self.an_answer_arrives()
            self.loop.turn()

    def check(self) -> None:
        assert self.worker.snapshot == self.snapshot
        assert self.fleet.links[0].version == self.snapshot.version
        fresh = TablesPlane(None, table=self.table, worker=0, emit=None, released=lambda _: None)
        fresh.tables.apply(self.snapshot, self.fleet.allocator.numbers)
        assert view(self.tables) == view(fresh.tables)
        plane = self.worker._plane
        assert isinstance(plane, TablesPlane)
        assert plane.known == {service.name: service for service in self.snapshot.services}
        # Every key has its row, and no row is held that none has.
        assert (
            self.worker.slots
            == self.fleet.allocator.numbers
            == {key: self.worker.slots[key] for key in keys_of(self.snapshot)}
        )
        for runtime in self.tables.services.values():
            for (id_, address), endpoint in runtime.endpoints.items():
                assert endpoint.slot.number == self.worker.slots[f"endpoint/{runtime.name}/{id_}/{address}"]
        gc.collect()  # interpreted classes refer to each other where compiled ones do not
        self.settle()
        assert self.fleet.allocator.retired == 0


Changes.TestCase.settings = settings(max_examples=50, stateful_step_count=25, deadline=None)
TestChanges = Changes.TestCase
