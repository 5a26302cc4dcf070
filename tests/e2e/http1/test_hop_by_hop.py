"""Headers for one connection only are not forwarded, and end-to-end headers cannot be made to look like them."""

from __future__ import annotations

from raw_origin import RawOrigin

# RFC 9110 section 7.6.1, and what is hop-by-hop by long practice.
ONE_HOP = ["Keep-Alive", "Proxy-Connection", "Proxy-Authenticate", "Proxy-Authorization", "Upgrade"]


def test_hop_by_hop_request_headers_are_removed(hive, origin: RawOrigin) -> None:
    client = hive(origin).client()
    client.ask(headers=[*((name, "x") for name in ONE_HOP), ("Connection", "keep-alive"), ("X-Stays", "1")])
    request = origin.accept().answer()
    for name in [*ONE_HOP, "Connection"]:
        assert request.header(name) is None, name
    assert request.header("x-stays") == "1"
    assert client.response().status == 200


def test_headers_named_in_connection_are_removed(hive, origin: RawOrigin) -> None:
    client = hive(origin).client()
    client.ask(
        headers=[
            ("Connection", "X-One, x-two"),
            ("X-One", "1"),
            ("X-TWO", "2"),
            ("Connection", "x-three"),
            ("X-Three", "3"),
            ("X-Four", "4"),
        ]
    )
    request = origin.accept().answer()
    assert [request.header(f"x-{number}") for number in ("one", "two", "three", "four")] == [None, None, None, "4"]
    assert client.response().status == 200


def test_end_to_end_headers_cannot_be_removed_through_connection(hive, origin: RawOrigin) -> None:
    """Otherwise a client could strip what the origin decides by (RFC 9110 section 7.6.1, last paragraph)."""
    client = hive(origin).client()
    client.ask(
        "POST",
        "/",
        [
            (
                "Connection",
                "Host, Content-Length, Authorization, Cookie, X-Forwarded-For, X-Forwarded-Proto, X-Request-Id",
            ),
            ("Authorization", "Basic eA=="),
        ],
        body=b"hello",
    )
    request = origin.accept().answer()
    assert request.header("host") == "a.test"
    assert request.header("content-length") == "5"
    assert request.header("authorization") == "Basic eA=="
    assert request.header("x-forwarded-for") == "127.0.0.1"
    assert request.header("x-forwarded-proto") == "http"
    assert request.header("x-request-id")
    assert client.response().status == 200


def test_te_is_forwarded_only_as_trailers(hive, origin: RawOrigin) -> None:
    client = hive(origin).client()
    client.ask(headers={"TE": "gzip, trailers;q=0.5", "Connection": "TE"})
    upstream = origin.accept()
    assert upstream.answer().header("te") == "trailers"
    client.response()
    client.ask(headers={"TE": "gzip", "Connection": "TE"})
    assert upstream.answer().header("te") is None
    client.response()


def test_hop_by_hop_response_headers_are_removed(hive, origin: RawOrigin) -> None:
    client = hive(origin).client()
    client.ask()
    origin.accept().answer(
        b"HTTP/1.1 200 OK\r\nConnection: keep-alive, X-Private\r\nKeep-Alive: timeout=5\r\nX-Private: 1\r\n"
        b'Proxy-Connection: keep-alive\r\nProxy-Authenticate: Basic\r\nAlt-Svc: h3=":443"\r\nUpgrade: h2c\r\n'
        b"X-Public: 2\r\nContent-Length: 0\r\n\r\n"
    )
    response = client.response()
    for name in (
        "keep-alive",
        "x-private",
        "proxy-connection",
        "proxy-authenticate",
        "alt-svc",
        "upgrade",
        "connection",
    ):
        assert response.header(name) is None, name
    assert response.header("x-public") == "2"


def test_folded_response_header_is_joined_by_a_space(hive, origin: RawOrigin) -> None:
    client = hive(origin).client()
    client.ask()
    origin.accept().answer(b"HTTP/1.1 200 OK\r\nX-Long: one\r\n\t two\r\nContent-Length: 0\r\n\r\n")
    response = client.response()
    if response.status == 502:
        return  # RFC 9112 section 5.2 allows to refuse it as well
    assert response.header("x-long").split() == ["one", "two"]
    assert b"\r\n\t" not in client.received
