"""A connection that is looked at: how its bytes arrive makes no difference, and none of them is lost."""

from __future__ import annotations

import os
import socket
import ssl
from collections.abc import Iterator

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from turning import Turning

from discovery.model import Limits, Protocol, Settings, StreamRoute, Timeouts
from mesh.streams import StreamRouter
from proxy.http1.parties import ListenerRuntime
from proxy.kernel.cells import Table
from proxy.kernel.netio import DRAIN_REQUEST, Reactor
from proxy.preface.driver import Found, Handlers, Preface, PrefaceSettings
from proxy.preface.proxy_protocol import write_v1, write_v2
from proxy.stats.slots import CONNECTIONS_ACTIVE, PROXY_HEADER_FAILURES, WORKER_CONNECTIONS, WORKER_SLOT, table_size

LISTENER_SLOT = 1
PEER = (b"10.0.0.1", 5)
CLIENT, WANTED = (b"192.0.2.1", 4711), (b"198.51.100.7", 443)


def hello() -> bytes:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    outgoing = ssl.MemoryBIO()
    with pytest.raises(ssl.SSLWantReadError):
        context.wrap_bio(ssl.MemoryBIO(), outgoing, server_hostname="a.test").do_handshake()
    return outgoing.read()


HELLO = hello()
REQUEST = b"GET / HTTP/1.1\r\nHost: a\r\n\r\n"


class Lab:
    """A listener whose connections the test makes, and what became of them."""

    def __init__(self) -> None:
        fd = os.memfd_create("statistics")
        os.ftruncate(fd, table_size(1, 4))
        self.table = Table(fd, 1, 4)
        os.close(fd)
        self.reactor = Reactor()
        self.turning = Turning(self.reactor)
        self.worker = self.table.slot(0, WORKER_SLOT)
        self.taken: list[tuple[bytes, Found]] = []
        self.rejected: list[str] = []
        self.handlers = Handlers(
            self.worker, self.take, lambda fd, found: None, lambda found, why: self.rejected.append(why), lambda: True
        )
        self.listener = ListenerRuntime("l", Protocol.AUTO, self.table.slot(0, LISTENER_SLOT))
        self.listener.streams = StreamRouter([(StreamRoute(name="r", sni=("a.test",), service="s"), "r")])
        self.listener.accept_proxy = True
        self.configure(Timeouts(proxy_protocol=60, detect=60))

    def configure(self, timeouts: Timeouts) -> None:
        limits = Limits(client_hello=4096)
        trusted = ("10.0.0.0/8",)
        self.handlers.settings = PrefaceSettings(Settings(limits=limits, timeouts=timeouts, trusted_proxies=trusted))

    def take(self, fd: int, found: Found) -> None:
        with socket.socket(fileno=fd) as handed_on:
            handed_on.setblocking(False)
            try:
                left = handed_on.recv(65536)
            except BlockingIOError:
                left = b""
        self.taken.append((left, found))
        self.listener.unclaim()
        self.worker.add(WORKER_CONNECTIONS, -1)

    def connect(self, peer: tuple[bytes, int] = PEER) -> socket.socket:
        ours, theirs = socket.socketpair()
        ours.setblocking(False)
        self.listener.claim()
        self.worker.add(WORKER_CONNECTIONS, 1)
        stream = Preface(self.handlers, Found(self.listener, *peer, self.reactor.micros()))
        stream.attach(self.reactor, ours.detach())
        self.reactor.wake(stream)
        self.turning.settle()
        self.reactor.poll()
        return theirs

    def open(self) -> tuple[int, int]:
        active = self.table.total(LISTENER_SLOT, CONNECTIONS_ACTIVE)
        return active, self.table.total(WORKER_SLOT, WORKER_CONNECTIONS)


@pytest.fixture
def lab() -> Iterator[Lab]:
    lab = Lab()
    yield lab
    lab.reactor.close()
    assert lab.open() == (0, 0)
    assert lab.reactor.open_streams == 0


