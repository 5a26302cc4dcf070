"""Streams on real sockets: reading, writing, ends and errors, connecting, and what a broken driver may not do."""

from __future__ import annotations

import errno
import gc
import os
import socket
import struct
from collections.abc import Callable, Iterator

import pytest
from turning import Turning, open_descriptors

from proxy.kernel.buffer import Buffer
from proxy.kernel.netio import AGAIN, BROKEN, END, Address, Reactor, Stream


class Recorder(Stream):
    """A driver that writes down what it is told, and reads when it is not `paused`."""

    def __init__(self) -> None:
        self.received = b""
        self.told: list[str] = []
        self.last = AGAIN
        self.paused = False
        self.keeps = False
        self.then: Callable[[Recorder], None] = lambda stream: None

    def on_readable(self) -> None:
        self.told.append("readable")
        while not self.paused and self.fd >= 0:
            got = self.fill()
            if got <= 0:
                self.last = got
                break
            if not self.keeps:
                self.received += self.buffer().take()
            else:
                self.keep()
        self.then(self)

    def on_drained(self) -> None:
        self.told.append("drained")
        self.then(self)

    def on_connected(self, error: int) -> None:
        self.told.append(f"connected {errno.errorcode.get(error, '0')}")
        self.then(self)

    def on_timeout(self) -> None:
        self.told.append("timeout")
        self.then(self)

    def on_closed(self) -> None:
        self.told.append("closed")


@pytest.fixture
def reactor() -> Iterator[Reactor]:
    """A reactor that must end with nothing open, nothing counted, and no bug but those a test took out of `bugs`."""
    before = open_descriptors()
    reactor = Reactor()
    bugs: list[BaseException] = []
    reactor.on_bug = lambda stream, bug: bugs.append(bug)
    yield reactor
    reactor.close()
    assert reactor.all_streams() == []
    assert reactor.open_streams == 0
    assert not bugs
    own = reactor.fileno()
    reactor.on_bug = None
    gc.collect()
    assert {entry for entry in open_descriptors() - before if not entry.startswith(f"{own} ")} == set()


@pytest.fixture
def turning(reactor: Reactor) -> Turning:
    return Turning(reactor)


Pair = tuple[Recorder, socket.socket]


@pytest.fixture
def pair(reactor: Reactor) -> Iterator[Pair]:
    """A stream of ours and a blocking socket for the other side."""
    yield from make_pair(reactor)


def make_pair(reactor: Reactor, watch: bool = True) -> Iterator[Pair]:
    ours, theirs = socket.socketpair()
    ours.setblocking(False)
    stream = Recorder()
    stream.attach(reactor, ours.detach())
    if watch:
        stream.watch()
    theirs.settimeout(10)
    yield stream, theirs
    theirs.close()


