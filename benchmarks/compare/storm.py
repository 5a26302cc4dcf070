"""A storm of health: thousands of endpoints fail and recover at once, again and again, under a steady load.

Two services: `calm` has four endpoints that nobody checks; `hit` has a thousand or ten thousand that are checked over
HTTP, two of five of which are in the weather. A client that sends when a request is due asks both in turn, at half of
the rate that HAProxy can do at most: first in fair weather, then while those endpoints' checks are answered 503
("sick"), in order again, with nobody listening there ("gone"), in order again, and at last while an operator takes
endpoints out and puts them back as fast as the proxy's API has it, one after the other.

In any weather an answer comes on connections that are open; what differs is what checks and new connections see. So
each request can be answered, and one that is not is counted as failed.

Rendering is pure; `measure` drives client, weather and operator.
"""

from __future__ import annotations

import contextlib
import http.client
import json
import socket
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import Final

from benchmarks.compare import load, paced
from benchmarks.compare.bench import Bench, Lane, Running
from benchmarks.compare.contenders import contender
from benchmarks.compare.contenders.contender import Command, Setup
from benchmarks.compare.contenders.haproxy import PROGRAM as HAPROXY
from benchmarks.compare.contenders.haproxy import HAProxy
from benchmarks.compare.contenders.hivemesh import CHECKOUT, Hivemesh, Json
from benchmarks.compare.load import LoadFailed
from benchmarks.compare.measures import Meter, Sample
from benchmarks.compare.paced import Pace, PacedOrigin, PacedReport
from benchmarks.compare.summary import median
from benchmarks.compare.traffic import Request, Scenario, Service

HOST: Final = "127.0.0.1"
CALM: Final = 4
CHECK_TIMEOUT: Final = 1  # seconds

# HAProxy wants a descriptor for each check beside two for each client, and has 20,000 in all.
CLIENTS: Final = 2000

# Of five endpoints of `hit`.
STORMY: Final = 2
EVERY: Final = 5

# Endpoints -> seconds between two checks of one: a thousand checks a second in both.
SIZES: Final = {1000: 1, 10_000: 10}
# Of how long a weather lasts, what part of a sample's seconds: many endpoints take longer to be all asked.
LENGTHS: Final = {1000: 1.0, 10_000: 1.5}

ORIGIN: Final = PacedOrigin("weather", stormy=True)
WEATHERS: Final = ("sick", "fair", "gone", "fair")
SETTLE: Final = 1.0
API_TIMEOUT: Final = 10.0


def services(count: int, origin_ports: Sequence[int]) -> Scenario:
    fair, stormy = (f"{HOST}:{port}" for port in origin_ports)
    hit = tuple(stormy if number % EVERY < STORMY else fair for number in range(count))
    requests = tuple(Request("shop.bench.test", path) for path in ("/calm", "/hit"))
    return Scenario((), (Service("calm", (fair,) * CALM), Service("hit", hit)), requests)


def hivemesh_config(setup: Setup, interval: int) -> Json:
    routes = [
        {
            "name": service.name,
            "match": {"path_prefix": f"/{service.name}"},
            "service": service.name,
            "timeout": f"{contender.REQUEST_TIMEOUT}s",
        }
        for service in setup.scenario.services
    ]
    check = {
        "protocol": "http",
        "path": "/health",
        "interval": f"{interval}s",
        "timeout": f"{CHECK_TIMEOUT}s",
        "healthy_threshold": 1,
        "unhealthy_threshold": 1,
    }
    return {
        "workers": 1,
        "admin": {"address": f"{HOST}:{setup.admin_port}"},
        "access_log": {"format": "off"},
        "limits": {"connections": CLIENTS + 100},
        "listeners": [{"name": "web", "address": f"{HOST}:{setup.port}", "routes": routes}],
        "services": {
            service.name: {
                "endpoints": [
                    {"id": f"e{number}", "address": address} for number, address in enumerate(service.addresses)
                ],
                **({"health_check": check} if service.name == "hit" else {}),
            }
            for service in setup.scenario.services
        },
    }


