"""Proof: one agent checks 10,000 endpoints every 10 s at little cost, and endpoints that hang delay no other.

The endpoints are a few listeners of loopback under many ids: to the agent each is one of its own, with its own time.
They are asked by TCP, then by HTTP, then a tenth of them accepts connections and never answers. What the agent counts
about its checks (how many, how long after their time they began) and its CPU time are read from /metrics at both ends
of a window that begins when every endpoint has had its first check.
"""

from __future__ import annotations

import asyncio
import os
import socket
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

from benchmarks.proofs.evidence import Evidence, ProofError
from benchmarks.proofs.hive import HOST, Hive, free_port
from benchmarks.proofs.part import Cue, Part

PROMISE: Final = "10,000 endpoints are checked every 10 s by one agent, and a thousand that hang delay no other"

SERVICES: Final = 10
PORTS: Final = 8
ANSWER: Final = b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\nConnection: close\r\n\r\nok\n"
LATENESS: Final = "hivemesh_health_check_lateness_seconds_bucket"

# A check that begins so much later than it was due is late: a hundredth of the interval. The short form, a test among
# others, only sees whether the proof works.
LATE: Final = 0.1
LATE_IN_SHORT: Final = 0.5


def prove(evidence: Evidence, folder: Path) -> None:
    endpoints, interval, window = (300, 0.5, 1.5) if evidence.short else (10_000, 10.0, 30.0)
    ports = [free_port() for _ in range(PORTS)]
    hanging = free_port()
    evidence.note("endpoints", endpoints)
    evidence.note("interval", interval)
    with Part(origin, ports, hanging):
        tcp = config(ports, endpoints, {"protocol": "tcp"}, interval)
        with Hive(tcp, folder) as hive:
            _measure(evidence, hive, "tcp", endpoints, interval, window)
            http = {"protocol": "http", "path": "/"}
            _reload(hive, config(ports, endpoints, http, interval))
            _measure(evidence, hive, "http", endpoints, interval, window)
            dead = endpoints // 10
            _reload(hive, config(ports, endpoints - dead, http, interval, hanging, dead))
            _measure(evidence, hive, "http beside endpoints that hang", endpoints - dead, interval, window, dead)
            evidence.claim("the log has no bug", not hive.bugs(), hive.bugs()[:3] or "none")


def _measure(
    evidence: Evidence, hive: Hive, what: str, count: int, interval: float, window: float, dead: int = 0
) -> None:
    _wait_until(hive, "healthy", count, interval)
    if dead:
        _wait_until(hive, "unhealthy", dead, interval)
    load = os.getloadavg()[0]
    before, began = Numbers(hive), time.monotonic()
    time.sleep(window)
    after, lasted = Numbers(hive), time.monotonic() - began
    checks = after.checks - before.checks
    due = count * lasted / interval
    slack, limit = (0.2, LATE_IN_SHORT) if evidence.short else (0.05, LATE)
    evidence.claim(
        f"{what}: each of {count:,} endpoints is checked once in {interval:g} s",
        (1 - slack) * due < checks < (1 + slack) * due,
        f"{checks:,.0f} checks in {lasted:.1f} s, {due:,.0f} were due",
    )
    # Those that hang may be late, but no more than their share of all checks.
    share = 0.99 if not dead else count / (count + dead) - 0.01
    late = quantile(share, before.lateness, after.lateness)
    evidence.claim(
        f"{what}: {share:.0%} of the checks begin within {limit:g} s of their time",
        late <= limit,
        f"{share:.0%} within {late:g} s; load of the machine {load:.1f}",
    )
    evidence.note(f"{what}: CPU of the agent, cores", round((after.cpu - before.cpu) / lasted, 3))
    evidence.note(f"{what}: CPU of the agent per check, ms", round(1000 * (after.cpu - before.cpu) / max(1, checks), 3))
    evidence.note(f"{what}: resident memory of the agent, MiB", round(after.memory / 2**20, 1))
    evidence.note(f"{what}: load of the machine", round(load, 1))


def _wait_until(hive: Hive, state: str, count: int, interval: float) -> None:
    """Asks now and then: to expose 10,000 endpoints again and again would be more work than to check them."""
    deadline = time.monotonic() + 30 * interval + 20
    while (found := hive.metric("hivemesh_endpoints", state=state)) != count:
        if time.monotonic() > deadline:
            raise ProofError(f"{found:g} endpoints are {state}, expected {count}")
        time.sleep(interval / 2)


class Numbers:
    """What /metrics says at one moment. `checks`: of the services that are well."""

    def __init__(self, hive: Hive) -> None:
        self.checks = self.cpu = self.memory = 0.0
        self.lateness: dict[float, float] = {}
        for name, labels, value in hive.metrics():
            if name == "hivemesh_health_checks_total" and labels["result"] == "success":
                self.checks += value
            elif name == LATENESS:
                self.lateness[float(labels["le"])] = value
            elif labels.get("process") == "agent":
                if name == "process_cpu_seconds_total":
                    self.cpu = value
                elif name == "process_resident_memory_bytes":
                    self.memory = value


def quantile(share: float, before: dict[float, float], after: dict[float, float]) -> float:
    """The bound of the bucket that it lies in."""
    counts = {bound: after[bound] - before.get(bound, 0.0) for bound in sorted(after)}
    wanted = share * counts[float("inf")]
    return next(bound for bound, count in counts.items() if count >= wanted)


def config(
    ports: Sequence[int], count: int, check: dict[str, Any], interval: float, hanging: int = 0, dead: int = 0
) -> dict[str, Any]:
    """`count` endpoints that are well, and `dead` that hang, which are services of their own."""
    timeout = min(5.0, interval)
    full = {**check, "interval": f"{interval * 1000:.0f}ms", "timeout": f"{timeout * 1000:.0f}ms"}

    def services(prefix: str, places: Sequence[int], all_of_them: int) -> dict[str, Any]:
        each = all_of_them // SERVICES
        return {
            f"{prefix}{number}": {
                "health_check": full,
                "endpoints": [{"id": f"e{at}", "address": f"{HOST}:{places[at % len(places)]}"} for at in range(each)],
            }
            for number in range(SERVICES)
        }

    well = services("s", ports, count)
    return {
        "listeners": [
            {"name": "web", "address": f"{HOST}:{free_port()}", "routes": [{"name": "all", "service": "s0"}]}
        ],
        "services": {**well, **(services("hang", [hanging], dead) if dead else {})},
    }


def _reload(hive: Hive, wanted: dict[str, Any]) -> None:
    hive.write(hive.complete(wanted))
    status, text = hive.api("POST", "/v1/reload")
    assert status == 200, text


# --- the endpoints ------------------------------------------------------------------------------------------------


class Answering(asyncio.Protocol):
    """Answers the first bytes that come, and ends."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        self._transport.write(ANSWER)
        self._transport.close()


class Silent(asyncio.Protocol):
    """Never says a word."""


async def origin(cue: Cue, ports: list[int], hanging: int) -> None:
    loop = asyncio.get_running_loop()
    servers = [await loop.create_server(Answering, HOST, port, backlog=4096) for port in ports]
    servers.append(await loop.create_server(Silent, HOST, hanging, backlog=4096, family=socket.AF_INET))
    cue.ready()
    await cue.stop.wait()
    for server in servers:
        server.close()
