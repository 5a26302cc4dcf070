"""The bodies of the API are read as the file is, but for what only a file may say."""

from __future__ import annotations

import json
from typing import Any

import pytest

from discovery.checks import CheckProtocol, HealthCheck
from discovery.config import Config
from discovery.model import (
    DnsAnswer,
    DnsPolicy,
    Endpoint,
    Node,
    PathKind,
    PoolPolicy,
    Position,
    ProxyHeader,
    RouteMatch,
    Service,
    Snapshot,
    Timeouts,
    TrafficSplit,
)
from discovery.policies import (
    Affinity,
    Balancing,
    KeyKind,
    LoadBalancingStrategy,
    RateLimit,
    RequestKey,
    RequestPolicies,
    RetryPolicy,
)
from proxy.config.bodies import (
    POLICIES,
    Body,
    EndpointBody,
    NodeBody,
    Rules,
    read_endpoint,
    read_node,
    read_policy,
    read_route,
    read_service,
)
from proxy.config.endpoints import MAX_METADATA, MAX_METADATA_TEXT

RULES = Rules(
    min_interval=1.0, max_lease=3600.0, has_proxy_address=False, has_zone=False, timeouts=Timeouts(upstream_idle=7.0)
)


def said(body: Body[Any]) -> list[str]:
    assert (body.value is None) == bool(body.problems)
    return [f"{problem.key}: {problem.message}" for problem in body.problems]


def service(**keys: Any) -> Body[Service]:
    return read_service(json.dumps(keys), "web", RULES)


def endpoint(check: HealthCheck | None = None, **keys: Any) -> Body[EndpointBody]:
    return read_endpoint(json.dumps({"address": "10.0.0.1:80", **keys}), "a", RULES, check)


def test_a_service_and_which_of_it_was_said() -> None:
    body = service(
        domain="Web.local",
        metadata={"team": "shop"},
        mesh={"timeout": "5s", "mtls": False},
        traffic_split=[{"version": "v1", "weight": 3}],
        health_check={"protocol": "HTTP", "interval_secs": 10},
    )
    assert body.value == Service(
        name="web",
        domain="web.local",
        metadata={"team": "shop"},
        traffic_split=(TrafficSplit(version="v1", weight=3),),
        timeout=5.0,
        pool=PoolPolicy(idle_timeout=7.0),
        health_check=HealthCheck(protocol=CheckProtocol.HTTP, interval=10.0),
    )
    assert body.given == ("domain", "metadata", "traffic_split", "timeout", "health_check")


def test_endpoints_in_the_body_of_a_service() -> None:
    body = service(endpoints=[{"address": "10.0.0.1:80", "health_check": {"port": 9}}], health_check={})
    assert body.value is not None
    assert body.value.endpoints == (
        Endpoint(id="10.0.0.1:80", address="10.0.0.1:80", health_check=HealthCheck(port=9)),
    )
    assert body.given == ("endpoints", "health_check")


def test_an_empty_body_says_nothing() -> None:
    assert service() == Body(Service(name="web", pool=PoolPolicy(idle_timeout=7.0)))


@pytest.mark.parametrize(
    ("keys", "problem"),
    [
        ({"load_balancing": "fastest"}, "load_balancing: 'fastest' is not known, expected round_robin"),
        ({"mesh": {"mtls": True}}, "mesh.mtls: mutual TLS is not in this release, expected false"),
        ({"mesh": {"mirror": {"service": "web"}}}, "mesh.mirror.service: 'web' would get its own requests twice, exp"),
        (
            {"load_balancing": {"prefer_zone": True}},
            "load_balancing.prefer_zone: nobody knows which zone this instance",
        ),
        ({"domian": "a"}, "domian: unknown key, did you mean 'domain'?"),
        ({"name": "web"}, "name: unknown key, expected domain, load_balancing"),
        ({"dns_answer": "proxy"}, "dns_answer: 'proxy' is answered with the addresses of dns.proxy_address, and there"),
        ({"domain": None}, "domain: expected a host name, got nothing"),
        ({"pool": {"max_idle": "5"}}, "pool.max_idle: expected a whole number from 0 to 1000000, got the text '5'"),
        (
            {"health_check": {"interval": "900ms"}},
            "health_check.interval: 900ms is too often for the API, expected at le",
        ),
        (
            {"health_check": {"transition_interval": "100ms"}},
            "health_check.transition_interval: 100ms is too often for",
        ),
        (
            {"health_check": {"protocol": "Command", "command": ["id"]}},
            "health_check.protocol: runs a program on this machine, which the API may not ask for, expected ",
        ),
        (
            {"endpoints": [{"address": "10.0.0.1:80", "health_check": {"protocol": "command", "command": ["id"]}}]},
            "endpoints[0].health_check.protocol: runs a program on this machine, which the API may not ask for",
        ),
        (
            {"endpoints": [{"address": "backend:80"}]},
            "endpoints[0].address: 'backend:80' is a name, and names are followed for files only, expected an IP",
        ),
        (
            {"endpoints": [{"address": "10.0.0.1:80"}, {"address": "10.0.0.1:80"}]},
            "endpoints[1]: '10.0.0.1:80' is already the id of entry [0]",
        ),
    ],
)
def test_what_a_service_may_not_be_told(keys: dict[str, Any], problem: str) -> None:
    [found] = said(service(**keys))
    assert found.startswith(problem)
    assert "line" not in found


