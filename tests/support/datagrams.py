"""Datagram servers and sessions of ours, with clients and endpoints in the test's hands."""

from __future__ import annotations

import os
import socket
from collections.abc import Callable

from turning import Turning

from proxy.kernel.cells import Table
from proxy.kernel.datagrams import Batch, DatagramServer, DatagramSession
from proxy.kernel.netio import Address, Reactor
from proxy.stats import slots

ROWS = 8


def small_table() -> Table:
    descriptor = os.memfd_create("statistics")
    os.ftruncate(descriptor, slots.table_size(1, ROWS))
    table = Table(descriptor, 1, ROWS)
    os.close(descriptor)
    return table


def udp_socket(host: str = "127.0.0.1", port: int = 0) -> socket.socket:
    sock = socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET, socket.SOCK_DGRAM)
    sock.bind((host, port))
    sock.setblocking(False)
    return sock


def address_of(sock: socket.socket) -> str:
    host, port = sock.getsockname()[:2]
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


class EchoSession(DatagramSession):
    """Remembers what it is told, and ends when its endpoint cannot be reached."""

    def __init__(self) -> None:
        self.errors: list[int] = []
        self.timeouts = 0

    def on_unreachable(self, error: int) -> None:
        self.errors.append(error)
        self.close()

    def on_timeout(self) -> None:
        self.timeouts += 1
        self.close()


class Server(DatagramServer):
    """Gives every client a session with `endpoint`, as long as it has one."""

    def __init__(self, endpoint: str | None, idle: float = 60.0) -> None:
        self.endpoint = endpoint
        self.idle = idle
        self.opened: list[EchoSession] = []
        self.refused: list[bytes] = []
        self.opens: Callable[[bytes], None] = lambda key: None

    def open_session(self, key: bytes) -> DatagramSession | None:
        self.opens(key)
        if self.endpoint is None:
            self.refused.append(key)
            return None
        session = EchoSession()
        error = session.open(self, key, Address(self.endpoint), self.idle)
        assert error == 0, os.strerror(error)
        self.opened.append(session)
        return session


class Field:
    """A reactor with one server, an endpoint, and the row where they are counted."""

    def __init__(self, host: str = "127.0.0.1", largest: int = 65_536, idle: float = 60.0, ours: str = "") -> None:
        """`ours`: where the server is bound, if not to `host`."""
        self.reactor = Reactor()
        self.turning = Turning(self.reactor)
        self.table = small_table()
        self.row = self.table.slot(0, 1)
        self.batch = Batch(largest)
        self.endpoint = udp_socket(host)
        self.server = Server(address_of(self.endpoint), idle)
        bound = udp_socket(ours or host)
        self.port: int = bound.getsockname()[1]
        self.host = host
        self.server.serve(self.batch, self.reactor, bound.detach(), self.row)
        self.clients: list[socket.socket] = []

    def client(self) -> socket.socket:
        """Connected, so that it takes answers from the address that it asked only."""
        sock = udp_socket(self.host)
        sock.connect((self.host, self.port))
        self.clients.append(sock)
        return sock

    def receive(self, sock: socket.socket) -> bytes:
        return self.receive_from(sock)[0]

    def receive_from(self, sock: socket.socket) -> tuple[bytes, tuple[str, int]]:
        got: list[tuple[bytes, tuple[str, int]]] = []

        def look() -> bool:
            try:
                got.append(sock.recvfrom(70_000))
            except BlockingIOError:
                return False
            return True

        self.turning.until(look, "a datagram", also=(sock.fileno(),))
        return got[0]

    def has_nothing(self, sock: socket.socket) -> bool:
        self.turning.settle()
        try:
            sock.recv(70_000)
        except BlockingIOError:
            return True
        return False

    def close(self) -> None:
        self.reactor.close()
        for sock in (self.endpoint, *self.clients):
            sock.close()
