"""What a limit costs a request: a rate by key, a rate of a route, one more request of a service.

    pytest benchmarks/micro/test_limits.py --benchmark-columns=min,median --benchmark-sort=name

Each round decides 64 times; all of them say yes. `workers` is how many cells a limit over all workers adds up.
"""

from __future__ import annotations

import itertools
import os

import pytest

from discovery.model import Service
from discovery.policies import CircuitBreaker, KeyKind, RateLimit, RequestKey
from proxy.http1.guards import RateLimitPhase
from proxy.http1.parties import Exchange
from proxy.http1.phases import PhaseTools
from proxy.kernel.cells import Table
from proxy.kernel.limits import KeyedLimits
from proxy.stats import slots
from proxy.upstream.endpoint import ServiceRuntime

TIMES = 64
ROWS = 4096


def new_table(workers: int = 2) -> Table:
    descriptor = os.memfd_create("statistics")
    os.ftruncate(descriptor, slots.table_size(workers, ROWS))
    table = Table(descriptor, workers, ROWS)
    os.close(descriptor)
    return table


@pytest.mark.parametrize("keys", [1, 50_000])
def test_take_by_key(benchmark, keys: int) -> None:
    """Hash and bucket. 50,000 keys are two MiB of shared memory: more than a processor keeps close."""
    limits = KeyedLimits(new_table())
    names = itertools.cycle([b"10.%d.%d.%d" % (n >> 16, n >> 8 & 255, n & 255) for n in range(keys)])
    clock = itertools.count(1, 1000)

    def decide() -> None:
        now = next(clock) * 1_000_000
        for _ in range(TIMES):
            assert limits.take(limits.digest(1, next(names)), 1, TIMES, now) == 0

    benchmark(decide)


@pytest.mark.parametrize("kind", [KeyKind.ROUTE, KeyKind.CLIENT_IP], ids=["route", "client_ip"])
def test_phase(benchmark, kind: KeyKind) -> None:
    """All of the phase, as a request meets it."""
    table = new_table()
    limit = RateLimit(requests=1_000_000, burst=TIMES, key=RequestKey(kind=kind))
    phase = RateLimitPhase(limit, PhaseTools(table.slot(0, 1), table.shared(1), table, "route r", "hivemesh"))
    exchange = Exchange.__new__(Exchange)
    exchange.client = b"192.0.2.77"
    exchange.paused_until = 0
    clock = itertools.count(1, 1_000_000)

    def decide() -> None:
        exchange.received = next(clock)
        for _ in range(TIMES):
            assert phase.run(exchange) is None

    benchmark(decide)


@pytest.mark.parametrize("workers", [2, 16])
@pytest.mark.parametrize("limit", [0, 1000], ids=["no_limit", "limit"])
def test_enter(benchmark, workers: int, limit: int) -> None:
    """One more request under way, and its end."""
    table = new_table(workers)
    given = Service(name="app", circuit_breaker=CircuitBreaker(max_requests=limit))
    service = ServiceRuntime(given, table.slot(0, 1), table.shared(1))

    def decide() -> None:
        for _ in range(TIMES):
            assert service.enter()
            service.slot.add(slots.ACTIVE, -1)

    benchmark(decide)