def test_names_in_urls_are_checked_too() -> None:
    assert said(read_service("{}", "a/b", RULES)) == [
        ": 'a/b' is not a name, expected letters, digits and _ . : @ - [ ] (at most 253)"
    ]
    assert read_endpoint('{"address": "[::1]:1"}', "", RULES).problems
    assert read_node("{}", "a b", RULES).problems


def test_what_is_no_mapping_is_one_problem() -> None:
    [problem] = read_service("[]", "web", RULES).problems
    assert problem.message.startswith("expected a service, a mapping with domain")
    assert problem.position == Position(file="api")
    assert said(read_service("{", "web", RULES))[0].startswith(": not JSON: ")


def test_programs_as_checks_when_the_file_allows_them() -> None:
    text = '{"health_check": {"protocol": "command", "command": ["id"]}}'
    body = read_service(text, "web", Rules(allow_command_checks=True))
    assert body.value is not None
    assert body.value.health_check == HealthCheck(protocol=CheckProtocol.COMMAND, command=("id",))


@pytest.mark.parametrize(
    ("policy", "text", "expected", "given"),
    [
        ("health_check", '{"protocol": "tcp"}', Service(name="web", health_check=HealthCheck()), ("health_check",)),
        (
            "load_balancing",
            '"RoundRobin"',
            Service(name="web", load_balancing=LoadBalancingStrategy.ROUND_ROBIN),
            ("load_balancing", "balancing"),
        ),
        ("load_balancing", '{"strategy": "round_robin"}', Service(name="web"), ("load_balancing", "balancing")),
        (
            "load_balancing",
            '{"strategy": "maglev", "hash_on": "header:X-User", "bounded_load": 1.25}',
            Service(
                name="web",
                load_balancing=LoadBalancingStrategy.MAGLEV,
                balancing=Balancing(hash_on=RequestKey(kind=KeyKind.HEADER, name="x-user"), bounded_load=1.25),
            ),
            ("load_balancing", "balancing"),
        ),
        ("affinity", '{"cookie": "hm"}', Service(name="web", affinity=Affinity(name="hm")), ("affinity",)),
        (
            "sticky_split",
            '{"client_ip": true}',
            Service(name="web", sticky_split=Affinity(kind=KeyKind.CLIENT_IP)),
            ("sticky_split",),
        ),
        (
            "mesh",
            '{"rate_limit": {"requests": 5}, "max_body": "1KiB", "retry_policy": {"max_retries": 2}}',
            Service(
                name="web",
                retry=RetryPolicy(max_retries=2),
                policies=RequestPolicies(rate_limit=RateLimit(requests=5), max_body=1024),
            ),
            ("retry", "policies.max_body", "policies.rate_limit"),
        ),
        (
            "mesh",
            '{"timeout_ms": 1500, "proxy_protocol": "v2"}',
            Service(name="web", timeout=1.5, proxy_protocol=ProxyHeader.V2),
            ("timeout", "proxy_protocol"),
        ),
        ("mesh", '{"tracing_enabled": true}', Service(name="web"), ()),
        (
            "traffic_split",
            '[{"version": "v1"}]',
            Service(name="web", traffic_split=(TrafficSplit(version="v1"),)),
            ("traffic_split",),
        ),
        (
            "traffic_split",
            '{"splits": [{"version": "v1"}]}',
            Service(name="web", traffic_split=(TrafficSplit(version="v1"),)),
            ("traffic_split",),
        ),
        ("dns_answer", '"endpoints"', Service(name="web", dns=DnsPolicy(answer=DnsAnswer.ENDPOINTS)), ("dns",)),
        ("dns", '{"ttl": "1s"}', Service(name="web", dns=DnsPolicy(ttl=1.0)), ("dns",)),
        ("metadata", '{"a": "b"}', Service(name="web", metadata={"a": "b"}), ("metadata",)),
    ],
)
def test_a_policy_alone(policy: str, text: str, expected: Service, given: tuple[str, ...]) -> None:
    body = read_policy(text, policy, "web", Rules())
    assert said(body) == []
    assert body == Body(expected, given)


def test_a_policy_is_as_strict_as_the_file() -> None:
    assert said(read_policy('{"path": "/"}', "health_check", "web", RULES))[0].startswith(
        "health_check.path: means nothing to a tcp check"
    )
    assert said(read_policy('"ip-hash"', "load_balancing", "web", RULES)) == [
        "load_balancing: 'ip-hash' is not known, expected round_robin or weighted_round_robin or least_connections or "
        "random or ip_hash or peak_ewma or maglev or ring_hash, did you mean 'ip_hash'?"
    ]
    assert "endpoints" not in POLICIES
    with pytest.raises(ValueError, match="endpoints"):
        read_policy("[]", "endpoints", "web", RULES)


