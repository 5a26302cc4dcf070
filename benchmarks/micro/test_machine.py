"""One whole exchange: accepted request to answered request, through both drivers and the forwarder.

    pytest benchmarks/micro/test_machine.py --benchmark-columns=min,median --benchmark-sort=name

A round is one request on connections that are kept: the client writes it, the data plane reads and forwards it, the
origin answers, the client reads the answer. The test plays client and origin with plain blocking calls, so about five
system calls of each round are its own; what is measured well is the difference between the cases, and between
compiled (`make build`) and interpreted (`make pure`).
"""

from __future__ import annotations

import asyncio
import os
import select
import socket
from collections.abc import Callable
from pathlib import Path
from typing import Any, cast

import pytest

from discovery.model import (
    AccessLog,
    Endpoint,
    Filters,
    HeaderEdit,
    Listener,
    LogFormat,
    Route,
    RouteMatch,
    Service,
    Settings,
    Snapshot,
)
from proxy.dataplane import DataPlane
from proxy.kernel.cells import Table
from proxy.stats import slots
from proxy.stats.allocator import keys_of

ROWS = 256
GET = (
    b"GET /api/v2/items/42?page=3 HTTP/1.1\r\nHost: shop.example.org\r\nUser-Agent: bench/1.0 (linux)\r\n"
    b"Accept: application/json, text/plain, */*\r\nAccept-Encoding: gzip, deflate, br\r\nAccept-Language: en\r\n"
    b"Cookie: session=0123456789abcdef0123456789abcdef\r\nX-Tenant: t1\r\nCache-Control: no-cache\r\n\r\n"
)
POST = b"POST /api/v2/items HTTP/1.1\r\nHost: shop.example.org\r\nContent-Length: 1000\r\n\r\n" + b"x" * 1000
SMALL = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 71\r\n\r\n" + b"y" * 71
LARGE = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 40000\r\n\r\n" + b"y" * 40_000
CHUNKED = (
    b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n"
    b"40\r\n" + b"y" * 64 + b"\r\n40\r\n" + b"y" * 64 + b"\r\n0\r\n\r\n"
)


class HandLoop:
    """As much of an event loop as a data plane needs; it is served by hand."""

    def __init__(self) -> None:
        self.soon: list[Callable[[], None]] = []

    def time(self) -> float:
        return 0.0

    def add_reader(self, descriptor: int, callback: Callable[[], None]) -> None:
        self.poll = callback

    def remove_reader(self, descriptor: int) -> None:
        pass

    def call_soon(self, callback: Callable[[], None]) -> None:
        self.soon.append(callback)

    def call_later(self, delay: float, callback: Callable[[], None]) -> Any:
        return asyncio.Handle(callback, (), cast(asyncio.AbstractEventLoop, self))

    def get_debug(self) -> bool:
        return False


class Bench:
    """A data plane between a client and an origin."""

    def __init__(self, settings: Settings, filters: Filters) -> None:
        descriptor = os.memfd_create("statistics")
        os.ftruncate(descriptor, slots.table_size(1, ROWS))
        self.origin = socket.create_server(("127.0.0.1", 0))
        service = Service(
            name="app", endpoints=(Endpoint(id="a", address=f"127.0.0.1:{self.origin.getsockname()[1]}"),)
        )
        routes = [
            Route(name=f"r{number}", match=RouteMatch(host="shop.example.org", path=f"/other/{number}"), service="app")
            for number in range(50)
        ]
        routes.append(Route(name="api", match=RouteMatch(path="/api"), service="app", filters=filters))
        listener = Listener(name="web", address="127.0.0.1:8080", routes=tuple(routes))
        snapshot = Snapshot(version=1, settings=settings, listeners=(listener,), services=(service,))
        self.loop = HandLoop()
        self.plane = DataPlane(
            cast(asyncio.AbstractEventLoop, self.loop),
            table=Table(descriptor, 1, ROWS),
            worker=0,
            emit=lambda name, fields: None,
            released=lambda numbers: None,
        )
        os.close(descriptor)
        self.plane.apply(snapshot, {key: number for number, key in enumerate(keys_of(snapshot), 1)})
        listening = socket.create_server(("127.0.0.1", 0))
        address = listening.getsockname()
        self.plane.listen("web", listening)
        self.client = socket.create_connection(address)
        self.upstream: socket.socket | None = None
        self.client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.client.setblocking(False)
        self.origin.setblocking(False)
        self.watch = select.poll()
        self.watch.register(self.plane.reactor.fileno(), select.POLLIN)

    def serve(self) -> None:
        assert self.watch.poll(5000)
        self.loop.poll()
        while self.loop.soon:
            self.loop.soon.pop()()

    def receive(self, sock: socket.socket, end: bytes) -> None:
        """Read until `end`, serving while there is nothing to read."""
        last = b""
        while not last.endswith(end):
            try:
                last = last[-len(end) :] + sock.recv(131_072)
            except BlockingIOError:
                self.serve()

    def exchange(self, request: bytes, answer: bytes) -> None:
        self.client.send(request)
        self.serve()
        while self.upstream is None:
            try:
                self.upstream, _ = self.origin.accept()
                self.upstream.setblocking(False)
                self.upstream.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            except BlockingIOError:
                self.serve()
        self.receive(self.upstream, request[-4:] if request is GET else request[-1000:])
        assert self.upstream.send(answer) == len(answer)
        self.serve()
        self.receive(self.client, answer[-5:])

    def close(self) -> None:
        self.plane.close()
        for sock in (self.client, self.origin, self.upstream):
            if sock is not None:
                sock.close()


CASES = {
    "GET, small answer": (GET, SMALL),
    "GET, 40 kB": (GET, LARGE),
    "GET, chunked answer": (GET, CHUNKED),
    "POST of 1 kB": (POST, SMALL),
}


@pytest.mark.parametrize("case", CASES)
def test_one_exchange(benchmark, case: str) -> None:
    bench = Bench(Settings(), Filters())
    benchmark(bench.exchange, *CASES[case])
    bench.close()


def test_one_exchange_with_an_access_log(benchmark, tmp_path: Path) -> None:
    log = AccessLog(path=str(tmp_path / "log"), format=LogFormat.JSON)
    bench = Bench(Settings(access_log=log), Filters())
    benchmark(bench.exchange, GET, SMALL)
    bench.close()


def test_one_exchange_with_edited_headers(benchmark) -> None:
    edit = HeaderEdit(set={"X-Tenant": "t2"}, add={"X-Extra": "1"}, remove=("Cookie",))
    bench = Bench(Settings(), Filters(request_headers=edit, response_headers=HeaderEdit(set={"Server": "hive"})))
    benchmark(bench.exchange, GET, SMALL)
    bench.close()


def test_the_same_bytes_without_a_proxy(benchmark) -> None:
    """What of a round is the test's own: client and origin on one connection."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        client = socket.create_connection(server.getsockname())
        upstream, _ = server.accept()
    for sock in (client, upstream):
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    def exchange() -> None:
        client.sendall(GET)
        upstream.recv(65_536)
        upstream.sendall(SMALL)
        client.recv(131_072)

    benchmark(exchange)
    client.close()
    upstream.close()
