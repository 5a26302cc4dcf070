"""The access log: one JSON line per request, with stable names."""

from __future__ import annotations

import signal
from datetime import datetime

from raw_origin import RawOrigin
from waiting import eventually

# docs/protocol.md lists what each one means.
FIELDS = """ts duration_ms request_id trace_id method scheme host path protocol status upstream_status flags route
    service version endpoint attempts bytes_in bytes_out client user_agent"""


def test_entry_of_an_ordinary_request(hive, origin: RawOrigin) -> None:
    proxy = hive({"address": origin.address, "version": "v7"})
    client = proxy.client()
    client.ask("POST", "/buy?item=1", {"User-Agent": "tests/1"}, b"four", host="shop.test")
    origin.accept().answer(b"HTTP/1.1 201 Created\r\nContent-Length: 5\r\n\r\nhello")
    client.response()
    entry = proxy.logged(status=201)
    assert set(FIELDS.split()) <= set(entry)
    assert (entry["method"], entry["scheme"], entry["host"], entry["protocol"]) == (
        "POST",
        "http",
        "shop.test",
        "HTTP/1.1",
    )
    assert entry["path"].startswith("/buy")
    assert (entry["route"], entry["service"], entry["version"]) == ("all", "app", "v7")
    assert entry["endpoint"] == origin.address
    assert (entry["upstream_status"], entry["attempts"]) == (201, 1)
    assert (entry["client"], entry["user_agent"]) == ("127.0.0.1", "tests/1")
    assert not entry["flags"]
    assert entry["bytes_in"] >= 4
    assert entry["bytes_out"] >= 5
    assert 0 <= entry["duration_ms"] < 60_000
    datetime.fromisoformat(entry["ts"])


def test_quotes_and_control_characters_cannot_forge_a_line(hive, origin: RawOrigin) -> None:
    proxy = hive(origin)
    client = proxy.client()
    client.send(b'GET / HTTP/1.1\r\nHost: a\r\nUser-Agent: "\\ \xff\xe9", "status": 1}\r\n\r\n')
    origin.accept().answer()
    assert client.response().status == 200
    entry = proxy.logged(status=200)
    assert entry["user_agent"].startswith('"\\ ')
    assert entry["user_agent"].endswith('", "status": 1}')


def test_filter_by_status(hive, origin: RawOrigin) -> None:
    proxy = hive(origin)
    proxy.config["access_log"]["min_status"] = 500
    proxy.reload()
    client = proxy.client()
    client.ask(target="/fine")
    upstream = origin.accept()
    upstream.answer()
    client.response()
    client.ask(target="/broken")
    upstream.answer(b"HTTP/1.1 500 Oh\r\nContent-Length: 0\r\n\r\n")
    client.response()
    proxy.logged(path="/broken")
    assert [entry["path"] for entry in proxy.entries()] == ["/broken"]


def test_text_format_is_one_line_per_request(hive, origin: RawOrigin) -> None:
    proxy = hive(origin)
    proxy.config["access_log"]["format"] = "text"
    proxy.reload()
    client = proxy.client()
    client.ask("GET", "/plain", {"User-Agent": "tests/1"})
    origin.accept().answer()
    client.response()
    text = eventually(lambda: proxy.access_log.exists() and proxy.access_log.read_text(), "a line")
    assert '"GET /plain HTTP/1.1" 200' in text
    assert '"tests/1"' in text
    assert text.count("\n") == 1


def test_log_is_opened_again_on_sigusr1(hive, origin: RawOrigin) -> None:
    proxy = hive(origin, program=True)
    client = proxy.client()
    client.ask(target="/before")
    upstream = origin.accept()
    upstream.answer()
    client.response()
    proxy.logged(path="/before")
    moved = proxy.access_log.with_suffix(".1")
    proxy.access_log.rename(moved)
    proxy.program.signal(signal.SIGUSR1)

    eventually(proxy.access_log.exists, "a new log file")
    client.ask(target="/after")
    upstream.answer()
    client.response()
    assert proxy.logged(path="/after")
    assert "/before" in moved.read_text()
