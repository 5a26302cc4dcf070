"""A data plane in the caller's loop, with a fake one: what it is given, and how a change is put in force."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest
from fake_plane import FakePlane
from ports import free_address

from discovery.config import Config
from discovery.model import DirectResponse, Filters, Listener, Protocol, Route, Service, Snapshot
from proxy.control.embedded import Embedded
from proxy.control.rollout import Refused
from proxy.stats.slots import REQUESTS

TEXT = """
listeners:
  - name: web
    address: 127.0.0.1:8080
    routes: [ { name: all, service: app } ]
services:
  app: { endpoints: [ { id: a, address: 127.0.0.1:9001 } ] }
"""

WEB = Listener(name="web", address="127.0.0.1:8080")
APP, OTHER = Service(name="app"), Service(name="other")


class Planes:
    """Makes fake data planes and keeps them."""

    def __init__(self) -> None:
        self.made: list[FakePlane] = []

    def __call__(self, *arguments: Any, **named: Any) -> FakePlane:
        self.made.append(FakePlane(*arguments, **named))
        return self.made[-1]


def run(scenario: Callable[[Planes], Awaitable[None]]) -> None:
    async def limited() -> None:
        async with asyncio.timeout(10):
            await scenario(Planes())

    asyncio.run(limited())


def test_a_configuration_is_in_force_when_it_has_been_entered() -> None:
    async def scenario(planes: Planes) -> None:
        async with Embedded(TEXT, plane=planes) as hive:
            (plane,) = planes.made
            assert plane.calls == ["apply 1", "listen web"]
            assert plane.snapshot == hive.snapshot
            assert list(plane.slots) == [
                "listener/web",
                "route/web/all",
                "service/app",
                "endpoint/app/a/127.0.0.1:9001",
            ]
            assert plane.sockets["web", 0].getsockname() == ("127.0.0.1", hive.port("web"))
            with socket.create_connection(("127.0.0.1", hive.port("web"))):
                pass
        assert plane.calls[-1] == "close"

    run(scenario)


def test_another_configuration_keeps_the_port_and_what_did_not_change() -> None:
    async def scenario(planes: Planes) -> None:
        async with Embedded(Snapshot(listeners=(WEB,), services=(APP,)), plane=planes) as hive:
            (plane,) = planes.made
            port, kept = hive.port("web"), plane.snapshot.services[0]

            await hive.apply(Config(snapshot=Snapshot(listeners=(WEB,), services=(APP, OTHER))))

            assert hive.port("web") == port
            assert plane.calls == ["apply 1", "listen web", "apply 2"]
            assert plane.snapshot.services[0] is kept

    run(scenario)


def test_the_same_configuration_again_changes_nothing() -> None:
    async def scenario(planes: Planes) -> None:
        async with Embedded(TEXT, plane=planes) as hive:
            before = hive.snapshot
            assert await hive.apply(TEXT) is before

    run(scenario)


def test_listeners_come_and_go_with_their_ports() -> None:
    async def scenario(planes: Planes) -> None:
        admin = Listener(name="admin", address="127.0.0.1:8081")
        async with Embedded(Snapshot(listeners=(WEB,)), plane=planes) as hive:
            port = hive.port("web")
            await hive.apply(Snapshot(listeners=(admin,)))

            assert planes.made[0].calls[2:] == ["unlisten web", "apply 2", "listen admin"]
            with pytest.raises(ConnectionRefusedError):
                socket.create_connection(("127.0.0.1", port))
            socket.create_connection(("127.0.0.1", hive.port("admin"))).close()

    run(scenario)


def test_a_listener_that_is_only_renamed_keeps_its_socket(tmp_path: Path) -> None:
    async def scenario(planes: Planes) -> None:
        address = f"unix:{tmp_path}/web.sock"
        async with Embedded(Snapshot(listeners=(Listener(name="one", address=address),)), plane=planes) as hive:
            await hive.apply(Snapshot(listeners=(Listener(name="two", address=address),)))
            assert hive.address("two") == address
            with socket.socket(socket.AF_UNIX) as client:
                client.connect(f"{tmp_path}/web.sock")

    run(scenario)


@pytest.mark.parametrize(("name", "key"), [("second", r"listeners\.second\.address"), ("dns/tcp/0", r"dns\.address")])
def test_an_address_that_is_taken_leaves_everything_as_it_was(name: str, key: str) -> None:
    async def scenario(planes: Planes) -> None:
        taken = Listener(name=name, address="unix:/dev/null")
        async with Embedded(Snapshot(listeners=(WEB,), services=(APP,)), plane=planes) as hive:
            before = hive.snapshot
            with pytest.raises(Refused, match=f"{key}: cannot listen on unix:/dev/null"):
                await hive.apply(Snapshot(listeners=(WEB, taken), services=(OTHER,)))

            assert hive.snapshot is before
            assert planes.made[0].calls == ["apply 1", "listen web"]

    run(scenario)


def test_text_that_is_no_configuration_is_refused_with_its_problems() -> None:
    async def scenario(planes: Planes) -> None:
        with pytest.raises(Refused) as error:
            async with Embedded("listeners: 5", plane=planes):
                pass
        assert error.value.problems
        assert planes.made[0].calls == ["close"]

    run(scenario)


def test_rows_are_read_by_key() -> None:
    async def scenario(planes: Planes) -> None:
        async with Embedded(TEXT, plane=planes) as hive:
            hive.table.slot(0, planes.made[0].slots["service/app"]).count_request(200, 10, 1, 2)

            cells, codes = hive.stats("service/app")

            assert (cells[REQUESTS], codes) == (1, {200: 1})

    run(scenario)


def test_a_row_with_a_new_name_starts_at_zero() -> None:
    async def scenario(planes: Planes) -> None:
        async with Embedded(Snapshot(services=(APP,)), plane=planes) as hive:
            hive.table.slot(0, planes.made[0].slots["service/app"]).count_request(200, 10, 1, 2)
            await hive.apply(Snapshot())
            await hive.apply(Snapshot(services=(OTHER,)))

            assert hive.stats("service/other")[1] == {}

    run(scenario)


def test_draining_returns_when_the_data_plane_is_done() -> None:
    async def scenario(planes: Planes) -> None:
        async with Embedded(TEXT, plane=planes) as hive:
            draining = asyncio.ensure_future(hive.drain(3.0))
            while planes.made[0].done is None:
                await asyncio.sleep(0)
            assert not draining.done()
            planes.made[0].done()
            await draining

    run(scenario)


def test_what_the_data_plane_reports_is_kept() -> None:
    async def scenario(planes: Planes) -> None:
        async with Embedded(TEXT, plane=planes) as hive:
            planes.made[0].emit("log failed", {"path": "x"})
            while not hive.events:
                await asyncio.sleep(0)
            assert hive.events == [("log failed", {"path": "x"})]

    run(scenario)


def test_with_the_real_data_plane_it_serves_in_the_callers_loop() -> None:
    async def scenario(_: Planes) -> None:
        answer = DirectResponse(body="one")
        route = Route(name="all", filters=Filters(direct_response=answer))
        async with Embedded(
            Snapshot(listeners=(Listener(name="web", address="127.0.0.1:0", routes=(route,)),))
        ) as hive:
            reader, writer = await asyncio.open_connection("127.0.0.1", hive.port("web"))
            writer.write(b"GET / HTTP/1.1\r\nHost: a.test\r\nConnection: close\r\n\r\n")
            response = await reader.read()
            writer.close()

            assert response.startswith(b"HTTP/1.1 200 ")
            assert response.endswith(b"\r\n\r\none")
            assert hive.stats("listener/web")[1] == {200: 1}

    run(scenario)


def test_a_listener_that_changes_to_datagrams_gets_another_socket_for_the_same_address() -> None:
    async def scenario(planes: Planes) -> None:
        address = free_address()
        tcp = Listener(name="dns", address=address, protocol=Protocol.TCP)
        udp = Listener(name="dns", address=address, protocol=Protocol.UDP)
        both = Listener(name="dns-tcp", address=address, protocol=Protocol.TCP)
        async with Embedded(Snapshot(listeners=(tcp,)), plane=planes, ephemeral=False) as hive:
            (plane,) = planes.made
            assert plane.sockets["dns", 0].type == socket.SOCK_STREAM

            await hive.apply(Snapshot(listeners=(udp, both)))

            assert plane.sockets["dns", 0].type == socket.SOCK_DGRAM
            assert plane.sockets["dns-tcp", 0].type == socket.SOCK_STREAM
            assert hive.address("dns") == hive.address("dns-tcp") == address

    run(scenario)
