from __future__ import annotations

import gzip
import itertools
from collections.abc import Iterator

import msgspec
import pytest
from fake_agent import FakeAgent, shop
from prometheus_client.metrics_core import Metric
from prometheus_client.openmetrics.parser import text_string_to_metric_families as parse_openmetrics
from prometheus_client.parser import text_string_to_metric_families as parse_text

from discovery.checks import CheckProtocol
from discovery.config import Config
from discovery.health.numbers import BOUNDS
from discovery.health.result import Outcome
from discovery.model import DnsSettings, Endpoint, Filters, Listener, Protocol, Service, Snapshot
from discovery.policies import (
    SOURCE_LIMITS,
    Access,
    Affinity,
    Balancing,
    Delay,
    Fault,
    Mirror,
    RateLimit,
    RequestPolicies,
    RetryPolicy,
)
from mesh.breaker import HALF_OPEN, OPEN
from proxy.admin.view import WorkerStatus
from proxy.config.problems import Problem
from proxy.stats import slots, words
from proxy.stats.collector import content_type, render
from proxy.stats.families import FAMILIES, WORD_FAMILIES, Kind, Scope
from proxy.stats.reading import Reading

OPENMETRICS = "application/openmetrics-text; version=1.0.0; charset=utf-8"
ENDPOINT = slots.endpoint_key("api", "api-1", "127.0.0.1:9001")


@pytest.fixture
def agent() -> FakeAgent:
    return FakeAgent()


def with_dns() -> FakeAgent:
    """The shop with a DNS server that forwards."""
    config = shop()
    dns = tuple(
        Listener(name=f"dns/{protocol}/0", address="127.0.0.1:53", protocol=Protocol(f"dns_{protocol}"))
        for protocol in ("udp", "tcp")
    )
    settings = msgspec.structs.replace(config.snapshot.settings, dns=DnsSettings(forward=("127.0.0.1:5353",)))
    listeners = (*config.snapshot.listeners, *dns)
    snapshot = msgspec.structs.replace(config.snapshot, listeners=listeners, settings=settings)
    return FakeAgent(config=msgspec.structs.replace(config, snapshot=snapshot))


def busy(agent: FakeAgent) -> FakeAgent:
    for key in ("listener/front", "route/front/api", "service/api", ENDPOINT):
        agent.row(key, worker=0).count_request(200, 3_000, 100, 1_000)
        agent.row(key, worker=1).count_request(503, 400, 50, 0)
    for key, family in itertools.product(("route/front/api", "service/api", ENDPOINT), WORD_FAMILIES):
        if family.scope.name.lower() == key.partition("/")[0]:
            for _, word in family.words:
                agent.words(key).add(word, 1)
    agent.checks.began(0.002)
    agent.checks.ended("api", CheckProtocol.HTTP, Outcome.SUCCESS, 0.003)
    return agent


def metrics(agent: FakeAgent, accept: str = "") -> list[Metric]:
    text = render(Reading.take(agent), accept).decode()
    return list(parse_openmetrics(text) if "openmetrics" in accept else parse_text(text))


def values(agent: FakeAgent, name: str, **labels: str) -> dict[tuple[str, ...], float]:
    """Samples called `name` that have these labels, by the values of their other labels (in the labels' order)."""
    found = {}
    for metric in metrics(agent):
        for sample in metric.samples:
            if sample.name == name and labels.items() <= sample.labels.items():
                found[tuple(value for label, value in sorted(sample.labels.items()) if label not in labels)] = (
                    sample.value
                )
    return found


def exposed(families: list[Metric], kinds: dict[str, str]) -> Iterator[tuple[str, str, frozenset[str]]]:
    for metric in families:
        name = metric.name
        name += {"counter": "_total", "info": "_info"}.get(metric.type, "") if kinds.get(name) != metric.type else ""
        labels = {label for sample in metric.samples for label in sample.labels} - {"le"}
        yield name, metric.type, frozenset(labels)


