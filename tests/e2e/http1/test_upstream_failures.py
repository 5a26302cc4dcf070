"""Origins that break off or answer nonsense."""

from __future__ import annotations

import pytest
from raw_origin import OK, RawOrigin

NONSENSE = {
    "not HTTP": b"SSH-2.0-OpenSSH_9.2\r\n\r\n",
    "HTTP/0.9": b"<html>hello</html>",
    "HTTP/2": b"HTTP/2.0 200 OK\r\n\r\n",
    "status of two digits": b"HTTP/1.1 20 OK\r\n\r\n",
    "status of four digits": b"HTTP/1.1 2000 OK\r\n\r\n",
    "content-lengths that differ": b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nContent-Length: 3\r\n\r\nabc",
    "length and chunked": b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    "content-length with a sign": b"HTTP/1.1 200 OK\r\nContent-Length: +2\r\n\r\nab",
    "space before a colon": b"HTTP/1.1 200 OK\r\nContent-Length : 2\r\n\r\nab",
    "NUL in a header": b"HTTP/1.1 200 OK\r\nX-A: \x00\r\nContent-Length: 0\r\n\r\n",
    "bare line feeds": b"HTTP/1.1 200 OK\nContent-Length: 0\n\n",
    "bare carriage return": b"HTTP/1.1 200 OK\r\nX-A: a\rb\r\nContent-Length: 0\r\n\r\n",
    "transfer-encoding gzip": b"HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip\r\n\r\nx",
}


def test_malformed_responses_are_502(hive, origin: RawOrigin, subtests) -> None:
    # Each of them is an error of the endpoint.
    proxy = hive(origin, app={"mesh": {"circuit_breaker": {"consecutive_errors": 0}}})
    for name, answer in NONSENSE.items():
        with subtests.test(name), proxy.client() as client:
            client.ask(target="/" + name.replace(" ", "-").replace("/", "-"))
            upstream = origin.accept()
            upstream.request()
            upstream.send(answer)
            upstream.finish_sending()
            response = client.response()
            assert response.status == 502
            assert upstream.is_ended_by_peer()
    assert {entry["flags"] for entry in proxy.entries()} <= {"UPE"}
    assert proxy.logged(status=502, flags="UPE")


def test_connection_closed_before_the_response_is_502(hive, origin: RawOrigin) -> None:
    proxy = hive(origin)
    client = proxy.client()
    client.ask()
    upstream = origin.accept()
    upstream.request()
    upstream.close()
    assert client.response().status == 502
    assert proxy.logged(status=502)["flags"] == "UC"
    client.ask(target="/next")
    origin.accept().answer()
    assert client.response().status == 200


def test_connection_closed_within_the_response_head_is_502(hive, origin: RawOrigin) -> None:
    client = hive(origin).client()
    client.ask()
    upstream = origin.accept()
    upstream.request()
    upstream.send(b"HTTP/1.1 200 OK\r\nContent-Le")
    upstream.close()
    assert client.response().status == 502


@pytest.mark.parametrize(
    "head, body",
    [
        (b"Content-Length: 10\r\n\r\n", b"half"),
        (b"Transfer-Encoding: chunked\r\n\r\n", b"4\r\nhalf\r\n"),
        (b"Transfer-Encoding: chunked\r\n\r\n", b"a\r\nhalf"),
    ],
)
def test_response_body_cut_short_is_never_passed_off_as_whole(
    hive, origin: RawOrigin, head: bytes, body: bytes
) -> None:
    proxy = hive(origin)
    client = proxy.client()
    client.ask()
    upstream = origin.accept()
    upstream.request()
    upstream.send(b"HTTP/1.1 200 OK\r\n" + head + body)
    upstream.close()
    response = client.response()
    assert (response.status, response.body, response.complete) == (200, b"half", False)
    assert client.is_ended_by_peer()
    assert proxy.logged(status=200)["flags"] == "UC"


def test_malformed_chunk_in_a_response_cuts_it_short(hive, origin: RawOrigin) -> None:
    proxy = hive(origin)
    client = proxy.client()
    client.ask()
    origin.accept().answer(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nhalf\r\nZZ\r\n")
    response = client.response()
    assert (response.body, response.complete) == (b"half", False)
    assert proxy.logged(status=200)["flags"] == "UPE"


def test_body_cut_short_is_visible_to_an_http_1_0_client_too(hive, origin: RawOrigin) -> None:
    """Such a client knows the end of a body of unknown length only by FIN; a reset says that it was not the end."""
    client = hive(origin).client()
    client.send(b"GET / HTTP/1.0\r\n\r\n")
    upstream = origin.accept()
    upstream.request()
    upstream.send(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nhalf\r\n")
    client.read_until(b"half")
    upstream.close()
    client.read_to_end()
    assert client.was_reset


def test_response_before_any_request_spoils_the_connection(hive, origin: RawOrigin) -> None:
    client = hive(origin).client()
    client.ask()
    upstream = origin.accept()
    upstream.answer()
    client.response()
    upstream.send(OK)  # nobody asked
    assert upstream.is_ended_by_peer()
    client.ask(target="/2")
    origin.accept().answer(b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nright")
    assert client.response().body == b"right"
