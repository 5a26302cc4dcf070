"""The client goes away: 499 DC in the log, and the origin is not left working for nobody."""

from __future__ import annotations

import pytest
from raw_origin import RawOrigin


@pytest.mark.parametrize("leave", ["close", "reset", "finish_sending"])
def test_client_that_leaves_while_it_is_answered(hive, origin: RawOrigin, leave: str) -> None:
    """A FIN alone counts as gone too: nobody needs half-closed HTTP, and everybody closes tabs."""
    proxy = hive(origin)
    client = proxy.client()
    client.ask(target="/long")
    upstream = origin.accept()
    upstream.request()
    getattr(client, leave)()
    assert upstream.is_ended_by_peer()
    entry = proxy.logged(path="/long")
    assert (entry["status"], entry["flags"]) == (499, "DC")


def test_client_that_leaves_within_the_response(hive, origin: RawOrigin) -> None:
    proxy = hive(origin)
    client = proxy.client()
    client.ask(target="/long")
    upstream = origin.accept()
    upstream.request()
    upstream.send(b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\nstart")
    client.read_until(b"start")
    client.reset()
    assert upstream.is_ended_by_peer()
    assert proxy.logged(path="/long")["flags"] == "DC"


def test_client_that_leaves_within_its_request_body(hive, origin: RawOrigin) -> None:
    proxy = hive(origin)
    client = proxy.client()
    client.ask("POST", "/upload", {"Content-Length": "1000"})
    client.send(b"start")
    upstream = origin.accept()
    upstream.head()
    upstream.read_until(b"start")
    client.close()
    assert upstream.is_ended_by_peer()
    assert proxy.logged(path="/upload")["flags"] == "DC"


def test_client_that_leaves_within_its_request_head_is_no_request(hive, origin: RawOrigin) -> None:
    proxy = hive(origin)
    client = proxy.client()
    client.send(b"GET / HTTP/1.1\r\nHo")
    client.close()
    other = proxy.client()
    other.ask(target="/other")
    origin.accept().answer()
    assert other.response().status == 200


def test_connection_without_a_request_is_not_logged(hive, origin: RawOrigin) -> None:
    proxy = hive(origin)
    proxy.client().close()
    other = proxy.client()
    other.ask(target="/other")
    origin.accept().answer()
    other.response()
    proxy.logged(path="/other")
    assert len(proxy.entries()) == 1
