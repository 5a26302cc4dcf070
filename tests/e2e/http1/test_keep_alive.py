"""Connections are used again, on both sides, until somebody says otherwise."""

from __future__ import annotations

import pytest
from raw_origin import OK, RawOrigin


def test_second_request_reuses_both_connections(hive, origin: RawOrigin) -> None:
    client = hive(origin).client()
    client.ask(target="/1")
    upstream = origin.accept()
    assert upstream.answer().target == "/1"
    assert client.response().header("connection") is None
    client.ask(target="/2")
    assert upstream.answer().target == "/2"
    assert client.response().body == b"ok"


def test_upstream_connection_serves_another_client(hive, origin: RawOrigin) -> None:
    proxy = hive(origin)
    first, second = proxy.client(), proxy.client()
    first.ask()
    upstream = origin.accept()
    upstream.answer()
    first.response()
    second.ask(target="/second")
    assert upstream.answer().target == "/second"
    assert second.response().status == 200


def test_client_that_asks_for_close_gets_it_and_the_origin_is_not_told(hive, origin: RawOrigin) -> None:
    proxy = hive(origin)
    client = proxy.client()
    client.ask(headers={"Connection": "close"})
    upstream = origin.accept()
    assert upstream.answer().header("connection") is None
    response = client.response()
    assert response.header("connection") == "close"
    assert client.is_ended_by_peer()

    other = proxy.client()
    other.ask(target="/again")
    assert upstream.answer().target == "/again"
    assert other.response().status == 200


def test_origin_that_closes_does_not_close_the_client(hive, origin: RawOrigin) -> None:
    client = hive(origin).client()
    client.ask()
    upstream = origin.accept()
    upstream.answer(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: close\r\n\r\nok")
    response = client.response()
    assert response.header("connection") is None
    assert upstream.is_ended_by_peer()  # the proxy honours it: it does not wait for the origin's FIN
    client.ask(target="/next")
    origin.accept().answer()
    assert client.response().status == 200


def test_http_1_0_client_without_keep_alive_is_closed(hive, origin: RawOrigin) -> None:
    client = hive(origin).client()
    client.send(b"GET / HTTP/1.0\r\nHost: a\r\n\r\n")
    request = origin.accept().answer()
    assert request.version == "1.1"
    response = client.response()
    assert response.body == b"ok"
    assert response.header("connection") in (None, "close")
    assert client.is_ended_by_peer()


def test_http_1_0_client_with_keep_alive_is_kept(hive, origin: RawOrigin) -> None:
    client = hive(origin).client()
    client.send(b"GET / HTTP/1.0\r\nHost: a\r\nConnection: keep-alive\r\n\r\n")
    upstream = origin.accept()
    upstream.answer()
    response = client.response()
    assert response.header("connection") == "keep-alive"
    client.send(b"GET /2 HTTP/1.0\r\nHost: a\r\nConnection: keep-alive\r\n\r\n")
    assert upstream.answer().target == "/2"
    assert client.response().body == b"ok"


def test_http_1_0_client_needs_no_host(hive, origin: RawOrigin) -> None:
    client = hive(origin).client()
    client.send(b"GET /no-host HTTP/1.0\r\n\r\n")
    request = origin.accept().answer()
    assert request.header("host") is not None  # RFC 9112 section 3.2: HTTP/1.1 requests carry one
    assert client.response().status == 200


@pytest.mark.parametrize("extra, kept", [(b"", False), (b"Connection: keep-alive\r\n", True)])
def test_http_1_0_origin_is_reused_only_when_it_says_so(hive, origin: RawOrigin, extra: bytes, kept: bool) -> None:
    client = hive(origin).client()
    client.ask()
    upstream = origin.accept()
    upstream.answer(b"HTTP/1.0 200 OK\r\n" + extra + b"Content-Length: 2\r\n\r\nok")
    response = client.response()
    assert (response.body, response.version) == (b"ok", "1.1")
    client.ask(target="/2")
    (upstream if kept else origin.accept()).answer()
    assert client.response().status == 200


def test_connection_closes_after_its_number_of_requests(hive, origin: RawOrigin) -> None:
    client = hive(origin, limits={"requests_per_connection": 2}).client()
    client.ask()
    upstream = origin.accept()
    upstream.answer()
    assert client.response().header("connection") is None
    client.ask()
    upstream.answer()
    assert client.response().header("connection") == "close"
    assert client.is_ended_by_peer()


def test_idle_client_connection_is_closed_without_an_answer(hive, origin: RawOrigin) -> None:
    client = hive(origin, timeouts={"keep_alive": "200ms"}).client()
    client.ask()
    origin.accept().answer()
    client.response()
    assert client.is_ended_by_peer()
    assert client.unread == b""


def test_idle_upstream_connection_is_closed(hive, origin: RawOrigin) -> None:
    client = hive(origin, timeouts={"upstream_idle": "200ms"}).client()
    client.ask()
    upstream = origin.accept()
    upstream.answer()
    client.response()
    assert upstream.is_ended_by_peer()


def test_bytes_after_a_response_spoil_the_upstream_connection(hive, origin: RawOrigin) -> None:
    client = hive(origin).client()
    client.ask()
    upstream = origin.accept()
    upstream.answer(OK + b"HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\npoison")
    assert client.response().body == b"ok"
    assert upstream.is_ended_by_peer()
    client.ask(target="/2")
    origin.accept().answer(b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nclean")
    assert client.response().body == b"clean"


def test_line_ends_between_requests_ask_for_nothing(hive, origin: RawOrigin) -> None:
    """Old clients send one after a body (RFC 9112 section 2.2); it is not the beginning of a slow head."""
    proxy = hive(origin, timeouts={"request_head": "200ms"})
    client = proxy.client()
    client.ask("POST", "/1", body=b"x")
    client.send(b"\r\n")
    upstream = origin.accept()
    upstream.answer()
    assert client.response().status == 200
    assert not client.is_ended_by_peer(0.4)
    client.send(b"\r\n", b"\r", b"\n")
    assert client.has_nothing_to_read()
    client.ask(target="/2")
    assert upstream.answer().target == "/2"
    assert client.response().status == 200
    proxy.logged(path="/2")
    assert [entry["status"] for entry in proxy.entries()] == [200, 200]
