"""The registry, nodes, and endpoints that are names."""

from __future__ import annotations

import json
from collections.abc import Callable

import pytest

from discovery.config import Config, FollowedName, NameKind, RegistrySettings
from discovery.model import Endpoint, Node
from proxy.config.effective import effective
from proxy.config.load import load_text
from proxy.config.route_tests import run


def test_everything_about_the_registry(config: Callable[..., Config]) -> None:
    read = config(
        "registry: { store: 'sqlite:/var/lib/h.db', directory: /etc/services/, resolvers: [ 10.0.0.2, '[::1]:5353' ],"
        " max_services: 1, max_endpoints: 2, max_lease: 1h, node_ttl: 1m, check_concurrency: 3, command_concurrency: 4,"
        " min_interval: 0, deregister_unhealthy_after: 10m }"
    )
    assert read.registry == RegistrySettings(
        store="sqlite:/var/lib/h.db",
        directories=("/etc/services",),
        resolvers=("10.0.0.2:53", "[::1]:5353"),
        max_services=1,
        max_endpoints=2,
        max_lease=3600.0,
        node_ttl=60.0,
        check_concurrency=3,
        command_concurrency=4,
        min_interval=0.0,
        deregister_unhealthy_after=600.0,
    )
    again = load_text(json.dumps(effective(read)), "f", {}).config
    assert again is not None
    assert again.registry == read.registry


def test_without_a_word_about_it_it_has_its_defaults(config: Callable[..., Config]) -> None:
    assert config("services: {}").registry == config("registry: {}").registry == RegistrySettings()


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("store: redis://a", "store: 'redis://a' is not a store, expected memory: or sqlite:PATH"),
        ("store: 'sqlite:'", "store: 'sqlite:' is not a store"),
        (
            "store: 'etcd://a:2379/hivemesh'",
            "store: 'etcd://a:2379/hivemesh': etcd is not in this release, expected memor",
        ),
        ("directories: [ a ], directory: b", "directory: says the same as 'directories', expected one of them"),
        ("directories: [ a, a/ ]", "directories[1]: 'a/' is given twice, first as entry [0]"),
        ("resolvers: dns.corp.example", "resolvers: 'dns.corp.example' has no port"),
        ("max_lease: 0", "max_lease: '0' is no time at all"),
        ("max_services: 0", "max_services: 0 is out of range"),
    ],
)
def test_what_the_registry_may_not_be_told(problems: Callable[..., list[str]], text: str, problem: str) -> None:
    [found] = problems(f"registry: {{ {text} }}")
    assert found.split(": registry.", 1)[1].startswith(problem)


def test_nodes(config: Callable[..., Config]) -> None:
    read = config("nodes: { n1: { address: '2001:DB8::1', metadata: { rack: 1 } }, n2: {} }")
    assert read.snapshot.nodes == (Node(name="n1", address="2001:db8::1", metadata={"rack": "1"}), Node(name="n2"))
    again = load_text(json.dumps(effective(read)), "f", {}).config
    assert again is not None
    assert again.snapshot.nodes == read.snapshot.nodes


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("n1: { address: '10.0.0.1:80' }", "n1.address: '10.0.0.1:80' is not an IP address, expected an IP address"),
        ("n1: { adress: 10.0.0.1 }", "n1.adress: unknown key, did you mean 'address'?"),
        ("n/1: {}", "n/1: 'n/1' is not a name"),
    ],
)
def test_what_a_node_may_not_be(problems: Callable[..., list[str]], text: str, problem: str) -> None:
    [found] = problems(f"nodes: {{ {text} }}")
    assert found.split(": nodes.", 1)[1].startswith(problem)


NAMED = """\
listeners: [ { name: web, address: ':80' } ]
services:
  web:
    domain: web.local
    endpoints:
      - { address: "127.0.0.1:1" }
      - { id: far, address: "Backend.corp.example:8080", version: v2, backup: true }
      - { address: "srv:_web._tcp.corp.example" }
  far:
    domain: far.local
    endpoints: [ { address: "backend:80" } ]
tests:
  - { request: "GET http://far.local/", expect: { service: far, status: 503 } }
"""


def test_endpoints_that_are_names_are_followed(config: Callable[..., Config]) -> None:
    read = config(NAMED)
    web, far = read.snapshot.services
    assert [endpoint.address for endpoint in web.endpoints] == ["127.0.0.1:1"]
    assert far.endpoints == ()
    assert read.followed == (
        FollowedName(
            service="web",
            endpoint=Endpoint(id="far", address="backend.corp.example:8080", version="v2", backup=True),
            kind=NameKind.ADDRESS,
            name="backend.corp.example",
            port=8080,
        ),
        FollowedName(
            service="web",
            endpoint=Endpoint(id="srv:_web._tcp.corp.example", address="srv:_web._tcp.corp.example"),
            kind=NameKind.SRV,
            name="_web._tcp.corp.example",
        ),
        FollowedName(
            service="far",
            endpoint=Endpoint(id="backend:80", address="backend:80"),
            kind=NameKind.ADDRESS,
            name="backend",
            port=80,
        ),
    )
    again = load_text(json.dumps(effective(read)), "f", {}).config
    assert again is not None
    assert again.followed == read.followed


def test_route_tests_count_on_names(config: Callable[..., Config]) -> None:
    [problem] = run(config(NAMED))
    assert "goes to far, whose status only the upstream knows, expected 503" in str(problem)


def test_a_listener_without_routes_says_so(config: Callable[..., Config]) -> None:
    read = config("""\
        listeners: [ { name: a, address: ":1" }, { name: b, address: ":2", routes: [ { name: r, service: s } ] } ]
        services: { s: { domain: s.local } }
        """)
    assert [listener.by_domain for listener in read.snapshot.listeners] == [True, False]
    shown = effective(read)["listeners"]
    assert isinstance(shown, list)
    assert ["routes" in listener for listener in shown if isinstance(listener, dict)] == [False, True]
