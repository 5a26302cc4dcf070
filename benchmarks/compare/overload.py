"""Overload: a service is offered four times of what it can do, behind limits that are equal in every proxy.

Three ways to bound what is admitted, each asked below its limit and at four times of it by a client that sends when a
request is due:

- refuse: so many requests at once at the origin; all others are refused.
- queue: as many more may wait for one of these places.
- accept: not the origin but the proxy is full. A quarter of its core is left to it, so that a client on the other core
  can offer four times of what it can do, each request on a connection of its own. The listener has a limit of
  connections; all others wait in the backlog of the socket, or for another try of their SYN.

Rendering is pure; `measure` drives the client.
"""

from __future__ import annotations

import contextlib
import json
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from benchmarks.compare import paced
from benchmarks.compare.bench import PROXY_CORE, Bench, Lane, Running
from benchmarks.compare.contenders import contender
from benchmarks.compare.contenders.contender import Command, Setup
from benchmarks.compare.contenders.haproxy import PROGRAM as HAPROXY
from benchmarks.compare.contenders.haproxy import HAProxy
from benchmarks.compare.contenders.hivemesh import CHECKOUT, Hivemesh, Json
from benchmarks.compare.load import LoadFailed
from benchmarks.compare.measures import Meter, Sample
from benchmarks.compare.paced import Pace, PacedOrigin, PacedReport
from benchmarks.compare.traffic import Request, Scenario, Service

PLACES: Final = 50
SERVICE: Final = 0.02  # seconds of a place
CAPACITY: Final = PLACES / SERVICE

BELOW: Final = 0.8  # of what can be done
OVER: Final = 4.0

# Of the core that the proxy has in the form `accept`, what is taken away.
HOGGED: Final = 0.75
ACCEPTED: Final = 256
# What finds the most that a proxy can do: from what any can to what makes all of them do less than they could.
FLOODS_PER_S: Final = (2_500.0, 5_000.0, 10_000.0, 20_000.0)

# Connections of the client. Those that wait for a proxy that is full are many, and must not wait for each other in the
# client as well: so these lose patience earlier, and before the kernel tries a SYN again.
KEPT: Final = 2_000
MOST_OPEN: Final = 12_000
PATIENCE: Final = 1.0
SHORT_PATIENCE: Final = 0.3

SLOW: Final = PacedOrigin("places", PLACES, SERVICE)
QUICK: Final = PacedOrigin("no places")

# Nobody waits for so long here: the limits decide, and no time.
QUEUE_TIMEOUT: Final = 5


@dataclass(frozen=True, slots=True)
class Limits:
    """0: no limit. `requests` at once of the service, `waiting` behind as many connections, `connections` of the
    listener, and as many that wait in its backlog."""

    requests: int = 0
    places: int = 0
    waiting: int = 0
    connections: int = 0


FORMS: Final = {
    "refuse": Limits(requests=PLACES),
    "queue": Limits(places=PLACES, waiting=PLACES),
    "accept": Limits(connections=ACCEPTED),
}


def one_slow_service(origin_ports: Sequence[int]) -> Scenario:
    addresses = tuple(f"127.0.0.1:{port}" for port in origin_ports)
    return Scenario((), (Service("slow", addresses),), (Request("shop.bench.test", "/slow"),))


def hivemesh_config(setup: Setup, limits: Limits) -> Json:
    (service,) = setup.scenario.services
    breaker: Json = {
        "consecutive_errors": 0,
        "success_rate": False,
        "max_retries": 0,
        "max_requests": limits.requests,
        "max_connections": limits.places,
        "max_pending_requests": limits.waiting,
    }
    listener: Json = {
        "name": "web",
        "address": f"127.0.0.1:{setup.port}",
        "routes": [{"name": "all", "service": service.name, "timeout": f"{contender.REQUEST_TIMEOUT}s"}],
    }
    if limits.connections:
        listener.update(max_connections=limits.connections, backlog=limits.connections)
    return {
        "workers": 1,
        "admin": {"address": f"127.0.0.1:{setup.admin_port}"},
        "access_log": {"format": "off"},
        "limits": {"connections": contender.MAX_CONNECTIONS + 100},
        "timeouts": {"connect": f"{QUEUE_TIMEOUT}s"},
        "listeners": [listener],
        "services": {
            service.name: {
                "endpoints": [{"id": "only", "address": service.addresses[0]}],
                "mesh": {"circuit_breaker": breaker},
            }
        },
    }