def tcp_pair(reactor: Reactor) -> Pair:
    """The same over TCP, where a reset can be sent."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        theirs = socket.create_connection(server.getsockname())
        ours, _ = server.accept()
    ours.setblocking(False)
    stream = Recorder()
    stream.attach(reactor, ours.detach())
    stream.watch()
    theirs.settimeout(10)
    return stream, theirs


def reset(sock: socket.socket) -> None:
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    sock.close()


# --- reading ------------------------------------------------------------------------------------------------------


def test_what_is_sent_is_received(pair: Pair, turning: Turning) -> None:
    stream, theirs = pair
    theirs.sendall(b"hello")
    turning.until(lambda: stream.received == b"hello", "hello received")
    assert stream.told.count("readable") == 1


def test_nothing_is_told_before_watch(reactor: Reactor, turning: Turning) -> None:
    for stream, theirs in make_pair(reactor, watch=False):
        theirs.sendall(b"hello")
        turning.settle()
        assert stream.told == []
        # A first read needs no event: it finds what is there already.
        assert stream.fill() == 5
        stream.watch()
        stream.watch()
        theirs.sendall(b" again")
        turning.until(lambda: stream.received == b" again", "what came after watch")  # noqa: B023
        stream.close()


def test_a_short_read_says_that_the_socket_is_empty(pair: Pair, turning: Turning) -> None:
    stream, theirs = pair
    stream.paused = True
    theirs.sendall(b"hello")
    turning.until(lambda: stream.told, "an event")
    assert stream.readable
    assert stream.fill() == 5
    assert not stream.readable
    assert stream.fill() == AGAIN
    theirs.sendall(b"more")
    turning.until(lambda: stream.readable, "a new edge")
    assert stream.fill() == 4


def test_one_event_for_bytes_that_are_left_unread(pair: Pair, turning: Turning) -> None:
    stream, theirs = pair
    stream.paused = True
    theirs.sendall(b"x" * 100_000)
    turning.until(lambda: stream.told, "an event")
    turning.settle()
    assert stream.told == ["readable"]
    stream.paused = False
    stream.reactor.wake(stream)
    turning.until(lambda: len(stream.received) == 100_000, "all of it, after a wake and without another event")


def test_bytes_that_are_kept_stay_when_others_read(reactor: Reactor, turning: Turning, pair: Pair) -> None:
    stream, theirs = pair
    stream.keeps = True
    for other, their_other in make_pair(reactor):
        theirs.sendall(b"part of a head")
        turning.until(lambda: stream.rx is not None, "bytes kept")
        their_other.sendall(b"y" * 1000)
        turning.until(lambda: len(other.received) == 1000, "the other's bytes")  # noqa: B023
        assert stream.rx is not None
        theirs.sendall(b", and the rest")
        turning.until(lambda: stream.rx is not None and stream.rx.length() == 28, "the rest")
        assert stream.buffer().take() == b"part of a head, and the rest"
        stream.keep()
        assert stream.rx is None
        other.close()


def test_a_kept_buffer_grows_only_with_what_is_kept(pair: Pair, turning: Turning) -> None:
    stream, theirs = pair
    stream.keeps = True
    theirs.sendall(b"x" * 30_000)
    turning.until(lambda: stream.rx is not None and stream.rx.length() == 30_000, "all kept")
    assert stream.rx is not None
    assert stream.rx.size <= 4 * 65_536


def test_an_end_is_told_once_and_stays(pair: Pair, turning: Turning) -> None:
    stream, theirs = pair
    theirs.sendall(b"last words")
    theirs.shutdown(socket.SHUT_WR)
    turning.until(lambda: stream.last == END, "the end")
    assert stream.received == b"last words"
    assert stream.peer_closed
    # Our direction is still open.
    assert stream.send_bytes(b"reply") == 0
    assert theirs.recv(100) == b"reply"


def test_a_reset_breaks_the_stream(reactor: Reactor, turning: Turning) -> None:
    stream, theirs = tcp_pair(reactor)
    reset(theirs)
    turning.until(lambda: stream.last == BROKEN, "the reset")
    assert stream.error == errno.ECONNRESET
    stream.close()


def test_a_closed_stream_reads_nothing(pair: Pair) -> None:
    stream, _ = pair
    stream.close()
    assert stream.fill() == BROKEN
    stream.keep()
    assert stream.pending() == 0
    assert not stream.is_quiet()


def test_quiet_means_open_and_nothing_sent(reactor: Reactor, turning: Turning) -> None:
    stream, theirs = tcp_pair(reactor)
    assert stream.is_quiet()
    theirs.sendall(b"x")
    assert not stream.is_quiet()
    assert stream.fill() == 1
    assert stream.is_quiet()
    theirs.shutdown(socket.SHUT_WR)
    assert not stream.is_quiet()
    turning.until(lambda: stream.peer_closed, "the end")
    assert not stream.is_quiet()
    stream.close()
    theirs.close()


# --- writing ------------------------------------------------------------------------------------------------------


def fill_up(stream: Recorder) -> int:
    """Send until some of it waits; how many bytes that were."""
    total = 0
    while True:
        total += 60_000
        if stream.send_bytes(b"x" * 60_000) == 1:
            return total


def test_what_does_not_fit_waits_and_its_end_is_told(pair: Pair, turning: Turning) -> None:
    stream, theirs = pair
    total = fill_up(stream)
    assert 0 < stream.pending() <= 60_000
    assert stream.send_bytes(b"the end") == 1
    total += 7
    received = b""
    while len(received) < total:
        received += theirs.recv(1 << 20)
        turning.settle()
    assert received.endswith(b"xthe end")
    assert stream.told == ["drained"]
    assert stream.pending() == 0
    assert stream.out is None
    # From here on writes go out directly again.
    assert stream.send_bytes(b"more") == 0


def test_all_ways_of_writing(pair: Pair) -> None:
    stream, theirs = pair
    source, head = Buffer(), Buffer()
    source.append(b"0123456789")
    source.consume(2)
    assert stream.send_range(source, 3, 4) == 0
    assert theirs.recv(100) == b"3456"
    head.append(b"head ")
    assert stream.send_with(head, source, 8, 2) == 0
    assert theirs.recv(100) == b"head 89"
    assert len(head) == 0
    assert stream.send(source) == 0
    assert theirs.recv(100) == b"23456789"
    assert len(source) == 0
    assert stream.send_bytes(b"") == 0
    for start, count in [(-1, 2), (0, -1), (5, 20)]:
        with pytest.raises(IndexError):
            stream.send_range(source, start, count)
        with pytest.raises(IndexError):
            stream.send_with(head, source, start, count)


def test_a_write_that_is_split_anywhere_arrives_in_order(pair: Pair, turning: Turning) -> None:
    stream, theirs = pair
    expected = b""
    head, source = Buffer(), Buffer()
    for number in range(60):
        piece = bytes([number]) * 5000
        head.append(piece)
        source.append(piece)
        stream.send_with(head, source, 0, 5000)
        source.clear()
        expected += piece + piece
    received = b""
    while len(received) < len(expected):
        received += theirs.recv(7001)
        turning.settle()
    assert received == expected


def test_writing_to_a_peer_that_is_gone(reactor: Reactor, turning: Turning) -> None:
    stream, theirs = tcp_pair(reactor)
    reset(theirs)
    turning.until(lambda: stream.last == BROKEN, "the reset")
    assert stream.send_bytes(b"x") == -1
    assert stream.write_dead
    assert stream.send_bytes(b"x") == -1
    assert stream.pending() == 0
    stream.close()
    assert stream.send_bytes(b"x") == -1


def test_a_driver_learns_that_waiting_bytes_are_lost(reactor: Reactor, turning: Turning) -> None:
    stream, theirs = tcp_pair(reactor)
    fill_up(stream)
    reset(theirs)
    turning.until(lambda: "drained" in stream.told, "the loss")
    assert stream.write_dead and stream.pending() == 0
    stream.close()


def test_shut_write_ends_our_direction_only(pair: Pair, turning: Turning) -> None:
    stream, theirs = pair
    stream.shut_write()
    stream.shut_write()
    assert theirs.recv(10) == b""
    assert stream.send_bytes(b"x") == -1
    theirs.sendall(b"still here")
    turning.until(lambda: stream.received == b"still here", "bytes after our end")


# --- ending -------------------------------------------------------------------------------------------------------


def test_closing_twice_is_closing_once(pair: Pair, reactor: Reactor) -> None:
    stream, theirs = pair
    assert reactor.open_streams == 1
    stream.close()
    stream.abort()
    stream.close()
    assert stream.told == ["closed"]
    assert reactor.open_streams == 0
    assert theirs.recv(10) == b""
    assert repr(stream) == "<Recorder fd=-1>"


def test_abort_resets(reactor: Reactor) -> None:
    stream, theirs = tcp_pair(reactor)
    stream.abort()
    with pytest.raises(ConnectionResetError):
        theirs.recv(10)
    theirs.close()


def test_closing_inside_a_callback(pair: Pair, turning: Turning, reactor: Reactor) -> None:
    stream, theirs = pair
    stream.then = Recorder.close
    theirs.sendall(b"x")
    turning.until(lambda: stream.fd < 0, "closed")
    assert stream.told == ["readable", "closed"]
    assert reactor.all_streams() == []


def test_an_event_for_a_closed_stream_does_not_reach_its_successor(reactor: Reactor, turning: Turning) -> None:
    """Two streams are ready in one batch; the first closes the second, whose descriptor is taken again at once."""
    pairs = [next(make_pair(reactor)) for _ in range(2)]
    successors: list[Pair] = []

    def replace(stream: Recorder) -> None:
        other = pairs[1 - [each for each, _ in pairs].index(stream)][0]
        if other.fd < 0 or successors:
            return
        number = other.fd
        other.close()
        for _ in range(20):
            successor = next(make_pair(reactor))
            successors.append(successor)
            if successor[0].fd == number:
                return
        raise AssertionError("the descriptor was not used again")

    for stream, theirs in pairs:
        stream.then = replace
        theirs.sendall(b"x")
    turning.settle()
    assert successors
    for successor, _ in successors:
        assert successor.told == []
    assert sum("readable" in stream.told for stream, _ in pairs) == 1
    for stream, theirs in [*pairs, *successors]:
        stream.close()
        theirs.close()


def test_a_driver_that_raises_loses_its_stream_and_no_other(turning: Turning, reactor: Reactor) -> None:
    bugs: list[tuple[Stream, BaseException]] = []
    expected, reactor.on_bug = reactor.on_bug, lambda stream, bug: bugs.append((stream, bug))
    pairs = [next(make_pair(reactor)) for _ in range(6)]

    def fail(stream: Recorder) -> None:
        raise ZeroDivisionError("a bug")

    for stream, theirs in pairs:
        theirs.sendall(b"x")
        if pairs.index((stream, theirs)) % 2:
            stream.then = fail
    turning.until(lambda: len(bugs) == 3, "three bugs")
    turning.settle()
    for index, (stream, theirs) in enumerate(pairs):
        assert (stream.fd < 0) == bool(index % 2)
        assert stream.received == b"x"
        stream.close()
        theirs.close()
    assert {type(bug) for _, bug in bugs} == {ZeroDivisionError}
    reactor.on_bug = expected


@pytest.mark.parametrize("when", ["woken", "timeout", "drained", "connected"])
def test_a_bug_is_contained_wherever_it_happens(when: str, turning: Turning, reactor: Reactor) -> None:
    bugs: list[BaseException] = []
    expected, reactor.on_bug = reactor.on_bug, lambda stream, bug: bugs.append(bug)

    def fail(stream: Recorder) -> None:
        raise ZeroDivisionError("a bug")

    stream, theirs = next(make_pair(reactor))
    if when == "woken":
        stream.then = fail
        reactor.wake(stream)
    elif when == "timeout":
        stream.then = fail
        stream.set_timeout(0.01)
    elif when == "drained":
        fill_up(stream)
        stream.then = fail
        while theirs.recv(1 << 20, socket.MSG_DONTWAIT) and not bugs:
            turning.settle()
    else:
        stream.close()
        theirs.close()
        theirs = socket.create_server(("127.0.0.1", 0))
        stream = Recorder()
        stream.then = fail
        assert stream.connect(reactor, Address(f"127.0.0.1:{theirs.getsockname()[1]}")) == 0
    turning.until(lambda: bugs, "the bug")
    assert stream.fd < 0 and stream.told[-1] == "closed"
    theirs.close()
    reactor.on_bug = expected


def test_a_stream_that_is_dropped_open_does_not_leak() -> None:
    """Before it is watched nobody else holds it."""
    reactor = Reactor()
    stream, theirs = next(make_pair(reactor, watch=False))
    number = stream.fd
    del stream
    gc.collect()
    assert theirs.recv(10) == b""
    with pytest.raises(OSError, match="Bad file descriptor"):
        os.fstat(number)
    theirs.close()


def test_a_reactor_that_is_dropped_with_open_streams_does_not_leak() -> None:
    gc.collect()
    before = open_descriptors()
    reactor = Reactor()
    pairs = [next(make_pair(reactor)) for _ in range(20)]
    others = [theirs for _, theirs in pairs]
    for stream, _ in pairs:
        stream.set_timeout(10)
    del reactor, pairs, stream
    gc.collect()
    for theirs in others:
        assert theirs.recv(1) == b""
        theirs.close()
    assert open_descriptors() == before


def test_many_streams_leave_nothing_behind(turning: Turning, reactor: Reactor) -> None:
    pairs = [next(make_pair(reactor)) for _ in range(300)]
    for number, (stream, theirs) in enumerate(pairs):
        stream.set_timeout(5)
        theirs.sendall(b"%d" % number)
    turning.until(lambda: all(stream.received for stream, _ in pairs), "all received")
    assert [int(stream.received) for stream, _ in pairs] == list(range(300))
    assert reactor.open_streams == 300
    for _, theirs in pairs:
        theirs.close()
    turning.until(lambda: all(stream.last == END for stream, _ in pairs), "all ended")
    for stream, _ in pairs:
        stream.close()
    assert reactor.open_streams == 0


def test_a_woken_stream_is_served_once_and_never_after_its_end(pair: Pair, turning: Turning, reactor: Reactor) -> None:
    stream, _ = pair
    reactor.wake(stream)
    reactor.wake(stream)
    turning.once()
    assert stream.told == ["readable"]
    reactor.wake(stream)
    stream.close()
    turning.once()
    assert stream.told == ["readable", "closed"]
    reactor.wake(stream)
    turning.once()
    assert stream.told == ["readable", "closed"]


def test_a_busy_stream_lets_others_have_their_turn(turning: Turning, reactor: Reactor) -> None:
    """A driver that stops after some reads and wakes itself comes after what else is ready."""
    order: list[str] = []

    def greedy(stream: Recorder) -> None:
        order.append("greedy")
        if order.count("greedy") < 5:
            reactor.wake(stream)

    pairs = [next(make_pair(reactor)) for _ in range(3)]
    for stream, theirs in pairs:
        stream.then = greedy if stream is pairs[0][0] else lambda stream: order.append("modest")
        theirs.sendall(b"x")
    turning.until(lambda: len(order) == 7, "everybody's turn")
    # One more turn after each event, at most: three events, so a fourth turn comes when everybody has had one.
    assert order.index("modest") <= 2
    assert order[:5].count("modest") == 2, order
    for stream, theirs in pairs:
        stream.close()
        theirs.close()


# --- connecting ---------------------------------------------------------------------------------------------------


def test_connecting(turning: Turning, reactor: Reactor) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        stream = Recorder()
        assert stream.connect(reactor, Address(f"127.0.0.1:{server.getsockname()[1]}")) == 0
        assert stream.connecting
        turning.until(lambda: stream.told, "connected")
        assert stream.told == ["connected 0"]
        theirs, _ = server.accept()
        assert stream.send_bytes(b"hello") == 0
        assert theirs.recv(10) == b"hello"
        theirs.sendall(b"you")
        turning.until(lambda: stream.received == b"you", "the answer")
        stream.close()
        theirs.close()


def test_a_connection_that_is_refused(turning: Turning, reactor: Reactor) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
    stream = Recorder()
    assert stream.connect(reactor, Address(f"127.0.0.1:{port}")) == 0
    stream.then = Recorder.close
    turning.until(lambda: stream.told, "refused")
    assert stream.told == ["connected ECONNREFUSED", "closed"]


def test_what_is_written_while_connecting_goes_out_when_connected(turning: Turning, reactor: Reactor) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        stream = Recorder()
        assert stream.connect(reactor, Address(f"127.0.0.1:{server.getsockname()[1]}")) == 0
        assert stream.send_bytes(b"early") == 1
        assert stream.pending() == 5
        turning.until(lambda: stream.pending() == 0, "sent")
        theirs, _ = server.accept()
        theirs.settimeout(10)
        assert theirs.recv(10) == b"early"
        assert "drained" in stream.told
        stream.close()
        theirs.close()


def test_unix_sockets(turning: Turning, reactor: Reactor, tmp_path: object) -> None:
    path = f"{tmp_path}/s"
    missing = Recorder()
    # An error that is known at once is the result, and nothing is open.
    assert missing.connect(reactor, Address(f"unix:{path}")) == errno.ENOENT
    assert missing.fd == -1
    assert reactor.open_streams == 0
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(path)
        server.listen()
        stream = Recorder()
        assert stream.connect(reactor, Address(f"unix:{path}")) == 0
        turning.until(lambda: stream.told == ["connected 0"], "connected")
        server.accept()[0].close()
        turning.until(lambda: stream.last == END, "the end")
        stream.close()


@pytest.mark.parametrize(
    ("text", "family"),
    [
        ("127.0.0.1:80", socket.AF_INET),
        ("localhost:65535", socket.AF_INET),
        ("[::1]:1", socket.AF_INET6),
        ("[2001:db8::1]:8080", socket.AF_INET6),
        ("unix:/run/x.sock", socket.AF_UNIX),
        ("unix:relative", socket.AF_UNIX),
    ],
)
def test_addresses(text: str, family: socket.AddressFamily) -> None:
    address = Address(text)
    assert (address.family, address.text) == (family, text)


@pytest.mark.parametrize(
    "text",
    [
        "", "127.0.0.1", "127.0.0.1:", "127.0.0.1:0", "127.0.0.1:65536", "127.0.0.1:-1", "127.0.0.1:8x", ":80", "a:80",
        "::1:80", "[::1]", "[::1:80", "[127.0.0.1]:80", "1.2.3:80", "1.2.3.4.5:80", "127.0.0.1:\u0668\u0660",
        "unix:" + "x" * 108, "unix:", "127.0.0.1\0x:80",
    ],
)  # fmt: skip
def test_what_is_no_address_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="is not an address"):
        Address(text)
