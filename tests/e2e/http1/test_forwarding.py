"""A request goes to the origin and its response comes back, whole and unchanged in what matters."""

from __future__ import annotations

import random

from http_origin import HttpOrigin
from raw_origin import OK, RawOrigin


def test_request_and_response_pass_through(hive, origin: RawOrigin) -> None:
    client = hive(origin).client()
    client.ask("GET", "/path?q=a%20b&q=2", {"X-Custom": "one", "Accept": "*/*"}, host="shop.test")
    upstream = origin.accept()
    request = upstream.request()
    assert (request.method, request.target, request.version) == ("GET", "/path?q=a%20b&q=2", "1.1")
    assert request.header("host") == "shop.test"
    assert request.header("x-custom") == "one"
    assert request.header("accept") == "*/*"
    assert request.body == b""
    assert request.header("content-length") is None
    assert request.header("transfer-encoding") is None

    upstream.send(b"HTTP/1.1 203 Fine By Me\r\nContent-Length: 5\r\nServer: theirs\r\nX-Answer: 42\r\n\r\nhello")
    response = client.response()
    assert (response.status, response.reason, response.version) == (203, "Fine By Me", "1.1")
    assert response.body == b"hello"
    assert response.header("content-length") == "5"
    assert response.header("server") == "theirs"
    assert response.header("x-answer") == "42"


def test_header_names_keep_their_case_and_repeated_headers_their_order(hive, origin: RawOrigin) -> None:
    client = hive(origin).client()
    client.ask(headers=[("X-MiXed", "1"), ("X-Many", "a"), ("X-Many", "b"), ("Cookie", "k=v")])
    upstream = origin.accept()
    request = upstream.request()
    assert b"X-MiXed: 1\r\n" in request.raw_head
    assert request.all("x-many") == ["a", "b"]
    assert request.header("cookie") == "k=v"

    upstream.send(b"HTTP/1.1 200 OK\r\nSet-Cookie: a=1\r\nX-CaSe: y\r\nSet-Cookie: b=2\r\nContent-Length: 0\r\n\r\n")
    response = client.response()
    assert response.all("set-cookie") == ["a=1", "b=2"]
    assert (b"X-CaSe", b"y") in response.raw_headers


def test_a_head_that_arrives_byte_by_byte_is_understood(hive, origin: RawOrigin) -> None:
    client = hive(origin).client()
    head = b"GET /slow HTTP/1.1\r\nHost: a.test\r\nX-A: b\r\n\r\n"
    client.send(*(head[at : at + 1] for at in range(len(head))))
    upstream = origin.accept()
    assert upstream.answer().target == "/slow"
    assert client.response().body == b"ok"


def test_a_response_that_arrives_byte_by_byte_is_passed_on(hive, origin: RawOrigin) -> None:
    client = hive(origin).client()
    client.ask()
    upstream = origin.accept()
    upstream.request()
    upstream.send(*(OK[at : at + 1] for at in range(len(OK))))
    assert client.response().body == b"ok"


def test_empty_lines_before_a_request_are_ignored(hive, origin: RawOrigin) -> None:
    client = hive(origin).client()
    client.send(b"\r\n\r\nGET / HTTP/1.1\r\nHost: a\r\n\r\n")
    origin.accept().answer()
    assert client.response().status == 200


def test_methods_that_we_do_not_know_are_forwarded(hive, origin: RawOrigin) -> None:
    client = hive(origin).client()
    client.ask("PROPFIND", "/dav")
    assert origin.accept().answer().method == "PROPFIND"
    assert client.response().status == 200


def test_large_bodies_pass_unchanged_both_ways(hive) -> None:
    body = random.Random(1).randbytes(3 * 1024 * 1024)
    with HttpOrigin() as origin:
        client = hive(origin).client()
        client.ask("POST", "/echo", body=body)
        assert client.response().json["body"].encode("latin-1") == body
        assert len(client.get("/bytes/5000000").body) == 5_000_000
        assert len(client.get("/chunked/2000000").body) == 2_000_000


def test_a_slow_reader_does_not_make_the_proxy_buffer_without_bound(hive, origin: RawOrigin) -> None:
    client = hive(origin).client()
    client.ask()
    upstream = origin.accept()
    upstream.request()
    upstream.send(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
    chunk = b"10000\r\n" + bytes(0x10000) + b"\r\n"
    # The client reads nothing. If the proxy went on reading, the origin could send for ever.
    upstream.socket.settimeout(1.0)
    sent = 0
    limit = 64 * 1024 * 1024
    try:
        while sent < limit:
            upstream.send(chunk)
            sent += len(chunk)
    except TimeoutError:
        pass
    assert sent < limit
