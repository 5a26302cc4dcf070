"""Services, endpoints, pools and mesh policies."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from discovery.config import Config
from discovery.model import Endpoint, PoolPolicy, Service, TrafficSplit
from discovery.policies import LoadBalancingStrategy

Problems = Callable[..., list[str]]


@pytest.fixture
def service(config: Callable[..., Config]) -> Callable[[str], Service]:
    def read(text: str) -> Service:
        return config(f"services: {{ web: {{ {text} }} }}").snapshot.services[0]

    return read


@pytest.fixture
def service_problems(problems: Problems) -> Callable[[str], list[str]]:
    def find(text: str) -> list[str]:
        return [line.split(": services.web", 1)[1] for line in problems(f"services: {{ web: {{ {text} }} }}")]

    return find


def test_an_endpoint_with_everything(service: Callable[[str], Service]) -> None:
    text = "{ id: a, address: 'localhost:80', version: 2, weight: 3, node: n, backup: true, metadata: { zone: 1 } }"
    assert service(f"endpoints: [ {text} ]").endpoints == (
        Endpoint(id="a", address="127.0.0.1:80", version="2", weight=3, node="n", backup=True, metadata={"zone": "1"}),
    )


def test_an_endpoint_without_id_is_called_by_its_address(service: Callable[[str], Service]) -> None:
    addresses = "{ address: 'localhost:80' }, { address: '[::1]:80' }, { address: 'unix:/run/a b' }"
    endpoints = service(f"endpoints: [ {addresses} ]").endpoints
    assert [endpoint.id for endpoint in endpoints] == ["127.0.0.1:80", "[::1]:80", "unix:-run-a-b"]


def test_policies(service: Callable[[str], Service]) -> None:
    read = service(
        "load_balancing: RoundRobin, mesh: { timeout_secs: 2, mtls: false, tracing_enabled: true }, domain: Web.local,"
        " traffic_split: [ { version: v1, weight: 9 }, { version: v2 } ],"
        " pool: { max_idle: 1, idle_timeout: 2s, max_connections: 3, max_pending: 4 }"
    )
    assert read.timeout == 2.0
    assert read.domain == "web.local"
    assert read.traffic_split == (TrafficSplit(version="v1", weight=9), TrafficSplit(version="v2"))
    assert read.pool == PoolPolicy(max_idle=1, idle_timeout=2.0, max_connections=3, max_pending=4)


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("endpoints: [ { id: a } ]", ".endpoints[0].address: missing, expected host:port, [v6]:port, unix:PATH or s"),
        (
            "endpoints: [ { address: '10.0.0.256:80' } ]",
            ".endpoints[0].address: '10.0.0.256' is not an IP address, expected an IP address, a name or unix:PATH",
        ),
        ("endpoints: [ { address: ':80' } ]", ".endpoints[0].address: ':80' has no host, expected an IP"),
        ("endpoints: [ { address: ':' } ]", ".endpoints[0].address: ':' has no host"),
        ("endpoints: [ { id: a/b, address: '[::1]:1' } ]", ".endpoints[0].id: 'a/b' is not a name"),
        ("endpoints: [ { address: '[::1]:1', weight: 1.5 } ]", ".endpoints[0].weight: '1.5' is not a whole number"),
        ("endpoints: [ { address: '[::1]:1', weight: 1000001 } ]", ".endpoints[0].weight: 1000001 is out of range"),
        (
            "endpoints: [ { address: '[::1]:1', weight: '1' } ]",
            ".endpoints[0].weight: expected a whole number from 0 to",
        ),
        (
            "endpoints: [ { address: '[::1]:1', backup: yes } ]",
            ".endpoints[0].backup: 'yes' is neither, expected true or f",
        ),
        (
            "endpoints: [ { address: '[::1]:1', metadata: [] } ]",
            ".endpoints[0].metadata: expected a mapping, got a list",
        ),
        (
            "endpoints: [ { address: '[::1]:1', wieght: 1 } ]",
            ".endpoints[0].wieght: unknown key, did you mean 'weight'?",
        ),
        (
            "endpoints: [ web ]",
            ".endpoints[0]: expected an endpoint, a mapping with id, address, version, weight, node",
        ),
        ("endpoints: {}", ".endpoints: expected a list, got a mapping"),
        ("traffic_split: [ { version: a, weight: 0 } ]", ".traffic_split: every weight is 0, expected one that is not"),
        (
            "traffic_split: [ { version: a }, { version: a } ]",
            ".traffic_split[1].version: 'a' is already the version of ent",
        ),
        ("traffic_split: [ { weight: 1 } ]", ".traffic_split[0].version: missing, expected a version"),
        ("pool: { idle_timeout: 0 }", ".pool.idle_timeout: '0' is no time at all, expected more than 0"),
        ("pool: { max_idle: -1 }", ".pool.max_idle: -1 is out of range"),
        ("timeout: 5s", ".timeout: unknown key, did you mean 'mesh.timeout'?"),
        ("mesh: 5s", ".mesh: expected mesh policies, a mapping with timeout, deadline_header, retry, circuit_breaker"),
        ("load_balancing: fastest", ".load_balancing: 'fastest' is not known, expected round_robin"),
    ],
)
def test_what_a_service_may_not_say(service_problems: Callable[[str], list[str]], text: str, problem: str) -> None:
    [found] = service_problems(text)
    assert found.startswith(problem)


@pytest.mark.parametrize("word", ["WeightedRoundRobin", "LeastConnections", "Random", "IPHash", *LoadBalancingStrategy])
def test_a_strategy_is_written_as_ours_or_as_the_source_document_does(
    service: Callable[[str], Service], word: str
) -> None:
    known = {"WeightedRoundRobin": "weighted_round_robin", "LeastConnections": "least_connections"}
    wanted = {**known, "Random": "random", "IPHash": "ip_hash"}.get(word, word)
    assert service(f"load_balancing: {word}").load_balancing.value == wanted


@pytest.mark.parametrize(
    ("text", "key"),
    [
        ("mesh: { mtls: true }", ".mesh.mtls"),
        ("mesh: { mtls_enabled: true }", ".mesh.mtls_enabled"),
        ("mesh: { tracing: false }", ".mesh.tracing"),
    ],
)
def test_what_later_releases_have_is_said_to_be_missing(
    service_problems: Callable[[str], list[str]], text: str, key: str
) -> None:
    [found] = service_problems(text)
    assert found.startswith(f"{key}: ")
    assert "in this release" in found


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        (
            "registry: { store: 'etcd://h:2379/p' }",
            "1:20: registry.store: 'etcd://h:2379/p': etcd is not in this release",
        ),
        ("listeners: [ { name: a, address: ':1', tls: {} } ]", "1:40: listeners[0].tls: TLS is not in this release"),
    ],
)
def test_so_is_what_they_have_elsewhere(problems: Problems, text: str, problem: str) -> None:
    [found] = problems(text)
    assert found.startswith(problem)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("id: a, address: '[::1]:1'", "id: a, address: '[::1]:2'"),
        ("address: 'localhost:1'", "address: '127.0.0.1:1'"),
        ("id: '127.0.0.1:1', address: 'localhost:2'", "address: 'localhost:1'"),
    ],
)
def test_ids_are_unique(service_problems: Callable[[str], list[str]], one: str, other: str) -> None:
    [found] = service_problems(f"endpoints: [ {{ {one} }}, {{ {other} }} ]")
    assert "is already the id of entry [0] in line 1" in found


def test_domains_are_unique(problems: Problems) -> None:
    text = "services:\n  a: { domain: x.local }\n  b: { domain: X.local }\n"
    assert problems(text) == ["3:16: services.b.domain: 'x.local' is already the domain of services.a in line 2"]