def test_exactly_the_declared_families_are_exposed_with_their_labels() -> None:
    agent = busy(with_dns())
    declared = {(family.name, family.kind.value, frozenset(family.labels)) for family in FAMILIES}
    kinds = {family.name: family.kind.value for family in FAMILIES}
    assert set(exposed(metrics(agent, OPENMETRICS), kinds)) == declared


def test_every_sample_of_a_family_has_the_same_labels() -> None:
    for metric in metrics(busy(with_dns()), OPENMETRICS):
        assert len({frozenset(sample.labels) - {"le"} for sample in metric.samples}) == 1, metric.name


def test_no_sample_occurs_twice(agent: FakeAgent) -> None:
    lines = [line.rpartition(" ")[0] for line in render(Reading.take(busy(agent)), "").decode().splitlines()]
    samples = [line for line in lines if not line.startswith("#")]
    assert len(samples) == len(set(samples))


def test_both_formats_say_the_same(agent: FakeAgent) -> None:
    reading = Reading.take(busy(agent))

    def samples(text: bytes) -> set[str]:
        lines = text.decode().splitlines()
        return {line for line in lines if line.startswith("hivemesh_") and "heartbeat_age" not in line}

    assert samples(render(reading, "")) == samples(render(reading, OPENMETRICS))


def test_requests_are_counted_by_listener_route_service_endpoint_and_code(agent: FakeAgent) -> None:
    busy(agent)
    assert values(agent, "hivemesh_downstream_requests_total", listener="front") == {("200",): 1, ("503",): 1}
    assert values(agent, "hivemesh_route_requests_total", listener="front", route="api") == {("200",): 1, ("503",): 1}
    assert values(agent, "hivemesh_service_requests_total", service="api") == {("200",): 1, ("503",): 1}
    assert values(agent, "hivemesh_upstream_requests_total", service="api", endpoint="api-1") == {
        ("200",): 1,
        ("503",): 1,
    }


def test_questions_of_dns_are_counted_by_protocol_type_and_code() -> None:
    agent = with_dns()
    for worker in range(2):
        row = agent.row("dns/udp", worker)
        row.add(slots.DNS_TYPES, 2)
        row.add(slots.DNS_TYPES + len(slots.DNS_TYPE_NUMBERS), 1)
        row.add(slots.DNS_RCODES + len(slots.DNS_RCODE_NUMBERS), 1)
        row.add(slots.DNS_TRUNCATED, 1)
        row.observe(700, 3)
    agent.row("dns/tcp").add(slots.DNS_RCODES, 5)
    requests = values(agent, "hivemesh_dns_requests_total", protocol="udp")
    assert {key: value for key, value in requests.items() if value} == {("A",): 4, ("other",): 2}
    responses = values(agent, "hivemesh_dns_responses_total")
    assert {key: value for key, value in responses.items() if value} == {("tcp", "NOERROR"): 5, ("udp", "other"): 2}
    assert values(agent, "hivemesh_dns_truncated_total") == {("udp",): 2, ("tcp",): 0}
    assert values(agent, "hivemesh_dns_request_duration_seconds_count") == {("udp",): 6, ("tcp",): 0}
    assert values(agent, "hivemesh_dns_request_duration_seconds_sum", protocol="udp") == {(): pytest.approx(0.0042)}


def test_the_state_of_a_breaker_is_that_of_this_moment(agent: FakeAgent) -> None:
    assert values(agent, "hivemesh_circuit_state") == {}
    busy(agent)
    for state, seconds, shown, ejected in (
        (OPEN, 60.0, 1, 1),
        (OPEN, -0.1, 2, 0),
        (HALF_OPEN, 0.0, 2, 0),
        (0, 0.0, 0, 0),
    ):
        agent.put_breaker(ENDPOINT, state, until=seconds)
        assert values(agent, "hivemesh_circuit_state", service="api") == {("api-1",): shown}
        states = values(agent, "hivemesh_endpoints", service="api")
        assert states == {
            ("healthy",): 1 - ejected,
            ("ejected",): ejected,
            ("draining",): 1,
            ("checking",): 0,
            ("unhealthy",): 0,
        }


