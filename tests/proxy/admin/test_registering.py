"""Services, endpoints, nodes and routes changed by API, against the real server and a real catalog."""

from __future__ import annotations

import json
from collections.abc import Iterator
from http.client import HTTPConnection
from typing import Any

import msgspec
import pytest
from admin_server import DEADLINE, AdminServer, Reply
from fake_agent import FakeAgent, shop

from discovery.config import AdminSettings, RegistrySettings
from discovery.model import Route, Service
from discovery.policies import (
    SOURCE_LIMITS,
    Access,
    Affinity,
    Balancing,
    KeyKind,
    LoadBalancingStrategy,
    Mirror,
    RateLimit,
    RequestKey,
    RequestPolicies,
    RetryPolicy,
    Subset,
    SubsetFallback,
)

ENDPOINT = "/v1/services/cart/endpoints/c1"


@pytest.fixture
def agent() -> FakeAgent:
    return FakeAgent()


@pytest.fixture
def server(agent: FakeAgent) -> Iterator[AdminServer]:
    with AdminServer(agent) as running:
        yield running


def limited(**values: Any) -> FakeAgent:
    return FakeAgent(config=msgspec.structs.replace(shop(), registry=RegistrySettings(**values)))


def ok(reply: Reply) -> Any:
    assert reply.status == 200, reply.body
    return reply.json


def refused(reply: Reply, status: int, kind: str = "") -> dict[str, Any]:
    assert reply.status == status, reply.body
    assert reply.headers["Content-Type"] == "application/problem+json"
    found: dict[str, Any] = reply.json
    assert found["type"] == (f"urn:hivemesh:problem:{kind}" if kind else "about:blank")
    return found


# --- endpoints ------------------------------------------------------------------------------------------------------


def test_a_registered_endpoint_is_there_with_all_that_is_known_of_it(server: AdminServer) -> None:
    body = {
        "address": "127.0.0.1:9100",
        "version": "v1",
        "node": "n1",
        "weight": 3,
        "metadata": {"zone": "a"},
        "ttl": "30s",
        "revision": 7,
    }
    index = ok(server.put(ENDPOINT, body))["index"]
    reply = server.get(ENDPOINT)
    found = ok(reply)
    endpoint = found["endpoint"]
    assert {key: endpoint[key] for key in ("address", "version", "node", "weight", "metadata", "revision")} == {
        key: body[key] for key in ("address", "version", "node", "weight", "metadata", "revision")
    }
    assert (endpoint["state"], endpoint["origin"], endpoint["reason"]) == ("healthy", "api", "")
    assert 0 < endpoint["lease"]["left"] <= endpoint["lease"]["ttl"] == 30
    assert [(line["state"], line["reason"]) for line in found["history"]] == [("healthy", "registered")]
    assert reply.headers["X-Hivemesh-Index"] == reply.headers["X-Consul-Index"] == str(index)


def test_every_mistake_of_a_body_is_told(server: AdminServer) -> None:
    found = refused(server.put(ENDPOINT, {"adress": "127.0.0.1:1", "weight": -1, "ttl": "soon"}), 422, "invalid")
    assert {problem["key"] for problem in found["problems"]} == {"adress", "weight", "ttl"}
    assert found["field"] == found["problems"][0]["key"]
    assert "did you mean 'address'" in found["detail"]


@pytest.mark.parametrize("body", [b"", b"{", b"[]", b'{"address": "127.0.0.1:1", "address": "127.0.0.1:2"}', b"\xff"])
def test_a_body_that_is_none_is_told(server: AdminServer, body: bytes) -> None:
    refused(server.put(ENDPOINT, body), 422, "invalid")


