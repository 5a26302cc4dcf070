"""Limits on connections to an endpoint: requests wait their turn, and too many waiting are refused."""

from __future__ import annotations

from raw_origin import RawOrigin


def test_requests_wait_for_a_connection(hive, origin: RawOrigin) -> None:
    proxy = hive(origin, app={"pool": {"max_connections": 1}})
    first, second = proxy.client(), proxy.client()
    first.ask(target="/1")
    upstream = origin.accept()
    assert upstream.request().target == "/1"
    second.ask(target="/2")
    assert second.has_nothing_to_read()
    assert not origin.has_connection_waiting()
    upstream.send(b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\n1")
    assert first.response().body == b"1"
    assert upstream.request().target == "/2"
    upstream.send(b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\n2")
    assert second.response().body == b"2"


def test_too_many_waiting_requests_are_503(hive, origin: RawOrigin) -> None:
    proxy = hive(origin, app={"pool": {"max_connections": 1, "max_pending": 1}})
    first, second, third = proxy.client(), proxy.client(), proxy.client()
    first.ask(target="/1")
    upstream = origin.accept()
    upstream.request()
    # Both are sent; whichever the proxy reads last finds the queue full.
    second.ask(target="/2")
    third.ask(target="/3")
    proxy.logged(status=503)
    refused, waiting = (third, second) if third.receive_available() else (second, third)
    response = refused.response()
    assert response.status == 503
    assert "connection_limit_reached" in response.header("proxy-status")
    assert proxy.logged(status=503)["flags"] == "UO"
    upstream.send(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")
    assert first.response().status == 200
    upstream.answer()
    assert waiting.response().status == 200


def test_waiting_request_moves_on_when_its_client_leaves(hive, origin: RawOrigin) -> None:
    proxy = hive(origin, app={"pool": {"max_connections": 1}})
    first, second, third = proxy.client(), proxy.client(), proxy.client()
    first.ask(target="/1")
    upstream = origin.accept()
    upstream.request()
    second.ask(target="/2")
    second.close()
    proxy.logged(path="/2", status=499)
    third.ask(target="/3")
    upstream.send(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")
    first.response()
    assert upstream.answer().target == "/3"
    assert third.response().status == 200


def test_request_that_wants_a_fresh_connection_takes_the_place_of_an_old_idle_one(hive, origin: RawOrigin) -> None:
    """At the limit, too: waiting for a connection that nobody uses would be waiting for nothing."""
    proxy = hive(origin, app={"pool": {"max_connections": 1}})
    client = proxy.client()
    client.ask()
    upstream = origin.accept()
    upstream.answer(b"HTTP/1.1 200 OK\r\nKeep-Alive: timeout=1\r\nContent-Length: 0\r\n\r\n")
    assert client.response().status == 200
    assert not upstream.is_ended_by_peer(0.6)  # more than half of its time: too old for what cannot be repeated
    client.ask("POST", "/pay", body=b"10")
    assert origin.accept(timeout=2).answer().body == b"10"
    assert client.response().status == 200
    assert upstream.is_ended_by_peer()
