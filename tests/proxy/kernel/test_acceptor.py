"""Accepting: who came from where, batches, and running out of descriptors without spinning."""

from __future__ import annotations

import errno
import os
import resource
import socket

import pytest
from turning import Turning

from proxy.kernel.netio import Acceptor, Reactor


class Door(Acceptor):
    def __init__(self) -> None:
        self.came: list[tuple[socket.socket, bytes, int]] = []
        self.pauses: list[float] = []

    def accepted(self, fd: int, host: bytes, port: int) -> None:
        self.came.append((socket.socket(fileno=fd), host, port))

    def pause(self, seconds: float) -> None:
        self.pauses.append(seconds)
        super().pause(seconds)


def open_door(reactor: Reactor, server: socket.socket, door: Door | None = None) -> Door:
    server.setblocking(False)
    door = door or Door()
    door.listen(reactor, server.detach())
    return door


def let_go(door: Door, *clients: socket.socket) -> None:
    for sock in [*clients, *(sock for sock, _, _ in door.came)]:
        sock.close()
    door.close()


def test_an_ipv4_client_is_named(reactor: Reactor, turning: Turning) -> None:
    server = socket.create_server(("127.0.0.1", 0))
    address = server.getsockname()
    door = open_door(reactor, server)
    client = socket.create_connection(address, source_address=("127.10.200.3", 0))
    turning.until(lambda: door.came, "a client")
    sock, host, port = door.came[0]
    assert (host, port) == (b"127.10.200.3", client.getsockname()[1])
    assert not os.get_blocking(sock.fileno())
    assert not os.get_inheritable(sock.fileno())
    let_go(door, client)


def test_an_ipv6_client_is_named_and_an_ipv4_one_of_the_same_socket_too(reactor: Reactor, turning: Turning) -> None:
    try:
        server = socket.create_server(("::", 0), family=socket.AF_INET6, dualstack_ipv6=True)
    except OSError:
        pytest.skip("no IPv6 here")
    port = server.getsockname()[1]
    door = open_door(reactor, server)
    clients = [socket.create_connection(("::1", port)), socket.create_connection(("127.0.0.1", port))]
    turning.until(lambda: len(door.came) == 2, "both clients")
    assert {host for _, host, _ in door.came} == {b"::1", b"127.0.0.1"}
    let_go(door, *clients)


def test_a_client_of_a_unix_socket_has_no_address(reactor: Reactor, turning: Turning, tmp_path: object) -> None:
    server = socket.socket(socket.AF_UNIX)
    server.bind(f"{tmp_path}/s")
    server.listen()
    door = open_door(reactor, server)
    client = socket.socket(socket.AF_UNIX)
    client.connect(f"{tmp_path}/s")
    turning.until(lambda: door.came, "a client")
    assert door.came[0][1:] == (b"", 0)
    let_go(door, client)


def test_more_clients_than_a_batch(reactor: Reactor, turning: Turning) -> None:
    server = socket.create_server(("127.0.0.1", 0), backlog=128)
    address = server.getsockname()
    door = open_door(reactor, server)
    door.batch = 8
    clients = [socket.create_connection(address) for _ in range(50)]
    reactor.poll()
    assert len(door.came) == 8
    turning.until(lambda: len(door.came) == 50, "all of them")
    let_go(door, *clients)


def test_a_door_that_nobody_answers_closes_what_comes(reactor: Reactor, turning: Turning) -> None:
    server = socket.create_server(("127.0.0.1", 0))
    address = server.getsockname()
    server.setblocking(False)
    door = Acceptor()
    door.listen(reactor, server.detach())
    client = socket.create_connection(address)
    client.setblocking(False)

    def ended() -> bool:
        try:
            return client.recv(1) == b""
        except BlockingIOError:
            return False

    turning.until(ended, "closed")
    client.close()
    door.close()


