"""A data plane with UDP listeners that a test plays step by step, in one thread, as its clients and its endpoints.

    with UdpBook(service("dns", origin)) as book:
        client = book.client()
        client.send(b"question")
        data, source = book.receive_from(origin)

`serve` and whatever waits run the data plane. Leaving the block ends all sessions and checks that nothing is left:
sockets, gauges, or an exception that came out of a driver.
"""

from __future__ import annotations

import asyncio
import json
import os
import socket
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, cast

from datagrams import address_of, udp_socket
from garbage import Watch
from playbook import ManualLoop
from waiting import readable

from discovery.model import Endpoint, EndpointState, Listener, Protocol, Service, Settings, Snapshot, StreamRoute
from proxy.dataplane import DataPlane
from proxy.kernel.cells import Table
from proxy.kernel.netio import TICK
from proxy.stats import slots
from proxy.stats.allocator import SlotAllocator, keys_of
from proxy.udp.session import UdpSession

LISTENER = "dns"
ADDRESS = "127.0.0.1:53"
ROWS = 256
WORKERS = 2  # blocks of the table; the data plane is the first, a test may count for the second
LIMIT = 10.0  # only a failing test ever waits this long

GAUGES = {"active": slots.ACTIVE, "sessions": slots.CONNECTIONS_ACTIVE}


def service(name: str, *origins: socket.socket | str, states: str = "", **given: Any) -> Service:
    """A service whose endpoints are called a, b, c ... `states`: their initials, h for healthy, where not all are."""
    initials = {state.value[0]: state for state in EndpointState}
    endpoints = tuple(
        Endpoint(
            id=chr(ord("a") + index),
            address=origin if isinstance(origin, str) else address_of(origin),
            state=initials[states[index]] if states else EndpointState.HEALTHY,
        )
        for index, origin in enumerate(origins)
    )
    return Service(name=name, **{"endpoints": endpoints, **given})


class UdpBook:
    def __init__(
        self,
        *services: Service,
        routes: tuple[StreamRoute, ...] = (),
        settings: Settings | None = None,
        log: Path | None = None,
        max_connections: int = 0,
        bound: int = 0,
    ) -> None:
        """Without routes everything goes to the first service. `log`: where the settings send the access log.
        `bound`: the port, if not any."""
        self.loop = ManualLoop()
        self.watch = Watch()
        self.log = log
        self.allocator = SlotAllocator(ROWS, lambda number: None)
        self.numbers: Mapping[str, int] = {}
        fd = os.memfd_create("statistics")
        os.ftruncate(fd, slots.table_size(WORKERS, ROWS))
        self.table = Table(fd, WORKERS, ROWS)
        os.close(fd)
        self.bugs: list[BaseException] = []
        self.clients: list[socket.socket] = []
        self.plane = DataPlane(
            cast(asyncio.AbstractEventLoop, self.loop),
            table=self.table,
            worker=0,
            emit=lambda name, fields: None,
            released=lambda numbers: None,
        )
        self.plane.reactor.on_bug = lambda stream, bug: self.bugs.append(bug)
        self.version = 0
        self.max_connections = max_connections
        self.settings = settings or Settings()
        self.apply(*services, routes=routes)
        listening = udp_socket(port=bound)
        self.port: int = listening.getsockname()[1]
        self.plane.listen(LISTENER, listening)

    def apply(
        self, *services: Service, routes: tuple[StreamRoute, ...] = (), listeners: tuple[Listener, ...] | None = None
    ) -> None:
        """Put another configuration in force."""
        self.version += 1
        if listeners is None:
            routes = routes or (StreamRoute(name="all", service=services[0].name),)
            own = Listener(
                name=LISTENER,
                address=ADDRESS,
                protocol=Protocol.UDP,
                streams=routes,
                max_connections=self.max_connections,
            )
            listeners = (own,)
        snapshot = Snapshot(version=self.version, settings=self.settings, listeners=listeners, services=services)
        self.numbers = self.allocator.assign(keys_of(snapshot), self.version)
        self.allocator.sent(0, self.numbers.values())
        self.plane.apply(snapshot, self.numbers)

    # --- time -----------------------------------------------------------------------------------------------------

    def serve(self, wait: float = 0.0, also: tuple[int, ...] = ()) -> None:
        self.loop.run(wait, also)

    def settle(self) -> None:
        """Serve until nothing is ready any more."""
        self.serve()
        while self.loop.soon or readable(self.loop.readers):
            self.serve()

    def until(self, condition: Callable[[], object], what: str, also: tuple[int, ...] = ()) -> None:
        deadline = time.monotonic() + LIMIT
        while not condition():
            assert time.monotonic() < deadline, f"still not so after {LIMIT:g} s: {what}"
            self.serve(TICK, also)

    # --- both sides -----------------------------------------------------------------------------------------------

    def client(self) -> socket.socket:
        client = udp_socket()
        client.connect(("127.0.0.1", self.port))
        self.clients.append(client)
        return client

    def receive_from(self, sock: socket.socket) -> tuple[bytes, tuple[str, int]]:
        got: list[tuple[bytes, tuple[str, int]]] = []

        def look() -> bool:
            try:
                got.append(sock.recvfrom(70_000))
            except BlockingIOError:
                return False
            return True

        self.until(look, "a datagram", (sock.fileno(),))
        return got[0]

    def receive(self, sock: socket.socket) -> bytes:
        return self.receive_from(sock)[0]

    def has_nothing(self, sock: socket.socket) -> bool:
        self.settle()
        return not readable([sock.fileno()])

    def exchange(self, client: socket.socket, *origins: socket.socket) -> socket.socket:
        """Send a datagram and have it answered by whichever origin gets it: that one."""
        client.send(b"question")
        self.until(lambda: readable([each.fileno() for each in origins]), "a datagram at an origin")
        (chosen,) = [each for each in origins if readable([each.fileno()])]
        data, source = self.receive_from(chosen)
        chosen.sendto(data + b"?", source)
        assert self.receive(client) == b"question?"
        return chosen

    def sessions(self) -> list[UdpSession]:
        return [stream for stream in self.plane.reactor.all_streams() if isinstance(stream, UdpSession)]

    # --- what is counted ------------------------------------------------------------------------------------------

    def cell(self, key: str, cell: int) -> int:
        return self.table.total(self.numbers[key], cell)

    def listener_cell(self, cell: int) -> int:
        return self.cell(f"listener/{LISTENER}", cell)

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

    def __enter__(self) -> UdpBook:
        self.watch.begin()
        return self

    def __exit__(self, kind: type[BaseException] | None, *unused: object) -> None:
        for client in self.clients:
            client.close()
        self.settle()
        if kind is None:
            self.watch.check()
        self.watch.end()
        self.plane.close()
        self.settle()
        if kind is None:
            assert self.gauges() == {}
            assert self.plane.reactor.all_streams() == []
            assert self.plane.reactor.open_streams == 0
            assert self.table.total(slots.WORKER_SLOT, slots.WORKER_UDP_SESSIONS) == 0
            assert self.bugs == []