def haproxy_config(setup: Setup, interval: int) -> str:
    routes, backends = "", ""
    for service in setup.scenario.services:
        is_checked = service.name == "hit"
        check = f"  option httpchk GET /health\n  timeout check {CHECK_TIMEOUT}s\n" if is_checked else ""
        options = f" check inter {interval}s fall 1 rise 1" if is_checked else ""
        servers = "".join(
            f"  server e{number} {address}{options}\n" for number, address in enumerate(service.addresses)
        )
        routes += f"  use_backend {service.name} if {{ path_beg /{service.name} }}\n"
        backends += f"\nbackend {service.name}\n  balance roundrobin\n{check}{servers}"
    return f"""global
  nbthread 1
  maxconn {CLIENTS}
  spread-checks 5
  stats socket {setup.folder / "api"} mode 600 level admin

defaults
  mode http
  http-reuse always
  option forwardfor
  option redispatch 1
  retries 3
  retry-on conn-failure empty-response
  timeout connect {contender.CONNECT_TIMEOUT}s
  timeout client {contender.REQUEST_TIMEOUT}s
  timeout server {contender.REQUEST_TIMEOUT}s
  timeout http-request {contender.REQUEST_HEAD_TIMEOUT}s
  timeout http-keep-alive {contender.CLIENT_KEEP_ALIVE}s
  default-server pool-purge-delay {contender.UPSTREAM_IDLE}s

frontend web
  bind {HOST}:{setup.port}
  maxconn {CLIENTS}
{routes}{backends}"""


class StormyHivemesh(Hivemesh):
    def __init__(self, interval: int) -> None:
        super().__init__()
        self.interval = interval

    def command(self, setup: Setup) -> Command:
        config = setup.folder / "hivemesh.yaml"
        config.write_text(json.dumps(hivemesh_config(setup, self.interval)))
        return Command((sys.executable, "-m", "proxy", "run", "-c", str(config)), CHECKOUT, setup.folder / "output")

    def operate(self, setup: Setup, is_over: Callable[[], bool]) -> int:
        """Drain endpoints and take that back, on one connection, until `is_over()`; how many times."""
        connection = http.client.HTTPConnection(HOST, setup.admin_port, timeout=API_TIMEOUT)
        done = 0
        for number, out in _turns(len(setup.scenario.services[1].addresses)):
            if is_over():
                break
            method = "POST" if out else "DELETE"
            connection.request(method, f"/v1/services/hit/endpoints/e{number}/drain")
            response = connection.getresponse()
            text = response.read()
            if response.status not in (200, 204):
                raise LoadFailed(f"an endpoint could not be drained: {response.status} {text[:200]!r}")
            done += 1
        connection.close()
        return done


class StormyHAProxy(HAProxy):
    def __init__(self, interval: int) -> None:
        super().__init__()
        self.interval = interval

    def command(self, setup: Setup) -> Command:
        assert HAPROXY
        config = setup.folder / "haproxy.cfg"
        config.write_text(haproxy_config(setup, self.interval))
        return Command((HAPROXY, "-db", "-f", str(config)), setup.folder, setup.folder / "output")

    def operate(self, setup: Setup, is_over: Callable[[], bool]) -> int:
        """The same by its runtime API, which takes a command per connection."""
        done = 0
        for number, out in _turns(len(setup.scenario.services[1].addresses)):
            if is_over():
                break
            with socket.socket(socket.AF_UNIX) as connection:
                connection.settimeout(API_TIMEOUT)
                connection.connect(str(setup.folder / "api"))
                connection.sendall(f"set server hit/e{number} state {'drain' if out else 'ready'}\n".encode())
                if said := connection.recv(4096).strip():
                    raise LoadFailed(f"a server could not be drained: {said!r}")
            done += 1
        return done


