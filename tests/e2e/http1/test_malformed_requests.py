"""Requests that two parsers could read differently, or that are no HTTP at all: 400, closed, nothing forwarded.

RFC 9112 sections 2.2, 3, 5 and 6, and the known ways of smuggling a request past a proxy.
"""

from __future__ import annotations

import pytest
from raw_origin import RawOrigin

HEAD = b"POST / HTTP/1.1\r\nHost: a\r\n"
CHUNKED = HEAD + b"Transfer-Encoding: chunked\r\n"

MALFORMED = {
    "content-length and transfer-encoding": CHUNKED + b"Content-Length: 5\r\n\r\n0\r\n\r\n",
    "content-lengths that differ": HEAD + b"Content-Length: 5\r\nContent-Length: 6\r\n\r\nhello",
    "content-length twice": HEAD + b"Content-Length: 5\r\nContent-Length: 5\r\n\r\nhello",
    "content-length list": HEAD + b"Content-Length: 5, 5\r\n\r\nhello",
    "content-length with a sign": HEAD + b"Content-Length: +5\r\n\r\nhello",
    "negative content-length": HEAD + b"Content-Length: -5\r\n\r\nhello",
    "content-length in hex": HEAD + b"Content-Length: 0x5\r\n\r\nhello",
    "content-length with a space": HEAD + b"Content-Length: 1 0\r\n\r\nhello",
    "content-length with an underscore": HEAD + b"Content-Length: 1_0\r\n\r\nhello",
    "content-length empty": HEAD + b"Content-Length:\r\n\r\n",
    "content-length over 2**63": HEAD + b"Content-Length: 9223372036854775808\r\n\r\n",
    "content-length over 2**64": HEAD + b"Content-Length: 18446744073709551621\r\n\r\nhello",
    "last coding is not chunked": HEAD + b"Transfer-Encoding: gzip\r\n\r\n",
    "chunked is not the last coding": HEAD + b"Transfer-Encoding: chunked, gzip\r\n\r\n0\r\n\r\n",
    "chunked twice": HEAD + b"Transfer-Encoding: chunked, chunked\r\n\r\n0\r\n\r\n",
    "chunked in two fields": CHUNKED + b"Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    "xchunked": HEAD + b"Transfer-Encoding: xchunked\r\n\r\n0\r\n\r\n",
    "chunked with a control character": HEAD + b"Transfer-Encoding: \x0bchunked\r\n\r\n0\r\n\r\n",
    "chunked in quotes": HEAD + b'Transfer-Encoding: "chunked"\r\n\r\n0\r\n\r\n',
    "identity": HEAD + b"Transfer-Encoding: identity\r\n\r\n",
    "transfer-encoding empty": HEAD + b"Transfer-Encoding:\r\n\r\n",
    "transfer-encoding in HTTP/1.0": b"POST / HTTP/1.0\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    "space before the colon": HEAD + b"Content-Length : 5\r\n\r\nhello",
    "tab before the colon": HEAD + b"X-A\t: 5\r\n\r\n",
    "folded header": b"GET / HTTP/1.1\r\nHost: a\r\nX-A: 1\r\n  folded\r\n\r\n",
    "first header line starts with a space": b"GET / HTTP/1.1\r\n Host: a\r\n\r\n",
    "bare carriage return in a value": b"GET / HTTP/1.1\r\nHost: a\r\nX-A: 1\rX-B: 2\r\n\r\n",
    "bare line feed ends a header": b"GET / HTTP/1.1\r\nHost: a\r\nX-A: 1\nX-B: 2\r\n\r\n",
    "bare line feed ends the request line": b"GET / HTTP/1.1\nHost: a\r\n\r\n",
    "NUL in a value": b"GET / HTTP/1.1\r\nHost: a\r\nX-A: 1\x002\r\n\r\n",
    "control character in a value": b"GET / HTTP/1.1\r\nHost: a\r\nX-A: 1\x012\r\n\r\n",
    "control character in a name": b"GET / HTTP/1.1\r\nHost: a\r\nX\x01A: 1\r\n\r\n",
    "non-ASCII in a name": b"GET / HTTP/1.1\r\nHost: a\r\nX-\xc3\xa9: 1\r\n\r\n",
    "empty name": b"GET / HTTP/1.1\r\nHost: a\r\n: 1\r\n\r\n",
    "line without a colon": b"GET / HTTP/1.1\r\nHost: a\r\nnonsense\r\n\r\n",
    "no host": b"GET / HTTP/1.1\r\nX-A: 1\r\n\r\n",
    "two hosts": b"GET / HTTP/1.1\r\nHost: a\r\nHost: a\r\n\r\n",
    "host with a space": b"GET / HTTP/1.1\r\nHost: a b\r\n\r\n",
    "host with a path": b"GET / HTTP/1.1\r\nHost: a/b\r\n\r\n",
    "host with user information": b"GET / HTTP/1.1\r\nHost: user@a\r\n\r\n",
    "host list": b"GET / HTTP/1.1\r\nHost: a, b\r\n\r\n",
    "method is no token": b"G@T / HTTP/1.1\r\nHost: a\r\n\r\n",
    "two spaces in the request line": b"GET  / HTTP/1.1\r\nHost: a\r\n\r\n",
    "tab in the request line": b"GET\t/ HTTP/1.1\r\nHost: a\r\n\r\n",
    "space at the end of the request line": b"GET / HTTP/1.1 \r\nHost: a\r\n\r\n",
    "HTTP/0.9": b"GET /\r\n\r\n",
    "lower-case protocol": b"GET / http/1.1\r\nHost: a\r\n\r\n",
    "version with many digits": b"GET / HTTP/1.10\r\nHost: a\r\n\r\n",
    "TLS on a cleartext port": b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n",
    "binary": bytes(range(1, 32)) + b"\r\n\r\n",
}

