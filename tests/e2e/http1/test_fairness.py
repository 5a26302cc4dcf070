"""One connection with much to do does not keep the others waiting."""

from __future__ import annotations

from typing import Any

FLOOD = 2000

# Requests that one connection may have answered in one turn, with room for a few turns.
FEW = 200


def empty_answers() -> list[dict[str, Any]]:
    return [{"name": "empty", "filters": [{"direct_response": {"status": 200}}]}]


def test_client_that_pipelines_does_not_starve_others(hive) -> None:
    proxy = hive(routes=empty_answers())
    flood, other = proxy.client(), proxy.client()
    assert [client.get("/before").status for client in (flood, other)] == [200, 200]
    with proxy.paused():
        flood.send(b"GET /flood HTTP/1.1\r\nHost: a\r\n\r\n" * FLOOD)
        other.ask(target="/other")
    assert other.response().status == 200
    for _ in range(FLOOD):
        assert flood.read_until(b"\r\n\r\n").startswith(b"HTTP/1.1 200 ")
    proxy.logged(path="/other")
    served = [entry["path"] for entry in proxy.entries() if entry["path"] != "/before"]
    assert served.index("/other") <= FEW


def test_requests_of_one_client_are_all_served_although_others_have_their_turns(hive) -> None:
    proxy = hive(routes=empty_answers())
    clients = [proxy.client() for _ in range(3)]
    with proxy.paused():
        for client in clients:
            client.send(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n" * 500)
    for client in clients:
        for _ in range(500):
            assert client.read_until(b"\r\n\r\n").startswith(b"HTTP/1.1 200 ")
        assert client.has_nothing_to_read()
