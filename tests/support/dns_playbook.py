"""A data plane with a DNS server that a test plays step by step, in one thread, as its clients and its resolvers.

    with DnsBook(service("web", "10.0.0.1:80")) as book:
        assert book.addresses("web.service.hivemesh") == ["10.0.0.1"]

Questions that are not ours go to `book.resolver`, which the test has answer them. Leaving the block closes everything
and checks that nothing is left: sockets, gauges, or an exception that came out of a driver.
"""

from __future__ import annotations

import asyncio
import os
import socket
import time
from collections.abc import Callable, Coroutine, Mapping
from typing import Any, cast

import dns.message
import pytest
from datagrams import udp_socket
from garbage import Watch
from playbook import ManualLoop
from waiting import readable

from discovery.model import DnsSettings, Endpoint, EndpointState, Listener, Node, Protocol, Service, Settings, Snapshot
from proxy.dataplane import DataPlane
from proxy.dns import server as dns_server
from proxy.kernel.cells import Slot, Table
from proxy.kernel.netio import TICK
from proxy.stats import slots
from proxy.stats.allocator import SlotAllocator, keys_of

UDP = "dns/udp/0"
TCP = "dns/tcp/0"
ADDRESS = "127.0.0.1:53"
ROWS = 8192
WORKERS = 2  # blocks of the table; the data plane is the first, a test may count for the second
LIMIT = 10.0  # only a failing test ever waits this long

GAUGES = {"active": slots.ACTIVE, "connections": slots.CONNECTIONS_ACTIVE}


def service(name: str, *addresses: str, **given: Any) -> Service:
    """A service whose endpoints are called a, b, c ..."""
    endpoints = tuple(Endpoint(id=chr(ord("a") + index), address=each) for index, each in enumerate(addresses))
    return Service(name=name, **{"endpoints": endpoints, **given})


def unhealthy(given: Endpoint) -> Endpoint:
    return Endpoint(id=given.id, address=given.address, state=EndpointState.UNHEALTHY)


