"""The HTTP path by playbook: a data plane, its clients and its origins in one thread.

The test is the event loop. Whenever it waits for bytes or for a condition, the data plane is served, so every order of
events is the order of the script, and what is inside can be looked at between two steps:

    with Playbook(service("app", origin)) as book:
        client = book.client()
        client.ask(target="/x")
        upstream = origin.accept()
        assert upstream.request().target == "/x"
        upstream.send(OK)
        assert client.response().body == b"ok"

Leaving the block closes everything and checks what must hold after any script: no bug was met, every exchange was
finished exactly once, and all gauges are back at 0.
"""

from __future__ import annotations

import asyncio
import heapq
import itertools
import json
import os
import socket
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, cast

from garbage import Watch
from raw_client import RawClient
from raw_origin import RawOrigin
from raw_origin import Upstream as OriginSide
from waiting import readable
from wire import READ_SIZE, TIMEOUT, Wire

from discovery.model import Endpoint, Listener, PoolPolicy, Route, Service, Settings, Snapshot
from proxy.dataplane import DataPlane
from proxy.http1.downstream import Downstream
from proxy.http1.upstream import Upstream
from proxy.kernel.cells import Table
from proxy.kernel.netio import TICK
from proxy.stats import slots
from proxy.stats.allocator import SlotAllocator, keys_of

LISTENER = "web"
ROWS = 256

# Statistics that describe the moment.
GAUGES = {
    "active": slots.ACTIVE,
    "connections": slots.CONNECTIONS_ACTIVE,
    "pending": slots.PENDING,
    "idle": slots.POOL_IDLE,
}


class ManualLoop:
    """As much of an event loop as a data plane needs; what is due runs when the playbook serves."""

    def __init__(self) -> None:
        self.readers: dict[int, Callable[[], None]] = {}
        self.timers: list[tuple[float, int, Timer]] = []
        self.soon: list[Timer] = []
        self.count = itertools.count()

    def time(self) -> float:
        return time.monotonic()

    def add_reader(self, fd: int, callback: Callable[[], None]) -> None:
        self.readers[fd] = callback

    def remove_reader(self, fd: int) -> None:
        self.readers.pop(fd, None)

    def call_soon(self, callback: Callable[..., None], *arguments: object) -> Timer:
        self.soon.append(Timer(callback, arguments))
        return self.soon[-1]

    def call_later(self, delay: float, callback: Callable[..., None], *arguments: object) -> Timer:
        timer = Timer(callback, arguments)
        heapq.heappush(self.timers, (self.time() + delay, next(self.count), timer))
        return timer

    def run(self, wait: float, also: tuple[int, ...] = ()) -> None:
        """Wait for a reader, a timer or a descriptor of the test; then call what is due."""
        if self.timers:
            wait = min(wait, self.timers[0][0] - self.time())
        if self.soon:
            wait = 0.0
        ready = readable((*self.readers, *also), max(wait, 0.0))
        for fd in ready:
            callback = self.readers.get(fd)
            if callback is not None:
                callback()
        soon, self.soon = self.soon, []
        for timer in soon:
            timer.callback(*timer.arguments)
        while self.timers and self.timers[0][0] <= self.time():
            timer = heapq.heappop(self.timers)[2]
            if not timer.cancelled:
                timer.callback(*timer.arguments)


class Timer:
    def __init__(self, callback: Callable[..., None], arguments: tuple[object, ...]) -> None:
        self.callback = callback
        self.arguments = arguments
        self.cancelled = False

    def cancel(self) -> None:
        self.cancelled = True