MALFORMED_CHUNKS = {
    "size is not hexadecimal": b"5x\r\nhello\r\n0\r\n\r\n",
    "size with a prefix": b"0x5\r\nhello\r\n0\r\n\r\n",
    "size with a sign": b"+5\r\nhello\r\n0\r\n\r\n",
    "size with an underscore": b"0_5\r\nhello\r\n0\r\n\r\n",
    "size empty": b"\r\nhello\r\n0\r\n\r\n",
    "size after a space": b" 5\r\nhello\r\n0\r\n\r\n",
    "size overlong": b"00000000000000000005\r\nhello\r\n0\r\n\r\n",
    "size over 2**63": b"8000000000000005\r\nhello\r\n0\r\n\r\n",
    "size over 2**64": b"10000000000000005\r\nhello\r\n0\r\n\r\n",
    "bare line feed after the size": b"5\nhello\r\n0\r\n\r\n",
    "bare line feed after the data": b"5\r\nhello\n0\r\n\r\n",
    "data longer than its size": b"5\r\nhelloX\r\n0\r\n\r\n",
    "bare carriage return in an extension": b"5;a=\rb\r\nhello\r\n0\r\n\r\n",
    "bare line feed in an extension": b"5;a\nb\r\nhello\r\n0\r\n\r\n",
    "trailer without a colon": b"0\r\nnonsense\r\n\r\n",
    "trailer with a space before the colon": b"0\r\nX-A : 1\r\n\r\n",
    "trailer with a bare line feed": b"0\r\nX-A: 1\n\r\n",
    "framing header as a trailer": b"0\r\nContent-Length: 5\r\n\r\n",
}


def test_malformed_requests_are_refused_and_never_forwarded(hive, origin: RawOrigin, subtests) -> None:
    proxy = hive(origin)
    for name, request in MALFORMED.items():
        with subtests.test(name), proxy.client() as client:
            client.send(request)
            response = client.response()
            assert response.status in ((400, 505) if "version" in name or "protocol" in name else (400,))
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
            client.send(CHUNKED + b"\r\n")
            upstream = origin.accept()
            upstream.head()
            client.send(body)
            if "framing header" in name:
                # Forwarding it as a header would be the fault; dropping it or refusing the request are both right.
                upstream.socket.settimeout(2.0)
                upstream.is_ended_by_peer(0.2)
                assert b"ontent-length" not in upstream.received.lower().partition(b"0\r\n")[2]
                upstream.close()
                continue
            response = client.response(to="POST")
            assert (response.status, response.header("connection")) == (400, "close")
            assert upstream.is_ended_by_peer()
            assert not upstream.received.endswith(b"0\r\n\r\n")  # the origin must not take the body for complete


def test_unknown_major_version_is_refused(hive, origin: RawOrigin) -> None:
    client = hive(origin).client()
    client.send(b"GET / HTTP/3.0\r\nHost: a\r\n\r\n")
    assert client.response().status in (400, 505)
    assert client.is_ended_by_peer()


def test_http_2_preface_is_refused(hive, origin: RawOrigin) -> None:
    client = hive(origin).client()
    client.send(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n")
    assert client.response().status in (400, 505)
    assert client.is_ended_by_peer()


@pytest.mark.parametrize("method", ["GET", "HEAD", "DELETE"])
def test_http_1_0_request_that_should_have_no_body_is_refused_with_one(hive, origin: RawOrigin, method: str) -> None:
    client = hive(origin).client()
    client.send(f"{method} / HTTP/1.0\r\nHost: a\r\nContent-Length: 5\r\n\r\nhello".encode())
    assert client.response(to=method).status == 413
    assert client.is_ended_by_peer()
    assert not origin.has_connection_waiting()


def test_transfer_encoding_in_any_case_is_chunked(hive, origin: RawOrigin) -> None:
    client = hive(origin).client()
    client.send(HEAD + b"tRANSFER-eNCODING:   CHUNKED  \r\n\r\n2\r\nhi\r\n0\r\n\r\n")
    request = origin.accept().answer()
    assert (request.body, request.header("transfer-encoding")) == (b"hi", "chunked")
    assert client.response().status == 200


@pytest.mark.parametrize("codings", ["gzip, chunked", "deflate, chunked"])
def test_transfer_coding_that_we_do_not_have_is_501(hive, origin: RawOrigin, codings: str) -> None:
    client = hive(origin).client()
    client.ask("POST", "/", {"Transfer-Encoding": codings})
    response = client.response()
    assert (response.status, response.header("connection")) == (501, "close")
    assert not origin.has_connection_waiting()