def test_ejections_are_counted_by_endpoint_and_reason(agent: FakeAgent) -> None:
    agent.row(ENDPOINT).add(slots.ATTEMPTS, 7)
    agent.row(ENDPOINT, worker=1).add(slots.ATTEMPT_FAILURES, 5)
    agent.words(ENDPOINT).add(words.EJECTIONS + words.EJECTION_REASONS.index("success_rate"), 2)
    assert values(agent, "hivemesh_ejections_total", service="api", endpoint="api-1") == {
        ("consecutive_errors",): 0,
        ("success_rate",): 2,
        ("half_open_failure",): 0,
    }
    assert values(agent, "hivemesh_upstream_attempts_total") == {("api-1", "api"): 7}
    assert values(agent, "hivemesh_upstream_attempt_failures_total") == {("api-1", "api"): 5}


def test_of_a_policy_that_nobody_has_nothing_is_shown_until_it_counts(agent: FakeAgent) -> None:
    names = {family.name for family in WORD_FAMILIES if family.scope is not Scope.LISTENER}
    names -= {"hivemesh_failovers_total", "hivemesh_service_ejections_total"}  # a split and a breaker are there
    assert not [sample for metric in metrics(agent) for sample in metric.samples if sample.name in names]
    agent.words("service/web").add(words.DENIED, 3)
    agent.words("route/front/api").add(words.MIRRORED, 1)
    assert values(agent, "hivemesh_service_requests_denied_total", service="web") == {
        ("address",): 3,
        ("body_size",): 0,
        ("concurrency",): 0,
    }
    assert values(agent, "hivemesh_route_mirror_requests_total") == {
        ("front", "sent", "api"): 1,
        ("front", "dropped", "api"): 0,
    }


def test_what_policies_may_do_is_shown_from_the_start() -> None:
    everything = RequestPolicies(
        access=Access(deny=("10.0.0.0/8",)),
        rate_limit=RateLimit(requests=1),
        fault=Fault(delay=Delay(duration=1.0)),
        mirror=Mirror(service="web"),
    )
    config = shop()
    (listener,) = config.snapshot.listeners
    api, web = config.snapshot.services
    api = msgspec.structs.replace(
        api,
        policies=everything,
        circuit_breaker=SOURCE_LIMITS,
        retry=RetryPolicy(),
        affinity=Affinity(),
        balancing=Balancing(panic_threshold_pct=50),
    )
    route = msgspec.structs.replace(listener.routes[0], filters=Filters(policies=everything))
    listener = msgspec.structs.replace(listener, routes=(route, *listener.routes[1:]))
    snapshot = msgspec.structs.replace(config.snapshot, services=(api, web), listeners=(listener,))
    agent = FakeAgent(config=msgspec.structs.replace(config, snapshot=snapshot))
    shown = {
        (sample.name, sample.labels.get("service") or sample.labels["route"])
        for metric in metrics(agent)
        for sample in metric.samples
        if sample.name in {family.name for family in WORD_FAMILIES if family.scope is not Scope.LISTENER}
    }
    expected = {(family.name, "api") for family in WORD_FAMILIES if family.scope in (Scope.ROUTE, Scope.SERVICE)}
    assert shown == {*expected, ("hivemesh_service_ejections_total", "web")}  # every service has breakers


def test_without_a_dns_server_there_is_nothing_of_it(agent: FakeAgent) -> None:
    assert values(agent, "hivemesh_dns_requests_total") == {}
    assert values(agent, "hivemesh_dns_cache_entries") == {}


def test_forwarded_questions_are_counted_by_what_came_of_them() -> None:
    agent = with_dns()
    for worker, outcome in enumerate((slots.DNS_FORWARD_ANSWERED, slots.DNS_FORWARD_FAILED)):
        row = agent.row("dns/forward", worker)
        row.count_request(outcome, 20_000, 0, 0)
        row.add(slots.DNS_CACHE_ENTRIES, 3)
    assert values(agent, "hivemesh_dns_forward_requests_total") == {("answered",): 1, ("stale",): 0, ("failed",): 1}
    assert values(agent, "hivemesh_dns_forward_duration_seconds_sum") == {(): pytest.approx(0.04)}
    assert values(agent, "hivemesh_dns_cache_entries") == {(): 6}


