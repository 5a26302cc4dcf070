"""Load balancing, affinity and subsets, as the file says them."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from discovery.config import Config
from discovery.model import Route, Service
from discovery.policies import (
    Affinity,
    Balancing,
    BrokenAffinity,
    KeyKind,
    LoadBalancingStrategy,
    RequestKey,
    Subset,
    SubsetFallback,
)

Read = Callable[..., Config]
Problems = Callable[..., list[str]]


@pytest.fixture
def service(config: Read) -> Callable[[str], Service]:
    return lambda text: config(f"zone: a\nservices: {{ web: {{ {text} }} }}").snapshot.services[0]


@pytest.fixture
def route(config: Read) -> Callable[[str], Route]:
    return lambda text: (
        config(
            f"listeners: [ {{ name: l, address: ':1', routes: [ {{ name: r, service: web, {text} }} ] }} ]\n"
            "services: { web: {} }"
        )
        .snapshot.listeners[0]
        .routes[0]
    )


@pytest.mark.parametrize(
    ("name", "strategy"),
    [
        ("RoundRobin", LoadBalancingStrategy.ROUND_ROBIN),
        ("LeastConnections", LoadBalancingStrategy.LEAST_CONNECTIONS),
        ("Random", LoadBalancingStrategy.RANDOM),
        ("WeightedRoundRobin", LoadBalancingStrategy.WEIGHTED_ROUND_ROBIN),
        ("IPHash", LoadBalancingStrategy.IP_HASH),
        *((strategy.value, strategy) for strategy in LoadBalancingStrategy),
    ],
)
def test_a_strategy_by_its_name_and_in_a_mapping(
    service: Callable[[str], Service], name: str, strategy: LoadBalancingStrategy
) -> None:
    assert service(f"load_balancing: {name}").load_balancing is strategy
    assert service(f"load_balancing: {{ strategy: {name} }}").load_balancing is strategy


def test_a_strategy_with_its_parameters(service: Callable[[str], Service]) -> None:
    read = service(
        "load_balancing: { strategy: ring_hash, hash_on: 'header:X-User', bounded_load: 1.5, slow_start: 30s,"
        " slow_start_aggression: 2, slow_start_min: 5%, panic_threshold: 20, prefer_zone: true, zone_key: az,"
        " zone_min: 50% }"
    )
    assert read.balancing == Balancing(
        hash_on=RequestKey(kind=KeyKind.HEADER, name="x-user"),
        bounded_load=1.5,
        slow_start=30.0,
        slow_start_aggression=2.0,
        slow_start_min_pct=5.0,
        panic_threshold_pct=20.0,
        prefer_zone=True,
        zone_key="az",
        zone_min_pct=50.0,
    )
    assert service("load_balancing: { slow_start_ms: 500 }").balancing == Balancing(slow_start=0.5)


@pytest.mark.parametrize(
    ("text", "affinity"),
    [
        ("cookie: hm", Affinity(kind=KeyKind.COOKIE, name="hm")),
        ("header: X-Session-Id", Affinity(kind=KeyKind.HEADER, name="x-session-id")),
        ("client_ip: true", Affinity(kind=KeyKind.CLIENT_IP)),
        (
            "cookie: hm, ttl: 1h, path: /shop, secure: true, same_site: none, broken: fail",
            Affinity(
                kind=KeyKind.COOKIE,
                name="hm",
                ttl=3600.0,
                path="/shop",
                secure=True,
                same_site="None",
                broken=BrokenAffinity.FAIL,
            ),
        ),
    ],
)
def test_affinity(service: Callable[[str], Service], text: str, affinity: Affinity) -> None:
    assert service(f"affinity: {{ {text} }}").affinity == affinity


def test_a_split_can_be_sticky(service: Callable[[str], Service], config: Read) -> None:
    assert service("sticky_split: { cookie: v }").sticky_split == Affinity(name="v")
    [route] = (
        config(
            "listeners: [ { name: l, address: ':1', routes: [ { name: r, split: [ { service: web } ],"
            " sticky_split: { header: x-user } } ] } ]\nservices: { web: {} }"
        )
        .snapshot.listeners[0]
        .routes
    )
    assert route.sticky_split == Affinity(kind=KeyKind.HEADER, name="x-user")


def test_a_subset(route: Callable[[str], Route]) -> None:
    assert route(
        "subset: { metadata: { stage: prod }, headers: { region: X-Region }, fallback: default, default: { a: b } }"
    ).subset == Subset(
        metadata={"stage": "prod"},
        headers={"region": "x-region"},
        fallback=SubsetFallback.DEFAULT,
        default={"a": "b"},
    )
    assert route("subset: { metadata: { stage: prod } }").subset == Subset(metadata={"stage": "prod"})


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        (
            "load_balancing: { hash_on: client_ip }",
            "load_balancing.hash_on: means nothing to round_robin, expected 'strategy: maglev or ring_hash' or no such",
        ),
        ('load_balancing: { strategy: "" }', "load_balancing.strategy: expected round_robin or weighted_round_robin"),
        ("load_balancing: { strategy: maglev, decay: 1s }", "load_balancing.decay: means nothing to maglev, expected"),
        (
            "load_balancing: { strategy: maglev, bounded_load: 0.9 }",
            "load_balancing.bounded_load: 0.9 is out of range, expected 0 or a number from 1 to 100",
        ),
        (
            "load_balancing: { strategy: maglev, hash_on: route }",
            "load_balancing.hash_on: 'route' is no part of a request, expected client_ip or header:NAME or cookie:NAME",
        ),
        ("load_balancing: { strategy: maglev, hash_on: 'header:' }", "load_balancing.hash_on: 'header:' names none"),
        ("load_balancing: { strategy: maglev, hash_on: 'header:a b' }", "load_balancing.hash_on: 'a b' is not a head"),
        ("load_balancing: { panic_threshold: 101% }", "load_balancing.panic_threshold: 101% is out of range"),
        ("load_balancing: { slow_start: 5 }", "load_balancing.slow_start: '5' is not a duration"),
        ("load_balancing: []", "load_balancing: expected round_robin or"),
        (
            "load_balancing: { prefer_zone: true }",
            "load_balancing.prefer_zone: nobody knows which zone this instance is in, expected `zone` at the top of",
        ),
        ("affinity: {}", "affinity: expected one of cookie, header and client_ip, got none of them"),
        ("affinity: { cookie: a, header: b }", "affinity: expected one of cookie, header and client_ip, got both"),
        ("affinity: { header: x, ttl: 1s }", "affinity.ttl: is about a cookie, and there is none, expected 'cookie"),
        ("affinity: { cookie: 'a b' }", "affinity.cookie: 'a b' is not a token"),
        ("affinity: { cookie: a, path: '/;x' }", "affinity.path: '/;x' has a ; in it"),
        ("affinity: { cookie: a, same_site: None }", "affinity.same_site: None is refused by browsers without secure"),
        ("affinity: { client_ip: false }", "affinity.client_ip: no affinity is no such key, expected true"),
        ("sticky_split: { cookie: a, broken: fail }", "sticky_split.broken: unknown key"),
    ],
)
def test_what_a_service_may_not_say(problems: Problems, text: str, problem: str) -> None:
    [found] = problems(f"services: {{ web: {{ {text} }} }}")
    assert found.split(": services.web.", 1)[1].startswith(problem)


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("subset: {}", "r.subset: asks for nothing, expected metadata or headers"),
        ("subset: { metadata: { a: b }, headers: { a: x } }", "r.subset.headers: 'a' is asked for by metadata already"),
        ("subset: { metadata: { a: b }, fallback: default }", "r.subset.fallback: default takes the endpoints of `def"),
        ("subset: { metadata: { a: b }, default: { a: c } }", "r.subset.default: is for 'fallback: default', expected"),
        ("subset: { headers: { a: 'x y' } }", "r.subset.headers.a: 'x y' is not a header name"),
    ],
)
def test_what_a_subset_may_not_say(route_problems: Callable[[str], list[str]], text: str, problem: str) -> None:
    [found] = route_problems(f"service: web, {text}")
    assert found.startswith(problem)
