"""Clients and endpoints of HTTP that take their time, or more than their share."""

from __future__ import annotations

import contextlib
from collections.abc import Callable

from instance import Instance
from raw_origin import RawOrigin

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