def test_a_body_is_not_expanded_by_the_environment(server: AdminServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SECRET", "s3cret")
    ok(server.put(ENDPOINT, {"address": "127.0.0.1:1", "metadata": {"a": "${SECRET}"}}))
    assert ok(server.get(ENDPOINT))["endpoint"]["metadata"] == {"a": "${SECRET}"}


def test_a_body_without_end_is_refused(server: AdminServer) -> None:
    refused(server.put(ENDPOINT, b" " * (1024 * 1024 + 1)), 413)


def test_a_name_in_the_path_that_is_none_is_refused(server: AdminServer) -> None:
    refused(server.put("/v1/services/a%20b/endpoints/c1", {"address": "127.0.0.1:1"}), 422, "invalid")
    refused(server.put("/v1/services/cart/endpoints/c%2F1", {"address": "127.0.0.1:1"}), 422, "invalid")


def test_an_old_report_is_stale(server: AdminServer) -> None:
    ok(server.put(ENDPOINT, {"address": "127.0.0.1:1", "revision": 5}))
    refused(server.put(ENDPOINT, {"address": "127.0.0.1:2", "revision": 5}), 409, "stale")
    refused(server.delete(f"{ENDPOINT}?revision=4"), 409, "stale")
    ok(server.delete(f"{ENDPOINT}?revision=6"))
    refused(server.put(ENDPOINT, {"address": "127.0.0.1:1", "revision": 6}), 409, "stale")


def test_what_the_file_defines_cannot_be_removed_but_drained(server: AdminServer) -> None:
    file = "/v1/services/api/endpoints/api-1"
    refused(server.delete(file), 409, "conflict")
    ok(server.post(f"{file}/drain"))
    drained = ok(server.get(file))["endpoint"]
    assert (drained["state"], drained["reason"], drained["is_drained"]) == ("draining", "drained by the API", True)
    ok(server.delete(f"{file}/drain"))
    assert ok(server.get(file))["endpoint"]["state"] == "healthy"


def test_what_is_not_there_is_not_found(server: AdminServer) -> None:
    for reply in (
        server.get("/v1/services/api/endpoints/nope"),
        server.delete("/v1/services/api/endpoints/nope"),
        server.put("/v1/services/api/endpoints/nope/heartbeat"),
        server.post("/v1/services/nope/endpoints/nope/drain"),
        server.get("/v1/nodes/nope"),
        server.delete("/v1/routes/nope"),
        server.delete("/v1/services/nope"),
    ):
        refused(reply, 404, "not-found")


def test_a_full_registry_says_so() -> None:
    with AdminServer(limited(max_services=2)) as server:
        found = refused(server.put(ENDPOINT, {"address": "127.0.0.1:1"}), 507, "limit-reached")
    assert "registry.max_services" in found["detail"]


def test_a_heartbeat_reports_for_a_ttl_check(server: AdminServer) -> None:
    ok(server.put(ENDPOINT, {"address": "127.0.0.1:1", "health_check": {"protocol": "ttl", "ttl": "60s"}}))
    assert ok(server.get(ENDPOINT))["endpoint"]["state"] == "checking"
    ok(server.put(f"{ENDPOINT}/heartbeat"))
    assert ok(server.get(ENDPOINT))["endpoint"]["state"] == "healthy"
    ok(server.put(f"{ENDPOINT}/heartbeat", {"state": "unhealthy", "reason": "disk full"}))
    endpoint = ok(server.get(ENDPOINT))["endpoint"]
    assert (endpoint["state"], endpoint["reason"]) == ("unhealthy", "disk full")
    refused(server.put(f"{ENDPOINT}/heartbeat", {"state": "ejected"}), 422, "invalid")


def test_programs_are_not_run_for_the_api_unless_it_may() -> None:
    body = {"address": "127.0.0.1:1", "health_check": {"protocol": "command", "command": ["true"]}}
    with AdminServer(FakeAgent()) as server:
        assert "allow_command_checks" in refused(server.put(ENDPOINT, body), 422, "invalid")["detail"]
    allowed = msgspec.structs.replace(shop(), admin=AdminSettings(allow_command_checks=True))
    with AdminServer(FakeAgent(config=allowed)) as server:
        ok(server.put(ENDPOINT, body))


def test_endpoints_are_chosen_by_state_and_version(server: AdminServer) -> None:
    def ids(query: str) -> list[str]:
        return [endpoint["id"] for endpoint in ok(server.get(f"/v1/services/api/endpoints{query}"))]

    assert ids("") == ["api-1", "api-2"]
    assert ids("?passing") == ["api-1"]
    assert ids("?passing=false&version=v2") == ["api-2"]
    assert ids("?version=none") == []
    assert refused(server.get("/v1/services/api/endpoints?pasing"), 422, "invalid")["field"] == "pasing"
    assert refused(server.get("/v1/services/api/endpoints?passing=maybe"), 422, "invalid")["field"] == "passing"


# --- services -------------------------------------------------------------------------------------------------------


def test_a_policy_of_the_api_covers_the_files_until_it_is_taken_back(server: AdminServer) -> None:
    split = "/v1/services/api/traffic_split"
    ok(server.put(split, [{"version": "v2", "weight": 1}]))
    detail = ok(server.get("/v1/services/api"))
    assert detail["service"]["traffic_split"] == [{"version": "v2"}]
    assert detail["origins"] == {"traffic_split": "api"}
    assert detail["shadowed"] == [{"what": "traffic_split", "source": "file", "by": "api"}]
    ok(server.delete(split))
    assert len(ok(server.get("/v1/services/api"))["service"]["traffic_split"]) == 2
    refused(server.delete(split), 404, "not-found")


def test_each_key_of_a_service_can_be_set(server: AdminServer) -> None:
    for key, body in {
        "health_check": {"protocol": "http", "interval": "5s"},
        "load_balancing": "least_connections",
        "mesh": {"timeout": "5s"},
        "domain": "cart.local",
        "metadata": {"team": "a"},
    }.items():
        ok(server.put(f"/v1/services/cart/{key}", body))
    service = ok(server.get("/v1/services/cart"))["service"]
    assert (service["timeout"], service["domain"], service["metadata"]) == (5.0, "cart.local", {"team": "a"})
    refused(server.put("/v1/services/cart/mesh", {"mtls": True}), 422, "invalid")
    refused(server.put("/v1/services/cart/load_balancing", "fastest"), 422, "invalid")
    assert server.put("/v1/services/cart/nothing", {}).status == 404


def shown_service(server: AdminServer, name: str) -> Service:
    return msgspec.convert(ok(server.get(f"/v1/services/{name}"))["service"], Service)


def test_policies_are_set_shown_and_given_back(server: AdminServer) -> None:
    path = "/v1/services/web"
    before = shown_service(server, "web")
    bodies: dict[str, Any] = {
        "load_balancing": {"strategy": "maglev", "hash_on": "header:X-User"},
        "affinity": {"cookie": "hm"},
        "sticky_split": {"client_ip": True},
        "mesh": {
            "retry": {"max_retries": 2, "budget": "30%"},
            "circuit_breaker": {"max_requests": 7},
            "rate_limit": {"requests": 5, "key": "client_ip"},
            "mirror": {"service": "api"},
        },
    }
    for key, body in bodies.items():
        ok(server.put(f"{path}/{key}", body))
    assert shown_service(server, "web") == msgspec.structs.replace(
        before,
        load_balancing=LoadBalancingStrategy.MAGLEV,
        balancing=Balancing(hash_on=RequestKey(kind=KeyKind.HEADER, name="x-user")),
        affinity=Affinity(name="hm"),
        sticky_split=Affinity(kind=KeyKind.CLIENT_IP),
        retry=RetryPolicy(max_retries=2, budget_pct=30.0),
        circuit_breaker=msgspec.structs.replace(SOURCE_LIMITS, max_requests=7),
        policies=RequestPolicies(
            rate_limit=RateLimit(requests=5, key=RequestKey(kind=KeyKind.CLIENT_IP)), mirror=Mirror(service="api")
        ),
    )
    # PUT of a key says all of it: what is left out is given back.
    ok(server.put(f"{path}/mesh", {"rate_limit": {"requests": 6}}))
    service = shown_service(server, "web")
    assert (service.retry, service.policies) == (None, RequestPolicies(rate_limit=RateLimit(requests=6)))
    for key in bodies:
        ok(server.delete(f"{path}/{key}"))
    assert shown_service(server, "web") == before


@pytest.mark.parametrize(
    ("key", "body", "field"),
    [
        ("load_balancing", {"strategy": "maglev", "bounded_load": 0.5}, "load_balancing.bounded_load"),
        ("load_balancing", {"hash_on": "client_ip"}, "load_balancing.hash_on"),
        ("affinity", {"header": "x", "ttl": "1h"}, "affinity.ttl"),
        ("mesh", {"timeout": "1s", "retry": {"per_try_timeout": "1s"}}, "mesh.retry"),
        ("mesh", {"retry": {"retry_on": ["5x"]}}, "mesh.retry.retry_on[0]"),
        ("mesh", {"circuit_breaker": {"half_open_requests": 0}}, "mesh.circuit_breaker.half_open_requests"),
        ("mesh", {"fault": {"abort": {"status": 42}}}, "mesh.fault.abort.status"),
        ("mesh", {"mirror": {"service": "web"}}, "mesh.mirror.service"),
        ("mesh", {"mirror": {"service": "wbe"}}, "mesh.mirror.service"),
    ],
)
def test_a_contradiction_names_its_field(server: AdminServer, key: str, body: Any, field: str) -> None:
    assert refused(server.put(f"/v1/services/web/{key}", body), 422, "invalid")["field"] == field


def test_the_source_documents_mesh_is_a_body_as_it_is(server: AdminServer) -> None:
    body = {
        "enabled": True, "mtls_enabled": False, "tracing_enabled": True,
        "retry_policy": {"max_retries": 3, "retry_on": ["5xx", "connect-failure"], "timeout_ms": 1000},
        "timeout_ms": 5000,
        "circuit_breaker": {
            "max_connections": 100, "max_pending_requests": 10, "max_requests": 1000, "max_retries": 3,
            "consecutive_errors_threshold": 5, "interval_ms": 10000, "base_ejection_time_ms": 30000,
        },
    }  # fmt: skip
    ok(server.put("/v1/services/web/mesh", body))
    service = shown_service(server, "web")
    assert service.timeout == 5.0
    assert service.retry == RetryPolicy(max_retries=3, retry_on=("5xx", "connect-failure"), per_try_timeout=1.0)
    assert service.circuit_breaker == SOURCE_LIMITS


def test_put_of_a_service_sets_what_it_says_and_gives_back_the_rest(server: AdminServer) -> None:
    path = "/v1/services/cart"
    ok(server.put(path, {"domain": "cart.local", "endpoints": [{"id": "a", "address": "127.0.0.1:1"}]}))
    ok(server.put(path, {"metadata": {"a": "b"}, "endpoints": [{"id": "b", "address": "127.0.0.1:2"}]}))
    service = ok(server.get(path))["service"]
    assert "domain" not in service
    assert [endpoint["id"] for endpoint in service["endpoints"]] == ["b"]
    ok(server.put(path, {}))
    assert [endpoint["id"] for endpoint in ok(server.get(path))["service"]["endpoints"]] == ["b"]
    ok(server.delete(path))
    refused(server.get(path), 404, "not-found")


def test_a_service_of_the_file_cannot_be_removed(server: AdminServer) -> None:
    ok(server.put("/v1/services/web/endpoints/x", {"address": "127.0.0.1:1"}))
    ok(server.delete("/v1/services/web"))
    assert [endpoint["id"] for endpoint in ok(server.get("/v1/services/web/endpoints"))] == ["web-1"]
    assert "from the file" in refused(server.delete("/v1/services/web"), 409, "conflict")["detail"]


def test_a_domain_belongs_to_one_service(server: AdminServer) -> None:
    ok(server.put("/v1/services/cart/domain", "cart.local"))
    refused(server.put("/v1/services/shop/domain", "cart.local"), 409, "conflict")


# --- nodes and routes -----------------------------------------------------------------------------------------------


def test_a_node_that_leaves_takes_its_endpoints_out(server: AdminServer) -> None:
    ok(server.put("/v1/nodes/n1", {"address": "10.0.0.1", "metadata": {"rack": "r1"}}))
    node = ok(server.get("/v1/nodes/n1"))
    assert (node["address"], node["state"], node["endpoints"]) == ("10.0.0.1", "present", {"healthy": 1})
    ok(server.delete("/v1/nodes/n1"))
    assert ok(server.get("/v1/nodes/n1"))["state"] == "gone"
    assert ok(server.get("/v1/services/api/endpoints/api-1"))["endpoint"]["reason"] == "node n1 has left"
    ok(server.put("/v1/nodes/n1/heartbeat"))
    assert [(node["name"], node["state"]) for node in ok(server.get("/v1/nodes"))] == [("n1", "present")]
    refused(server.put("/v1/nodes/n1", {"address": "not an address"}), 422, "invalid")


def test_a_route_of_the_api_comes_before_those_of_the_file(server: AdminServer) -> None:
    route = {"name": "beta", "match": {"path_prefix": "/beta"}, "service": "web", "listener": "front"}
    ok(server.post("/v1/routes", route))
    assert [entry["route"]["name"] for entry in ok(server.get("/v1/routes"))] == ["beta", "api", "default"]
    ok(server.delete("/v1/routes/beta"))
    assert [entry["route"]["name"] for entry in ok(server.get("/v1/routes"))] == ["api", "default"]


def test_a_route_of_the_api_has_policies_of_its_own(server: AdminServer) -> None:
    body = {
        "name": "beta",
        "split": [{"service": "web"}, {"service": "api"}],
        "sticky_split": {"cookie": "trial", "ttl": "1h"},
        "subset": {"metadata": {"stage": "prod"}, "fallback": "any"},
        "retry": {"max_retries": 2, "timeout_ms": 500},
        "filters": [{"rate_limit": {"requests": 5, "key": "header:X-Key"}}, {"access": {"deny": ["10.0.0.0/8"]}}],
    }
    ok(server.post("/v1/routes", body))
    route = msgspec.convert(ok(server.get("/v1/routes/beta"))["route"], Route)
    assert route.sticky_split == Affinity(name="trial", ttl=3600.0)
    assert route.subset == Subset(metadata={"stage": "prod"}, fallback=SubsetFallback.ANY)
    assert route.retry == RetryPolicy(max_retries=2, per_try_timeout=0.5)
    assert route.filters.policies == RequestPolicies(
        rate_limit=RateLimit(requests=5, key=RequestKey(kind=KeyKind.HEADER, name="x-key")),
        access=Access(deny=("10.0.0.0/8",)),
    )
    refused(server.get("/v1/routes/nope"), 404, "not-found")


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"service": "nope"}, "service"),
        ({"listener": "nope"}, "listener"),
        ({"match": {"paht": "/"}}, "match.paht"),
        ({"subset": {}}, "subset"),
        ({"sticky_split": {"cookie": "a"}}, "sticky_split"),
        ({"filters": [{"mirror": {"service": "nope"}}]}, "filters[0].mirror.service"),
        ({"timeout": "1s", "retry": {"per_try_timeout": "1s"}}, "retry"),
    ],
)
def test_a_route_that_leads_nowhere_is_refused(server: AdminServer, change: dict[str, Any], field: str) -> None:
    assert (
        refused(server.post("/v1/routes", {"name": "r", "service": "web", **change}), 422, "invalid")["field"] == field
    )


