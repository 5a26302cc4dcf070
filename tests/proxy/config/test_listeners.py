"""What a listener may say, by protocol."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from discovery.config import Config
from discovery.model import Listener, Protocol, ProxyHeader

Problems = Callable[[str], list[str]]

TRUST = "trusted_proxies: [ 10.0.0.0/8 ]"
SERVICES = (
    "services: { db: {}, web: { mesh: { proxy_protocol: v2 } }, "
    "local: { endpoints: [ { address: '127.0.0.1:1' }, { address: 'unix:/run/x' } ] } }"
)
HTTP_ROUTE = "{ name: pages, service: web }"
TLS_ROUTE = "{ name: tls, match: { sni: a.local }, service: db }"


def file(listener: str, more: str = TRUST) -> str:
    return f"{more}\nlisteners:\n- {{ name: l, address: ':1', {listener} }}\n{SERVICES}\n"


@pytest.fixture
def listener(config: Callable[..., Config]) -> Callable[[str], Listener]:
    return lambda text: config(file(text)).snapshot.listeners[0]


def test_the_service_of_a_listener_is_its_last_route(listener: Callable[[str], Listener]) -> None:
    found = listener(f"protocol: tcp, service: db, version: v1, routes: [ {TLS_ROUTE} ]")
    assert [(route.name, route.sni, route.service, route.version) for route in found.streams] == [
        ("tls", ("a.local",), "db", ""),
        ("default", (), "db", "v1"),
    ]
    assert found.routes == ()


@pytest.mark.parametrize("protocol", ["tcp", "udp"])
def test_it_needs_no_routes(listener: Callable[[str], Listener], protocol: str) -> None:
    found = listener(f"service: db, protocol: {protocol}")
    assert (found.protocol, [route.name for route in found.streams]) == (Protocol(protocol), ["default"])


def test_where_everything_else_goes_on_an_auto_listener(listener: Callable[[str], Listener]) -> None:
    found = listener(f"protocol: auto, routes: [ {HTTP_ROUTE} ], service: db")
    assert [route.name for route in found.routes] == ["pages"]
    assert [route.name for route in found.streams] == ["default"]


@pytest.mark.parametrize("protocol", ["http", "tcp", "auto"])
def test_a_proxy_header_is_received(listener: Callable[[str], Listener], protocol: str) -> None:
    rest = {"http": "", "tcp": "service: db", "auto": f"routes: [ {HTTP_ROUTE} ], service: db"}[protocol]
    assert listener(f"protocol: {protocol}, proxy_protocol: receive, {rest}").accept_proxy
    assert not listener(f"protocol: {protocol}, proxy_protocol: off, {rest}").accept_proxy
    assert not listener(f"protocol: {protocol}, {rest}").accept_proxy


def test_a_limit_of_connections(listener: Callable[[str], Listener]) -> None:
    assert listener("max_connections: 100").max_connections == 100
    assert listener("").max_connections == 0
    assert listener("backlog: 511").backlog == 511
    assert listener("").backlog == 0


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("protocol: tcp", "listeners[0]: nothing to go to, expected service or routes"),
        ("protocol: udp, routes: []", "listeners[0]: nothing to go to, expected service or routes"),
        (
            "protocol: auto, service: db",
            "listeners[0]: no route takes HTTP requests, expected one without sni, or prot",
        ),
        (
            f"protocol: auto, routes: [ {HTTP_ROUTE} ]",
            "listeners[0]: nothing takes what is not HTTP, expected service o",
        ),
        ("service: db", "listeners[0].service: an http listener goes by routes, expected routes, or protocol: tcp"),
        ("protocol: tcp, service: wbe", "listeners[0].service: there is no service 'wbe', did you mean 'web'?"),
        (
            "protocol: tcp, version: v1, routes: [ { name: a, service: db } ]",
            "listeners[0].version: pins the version of 'service', which is not given",
        ),
        (
            "protocol: tcp, service: db, routes: [ { name: default, service: db } ]",
            "listeners[0].service: is a route called 'default', and there is one already, expected another name there",
        ),
        ("protocol: tpc, service: db, routes: [ { name: r } ]", "listeners[0].protocol: 'tpc' is not known, expected"),
        ("protocol: tcp, routes: [ { name: a, service: db, mtach: {} } ]", "listeners[0].routes[0].mtach: unknown key"),
        (
            "protocol: udp, proxy_protocol: receive, service: db",
            "listeners[0].proxy_protocol: a PROXY header begins a connection, and datagrams have none, expected",
        ),
        ("proxy_protocol: v2", "listeners[0].proxy_protocol: 'v2' is not known, expected off or receive"),
        ("backlog: 65536", "listeners[0].backlog: 65536 is out of range, expected a whole number from 0 to 65535"),
        (
            "backlog: 1, protocol: udp, service: db",
            "listeners[0].backlog: datagrams are not accepted, expected no such key",
        ),
        ("max_connections: -1", "listeners[0].max_connections: -1 is out of range, expected a whole number from 0 to"),
        (
            "protocol: udp, service: web",
            "listeners[0].service: 'web' has mesh.proxy_protocol, and datagrams carry no PROXY header",
        ),
        (
            "protocol: udp, service: local",
            "listeners[0].service: 'local' has an endpoint at unix:/run/x, where no datagrams go, expected another",
        ),
        (
            "protocol: udp, routes: [ { name: r, split: [ { service: web }, { service: db } ] } ]",
            "listeners[0].routes[0].split[0].service: 'web' has mesh.proxy_protocol",
        ),
    ],
)
def test_what_a_listener_may_not_say(problems: Problems, text: str, problem: str) -> None:
    found = [line.split(": ", 1)[1] for line in problems(file(text))]
    assert found[0].startswith(problem)
    assert len(found) == 1 + ("tpc" in text)


def test_datagrams_come_to_ports_only(problems: Problems) -> None:
    text = f"listeners: [ {{ name: l, address: 'unix:/run/x', protocol: udp, service: db }} ]\n{SERVICES}"
    assert problems(text) == [
        "1:34: listeners[0].address: 'unix:/run/x' has no datagrams here, expected host:port, :port or [v6]:port"
    ]


@pytest.mark.parametrize("trusted", ["", "trusted_proxies: []"])
def test_somebody_must_be_trusted_to_send_a_proxy_header(problems: Problems, trusted: str) -> None:
    more = "\n- { name: m, address: ':2', proxy_protocol: receive }\n"
    text = file("proxy_protocol: receive", trusted).replace("\nservices", f"{more}services")
    [found] = problems(text)
    assert "listeners[0].proxy_protocol: PROXY headers are taken from trusted_proxies only, expected some netw" in found


def test_mistaken_networks_are_one_problem(problems: Problems) -> None:
    [found] = problems(file("proxy_protocol: receive", "trusted_proxies: [ 10.0.0.0/33 ]"))
    assert "trusted_proxies[0]: '10.0.0.0/33' is not a network" in found


def two(first: str, second: str) -> str:
    listeners = [
        f"{{ name: {name}, address: ':53', protocol: {kind}, service: db }}" for name, kind in ((1, first), (2, second))
    ]
    return f"listeners: [ {', '.join(listeners)} ]\n{SERVICES}"


def test_tcp_and_udp_have_ports_of_their_own(config: Callable[..., Config], problems: Problems) -> None:
    assert [found.protocol for found in config(two("tcp", "udp")).snapshot.listeners] == [Protocol.TCP, Protocol.UDP]
    for protocol in ("tcp", "udp"):
        [found] = problems(two(protocol, protocol))
        assert "listeners[1].address: '0.0.0.0:53' is already the address of listeners[0]" in found


def test_tests_are_of_http_listeners(config: Callable[..., Config], problems: Problems) -> None:
    text = file("protocol: tcp, service: db") + "tests: [ { request: { url: /, listener: l }, expect: { route: a } } ]"
    [found] = problems(text)
    assert found.endswith("tests[0].request.listener: 'l' is a tcp listener, expected an http or auto listener")
    config(text.replace(", listener: l", ""))


def test_a_service_says_which_header_it_expects(config: Callable[..., Config]) -> None:
    services = (
        "a: {}, b: { mesh: { proxy_protocol: v1 }, pool: { max_total: 7 } }, c: { mesh: { proxy_protocol: off } }"
    )
    a, b, c = config(f"services: {{ {services} }}").snapshot.services
    assert [service.proxy_protocol for service in (a, b, c)] == [ProxyHeader.OFF, ProxyHeader.V1, ProxyHeader.OFF]
    assert b.pool.max_total == 7


def test_what_belongs_to_no_listener(config: Callable[..., Config]) -> None:
    settings = config(
        "pin_workers: true\nlimits: { client_hello: 4KiB, udp_sessions: 5 }\n"
        "timeouts: { detect: 2s, proxy_protocol: 3s, tcp_idle: 4s, udp_idle: 5s, drain_streams: 0, worker_hang: 0 }"
    ).snapshot.settings
    assert settings.pin_workers
    assert (settings.limits.client_hello, settings.limits.udp_sessions) == (4096, 5)
    timeouts = settings.timeouts
    assert (timeouts.detect, timeouts.proxy_protocol, timeouts.tcp_idle, timeouts.udp_idle) == (2, 3, 4, 5)
    assert (timeouts.drain_streams, timeouts.worker_hang) == (0, 0)
