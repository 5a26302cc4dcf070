"""Pipes: taken for bytes in transit, given back empty, and never more than there may be."""

from __future__ import annotations

import os
import resource
import socket
from collections.abc import Iterator

import pytest
from streams import Pair, Recorder, reset, tcp_pair
from turning import Turning

from proxy.kernel.netio import AGAIN, BROKEN, END, Reactor
from proxy.kernel.splice import Pipe, give_pipe, pipes_open, pipes_used, take_pipe

MOST_PIPES = 512
PATIENCE = 1000  # times that none is had after the system has refused one
SMALLEST = 64 * 1024


@pytest.fixture(autouse=True)
def pipes_are_given_back() -> Iterator[None]:
    assert pipes_used() == 0
    # Idle pipes stay open; those that a test uses are there before it looks at what is open.
    first, second = taken(), taken()
    give_pipe(first)
    give_pipe(second)
    yield
    assert pipes_used() == 0


@pytest.fixture
def pipe(reactor: Reactor) -> Iterator[Pipe]:
    """A pipe that is given back empty, whatever the test left in it."""
    pipe = taken()
    yield pipe
    if pipe.held:
        sink, theirs = tcp_pair(reactor)
        pipe.push(sink)
        sink.close()
        theirs.close()
    give_pipe(pipe)


@pytest.fixture
def source(reactor: Reactor) -> Iterator[Pair]:
    stream, theirs = tcp_pair(reactor)
    stream.paused = True
    yield stream, theirs
    theirs.close()


@pytest.fixture
def target(reactor: Reactor) -> Iterator[Pair]:
    stream, theirs = tcp_pair(reactor)
    stream.paused = True
    yield stream, theirs
    theirs.close()


def taken() -> Pipe:
    pipe = next((pipe for _ in range(PATIENCE + 1) if (pipe := take_pipe()) is not None), None)
    assert pipe is not None and pipe.held == 0 and pipe.size >= SMALLEST
    return pipe


def all_idle() -> list[Pipe]:
    """Take those that are there, so that the next is a new one."""
    pipes = []
    while pipes_open() > pipes_used():
        pipes.append(taken())
    return pipes


def small_buffers(stream: Recorder, theirs: socket.socket) -> None:
    theirs.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    with socket.fromfd(stream.fd, socket.AF_INET, socket.SOCK_STREAM) as ours:
        ours.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4096)


def hear(turning: Turning, stream: Recorder) -> None:
    """Wait until there is something to read."""
    stream.readable = False
    turning.until(lambda: stream.readable, "an event")


# --- moving bytes -------------------------------------------------------------------------------------------------


def test_bytes_go_from_one_socket_to_another(pipe: Pipe, source: Pair, target: Pair, turning: Turning) -> None:
    source[1].sendall(b"hello")
    hear(turning, source[0])
    assert pipe.pull(source[0]) == 5
    assert pipe.held == 5
    assert pipe.push(target[0]) == 5
    assert pipe.held == 0
    assert target[1].recv(10) == b"hello"
    assert pipe.pull(source[0]) == AGAIN
    # It knows that there is nothing, and does not ask again.
    assert not source[0].readable
    source[1].sendall(b"more")
    assert pipe.pull(source[0]) == AGAIN
    turning.until(lambda: source[0].readable, "an event")
    assert pipe.pull(source[0]) == 4
    assert pipe.push(target[0]) == 4


def test_an_end_is_told_after_the_last_bytes(pipe: Pipe, source: Pair, target: Pair, turning: Turning) -> None:
    source[1].sendall(b"last")
    source[1].close()
    turning.until(lambda: source[0].peer_closed, "the end")
    assert pipe.pull(source[0]) == 4
    assert pipe.push(target[0]) == 4
    assert pipe.pull(source[0]) == END
    assert source[0].peer_closed and not source[0].error


def test_a_reset_is_told_with_its_reason(pipe: Pipe, source: Pair, turning: Turning) -> None:
    reset(source[1])
    turning.until(lambda: source[0].failed, "the reset")
    assert pipe.pull(source[0]) == BROKEN
    assert source[0].error
    assert pipe.held == 0


def test_a_closed_stream_gives_and_takes_nothing(pipe: Pipe, source: Pair, target: Pair, turning: Turning) -> None:
    source[1].sendall(b"x")
    hear(turning, source[0])
    assert pipe.pull(source[0]) == 1
    target[0].close()
    assert pipe.push(target[0]) == BROKEN
    assert pipe.held == 1
    source[0].close()
    with pytest.raises(AssertionError):
        pipe.pull(source[0])  # only an empty pipe pulls
    second = taken()
    assert second.pull(source[0]) == BROKEN
    give_pipe(second)


def test_who_may_send_no_more_takes_nothing(pipe: Pipe, source: Pair, target: Pair, turning: Turning) -> None:
    source[1].sendall(b"x")
    hear(turning, source[0])
    assert pipe.pull(source[0]) == 1
    target[0].shut_write()
    assert pipe.push(target[0]) == BROKEN


