"""PROXY headers that are received: who the client is then, and what becomes of connections without one."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from instance import Instance
from raw_client import RawClient
from raw_origin import RawOrigin
from waiting import eventually

from proxy.preface.proxy_protocol import V2_UNKNOWN, write_v1, write_v2
from proxy.stats.slots import CONNECTIONS_ACTIVE, CONNECTIONS_TOTAL, PROXY_HEADER_FAILURES, WORKER_CONNECTIONS

Hive = Callable[..., Instance]

TRUSTED = {"trusted_proxies": ["127.0.0.1"]}
RECEIVE = {"proxy_protocol": "receive"}
CLIENT, HERE = (b"192.0.2.1", 4711), (b"198.51.100.7", 443)
GET = b"GET /x HTTP/1.1\r\nHost: a.test\r\n\r\n"


def connected(proxy: Instance, name: str = "web") -> dict[int, int]:
    assert proxy._inside is not None
    cells = proxy._inside.embedded.stats(f"listener/{name}")[0]
    return {cell: cells[cell] for cell in (CONNECTIONS_TOTAL, CONNECTIONS_ACTIVE, PROXY_HEADER_FAILURES)}


def failures(proxy: Instance) -> int:
    return connected(proxy)[PROXY_HEADER_FAILURES]


@pytest.fixture
def receiving(hive: Hive, origin: RawOrigin) -> Callable[..., Instance]:
    def start(**settings: Any) -> Instance:
        return hive(origin, listener={**RECEIVE, **settings.pop("listener", {})}, **{**TRUSTED, **settings})

    return start


@pytest.mark.parametrize("header", [write_v1(CLIENT, HERE), write_v2(CLIENT, HERE)])
@pytest.mark.parametrize("pieces", ["all", "header", "bytes"])
def test_the_client_is_who_the_header_says(
    receiving: Callable[..., Instance], origin: RawOrigin, header: bytes, pieces: str
) -> None:
    proxy = receiving()
    client = proxy.client()
    data = header + GET
    if pieces == "all":
        client.send(data)
    elif pieces == "header":
        client.send(header, GET)
    else:
        client.send(*(data[at : at + 1] for at in range(len(data))))
    request = origin.accept().answer()
    assert request.header("x-forwarded-for") == "192.0.2.1"
    assert request.target == "/x"
    assert client.response().status == 200
    client.send(GET)
    origin.connections[0].answer()
    assert client.response().status == 200
    assert proxy.logged(status=200)["client"] == "192.0.2.1"
    assert (connected(proxy)[CONNECTIONS_TOTAL], connected(proxy)[CONNECTIONS_ACTIVE]) == (1, 1)
    client.close()
    eventually(lambda: connected(proxy)[CONNECTIONS_ACTIVE] == 0, "the connection given back")


def test_routes_and_trust_go_by_the_client_of_the_header(hive: Hive, origin: RawOrigin) -> None:
    routes = [
        {"name": "office", "match": {"clients": ["192.0.2.0/24"]}, "service": "app"},
        {"name": "rest", "filters": [{"direct_response": {"status": 403, "body": "no"}}]},
    ]
    proxy = hive(origin, routes=routes, listener=RECEIVE, **TRUSTED)
    stranger = proxy.client()
    stranger.send(write_v2((b"203.0.113.1", 1), HERE))
    stranger.ask(headers={"X-Forwarded-For": "192.0.2.9"})
    assert stranger.response().status == 403
    member = proxy.client()
    member.send(write_v2(CLIENT, HERE))
    member.ask(headers={"X-Forwarded-For": "203.0.113.9"})
    assert origin.accept().answer().header("x-forwarded-for") == "192.0.2.1"
    assert member.response().status == 200


@pytest.mark.parametrize("header", [b"PROXY UNKNOWN\r\n", V2_UNKNOWN])
def test_a_header_that_names_nobody_leaves_the_peer(
    receiving: Callable[..., Instance], origin: RawOrigin, header: bytes
) -> None:
    client = receiving().client()
    client.send(header + GET)
    assert origin.accept().answer().header("x-forwarded-for") == "127.0.0.1"
    assert client.response().status == 200


def test_peers_that_are_not_trusted_are_ordinary_clients(receiving: Callable[..., Instance], origin: RawOrigin) -> None:
    proxy = receiving()
    client = proxy.client(source="127.0.0.2")
    client.send(GET)
    assert origin.accept().answer().header("x-forwarded-for") == "127.0.0.2"
    assert client.response().status == 200
    liar = proxy.client(source="127.0.0.2")
    liar.send(write_v1(CLIENT, HERE) + GET)
    assert liar.response().status == 400  # what it sent is no request
    assert failures(proxy) == 0


def test_without_receive_nobody_is_believed(hive: Hive, origin: RawOrigin) -> None:
    client = hive(origin, **TRUSTED).client()
    client.send(write_v1(CLIENT, HERE) + GET)
    assert client.response().status == 400


@pytest.mark.parametrize("first", [GET, b"PROXY TCP4 1.2.3.4 1.2.3.4 1 70000\r\n" + GET, b"\r\n\r\n\0\r\nQUIT\n\x31"])
def test_a_connection_that_begins_with_something_else_is_closed(
    receiving: Callable[..., Instance], origin: RawOrigin, first: bytes
) -> None:
    proxy = receiving()
    client = proxy.client()
    client.send(first)
    assert client.is_ended_by_peer()
    assert client.received == b""
    entry = proxy.logged(flags="DPE")
    assert entry["flag_details"].startswith("no PROXY header: ")
    assert entry["client"] == "127.0.0.1"
    assert failures(proxy) == 1
    assert connected(proxy)[CONNECTIONS_ACTIVE] == 0
    assert not origin.has_connection_waiting()


def test_a_header_has_to_come_in_time(receiving: Callable[..., Instance]) -> None:
    proxy = receiving(timeouts={"proxy_protocol": "100ms"})
    silent, slow = proxy.client(), proxy.client()
    slow.send(b"PROXY TCP4 ")
    assert silent.is_ended_by_peer()
    assert slow.is_ended_by_peer()
    assert proxy.logged(flags="DPE")["flag_details"] == "no complete PROXY header in time"
    assert failures(proxy) == 2


def test_a_client_that_leaves_within_its_header(receiving: Callable[..., Instance]) -> None:
    proxy = receiving()
    client = proxy.client()
    client.send(b"PROXY TCP4 ")
    client.finish_sending()
    assert client.is_ended_by_peer()
    assert proxy.logged(flags="DPE")["flag_details"] == "the connection ended before its PROXY header"


def test_who_only_looks_whether_we_listen_is_no_failure(receiving: Callable[..., Instance]) -> None:
    proxy = receiving()
    RawClient(proxy.address).close()
    eventually(
        lambda: connected(proxy) == {CONNECTIONS_TOTAL: 1, CONNECTIONS_ACTIVE: 0, PROXY_HEADER_FAILURES: 0}, "so"
    )
    assert proxy.entries() == []


def test_connections_without_their_header_count_for_the_limit(receiving: Callable[..., Instance]) -> None:
    proxy = receiving(limits={"connections": 2})
    waiting = [proxy.client() for _ in range(2)]
    eventually(lambda: connected(proxy)[CONNECTIONS_ACTIVE] == 2, "two connections")
    third = proxy.client()
    assert third.response().status == 503
    waiting[0].close()
    third.close()
    eventually(lambda: connected(proxy)[CONNECTIONS_ACTIVE] == 1, "one connection")
    assert proxy._inside is not None
    assert proxy._inside.embedded.table.total(0, WORKER_CONNECTIONS) == 1


def test_receiving_can_be_turned_on_and_off_by_a_reload(hive: Hive, origin: RawOrigin) -> None:
    proxy = hive(origin, **TRUSTED)
    for state, status in (("receive", 200), ("off", 400), ("receive", 200)):
        proxy.config["listeners"][0]["proxy_protocol"] = state
        proxy.reload()
        client = proxy.client()
        client.send(write_v2(CLIENT, HERE) + GET)
        if status == 200:
            upstream = origin.accept() if not origin.connections else origin.connections[-1]
            upstream.answer()
        assert client.response().status == status
