"""A request that is over is found by the id that its client got, whichever worker had it."""

from __future__ import annotations

import json
from typing import Any

from instance import Instance
from raw_origin import RawOrigin
from waiting import eventually

# Every request opens a connection, so that some try the endpoint that refuses.
CLOSING = b"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 0\r\n\r\n"


def asked(proxy: Instance, path: str) -> tuple[int, Any]:
    answer = proxy.program.api("GET", path)
    return answer.status, json.loads(answer.text)  # type: ignore[attr-defined]


def test_a_request_is_found_by_the_id_that_its_client_got(hive, origin: RawOrigin, refused_address: str) -> None:
    proxy = hive(
        refused_address,
        origin,
        program=True,
        workers=2,
        services={"none": {"endpoints": []}},
        routes=[
            {"name": "none", "match": {"path": "/none"}, "service": "none"},
            {"name": "all", "service": "app"},
        ],
        trusted_proxies=["127.0.0.1/32"],
    )
    refused: list[str] = []
    for _ in range(8):  # connections of several clients, so that both workers have some
        client = proxy.client()
        client.ask(target="/none", headers={"User-Agent": "tests/1"})
        response = client.response()
        assert response.status == 503
        refused.append(response.header("x-request-id"))
    for number in range(4):  # of four in a row some meet the endpoint that refuses first
        client = proxy.client()
        client.ask(target=f"/retried/{number}", headers={"X-Request-Id": f"asked-{number}"})
        origin.accept().answer(CLOSING)
        assert client.response().status == 200

    workers = set()
    for name in refused:
        status, found = asked(proxy, f"/v1/requests/{name}")
        assert (status, found["problems"]) == (200, [])
        (record,) = found["records"]
        assert (record["status"], record["flags"], record["kept"], record["route"]) == (503, "UH", "error", "none")
        assert (record["path"], record["user_agent"], record["client"]) == ("/none", "tests/1", "127.0.0.1")
        workers.add(record.get("worker", 0))
    assert workers <= {0, 1}

    def retried() -> list[dict[str, Any]]:
        found = [asked(proxy, f"/v1/requests/asked-{number}") for number in range(4)]
        assert {status for status, _ in found} == {200}
        return [record for _, each in found for record in each["records"] if "tried" in each["records"][0]]

    for record in eventually(retried, "a record of a request that met the endpoint that refuses"):
        assert (record["status"], record["tried"], record["attempts"]) == (200, [refused_address], 2)
        assert (record["endpoint"], record["kept"]) == (origin.address, "error")

    status, newest = asked(proxy, "/v1/requests?errors&count=3")
    assert status == 200
    assert len(newest["records"]) == 3
    assert newest["records"][-1]["ts"] <= newest["records"][0]["ts"]
    status, problem = asked(proxy, "/v1/requests/unknown")
    assert status == 404
    assert problem["detail"].startswith(
        "no record of request 'unknown': the workers keep 12 of those that ended since "
    )