def test_a_target_that_was_reset_refuses(pipe: Pipe, source: Pair, target: Pair, turning: Turning) -> None:
    reset(target[1])
    turning.until(lambda: target[0].failed, "the reset")
    source[1].sendall(b"x")
    hear(turning, source[0])
    assert pipe.pull(source[0]) == 1
    assert pipe.push(target[0]) == BROKEN
    assert target[0].write_dead and target[0].error


def test_what_waits_in_a_target_goes_first(pipe: Pipe, source: Pair, target: Pair, turning: Turning) -> None:
    stream, theirs = target
    total = 0
    while stream.send_bytes(b"a" * 60_000) == 0:
        total += 60_000
    total += 60_000
    source[1].sendall(b"b" * 10)
    hear(turning, source[0])
    assert pipe.pull(source[0]) == 10
    assert pipe.push(stream) == AGAIN
    received = bytearray()
    theirs.setblocking(False)
    while stream.out is not None:
        turning.once()
        try:
            received += theirs.recv(1 << 20)
        except BlockingIOError:
            continue
    assert pipe.push(stream) == 10
    theirs.settimeout(10)
    while len(received) < total + 10:
        received += theirs.recv(1 << 20)
    assert received == b"a" * total + b"b" * 10


def test_a_target_with_little_room_takes_a_pipe_in_pieces(
    pipe: Pipe, source: Pair, target: Pair, turning: Turning
) -> None:
    """Each piece is told by on_room, once it has been asked for, and never when nobody asked."""
    stream, theirs = target
    small_buffers(stream, theirs)
    room: list[int] = []

    class Taker(Recorder):
        def on_room(self) -> None:
            room.append(pipe.push(self))
            if pipe.held == 0:
                self.awaits_room = False

    fd = os.dup(stream.fd)
    taker = Taker()
    taker.paused = True
    taker.attach(stream.reactor, fd)
    taker.watch()
    stream.close()
    data = os.urandom(200_000)
    source[1].settimeout(10)
    source[1].sendall(data[:100_000])
    hear(turning, source[0])
    pulled = pipe.pull(source[0])
    assert pulled > 0
    first = pipe.push(taker)
    assert 0 < first < pulled
    assert pipe.push(taker) == AGAIN
    taker.await_room()
    received = bytearray()
    theirs.setblocking(False)
    while len(received) < pulled:
        turning.once(0.01, (theirs.fileno(),))
        try:
            received += theirs.recv(4096)
        except BlockingIOError:
            continue
    assert bytes(received) == data[:pulled]
    assert len(room) > 1 and not taker.awaits_room
    taker.close()


# --- having pipes -------------------------------------------------------------------------------------------------


def test_a_pipe_that_was_given_back_is_taken_again() -> None:
    first = taken()
    before = pipes_open()
    give_pipe(first)
    assert taken() is first
    assert pipes_open() == before
    give_pipe(first)


def test_a_pipe_with_bytes_in_it_is_closed_and_nobody_gets_them(source: Pair, turning: Turning) -> None:
    others = all_idle()
    pipe = taken()  # a new one
    before = pipes_open()
    source[1].sendall(b"secret")
    hear(turning, source[0])
    got = pipe.pull(source[0])
    assert got == 6
    give_pipe(pipe)
    del pipe
    assert pipes_open() == before - 1
    for other in others:
        give_pipe(other)


def test_no_more_pipes_than_there_may_be() -> None:
    """The system may set a lower limit (fs.pipe-user-pages-soft): beyond it pipes are too small to be used."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(hard, 4096), hard))
    try:
        pipes = []
        while (pipe := take_pipe()) is not None:
            pipes.append(pipe)
        assert 1 <= len(pipes) <= MOST_PIPES
        assert pipes_used() == len(pipes) == pipes_open()
        assert take_pipe() is None
        # One that comes back is there for the next.
        last = pipes.pop()
        give_pipe(last)
        assert take_pipe() is last
        pipes.append(last)
        for pipe in pipes:
            give_pipe(pipe)
        del pipes, pipe, last
        # Only some of them are kept.
        assert pipes_used() == 0 and pipes_open() <= 32
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def test_no_descriptors_means_no_pipe_and_leaks_none() -> None:
    pipes = [*all_idle(), taken()]  # whatever was refused before is forgotten with the last
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    probe = [os.open("/dev/null", os.O_RDONLY) for _ in range(2)]
    for fd in probe:
        os.close(fd)
    before = pipes_open()
    try:
        # One is left, and a pipe needs two.
        resource.setrlimit(resource.RLIMIT_NOFILE, (max(probe), hard))
        assert take_pipe() is None
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    assert pipes_open() == before
    # It is not asked at once again, which would cost more than a copy, but after a while.
    assert all(take_pipe() is None for _ in range(PATIENCE))
    again = take_pipe()
    assert again is not None
    for pipe in [*pipes, again]:
        give_pipe(pipe)
