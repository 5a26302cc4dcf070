"""The works: which question each asks, which lanes it runs, what it measures, and what the goal is.

A goal is a ratio between two lanes of the same run; a comparison without one is shown for reference.
"""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Final

from benchmarks.compare import measures, origins, overload, storm
from benchmarks.compare.bench import Bench, Lane, Running, StartFailed
from benchmarks.compare.contenders.contender import Contender
from benchmarks.compare.contenders.dns_servers import DNSMASQ, KNOT, UNBOUND
from benchmarks.compare.contenders.envoy import Envoy
from benchmarks.compare.contenders.haproxy import HAProxy
from benchmarks.compare.contenders.hivemesh import CHECKOUT, Hivemesh
from benchmarks.compare.contenders.nginx import Nginx
from benchmarks.compare.measures import Sample
from benchmarks.compare.origins import Origin
from benchmarks.compare.summary import Comparison
from benchmarks.compare.traffic import Protocol, Scenario, numbered_routes, one_service, service_names, with_policies

HIVEMESH: Final = Hivemesh()
HAPROXY: Final = HAProxy()
NGINX: Final = Nginx()
ENVOY: Final = Envoy()
CONTENDERS: Final[tuple[Contender, ...]] = (HIVEMESH, HAPROXY, NGINX, ENVOY)

# HAProxy has no UDP but that of its log servers.
NGINX_STREAM: Final = Nginx(streams=True)
TCP_CONTENDERS: Final[tuple[Contender, ...]] = (HIVEMESH, HAPROXY, NGINX_STREAM, ENVOY)
DNS_CONTENDERS: Final[tuple[Contender, ...]] = (HIVEMESH, KNOT, UNBOUND, DNSMASQ)
UDP_CONTENDERS: Final[tuple[Contender, ...]] = (HIVEMESH, NGINX_STREAM, ENVOY)

# Interpreting is a copy of the tree, because a compiled module wins over its source.
PURE_TREE: Final = CHECKOUT / "build" / "pure"
PURE_BUILDER: Final = CHECKOUT / "tools" / "pure_tree.py"
BUILD_TIMEOUT: Final = 600

FEW_ROUTES: Final = 10
MANY_ROUTES: Final = 10_000
NAMES: Final = 10_000


@dataclass(frozen=True, slots=True)
class Work:
    """`metric` is the number of a sample that is compared. `prepare` runs once, before the first round."""

    name: str
    question: str
    metric: str
    lanes: tuple[Lane, ...]
    comparisons: tuple[Comparison, ...]
    measure: Callable[[Bench, Running], Sample]
    prepare: Callable[[Bench], None] | None = None
    rounds: int = 5


def _lanes(*contenders: Contender) -> tuple[Lane, ...]:
    return tuple(Lane(contender.name, contender) for contender in contenders)


def _with_log(contender: Contender) -> tuple[Lane, Lane]:
    return Lane(contender.name, contender), Lane(f"{contender.name} with log", contender, access_log=True)


def _stream_lanes(protocol: Protocol, contenders: Sequence[Contender], origin: Origin) -> tuple[Lane, ...]:
    scenario: Callable[[Sequence[int]], Scenario] = partial(one_service, protocol)
    return tuple(Lane(contender.name, contender, scenario, origin=origin) for contender in contenders)


def _dns_lanes(contenders: Sequence[Contender]) -> tuple[Lane, ...]:
    scenario: Callable[[Sequence[int]], Scenario] = partial(service_names, NAMES)
    return tuple(Lane(contender.name, contender, scenario, origin=origins.NOBODY) for contender in contenders)


def _numbered(count: int) -> Lane:
    scenario: Callable[[Sequence[int]], Scenario] = partial(numbered_routes, count)
    return Lane(f"hivemesh {count} routes", HIVEMESH, scenario)


def note_half_of_haproxy(bench: Bench) -> None:
    """The rate of the latency work: half of what HAProxy can do at most on this machine."""
    if reason := HAPROXY.missing():
        raise StartFailed(f"the rate comes from HAProxy, and {reason}")
    running = bench.start(Lane("haproxy", HAPROXY))
    try:
        bench.notes["haproxy_maximum_per_s"] = measures.requests_per_s(bench, running)
    finally:
        running.process.end()
        bench.forget(running)
    bench.notes["rate_per_s"] = bench.notes["haproxy_maximum_per_s"] / 2