def test_closing_the_door_while_clients_come_in(reactor: Reactor, turning: Turning) -> None:
    class Closing(Door):
        def accepted(self, fd: int, host: bytes, port: int) -> None:
            super().accepted(fd, host, port)
            self.close()

    server = socket.create_server(("127.0.0.1", 0))
    address = server.getsockname()
    door = open_door(reactor, server, Closing())
    clients = [socket.create_connection(address) for _ in range(3)]
    turning.until(lambda: door.came, "a client")
    turning.settle()
    assert len(door.came) == 1
    let_go(door, *clients)


def test_a_pause_leaves_clients_in_the_backlog(reactor: Reactor, turning: Turning) -> None:
    server = socket.create_server(("127.0.0.1", 0))
    address = server.getsockname()
    door = open_door(reactor, server)
    door.pause(0.15)
    client = socket.create_connection(address)
    turning.settle()
    assert door.came == []
    turning.until(lambda: door.came, "a client after the pause")
    let_go(door, client)


def test_without_descriptors_it_pauses_and_comes_back(reactor: Reactor, turning: Turning) -> None:
    server = socket.create_server(("127.0.0.1", 0))
    address = server.getsockname()
    door = open_door(reactor, server)
    clients = [socket.create_connection(address) for _ in range(3)]
    turning.until(lambda: len(door.came) == 3, "the first three")
    waiting = [socket.create_connection(address) for _ in range(2)]
    limits = resource.getrlimit(resource.RLIMIT_NOFILE)
    lowest = max(int(name) for name in os.listdir("/proc/self/fd")) + 1
    holes = [os.dup(0) for _ in range(lowest - len(os.listdir("/proc/self/fd")) + 1)]
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(holes, default=lowest) + 1, limits[1]))
    try:
        for _ in range(5):
            reactor.poll()
        assert len(door.came) == 3
        assert door.pauses == [0.1]
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, limits)
        for number in holes:
            os.close(number)
    turning.until(lambda: len(door.came) == 5, "those who waited")
    let_go(door, *clients, *waiting)


def test_clients_leave_a_reserve_of_descriptors(reactor: Reactor, turning: Turning) -> None:
    """Beyond `descriptor_limit` clients wait, and are accepted when others have gone."""
    told: list[int] = []
    reactor.on_crowded = told.append
    server = socket.create_server(("127.0.0.1", 0))
    address = server.getsockname()
    door = open_door(reactor, server)
    clients = [socket.create_connection(address) for _ in range(2)]
    turning.until(lambda: len(door.came) == 2, "the first two")
    waiting = [socket.create_connection(address) for _ in range(3)]
    reactor.descriptor_limit = os.dup(0)  # the lowest that is free
    os.close(reactor.descriptor_limit)
    turning.until(lambda: len(door.came) == 3, "the one that shows that it is too much")
    turning.settle()
    assert len(door.came) == 3
    assert told == [errno.EMFILE]
    assert reactor.crowded
    assert set(door.pauses) == {0.1}
    for place in range(2):
        door.came.pop(0)[0].close()
        turning.until(lambda: len(door.came) == 3, "a client in the place of another")
        turning.settle()
        assert len(door.came) == 3, "one place is for one client"
        assert reactor.crowded
        assert told[: 3 + 2 * place] == [errno.EMFILE, *[0, errno.EMFILE] * (1 + place)]
    reactor.descriptor_limit = 0
    let_go(door, *clients, *waiting)


def test_a_door_that_fails_at_one_client_stays_open(reactor: Reactor, turning: Turning) -> None:
    """A bug that one connection meets must not take the listener from all others."""

    class Failing(Door):
        def accepted(self, fd: int, host: bytes, port: int) -> None:
            super().accepted(fd, host, port)
            if len(self.came) == 1:
                raise ZeroDivisionError("a bug")

    bugs: list[BaseException] = []
    reactor.on_bug = lambda stream, bug: bugs.append(bug)
    server = socket.create_server(("127.0.0.1", 0))
    address = server.getsockname()
    door = open_door(reactor, server, Failing())
    clients = [socket.create_connection(address) for _ in range(3)]
    turning.until(lambda: len(door.came) == 3, "the other two")
    assert len(bugs) == 1
    assert door.fd >= 0
    let_go(door, *clients)
