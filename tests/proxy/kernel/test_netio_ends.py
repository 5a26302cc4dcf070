"""How streams end: once, without leaks, by bugs too; and whose turn it is."""

from __future__ import annotations

import errno
import gc
import os
import socket

import pytest
import streams
from streams import Pair, Recorder, fill_up, make_pair, reset, tcp_pair
from turning import Turning, open_descriptors

from proxy.kernel.netio import BROKEN, END, Address, Reactor, Stream, streams_lost


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
    """Before it is watched nobody else holds it. That it was forgotten is counted, because it is a bug."""
    reactor = Reactor()
    stream, theirs = next(make_pair(reactor, watch=False))
    number = stream.fd
    lost = streams_lost()
    del stream
    gc.collect()
    assert streams_lost() == lost + 1
    streams.lost_on_purpose += 1
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
    streams.lost_on_purpose += 20
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


def test_a_reset_that_a_write_was_told_of_is_no_end_for_a_read(reactor: Reactor, turning: Turning) -> None:
    """The kernel tells an error once; a read after it is told of an end, and a body that this ends would look whole."""
    stream, theirs = tcp_pair(reactor)
    stream.paused = True
    reset(theirs)
    turning.until(lambda: stream.failed, "the reset")
    assert stream.send_bytes(b"x") == -1
    assert stream.error == errno.ECONNRESET
    assert stream.fill() == BROKEN
    stream.close()


def test_a_stream_that_could_not_send_is_woken_and_resets(reactor: Reactor, turning: Turning) -> None:
    """Whoever wrote may have nothing more to do with it, and no event may come: a want of memory makes none."""
    stream, theirs = tcp_pair(reactor)
    theirs.sendall(b"last words")
    stream.paused = True
    turning.until(lambda: stream.told, "an event")
    stream.paused = False
    with open(os.devnull, "rb") as nothing:
        os.dup2(nothing.fileno(), stream.fd)  # takes no bytes, and has no events
    stream.told.clear()
    assert stream.send_bytes(b"x") == -1
    turning.until(lambda: "readable" in stream.told, "a call without an event")
    assert stream.last == BROKEN
    stream.close()
    theirs.close()
