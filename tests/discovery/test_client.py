"""The Python API, one contract for both forms: a registry of its own, and a running agent."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from collections.abc import Awaitable, Callable, Iterator
from contextlib import aclosing

import pytest
from admin_server import AdminServer
from fake_agent import FakeAgent

import discovery
from discovery import (
    CircuitBreakerPolicy,
    Conflict,
    Denied,
    EndpointState,
    HealthCheckConfig,
    HealthCheckProtocol,
    Invalid,
    LoadBalancingStrategy,
    NotFound,
    NotInThisRelease,
    RetryPolicy,
    RoutingRule,
    ServiceConfig,
    ServiceDiscovery,
    ServiceMeshConfig,
    TrafficSplit,
    TrafficSplitConfig,
    Unreachable,
    policies,
)
from discovery.config import Config
from discovery.model import Service, Snapshot

DEADLINE = 20.0
Scenario = Callable[[ServiceDiscovery], Awaitable[None]]
Run = Callable[[Scenario], None]

WEB = ServiceConfig(name="web", domain="Web.local", version="v1", metadata={"zone": "a"})


@pytest.fixture(params=["embedded", "connected"])
def run(request: pytest.FixtureRequest) -> Iterator[Run]:
    """Carry out a scenario with a ServiceDiscovery of either form."""

    def carry_out(scenario: Scenario) -> None:
        async def with_deadline() -> None:
            sd = ServiceDiscovery() if request.param == "embedded" else ServiceDiscovery.connect(server.url)
            async with asyncio.timeout(DEADLINE), sd:
                await scenario(sd)

        asyncio.run(with_deadline())

    if request.param == "embedded":
        yield carry_out
    else:
        agent = FakeAgent(config=Config(snapshot=Snapshot(version=1)))
        with AdminServer(agent) as server:
            yield carry_out


def test_a_registered_service_is_found(run: Run) -> None:
    async def scenario(sd: ServiceDiscovery) -> None:
        endpoint = await sd.register_service(WEB, "n1", "10.0.0.1", 8080)
        assert (endpoint.id, endpoint.address) == ("n1-10.0.0.1:8080", "10.0.0.1:8080")
        service = await sd.get_service("web")
        assert service is not None
        assert (service.name, service.domain, service.endpoints) == ("web", "web.local", (endpoint,))
        assert await sd.list_services() == ["web"]
        assert await sd.get_service("nope") is None

    run(scenario)


def test_what_is_deregistered_is_gone(run: Run) -> None:
    async def scenario(sd: ServiceDiscovery) -> None:
        await sd.register_service(WEB, "n1", "10.0.0.1", 8080)
        await sd.deregister_service("web", "n1", "10.0.0.1", 8080)
        assert await sd.get_service_endpoint("web") is None
        with pytest.raises(NotFound, match="has no endpoint"):
            await sd.deregister_service("web", "n1", "10.0.0.1", 8080)

    run(scenario)


def test_endpoints_come_in_turn(run: Run) -> None:
    async def scenario(sd: ServiceDiscovery) -> None:
        for port in (1, 2, 3):
            await sd.register_service(ServiceConfig(name="api", weight=min(port - 1, 1)), "", "::1", port)
        picks = [await sd.get_service_endpoint("api") for _ in range(4)]
        assert [pick.address for pick in picks if pick] == ["[::1]:2", "[::1]:3", "[::1]:2", "[::1]:3"]
        assert await sd.get_service_endpoint("nope") is None

    run(scenario)


def test_a_checked_endpoint_is_not_given_out_before_it_passed(run: Run) -> None:
    async def scenario(sd: ServiceDiscovery) -> None:
        await sd.register_service(WEB, "n1", "10.0.0.1", 8080)
        await sd.configure_health_check("web", HealthCheckConfig(protocol=HealthCheckProtocol.TTL, ttl_secs=60))
        assert await sd.get_service_endpoint("web") is None
        await sd.heartbeat("web", "n1", "10.0.0.1", 8080)
        found = await sd.get_service_endpoint("web")
        assert found is not None
        await sd.heartbeat("web", "n1", "10.0.0.1", 8080, is_healthy=False, reason="disk full")
        service = await sd.get_service("web")
        assert service is not None
        assert service.endpoints[0].state is EndpointState.UNHEALTHY
        await sd.configure_health_check("web", None)
        assert await sd.get_service_endpoint("web") is not None

    run(scenario)


def test_policies_are_part_of_the_service(run: Run) -> None:
    async def scenario(sd: ServiceDiscovery) -> None:
        await sd.configure_health_check(
            "web",
            HealthCheckConfig(
                protocol=HealthCheckProtocol.HTTP,
                path="/health",
                interval_secs=10,
                timeout_secs=2,
                healthy_threshold=2,
                unhealthy_threshold=3,
            ),
        )
        await sd.configure_load_balancing("web", LoadBalancingStrategy.ROUND_ROBIN)
        await sd.configure_service_mesh("web", ServiceMeshConfig(timeout_ms=5000))
        shares = [TrafficSplit(version="v1", weight=80), TrafficSplit(version="v2", weight=20)]
        await sd.configure_traffic_split(TrafficSplitConfig(service_name="web", splits=shares))
        service = await sd.get_service("web")
        assert service is not None
        assert service.health_check is not None
        assert (service.health_check.protocol, service.health_check.interval) == ("http", 10.0)
        assert service.timeout == 5.0
        assert [(share.version, share.weight) for share in service.traffic_split] == [("v1", 80), ("v2", 20)]
        await sd.configure_traffic_split(TrafficSplitConfig(service_name="web"))
        await sd.configure_service_mesh("web", ServiceMeshConfig(enabled=False))
        service = await sd.get_service("web")
        assert service is not None
        assert (service.traffic_split, service.timeout) == ((), 0.0)

    run(scenario)


@pytest.mark.parametrize("strategy", list(LoadBalancingStrategy))
def test_every_strategy_can_be_asked_for(run: Run, strategy: LoadBalancingStrategy) -> None:
    async def scenario(sd: ServiceDiscovery) -> None:
        await sd.configure_load_balancing("web", strategy)
        assert await sd.get_service("web") == Service(name="web", load_balancing=strategy)

    run(scenario)


def test_the_source_documents_mesh_is_what_it_says(run: Run) -> None:
    mesh = ServiceMeshConfig(
        enabled=True,
        mtls_enabled=False,
        tracing_enabled=True,
        retry_policy=RetryPolicy(max_retries=3, retry_on=["5xx", "connect-failure"], timeout_ms=1000),
        timeout_ms=5000,
        circuit_breaker=CircuitBreakerPolicy(
            max_connections=100,
            max_pending_requests=10,
            max_requests=1000,
            max_retries=3,
            consecutive_errors_threshold=5,
            interval_ms=10_000,
            base_ejection_time_ms=30_000,
        ),
    )

    async def scenario(sd: ServiceDiscovery) -> None:
        await sd.configure_service_mesh("web", mesh)
        assert await sd.get_service("web") == Service(
            name="web",
            timeout=5.0,
            retry=policies.RetryPolicy(max_retries=3, retry_on=("5xx", "connect-failure"), per_try_timeout=1.0),
            circuit_breaker=policies.SOURCE_LIMITS,
        )
        # What is left out is taken back, and all of it when the mesh is switched off.
        await sd.configure_service_mesh("web", ServiceMeshConfig(retry_policy=RetryPolicy(max_retries=1)))
        service = await sd.get_service("web")
        assert service is not None
        assert (service.timeout, service.circuit_breaker) == (0.0, policies.CircuitBreaker())
        assert service.retry == policies.RetryPolicy(max_retries=1, per_try_timeout=1.0)
        await sd.register_service(WEB, "n1", "10.0.0.1", 8080)
        await sd.configure_service_mesh("web", ServiceMeshConfig(enabled=False))
        service = await sd.get_service("web")
        assert service is not None
        assert service.retry is None

    run(scenario)


def test_a_breaker_that_begins_with_long_times_ends_with_none_shorter(run: Run) -> None:
    async def scenario(sd: ServiceDiscovery) -> None:
        breaker = CircuitBreakerPolicy(base_ejection_time_ms=900_000, consecutive_errors_threshold=0)
        await sd.configure_service_mesh("web", ServiceMeshConfig(circuit_breaker=breaker))
        service = await sd.get_service("web")
        assert service is not None
        assert (service.circuit_breaker.base_ejection_time, service.circuit_breaker.max_ejection_time) == (900.0, 900.0)
        assert service.circuit_breaker.consecutive_errors == 0

    run(scenario)


def test_rules_with_weights_and_the_same_conditions_are_one_split(run: Run) -> None:
    async def scenario(sd: ServiceDiscovery) -> None:
        for name in ("old", "new"):
            await sd.register_service(ServiceConfig(name=name), "", "10.0.0.1", 1)
        headers = {"X-Beta": "1"}
        rule = await sd.add_routing_rule(RoutingRule(service_name="old", headers=headers, weight=80))
        again = await sd.add_routing_rule(RoutingRule(service_name="new", headers={"x-beta": "1"}, weight=20))
        assert again == rule
        assert await sd.add_routing_rule(RoutingRule(service_name="new", weight=20)) != rule
        assert await split_of(sd, rule) == [("old", 80), ("new", 20)]
        await sd.add_routing_rule(RoutingRule(service_name="old", headers=headers, weight=50))
        assert await split_of(sd, rule) == [("new", 20), ("old", 50)]
        await sd.add_routing_rule(RoutingRule(service_name="new", headers=headers, weight=0))
        assert await split_of(sd, rule) == [("old", 50)]
        with pytest.raises(Invalid, match="no share would be left"):
            await sd.add_routing_rule(RoutingRule(service_name="old", headers=headers, weight=0))
        with pytest.raises(Invalid, match="there is no service"):
            await sd.add_routing_rule(RoutingRule(service_name="nope", headers=headers, weight=1))
        await sd.remove_routing_rule(rule)

    run(scenario)


async def split_of(sd: ServiceDiscovery, name: str) -> list[tuple[str, int]]:
    route = await sd._backend.route(name)
    assert route is not None
    return [(share.service, share.weight) for share in route.split]


def test_a_rule_may_choose_endpoints_by_their_metadata(run: Run) -> None:
    async def scenario(sd: ServiceDiscovery) -> None:
        await sd.register_service(WEB, "n1", "10.0.0.1", 8080)
        name = await sd.add_routing_rule(RoutingRule(service_name="web", metadata={"zone": "a"}))
        assert name != await sd.add_routing_rule(RoutingRule(service_name="web"))
        route = await sd._backend.route(name)
        assert route is not None
        assert (route.service, route.subset) == ("web", policies.Subset(metadata={"zone": "a"}))

    run(scenario)


def test_a_routing_rule_comes_and_goes(run: Run) -> None:
    async def scenario(sd: ServiceDiscovery) -> None:
        rule = RoutingRule(path_prefix="/api/v2", headers={"X-Beta": "1"}, service_name="web")
        with pytest.raises(Invalid, match="service"):
            await sd.add_routing_rule(rule)
        await sd.register_service(WEB, "n1", "10.0.0.1", 8080)
        name = await sd.add_routing_rule(rule)
        assert await sd.add_routing_rule(rule) == name
        await sd.remove_routing_rule(name)
        with pytest.raises(NotFound):
            await sd.remove_routing_rule(name)

    run(scenario)


def test_a_watch_gives_the_present_and_every_news(run: Run) -> None:
    async def scenario(sd: ServiceDiscovery) -> None:
        seen = []
        async with aclosing(sd.watch("web")) as watch:  # type: ignore[type-var]
            async for service in watch:
                seen.append([endpoint.address for endpoint in service.endpoints])
                if len(seen) == 1:
                    await sd.register_service(ServiceConfig(name="web"), "n1", "10.0.0.1", 8080)
                elif len(seen) == 2:
                    await sd.deregister_service("web", "n1", "10.0.0.1", 8080)
                else:
                    break
        assert seen == [[], ["10.0.0.1:8080"], []]

    run(scenario)


@pytest.mark.parametrize(
    "call",
    [
        lambda sd: sd.configure_service_mesh("web", ServiceMeshConfig(mtls_enabled=True)),
        lambda sd: sd.configure_service_mesh("web", ServiceMeshConfig(tracing_enabled=False)),
    ],
)
def test_what_is_not_there_yet_is_refused(run: Run, call: Callable[[ServiceDiscovery], Awaitable[None]]) -> None:
    async def scenario(sd: ServiceDiscovery) -> None:
        with pytest.raises(NotInThisRelease, match="in this release"):
            await call(sd)
        assert await sd.list_services() == []

    run(scenario)


@pytest.mark.parametrize(
    ("call", "said"),
    [
        (lambda sd: sd.register_service(ServiceConfig(name="a/b"), "n", "10.0.0.1", 1), "'a/b' is not a name"),
        (lambda sd: sd.register_service(WEB, "n", "host", 1), "'host' is not an IP address"),
        (lambda sd: sd.register_service(WEB, "n", "10.0.0.1", 0), "0 is not a port"),
        (lambda sd: sd.register_service(ServiceConfig(name="a", domain="a b"), "n", "10.0.0.1", 1), "not a host name"),
        (lambda sd: sd.configure_health_check("a", HealthCheckConfig(timeout_secs=60)), "longer than the interval"),
        (lambda sd: sd.configure_health_check("a", HealthCheckConfig(interval_secs=0)), "no time at all"),
        (lambda sd: sd.configure_health_check("a", HealthCheckConfig(protocol=HealthCheckProtocol.TTL)), "TTL needs"),
        (
            lambda sd: sd.configure_traffic_split(
                TrafficSplitConfig(service_name="a", splits=[TrafficSplit(version="v", weight=0)])
            ),
            "every weight is 0",
        ),
        (lambda sd: sd.add_routing_rule(RoutingRule(service_name="a", path_prefix="x")), "not a path"),
        (lambda sd: sd.add_routing_rule(RoutingRule(service_name="a", weight=101)), "weight 101 is out of range"),
        (lambda sd: sd.configure_load_balancing("a", "fastest"), "'fastest' is no load balancing strategy"),
        (lambda sd: sd.configure_service_mesh("a", ServiceMeshConfig(timeout_ms=-1)), "timeout_ms -1 is out of range"),
        (
            lambda sd: sd.configure_service_mesh("a", ServiceMeshConfig(timeout_ms=1000, retry_policy=RetryPolicy())),
            "an attempt of 1000 ms leaves no time for a retry",
        ),
        (
            lambda sd: sd.configure_service_mesh(
                "a", ServiceMeshConfig(retry_policy=RetryPolicy(retry_on=["connect-failur"]))
            ),
            "retry_on: 'connect-failur' is not known",
        ),
        (
            lambda sd: sd.configure_service_mesh(
                "a", ServiceMeshConfig(circuit_breaker=CircuitBreakerPolicy(half_open_requests=0))
            ),
            "half_open_requests 0 is out of range",
        ),
    ],
)
def test_what_makes_no_sense_is_refused(
    run: Run, call: Callable[[ServiceDiscovery], Awaitable[None]], said: str
) -> None:
    async def scenario(sd: ServiceDiscovery) -> None:
        with pytest.raises(Invalid, match=said):
            await call(sd)

    run(scenario)


# --- one form only --------------------------------------------------------------------------------------------------


def test_embedded_it_checks_the_endpoints_itself() -> None:
    async def scenario() -> None:
        server = await asyncio.start_server(lambda _, writer: writer.close(), "127.0.0.1", 0)
        port = server.sockets[0].getsockname()[1]
        async with asyncio.timeout(DEADLINE), server, ServiceDiscovery() as sd:
            await sd.configure_health_check("web", HealthCheckConfig(interval_secs=0.2, timeout_secs=0.2))
            await sd.register_service(ServiceConfig(name="web"), "", "127.0.0.1", port)
            async for service in sd.watch("web"):
                if [endpoint.state for endpoint in service.endpoints] == [EndpointState.HEALTHY]:
                    break

    asyncio.run(scenario())


def test_a_closed_one_says_so() -> None:
    async def scenario() -> None:
        sd = ServiceDiscovery()
        await sd.close()
        with pytest.raises(Conflict, match="closed"):
            await sd.list_services()

    asyncio.run(scenario())


def test_nobody_there_and_a_missing_token_are_errors_of_their_own(refused_port: int) -> None:
    async def nobody() -> None:
        async with ServiceDiscovery.connect(f"http://127.0.0.1:{refused_port}") as sd:
            with pytest.raises(Unreachable, match="did not answer"):
                await sd.list_services()

    asyncio.run(nobody())
    with AdminServer(FakeAgent(), token="s3cret") as server:

        async def denied() -> None:
            async with ServiceDiscovery.connect(server.url) as sd:
                with pytest.raises(Denied, match="token"):
                    await sd.list_services()
            async with ServiceDiscovery.connect(server.url, token="s3cret") as sd:
                assert await sd.list_services() == ["api", "web"]

        asyncio.run(denied())


@pytest.mark.parametrize("url", ["https://127.0.0.1:1", "unix:", "http://", "http://h:1/path"])
def test_an_address_that_is_none_is_refused(url: str) -> None:
    with pytest.raises(Invalid, match="expected"):
        ServiceDiscovery.connect(url)


def test_what_belongs_to_the_file_stays_there() -> None:
    with AdminServer(FakeAgent()) as server:

        async def scenario() -> None:
            async with ServiceDiscovery.connect(server.url) as sd:
                await sd.register_service(ServiceConfig(name="api", domain="shop.local"), "", "10.0.0.1", 1)
                with pytest.raises(NotFound):
                    await sd.deregister_service("api", "", "127.0.0.1", 9001)

        asyncio.run(scenario())


@pytest.fixture
def refused_port() -> Iterator[int]:
    import socket

    with socket.socket() as bound:
        bound.bind(("127.0.0.1", 0))
        yield bound.getsockname()[1]


def test_every_name_is_there() -> None:
    assert all(hasattr(discovery, name) for name in discovery.__all__)
    with pytest.raises(AttributeError):
        _ = discovery.nothing


def test_a_worker_pays_for_nothing_of_it() -> None:
    unwanted = ("asyncio", "aiohttp", "discovery.client")
    code = f"import sys, discovery.model; print([name for name in {unwanted} if name in sys.modules])"
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=30)
    assert found.stdout == "[]\n"
