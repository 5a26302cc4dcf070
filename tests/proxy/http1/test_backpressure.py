"""Slow clients and slow endpoints hold back the other side, and never fill our memory."""

from __future__ import annotations

import socket
import time

import pytest
from playbook import Client, Origin, Playbook, Server, service
from raw_origin import OK

from proxy.kernel.netio import Stream

# What one connection may hold of a body: a few reads of 64 KiB.
MOST_HELD = 512 * 1024
# More than the kernel's buffers take on the way.
LARGE = 32 * 1024 * 1024
PIECE = 256 * 1024


def held(*streams: Stream) -> int:
    """Bytes of memory that connections own."""
    return sum(buffer.size for stream in streams for buffer in (stream.rx, stream.out) if buffer is not None)


def book_of(origin: Origin) -> Playbook:
    return Playbook(service("app", origin), origins=(origin,))


def small_window(side: Client | Server) -> None:
    side.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 256 * 1024)


def feed(book: Playbook, side: Client | Server, data: bytes) -> int:
    """Send until nothing more is taken; the most that was held meanwhile is checked."""
    sent = 0
    while sent < len(data):
        count = side.send_some(data[sent : sent + PIECE])
        assert held(*book.downstreams(), *book.upstreams()) <= MOST_HELD
        if count == 0:
            break
        sent += count
    return sent


def carry(book: Playbook, source: Client | Server, rest: bytes, side: Client | Server, end: bytes) -> bytes:
    """Send the rest at one side and read at the other until `end` has come."""
    received = bytearray(side.unread)
    side.unread = b""
    sent = 0
    deadline = time.monotonic() + 20
    while not received.endswith(end):
        if sent < len(rest):
            sent += source.send_some(rest[sent : sent + PIECE])
        piece = side.take_available()
        received += piece
        if not piece:
            book.serve(0.001)
        assert not side.ended
        assert time.monotonic() < deadline, f"{len(received)} bytes came"
        assert held(*book.downstreams(), *book.upstreams()) <= MOST_HELD
    assert sent == len(rest)
    return bytes(received)


FRAMED = ["length", "chunked"]


def framed(body: bytes, framing: str) -> tuple[bytes, bytes]:
    """The framing field and the body as it is sent."""
    if framing == "length":
        return b"Content-Length: %d\r\n" % len(body), body
    pieces = [body[at : at + 60_000] for at in range(0, len(body), 60_000)]
    chunks = b"".join(b"%x\r\n%s\r\n" % (len(piece), piece) for piece in pieces)
    return b"Transfer-Encoding: chunked\r\n", chunks + b"0\r\n\r\n"


