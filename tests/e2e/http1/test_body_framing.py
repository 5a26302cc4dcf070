"""Where bodies begin and end: each side gets the framing that fits it, and the same bytes."""

from __future__ import annotations

from raw_origin import RawOrigin


def test_request_body_with_content_length(hive, origin: RawOrigin) -> None:
    client = hive(origin).client()
    client.ask("POST", "/", body=b"hello")
    upstream = origin.accept()
    request = upstream.answer()
    assert request.header("content-length") == "5"
    assert request.header("transfer-encoding") is None
    assert request.body == b"hello"
    assert client.response().status == 200


def test_request_body_of_zero_bytes_keeps_its_length(hive, origin: RawOrigin) -> None:
    client = hive(origin).client()
    client.ask("POST", "/", {"Content-Length": "0"})
    assert origin.accept().answer().header("content-length") == "0"
    assert client.response().status == 200


def test_chunked_request_body_is_framed_anew(hive, origin: RawOrigin) -> None:
    client = hive(origin).client()
    client.send(
        b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n",
        b'3;ext=1;q="a"\r\nabc\r\n',
        b"0000A\r\n0123456789\r\n",
        b"0\r\n\r\n",
    )
    upstream = origin.accept()
    request = upstream.answer()
    assert request.body == b"abc0123456789"
    assert request.header("transfer-encoding") == "chunked"
    assert request.header("content-length") is None
    assert b"ext" not in upstream.received  # RFC 9112 section 7.1.1: extensions are for one hop
    assert client.response().status == 200


def test_request_body_is_streamed_before_it_is_complete(hive, origin: RawOrigin) -> None:
    client = hive(origin).client()
    client.send(b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nfirst\r\n")
    upstream = origin.accept()
    upstream.head()
    upstream.read_until(b"first\r\n")
    client.send(b"6\r\nsecond\r\n0\r\n\r\n")
    upstream.read_until(b"second\r\n")
    upstream.read_until(b"0\r\n\r\n")
    upstream.send(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")
    assert client.response().status == 200


def test_response_body_is_streamed_before_it_is_complete(hive, origin: RawOrigin) -> None:
    client = hive(origin).client()
    client.ask()
    upstream = origin.accept()
    upstream.request()
    upstream.send(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nfirst\r\n")
    assert b"HTTP/1.1 200" in client.read_until(b"first\r\n")
    upstream.send(b"6\r\nsecond\r\n0\r\n\r\n")
    client.read_until(b"second\r\n")
    assert client.read_until(b"0\r\n\r\n")


def test_chunked_response_body_is_framed_anew(hive, origin: RawOrigin) -> None:
    client = hive(origin).client()
    client.ask()
    origin.accept().answer(
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3;secret=1\r\nabc\r\n2\r\nde\r\n0\r\n\r\n"
    )
    response = client.response()
    assert response.body == b"abcde"
    assert response.header("transfer-encoding") == "chunked"
    assert b"secret" not in client.received


def test_request_trailers_are_forwarded(hive, origin: RawOrigin) -> None:
    client = hive(origin).client()
    client.send(
        b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\nTrailer: X-Sum\r\n\r\n"
        b"2\r\nhi\r\n0\r\nX-Sum: 99\r\n\r\n"
    )
    request = origin.accept().answer()
    assert request.body == b"hi"
    assert request.trailers == [("x-sum", "99")]
    assert client.response().status == 200


def test_response_trailers_are_forwarded(hive, origin: RawOrigin) -> None:
    client = hive(origin).client()
    client.ask(headers={"TE": "trailers"})
    origin.accept().answer(
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nTrailer: X-Sum\r\n\r\n2\r\nhi\r\n0\r\nX-Sum: 7\r\n\r\n"
    )
    response = client.response()
    assert response.body == b"hi"
    assert response.trailers == [("x-sum", "7")]


def test_response_that_ends_with_the_connection_is_chunked_for_the_client(hive, origin: RawOrigin) -> None:
    client = hive(origin).client()
    client.ask()
    upstream = origin.accept()
    upstream.answer(b"HTTP/1.1 200 OK\r\n\r\nuntil the end")
    upstream.close()
    response = client.response()
    assert response.complete
    assert response.body == b"until the end"
    assert response.header("transfer-encoding") == "chunked"
    client.ask(target="/next")
    origin.accept().answer()
    assert client.response().status == 200


def test_http_1_0_client_gets_an_unknown_length_until_the_connection_ends(hive, origin: RawOrigin) -> None:
    client = hive(origin).client()
    client.send(b"GET / HTTP/1.0\r\nConnection: keep-alive\r\n\r\n")
    origin.accept().answer(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n")
    head, body = client.read_to_end().split(b"\r\n\r\n", 1)
    assert body == b"abc"
    assert b"transfer-encoding" not in head.lower()
    assert b"keep-alive" not in head.lower()


def test_bytes_past_the_declared_body_are_the_next_request(hive, origin: RawOrigin) -> None:
    client = hive(origin).client()
    client.send(b"POST /1 HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\n\r\nhiGET /2 HTTP/1.1\r\nHost: a\r\n\r\n")
    upstream = origin.accept()
    first = upstream.answer()
    assert (first.target, first.body) == ("/1", b"hi")
    assert client.response().status == 200
    assert upstream.answer().target == "/2"
    assert client.response().status == 200
