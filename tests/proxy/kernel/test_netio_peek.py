"""Bytes that are looked at and left, and descriptors that change hands."""

from __future__ import annotations

import errno
import socket

import pytest
from streams import Pair, Recorder, fill_up, make_pair, reset, tcp_pair
from turning import Turning, open_descriptors

from proxy.kernel.netio import Reactor


@pytest.fixture
def pair(pair: Pair) -> Pair:
    """A stream that reads nothing by itself."""
    pair[0].paused = True
    return pair


def test_what_was_looked_at_is_still_there(pair: Pair, turning: Turning) -> None:
    stream, theirs = pair
    theirs.sendall(b"hello")
    turning.until(lambda: stream.told, "an event")
    assert stream.peek(3) == b"hel"
    assert stream.peek(100) == b"hello"
    assert stream.readable
    assert stream.fill() == 5
    assert stream.buffer().take() == b"hello"


def test_looking_at_nothing_says_that_there_is_nothing(pair: Pair, turning: Turning) -> None:
    stream = pair[0]
    assert stream.readable
    assert stream.peek(10) == b""
    assert (stream.readable, stream.peer_closed, stream.error) == (False, False, 0)
    assert stream.peek(0) == b""


def test_more_bytes_are_a_new_event_though_the_first_were_left(pair: Pair, turning: Turning) -> None:
    stream, theirs = pair
    theirs.sendall(b"one")
    turning.until(lambda: len(stream.told) == 1, "the first event")
    assert stream.peek(100) == b"one"
    turning.settle()
    assert len(stream.told) == 1
    theirs.sendall(b"two")
    turning.until(lambda: len(stream.told) == 2, "the second event")
    assert stream.peek(100) == b"onetwo"


def test_an_end_is_seen_behind_the_bytes(pair: Pair, turning: Turning) -> None:
    stream, theirs = pair
    theirs.sendall(b"bye")
    theirs.shutdown(socket.SHUT_WR)
    turning.until(lambda: stream.peer_closed, "the end")
    assert stream.peek(100) == b"bye"
    assert stream.skip(3)
    assert stream.peek(100) == b""
    assert (stream.readable, stream.peer_closed, stream.error) == (False, True, 0)


def test_a_reset_is_seen(reactor: Reactor, turning: Turning) -> None:
    stream, theirs = tcp_pair(reactor)
    stream.paused = True
    reset(theirs)
    turning.until(lambda: stream.told, "an event")
    assert stream.peek(100) == b""
    assert stream.error == errno.ECONNRESET
    stream.close()
    assert stream.peek(100) == b""


@pytest.mark.parametrize("count", [0, 1, 70_000, 99_999, 100_000])
def test_exactly_so_many_bytes_are_skipped(pair: Pair, count: int) -> None:
    stream, theirs = pair
    data = bytes(range(250)) * 400
    theirs.sendall(data)
    assert stream.skip(count)
    assert stream.peek(250) == data[count : count + 250]


def test_what_is_not_there_cannot_be_skipped(pair: Pair) -> None:
    stream, theirs = pair
    theirs.sendall(b"abc")
    assert not stream.skip(4)
    theirs.close()
    assert not stream.skip(1)
    stream.close()
    assert not stream.skip(0)


@pytest.mark.parametrize("watch", [True, False])
def test_a_descriptor_changes_hands_with_what_waits_in_it(reactor: Reactor, turning: Turning, watch: bool) -> None:
    for stream, theirs in make_pair(reactor, watch=watch):
        stream.paused = True
        if watch:
            stream.set_timeout(0.001)
        theirs.sendall(b"header,rest")
        assert stream.peek(100) == b"header,rest"
        assert stream.skip(7)
        before = open_descriptors()
        fd = stream.detach()
        assert (stream.fd, stream.detach(), reactor.open_streams, reactor.all_streams()) == (-1, -1, 0, [])
        assert open_descriptors() == before
        turning.settle()
        other = Recorder()
        other.attach(reactor, fd)
        other.watch()
        turning.until(lambda: other.received == b"rest", "the rest")  # noqa: B023
        theirs.sendall(b" and more")
        turning.until(lambda: other.received == b"rest and more", "more")  # noqa: B023
        assert [event for event in stream.told if event != "readable"] == []
        other.close()


def test_a_stream_lets_go_in_its_own_event(pair: Pair, reactor: Reactor, turning: Turning) -> None:
    stream, theirs = pair
    other = Recorder()

    def hand_on(stream: Recorder) -> None:
        other.attach(reactor, stream.detach())
        reactor.wake(other)
        other.watch()

    stream.then = hand_on
    theirs.sendall(b"x")
    turning.until(lambda: other.received == b"x", "the byte at the other")
    assert stream.told == ["readable"]
    other.close()


def test_a_stream_knows_where_its_peer_has_connected_to(reactor: Reactor, pair: Pair) -> None:
    stream, theirs = tcp_pair(reactor)
    host, port = theirs.getpeername()
    assert stream.local_address() == (host.encode(), port)
    stream.close()
    theirs.close()
    assert stream.local_address() == (b"", 0)
    assert pair[0].local_address() == (b"", 0)  # a unix socket


def test_a_stream_that_owns_bytes_does_not_let_go(pair: Pair, turning: Turning) -> None:
    stream, theirs = pair
    theirs.sendall(b"kept")
    assert stream.fill() == 4
    stream.keep()
    with pytest.raises(ValueError, match="owns bytes"):
        stream.detach()
    stream.buffer().clear()
    stream.keep()
    fill_up(stream)
    with pytest.raises(ValueError, match="owns bytes"):
        stream.detach()
    assert stream.fd >= 0
