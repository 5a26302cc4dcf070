"""Comparing endpoints with their group, every `interval` of their service.

All workers keep the time of the next sweep, and the one that swaps the service's SWEEP_WORD first does it: it reads
what all have counted, takes off what had been counted at the last sweep (words of the endpoint hold that), and
ejects whom mesh/outlier.py finds. A tick sweeps a bounded number of endpoints; the others' turn comes at the next.
"""

from __future__ import annotations

import heapq
from collections.abc import Mapping
from itertools import count
from typing import TYPE_CHECKING

from mesh.breaker import CLOSED, OUTLIER, OUTLIER_BIT, STATE_MASK
from mesh.outlier import Tally, outliers
from proxy.kernel.cells import Shared
from proxy.stats.slots import ATTEMPT_FAILURES, ATTEMPTS
from proxy.stats.words import BREAKER_WORD, SWEEP_WORD, SWEPT_ATTEMPTS_WORD, SWEPT_FAILURES_WORD

if TYPE_CHECKING:  # what has these breakers
    from proxy.upstream.breakers import Breakers
    from proxy.upstream.endpoint import EndpointRuntime, ServiceRuntime

# Endpoints of one tick; each takes about two microseconds.
BUDGET = 200

# Shortest time between two sweeps of a service (milliseconds); a tick is no shorter.
SHORTEST = 50


class Sweeps:
    """One per worker."""

    def __init__(self, breakers: Breakers) -> None:
        self.breakers = breakers
        self.order = count()
        # When (milliseconds), then by turn; by name, because a service that is gone is nobody's any more.
        self.due: list[tuple[int, int, str]] = []
        self.turns: dict[str, int] = {}  # of each name only the latest entry counts

    def follow(self, service: ServiceRuntime) -> None:
        """The service is new to this worker."""
        self.put(service.name, 0)

    def put(self, name: str, when: int) -> None:
        turn = self.turns[name] = next(self.order)
        heapq.heappush(self.due, (when, turn, name))

    def look(self, services: Mapping[str, ServiceRuntime], now_ms: int) -> None:
        """Sweep whom it is time for."""
        left = BUDGET
        while left > 0 and self.due and self.due[0][0] <= now_ms:
            _, turn, name = heapq.heappop(self.due)
            # A service that went, came and went again has left more than one entry.
            if self.turns.get(name) != turn:
                continue
            service = services.get(name)
            if service is None:
                del self.turns[name]
                continue
            left -= 1 + len(service.endpoints)
            self.put(name, self.look_at(service, now_ms))

    def look_at(self, service: ServiceRuntime, now_ms: int) -> int:
        """Sweep the service if this worker is the first, and say when it is next to be looked at."""
        policy = service.breaker
        interval = max(int(policy.interval * 1000.0), SHORTEST)
        if not policy.success_rate:
            return now_ms + interval
        due = service.shared.load(SWEEP_WORD)
        if now_ms < due <= now_ms + interval:
            return due
        if not service.shared.swap(SWEEP_WORD, due, now_ms + interval):
            return now_ms + interval
        # What was counted over a longer time, or since nobody knows when, says nothing of an interval.
        self.sweep(service, now_ms, judge=0 <= now_ms - due < interval)
        return now_ms + interval

    def sweep(self, service: ServiceRuntime, now_ms: int, judge: bool) -> None:
        group = [endpoint for endpoint in service.endpoints.values() if endpoint.usable and endpoint.weight > 0]
        tallies = [tally(endpoint) for endpoint in group]
        if not judge or len(group) < 2:
            return
        for found in outliers(tallies, service.breaker):
            one = tallies[found.place]
            self.breakers.happened(
                group[found.place],
                OUTLIER,
                now_ms,
                {
                    "requests": one.attempts,
                    "failures": one.failures,
                    "failed_pct": round(found.share * 100.0, 1),
                    "rest_pct": round(found.rest * 100.0, 1),
                },
            )


def tally(endpoint: EndpointRuntime) -> Tally:
    """What all workers have counted since the last sweep; noted for the next one."""
    slot, shared = endpoint.slot, endpoint.shared
    word = shared.load(BREAKER_WORD)
    attempts = since(shared, SWEPT_ATTEMPTS_WORD, slot.total(ATTEMPTS))
    failures = since(shared, SWEPT_FAILURES_WORD, slot.total(ATTEMPT_FAILURES))
    closed = word & STATE_MASK == CLOSED
    # An attempt that ends between the two readings must not make more failures than attempts.
    return Tally(attempts, min(failures, attempts), closed, not closed and bool(word & OUTLIER_BIT))


def since(shared: Shared, word: int, total: int) -> int:
    """How much a counter has grown since it was noted in `word`."""
    before = shared.load(word)
    shared.swap(word, before, total)
    return max(total - before, 0)