# --- who may --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("PUT", ENDPOINT),
        ("DELETE", "/v1/services/api"),
        ("POST", "/v1/routes"),
        ("PUT", "/v1/agent/service/register"),
    ],
)
def test_a_page_of_another_site_changes_nothing(server: AdminServer, method: str, path: str) -> None:
    before = server.get("/v1/services").headers["X-Hivemesh-Index"]
    body = {"address": "127.0.0.1:1", "Name": "x", "Port": 1}
    refused(server.request(method, path, {"Origin": "https://evil.example"}, body), 403)
    refused(server.request("OPTIONS", path, {"Origin": "https://evil.example"}), 403)
    answer = server.request("GET", "/v1/services", {"Origin": "https://evil.example"})
    assert "Access-Control-Allow-Origin" not in answer.headers
    assert answer.headers["X-Hivemesh-Index"] == before


def test_changes_need_the_token() -> None:
    with AdminServer(FakeAgent(), token="s3cret") as server:
        body = {"address": "127.0.0.1:1"}
        refused(server.put(ENDPOINT, body), 401)
        assert server.request("PUT", ENDPOINT, {"Authorization": "Bearer s3cret"}, body).status == 200


def test_only_the_whole_api_changes_anything() -> None:
    with AdminServer(FakeAgent(), only_metrics=True) as server:
        assert server.put(ENDPOINT, {"address": "127.0.0.1:1"}).status == 404
        assert server.get("/v1/watch").status == 404


