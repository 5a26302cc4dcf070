"""Which endpoint gets the next request.

A balancer holds the candidates of one service version and picks one per request. It never waits and never draws
randomness of its own: what varies (the start of the rotation) is passed in. A new strategy is a subclass with one
`pick`, and a line in `make_balancer`.
"""

from __future__ import annotations

from collections.abc import Sequence

from discovery.model import Endpoint, LoadBalancingStrategy
from mesh.request import RequestView


class Candidate:
    """An endpoint as a balancer sees it. The proxy's runtime endpoint is one; `usable` follows health and draining."""

    def __init__(self, endpoint: Endpoint) -> None:
        self.endpoint = endpoint
        self.usable = True
        self.weight = endpoint.weight
        self.backup = endpoint.backup


class Balancer:
    """Base of the strategies. `candidates` is replaced as a whole when the service changes."""

    def __init__(self, candidates: Sequence[Candidate]) -> None:
        self.candidates = list(candidates)

    def pick(self, request: RequestView, tried: list[Candidate] | None) -> Candidate | None:
        """The endpoint for `request`, one that is not in `tried` while there is another; None when none is usable."""
        raise NotImplementedError


class RoundRobin(Balancer):
    """Each usable endpoint in turn. Weight 0 takes nothing; backups serve only while no primary is usable."""

    def __init__(self, candidates: Sequence[Candidate], start: int = 0) -> None:
        super().__init__(candidates)
        self.next_index = start

    def pick(self, request: RequestView, tried: list[Candidate] | None) -> Candidate | None:
        candidates = self.candidates
        count = len(candidates)
        fallback = None
        for step in range(count):
            index = (self.next_index + step) % count
            candidate = candidates[index]
            if not candidate.usable or candidate.weight == 0:
                continue
            if candidate.backup or (tried is not None and candidate in tried):
                if fallback is None or (fallback.backup and not candidate.backup):
                    fallback = candidate
                continue
            self.next_index = index + 1
            return candidate
        return fallback


def make_balancer(strategy: LoadBalancingStrategy, candidates: Sequence[Candidate], start: int) -> Balancer:
    """The balancer for `strategy`; `start` differs per worker so that workers do not all begin at the same endpoint."""
    return RoundRobin(candidates, start)
