"""What clients of Consul send and read: Prometheus' consul_sd, Traefik's provider and registrator, request by request.

Their requests are those of the sources of Prometheus 2.42 and 3 (discovery/consul), Traefik 2 and 3
(pkg/provider/consulcatalog) and registrator (consul/consul.go), with the fields that they read.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from typing import Any

import pytest
from admin_server import AdminServer, Reply
from fake_agent import FakeAgent

from discovery.config import Config
from discovery.model import Snapshot
from mesh.breaker import OPEN
from proxy.stats.allocator import keys_of
from proxy.stats.slots import endpoint_key

WEB = {
    "ID": "host:web:80",
    "Name": "web",
    "Tags": ["prod", "traefik.http.routers.web.rule=Host(`a`,`b`)"],
    "Port": 80,
    "Address": "10.0.0.1",
    "Meta": {"version": "v1"},
    "Check": {"TTL": "1m", "DeregisterCriticalServiceAfter": "10m"},
}


@pytest.fixture
def server() -> Iterator[AdminServer]:
    with AdminServer(FakeAgent(config=Config(snapshot=Snapshot(version=1)))) as running:
        yield running


def ok(reply: Reply) -> Any:
    assert reply.status == 200, reply.body
    return reply.json if reply.body else None


def plain(reply: Reply, status: int) -> str:
    assert reply.status == status
    assert reply.headers["Content-Type"].startswith("text/plain")
    return reply.body.decode()


def passing(server: AdminServer) -> list[str]:
    return [entry["Service"]["ID"] for entry in ok(server.get("/v1/health/service/web?passing=1"))]


def test_registrator_registers_looks_and_deregisters(server: AdminServer) -> None:
    assert ok(server.get("/v1/status/leader"))
    assert ok(server.put("/v1/agent/service/register", WEB)) is None
    own = ok(server.get("/v1/agent/services"))["host:web:80"]
    assert {key: own[key] for key in ("ID", "Service", "Port", "Tags", "Address")} == {
        "ID": "host:web:80",
        "Service": "web",
        "Port": 80,
        "Tags": WEB["Tags"],
        "Address": "10.0.0.1",
    }
    assert ok(server.put("/v1/agent/service/deregister/host:web:80")) is None
    assert ok(server.get("/v1/agent/services")) == {}
    assert "unknown service ID" in plain(server.put("/v1/agent/service/deregister/host:web:80"), 404)


def test_an_ejected_instance_is_critical_for_as_long_as_it_is(server: AdminServer) -> None:
    ok(server.put("/v1/agent/service/register", {**WEB, "Check": None}))
    agent = server.agent
    agent.slot_numbers = {key: number for number, key in enumerate(keys_of(agent.snapshot), start=1)}
    agent.put_breaker(endpoint_key("web", "host:web:80", "10.0.0.1:80"), OPEN, until=100.0)
    assert passing(server) == []
    [entry] = ok(server.get("/v1/health/service/web"))
    assert [check["Status"] for check in entry["Checks"]] == ["critical"]
    assert "circuit breaker open" in entry["Checks"][0]["Output"]
    assert len(ok(server.get("/v1/health/state/critical"))) == 1
    index = server.get("/v1/health/service/web?passing=1").headers["X-Consul-Index"]
    ok(server.post("/v1/services/web/endpoints/host:web:80/uneject"))
    reply = server.get(f"/v1/health/service/web?passing=1&index={index}&wait=10s")
    assert [entry["Service"]["ID"] for entry in ok(reply)] == ["host:web:80"]
    assert int(reply.headers["X-Consul-Index"]) > int(index)


def test_a_ttl_check_is_told_by_its_service(server: AdminServer) -> None:
    ok(server.put("/v1/agent/service/register", WEB))
    assert passing(server) == []
    for verb, expected in (("pass", True), ("fail", False), ("warn", True)):
        ok(server.put(f"/v1/agent/check/{verb}/service:host:web:80?note=because"))
        assert bool(passing(server)) is expected
    ok(server.put("/v1/agent/check/update/service:host:web:80", {"Status": "critical", "Output": "disk full"}))
    [entry] = ok(server.get("/v1/health/service/web"))
    assert [(check["Status"], check["Output"]) for check in entry["Checks"]] == [("critical", "disk full")]
    assert "unknown check ID" in plain(server.put("/v1/agent/check/pass/service:nope"), 404)
    assert "not a status" in plain(server.put("/v1/agent/check/update/service:host:web:80", {"Status": "well"}), 400)


def test_a_check_of_another_kind_reports_itself(server: AdminServer) -> None:
    ok(server.put("/v1/agent/service/register", {**WEB, "Check": {"TCP": "10.0.0.1:80", "Interval": "10s"}}))
    assert "no TTL check" in plain(server.put("/v1/agent/check/pass/service:host:web:80"), 404)


@pytest.mark.parametrize("check", [{"TTL": "1m"}, {"TCP": "10.0.0.1:80", "Interval": "1m"}])
def test_a_check_may_begin_as_passing(server: AdminServer, check: dict[str, Any]) -> None:
    ok(server.put("/v1/agent/service/register", {**WEB, "Check": {**check, "Status": "passing"}}))
    assert passing(server) == ["host:web:80"]


def test_an_id_that_is_registered_for_another_service_moves(server: AdminServer) -> None:
    ok(server.put("/v1/agent/service/register", WEB))
    ok(server.put("/v1/agent/service/register", {**WEB, "Name": "api"}))
    assert list(ok(server.get("/v1/catalog/services"))) == ["api"]
    assert ok(server.get("/v1/agent/services"))["host:web:80"]["Service"] == "api"


def test_mistakes_are_told_in_plain_text(server: AdminServer) -> None:
    said = plain(server.put("/v1/agent/service/register", {**WEB, "Port": 0, "Chekc": {}}), 400)
    assert "Port: 0 is out of range" in said
    assert "did you mean 'Check'" in said
    assert "JSON" in plain(server.put("/v1/agent/service/register", b"{"), 400)


def test_what_the_file_defines_is_shown_and_not_to_be_deregistered() -> None:
    with AdminServer(FakeAgent()) as server:
        assert set(ok(server.get("/v1/catalog/services"))) == {"api", "web"}
        assert ok(server.get("/v1/agent/services")) == {}
        plain(server.put("/v1/agent/service/deregister/api-1"), 404)


def test_prometheus_discovers_and_follows(server: AdminServer) -> None:
    """discovery/consul: Agent().Self(), Catalog().Services(), then Health().ServiceMultipleTags() of each, all of them
    with the index that came last."""
    assert ok(server.get("/v1/agent/self"))["Config"]["Datacenter"] == "dc1"
    first = server.get("/v1/catalog/services?dc=dc1&stale=&wait=120000ms")
    assert ok(first) == {}
    index = first.headers["X-Consul-Index"]
    assert int(index) > 0

    registering = threading.Timer(0.05, lambda: server.put("/v1/agent/service/register", WEB))
    registering.start()
    second = server.get(f"/v1/catalog/services?dc=dc1&index={index}&stale=&wait=120000ms")
    assert ok(second) == {"web": sorted(WEB["Tags"])}  # type: ignore[call-overload]
    assert int(second.headers["X-Consul-Index"]) > int(index)
    registering.join()

    found = server.get("/v1/health/service/web?dc=dc1&stale=&wait=120000ms&tag=prod")
    [entry] = ok(found)
    node, service = entry["Node"], entry["Service"]
    assert (service["Address"], service["Port"], service["ID"]) == ("10.0.0.1", 80, "host:web:80")
    assert (service["Tags"], service["Meta"]) == (WEB["Tags"], {"version": "v1"})
    assert node["Node"]
    assert node["Address"] == "10.0.0.1"
    assert [check["Status"] for check in entry["Checks"]] == ["critical"]

    index = found.headers["X-Consul-Index"]
    leaving = threading.Timer(0.05, lambda: server.put("/v1/agent/service/deregister/host:web:80"))
    leaving.start()
    gone = server.get(f"/v1/health/service/web?dc=dc1&index={index}&stale=&wait=120000ms")
    assert ok(gone) == []
    assert int(gone.headers["X-Consul-Index"]) > int(index)
    leaving.join()


def test_traefik_finds_the_same_instances_in_catalog_and_health(server: AdminServer) -> None:
    """Traefik 2 goes through both lists by position; Traefik 3 watches services and checks."""
    for number in (1, 2, 3):
        ok(server.put("/v1/agent/service/register", {**WEB, "ID": f"w{number}", "Port": number}))
    ok(server.put("/v1/agent/check/pass/service:w2"))
    catalog = ok(server.get("/v1/catalog/service/web?cached=&stale="))
    health = ok(server.get("/v1/health/service/web?cached=&stale="))
    assert [each["ServiceID"] for each in catalog] == [each["Service"]["ID"] for each in health] == ["w1", "w2", "w3"]
    first = catalog[0]
    assert (first["ServiceAddress"], first["ServicePort"], first["ServiceName"]) == ("10.0.0.1", 1, "web")
    assert first["ServiceTags"] == WEB["Tags"]
    assert first["Node"] == health[0]["Node"]["Node"]
    states = server.get("/v1/health/state/any")
    assert [check["ServiceID"] for check in ok(states)] == ["w1", "w2", "w3"]
    assert int(states.headers["X-Consul-Index"]) > 0
    assert [check["ServiceID"] for check in ok(server.get("/v1/health/state/passing"))] == ["w2"]
    assert len(ok(server.get("/v1/health/checks/web"))) == 3
    assert "not a status" in plain(server.get("/v1/health/state/fine"), 400)


def test_instances_are_chosen_by_tags_and_nodes(server: AdminServer) -> None:
    ok(server.put("/v1/agent/service/register", WEB))
    ok(server.put("/v1/services/web/endpoints/other", {"address": "10.0.0.2:80", "node": "n1"}))
    ok(server.put("/v1/nodes/n1", {"address": "10.0.0.9", "metadata": {"rack": "r1"}}))

    def ids(query: str) -> list[str]:
        return [entry["Service"]["ID"] for entry in ok(server.get(f"/v1/health/service/web?{query}"))]

    assert ids("") == ["host:web:80", "other"]
    assert ids("tag=PROD") == ["host:web:80"]
    assert ids("tag=prod&tag=none") == []
    assert ids("node-meta=rack:r1") == ["other"]
    assert ok(server.get("/v1/catalog/services?node-meta=rack:r1")) == {"web": []}
    nodes = {node["Node"]: node["Address"] for node in ok(server.get("/v1/catalog/nodes"))}
    assert nodes["n1"] == "10.0.0.9"


def test_a_drained_instance_is_in_maintenance(server: AdminServer) -> None:
    ok(server.put("/v1/agent/service/register", {**WEB, "Check": None}))
    [entry] = ok(server.get("/v1/health/service/web?passing"))
    assert entry["Checks"] == []
    ok(server.post("/v1/services/web/endpoints/host:web:80/drain"))
    [entry] = ok(server.get("/v1/health/service/web"))
    assert "_service_maintenance:host:web:80" in [check["CheckID"] for check in entry["Checks"]]
    assert passing(server) == []


@pytest.mark.parametrize(
    ("path", "status", "said"),
    [
        ("/v1/health/service/web?dc=other", 500, "No path to datacenter"),
        ("/v1/health/service/web?filter=Service.Port==80", 400, "not supported"),
        ("/v1/health/service/web?ns=prod", 400, "only the namespace default"),
        ("/v1/health/service/web?sort=name", 400, "parameter sort is not supported"),
        ("/v1/health/service/web?index=x", 400, "not an index"),
    ],
)
def test_what_would_change_the_answer_is_refused(server: AdminServer, path: str, status: int, said: str) -> None:
    assert said in plain(server.get(path), status)


@pytest.mark.parametrize("query", ["stale", "consistent", "cached", "near=_agent", "pretty", "dc=dc1", "ns=default"])
def test_what_changes_nothing_is_taken(server: AdminServer, query: str) -> None:
    assert ok(server.get(f"/v1/health/service/web?{query}")) == []


def test_consuls_token_is_ours() -> None:
    with AdminServer(FakeAgent(), token="s3cret") as server:
        assert server.get("/v1/catalog/services").status == 401
        assert server.request("GET", "/v1/catalog/services", {"X-Consul-Token": "s3cret"}).status == 200
        assert server.request("GET", "/v1/catalog/services", {"X-Consul-Token": "wrong"}).status == 401
