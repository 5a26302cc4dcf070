"""A file that says something of everything, and any policy at all: what is read is what is shown, and the other way."""

from __future__ import annotations

import json
from typing import Any

import hypothesis.strategies as st
from hypothesis import given, settings

from discovery.config import Config
from discovery.model import Filters, Listener, Route, Service, Settings, Snapshot, TrafficSplit
from discovery.policies import (
    Abort,
    Access,
    Affinity,
    Balancing,
    BrokenAffinity,
    CircuitBreaker,
    Delay,
    Fault,
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
from proxy.config.balancing import PARAMETERS
from proxy.config.effective import effective
from proxy.config.load import load_text

EVERYTHING = """\
admin: { address: 127.0.0.1:9900 }
access_log: { path: stdout, format: json }
trusted_proxies: [ 10.0.0.0/8 ]
limits: { request_head: 60KiB, headers: 100, request_line: 8KiB, body: 0, connections: 10000 }
timeouts: { request_head: 10s, keep_alive: 75s, stream_idle: 5m, connect: 5s, upstream_idle: 60s, drain: 30s }
workers: 1
listeners:
  - name: web
    address: 127.0.0.1:8080
    routes:
      - name: api-v2
        match: { host: "*.shop.local", path_prefix: /api/v2, methods: [GET, POST] }
        service: api
        version: v2
      - name: beta
        match: { path_prefix: /, headers: { x-beta: "1" } }
        split: [ { service: web, version: v2, weight: 1 } ]
  - { name: db, address: 127.0.0.1:5432, protocol: tcp, service: postgres }
services:
  web:
    domain: web.local
    dns_answer: endpoints
    load_balancing: least_connections
    affinity: { cookie: hm }
    endpoints:
      - { id: web-1, address: 127.0.0.1:9001, version: v1, weight: 1, node: n1, metadata: { zone: a } }
      - { id: web-2, address: "backend:8080", version: v2, backup: false }
    traffic_split: [ { version: v1, weight: 80 }, { version: v2, weight: 20 } ]
    health_check: { protocol: http, path: /health, interval: 30s, timeout: 5s }
    mesh:
      timeout: 5s
      retry: { max_retries: 3, retry_on: [ 5xx, connect-failure ], per_try_timeout: 1s, budget: 20% }
      circuit_breaker: { max_connections: 100, max_pending_requests: 10, max_requests: 1000, max_retries: 3,
                         consecutive_errors: 5, interval: 10s, base_ejection_time: 30s, half_open_requests: 5 }
      rate_limit: { requests: 100, per: 1s, burst: 20, key: client_ip }
      mirror: { service: shadow, percent: 5 }
      fault: { delay: { duration: 100ms, percent: 1 }, abort: { status: 503, percent: 0 }, until: 2027-01-01T00:00:00Z }
      proxy_protocol: v2
      tracing: true
      mtls: false
  api: {}
  postgres: {}
  shadow: {}
"""


def problems_of(text: str) -> list[str]:
    return [str(problem) for problem in load_text(text, "f", {}).problems]


def test_a_file_that_says_something_of_everything() -> None:
    assert problems_of(EVERYTHING) == []


# --- any policies -----------------------------------------------------------------------------------------------------

shares = st.integers(0, 10_000).map(lambda number: number / 100)
some_shares = st.integers(1, 10_000).map(lambda number: number / 100)
durations = st.integers(1, 3_600_000).map(lambda number: number / 1000)
texts = st.text(st.sampled_from("abcxyz-019"), min_size=1, max_size=5)
names = texts.map(lambda text: "x" + text)
tables = st.dictionaries(names, texts, max_size=3)
some = st.dictionaries(names, texts, min_size=1, max_size=3)
times = st.integers(1, 4_000_000_000_000_000).map(lambda number: number / 1_000_000)


@st.composite
def request_keys(draw: st.DrawFn, *plain: KeyKind) -> RequestKey:
    kind = draw(st.sampled_from((*plain, KeyKind.HEADER, KeyKind.COOKIE, KeyKind.QUERY)))
    return RequestKey(kind=kind, name="" if kind in plain else draw(names))


@st.composite
def affinities(draw: st.DrawFn, breaks: bool = True) -> Affinity:
    kind = draw(st.sampled_from((KeyKind.COOKIE, KeyKind.HEADER, KeyKind.CLIENT_IP)))
    broken = draw(st.sampled_from(BrokenAffinity)) if breaks else BrokenAffinity.REPICK
    if kind is not KeyKind.COOKIE:
        return Affinity(kind=kind, name=draw(names) if kind is KeyKind.HEADER else "", broken=broken)
    return Affinity(
        name=draw(names),
        ttl=draw(st.just(0.0) | durations),
        path=draw(st.sampled_from(("/", "/shop"))),
        secure=True,
        same_site=draw(st.sampled_from(("Lax", "Strict", "None"))),
        broken=broken,
    )


@st.composite
def balancings(draw: st.DrawFn) -> dict[str, Any]:
    strategy = draw(st.sampled_from(LoadBalancingStrategy))
    values = {
        "hash_on": draw(request_keys(KeyKind.CLIENT_IP)),
        "bounded_load": draw(st.just(0.0) | st.integers(100, 10_000).map(lambda number: number / 100)),
        "choices": draw(st.integers(2, 64)),
        "decay": draw(durations),
        "slow_start": draw(st.just(0.0) | durations),
        "slow_start_aggression": draw(st.integers(1, 10_000).map(lambda number: number / 100)),
        "slow_start_min_pct": draw(shares),
        "panic_threshold_pct": draw(shares),
        "prefer_zone": draw(st.booleans()),
        "zone_key": draw(names),
        "zone_min_pct": draw(shares),
    }
    meant = {key.field for key, strategies in PARAMETERS.items() if strategy in strategies}
    parameters = Balancing(**{name: value for name, value in values.items() if name in meant})
    return {"load_balancing": strategy, "balancing": parameters}


@st.composite
def retries(draw: st.DrawFn) -> RetryPolicy:
    backoff_ms = draw(st.integers(0, 1000))
    headers = draw(st.lists(names, max_size=2, unique=True).map(tuple))
    words = draw(st.lists(st.sampled_from(("5xx", "reset", "503", "connect-failure")), min_size=1, unique=True))
    return RetryPolicy(
        max_retries=draw(st.integers(0, 100)),
        retry_on=(*words, "retriable-headers") if headers else tuple(words),
        per_try_timeout=draw(st.just(0.0) | durations),
        backoff=backoff_ms / 1000,
        max_backoff=(backoff_ms + draw(st.integers(0, 1000))) / 1000,
        max_retry_after=draw(st.just(0.0) | durations),
        budget_pct=draw(shares),
        budget_interval=draw(durations),
        budget_floor=draw(st.integers(0, 1000)) / 10,
        idempotency_key=draw(st.booleans()),
        retriable_headers=headers,
    )


@st.composite
def breakers(draw: st.DrawFn) -> CircuitBreaker:
    counts = st.integers(0, 10_000_000)
    base_ms = draw(st.integers(1, 3_600_000))
    return CircuitBreaker(
        max_connections=draw(counts),
        max_pending_requests=draw(counts),
        max_requests=draw(counts),
        max_retries=draw(counts),
        consecutive_errors=draw(st.integers(0, 1000)),
        interval=draw(durations),
        base_ejection_time=base_ms / 1000,
        max_ejection_time=(base_ms + draw(st.integers(0, 3_600_000))) / 1000,
        ejection_jitter_pct=draw(shares),
        half_open_requests=draw(st.integers(1, 1000)),
        count_500=draw(st.booleans()),
        success_rate=draw(st.booleans()),
        success_rate_min_requests=draw(st.integers(1, 1000)),
        max_ejection_pct=draw(shares),
    )


faults = st.builds(
    Fault,
    delay=st.builds(Delay, duration=durations, percent=shares),
    abort=st.none() | st.builds(Abort, status=st.integers(200, 599), percent=shares),
    until=st.just(0.0) | times,
)
policies = st.builds(
    RequestPolicies,
    access=st.none() | st.just(Access(allow=("10.0.0.0/8",))) | st.just(Access(deny=("10.0.0.0/8", "fd00::/8"))),
    max_body=st.integers(0, 1 << 40),
    rate_limit=st.none()
    | st.builds(
        RateLimit,
        requests=st.integers(1, 1000),
        per=durations,
        burst=st.integers(0, 1000),
        key=request_keys(KeyKind.CLIENT_IP, KeyKind.ROUTE),
    ),
    max_concurrent=st.integers(0, 1000),
    fault=st.none() | faults,
    mirror=st.none()
    | st.builds(
        Mirror,
        service=st.just("shadow"),
        version=st.just("") | names,
        percent=shares,
        max_body=st.integers(0, 16 << 20),
    ),
)


@st.composite
def services(draw: st.DrawFn) -> Service:
    return Service(
        name="web",
        **draw(balancings()),
        affinity=draw(st.none() | affinities()),
        sticky_split=draw(st.none() | affinities(breaks=False)),
        traffic_split=(TrafficSplit(version="v1"),),
        deadline_header=draw(st.booleans()),
        retry=draw(st.none() | retries()),
        circuit_breaker=draw(breakers()),
        policies=draw(policies),
    )


@st.composite
def subsets(draw: st.DrawFn) -> Subset:
    fallback = draw(st.sampled_from(SubsetFallback))
    metadata = draw(some)
    headers = {name: header for name, header in draw(tables).items() if name not in metadata}
    default = draw(some) if fallback is SubsetFallback.DEFAULT else {}
    return Subset(metadata=metadata, headers=headers, fallback=fallback, default=default)


routes = st.builds(
    Route,
    name=st.just("r"),
    split=st.just((TrafficSplit(service="web", weight=1),)),
    sticky_split=st.none() | affinities(breaks=False),
    subset=st.none() | subsets(),
    filters=st.builds(Filters, policies=policies),
    retry=st.none() | retries(),
)


@settings(max_examples=40, deadline=None)
@given(services(), routes)
def test_any_policy_is_read_as_it_is_shown(service: Service, route: Route) -> None:
    listener = Listener(name="l", address="127.0.0.1:1", routes=(route,))
    snapshot = Snapshot(settings=Settings(zone="a"), listeners=(listener,), services=(service, Service(name="shadow")))
    again = load_text(json.dumps(effective(Config(snapshot=snapshot))), "f", {})
    assert [str(problem) for problem in again.problems] == []
    assert again.config is not None
    found = again.config.snapshot
    for name in ("load_balancing", "balancing", "affinity", "sticky_split", "retry", "circuit_breaker", "policies"):
        assert getattr(found.services[0], name) == getattr(service, name)
    assert found.services[0].deadline_header is service.deadline_header
    [read] = found.listeners[0].routes
    for name in ("split", "sticky_split", "subset", "filters", "retry"):
        assert getattr(read, name) == getattr(route, name)
