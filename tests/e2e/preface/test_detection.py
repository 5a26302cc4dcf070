"""HTTP, TLS and everything else on one address, and TLS by the server it asks for."""

from __future__ import annotations

import ssl
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from instance import Instance, endpoints
from raw_client import RawClient
from raw_origin import RawOrigin

from proxy.preface.proxy_protocol import write_v2

Hive = Callable[..., Instance]
GET = b"GET /x HTTP/1.1\r\nHost: a.test\r\n\r\n"


def hello(name: str | None) -> bytes:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    outgoing = ssl.MemoryBIO()
    with pytest.raises(ssl.SSLWantReadError):
        context.wrap_bio(ssl.MemoryBIO(), outgoing, server_hostname=name).do_handshake()
    return outgoing.read()


@pytest.fixture
def shop() -> Iterator[RawOrigin]:
    with RawOrigin() as origin:
        yield origin


@pytest.fixture
def rest() -> Iterator[RawOrigin]:
    with RawOrigin() as origin:
        yield origin


@pytest.fixture
def start(hive: Hive, origin: RawOrigin, shop: RawOrigin, rest: RawOrigin) -> Callable[..., Instance]:
    """An auto listener (or another): requests to `origin`, TLS for shop.test to `shop`, all else to `rest`."""

    def make(
        protocol: str = "auto", default: bool = True, more: dict[str, Any] | None = None, **given: Any
    ) -> Instance:
        routes = [{"name": "shop", "match": {"sni": ["shop.test", "*.shop.test"]}, "service": "shop"}]
        if protocol == "auto":
            routes.append({"name": "pages", "service": "app"})
        listener = {"protocol": protocol, **({"service": "rest"} if default else {}), **(more or {})}
        services = {"shop": {"endpoints": endpoints(shop)}, "rest": {"endpoints": endpoints(rest)}}
        timeouts = {"detect": "5s", **given.pop("timeouts", {})}
        return hive(origin, routes=routes, listener=listener, services=services, timeouts=timeouts, **given)

    return make


def reaches(client: RawClient, origin: RawOrigin, data: bytes) -> None:
    """What the client has sent comes to `origin`, and an answer back."""
    upstream = origin.accept()
    assert upstream.read_exactly(len(data)) == data
    upstream.send(b"pong")
    assert client.read_exactly(4) == b"pong"


def test_requests_are_requests(start: Callable[..., Instance], origin: RawOrigin) -> None:
    proxy = start()
    client = proxy.client()
    for _ in range(2):
        client.ask(target="/y")
        upstream = origin.connections[0] if origin.connections else origin.accept()
        assert upstream.answer().header("x-forwarded-for") == "127.0.0.1"
        assert client.response().status == 200
    assert proxy.logged(status=200)["route"] == "pages"


@pytest.mark.parametrize("protocol", ["auto", "tcp"])
@pytest.mark.parametrize("name", ["shop.test", "a.b.SHOP.test"])
def test_tls_goes_by_the_server_it_asks_for(
    start: Callable[..., Instance], shop: RawOrigin, protocol: str, name: str
) -> None:
    proxy = start(protocol)
    client = proxy.client()
    data = hello(name)
    client.send(data)
    reaches(client, shop, data)
    client.close()
    shop.connections[0].close()
    entry = proxy.logged(route="shop")
    assert (entry["sni"], entry["service"], entry["protocol"]) == (name.lower(), "shop", "tcp")


@pytest.mark.parametrize("protocol", ["auto", "tcp"])
@pytest.mark.parametrize("name", ["other.test", None])
def test_other_tls_goes_to_the_rest(
    start: Callable[..., Instance], rest: RawOrigin, protocol: str, name: str | None
) -> None:
    client = start(protocol).client()
    data = hello(name)
    client.send(data)
    reaches(client, rest, data)


@pytest.mark.parametrize("protocol", ["auto", "tcp"])
def test_a_hello_in_single_bytes(start: Callable[..., Instance], shop: RawOrigin, protocol: str) -> None:
    client = start(protocol).client()
    data = hello("shop.test")
    client.send(*(data[at : at + 1] for at in range(len(data))))
    reaches(client, shop, data)


