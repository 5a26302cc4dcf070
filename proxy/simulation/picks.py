"""Which endpoint gets a request that is decided again: the same balancers, with a seed and with recorded times.

A rehearsal puts everything back, so that asked twice it says the same; here requests follow each other and move the
rotation on. All endpoints are healthy, and one that is picked is busy with the request for as long as it took.
Pure.
"""

from __future__ import annotations

from heapq import heappop, heappush

from discovery.model import Endpoint, Service, Snapshot
from mesh.balance import Balancer, Candidate
from mesh.decision import Decision
from mesh.draws import Draws
from mesh.request import SampleRequest
from mesh.strategies import make_balancer


class Busy(Candidate):
    """An endpoint with the ends of the requests under way there."""

    def __init__(self, endpoint: Endpoint) -> None:
        super().__init__(endpoint)
        self.ends: list[int] = []

    def load(self) -> int:
        return len(self.ends)


class Picks:
    def __init__(self, snapshot: Snapshot, seed: int) -> None:
        self._services = {service.name: service for service in snapshot.services}
        self._zone = snapshot.settings.zone
        self._draws = Draws(seed)
        self._candidates: dict[str, list[Busy]] = {}
        self._balancers: dict[tuple[str, str], Balancer | None] = {}
        self._heaps: list[tuple[int, int, Busy]] = []
        self._count = 0

    def versions(self, service: str) -> set[str]:
        """Those that endpoints of the service have."""
        found = self._services.get(service)
        return {endpoint.version for endpoint in found.endpoints} if found is not None else set()

    def pick(self, decision: Decision, view: SampleRequest, now: int, end: int) -> str:
        """The address of the endpoint; "" when there is none. What a client is bound to is kept."""
        while self._heaps and self._heaps[0][0] <= now:
            heappop(self._heaps)[2].ends.pop()
        if decision.affinity is not None and decision.affinity.state == "kept" and decision.endpoint:
            return decision.endpoint
        balancer = self._balancer(decision.service, decision.version)
        found = balancer.pick(view, None, now // 1000) if balancer is not None else None
        if found is None:
            return decision.endpoint
        assert isinstance(found, Busy)
        found.ends.append(end)
        self._count += 1
        heappush(self._heaps, (end, self._count, found))
        return found.endpoint.address

    def _balancer(self, name: str, version: str) -> Balancer | None:
        key = name, version
        if key not in self._balancers:
            service = self._services.get(name)
            some = (
                [each for each in self._of(service) if not version or each.endpoint.version == version]
                if service is not None
                else []
            )
            self._balancers[key] = (
                make_balancer(service.load_balancing, some, 0, service.balancing, self._zone, self._draws)
                if service is not None and some
                else None
            )
        return self._balancers[key]

    def _of(self, service: Service) -> list[Busy]:
        found = self._candidates.get(service.name)
        if found is None:
            found = self._candidates[service.name] = [Busy(endpoint) for endpoint in service.endpoints]
        return found
