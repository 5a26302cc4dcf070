"""Requests sent without waiting are answered one by one, in order."""

from __future__ import annotations

from raw_origin import RawOrigin


def test_pipelined_requests_are_answered_in_order(hive, origin: RawOrigin) -> None:
    client = hive(origin).client()
    client.send(b"".join(b"GET /%d HTTP/1.1\r\nHost: a\r\n\r\n" % number for number in range(5)))
    upstream = origin.accept()
    for number in range(5):
        assert upstream.request().target == f"/{number}"
        assert upstream.unread == b""  # never pipelined to the origin, which might get it wrong
        upstream.send(b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\n%d" % number)
    for number in range(5):
        assert client.response().body == b"%d" % number


def test_bodies_between_pipelined_requests(hive, origin: RawOrigin) -> None:
    client = hive(origin).client()
    client.send(
        b"POST /1 HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nhi\r\n0\r\n\r\n"
        b"POST /2 HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\n\r\nyou"
        b"GET /3 HTTP/1.1\r\nHost: a\r\n\r\n"
    )
    upstream = origin.accept()
    seen = [upstream.answer() for _ in range(3)]
    assert [(request.target, request.body) for request in seen] == [("/1", b"hi"), ("/2", b"you"), ("/3", b"")]
    assert [client.response().status for _ in range(3)] == [200, 200, 200]


def test_local_answers_keep_their_place(hive, origin: RawOrigin) -> None:
    routes = [{"name": "app", "match": {"path_prefix": "/app"}, "service": "app"}]
    client = hive(origin, routes=routes).client()
    client.send(b"".join(b"GET %s HTTP/1.1\r\nHost: a\r\n\r\n" % path for path in (b"/x", b"/app", b"/y")))
    origin.accept().answer()
    assert [client.response().status for _ in range(3)] == [404, 200, 404]


def test_a_malformed_request_after_a_good_one_does_not_spoil_the_good_answer(hive, origin: RawOrigin) -> None:
    client = hive(origin).client()
    client.send(b"GET / HTTP/1.1\r\nHost: a\r\n\r\nBAD\r\n\r\n")
    origin.accept().answer()
    assert client.response().status == 200
    assert client.response().status == 400
    assert client.is_ended_by_peer()


def test_requests_after_one_that_closes_are_not_answered(hive, origin: RawOrigin) -> None:
    client = hive(origin).client()
    client.send(b"GET /1 HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\nGET /2 HTTP/1.1\r\nHost: a\r\n\r\n")
    upstream = origin.accept()
    upstream.answer()
    assert client.response().status == 200
    assert client.is_ended_by_peer()
    assert client.unread == b""
    assert upstream.has_nothing_to_read()