class Served(Wire):
    """A connection of the test that serves the data plane while it waits."""

    book: Playbook

    def receive_more(self) -> bool:
        if self.ended:
            return False
        timeout = self.socket.gettimeout()
        deadline = time.monotonic() + (timeout or 0.0)
        self.socket.setblocking(False)
        try:
            while True:
                try:
                    read = self.socket.recv(READ_SIZE)
                    break
                except BlockingIOError:
                    if timeout == 0.0:
                        raise
                    if time.monotonic() >= deadline:
                        raise TimeoutError("nothing was received") from None
                    self.book.serve(TICK, (self.socket.fileno(),))
                except ConnectionResetError:
                    self.was_reset = True
                    read = b""
                    break
        finally:
            self.socket.settimeout(timeout)
        self.received += read
        self.unread += read
        self.ended = not read
        return bool(read)

    def send(self, *pieces: bytes) -> None:
        """Each piece is served before the next one is sent."""
        for piece in pieces:
            self.send_some(piece, len(piece))
            self.book.settle()

    def send_some(self, data: bytes, least: int = 0) -> int:
        """Send until nothing more is taken and at least `least` bytes are; how many were."""
        sent = 0
        idle = 0
        self.socket.setblocking(False)
        deadline = time.monotonic() + TIMEOUT
        try:
            while sent < len(data):
                try:
                    sent += self.socket.send(data[sent : sent + READ_SIZE])
                    idle = 0
                except BlockingIOError:
                    idle += 1
                    if sent >= least and idle > 20:
                        break
                    assert time.monotonic() < deadline, f"only {sent} bytes were taken"
                    self.book.serve(0.001)
        finally:
            self.socket.settimeout(TIMEOUT)
        return sent

    def take_available(self) -> bytes:
        """What is here now, taken without being remembered in `received`: for large bodies."""
        self.book.serve()
        data, self.unread = self.unread, b""
        if data:
            return data
        self.socket.setblocking(False)
        try:
            data = self.socket.recv(1024 * 1024)
        except BlockingIOError:
            return b""
        finally:
            self.socket.settimeout(TIMEOUT)
        self.ended = not data
        return data

    def receive_available(self) -> bool:
        self.book.settle()
        return super().receive_available()

    def has_nothing_to_read(self) -> bool:
        self.book.settle()
        return super().has_nothing_to_read()


class Client(Served, RawClient):
    pass


class Server(Served, OriginSide):
    pass


class Origin(RawOrigin):
    """An endpoint; `accept` serves the data plane until it has connected."""

    def __init__(self) -> None:
        super().__init__()
        self.book: Playbook | None = None

    def accept(self, timeout: float = TIMEOUT) -> Server:
        assert self.book is not None, "the origin belongs to no playbook"
        self.book.until(self.is_called, "a connection to the origin", timeout, (self.socket.fileno(),))
        server = Server(self.socket.accept()[0])
        server.book = self.book
        self.connections.append(server)
        return server

    def is_called(self) -> bool:
        return bool(readable([self.socket.fileno()]))


def service(name: str, *origins: Origin | str, pool: PoolPolicy | None = None, **given: Any) -> Service:
    """A service whose endpoints are called a, b, c ... Origins may also be addresses."""
    endpoints = tuple(
        Endpoint(id=chr(ord("a") + index), address=origin if isinstance(origin, str) else origin.address)
        for index, origin in enumerate(origins)
    )
    return Service(name=name, **{"endpoints": endpoints, "pool": pool or PoolPolicy(), **given})


