"""Streams on real sockets: reading to the end, and writing more than fits."""

from __future__ import annotations

import errno
import os
import socket

import pytest
from streams import Pair, fill_up, make_pair, reset, tcp_pair
from turning import Turning

from proxy.kernel.buffer import Buffer
from proxy.kernel.netio import AGAIN, BROKEN, END, Reactor

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


def test_reads_go_on_behind_urgent_data(reactor: Reactor, turning: Turning) -> None:
    """A read stops short at the mark, and what is behind it makes no new edge."""
    stream, theirs = tcp_pair(reactor)
    stream.paused = True
    theirs.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    theirs.send(b"before")
    theirs.send(b"!", socket.MSG_OOB)
    theirs.send(b"behind")
    turning.until(lambda: stream.urgent, "the mark")
    turning.settle()
    stream.paused = False
    reactor.wake(stream)
    turning.until(lambda: stream.received == b"beforebehind", "all but the urgent byte")
    stream.close()
    theirs.close()


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


def test_what_a_closed_stream_left_is_nobodys(reactor: Reactor, turning: Turning) -> None:
    """Streams come to be where others were in memory: what one of them did not consume must not become theirs."""
    for detaches in (False, True):
        for _ in range(50):
            for stream, theirs in make_pair(reactor, watch=False):
                theirs.sendall(b"not for others")
                assert stream.fill() == 14
                os.close(stream.detach()) if detaches else stream.abort()
            del stream
            turning.settle()
            for stream, _ in make_pair(reactor, watch=False):
                assert stream.buffer().length() == 0
                stream.close()
            del stream


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
