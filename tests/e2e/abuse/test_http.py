"""Clients and endpoints of HTTP that take their time, or more than their share."""

from __future__ import annotations

import contextlib
from collections.abc import Callable

import pytest
from instance import Instance
from raw_origin import RawOrigin
from waiting import eventually

from proxy.stats.slots import CONNECTIONS_ACTIVE, OVERFLOWS

Hive = Callable[..., Instance]

REQUEST = b"GET / HTTP/1.1\r\nHost: a\r\n\r\n"
ANSWER = [{"name": "local", "filters": [{"direct_response": {"status": 200, "body": "good"}}]}]
UPGRADE = {"Connection": "Upgrade", "Upgrade": "echo"}


def test_a_large_head_in_single_bytes_is_taken_and_others_have_their_turns(hive: Hive) -> None:
    proxy = hive(routes=ANSWER, limits={"request_head": "60KiB"})
    slow, other = proxy.client(), proxy.client()
    head = b"GET / HTTP/1.1\r\nHost: a\r\n" + b"".join(b"X-%d: %s\r\n" % (n, b"v" * 990) for n in range(40)) + b"\r\n"
    for at in range(len(head)):
        slow.socket.send(head[at : at + 1])
        if at % 10_000 == 0:
            other.send(REQUEST)
            assert other.response().status == 200
    assert slow.response().status == 200


def test_a_body_that_trickles_ends_with_the_time_of_its_route(hive: Hive, origin: RawOrigin) -> None:
    proxy = hive(origin, routes=[{"name": "all", "service": "app", "timeout": "400ms"}])
    client = proxy.client()
    client.ask("POST", "/", {"Content-Length": "1000000"})
    upstream = origin.accept()
    upstream.head()
    client.socket.settimeout(0.02)
    for _ in range(1000):
        with contextlib.suppress(TimeoutError):
            if not client.receive_more() or b"\r\n\r\n" in client.received:
                break
        client.socket.send(b"x")
    else:
        raise AssertionError("it goes on for ever")
    assert client.received.startswith(b"HTTP/1.1 504 ")
    assert upstream.is_ended_by_peer()


def test_an_upgraded_connection_that_is_silent_ends(hive: Hive, origin: RawOrigin) -> None:
    proxy = hive(origin, timeouts={"stream_idle": "200ms"})
    client = proxy.client()
    client.ask(headers=UPGRADE)
    upstream = origin.accept()
    upstream.request()
    upstream.send(b"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: echo\r\n\r\n")
    assert client.read_until(b"\r\n\r\n").startswith(b"HTTP/1.1 101 ")
    assert client.is_ended_by_peer()
    assert upstream.is_ended_by_peer()
    assert "SI" in proxy.logged(status=101)["flags"]


def test_an_upgrade_that_is_not_answered_ends(hive: Hive, origin: RawOrigin) -> None:
    proxy = hive(origin, timeouts={"response_header": "200ms"})
    client = proxy.client()
    client.ask(headers=UPGRADE)
    upstream = origin.accept()
    upstream.request()
    assert client.response().status == 504
    assert upstream.is_ended_by_peer()


@pytest.mark.parametrize("held", [b"", REQUEST, b"GET / HTTP/1.1\r\nHost: a\r\nX-Slow: "])
def test_connections_that_are_held_keep_nobody_out(hive: Hive, held: bytes) -> None:
    """Silent from the start, idle after a request, or with a head that never ends: one of them makes room."""
    proxy = hive(routes=ANSWER, limits={"connections": 5})
    holding = [proxy.client() for _ in range(5)]
    for client in holding:
        client.send(held)
        if held == REQUEST:
            assert client.response().status == 200
    eventually(lambda: stats(proxy, CONNECTIONS_ACTIVE) == 5, "all are held")
    newcomer = proxy.client()
    newcomer.send(REQUEST)
    assert newcomer.response().status == 200
    assert stats(proxy, OVERFLOWS) == 1
    assert stats(proxy, CONNECTIONS_ACTIVE) == 5
    eventually(lambda: [client.has_nothing_to_read() for client in holding].count(False) == 1, "one has made room")


def test_whose_answer_is_due_makes_room_for_nobody(hive: Hive, origin: RawOrigin) -> None:
    proxy = hive(origin, limits={"connections": 3})
    waiting = [proxy.client() for _ in range(3)]
    for client in waiting:
        client.ask()
    upstreams = [origin.accept() for _ in range(3)]
    newcomer = proxy.client()
    newcomer.send(REQUEST)
    assert newcomer.response().status == 503
    for upstream in upstreams:
        upstream.answer()
    assert [client.response().status for client in waiting] == [200] * 3


def stats(proxy: Instance, cell: int) -> int:
    return proxy.inside.embedded.stats("listener/web")[0][cell]
