"""Registrations as Consul's clients write them: what they become, and what is refused."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from discovery.checks import CheckProtocol
from discovery.model import EndpointState
from proxy.admin.consul import checks, registration
from proxy.admin.consul.registration import Allowed, Registration, check_id_of, meta_of, read_registration, tags_of
from proxy.config.json_tree import parse_json
from proxy.config.reading import Reading

ALLOWED = Allowed(address="192.0.2.1", min_interval=1.0, commands=False)
BASE = {"Name": "web", "Address": "10.0.0.1", "Port": 80}
ALL_KINDS = {"HTTP": "http://10.0.0.1/", "TCP": "10.0.0.1:80", "GRPC": "10.0.0.1:80", "TTL": "10s", "Args": ["true"]}


def read(body: dict[str, Any], allowed: Allowed = ALLOWED) -> tuple[Registration | None, dict[str, str]]:
    reading = Reading("api")
    root = parse_json(json.dumps(body), reading)
    assert root is not None
    found = read_registration(root, reading, allowed)
    return found, {problem.key: problem.message for problem in reading.problems()}


def registered(**keys: Any) -> Registration:
    found, problems = read({**BASE, **keys})
    assert found is not None, problems
    return found


def problems(**keys: Any) -> dict[str, str]:
    found, told = read({**BASE, **keys})
    assert found is None
    return told


def test_an_instance_becomes_an_endpoint() -> None:
    found = registered(
        ID="web-1", Tags=["a", "traefik.enable=true"], Meta={"version": "v2", "zone": "a"}, Weights={"Passing": 5}
    )
    endpoint = found.endpoint
    assert (found.service, endpoint.id, endpoint.address) == ("web", "web-1", "10.0.0.1:80")
    assert (endpoint.version, endpoint.weight, endpoint.health_check) == ("v2", 5, None)
    assert tags_of(endpoint.metadata) == ["a", "traefik.enable=true"]
    assert meta_of(endpoint.metadata) == {"version": "v2", "zone": "a"}


def test_what_is_left_out_has_consuls_defaults() -> None:
    found, _ = read({"Name": "web", "Port": 80, "ID": "", "Address": "", "Tags": None, "Check": None, "Checks": None})
    assert found is not None
    assert (found.endpoint.id, found.endpoint.address) == ("web", "192.0.2.1:80")
    assert check_id_of(found.endpoint) == "service:web"
    assert (found.deregister_after, found.initial) == (0.0, None)


def test_names_of_keys_in_any_spelling() -> None:
    found, told = read(
        {"name": "web", "PORT": 80, "address": "::1", "check": {"ttl": "5s", "deregister_critical_service_after": "1m"}}
    )
    assert found is not None, told
    assert (found.endpoint.address, found.deregister_after) == ("[::1]:80", 60.0)


def test_an_http_check() -> None:
    check = registered(
        Check={
            "HTTP": "https://10.0.0.1:8443/health?deep=1",
            "Interval": "10s",
            "Timeout": "2s",
            "Header": {"Host": ["web.local"], "X-A": ["1", "2"]},
            "Method": "HEAD",
            "TLSSkipVerify": True,
            "SuccessBeforePassing": 3,
            "FailuresBeforeCritical": 4,
        }
    ).endpoint.health_check
    assert check is not None
    assert (check.protocol, check.path, check.address, check.port) == ("https", "/health?deep=1", "", 8443)
    assert (check.interval, check.timeout, check.method, check.host) == (10.0, 2.0, "HEAD", "web.local")
    assert (check.headers, check.verify) == ({"X-A": "1, 2"}, False)
    assert (check.healthy_threshold, check.unhealthy_threshold) == (3, 4)
    assert check.expected_status == ((200, 299), (429, 429))


@pytest.mark.parametrize(
    ("keys", "protocol", "address", "port"),
    [
        ({"HTTP": "http://10.0.0.1/"}, CheckProtocol.HTTP, "", 0),
        ({"HTTP": "http://localhost:81/x"}, CheckProtocol.HTTP, "127.0.0.1", 81),
        ({"TCP": "10.0.0.1:80"}, CheckProtocol.TCP, "", 0),
        ({"TCP": "[::1]:22"}, CheckProtocol.TCP, "::1", 22),
        ({"GRPC": "10.0.0.1:90/shop", "GRPCUseTLS": True}, CheckProtocol.GRPC, "", 90),
    ],
)
def test_the_place_of_a_check(keys: dict[str, Any], protocol: CheckProtocol, address: str, port: int) -> None:
    check = registered(Check={"Interval": "5s", **keys}).endpoint.health_check
    assert check is not None
    assert (check.protocol, check.address, check.port) == (protocol, address, port)
    assert (check.timeout, check.healthy_threshold, check.unhealthy_threshold) == (checks.DEFAULT_TIMEOUT, 1, 1)


def test_the_first_state_and_an_id_of_its_own() -> None:
    found = registered(Checks=[{"TTL": "10s", "Status": "passing", "CheckID": "alive"}])
    assert found.initial is EndpointState.HEALTHY
    assert check_id_of(found.endpoint) == "alive"
    assert meta_of(found.endpoint.metadata) == {}


def test_programs_only_where_they_are_allowed() -> None:
    body = {**BASE, "Check": {"Args": ["true"], "Interval": "5s"}}
    found, told = read(body)
    assert found is None
    assert "allow_command_checks" in told["Check.Args"]
    found, _ = read(body, Allowed("127.0.0.1", 1.0, commands=True))
    assert found is not None
    assert found.endpoint.health_check is not None
    assert found.endpoint.health_check.command == ("true",)


@pytest.mark.parametrize(
    ("keys", "key", "said"),
    [
        ({"Name": None}, "Name", "missing"),
        ({"Port": 0}, "Port", "out of range"),
        ({"Address": "web.internal"}, "Address", "names are not resolved"),
        ({"ID": "a/b"}, "ID", "not a name"),
        ({"Tgas": ["a"]}, "Tgas", "did you mean 'Tags'"),
        ({"Tags": ["x" * 1000] * 10}, "Tags", "fewer or shorter"),
        ({"Meta": {"consul-tags": "x"}}, "Meta", "is taken"),
        ({"Meta": {"version": "a b"}}, "Meta", "not a name"),
        ({"Kind": "connect-proxy"}, "Kind", "not registered here"),
        ({"Connect": {"Native": True}}, "Connect", "not supported"),
        ({"Namespace": "prod"}, "Namespace", "only the namespace default"),
        ({"name": "again"}, "name", "the same as"),
        ({"Checks": [{"TTL": "1s"}, {"TTL": "2s"}]}, "Checks", "one check here, got 2"),
        ({"Check": {}}, "Check", "expected one of HTTP, TCP, GRPC, TTL, Args, got none of them"),
        ({"Check": ALL_KINDS}, "Check", "got HTTP and TCP"),
        ({"Check": {"TCP": "10.0.0.1:80"}}, "Check", "Interval is missing"),
        ({"Check": {"TCP": "10.0.0.1:80", "Interval": "100ms"}}, "Check.Interval", "too often"),
        ({"Check": {"TCP": "10.0.0.1:80", "Interval": "0s"}}, "Check.Interval", "no time at all"),
        ({"Check": {"HTTP": "ftp://10.0.0.1/", "Interval": "5s"}}, "Check.HTTP", "not a URL"),
        ({"Check": {"HTTP": "http://web.internal/", "Interval": "5s"}}, "Check.HTTP", "names are not resolved"),
        ({"Check": {"TTL": "10"}}, "Check.TTL", "not a duration"),
        ({"Check": {"TTL": "10s", "Status": "maybe"}}, "Check.Status", "not a status"),
        ({"Check": {"Script": "true", "Interval": "5s"}}, "Check.Script", "not run by a shell"),
        *(({"Check": {"TTL": "10s", name: "x"}}, f"Check.{name}", "expected no such key") for name in checks.REFUSED),
        *(({name: {"x": "y"}}, name, "expected no such key") for name in registration.REFUSED),
    ],
)
def test_what_is_refused(keys: dict[str, Any], key: str, said: str) -> None:
    told = problems(**keys)
    assert said in told[key]


def test_what_changes_nothing_is_taken() -> None:
    registered(EnableTagOverride=True, TaggedAddresses={"lan": "10.0.0.1"}, Locality={"Region": "eu"})
    registered(Check={"TTL": "10s", **dict.fromkeys(checks.IGNORED, "x")})
    registered(Connect={"Native": False}, Kind="", Namespace="default", Partition="")


def test_all_mistakes_are_told_at_once() -> None:
    told = problems(Port=-1, Address="x", Check={"HTTP": "x", "Interval": "y"})
    assert set(told) >= {"Port", "Address", "Check.HTTP", "Check.Interval"}


# Bodies that are nearly right: keys that are known, values of every kind.
VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-1, 70_000)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(max_size=5)
    | st.sampled_from(
        ["10.0.0.1", "10s", "http://10.0.0.1/", "[::1]:80", "http://[::1", "10.0.0.1:80/x", "default", "::1"]
    ),
    lambda inner: (
        st.lists(inner, max_size=2)
        | st.dictionaries(
            st.sampled_from([key.name for key in checks.CHECK.keys]) | st.text(max_size=3), inner, max_size=4
        )
    ),
    max_leaves=8,
)
BODIES = st.dictionaries(st.sampled_from([key.name for key in registration.SERVICE.keys]) | st.text(max_size=3), VALUES)


@settings(max_examples=300, deadline=None)
@given(BODIES | VALUES)
def test_every_body_is_an_endpoint_or_has_a_problem(body: Any) -> None:
    reading = Reading("api")
    root = parse_json(json.dumps(body), reading)
    assert root is not None
    found = read_registration(root, reading, ALLOWED)
    assert (found is None) == bool(reading.problems())
    if found is not None:
        assert found.endpoint.id
        assert found.endpoint.address.rpartition(":")[2].isdigit()
