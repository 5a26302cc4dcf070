"""PROXY headers that are sent to endpoints."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from instance import Instance
from raw_client import RawClient
from raw_origin import OK, RawOrigin, Upstream

from proxy.preface.proxy_protocol import NEED_MORE, Complete, parse, write_v2

Hive = Callable[..., Instance]


def header_of(upstream: Upstream) -> Complete:
    """The PROXY header that a connection begins with, taken off."""
    while (parsed := parse(upstream.unread)) is NEED_MORE:
        assert upstream.receive_more()
    assert isinstance(parsed, Complete), parsed
    upstream.unread = upstream.unread[parsed.length :]
    return parsed


def ports(client: RawClient, proxy: Instance) -> tuple[tuple[bytes, int], tuple[bytes, int]]:
    host, port = client.socket.getsockname()
    return (host.encode(), port), (b"127.0.0.1", int(proxy.address.rpartition(":")[2]))


@pytest.fixture(params=["v1", "v2"])
def header(request: pytest.FixtureRequest) -> str:
    return str(request.param)


def test_every_connection_begins_with_the_clients_address(hive: Hive, origin: RawOrigin, header: str) -> None:
    proxy = hive(origin, app={"mesh": {"proxy_protocol": header}})
    client = proxy.client()
    for _ in range(2):
        client.ask()
        upstream = origin.accept()
        parsed = header_of(upstream)
        assert (parsed.source, parsed.destination) == ports(client, proxy)
        assert upstream.received.startswith(b"PROXY " if header == "v1" else b"\r\n\r\n\0\r\nQUIT\n")
        assert upstream.answer().header("x-forwarded-for") == "127.0.0.1"
        assert client.response().status == 200
        assert upstream.is_ended_by_peer()  # it names this client, so nobody else gets it


def test_the_address_is_the_one_that_was_received(hive: Hive, origin: RawOrigin, header: str) -> None:
    proxy = hive(
        origin,
        listener={"proxy_protocol": "receive"},
        app={"mesh": {"proxy_protocol": header}},
        trusted_proxies=["127.0.0.1"],
    )
    client = proxy.client()
    client.send(write_v2((b"2001:db8::1", 4711), (b"2001:db8::2", 443)))
    client.ask()
    parsed = header_of(origin.accept())
    assert (parsed.source, parsed.destination) == ((b"2001:db8::1", 4711), (b"2001:db8::2", 443))


def test_bodies_follow_the_header(hive: Hive, origin: RawOrigin, header: str) -> None:
    client = hive(origin, app={"mesh": {"proxy_protocol": header}}).client()
    client.ask("POST", body=b"x" * 100_000)
    upstream = origin.accept()
    header_of(upstream)
    assert len(upstream.answer().body) == 100_000
    assert client.response().status == 200


def test_another_endpoint_gets_it_too(hive: Hive, origin: RawOrigin, refused_address: str, header: str) -> None:
    proxy = hive(refused_address, origin, app={"mesh": {"proxy_protocol": header}})
    client = proxy.client()
    for _ in range(2):  # one of them begins at the endpoint that refuses
        client.ask()
        upstream = origin.accept()
        assert header_of(upstream).source == ports(client, proxy)[0]
        upstream.answer()
        assert client.response().status == 200


def test_a_service_that_begins_to_expect_it_gets_no_connection_without(hive: Hive, origin: RawOrigin) -> None:
    proxy = hive(origin)
    client = proxy.client()
    client.ask()
    idle = origin.accept()
    idle.answer()
    assert client.response().status == 200
    client.ask()
    busy = idle
    request = busy.request()
    assert request.target == "/"
    proxy.config["services"]["app"]["mesh"] = {"proxy_protocol": "v2"}
    proxy.reload()
    busy.send(OK)
    assert client.response().status == 200
    client.ask()
    header_of(origin.accept())
    assert busy.is_ended_by_peer()


def test_a_service_that_ceases_to_expect_it_keeps_no_connection_with(hive: Hive, origin: RawOrigin) -> None:
    proxy = hive(origin, app={"mesh": {"proxy_protocol": "v1"}})
    client = proxy.client()
    client.ask()
    named = origin.accept()
    header_of(named)
    proxy.config["services"]["app"]["mesh"] = {"proxy_protocol": "off"}
    proxy.reload()
    named.answer()
    assert client.response().status == 200
    client.ask()
    plain = origin.accept()
    plain.answer()
    assert plain.received.startswith(b"GET / ")
    assert named.is_ended_by_peer()
    assert client.response().status == 200
    client.ask()
    plain.answer()  # which is kept


def test_an_upgraded_connection_began_with_it(hive: Hive, origin: RawOrigin, header: str) -> None:
    client = hive(origin, app={"mesh": {"proxy_protocol": header}}).client()
    client.ask(headers={"Connection": "upgrade", "Upgrade": "echo"})
    upstream = origin.accept()
    header_of(upstream)
    upstream.request()
    upstream.send(b"HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: echo\r\n\r\n")
    assert client.response().status == 101
    client.send(b"ping")
    assert upstream.read_exactly(4) == b"ping"