def _turns(count: int) -> Iterator[tuple[int, bool]]:
    """A tenth of the endpoints out, and in again, over and over."""
    while True:
        for out in (True, False):
            for number in range(0, count, 10):
                yield number, out


LANES: Final = tuple(
    Lane(f"{name} {count}", make(interval), partial(services, count), origin=ORIGIN)
    for count, interval in SIZES.items()
    for name, make in (("hivemesh", StormyHivemesh), ("haproxy", StormyHAProxy))
)


def note_half_of_haproxy(bench: Bench) -> None:
    """The rate of all lanes: half of what HAProxy does at most with the fewer endpoints."""
    running = bench.start(next(lane for lane in LANES if lane.label == f"haproxy {min(SIZES)}"))
    try:
        report = load.run_wrk(bench.scratch(), running.requests, running.setup.port, bench.seconds)
    finally:
        running.process.end()
        bench.forget(running)
    bench.notes["haproxy_maximum_per_s"] = report.requests_per_s
    bench.notes["rate_per_s"] = report.requests_per_s / 2


def measure(bench: Bench, running: Running) -> Sample:
    count = len(running.setup.scenario.services[1].addresses)
    seconds = LENGTHS[count] * bench.seconds
    fair_port = int(running.setup.scenario.services[0].addresses[0].rpartition(":")[2])
    operator = running.lane.contender
    assert isinstance(operator, StormyHivemesh | StormyHAProxy)

    def ask() -> PacedReport:
        pace = Pace(bench.notes["rate_per_s"], seconds, patience=2.0)
        return paced.run(running.setup.port, pace, [request.target for request in running.requests])

    paced.ask(fair_port, "/weather/fair")
    time.sleep(operator.interval + SETTLE)  # every endpoint has been asked once
    meter = Meter(running.process)
    steady = ask()
    calm_cost = meter.stop()
    meter = Meter(running.process)
    stormy = []
    for weather in WEATHERS:
        paced.ask(fair_port, f"/weather/{weather}")
        stormy.append(ask())
    cost = meter.stop()
    with _operating(operator, running.setup) as done:
        operated = ask()
    return {
        "p99_ms": median([_p99(report, 1) for report in stormy]),
        "calm_p99_ms": median([_p99(report, 0) for report in stormy]),
        "worst_p99_ms": max(_p99(report, target) for report in stormy for target in (0, 1)),
        "fair_p99_ms": max(_p99(steady, 0), _p99(steady, 1)),
        "operated_p99_ms": max(_p99(operated, 0), _p99(operated, 1)),
        "changes_per_s": done[0] / (seconds + 0.3),
        "failed": sum(_failed(report) for report in (steady, *stormy, operated)),
        "requests": sum(report.offered for report in (steady, *stormy, operated)),
        "core_share": cost.core_share,
        "fair_core_share": calm_cost.core_share,
        "late_p99_ms": max(report.late_p99 for report in (steady, *stormy, operated)) * 1e3,
    }


def _p99(report: PacedReport, target: int) -> float:
    good = report.targets[target].good
    if not good.count:
        raise LoadFailed("not one request was answered 200")
    return good.p99 * 1e3


def _failed(report: PacedReport) -> int:
    return report.offered - sum(target.good.count for target in report.targets)


@contextlib.contextmanager
def _operating(operator: StormyHivemesh | StormyHAProxy, setup: Setup) -> Iterator[list[int]]:
    """An operator beside what is done within; then how many changes there were."""
    over = threading.Event()
    done: list[int] = [0]
    problems: list[BaseException] = []

    def work() -> None:
        try:
            done[0] = operator.operate(setup, over.is_set)
        except (OSError, http.client.HTTPException, LoadFailed) as problem:
            problems.append(problem)

    thread = threading.Thread(target=work)
    thread.start()
    try:
        yield done
    finally:
        over.set()
        thread.join()
    if problems:
        raise LoadFailed(f"the operator: {problems[0]}")