def build_pure_tree(_: Bench) -> None:
    """Make the copy in which only the kernels are compiled."""
    done = subprocess.run(
        [sys.executable, str(PURE_BUILDER), str(PURE_TREE)],
        cwd=CHECKOUT,
        capture_output=True,
        text=True,
        timeout=BUILD_TIMEOUT,
    )
    if done.returncode:
        raise StartFailed(f"{Path(PURE_BUILDER).name} failed: {done.stderr.strip()[-500:]}")


PURE: Final = Hivemesh(PURE_TREE, "hivemesh interpreted")

WORKS: Final = (
    Work(
        name="http_keepalive",
        question="HTTP/1.1, 64 keep-alive clients, 50 routes: CPU per request",
        metric="cpu_us_per_request",
        lanes=_lanes(*CONTENDERS),
        comparisons=(
            Comparison("hivemesh", "haproxy", 0.90),
            Comparison("hivemesh", "nginx", 0.90),
            Comparison("hivemesh", "envoy", 0.35),
        ),
        measure=measures.cpu_per_request,
    ),
    Work(
        name="policies",
        question="the same with split, least requests, retries, breaker, limits, rate limit, checks: CPU per request",
        metric="cpu_us_per_request",
        lanes=(
            Lane("hivemesh", HIVEMESH, with_policies),
            Lane("haproxy", HAPROXY, with_policies),
            Lane("hivemesh without", HIVEMESH),
            Lane("haproxy without", HAPROXY),
        ),
        comparisons=(
            Comparison("hivemesh", "haproxy", 1.00),
            Comparison("hivemesh", "hivemesh without"),
            Comparison("haproxy", "haproxy without"),
        ),
        measure=measures.cpu_per_request,
    ),
    Work(
        name="http_access_log",
        question="the same with an access log to a file: CPU per request, with the log and without",
        metric="cpu_us_per_request",
        lanes=(*_with_log(HIVEMESH), *_with_log(NGINX), *_with_log(HAPROXY)),
        comparisons=(
            Comparison("hivemesh with log", "hivemesh", 1.05),
            Comparison("nginx with log", "nginx"),
            Comparison("haproxy with log", "haproxy"),
            Comparison("hivemesh with log", "nginx with log"),
            Comparison("hivemesh with log", "haproxy with log"),
        ),
        measure=measures.cpu_per_request,
    ),
    Work(
        name="http_no_keepalive",
        question="clients that open a connection for each request: CPU per request",
        metric="cpu_us_per_request",
        lanes=_lanes(*CONTENDERS),
        comparisons=(
            Comparison("hivemesh", "haproxy", 1.00),
            Comparison("hivemesh", "nginx"),
            Comparison("hivemesh", "envoy"),
        ),
        measure=measures.cpu_per_request_closing,
    ),
    Work(
        name="http_latency",
        question="p99 at half of HAProxy's maximum rate",
        metric="p99_ms",
        lanes=_lanes(*CONTENDERS),
        comparisons=(
            Comparison("hivemesh", "haproxy", 1.10),
            Comparison("hivemesh", "nginx"),
            Comparison("hivemesh", "envoy"),
        ),
        measure=measures.latency,
        prepare=note_half_of_haproxy,
        rounds=9,
    ),
    Work(
        name="overload",
        question="four times of what can be done is offered, behind equal limits: p99 of what is admitted",
        metric="p99_ms",
        lanes=overload.LANES,
        comparisons=tuple(Comparison(f"hivemesh {form}", f"haproxy {form}", 1.10) for form in overload.FORMS),
        measure=overload.measure,
        prepare=overload.note_maximum,
    ),
    Work(
        name="health_storm",
        question="two of five of many endpoints fail and recover at once, at half of HAProxy's maximum rate: p99",
        metric="p99_ms",
        lanes=storm.LANES,
        comparisons=tuple(Comparison(f"hivemesh {count}", f"haproxy {count}", 1.10) for count in storm.SIZES),
        measure=storm.measure,
        prepare=storm.note_half_of_haproxy,
        rounds=3,
    ),
    Work(
        name="http_routes",
        question="10,000 routes and endpoints beside 10: CPU per request",
        metric="cpu_us_per_request",
        lanes=(_numbered(FEW_ROUTES), _numbered(MANY_ROUTES)),
        comparisons=(Comparison(f"hivemesh {MANY_ROUTES} routes", f"hivemesh {FEW_ROUTES} routes", 1.15),),
        measure=measures.cpu_per_request,
    ),
    Work(
        name="idle_connections",
        question="thousands of idle keep-alive clients: memory of the data process per connection",
        metric="bytes_per_connection",
        lanes=_lanes(*CONTENDERS),
        comparisons=(
            Comparison("hivemesh", "haproxy", 1.00),
            Comparison("hivemesh", "nginx"),
            Comparison("hivemesh", "envoy"),
        ),
        measure=measures.idle_connections,
        rounds=3,
    ),
    Work(
        name="memory",
        question="all processes of a proxy with one worker, idle: proportional set size",
        metric="pss",
        lanes=_lanes(*CONTENDERS),
        comparisons=(
            Comparison("hivemesh", "envoy", 1.00),
            Comparison("hivemesh", "haproxy"),
            Comparison("hivemesh", "nginx"),
        ),
        measure=measures.memory,
        rounds=3,
    ),
    Work(
        name="tcp_bulk",
        question="bytes through TCP, 4 connections, half of them down and half up: CPU per GB",
        metric="cpu_s_per_gb",
        lanes=_stream_lanes(Protocol.TCP, (*TCP_CONTENDERS, HAProxy("haproxy with splice", splice=True)), origins.BULK),
        comparisons=(
            Comparison("hivemesh", "haproxy", 0.50),
            Comparison("hivemesh", "envoy", 0.60),
            Comparison("hivemesh", "nginx"),
            Comparison("hivemesh", "haproxy with splice"),
        ),
        measure=measures.cpu_per_gb,
    ),
    Work(
        name="tcp_connections",
        question="TCP connections that carry one short request each: CPU per connection",
        metric="cpu_us_per_connection",
        lanes=_stream_lanes(Protocol.TCP, TCP_CONTENDERS, origins.WEB),
        comparisons=(
            Comparison("hivemesh", "haproxy", 1.00),
            Comparison("hivemesh", "nginx"),
            Comparison("hivemesh", "envoy"),
        ),
        measure=measures.cpu_per_connection,
    ),
    Work(
        name="tcp_small",
        question="64 TCP connections that carry small requests and answers in turn: CPU per request",
        metric="cpu_us_per_request",
        lanes=_stream_lanes(Protocol.TCP, TCP_CONTENDERS, origins.WEB),
        comparisons=(
            Comparison("hivemesh", "haproxy"),
            Comparison("hivemesh", "nginx"),
            Comparison("hivemesh", "envoy"),
        ),
        measure=measures.cpu_per_request,
    ),
    Work(
        name="udp_echo",
        question="64 UDP clients, each with one datagram of 64 bytes on its way: CPU per datagram passed on",
        metric="cpu_us_per_datagram",
        lanes=_stream_lanes(Protocol.UDP, UDP_CONTENDERS, origins.ECHO),
        comparisons=(
            Comparison("hivemesh", "nginx"),
            Comparison("hivemesh", "envoy"),
        ),
        measure=measures.cpu_per_datagram,
    ),
    Work(
        name="dns",
        question="10,000 names of four addresses each, asked over UDP: CPU per query",
        metric="cpu_us_per_query",
        lanes=_dns_lanes(DNS_CONTENDERS),
        comparisons=(
            Comparison("hivemesh", "knot", 0.95),
            Comparison("hivemesh", "unbound"),
            Comparison("hivemesh", "dnsmasq"),
        ),
        measure=measures.cpu_per_query,
        rounds=9,
    ),
    Work(
        name="http_pure",
        question="only the kernels compiled, the other modules interpreted: CPU per request",
        metric="cpu_us_per_request",
        lanes=_lanes(HIVEMESH, PURE),
        comparisons=(Comparison("hivemesh interpreted", "hivemesh"),),
        measure=measures.cpu_per_request,
        prepare=build_pure_tree,
    ),
)