def test_durations_are_cumulative_buckets_with_their_sum_and_count(agent: FakeAgent) -> None:
    busy(agent)
    name = "hivemesh_downstream_request_duration_seconds"
    buckets = {labels[0]: count for labels, count in values(agent, f"{name}_bucket", listener="front").items()}
    assert buckets["0.0005"] == 1
    assert buckets["0.0025"] == 1
    assert buckets["0.005"] == 2
    assert buckets["+Inf"] == 2
    assert values(agent, f"{name}_count", listener="front") == {(): 2}
    assert values(agent, f"{name}_sum", listener="front") == {(): pytest.approx(0.0034)}


def test_health_checks_are_counted_with_their_times(agent: FakeAgent) -> None:
    busy(agent).checks.ended("api", CheckProtocol.HTTP, Outcome.FAILURE, 5.0)
    assert values(agent, "hivemesh_health_checks_total", service="api", protocol="http") == {
        ("success",): 1,
        ("failure",): 1,
    }
    name = "hivemesh_health_check_duration_seconds"
    buckets = {labels[0]: count for labels, count in values(agent, f"{name}_bucket", protocol="http").items()}
    assert (buckets["0.0025"], buckets["0.005"], buckets["2.5"], buckets["5.0"]) == (0, 1, 1, 2)
    assert values(agent, f"{name}_sum", protocol="http") == {(): pytest.approx(5.003)}
    assert values(agent, "hivemesh_health_check_lateness_seconds_count") == {(): 1}
    assert values(agent, "hivemesh_health_checks_in_flight") == {(): 3}
    assert values(agent, "hivemesh_health_checks_waiting") == {(): 1}


def test_the_registry_is_described_with_its_sources_and_its_store(agent: FakeAgent) -> None:
    def value(name: str, **labels: str) -> float:
        return values(agent, f"hivemesh_registry_{name}", **labels)[()]

    assert value("services") == len(agent.snapshot.services)
    assert value("index") == agent.catalog.registry.index
    assert value("changes_total", source="file") == 1
    assert value("source_up", source="store") == 1
    agent.catalog.problem("store", "the disk is full")
    assert value("source_up", source="store") == 0


def test_all_histograms_have_the_same_bounds() -> None:
    assert BOUNDS == slots.BUCKET_BOUNDS


def test_the_buckets_of_a_histogram_add_up_to_its_count_while_a_worker_counts(agent: FakeAgent) -> None:
    # A request that is half written: its bucket is counted, the request is not yet.
    agent.row("listener/front").add(slots.BUCKETS + 2, 1)
    name = "hivemesh_downstream_request_duration_seconds"
    assert values(agent, f"{name}_count", listener="front") == {(): 1}
    assert values(agent, f"{name}_bucket", listener="front", le="+Inf") == {(): 1}


def test_connections_of_the_pool_are_idle_or_active(agent: FakeAgent) -> None:
    agent.row(ENDPOINT).add(slots.CONNECTIONS_ACTIVE, 5)
    agent.row(ENDPOINT).add(slots.POOL_IDLE, 3)
    assert values(agent, "hivemesh_pool_connections", service="api", endpoint="api-1") == {("idle",): 3, ("active",): 2}


def test_connect_time_is_a_sum_and_a_count(agent: FakeAgent) -> None:
    agent.row(ENDPOINT).add(slots.CONNECTS, 4)
    agent.row(ENDPOINT).add(slots.CONNECT_MICROSECONDS, 10_000)
    name = "hivemesh_upstream_connect_duration_seconds"
    assert values(agent, f"{name}_count", service="api") == {("api-1",): 4}
    assert values(agent, f"{name}_sum", service="api") == {("api-1",): pytest.approx(0.01)}