# --- targets of Prometheus --------------------------------------------------------------------------------------------


def test_endpoints_are_targets_of_prometheus(server: AdminServer) -> None:
    ok(server.put(ENDPOINT, {"address": "127.0.0.1:9100", "metadata": {"the-zone": "a"}}))
    ok(server.put("/v1/services/cart/endpoints/c2", {"address": "unix:/run/c2.sock"}))
    assert ok(server.get("/v1/prometheus/sd?service=cart")) == [
        {
            "targets": ["127.0.0.1:9100"],
            "labels": {
                "__meta_hivemesh_service": "cart",
                "__meta_hivemesh_endpoint": "c1",
                "__meta_hivemesh_version": "",
                "__meta_hivemesh_node": "",
                "__meta_hivemesh_state": "healthy",
                "__meta_hivemesh_metadata_the_zone": "a",
            },
        }
    ]
    assert len(ok(server.get("/v1/prometheus/sd"))) == 4
    assert len(ok(server.get("/v1/prometheus/sd?passing"))) == 3
    assert ok(server.get("/v1/prometheus/sd?service=nope")) == []


def connection(server: AdminServer) -> HTTPConnection:
    return HTTPConnection(server.address, timeout=DEADLINE)


def test_a_body_need_not_say_that_it_is_json(server: AdminServer) -> None:
    client = connection(server)
    client.request("PUT", ENDPOINT, json.dumps({"address": "127.0.0.1:1"}), {"Content-Type": "text/plain"})
    assert client.getresponse().status == 200
    client.close()
