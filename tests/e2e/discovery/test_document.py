"""The calls of the service discovery document, in Python, against a running hivemesh: clients see what it promises.

docs/promises.md maps each of its sentences to a test, these among them.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Awaitable, Callable, Iterator
from typing import TypeVar

import dns.message
import dns.query
import dns.rdatatype
import h11
import pytest
from http_origin import HttpOrigin
from instance import Instance
from ports import free_address, split_address
from raw_client import RawClient, Response
from waiting import eventually

from discovery import (
    CircuitBreakerPolicy,
    Endpoint,
    HealthCheckConfig,
    HealthCheckProtocol,
    LoadBalancingStrategy,
    RetryPolicy,
    RoutingRule,
    ServiceConfig,
    ServiceDiscovery,
    ServiceMeshConfig,
    TrafficSplit,
    TrafficSplitConfig,
)

T = TypeVar("T")
DEADLINE = 30.0


class Backend(HttpOrigin):
    """Fails with `status` when it has one, the checks of its health too."""

    status = 0

    def _answer(self, request: h11.Request, body: bytes) -> list[h11.Event]:
        if self.status:
            request = h11.Request(method="GET", target=f"/status/{self.status}", headers=request.headers)
        return super()._answer(request, body)

    def count(self, target: str) -> int:
        return self.seen.count(("GET", target))


@pytest.fixture
def backends() -> Iterator[Callable[..., list[Backend]]]:
    running: list[Backend] = []

    def start(*names: str) -> list[Backend]:
        started = [Backend(name) for name in names]
        running.extend(started)
        return started

    yield start
    for each in running:
        each.close()


class Mesh(Instance):
    """A hivemesh without services, with a listener that serves them by their domain, and with DNS."""

    def call(self, scenario: Callable[[ServiceDiscovery], Awaitable[T]]) -> T:
        async def carry_out() -> T:
            async with asyncio.timeout(DEADLINE), ServiceDiscovery.connect(f"http://{self.admin}") as sd:
                return await scenario(sd)

        return asyncio.run(carry_out())

    def register(self, service: str, *backends: Backend, version: str = "", **metadata: str) -> list[Endpoint]:
        config = ServiceConfig(name=service, domain=f"{service}.mesh", version=version, metadata=metadata)

        async def scenario(sd: ServiceDiscovery) -> list[Endpoint]:
            return [await sd.register_service(config, each.name, "127.0.0.1", each.port) for each in backends]

        return self.call(scenario)

    def ask(self, host: str, target: str = "/", **headers: str) -> Response:
        with RawClient(self.address) as client:
            return client.get(target, {"Host": f"{host}.mesh", **headers})

    def answers(self, host: str, kind: str = "A") -> set[str]:
        address, port = split_address(self.config["dns"]["address"])
        question = dns.message.make_query(f"{host}.mesh", kind)
        answer = dns.query.udp(question, address, 5.0, port).answer
        return {str(each) for rrset in answer for each in rrset}


@pytest.fixture(scope="module")
def mesh(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Mesh]:
    mesh = Mesh(
        tmp_path_factory.mktemp("mesh"),
        app={"endpoints": []},
        listener={"routes": []},
        program=True,
        registry={"min_interval": "50ms"},
        dns={"address": free_address(), "ttl": "1s"},
    )
    yield mesh
    mesh.close()


# --- registering, scaling, leaving ------------------------------------------------------------------------------------


def test_a_registered_service_is_reached_by_its_domain_until_it_leaves(
    mesh: Mesh, backends: Callable[..., list[Backend]]
) -> None:
    [one] = backends("one")
    mesh.register("front", one)
    eventually(lambda: mesh.ask("front").text == "one", "it is served")
    assert mesh.answers("front") == {"127.0.0.1"}
    found = mesh.call(lambda sd: sd.get_service_endpoint("front"))
    assert found is not None
    assert found.address == one.address
    mesh.call(lambda sd: sd.deregister_service("front", "one", "127.0.0.1", one.port))
    eventually(lambda: mesh.ask("front").status in (404, 503), "it is not served any more")
    eventually(lambda: mesh.answers("front") == set(), "nor known to DNS")


def test_a_service_that_is_scaled_uses_its_new_endpoints(mesh: Mesh, backends: Callable[..., list[Backend]]) -> None:
    started = backends("r1", "r2", "r3")
    mesh.register("scaled", started[0])
    eventually(lambda: mesh.ask("scaled").text == "r1", "one endpoint")
    mesh.register("scaled", *started[1:])
    eventually(lambda: {mesh.ask("scaled").text for _ in range(6)} == {"r1", "r2", "r3"}, "all three take requests")
    ports = {answer.split()[2] for answer in mesh.answers("scaled", "SRV")}
    assert ports == {str(each.port) for each in started}


# --- health -----------------------------------------------------------------------------------------------------------


def test_a_checked_endpoint_gets_nothing_before_its_first_success(
    mesh: Mesh, backends: Callable[..., list[Backend]]
) -> None:
    check = HealthCheckConfig(
        protocol=HealthCheckProtocol.HTTP,
        path="/health",
        interval_secs=10,
        timeout_secs=2,
        healthy_threshold=2,
        unhealthy_threshold=3,
    )
    mesh.call(lambda sd: sd.configure_health_check("checked", check))
    [one] = backends("one")
    mesh.register("checked", one)
    eventually(lambda: mesh.ask("checked").text == "one", "it passed its check", limit=15.0)
    assert one.seen[0] == ("GET", "/health")
    service = mesh.call(lambda sd: sd.get_service("checked"))
    assert service is not None
    assert service.health_check is not None
    assert (service.health_check.interval, service.health_check.timeout) == (10.0, 2.0)
    assert (service.health_check.healthy_threshold, service.health_check.unhealthy_threshold) == (2, 3)


def test_an_unhealthy_endpoint_is_left_out_and_comes_back_by_itself(
    mesh: Mesh, backends: Callable[..., list[Backend]]
) -> None:
    check = HealthCheckConfig(protocol=HealthCheckProtocol.HTTP, path="/health", interval_secs=0.1, timeout_secs=0.1)
    mesh.call(lambda sd: sd.configure_health_check("ill", check))
    well, ill = backends("well", "ill")
    mesh.register("ill", well, ill)
    eventually(lambda: {mesh.ask("ill").text for _ in range(4)} == {"well", "ill"}, "both are healthy")
    ill.status = 500
    eventually(lambda: {mesh.ask("ill").text for _ in range(8)} == {"well"}, "one is left out")
    assert len(mesh.answers("ill", "SRV")) == 1
    ill.status = 0
    eventually(lambda: {mesh.ask("ill").text for _ in range(4)} == {"well", "ill"}, "it is back")


# --- load balancing ---------------------------------------------------------------------------------------------------


def test_the_endpoint_with_the_fewest_requests_gets_the_next(
    mesh: Mesh, backends: Callable[..., list[Backend]]
) -> None:
    mesh.call(lambda sd: sd.configure_load_balancing("least", LoadBalancingStrategy.LEAST_CONNECTIONS))
    slow, idle = backends("slow", "idle")
    mesh.register("least", slow)
    eventually(lambda: mesh.ask("least").text == "slow", "there is one")
    with RawClient(mesh.address) as waiting:
        waiting.ask(target="/delay/20", headers={"Host": "least.mesh"})
        eventually(lambda: slow.count("/delay/20") == 1, "it is busy")
        mesh.register("least", idle)
        eventually(lambda: mesh.ask("least").text == "idle", "there is another one")
        assert [mesh.ask("least").text for _ in range(10)] == ["idle"] * 10
        slow.release()
        assert waiting.response().text == "slow"


# --- the mesh ---------------------------------------------------------------------------------------------------------


def test_a_failed_request_is_retried_where_it_works(mesh: Mesh, backends: Callable[..., list[Backend]]) -> None:
    retry = RetryPolicy(max_retries=3, retry_on=["5xx", "connect-failure"], timeout_ms=1000)
    config = ServiceMeshConfig(timeout_ms=5000, retry_policy=retry)
    mesh.call(lambda sd: sd.configure_service_mesh("retried", config))
    good, bad = backends("good", "bad")
    bad.status = 503
    mesh.register("retried", good, bad)
    eventually(lambda: mesh.ask("retried").text == "good", "it is served")
    statuses = []

    def is_asked() -> bool:
        statuses.append(mesh.ask("retried").status)
        return bool(bad.seen)

    eventually(is_asked, "the one that fails is asked, too")
    assert set(statuses) == {200}


def test_a_circuit_opens_and_closes_again(mesh: Mesh, backends: Callable[..., list[Backend]]) -> None:
    breaker = CircuitBreakerPolicy(
        max_connections=100,
        max_pending_requests=10,
        max_requests=1000,
        max_retries=3,
        consecutive_errors_threshold=5,
        interval_ms=10_000,
        base_ejection_time_ms=300,
    )
    config = ServiceMeshConfig(enabled=True, mtls_enabled=False, tracing_enabled=True, circuit_breaker=breaker)
    mesh.call(lambda sd: sd.configure_service_mesh("broken", config))
    [one] = backends("one")
    mesh.register("broken", one)
    eventually(lambda: mesh.ask("broken").text == "one", "closed: requests are allowed")
    one.status = 503
    passed = [mesh.ask("broken") for _ in range(5)]
    assert [(answer.status, answer.text) for answer in passed] == [(503, "status 503")] * 5
    asked = len(one.seen)
    refused = mesh.ask("broken")
    assert (refused.status, refused.header("x-envoy-overloaded")) == (503, "true")
    assert len(one.seen) == asked, "open: requests are rejected"
    one.status = 0
    eventually(lambda: mesh.ask("broken").status == 200, "half-open: it is tried again")
    eventually(lambda: [mesh.ask("broken").status for _ in range(8)] == [200] * 8, "and closed")


# --- versions and routes ----------------------------------------------------------------------------------------------


def test_traffic_is_split_80_to_20_and_goes_on_without_a_version(
    mesh: Mesh, backends: Callable[..., list[Backend]]
) -> None:
    v1, v2 = backends("v1", "v2")
    mesh.register("split", v1, version="v1")
    mesh.register("split", v2, version="v2")
    splits = [TrafficSplit(version="v1", weight=80), TrafficSplit(version="v2", weight=20)]
    mesh.call(lambda sd: sd.configure_traffic_split(TrafficSplitConfig(service_name="split", splits=splits)))
    eventually(lambda: {mesh.ask("split").text for _ in range(20)} == {"v1", "v2"}, "both versions are served")
    counts: Counter[str] = Counter()
    with RawClient(mesh.address) as client:
        for _ in range(500):
            counts[client.get("/", {"Host": "split.mesh"}).text] += 1
    # 5 standard deviations of 500 draws.
    assert abs(counts["v2"] - 100) <= 45, counts
    mesh.call(lambda sd: sd.deregister_service("split", "v2", "127.0.0.1", v2.port))
    eventually(lambda: {mesh.ask("split").text for _ in range(20)} == {"v1"}, "the other version takes all")


def test_requests_are_routed_by_path_header_and_weight(mesh: Mesh, backends: Callable[..., list[Backend]]) -> None:
    v2, beta = backends("v2", "beta")
    mesh.register("api-service-v2", v2)
    mesh.register("beta-service", beta)
    names = []

    def add(rule: RoutingRule) -> None:
        names.append(mesh.call(lambda sd: sd.add_routing_rule(rule)))

    add(RoutingRule(path_prefix="/api/v2", headers=None, service_name="api-service-v2", weight=None))
    eventually(lambda: mesh.ask("any", "/api/v2/items").text == "v2", "by path")
    assert mesh.ask("any", "/api/v20").status == 404
    add(RoutingRule(path_prefix="/api/v2", headers={"x-beta": "1"}, service_name="beta-service"))
    eventually(lambda: mesh.ask("any", "/api/v2", **{"x-beta": "1"}).text == "beta", "by header")
    assert mesh.ask("any", "/api/v2", **{"x-beta": "2"}).text == "v2"
    add(RoutingRule(path_prefix="/mixed", service_name="api-service-v2", weight=50))
    add(RoutingRule(path_prefix="/mixed", service_name="beta-service", weight=50))
    eventually(lambda: {mesh.ask("any", "/mixed").text for _ in range(30)} == {"v2", "beta"}, "by weight")
    for name in dict.fromkeys(names):
        mesh.call(lambda sd, name=name: sd.remove_routing_rule(name))
    eventually(lambda: mesh.ask("any", "/api/v2").status == 404, "without a rule there is no route")


def test_requests_are_routed_by_metadata(mesh: Mesh, backends: Callable[..., list[Backend]]) -> None:
    prod, canary = backends("prod", "canary")
    mesh.register("staged", prod, stage="prod")
    mesh.register("staged", canary, stage="canary")
    rule = RoutingRule(path_prefix="/canary", service_name="staged", metadata={"stage": "canary"})
    name = mesh.call(lambda sd: sd.add_routing_rule(rule))
    eventually(lambda: mesh.ask("any", "/canary").text == "canary", "by metadata")
    assert {mesh.ask("any", "/canary").text for _ in range(6)} == {"canary"}
    mesh.call(lambda sd: sd.remove_routing_rule(name))
