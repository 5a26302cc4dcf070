"""Changes that need no sockets are on their way when `update` returns, and a full table changes nothing."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable

import msgspec
import pytest

from discovery.catalog import Catalog
from discovery.changes import Base, PutEndpoint
from discovery.config import Config
from discovery.model import Endpoint, Listener, Protocol, Route, Service, Snapshot
from discovery.registry import Registry
from discovery.store.memory import MemoryStore
from proxy.control.discovery import Discovery
from proxy.control.fleet import Fleet, Place
from proxy.control.messages import Apply, Delta, Hello
from proxy.control.rollout import Refused, Rollout
from proxy.kernel.cells import Table
from proxy.stats.allocator import SlotAllocator
from proxy.stats.slots import table_size

ROWS = 8
WEB = Listener(name="web", address="127.0.0.1:80", by_domain=True)
APP = Service(name="app", endpoints=(Endpoint(id="a", address="127.0.0.1:1"),))
FIRST = Snapshot(version=1, listeners=(WEB,), services=(APP,))


class Wire:
    backlog = 0
    drained = None

    def __init__(self) -> None:
        self.said: list[object] = []

    def send(self, message: object, sock: object = None) -> None:
        if isinstance(message, Apply | Delta):
            self.said.append(message)

    def close(self) -> None:
        pass


class Binder:
    async def bind(self, name: str, address: str, count: int) -> Place:
        return Place(address, address, [None] * count)  # type: ignore[list-item]

    async def want_workers(self, count: int) -> None:
        pass

    def close(self, name: str, place: Place) -> None:
        pass


class Bench:
    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr("proxy.control.rollout._SETTLE", 0.0)
        descriptor = os.memfd_create("table")
        os.ftruncate(descriptor, table_size(1, ROWS))
        table = Table(descriptor, 1, ROWS)
        os.close(descriptor)
        self.fleet = Fleet(1, SlotAllocator(ROWS, lambda _: None), table, lambda *_: None)
        self.wire = Wire()
        self.fleet.connect(0, 1, self.wire)  # type: ignore[arg-type]
        self.fleet.receive(0, Hello(worker=0, pid=1))
        self.rollout = Rollout(self.fleet, Binder(), {})
        asyncio.run(self.rollout.apply(FIRST))

    def sent(self) -> list[object]:
        said, self.wire.said = self.wire.said, []
        return said


@pytest.fixture
def bench(monkeypatch: pytest.MonkeyPatch) -> Bench:
    bench = Bench(monkeypatch)
    (message,) = bench.sent()
    assert isinstance(message, Apply)
    return bench


def with_endpoints(*ports: int, version: int = 2, domain: str = "") -> Snapshot:
    endpoints = tuple(Endpoint(id=chr(96 + port), address=f"127.0.0.1:{port}") for port in ports)
    return msgspec.structs.replace(
        FIRST, version=version, services=(Service(name="app", domain=domain, endpoints=endpoints),)
    )


def test_a_change_of_an_endpoint_is_sent_with_its_row_alone(bench: Bench) -> None:
    bench.rollout.update(with_endpoints(1, 2))

    (message,) = bench.sent()
    assert isinstance(message, Delta)
    assert list(message.slots) == ["endpoint/app/b/127.0.0.1:2"]
    assert bench.rollout.snapshot.version == 2


def test_a_service_that_gets_a_domain_gets_a_route_row_at_listeners_by_domain(bench: Bench) -> None:
    bench.rollout.update(with_endpoints(1, domain="app.test"))

    assert "route/web/app" in bench.rollout.slots
    bench.rollout.update(with_endpoints(1, version=3))
    assert "route/web/app" not in bench.rollout.slots


def test_a_full_table_refuses_a_change_and_what_is_in_force_stays(bench: Bench) -> None:
    before = dict(bench.rollout.slots)

    with pytest.raises(Refused, match="too few are free"):
        bench.rollout.update(with_endpoints(*range(1, 20)))

    assert (bench.rollout.snapshot, bench.rollout.slots, bench.sent()) == (FIRST, before, [])


@pytest.mark.parametrize(
    ("listener", "needs"),
    [
        (msgspec.structs.replace(WEB, routes=(Route(name="r", service="app"),)), False),
        (msgspec.structs.replace(WEB, address="127.0.0.1:81"), True),
        (msgspec.structs.replace(WEB, name="other"), True),
        (msgspec.structs.replace(WEB, protocol=Protocol.UDP, by_domain=False), True),
        (msgspec.structs.replace(WEB, protocol=Protocol.TCP, by_domain=False), False),
    ],
)
def test_only_other_addresses_need_sockets(bench: Bench, listener: Listener, needs: bool) -> None:
    assert bench.rollout.needs_sockets(msgspec.structs.replace(FIRST, listeners=(listener,))) is needs


def test_a_change_does_not_wait_until_workers_decide_by_a_configuration(monkeypatch: pytest.MonkeyPatch) -> None:
    bench = Bench(monkeypatch)
    monkeypatch.setattr("proxy.control.rollout._SETTLE", 30.0)

    async def scenario() -> None:
        loop = asyncio.get_running_loop()
        catalog = Catalog(Registry(), MemoryStore())
        await catalog.open()
        catalog.report(Base(snapshot=FIRST))
        catalog.registry.advance(5)
        discovery = Discovery(loop, catalog, bench.rollout)
        bench.sent()
        applying = loop.create_task(discovery.apply(Config(snapshot=with_endpoints(1, 3))))
        await until(lambda: "endpoint/app/c/127.0.0.1:3" in bench.rollout.slots)
        await catalog.change(PutEndpoint(service="app", endpoint=Endpoint(id="b", address="127.0.0.1:2")))
        await until(lambda: "endpoint/app/b/127.0.0.1:2" in bench.rollout.slots)

        assert not applying.done()  # the worker has not said a word
        assert isinstance(bench.sent()[-1], Delta)
        applying.cancel()
        await asyncio.wait((applying,))
        await discovery.catalog.close()

    async def until(condition: Callable[[], bool]) -> None:
        async with asyncio.timeout(10):
            while not condition():
                await asyncio.sleep(0.001)

    asyncio.run(scenario())
