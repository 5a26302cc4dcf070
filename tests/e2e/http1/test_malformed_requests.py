"""What a refusal is beside its status: the connection closes, the log says why, and the origin cannot take the request
for whole. Which bytes are refused is in the table of benchmarks/attacks (tests/e2e/attacks carries it out).
"""

from __future__ import annotations

import pytest
from raw_origin import RawOrigin

HEAD = b"POST / HTTP/1.1\r\nHost: a\r\n"
CHUNKED = HEAD + b"Transfer-Encoding: chunked\r\n\r\n"
SMUGGLED = b"GET /smuggled HTTP/1.1\r\nHost: a\r\n\r\n"

# One for each place where heads are understood: the fields, the start line, what follows from both.
MALFORMED = {
    "field": HEAD + b"X-A : 1\r\n\r\n",
    "start line": b"GET  / HTTP/1.1\r\nHost: a\r\n\r\n",
    "framing": HEAD + b"Transfer-Encoding: chunked\r\nContent-Length: 5\r\n\r\n0\r\n\r\n",
    "host": b"GET / HTTP/1.1\r\n\r\n",
}

# One for each state of the machine that reads chunks.
MALFORMED_CHUNKS = {
    "size": b"5x\r\nhello\r\n0\r\n\r\n",
    "data": b"5\r\nhelloX\r\n0\r\n\r\n",
    "data, CR alone": b"5\r\nhello\rX",
    "extension": b"5;a=\rb\r\nhello\r\n0\r\n\r\n",
    "trailer": b"0\r\nnonsense\r\n\r\n",
}


def test_malformed_requests_are_refused_and_never_forwarded(hive, origin: RawOrigin, subtests) -> None:
    proxy = hive(origin)
    for name, request in MALFORMED.items():
        with subtests.test(name), proxy.client() as client:
            client.send(request + SMUGGLED)
            response = client.response()
            assert response.status == 400
            assert response.header("connection") == "close"
            assert client.is_ended_by_peer()
            assert client.unread == b""  # whatever followed was not taken for a request
            assert not origin.has_connection_waiting()
    assert proxy.logged(status=400)["flags"] == "DPE"


def test_malformed_chunks_are_refused_and_the_upstream_connection_is_given_up(
    hive, origin: RawOrigin, subtests
) -> None:
    proxy = hive(origin)
    for name, body in MALFORMED_CHUNKS.items():
        with subtests.test(name), proxy.client() as client:
            client.send(CHUNKED)
            upstream = origin.accept()
            upstream.head()
            client.send(body)
            response = client.response(to="POST")
            assert (response.status, response.header("connection")) == (400, "close")
            assert upstream.is_ended_by_peer()
            assert not upstream.received.endswith(b"0\r\n\r\n")  # the origin must not take the body for complete


def test_a_late_line_of_a_head_that_ends_with_lf_alone_is_refused_at_once(hive, origin: RawOrigin) -> None:
    """Not with 408 when the time of the head is up."""
    proxy = hive(origin, timeouts={"request_head": "1h"})
    client = proxy.client()
    client.send(HEAD)
    for _ in range(2):
        with proxy.paused():  # and between two pauses everything that has come is read
            pass
    client.send(b"X-A: 1\n\n")
    assert client.response().status == 400
    assert client.is_ended_by_peer()


@pytest.mark.parametrize("method", ["GET", "HEAD", "DELETE"])
def test_http_1_0_request_that_should_have_no_body_is_refused_with_one(hive, origin: RawOrigin, method: str) -> None:
    client = hive(origin).client()
    client.send(f"{method} / HTTP/1.0\r\nHost: a\r\nContent-Length: 5\r\n\r\nhello".encode())
    assert client.response(to=method).status == 413
    assert client.is_ended_by_peer()
    assert not origin.has_connection_waiting()


@pytest.mark.parametrize("codings", ["gzip, chunked", "deflate, chunked"])
def test_transfer_coding_that_we_do_not_have_is_501(hive, origin: RawOrigin, codings: str) -> None:
    client = hive(origin).client()
    client.ask("POST", "/", {"Transfer-Encoding": codings})
    response = client.response()
    assert (response.status, response.header("connection")) == (501, "close")
    assert not origin.has_connection_waiting()
