"""Every wait has an end: what each timeout answers, and what it leaves alone."""

from __future__ import annotations

from raw_origin import OK, RawOrigin


def test_slow_request_head_is_408(hive, origin: RawOrigin) -> None:
    proxy = hive(origin, timeouts={"request_head": "200ms"})
    client = proxy.client()
    client.send(b"GET / HTTP/1.1\r\nHost: a\r\n")
    response = client.response()
    assert (response.status, response.header("connection")) == (408, "close")
    assert client.is_ended_by_peer()
    assert proxy.logged(status=408)["flags"] == "SI"


def test_trickled_head_bytes_do_not_extend_the_time(hive, origin: RawOrigin) -> None:
    client = hive(origin, timeouts={"request_head": "300ms"}).client()
    client.socket.settimeout(0.02)
    client.send(b"GET / HTTP/1.1\r\nHost: a\r\nX-Slow: ")
    for _ in range(200):
        try:
            if not client.receive_more() or b"\r\n\r\n" in client.received:
                break
        except TimeoutError:
            client.send(b"x")
    client.socket.settimeout(10)
    assert client.response().status == 408


def test_response_head_that_does_not_come_is_504(hive, origin: RawOrigin) -> None:
    proxy = hive(origin, timeouts={"response_header": "200ms"})
    client = proxy.client()
    client.ask()
    upstream = origin.accept()
    upstream.request()
    response = client.response()
    assert response.status == 504
    assert upstream.is_ended_by_peer()
    assert proxy.logged(status=504)["flags"] == "UT"
    client.ask(target="/next")
    origin.accept().answer()
    assert client.response().status == 200


def test_time_for_the_response_head_starts_when_the_request_is_sent(hive, origin: RawOrigin) -> None:
    """An upload may take longer than the origin may take to answer it."""
    client = hive(origin, timeouts={"response_header": "300ms"}).client()
    client.ask("POST", "/", {"Content-Length": "10"})
    upstream = origin.accept()
    upstream.head()
    for _ in range(5):
        assert not client.is_ended_by_peer(0.1)
        client.send(b"xx")
        upstream.read_exactly(2)
    upstream.send(OK)
    assert client.response(to="POST").status == 200


def test_route_timeout_covers_the_whole_exchange(hive, origin: RawOrigin) -> None:
    proxy = hive(origin, routes=[{"name": "quick", "service": "app", "timeout": "200ms"}])
    client = proxy.client()
    client.ask()
    origin.accept().request()
    assert client.response().status == 504
    assert proxy.logged(status=504)["flags"] == "UT"


def test_route_timeout_wins_over_the_services(hive, origin: RawOrigin) -> None:
    routes = [{"name": "patient", "service": "app", "timeout": "0s"}]
    client = hive(origin, routes=routes, app={"mesh": {"timeout": "100ms"}}).client()
    client.ask()
    upstream = origin.accept()
    upstream.request()
    assert not client.is_ended_by_peer(0.3)
    assert client.has_nothing_to_read()
    upstream.send(OK)
    assert client.response().status == 200


def test_response_cut_by_the_route_timeout_is_seen_as_cut(hive, origin: RawOrigin) -> None:
    proxy = hive(origin, routes=[{"name": "quick", "service": "app", "timeout": "300ms"}])
    client = proxy.client()
    client.ask()
    upstream = origin.accept()
    upstream.request()
    upstream.send(b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhalf")
    response = client.response()
    assert (response.complete, response.body) == (False, b"half")
    assert upstream.is_ended_by_peer()
    assert proxy.logged(status=200)["flags"] == "UT"


def test_connect_that_is_not_answered_is_504(hive, silent_address: str) -> None:
    proxy = hive(silent_address, timeouts={"connect": "200ms"})
    client = proxy.client()
    assert client.get().status == 504
    assert proxy.logged(status=504)["flags"] == "UF"


def test_silent_endpoint_is_stepped_around_after_the_connect_timeout(
    hive, silent_address: str, origin: RawOrigin
) -> None:
    origin.serve()
    client = hive(silent_address, origin, timeouts={"connect": "200ms"}).client()
    assert [client.get().status for _ in range(3)] == [200, 200, 200]


def test_silent_response_body_ends_by_the_idle_timeout(hive, origin: RawOrigin) -> None:
    proxy = hive(origin, timeouts={"stream_idle": "200ms"})
    client = proxy.client()
    client.ask()
    upstream = origin.accept()
    upstream.request()
    upstream.send(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nhalf\r\n")
    response = client.response()
    assert (response.complete, response.body) == (False, b"half")
    assert upstream.is_ended_by_peer()


def test_silent_request_body_is_408(hive, origin: RawOrigin) -> None:
    client = hive(origin, timeouts={"stream_idle": "200ms"}).client()
    client.ask("POST", "/", {"Content-Length": "10"})
    client.send(b"half")
    upstream = origin.accept()
    upstream.head()
    assert client.response(to="POST").status == 408
    assert upstream.is_ended_by_peer()


def test_body_that_keeps_coming_is_not_idle(hive, origin: RawOrigin) -> None:
    client = hive(origin, timeouts={"stream_idle": "300ms"}).client()
    client.ask()
    upstream = origin.accept()
    upstream.request()
    upstream.send(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
    for _ in range(6):
        assert not upstream.is_ended_by_peer(0.1)
        upstream.send(b"1\r\nx\r\n")
    upstream.send(b"0\r\n\r\n")
    assert client.response().body == b"xxxxxx"


def test_body_that_keeps_coming_after_the_response_has_begun_is_not_idle(hive, origin: RawOrigin) -> None:
    proxy = hive(origin, timeouts={"stream_idle": "300ms"})
    client = proxy.client()
    client.ask("POST", "/", {"Content-Length": "8"})
    upstream = origin.accept()
    upstream.head()
    upstream.send(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
    assert client.read_until(b"\r\n\r\n").startswith(b"HTTP/1.1 200 ")
    for _ in range(8):
        assert not upstream.is_ended_by_peer(0.1)
        client.send(b"x")
        assert upstream.read_exactly(1) == b"x"
    upstream.send(b"2\r\nok\r\n0\r\n\r\n")
    assert client.read_until(b"0\r\n\r\n") == b"2\r\nok\r\n0\r\n\r\n"
    assert not proxy.logged(status=200)["flags"]


def test_origin_that_does_not_read_the_body_is_504(hive, origin: RawOrigin) -> None:
    proxy = hive(origin, timeouts={"stream_idle": "300ms"})
    client = proxy.client()
    client.ask("POST", "/", {"Content-Length": "100000000"})
    origin.accept().head()
    assert client.send_while_taken(b"x" * 65536, 100_000_000, patience=0.1) < 100_000_000
    response = client.response(to="POST")
    assert (response.status, response.header("connection")) == (504, "close")
    assert proxy.logged(status=504)["flags"] == "UT"


def test_timeout_of_a_service_that_is_changed_by_a_reload_reaches_its_routes(hive, origin: RawOrigin) -> None:
    proxy = hive(origin, app={"mesh": {"timeout": "60s"}})
    client = proxy.client()
    client.ask()
    upstream = origin.accept()
    upstream.answer()
    assert client.response().status == 200
    proxy.config["services"]["app"]["mesh"]["timeout"] = "200ms"
    proxy.reload()
    client.ask(target="/slow")
    upstream.request()
    assert client.response().status == 504
    assert proxy.logged(path="/slow")["flags"] == "UT"