def test_an_endpoint_with_a_lease() -> None:
    body = endpoint(
        version="v1", node="n1", weight=2, backup=True, priority=3, metadata={"zone": "a"}, ttl="30s", revision=4,
        deregister_after="10m",
    )  # fmt: skip
    assert body.value == EndpointBody(
        endpoint=Endpoint(
            id="a", address="10.0.0.1:80", version="v1", node="n1", weight=2, backup=True, priority=3,
            metadata={"zone": "a"},
        ),
        ttl=30.0,
        revision=4,
        deregister_after=600.0,
    )  # fmt: skip
    assert body.given == ("address", "version", "weight", "node", "backup", "metadata", "priority")


def test_metadata_is_bounded() -> None:
    most = {f"k{number}": "v" * MAX_METADATA_TEXT for number in range(MAX_METADATA)}
    assert said(endpoint(metadata=most)) == []
    assert len(said(endpoint(metadata={**most, "more": ""}))) == 1
    assert len(said(endpoint(metadata={"k": "v" * (MAX_METADATA_TEXT + 1)}))) == 1


def test_an_endpoints_check_goes_over_its_services() -> None:
    service_check = HealthCheck(protocol=CheckProtocol.HTTP, path="/up", interval=0.1, timeout=0.1)
    body = endpoint(service_check, health_check={"port": 9})
    assert body.value is not None
    assert body.value.endpoint.health_check == HealthCheck(
        protocol=CheckProtocol.HTTP, path="/up", interval=0.1, timeout=0.1, port=9
    )


@pytest.mark.parametrize(
    ("keys", "problem"),
    [
        ({"id": "b"}, "id: is not the one of the URL, expected 'a' or no such key"),
        ({"ttl": "2h"}, "ttl: 2h is longer than registry.max_lease, expected at most 1h"),
        ({"ttl": 30}, "ttl: '30' is not a duration"),
        ({"revision": -1}, "revision: -1 is out of range"),
        ({"address": "srv:_a._tcp.b"}, "address: 'srv:_a._tcp.b' is a name, and names are followed for files only"),
        (
            {"health_check": {"command": ["id"]}},
            "health_check.command: runs a program on this machine, which the API m",
        ),
        ({"health_check": {"interval": "10ms"}}, "health_check.interval: '10ms' is too short"),
        ({"health_check": {"interval": "500ms"}}, "health_check.interval: 500ms is too often for the API"),
    ],
)
def test_what_an_endpoint_may_not_be_told(keys: dict[str, Any], problem: str) -> None:
    found = said(endpoint(HealthCheck(protocol=CheckProtocol.COMMAND, command=("a",)), **keys))
    assert len(found) == 1
    assert found[0].startswith(problem)


def test_a_node() -> None:
    body = read_node('{"address": "10.0.0.1", "metadata": {"rack": "r"}, "ttl": "1m"}', "n1", RULES)
    assert body.value == NodeBody(node=Node(name="n1", address="10.0.0.1", metadata={"rack": "r"}), ttl=60.0)
    assert body.given == ("address", "metadata")
    assert said(read_node('{"ttl": "2h"}', "n1", RULES)) == [
        "ttl: 2h is longer than registry.max_lease, expected at most 1h"
    ]


def test_a_route() -> None:
    text = '{"name": "beta", "match": {"path_prefix": "/api"}, "service": "web", "version": "v2", "listener": "main"}'
    body = read_route(text, RULES, {"web"})
    assert body.value is not None
    route = body.value.route
    assert (route.name, route.service, route.version, body.value.listener) == ("beta", "web", "v2", "main")
    assert route.match == RouteMatch(path_kind=PathKind.PREFIX, path="/api")
    assert body.given == ("name", "match", "service", "version")
    assert read_route('{"name": "r", "service": "elsewhere"}', RULES).problems == ()


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ('{"name": "r"}', ": expected one of service, split, redirect and direct_response, got none of them"),
        ('{"service": "web"}', "name: missing, expected a name"),
        ('{"name": "r", "service": "wbe"}', "service: there is no service 'wbe', did you mean 'web'?"),
        ('{"name": "r", "service": "web", "match": {"path": "/a/../b"}}', "match.path: '/a/../b' matches no request"),
        ('{"name": "r", "service": "web", "match": {"sni": "a.b"}}', "match.sni: "),
    ],
)
def test_what_a_route_may_not_be(text: str, problem: str) -> None:
    [found] = said(read_route(text, RULES, {"web"}))
    assert found.startswith(problem)


def test_rules_are_the_files() -> None:
    assert Rules.of(Config(snapshot=Snapshot())) == Rules(
        min_interval=1.0, max_lease=86_400.0, has_proxy_address=False, has_zone=False
    )