@pytest.mark.parametrize("first", [b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", b"SSH-2.0-x y\r\n", b"\0", b"EHLO a\r\n"])
@pytest.mark.parametrize("protocol", ["auto", "tcp"])
def test_anything_else_goes_to_the_rest_at_once(
    start: Callable[..., Instance], rest: RawOrigin, protocol: str, first: bytes
) -> None:
    client = start(protocol).client()
    client.send(first)
    reaches(client, rest, first)


def test_requests_on_a_tcp_listener_are_only_bytes(start: Callable[..., Instance], rest: RawOrigin) -> None:
    client = start("tcp").client()
    client.send(GET)
    reaches(client, rest, GET)


@pytest.mark.parametrize("protocol", ["auto", "tcp"])
@pytest.mark.parametrize("first", [b"", b"\x16\x03\x01"])
def test_who_is_silent_for_too_long_goes_to_the_rest(
    start: Callable[..., Instance], rest: RawOrigin, protocol: str, first: bytes
) -> None:
    client = start(protocol, timeouts={"detect": "100ms"}).client()
    client.send(first)
    upstream = rest.accept()
    upstream.send(b"220 hello\r\n")
    assert client.read_exactly(11) == b"220 hello\r\n"
    client.send(b"later")
    assert upstream.read_exactly(len(first) + 5) == first + b"later"


def test_who_has_finished_sending_is_not_waited_for(start: Callable[..., Instance], rest: RawOrigin) -> None:
    client = start().client()
    client.send(b"GET")
    client.finish_sending()
    upstream = rest.accept()
    assert upstream.read_to_end() == b"GET"


def test_a_hello_beyond_the_limit_has_no_name(start: Callable[..., Instance], rest: RawOrigin) -> None:
    client = start(limits={"client_hello": 256}).client()
    data = hello("shop.test")
    assert len(data) > 256
    client.send(data)
    reaches(client, rest, data)


def test_what_no_route_takes_is_closed(start: Callable[..., Instance]) -> None:
    proxy = start(default=False)
    client = proxy.client()
    client.send(b"\0")
    assert client.is_ended_by_peer()
    assert proxy.logged(flags="NR")["protocol"] == "tcp"


@pytest.mark.parametrize("kind", ["http", "tls", "other"])
def test_a_header_comes_before_all_of_it(
    start: Callable[..., Instance], origin: RawOrigin, shop: RawOrigin, rest: RawOrigin, kind: str
) -> None:
    proxy = start(more={"proxy_protocol": "receive"}, trusted_proxies=["127.0.0.1"])
    client = proxy.client()
    client.send(write_v2((b"192.0.2.1", 4711), (b"198.51.100.7", 443)))
    if kind == "http":
        client.ask()
        assert origin.accept().answer().header("x-forwarded-for") == "192.0.2.1"
        assert client.response().status == 200
    else:
        data = hello("shop.test") if kind == "tls" else b"\0"
        client.send(data)
        reaches(client, shop if kind == "tls" else rest, data)
    client.close()
    for connection in shop.connections + rest.connections:
        connection.close()
    assert proxy.logged(client="192.0.2.1")


def test_a_reload_makes_an_http_listener_an_auto_listener(hive: Hive, origin: RawOrigin, rest: RawOrigin) -> None:
    proxy = hive(origin, services={"rest": {"endpoints": endpoints(rest)}})
    client = proxy.client()
    client.send(b"\0\0\r\n\r\n")
    assert client.response().status == 400
    proxy.config["listeners"][0] |= {"protocol": "auto", "service": "rest"}
    proxy.reload()
    client = proxy.client()
    client.send(b"\0")
    reaches(client, rest, b"\0")
    client = proxy.client()
    client.ask()
    origin.accept().answer()
    assert client.response().status == 200


def test_a_request_over_the_limit_of_connections_gets_an_answer_and_all_else_is_closed(
    start: Callable[..., Instance], origin: RawOrigin
) -> None:
    proxy = start(limits={"connections": 1})
    kept = proxy.client()
    kept.send(GET)
    upstream = origin.accept()
    upstream.request()
    early, late, other, silent = proxy.client(), proxy.client(), proxy.client(), proxy.client()
    early.send(GET)
    response = early.response()
    assert (response.status, response.header("connection")) == (503, "close")
    assert proxy.logged(status=503)["flag_details"] == "limits.connections is reached"
    late.send(GET[:3])
    late.send(GET[3:])
    assert late.response().status == 503
    other.send(b"\x16 not HTTP")
    assert other.is_ended_by_peer()
    assert silent.is_ended_by_peer()
    upstream.send(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")
    assert kept.response().status == 200
