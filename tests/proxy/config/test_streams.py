"""Routes of connections and datagrams, and which routes of an auto listener are such."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from discovery.config import Config
from discovery.model import StreamRoute, TrafficSplit

SERVICES = "services: { db: {}, web: {} }"

StreamProblems = Callable[..., list[str]]


def listener(protocol: str, routes: str) -> str:
    return f"listeners:\n- {{ name: l, address: ':1', protocol: {protocol}, routes: [ {routes} ] }}\n{SERVICES}\n"


@pytest.fixture
def stream_problems(problems: Callable[[str], list[str]]) -> StreamProblems:
    """The problems of one route `r` of a listener, without positions."""

    def find(text: str, protocol: str = "tcp") -> list[str]:
        found = problems(listener(protocol, f"{{ name: r, {text} }}"))
        return [line.split(": ", 1)[1].replace("listeners[0].routes[0]", "r") for line in found]

    return find


def without_position(route: StreamRoute) -> dict[str, object]:
    return {name: getattr(route, name) for name in route.__struct_fields__ if name != "position"}


def test_a_route_of_connections(config: Callable[..., Config]) -> None:
    match = "{ sni: [ DB.local, '*.Db.Local' ], clients: [ 10.0.0.0/8 ] }"
    text = listener(
        "tcp", f"{{ name: r, match: {match}, split: [ {{ service: db, version: 2 }}, {{ service: web }} ] }}"
    )
    [route] = config(text).snapshot.listeners[0].streams
    assert without_position(route) == {
        "name": "r",
        "sni": ("db.local", "*.db.local"),
        "clients": ("10.0.0.0/8",),
        "service": "",
        "version": "",
        "split": (TrafficSplit(service="db", version="2"), TrafficSplit(service="web")),
    }
    assert str(route.position) == "f:2"


def test_one_server_name_needs_no_list(config: Callable[..., Config]) -> None:
    text = listener("tcp", "{ name: r, match: { sni: db.local }, service: db, version: v1 }")
    [route] = config(text).snapshot.listeners[0].streams
    assert (route.sni, route.service, route.version) == (("db.local",), "db", "v1")


def test_datagrams_go_by_client(config: Callable[..., Config]) -> None:
    text = listener("udp", "{ name: r, match: { clients: [ '::1' ] }, service: db }, { name: s, service: web }")
    first, second = config(text).snapshot.listeners[0].streams
    assert (first.clients, second.clients) == (("::1/128",), ())


@pytest.mark.parametrize(
    ("text", "protocol", "problem"),
    [
        ("match: {}", "tcp", "r: expected one of service and split, got none of them"),
        ("service: db, split: [ { service: db } ]", "tcp", "r: expected one of service and split, got both"),
        (
            "split: [ { service: db } ], version: v1",
            "udp",
            "r.version: pins the version of 'service', which is not giv",
        ),
        ("split: [ { service: db, weight: 0 } ]", "tcp", "r.split: every weight is 0, expected one that is not"),
        ("service: wbe", "tcp", "r.service: there is no service 'wbe', did you mean 'web'?"),
        ("service: db, filters: []", "tcp", "r.filters: filters change HTTP requests, which are not read here"),
        (
            "service: db, timeout: 5s",
            "tcp",
            "r.timeout: a connection may last as long as it is used, expected timeouts.tcp",
        ),
        ("service: db, timeout_ms: 5", "tcp", "r.timeout_ms: a connection may last as long as it is used"),
        (
            "service: db, timeout: 5s",
            "udp",
            "r.timeout: a session may last as long as it is used, expected timeouts.udp",
        ),
        (
            "service: db, match: { host: a.local }",
            "tcp",
            "r.match.host: a condition on HTTP requests, which are not read",
        ),
        ("service: db, match: { path: /a }", "udp", "r.match.path: a condition on HTTP requests, which are not read"),
        (
            "service: db, match: { sni: a.local }",
            "udp",
            "r.match.sni: datagrams have no TLS server name, expected client",
        ),
        ("service: db, match: { sni: a.local }", "http", "r.match.sni: TLS is not terminated in this release"),
        ("service: db, match: { sin: a.local }", "tcp", "r.match.sin: unknown key, did you mean 'sni'?"),
        ("service: db, match: { sni: [] }", "tcp", "r.match.sni: 0 entries, expected at least 1"),
        (
            "service: db, match: { sni: {} }",
            "tcp",
            "r.match.sni: expected a server name, or a list of them, got a mapping",
        ),
        ("service: db, match: { sni: 10.0.0.1 }", "tcp", "r.match.sni: '10.0.0.1' is an address, and TLS clients name"),
        ("service: db, match: { sni: '*' }", "tcp", "r.match.sni: '*' is not a host name, expected one such as"),
        (
            "service: db, match: { sni: 'a:443' }",
            "tcp",
            "r.match.sni: 'a:443' is not a host name, expected one such as",
        ),
        (
            "service: db, match: { sni: [ a.b, A.b ] }",
            "tcp",
            "r.match.sni[1]: 'A.b' is given twice, first as entry [0]",
        ),
    ],
)
def test_what_a_route_may_not_say(stream_problems: StreamProblems, text: str, protocol: str, problem: str) -> None:
    [found] = stream_problems(text, protocol)
    assert found.startswith(problem)


def test_on_an_auto_listener_the_sni_makes_a_route_one_of_connections(config: Callable[..., Config]) -> None:
    routes = (
        "{ name: a, match: { sni: a.local }, service: db }, "
        "{ name: b, match: { clients: [ '::1' ] }, service: web }, "
        "{ name: c, service: web, timeout: 5s }"
    )
    found = config(listener("auto", routes)).snapshot.listeners[0]
    assert [route.name for route in found.routes] == ["b", "c"]
    assert [route.name for route in found.streams] == ["a"]
    assert [route.name for route in (*found.routes, *found.streams)] == ["b", "c", "a"]


def test_a_route_is_not_both(problems: Callable[[str], list[str]]) -> None:
    routes = "{ name: a, match: { sni: a.local, host: b.local }, service: db, filters: [] }, { name: b, service: web }"
    host, filters = problems(listener("auto", routes))
    assert "routes[0].match.host: a condition on HTTP requests" in host
    assert "routes[0].filters: filters change HTTP requests" in filters


def test_names_are_unique_across_both_kinds(problems: Callable[[str], list[str]]) -> None:
    routes = "{ name: a, match: { sni: a.local }, service: db }, { name: a, service: web }"
    [found] = problems(listener("auto", routes))
    assert "listeners[0].routes[1].name: 'a' is already the name of entry [0]" in found