def test_an_endpoint_without_traffic_has_no_series_but_is_listed(agent: FakeAgent) -> None:
    busy(agent)
    names = {labels for labels in values(agent, "hivemesh_upstream_requests_active", service="api")}
    assert names == {("api-1",)}
    assert len(values(agent, "hivemesh_endpoint_info", service="api")) == 2


def test_endpoints_are_counted_by_state(agent: FakeAgent) -> None:
    states = values(agent, "hivemesh_endpoints", service="api")
    assert states == {("healthy",): 1, ("checking",): 0, ("unhealthy",): 0, ("ejected",): 0, ("draining",): 1}


class AsItIs(FakeAgent):
    """Its snapshot is the configuration's, whatever the registry thinks of it."""

    @property
    def snapshot(self) -> Snapshot:
        return self.config.snapshot


def test_two_addresses_with_one_id_are_one_series() -> None:
    endpoints = tuple(Endpoint(id="a", address=address) for address in ("127.0.0.1:1", "127.0.0.1:2"))
    agent = AsItIs(config=Config(snapshot=Snapshot(services=(Service(name="s", endpoints=endpoints),))))
    agent.row("endpoint/s/a/127.0.0.1:1").count_request(200, 1, 0, 0)
    agent.row("endpoint/s/a/127.0.0.1:2").count_request(200, 1, 0, 0)
    assert values(agent, "hivemesh_upstream_requests_total", service="s") == {("200", "a"): 2}


def test_what_a_peer_sends_as_a_status_never_becomes_a_label(agent: FakeAgent) -> None:
    row = agent.row(ENDPOINT)
    for code in (1, 99, 600, 999, 20_000, 200):
        row.count_request(code, 1, 0, 0)
    assert values(agent, "hivemesh_upstream_requests_total", service="api", endpoint="api-1") == {
        ("200",): 1,
        ("other",): 5,
    }


def test_every_label_value_comes_from_the_configuration_or_a_closed_set(agent: FakeAgent) -> None:
    busy(agent)
    for code in range(100, 200):
        agent.row(ENDPOINT).count_request(code, 1, 0, 0)
    snapshot = agent.snapshot
    configured = {listener.name for listener in snapshot.listeners} | {service.name for service in snapshot.services}
    configured |= {route.name for listener in snapshot.listeners for route in listener.routes}
    for service in snapshot.services:
        for endpoint in service.endpoints:
            configured |= {endpoint.id, endpoint.address, endpoint.version, endpoint.node}
    closed = {"listener", "route", "service", "endpoint", "address", "node"}
    for metric in metrics(agent):
        for sample in metric.samples:
            for label, value in sample.labels.items():
                if label in closed:
                    assert value in configured, (sample.name, label, value)
    codes = values(agent, "hivemesh_upstream_requests_total", service="api", endpoint="api-1")
    # Each of two workers remembers 15 codes, and all the rest is one more.
    assert len(codes) <= 2 * (slots.CODE_PAIRS - 1) + 1
    assert sum(codes.values()) == 102


def test_names_that_need_escaping_survive(agent: FakeAgent) -> None:
    name = 'a"b\\c\nd'
    agent = FakeAgent(config=Config(snapshot=Snapshot(services=(Service(name=name),))))
    for accept in ("", OPENMETRICS):
        services = {
            sample.labels["service"]
            for metric in metrics(agent, accept)
            for sample in metric.samples
            if sample.name == "hivemesh_pending_requests"
        }
        assert services == {name}


