"""Requests leave no reference cycles behind: a worker's garbage collector must find nothing, since looking costs time.

Whatever a request or a connection needed is freed when it ends, by reference counts alone.
"""

from __future__ import annotations

import gc
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest
from playbook import Client, Origin, Playbook, Server, service

from discovery.policies import CircuitBreaker
from proxy.http1.downstream import Downstream
from proxy.http1.parties import Exchange
from proxy.http1.upstream import Upstream

GET = b"GET /a HTTP/1.1\r\nHost: a\r\n\r\n"
POST = b"POST /a HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nhello"
OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"
ROUNDS = 20
NEVER = CircuitBreaker(consecutive_errors=0)


def ours() -> int:
    """Objects of the request path that are alive, waiting for the collector included."""
    return sum(isinstance(each, Exchange | Downstream | Upstream) for each in gc.get_objects())


@contextmanager
def without_collector() -> Iterator[None]:
    gc.collect()
    gc.disable()
    try:
        yield
    finally:
        gc.enable()


Step = Callable[[Playbook, Origin], None]


def talk(book: Playbook, origin: Origin, request: bytes, answer: bytes, last: bytes = b"ok") -> None:
    client = fresh(book)
    client.socket.sendall(request)
    upstream = called(book, origin)
    book.until(lambda: upstream.receive_available(), "the request")
    upstream.unread = b""
    upstream.socket.sendall(answer)
    client.read_until(last)
    client.close()


def fresh(book: Playbook) -> Client:
    client = Client(book.address)
    client.book = book
    return client


def called(book: Playbook, origin: Origin) -> Server:
    """The origin's end of the connection that the proxy uses."""
    book.settle()
    if origin.is_called() or not origin.connections:
        return origin.accept()
    found = origin.connections[-1]
    assert isinstance(found, Server)
    return found


def plain(book: Playbook, origin: Origin) -> None:
    talk(book, origin, GET, OK)


def body(book: Playbook, origin: Origin) -> None:
    talk(book, origin, POST, OK)


def chunked(book: Playbook, origin: Origin) -> None:
    talk(
        book,
        origin,
        GET,
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\nA: 1\r\n\r\n",
        b"A: 1\r\n\r\n",
    )


def bad_request(book: Playbook, origin: Origin) -> None:
    client = fresh(book)
    client.socket.sendall(b"nonsense\r\n\r\n")
    client.read_until(b"400")
    client.close()


def bad_answer(book: Playbook, origin: Origin) -> None:
    talk(book, origin, GET, b"nonsense\r\n\r\n", b"502")


def client_leaves(book: Playbook, origin: Origin) -> None:
    client = fresh(book)
    client.socket.sendall(GET)
    upstream = called(book, origin)
    book.until(lambda: upstream.receive_available(), "the request")
    client.close()
    book.until(lambda: not book.upstreams(), "the end of it")


def cut_short(book: Playbook, origin: Origin) -> None:
    client = fresh(book)
    client.socket.sendall(GET)
    upstream = called(book, origin)
    book.until(lambda: upstream.receive_available(), "the request")
    upstream.socket.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhalf")
    client.read_until(b"half")
    upstream.close()
    client.read_to_end()
    client.close()


def upgraded(book: Playbook, origin: Origin) -> None:
    client = fresh(book)
    client.socket.sendall(b"GET / HTTP/1.1\r\nHost: a\r\nUpgrade: e\r\nConnection: upgrade\r\n\r\n")
    upstream = called(book, origin)
    book.until(lambda: upstream.receive_available(), "the request")
    upstream.socket.sendall(b"HTTP/1.1 101 S\r\nUpgrade: e\r\nConnection: upgrade\r\n\r\nx")
    client.read_until(b"\r\n\r\nx")
    client.close()
    upstream.close()
    book.until(lambda: not book.upstreams(), "the end of it")


def replayed(book: Playbook, origin: Origin) -> None:
    plain(book, origin)
    client = fresh(book)
    client.socket.sendall(GET)
    stale = called(book, origin)
    book.until(lambda: stale.receive_available(), "the request")
    stale.close()
    again = origin.accept()
    book.until(lambda: again.receive_available(), "the request again")
    again.socket.sendall(OK)
    client.read_until(b"ok")
    client.close()


@pytest.mark.parametrize(
    "step", [plain, body, chunked, bad_request, bad_answer, client_leaves, cut_short, upgraded, replayed]
)
def test_nothing_waits_for_the_collector(origin: Origin, step: Step) -> None:
    with Playbook(service("app", origin, circuit_breaker=NEVER), origins=(origin,)) as book:
        step(book, origin)
        book.until(lambda: not book.downstreams(), "the client gone")
        with without_collector():
            before = ours()
            for _ in range(ROUNDS):
                step(book, origin)
                book.until(lambda: not book.downstreams(), "the client gone")
            left = ours() - before
        assert left <= 0, f"{left} objects after {ROUNDS} rounds"