class Playbook:
    workers = 1  # blocks of the statistics table; the data plane is the first

    def __init__(
        self,
        *services: Service,
        origins: tuple[Origin, ...] = (),
        routes: tuple[Route, ...] = (),
        settings: Settings | None = None,
        log: Path | None = None,
    ) -> None:
        """Without routes everything goes to the first service. `log`: where the settings send the access log."""
        self.loop = ManualLoop()
        self.watch = Watch()
        self.origins = origins
        self.log = log
        self.allocator = SlotAllocator(ROWS, lambda number: None)
        self.numbers: Mapping[str, int] = {}
        fd = os.memfd_create("statistics")
        os.ftruncate(fd, slots.table_size(self.workers, ROWS))
        self.table = Table(fd, self.workers, ROWS)
        os.close(fd)
        self.released: list[int] = []
        self.events: list[tuple[str, Mapping[str, Any]]] = []
        self.bugs: list[BaseException] = []
        self.clients: list[Client] = []
        self.plane = DataPlane(
            cast(asyncio.AbstractEventLoop, self.loop),
            table=self.table,
            worker=0,
            emit=lambda name, fields: self.events.append((name, fields)),
            released=self.released.extend,
        )
        self.plane.reactor.on_bug = lambda stream, bug: self.bugs.append(bug)
        for origin in origins:
            origin.book = self
        self.version = 0
        self.apply(services, routes, settings or Settings())
        listening = socket.create_server(("127.0.0.1", 0), backlog=256)
        self.address = f"127.0.0.1:{listening.getsockname()[1]}"
        self.plane.listen(LISTENER, listening)

    def apply(
        self, services: tuple[Service, ...], routes: tuple[Route, ...] = (), settings: Settings | None = None
    ) -> None:
        """Put another configuration in force."""
        self.version += 1
        routes = routes or (Route(name="all", service=services[0].name),)
        self.snapshot = Snapshot(
            version=self.version,
            settings=settings if settings is not None else self.snapshot.settings,
            listeners=self.listeners(routes),
            services=services,
        )
        self.numbers = self.allocator.assign(keys_of(self.snapshot), self.version)
        self.allocator.sent(0, self.numbers.values())
        self.plane.apply(self.snapshot, self.numbers)

    def listeners(self, routes: tuple[Route, ...]) -> tuple[Listener, ...]:
        return (Listener(name=LISTENER, address="127.0.0.1:8080", routes=routes),)

    # --- time -----------------------------------------------------------------------------------------------------

    def serve(self, wait: float = 0.0, also: tuple[int, ...] = ()) -> None:
        self.loop.run(wait, also)

    def settle(self) -> None:
        """Serve until nothing is ready any more."""
        self.serve()
        while self.loop.soon or readable(self.loop.readers):
            self.serve()

    def until(
        self, condition: Callable[[], object], what: str, limit: float = TIMEOUT, also: tuple[int, ...] = ()
    ) -> None:
        deadline = time.monotonic() + limit
        while not condition():
            assert time.monotonic() < deadline, f"still not so after {limit:g} s: {what}"
            self.serve(TICK, also)

    # --- both sides -----------------------------------------------------------------------------------------------

    def client(self) -> Client:
        client = Client(self.address)
        client.book = self
        self.clients.append(client)
        self.settle()
        return client

    def downstreams(self) -> list[Downstream]:
        return [stream for stream in self.plane.reactor.all_streams() if isinstance(stream, Downstream)]

    def upstreams(self) -> list[Upstream]:
        return [stream for stream in self.plane.reactor.all_streams() if isinstance(stream, Upstream)]

    # --- what is counted ------------------------------------------------------------------------------------------

    def cell(self, key: str, cell: int) -> int:
        return self.table.total(self.numbers[key], cell)

    def codes(self, key: str = f"listener/{LISTENER}") -> dict[int, int]:
        return self.table.totals(self.numbers[key])[1]

    def gauges(self) -> dict[str, int]:
        """Every gauge that is not 0, by row and name."""
        return {
            f"{key} {name}": value
            for key in self.numbers
            for name, cell in GAUGES.items()
            if (value := self.cell(key, cell))
        }

    def log_entries(self) -> list[dict[str, Any]]:
        assert self.log is not None and self.plane.log.file is not None
        self.plane.log.flush()
        return [json.loads(line) for line in self.log.read_text().splitlines()]

    # --- the end --------------------------------------------------------------------------------------------------

    def __enter__(self) -> Playbook:
        self.watch.begin()
        return self

    def __exit__(self, kind: type[BaseException] | None, *unused: object) -> None:
        for client in self.clients:
            client.close()
        if kind is None:
            # An upgraded connection stays until both of its ends have closed.
            self.until(lambda: all(each.relaying for each in self.downstreams()), "all client connections closed")
        for origin in self.origins:
            origin.close()
        if kind is None:
            self.until(lambda: not self.downstreams(), "all upgraded connections closed")
            busy = {name: value for name, value in self.gauges().items() if not name.endswith(("connections", "idle"))}
            assert not busy, busy
            assert self.plane.forwarder.active == 0
            self.until(lambda: not self.upstreams(), "all connections to origins closed")
            assert self.gauges() == {}
            assert self.table.total(slots.WORKER_SLOT, slots.WORKER_CONNECTIONS) == 0
            assert self.bugs == []
            finished = self.cell(f"listener/{LISTENER}", slots.REQUESTS)
            assert sum(self.codes().values()) == finished
            self.watch.check()
        self.watch.end()
        self.plane.close()
        self.settle()
        if kind is None:
            assert self.plane.reactor.all_streams() == []
            assert self.plane.reactor.open_streams == 0
