"""Rate limits and limits of requests at the same time, with the times of the records for a clock.

A rehearsal (proxy/offline.py) tells which limits a request would meet and in which order, and takes nothing. Here it
is taken, by the same rules as in traffic: buckets of mesh/gcra.py, keys of mesh/keys.py. Unlike in traffic there is a
bucket for every key (proxy/kernel/limits has room for so many), and one clock.
Pure.
"""

from __future__ import annotations

from heapq import heappop, heappush
from typing import NamedTuple

from discovery.model import Snapshot
from discovery.policies import KeyKind, RateLimit, RequestPolicies
from mesh import gcra
from mesh.decision import Decision, PhaseVerdict
from mesh.keys import key_of
from mesh.request import SampleRequest

RATE_LIMIT, MAX_CONCURRENT = "rate_limit", "max_concurrent"
ANSWER = "answer"  # what a phase says that ends the way of a request

Owner = tuple[str, str]  # listener and route, or "" and service


class TurnedAway(NamedTuple):
    """By a limit of the route, or of the service."""

    status: int
    flag: str
    is_by_service: bool


class Limits:
    """Of one configuration. `refused`: requests by owner and limit, as `route api` and `rate_limit`."""

    def __init__(self, snapshot: Snapshot) -> None:
        self.refused: dict[tuple[str, str], int] = {}
        self._policies: dict[Owner, RequestPolicies] = {
            ("", service.name): service.policies for service in snapshot.services
        }
        for listener in snapshot.listeners:
            for route in listener.routes:
                self._policies[listener.name, route.name] = route.filters.policies
        self._buckets: dict[tuple[Owner, bytes], int] = {}
        self._ends: dict[Owner, list[int]] = {}

    def refusal(self, decision: Decision, now: int, end: int) -> TurnedAway | None:
        """The limit that turns the request away, which comes at `now` and is over at `end` (nanoseconds); None when it
        passes all of them. What it passes it takes from."""
        held: list[list[int]] = []
        for phase in decision.phases:
            if phase.result == ANSWER:
                break
            is_by_service = phase.owner.startswith("service ")
            owner = ("", decision.service) if is_by_service else (decision.listener, decision.route)
            policies = self._policies.get(owner)
            if policies is None:
                continue
            if phase.name == RATE_LIMIT and policies.rate_limit is not None:
                if not self._take(owner, policies.rate_limit, decision, now):
                    self._count(phase)
                    return TurnedAway(429, "RL", is_by_service)
            elif phase.name == MAX_CONCURRENT and policies.max_concurrent:
                ends = self._ends.setdefault(owner, [])
                while ends and ends[0] <= now:
                    heappop(ends)
                if len(ends) >= policies.max_concurrent:
                    self._count(phase)
                    return TurnedAway(503, "UO", is_by_service)
                held.append(ends)
        for ends in held:
            heappush(ends, end)
        return None

    def _count(self, phase: PhaseVerdict) -> None:
        key = phase.owner, phase.name
        self.refused[key] = self.refused.get(key, 0) + 1

    def _take(self, owner: Owner, limit: RateLimit, decision: Decision, now: int) -> bool:
        interval, tolerance = gcra.measures(limit.requests, limit.per, limit.burst)
        key = b"" if limit.key.kind is KeyKind.ROUTE else key_of(view_of(decision), limit.key)
        bucket = (owner, key)
        taken = gcra.take(self._buckets.get(bucket, 0), now, interval, tolerance // interval)
        if taken is None:
            return False
        self._buckets[bucket] = taken
        return True


def view_of(decision: Decision) -> SampleRequest:
    """The request as rules see it."""
    question = decision.question
    return SampleRequest(
        decision.method.encode(),
        decision.host.encode(),
        decision.path.encode(),
        decision.query.encode(),
        [(name.encode(), value.encode()) for name, value in question.headers],
        decision.client.encode(),
    )