class Resolver:
    """Who is asked for names that are not ours."""

    def __init__(self, loop: object, settings: DnsSettings, row: Slot) -> None:
        self.settings = settings
        self.asked: list[tuple[bytes, Callable[[bytes], None]]] = []
        self.at_once: bytes | None = None  # the answer section, when the answer is known
        self.closed = False

    def ask(self, query: bytes, respond: Callable[[bytes], None], client: bytes = b"") -> None:
        self.asked.append((query, respond))
        if self.at_once is not None:
            self.answer(len(self.asked) - 1, self.at_once)

    def answer(self, number: int = -1, records: bytes = b"") -> None:
        """Answer a question with records of 16 bytes."""
        query, respond = self.asked.pop(number)
        end = query.index(b"\0", 12) + 5
        respond(
            query[:2] + b"\x81\x80\0\1" + (len(records) // 16).to_bytes(2, "big") + bytes(4) + query[12:end] + records
        )

    def configure(self, settings: DnsSettings) -> None:
        self.settings = settings

    async def close(self) -> None:
        self.closed = True


class Loop(ManualLoop):
    def create_task(self, work: Coroutine[Any, Any, None]) -> None:
        with pytest.raises(StopIteration):
            work.send(None)


class Client:
    """A connection over TCP."""

    def __init__(self, book: DnsBook) -> None:
        self.book = book
        self.sock = socket.create_connection(("127.0.0.1", book.tcp_port))
        self.sock.setblocking(False)
        self.received = b""

    def send(self, *messages: bytes) -> None:
        self.raw(b"".join(len(each).to_bytes(2, "big") + each for each in messages))

    def raw(self, data: bytes) -> None:
        while data:
            try:
                data = data[self.sock.send(data) :]
            except BlockingIOError:
                self.book.serve()

    def read(self) -> bool:
        """Take what is there; whether the connection goes on."""
        try:
            got = self.sock.recv(1 << 20)
        except BlockingIOError:
            return True
        self.received += got
        return bool(got)

    def message(self) -> bytes:
        def whole() -> bool:
            assert self.read() or self.is_whole(), "the connection has ended"
            return self.is_whole()

        self.book.until(whole, "a message", (self.sock.fileno(),))
        size = 2 + int.from_bytes(self.received[:2], "big")
        taken, self.received = self.received[2:size], self.received[size:]
        return taken

    def is_whole(self) -> bool:
        return len(self.received) >= 2 and len(self.received) >= 2 + int.from_bytes(self.received[:2], "big")

    def ended(self) -> bytes:
        """Wait for the end of the connection: what came before."""
        ended: list[bool] = []

        def over() -> bool:
            try:
                ended.append(not self.read())
            except ConnectionResetError:
                return True
            return ended[-1]

        self.book.until(over, "the end", (self.sock.fileno(),))
        return self.received

    def has_nothing(self) -> bool:
        self.book.settle()
        return not readable([self.sock.fileno()])


class DnsBook:
    def __init__(
        self,
        *services: Service,
        dns: Mapping[str, Any] | None = None,
        nodes: tuple[Node, ...] = (),
        monkeypatch: pytest.MonkeyPatch | None = None,
    ) -> None:
        """`dns`: settings that are not the defaults. With `forward` among them, `monkeypatch` is needed."""
        self.loop = Loop()
        self.watch = Watch()
        self.resolvers: list[Resolver] = []
        if monkeypatch is not None:
            monkeypatch.setattr(dns_server, "make_forwarder", self.make_resolver)
        self.allocator = SlotAllocator(ROWS, lambda number: None)
        self.numbers: Mapping[str, int] = {}
        fd = os.memfd_create("statistics")
        os.ftruncate(fd, slots.table_size(WORKERS, ROWS))
        self.table = Table(fd, WORKERS, ROWS)
        os.close(fd)
        self.bugs: list[BaseException] = []
        self.clients: list[socket.socket] = []
        self.drained = False
        self.plane = DataPlane(
            cast(asyncio.AbstractEventLoop, self.loop),
            table=self.table,
            worker=0,
            emit=lambda name, fields: None,
            released=lambda numbers: None,
        )
        self.plane.reactor.on_bug = lambda stream, bug: self.bugs.append(bug)
        self.version = 0
        self.dns = dict(dns or {})
        self.nodes = nodes
        self.services = services
        self.apply(*services)
        self.udp_socket = udp_socket()
        self.tcp_socket = socket.create_server(("127.0.0.1", 0), backlog=256)
        self.port: int = self.udp_socket.getsockname()[1]
        self.tcp_port: int = self.tcp_socket.getsockname()[1]
        self.listen()

    def make_resolver(self, loop: object, settings: DnsSettings, row: Slot) -> Resolver:
        self.resolvers.append(Resolver(loop, settings, row))
        return self.resolvers[-1]

    @property
    def resolver(self) -> Resolver:
        return self.resolvers[-1]

    def listen(self, number: int = 0) -> None:
        """The sockets stay the book's as well, as they stay the supervisor's."""
        self.plane.listen(UDP, self.udp_socket.dup(), number)
        self.plane.listen(TCP, self.tcp_socket.dup(), number)

    def apply(self, *services: Service, listeners: tuple[Listener, ...] | None = None, **dns: Any) -> None:
        """Put another configuration in force; `dns`: settings that are others from now on."""
        self.version += 1
        self.dns.update(dns)
        self.services = services
        if listeners is None:
            listeners = (
                Listener(name=UDP, address=ADDRESS, protocol=Protocol.DNS_UDP),
                Listener(name=TCP, address=ADDRESS, protocol=Protocol.DNS_TCP),
            )
        settings = Settings(dns=DnsSettings(addresses=(ADDRESS,), **self.dns))
        snapshot = Snapshot(
            version=self.version, settings=settings, listeners=listeners, services=services, nodes=self.nodes
        )
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

    def drain(self, seconds: float = 5.0) -> None:
        def done() -> None:
            self.drained = True

        self.plane.drain(seconds, seconds, done)

    # --- clients --------------------------------------------------------------------------------------------------

    def client(self) -> socket.socket:
        client = udp_socket()
        client.connect(("127.0.0.1", self.port))
        self.clients.append(client)
        return client

    def receive(self, client: socket.socket) -> bytes:
        got: list[bytes] = []

        def look() -> bool:
            try:
                got.append(client.recv(70_000))
            except BlockingIOError:
                return False
            return True

        self.until(look, "an answer", (client.fileno(),))
        return got[0]

    def has_nothing(self, client: socket.socket) -> bool:
        self.settle()
        return not readable([client.fileno()])

    def ask(self, name: str, qtype: str = "A", **given: Any) -> dns.message.Message:
        query = dns.message.make_query(name, qtype, **given)
        client = self.client()
        client.send(query.to_wire())
        answer = dns.message.from_wire(self.receive(client))
        assert query.is_response(answer)
        return answer

    def addresses(self, name: str, qtype: str = "A", **given: Any) -> list[str]:
        return sorted(record.address for rrset in self.ask(name, qtype, **given).answer for record in rrset)

    def tcp(self) -> Client:
        client = Client(self)
        self.clients.append(client.sock)
        return client

    # --- what is counted ------------------------------------------------------------------------------------------

    def cell(self, key: str, cell: int) -> int:
        return self.table.total(self.numbers[key], cell)

    def gauges(self) -> dict[str, int]:
        """Every gauge that is not 0, by row and name."""
        return {
            f"{key} {name}": value
            for key in self.numbers
            for name, cell in GAUGES.items()
            if (value := self.cell(key, cell))
        }

    # --- the end --------------------------------------------------------------------------------------------------

    def __enter__(self) -> DnsBook:
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
        self.udp_socket.close()
        self.tcp_socket.close()
        if kind is None:
            assert self.gauges() == {}
            assert self.plane.reactor.all_streams() == []
            assert self.plane.reactor.open_streams == 0
            assert self.bugs == []
