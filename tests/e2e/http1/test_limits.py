"""Each limit of a request has its own answer, and the connection closes after it."""

from __future__ import annotations

from contextlib import suppress

from raw_origin import RawOrigin


def expect_refusal(proxy, client, status: int) -> None:
    response = client.response()
    assert response.status == status
    assert response.header("connection") == "close"
    assert client.is_ended_by_peer()
    assert proxy.logged(status=status)


def test_too_many_bytes_of_head(hive, origin: RawOrigin) -> None:
    proxy = hive(origin, limits={"request_head": "4KiB"})
    client = proxy.client()
    client.ask(headers={"X-Long": "v" * 5000})
    expect_refusal(proxy, client, 431)
    assert not origin.has_connection_waiting()


def test_a_head_that_never_ends_is_refused_when_it_reaches_the_limit(hive, origin: RawOrigin) -> None:
    proxy = hive(origin, limits={"request_head": "4KiB"})
    client = proxy.client()
    client.send(b"GET / HTTP/1.1\r\nHost: a\r\nX-Long: " + b"v" * 5000)
    expect_refusal(proxy, client, 431)


def test_too_many_headers(hive, origin: RawOrigin) -> None:
    proxy = hive(origin, limits={"headers": 10})
    client = proxy.client()
    client.ask(headers=[("X-N", str(number)) for number in range(9)])  # Host is the tenth
    origin.accept().answer()
    assert client.response().status == 200
    client.ask(headers=[("X-N", str(number)) for number in range(10)])
    expect_refusal(proxy, client, 431)


def test_request_line_too_long(hive, origin: RawOrigin) -> None:
    proxy = hive(origin, limits={"request_line": "1KiB"})
    client = proxy.client()
    client.ask(target="/" + "x" * 900)
    origin.accept().answer()
    assert client.response().status == 200
    client.ask(target="/" + "x" * 1100)
    expect_refusal(proxy, client, 414)


def test_a_request_line_that_never_ends_is_refused(hive, origin: RawOrigin) -> None:
    proxy = hive(origin, limits={"request_line": "1KiB"})
    client = proxy.client()
    client.send(b"GET /" + b"x" * 2000)
    expect_refusal(proxy, client, 414)


def test_declared_body_too_large_is_refused_before_it_is_read(hive, origin: RawOrigin) -> None:
    proxy = hive(origin, limits={"body": "1KiB"})
    client = proxy.client()
    client.ask("POST", "/", {"Content-Length": "1025"})
    expect_refusal(proxy, client, 413)
    assert not origin.has_connection_waiting()


def test_body_of_exactly_the_limit_passes(hive, origin: RawOrigin) -> None:
    client = hive(origin, limits={"body": "1KiB"}).client()
    client.ask("POST", "/", body=b"x" * 1024)
    assert len(origin.accept().answer().body) == 1024
    assert client.response().status == 200


def test_chunked_body_is_refused_when_it_passes_the_limit(hive, origin: RawOrigin) -> None:
    proxy = hive(origin, limits={"body": "1KiB"})
    client = proxy.client()
    client.send(b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n")
    client.send(b"200\r\n" + b"x" * 512 + b"\r\n")
    upstream = origin.accept()
    upstream.head()
    client.send(b"201\r\n" + b"x" * 513 + b"\r\n0\r\n\r\n")
    expect_refusal(proxy, client, 413)
    assert upstream.is_ended_by_peer()


def test_refused_body_that_is_already_on_its_way_does_not_destroy_the_answer(hive, origin: RawOrigin) -> None:
    client = hive(origin, limits={"body": "1KiB"}).client()
    client.ask("POST", "/", {"Content-Length": "200000"})
    client.send(b"x" * 200_000)
    assert client.response().status == 413
    assert client.is_ended_by_peer()
    assert not client.was_reset


def test_long_chunk_extensions_are_refused(hive, origin: RawOrigin) -> None:
    proxy = hive(origin)
    client = proxy.client()
    client.send(
        b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n5;x=" + b"y" * 1000 + b"\r\nhello\r\n"
    )
    expect_refusal(proxy, client, 400)


def test_long_request_trailers_are_refused(hive, origin: RawOrigin) -> None:
    proxy = hive(origin, limits={"trailers": "1KiB"})
    client = proxy.client()
    client.send(
        b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n0\r\nX-T: " + b"y" * 2000 + b"\r\n\r\n"
    )
    expect_refusal(proxy, client, 431)


def test_response_head_over_the_limit_is_an_upstream_fault(hive, origin: RawOrigin) -> None:
    proxy = hive(origin, limits={"response_head": "4KiB"})
    client = proxy.client()
    client.ask()
    upstream = origin.accept()
    upstream.answer(b"HTTP/1.1 200 OK\r\nX-Long: " + b"v" * 5000 + b"\r\nContent-Length: 0\r\n\r\n")
    assert client.response().status == 502
    assert proxy.logged(status=502)["flags"] == "UPE"
    assert upstream.is_ended_by_peer()


def test_connections_over_the_limit_are_not_served(hive, origin: RawOrigin) -> None:
    """The limit answers or closes; what it never does is serve."""
    proxy = hive(origin, limits={"connections": 2})
    kept = [proxy.client(), proxy.client()]
    for client in kept:
        client.ask()
    upstreams = [origin.accept(), origin.accept()]
    extra = proxy.client()
    extra.ask(target="/extra")
    extra.socket.settimeout(0.3)
    with suppress(TimeoutError):
        extra.read_to_end()
    assert b" 200 " not in extra.received
    assert not origin.has_connection_waiting()
    for upstream in upstreams:
        upstream.answer()
    assert [client.response().status for client in kept] == [200, 200]


def test_client_that_goes_on_sending_a_refused_body_gets_the_whole_answer(hive, origin: RawOrigin) -> None:
    client = hive(origin, limits={"body": "1KiB"}).client()
    client.ask("POST", "/", {"Content-Length": "2000000"})
    assert client.read_until(b"\r\n").startswith(b"HTTP/1.1 413 ")
    for _ in range(20):
        client.send(b"x" * 100_000)  # a reset would be seen here
    client.finish_sending()
    assert client.is_ended_by_peer()
    assert not client.was_reset
    assert not origin.has_connection_waiting()


def test_client_that_goes_on_sending_a_refused_head_gets_the_whole_answer(hive, origin: RawOrigin) -> None:
    client = hive(origin).client()
    client.send(b"GET / HTTP/1.1\r\nHost : a\r\n\r\n")
    assert client.read_until(b"\r\n").startswith(b"HTTP/1.1 400 ")
    for _ in range(20):
        client.send(b"X-More: of it\r\n" * 1000)
    client.finish_sending()
    assert client.is_ended_by_peer()
    assert not client.was_reset