BODY = bytes(range(251)) * (LARGE // 251) + b"the end"
END = {"length": b"the end", "chunked": b"the end\r\n0\r\n\r\n"}


def dechunked(wire: bytes, framing: str) -> bytes:
    if framing == "length":
        return wire
    pieces = []
    at = 0
    while wire[at : at + 3] != b"0\r\n":
        start = wire.index(b"\r\n", at) + 2
        size = int(wire[at : start - 2], 16)
        pieces.append(wire[start : start + size])
        at = start + size + 2
    return b"".join(pieces)


@pytest.mark.parametrize("framing", FRAMED)
def test_a_slow_client_holds_back_the_endpoint(origin: Origin, framing: str) -> None:
    with book_of(origin) as book:
        client = book.client()
        small_window(client)
        client.ask()
        upstream = origin.accept()
        upstream.request()
        field, wire = framed(BODY, framing)
        upstream.send(b"HTTP/1.1 200 OK\r\n" + field + b"\r\n")
        sent = feed(book, upstream, wire)
        # The kernel's buffers are full, and the endpoint has to wait.
        assert sent < len(wire)
        assert book.downstreams()[0].pending()
        head = client.read_until(b"\r\n\r\n")
        assert b"200 OK" in head
        assert dechunked(carry(book, upstream, wire[sent:], client, END[framing]), framing) == BODY
        book.settle()
        assert held(*book.downstreams(), *book.upstreams()) == 0
        # Both connections are good for another request.
        client.ask()
        upstream.answer()
        assert client.response().body == b"ok"


@pytest.mark.parametrize("framing", FRAMED)
def test_a_slow_endpoint_holds_back_the_client(origin: Origin, framing: str) -> None:
    with book_of(origin) as book:
        client = book.client()
        field, wire = framed(BODY, framing)
        client.send(b"POST / HTTP/1.1\r\nHost: a\r\n" + field + b"\r\n")
        upstream = origin.accept()
        small_window(upstream)
        upstream.head()
        sent = feed(book, client, wire)
        assert sent < len(wire)
        assert book.upstreams()[0].pending()
        assert dechunked(carry(book, client, wire[sent:], upstream, END[framing]), framing) == BODY
        upstream.send(OK)
        assert client.response().body == b"ok"
        book.settle()
        assert held(*book.downstreams(), *book.upstreams()) == 0


def test_a_client_that_pipelines_without_reading_is_held_back(origin: Origin) -> None:
    """Otherwise its answers would pile up here: requests are small and answers need not be."""
    with book_of(origin) as book:
        client = book.client()
        small_window(client)
        request = b"GET / HTTP/1.1\r\nHost: a\r\n\r\n"
        answer = b"HTTP/1.1 200 OK\r\nContent-Length: 30000\r\n\r\n" + b"x" * 30_000
        client.send_some(request * 1000, 0)
        upstream = origin.accept()
        answered = 0
        while answered < 1000:
            if not upstream.receive_available():
                break
            while b"\r\n\r\n" in upstream.unread:
                upstream.head()
                upstream.send(answer)
                answered += 1
                assert held(*book.downstreams()) <= MOST_HELD
        assert answered < 1000
        # When it reads again everything comes.
        received = 0
        while received < 1000 * 30_000:
            piece = client.take_available()
            assert not client.ended
            received += piece.count(b"x")
            if not piece and upstream.receive_available() and b"\r\n\r\n" in upstream.unread:
                upstream.head()
                upstream.send(answer)
        assert received == 1000 * 30_000


def test_a_client_that_pipelines_into_local_answers_is_held_back(origin: Origin) -> None:
    with Playbook(service("app"), origins=(origin,)) as book:
        client = book.client()
        small_window(client)
        request = b"GET / HTTP/1.1\r\nHost: a\r\n\r\n"
        sent = 0
        for _ in range(100):
            count = client.send_some(request * 4000)
            assert held(*book.downstreams()) <= MOST_HELD
            sent += count
            if count == 0:
                break
        else:
            raise AssertionError(f"{sent} bytes were taken from a client that does not read")


def test_a_slow_reader_at_the_end_of_its_connection_gets_everything(origin: Origin) -> None:
    with book_of(origin) as book:
        client = book.client()
        small_window(client)
        client.ask(headers={"Connection": "close"})
        upstream = origin.accept()
        upstream.request()
        upstream.send(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % len(BODY))
        sent = feed(book, upstream, BODY)
        client.read_until(b"\r\n\r\n")
        assert carry(book, upstream, BODY[sent:], client, END["length"]) == BODY
        assert client.is_ended_by_peer() and not client.was_reset


@pytest.mark.parametrize("side", ["client", "endpoint"])
def test_a_side_that_resets_while_it_is_held_back(origin: Origin, side: str) -> None:
    with book_of(origin) as book:
        client = book.client()
        small_window(client)
        client.ask()
        upstream = origin.accept()
        upstream.request()
        upstream.send(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % len(BODY))
        assert feed(book, upstream, BODY) < len(BODY)
        if side == "client":
            client.reset()
            book.until(lambda: not book.downstreams() and not book.upstreams(), "both sides gone")
        else:
            upstream.reset()
            client.read_until(b"\r\n\r\n")
            client.read_to_end()
            assert client.was_reset
        assert book.codes() == {200: 1}
