"""What is measured of a running proxy: CPU per request, connection, byte, datagram or query, latency at a fixed rate,
and memory.

Each measure takes the bench and a running proxy and returns one sample: named numbers whose names carry their unit
(bytes need none). They drive the load generators and read /proc; what the numbers mean together is said elsewhere.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import Final

from benchmarks.compare import dns, load, native
from benchmarks.compare.bench import LOAD_CORE, PROXY_CORE, Bench, Running
from benchmarks.compare.contenders.contender import MAX_CONNECTIONS
from benchmarks.compare.idle import IdleClients
from benchmarks.compare.processes import Started, core_busy, wait_until

Sample = dict[str, float]

# Bytes of a bulk transfer per second that a sample was asked to take, both directions together: 8 GB in the usual five
# seconds. How long they take is up to the proxy.
BULK_PER_S: Final = 1.6e9
WARM_BULK: Final = 100_000_000

# Pools fill, code pages come in, allocators reach their size.
WARM_UP: Final = 1.0

# Allocators hand back, timers of a start go by; memory is read after this.
SETTLE: Final = 1.0

# A tree that uses less of its core than this, looked at for so long (seconds), has nothing left to do of its start.
QUIET_SHARE: Final = 0.05
QUIET_LOOK: Final = 0.5
QUIET_TIMEOUT: Final = 20.0

# Connections that are opened before the first reading of memory, so that what is allocated once is not counted as
# cost of a connection; and how many are kept free for a proxy's own (a probe that is still closing).
FIRST_CLIENTS: Final = 50
SPARE_CLIENTS: Final = 50
SMOKE_CLIENTS: Final = 500


class Meter:
    """CPU of a whole tree from its making to `stop`."""

    def __init__(self, process: Started) -> None:
        self._process = process
        self._split = process.user_and_system()
        self._busy, self._cpu, self._begun = core_busy(PROXY_CORE), process.cpu(), time.monotonic()

    def stop(self) -> Cost:
        cpu = self._process.cpu() - self._cpu
        busy, passed = core_busy(PROXY_CORE) - self._busy, time.monotonic() - self._begun
        user, system = (
            after - before for after, before in zip(self._process.user_and_system(), self._split, strict=True)
        )
        user_share = user / (user + system) if user + system else 0.0
        return Cost(cpu, user_share, cpu / passed, max(0.0, busy - cpu) / passed)


@dataclass(frozen=True, slots=True)
class Cost:
    """`cpu` in seconds. `foreign_share` is what others ran on the proxy's core meanwhile: kernel threads and
    interrupts, and on a machine that is not quiet, strangers."""

    cpu: float
    user_share: float
    core_share: float
    foreign_share: float

    def shares(self) -> Sample:
        return {"user_share": self.user_share, "core_share": self.core_share, "foreign_share": self.foreign_share}


def cpu_per_request(bench: Bench, running: Running, close: bool = False) -> Sample:
    """CPU of the whole tree over requests completed, while wrk keeps 64 connections busy."""
    folder = bench.scratch()
    warm = load.run_wrk(folder, running.requests, running.setup.port, WARM_UP, close)
    meter = Meter(running.process)
    report = load.run_wrk(folder, running.requests, running.setup.port, bench.seconds, close)
    cost = meter.stop()
    running.answered += warm.requests + report.requests
    return {
        "cpu_us_per_request": cost.cpu * 1e6 / report.requests,
        "requests_per_s": report.requests_per_s,
        "p50_ms": report.p50 * 1e3,
        "p99_ms": report.p99 * 1e3,
        **cost.shares(),
    }


def cpu_per_request_closing(bench: Bench, running: Running) -> Sample:
    """The same for clients that open a connection for each request."""
    return cpu_per_request(bench, running, close=True)


def cpu_per_connection(bench: Bench, running: Running) -> Sample:
    """One short request on each connection, of a proxy that sees connections only."""
    sample = cpu_per_request(bench, running, close=True)
    return {
        "cpu_us_per_connection": sample.pop("cpu_us_per_request"),
        "connections_per_s": sample.pop("requests_per_s"),
        **sample,
    }


def cpu_per_gb(bench: Bench, running: Running) -> Sample:
    """CPU of the whole tree over bytes moved, half of them to the client and half from it."""
    port = running.setup.port
    half = round(BULK_PER_S * bench.seconds / 2)
    for way in ("down", "up"):
        native.bulk(port, WARM_BULK, way)
    whole = Meter(running.process)
    meter = Meter(running.process)
    down, down_cost = native.bulk(port, half, "down"), meter.stop()
    meter = Meter(running.process)
    up, up_cost = native.bulk(port, half, "up"), meter.stop()
    return {
        "cpu_s_per_gb": (down_cost.cpu + up_cost.cpu) * native.GB / (down.moved + up.moved),
        "down_cpu_s_per_gb": down_cost.cpu * native.GB / down.moved,
        "up_cpu_s_per_gb": up_cost.cpu * native.GB / up.moved,
        "down_gb_per_s": down.gb_per_s,
        "up_gb_per_s": up.gb_per_s,
        "gb": (down.moved + up.moved) / native.GB,
        **whole.stop().shares(),
    }


def cpu_per_datagram(bench: Bench, running: Running) -> Sample:
    """CPU of the whole tree over datagrams passed on: each echo was one there and one back."""
    native.datagrams(running.setup.port, WARM_UP)
    meter = Meter(running.process)
    report = native.datagrams(running.setup.port, bench.seconds)
    cost = meter.stop()
    return {
        "cpu_us_per_datagram": cost.cpu * 1e6 / (2 * report.echoed),
        "datagrams_per_s": 2 * report.echoed / report.duration,
        "p50_ms": report.p50 * 1e3,
        "p99_ms": report.p99 * 1e3,
        "lost": report.lost,
        **cost.shares(),
    }


def cpu_per_query(bench: Bench, running: Running) -> Sample:
    """CPU of the whole tree over questions answered, when every name has been asked for and the start is long over."""
    scenario = running.setup.scenario
    folder = bench.scratch()
    dns.run_dnsperf(folder, scenario, running.setup.port, 0)
    _await_quiet(running.process)
    meter = Meter(running.process)
    report = dns.run_dnsperf(folder, scenario, running.setup.port, bench.seconds)
    cost = meter.stop()
    return {
        "cpu_us_per_query": cost.cpu * 1e6 / report.completed,
        "queries_per_s": report.per_s,
        "mean_ms": report.latency * 1e3,
        "lost": report.lost,
        **cost.shares(),
    }


def _await_quiet(process: Started) -> None:
    """Wait until a tree does next to nothing."""

    def is_quiet() -> bool:
        before = process.cpu()
        time.sleep(QUIET_LOOK)
        return process.cpu() - before < QUIET_SHARE * QUIET_LOOK

    if not wait_until(is_quiet, QUIET_TIMEOUT):
        raise load.LoadFailed(f"it was still busy {QUIET_TIMEOUT:.0f} s after all names had been asked for")


def requests_per_s(bench: Bench, running: Running) -> float:
    """How many requests a second the proxy can answer at most, to load the others with a share of it."""
    folder = bench.scratch()
    load.run_wrk(folder, running.requests, running.setup.port, WARM_UP)
    return load.run_wrk(folder, running.requests, running.setup.port, bench.seconds).requests_per_s


def latency(bench: Bench, running: Running) -> Sample:
    """Latency at the rate that was noted in `bench.notes`, for requests to one host.

    `requests_per_s` shows whether the proxy kept up with the rate, `load_core_share` whether the other core did: a
    latency that was measured with either saturated says how long a queue was.
    """
    host = running.requests[0].host
    requests = [request for request in running.requests if request.host == host and not request.beta]
    load.run_wrk(bench.scratch(), requests, running.setup.port, WARM_UP)
    rate = bench.notes["rate_per_s"]
    busy_before, cpu_before, begun = core_busy(LOAD_CORE), running.process.cpu(), time.monotonic()
    report = load.run_h2load(bench.scratch(), requests, running.setup.port, rate, bench.seconds)
    cpu, busy, passed = (
        running.process.cpu() - cpu_before,
        core_busy(LOAD_CORE) - busy_before,
        time.monotonic() - begun,
    )
    return {
        "p50_ms": report.p50 * 1e3,
        "p99_ms": report.p99 * 1e3,
        "p999_ms": report.p999 * 1e3,
        "requests_per_s": report.requests_per_s,
        "cpu_us_per_request": cpu * 1e6 / report.all_requests,
        "load_core_share": busy / passed,
    }


def idle_connections(bench: Bench, running: Running) -> Sample:
    """What the data process grows by for each client that made one request and stays connected.

    The growth is that of its private pages: PSS also moves when an unrelated program starts or ends and takes its
    share of a common library, which for a few megabytes of growth is no small error.
    """
    process = running.process
    count = SMOKE_CLIENTS if bench.smoke else MAX_CONNECTIONS - FIRST_CLIENTS - SPARE_CLIENTS
    with IdleClients(running.setup.port, running.requests) as clients:
        clients.add(FIRST_CLIENTS)
        time.sleep(SETTLE)
        data_process = process.data_process()
        before = process.memory()[data_process]
        clients.add(count)
        time.sleep(SETTLE)
        after = process.memory()[data_process]
        closed = clients.closed_by_peer()
    if closed:
        raise load.LoadFailed(f"{closed} of {count} idle connections were closed")
    return {
        "bytes_per_connection": (after.private - before.private) / count,
        "connections": count,
        "pss_before": before.pss,
        "pss_after": after.pss,
    }


def memory(bench: Bench, running: Running) -> Sample:
    """What the whole tree holds: started and idle, and idle again after a second of load."""
    process = running.process
    time.sleep(SETTLE)
    started = process.memory().values()
    load.run_wrk(bench.scratch(), running.requests, running.setup.port, WARM_UP)
    time.sleep(SETTLE)
    loaded = process.memory().values()
    return {
        "pss": sum(memory.pss for memory in started),
        "private": sum(memory.private for memory in started),
        "rss": sum(memory.rss for memory in started),
        "processes": len(started),
        "largest_pss": max(memory.pss for memory in started),
        "pss_after_load": sum(memory.pss for memory in loaded),
    }
