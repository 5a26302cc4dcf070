"""Responses that have no body whatever their headers say: to HEAD, 204, 304."""

from __future__ import annotations

import pytest
from raw_origin import RawOrigin


def test_head_response_keeps_its_content_length_and_has_no_body(hive, origin: RawOrigin) -> None:
    client = hive(origin).client()
    client.ask("HEAD", "/file")
    upstream = origin.accept()
    assert upstream.answer(b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n").method == "HEAD"
    response = client.response(to="HEAD")
    assert response.header("content-length") == "1000"
    assert response.body == b""
    client.ask(target="/after")
    assert upstream.answer().target == "/after"
    assert client.response().body == b"ok"


def test_head_response_may_say_chunked(hive, origin: RawOrigin) -> None:
    client = hive(origin).client()
    client.ask("HEAD", "/stream")
    upstream = origin.accept()
    upstream.answer(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
    assert client.response(to="HEAD").status == 200
    client.ask(target="/after")
    assert upstream.answer().target == "/after"
    assert client.response().body == b"ok"


@pytest.mark.parametrize("status", [204, 304])
def test_statuses_without_body_end_with_their_head(hive, origin: RawOrigin, status: int) -> None:
    client = hive(origin).client()
    client.ask()
    upstream = origin.accept()
    upstream.answer(b'HTTP/1.1 %d X\r\nETag: "v"\r\n\r\n' % status)
    response = client.response()
    assert (response.status, response.header("etag"), response.body) == (status, '"v"', b"")
    assert response.header("transfer-encoding") is None
    client.ask(target="/after")
    assert upstream.answer().target == "/after"
    assert client.response().body == b"ok"


def test_304_keeps_the_content_length_of_what_it_stands_for(hive, origin: RawOrigin) -> None:
    client = hive(origin).client()
    client.ask()
    upstream = origin.accept()
    upstream.answer(b"HTTP/1.1 304 Not Modified\r\nContent-Length: 500\r\n\r\n")
    assert client.response().header("content-length") == "500"
    client.ask(target="/after")
    upstream.answer()
    assert client.response().body == b"ok"


def test_local_answers_to_head_have_no_body(hive) -> None:
    client = hive(routes=[]).client()
    client.ask("HEAD", "/nowhere")
    response = client.response(to="HEAD")
    assert (response.status, response.body) == (404, b"")
    client.ask("GET", "/nowhere")
    assert client.response().status == 404