def test_configuration_and_workers_are_described(agent: FakeAgent) -> None:
    agent.known_problems = (Problem(message="cannot listen"),)
    agent.states = (
        WorkerStatus(worker=0, pid=0, version=7, state="ready"),
        WorkerStatus(worker=1, pid=0, version=6, state="starting"),
    )
    agent.table.slot(1, slots.WORKER_SLOT).add(slots.WORKER_LOG_DROPPED, 12)
    assert values(agent, "hivemesh_config_reloads_total") == {("success",): 2, ("failure",): 1}
    assert values(agent, "hivemesh_config_last_reload_success_timestamp_seconds") == {(): 1_700_000_100.0}
    assert values(agent, "hivemesh_config_problems") == {(): 1}
    assert values(agent, "hivemesh_config_hash_info") == {("0123456789ab",): 1}
    assert values(agent, "hivemesh_workers") == {("starting",): 1, ("ready",): 1, ("draining",): 0, ("gone",): 0}
    assert values(agent, "hivemesh_worker_snapshot_version") == {("worker-0",): 7, ("worker-1",): 6}
    assert values(agent, "hivemesh_access_log_dropped_total") == {(): 12}
    ages = values(agent, "hivemesh_worker_heartbeat_age_seconds")
    assert set(ages) == {("worker-0",), ("worker-1",)}
    assert all(0 <= age < 60 for age in ages.values())


def test_processes_are_described_and_a_dead_one_is_left_out(agent: FakeAgent) -> None:
    agent.states = (
        WorkerStatus(worker=0, pid=1, version=7, state="ready"),
        WorkerStatus(worker=1, pid=2**22 + 1, version=7, state="gone"),  # beyond every pid there can be
    )
    assert set(values(agent, "process_cpu_seconds_total")) == {("agent",), ("worker-0",)}
    assert values(agent, "process_resident_memory_bytes", process="agent")[()] > 1_000_000
    assert values(agent, "process_start_time_seconds", process="agent")[()] > 1_600_000_000


def test_a_row_that_is_not_in_the_table_yet_reads_as_zero(agent: FakeAgent) -> None:
    del agent.slot_numbers["service/api"]
    assert values(agent, "hivemesh_pending_requests", service="api") == {(): 0}


def test_openmetrics_is_answered_when_asked_for_and_ends_once(agent: FakeAgent) -> None:
    assert content_type(OPENMETRICS).startswith("application/openmetrics-text")
    assert content_type("text/html, */*").startswith("text/plain; version=0.0.4")
    assert content_type("application/openmetrics-text; version=many").startswith("application/openmetrics-text")
    text = render(Reading.take(agent), OPENMETRICS)
    assert text.count(b"# EOF") == 1
    assert text.endswith(b"# EOF\n")


def test_a_compressed_exposition_is_the_same_text(agent: FakeAgent) -> None:
    reading = Reading.take(busy(agent))
    families = [line for line in render(reading, "").splitlines() if line.startswith(b"# ")]
    packed = gzip.decompress(render(reading, "", compress=True))
    assert [line for line in packed.splitlines() if line.startswith(b"# ")] == families


def test_a_family_of_many_samples_is_introduced_once(monkeypatch: pytest.MonkeyPatch, agent: FakeAgent) -> None:
    reading = Reading.take(busy(agent))
    for accept in ("", OPENMETRICS):
        whole = [line for line in render(reading, accept).splitlines() if line.startswith(b"hivemesh_up")]
        monkeypatch.setattr("proxy.stats.collector._CHUNK", 3)
        text = render(reading, accept)
        monkeypatch.undo()
        assert [line for line in text.splitlines() if line.startswith(b"hivemesh_up")] == whole
        introduced = [line for line in text.splitlines() if line.startswith(b"# TYPE")]
        assert len(introduced) == len(set(introduced)) == len(FAMILIES)


def test_counters_only_grow_between_two_scrapes(agent: FakeAgent) -> None:
    counters = {family.name for family in FAMILIES if family.kind is Kind.COUNTER}

    def read() -> dict[tuple[str, frozenset[tuple[str, str]]], float]:
        return {
            (sample.name, frozenset(sample.labels.items())): sample.value
            for metric in metrics(agent)
            for sample in metric.samples
            if sample.name in counters
        }

    before = read()
    busy(agent)
    after = read()
    assert all(after[key] >= value for key, value in before.items())
    assert set(before) <= set(after)


def test_the_agent_is_the_worker_when_there_are_no_others() -> None:
    agent = FakeAgent(config=shop(workers=0))
    assert values(agent, "process_cpu_seconds_total").keys() == {("agent",)}