@pytest.mark.parametrize("header", [write_v1(CLIENT, WANTED), write_v2(CLIENT, WANTED)])
@pytest.mark.parametrize(
    ("first", "is_http", "sni"), [(HELLO, False, b"a.test"), (REQUEST, True, b""), (b"\0", False, b"")]
)
@settings(max_examples=20, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(cuts=st.sets(st.integers(1, 700), max_size=5))
def test_however_the_bytes_arrive(
    lab: Lab, header: bytes, first: bytes, is_http: bool, sni: bytes, cuts: set[int]
) -> None:
    lab.taken.clear()
    data = header + first
    ends = sorted({cut for cut in cuts if cut < len(data)} | {len(data)})
    with lab.connect() as theirs:
        sent = 0
        for end in ends:
            theirs.sendall(data[sent:end])
            sent = end
            lab.turning.settle()
            if lab.taken:
                break
        [(left, found)] = lab.taken
    assert left and left == data[len(header) : sent]
    assert (found.peer, found.port, found.destination) == (*CLIENT, WANTED)
    assert (found.is_http, found.sni) == (is_http, sni)
    assert left == first or is_http  # a request is known by its beginning
    assert found.started <= found.received
    assert lab.open() == (0, 0)


def test_who_is_not_trusted_is_not_asked_for_a_header(lab: Lab) -> None:
    with lab.connect((b"192.0.2.9", 7)) as theirs:
        theirs.sendall(REQUEST)
        lab.turning.settle()
    [(left, found)] = lab.taken
    assert (left, found.peer, found.port, found.destination) == (REQUEST, b"192.0.2.9", 7, None)


@pytest.mark.parametrize("protocol", [Protocol.HTTP, Protocol.TCP])
def test_where_nothing_is_to_be_looked_at_a_connection_is_handed_on_at_once(lab: Lab, protocol: Protocol) -> None:
    lab.listener.protocol = protocol
    lab.listener.streams = StreamRouter([])
    with lab.connect((b"192.0.2.9", 7)):
        [(left, found)] = lab.taken
        assert (left, found.is_http) == (b"", protocol is Protocol.HTTP)
    with lab.connect() as theirs:
        theirs.sendall(write_v2(CLIENT, WANTED))
        lab.turning.settle()
        assert lab.taken[1][1].peer == CLIENT[0]


def test_routes_count_as_they_are_when_the_bytes_are_there(lab: Lab) -> None:
    with lab.connect() as theirs:
        theirs.sendall(write_v1(CLIENT, WANTED))
        lab.turning.settle()
        assert lab.taken == []
        lab.listener.streams = StreamRouter([])
        theirs.sendall(HELLO[:9])
        lab.turning.settle()
    [(left, found)] = lab.taken
    assert (left, found.sni) == (HELLO[:9], b"")  # no route asks for a name any more


def test_deadlines(lab: Lab) -> None:
    lab.configure(Timeouts(proxy_protocol=0.05, detect=0.05))
    with lab.connect() as silent, lab.connect() as slow:
        slow.sendall(write_v1(CLIENT, WANTED) + HELLO[:20])
        lab.turning.until(lambda: lab.rejected and lab.taken, "both over")
        assert lab.rejected == ["no complete PROXY header in time"]
        assert lab.table.total(LISTENER_SLOT, PROXY_HEADER_FAILURES) == 1
        [(left, found)] = lab.taken
        assert (left, found.peer, found.sni, found.is_http) == (HELLO[:20], CLIENT[0], b"", False)
        assert silent.recv(1) == b""


@pytest.mark.parametrize("sent", [b"", b"PROXY ", write_v1(CLIENT, WANTED), write_v1(CLIENT, WANTED) + HELLO[:9]])
def test_a_worker_that_stops_loses_nothing_of_who_is_just_sending(lab: Lab, sent: bytes) -> None:
    with lab.connect() as theirs:
        theirs.sendall(sent)
        lab.turning.settle()
        [stream] = lab.reactor.all_streams()
        stream.drain()
        assert stream.drain_kind() == DRAIN_REQUEST
        theirs.sendall((write_v1(CLIENT, WANTED) + HELLO)[len(sent) :])
        lab.turning.settle()
        [(left, found)] = lab.taken
    assert (left, found.sni) == (HELLO, b"a.test")


@pytest.mark.parametrize(
    ("sent", "taken"), [(b"", []), (b"PROXY ", []), (write_v1(CLIENT, WANTED) + HELLO[:9], [HELLO[:9]])]
)
def test_a_worker_that_stops_waits_a_moment_only(lab: Lab, sent: bytes, taken: list[bytes]) -> None:
    with lab.connect() as theirs:
        theirs.sendall(sent)
        lab.turning.settle()
        [stream] = lab.reactor.all_streams()
        stream.drain()
        lab.turning.until(lambda: not lab.reactor.all_streams(), "the moment is over")
    assert lab.open() == (0, 0)
    assert [left for left, _ in lab.taken] == taken
    assert lab.rejected == []  # the client has not had its time