def haproxy_config(setup: Setup, limits: Limits) -> str:
    """A server's `maxqueue` bounds nothing here: who finds the only server full waits for the backend. So all requests
    of the backend are counted, those that wait among them."""
    (service,) = setup.scenario.services
    admitted = limits.requests or limits.places + limits.waiting
    refuse = f"  http-request return status 503 if {{ be_conn({service.name}) ge {admitted} }}\n" if admitted else ""
    connections = limits.connections or contender.MAX_CONNECTIONS
    backlog = f"  backlog {limits.connections}\n" if limits.connections else ""
    places = f" maxconn {limits.places}" if limits.places else ""
    return f"""global
  nbthread 1
  maxconn {contender.MAX_CONNECTIONS}

defaults
  mode http
  http-reuse always
  option forwardfor
  retries 3
  timeout connect {QUEUE_TIMEOUT}s
  timeout queue {QUEUE_TIMEOUT}s
  timeout client {contender.REQUEST_TIMEOUT}s
  timeout server {contender.REQUEST_TIMEOUT}s
  timeout http-request {contender.REQUEST_HEAD_TIMEOUT}s
  timeout http-keep-alive {contender.CLIENT_KEEP_ALIVE}s
  default-server pool-purge-delay {contender.UPSTREAM_IDLE}s

frontend web
  bind 127.0.0.1:{setup.port}
  maxconn {connections}
{backlog}{refuse}  default_backend {service.name}

backend {service.name}
  server only {service.addresses[0]}{places}
"""


class LimitedHivemesh(Hivemesh):
    def __init__(self, limits: Limits) -> None:
        super().__init__()
        self.limits = limits

    def command(self, setup: Setup) -> Command:
        config = setup.folder / "hivemesh.yaml"
        config.write_text(json.dumps(hivemesh_config(setup, self.limits), indent=1))
        return Command((sys.executable, "-m", "proxy", "run", "-c", str(config)), CHECKOUT, setup.folder / "output")


class LimitedHAProxy(HAProxy):
    def __init__(self, limits: Limits) -> None:
        super().__init__()
        self.limits = limits

    def command(self, setup: Setup) -> Command:
        assert HAPROXY
        config = setup.folder / "haproxy.cfg"
        config.write_text(haproxy_config(setup, self.limits))
        return Command((HAPROXY, "-db", "-f", str(config)), setup.folder, setup.folder / "output")


LANES: Final = tuple(
    Lane(f"{name} {form}", make(limits), one_slow_service, origin=QUICK if limits.connections else SLOW)
    for form, limits in FORMS.items()
    for name, make in (("hivemesh", LimitedHivemesh), ("haproxy", LimitedHAProxy))
)


def form_of(running: Running) -> Limits:
    return FORMS[running.lane.label.rpartition(" ")[2]]


def note_maximum(bench: Bench) -> None:
    """How many connections with a request each HAProxy can do in a second of the slow core, for the form `accept`: the
    most that any rate gets out of it. Where the core cannot be made slow, that form says so, and the others go on."""
    lane = next(lane for lane in LANES if lane.label == "haproxy accept")
    running = bench.start(lane)
    done = []
    try:
        with slow_core(bench):
            for rate in FLOODS_PER_S:
                report = offer(bench, running, rate)
                done.append(report.targets[0].good.count / report.seconds)
    except LoadFailed:
        return
    finally:
        running.process.end()
        bench.forget(running)
    bench.notes["accept_maximum_per_s"] = max(done)


def slow_core(bench: Bench) -> paced.Hog:
    return paced.Hog(PROXY_CORE, HOGGED, bench.scratch())


def offer(bench: Bench, running: Running, rate: float) -> PacedReport:
    limits = form_of(running)
    pace = Pace(rate, bench.seconds, connections=KEPT, patience=PATIENCE)
    if limits.connections:
        pace = Pace(rate, bench.seconds, connections=MOST_OPEN, patience=SHORT_PATIENCE, keep=False)
    report = paced.run(running.setup.port, pace, [request.target for request in running.requests])
    (target,) = report.targets
    if target.other.count or (report.failed and not limits.connections):
        raise LoadFailed(f"{target.other.count} answers are neither 200 nor a refusal, {report.failed} failed")
    if not target.good.count:
        raise LoadFailed(f"none of {report.offered} requests was admitted")
    return report


def measure(bench: Bench, running: Running) -> Sample:
    """First below the limit, then at four times of it."""
    limits = form_of(running)
    capacity = CAPACITY if not limits.connections else bench.notes.get("accept_maximum_per_s", FLOODS_PER_S[0])
    with slow_core(bench) if limits.connections else contextlib.nullcontext():
        light = offer(bench, running, BELOW * capacity).targets[0]
        origin_port = int(running.setup.scenario.services[0].addresses[0].rpartition(":")[2])
        paced.counts(origin_port)
        meter = Meter(running.process)
        report = offer(bench, running, OVER * capacity)
        cost = meter.stop()
    (target,) = report.targets
    most = paced.counts(origin_port)["most"]
    bound = limits.requests or limits.places
    if bound and most > bound:
        raise LoadFailed(f"the origin had {most} requests at once, and {bound} is the limit")
    return {
        "p99_ms": target.good.p99 * 1e3,
        "p50_ms": target.good.p50 * 1e3,
        "below_p99_ms": light.good.p99 * 1e3,
        "refused_p99_ms": target.refused.p99 * 1e3,
        "goodput_per_s": target.good.count / report.seconds,
        "admitted_share": target.good.count / report.offered,
        "gave_up_share": (report.gave_up + report.unsent + report.failed) / report.offered,
        "cpu_us_per_request": cost.cpu * 1e6 / report.answered,
        "core_share": cost.core_share,
        "late_p99_ms": report.late_p99 * 1e3,
        "most_at_origin": most,
    }
