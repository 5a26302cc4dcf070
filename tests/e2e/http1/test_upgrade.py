"""Upgrades: WebSocket passes through, a refused upgrade goes on as HTTP, h2c is not offered upstream."""

from __future__ import annotations

from raw_origin import RawOrigin
from websocket_origin import WebSocketOrigin
from websockets.sync.client import connect

UPGRADE = {"Connection": "Upgrade", "Upgrade": "echo/1"}
SWITCHING = b"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: echo/1\r\n\r\n"


def test_websocket_library_talks_through_the_proxy(hive) -> None:
    with WebSocketOrigin() as origin, connect(f"ws://{hive(origin).address}/chat") as websocket:
        websocket.send("hello")
        assert websocket.recv() == "hello"
        large = "x" * 500_000
        websocket.send(large)
        assert websocket.recv() == large


def test_bytes_flow_both_ways_after_101(hive, origin: RawOrigin) -> None:
    proxy = hive(origin)
    client = proxy.client()
    client.ask("GET", "/up", UPGRADE)
    upstream = origin.accept()
    request = upstream.head()
    assert request.header("upgrade") == "echo/1"
    assert request.header("connection").lower() == "upgrade"
    upstream.send(SWITCHING + b"greeting")
    response = client.response()
    assert (response.status, response.header("upgrade")) == (101, "echo/1")
    assert client.read_exactly(8) == b"greeting"
    client.send(b"\x00not http\xff")
    assert upstream.read_exactly(10) == b"\x00not http\xff"
    upstream.send(b"GET / HTTP/1.1\r\n")
    assert client.read_exactly(16) == b"GET / HTTP/1.1\r\n"
    upstream.close()
    assert client.is_ended_by_peer()
    client.close()
    assert proxy.logged(status=101)["path"] == "/up"


def test_bytes_that_the_client_sent_with_its_upgrade_arrive_after_the_101(hive, origin: RawOrigin) -> None:
    client = hive(origin).client()
    client.send(b"GET /up HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: echo/1\r\n\r\neager")
    upstream = origin.accept()
    upstream.head()
    upstream.send(SWITCHING)
    assert client.response().status == 101
    assert upstream.read_exactly(5) == b"eager"


def test_half_closed_upgraded_connection_still_carries_the_other_direction(hive, origin: RawOrigin) -> None:
    client = hive(origin).client()
    client.ask("GET", "/up", UPGRADE)
    upstream = origin.accept()
    upstream.head()
    upstream.send(SWITCHING)
    client.response()
    client.send(b"last words")
    client.finish_sending()
    assert upstream.read_to_end() == b"last words"
    upstream.send(b"reply")
    upstream.close()
    assert client.read_to_end() == b"reply"


def test_refused_upgrade_continues_as_http(hive, origin: RawOrigin) -> None:
    client = hive(origin).client()
    client.ask("GET", "/up", UPGRADE)
    upstream = origin.accept()
    upstream.answer()
    assert client.response().body == b"ok"
    client.ask("GET", "/plain")
    assert upstream.answer().header("upgrade") is None
    assert client.response().body == b"ok"


def test_h2c_upgrade_is_answered_as_http_1_1(hive, origin: RawOrigin) -> None:
    client = hive(origin).client()
    client.ask(
        "GET",
        "/",
        {"Connection": "Upgrade, HTTP2-Settings", "Upgrade": "h2c", "HTTP2-Settings": "AAMAAABkAAQAoAAAAAIAAAAA"},
    )
    request = origin.accept().answer()
    assert request.header("upgrade") is None
    assert request.header("http2-settings") is None
    assert client.response().status == 200


def test_101_that_nobody_asked_for_is_an_upstream_fault(hive, origin: RawOrigin) -> None:
    proxy = hive(origin)
    client = proxy.client()
    client.ask("GET", "/")
    origin.accept().answer(SWITCHING)
    assert client.response().status == 502
    assert proxy.logged(status=502)["flags"] == "UPE"


def test_upgrade_of_an_http_1_0_client_is_not_offered_upstream(hive, origin: RawOrigin) -> None:
    client = hive(origin).client()
    client.send(b"GET /up HTTP/1.0\r\nHost: a\r\nConnection: upgrade\r\nUpgrade: echo/1\r\n\r\n")
    request = origin.accept().answer()
    assert request.header("upgrade") is None
    assert "upgrade" not in (request.header("connection") or "").lower()
    assert client.response().status == 200
