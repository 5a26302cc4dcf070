"""Which endpoint gets the next request.

A balancer holds the candidates of one service version and picks one per request. It never waits and never draws
randomness of its own: what varies (the start of the rotation) is passed in. A new strategy is a subclass with one
`pick`, and a line in mesh/strategies.py.
"""

from __future__ import annotations

from collections.abc import Sequence

from discovery.model import Endpoint
from mesh.request import RequestView

# How good a candidate is when it is its turn; a smaller number is taken first. A request rather waits for a primary
# than takes a backup, and an endpoint that it has tried is the last resort: even a backup is better.
FULL = 1
BACKUP = 2
TRIED = 4
UNUSABLE = 8  # above every sum of the others

# Looking for so many one by one is faster than looking at all once.
FEW = 16


class Candidate:
    """An endpoint as a balancer sees it. The proxy's runtime endpoint is one; `usable` follows health and draining,
    `full` says that a request would have to wait for a connection."""

    def __init__(self, endpoint: Endpoint) -> None:
        self.endpoint = endpoint
        self.usable = True
        self.full = False
        self.weight = endpoint.weight
        self.backup = endpoint.backup

    def is_ejected(self, now_ms: int) -> bool:
        """Whether its circuit breaker keeps requests away at this moment (milliseconds of the monotonic clock). Such a
        candidate is as little use as one that is not `usable`, but that changes with time and from request to request,
        so it is asked at every pick."""
        return False

    def load(self) -> int:
        """Requests (connections, sessions) under way there, of all workers together."""
        return 0


class Balancer:
    """Base of the strategies. What a candidate is worth is read from it at each pick."""

    def __init__(self, candidates: Sequence[Candidate]) -> None:
        self.candidates = list(candidates)

    def exchange(self, gone: Sequence[Candidate], new: Sequence[Candidate]) -> None:
        """Candidates have left and others have come; for those that stay everything goes on."""
        if len(gone) <= FEW:
            for candidate in gone:
                self.take_out(candidate)
        else:
            left = set(gone)
            self.replace([candidate for candidate in self.candidates if candidate not in left])
        self.candidates.extend(new)

    def take_out(self, candidate: Candidate) -> None:
        """One candidate has left."""
        candidates = self.candidates
        for index in range(len(candidates)):
            if candidates[index] is candidate:
                del candidates[index]
                self.left(index)
                return

    def left(self, index: int) -> None:
        """Whoever stood there has left."""

    def replace(self, candidates: list[Candidate]) -> None:
        """Many candidates have left; these stay, in the same order."""
        self.candidates = candidates

    def has_usable(self, tried: list[Candidate] | None, now_ms: int) -> bool:
        """Whether there is an endpoint that takes requests and is not in `tried`. Asking moves no rotation on. Mostly
        the first is one, so this is cheap however many there are."""
        for candidate in self.candidates:
            if (
                candidate.usable
                and candidate.weight > 0
                and (tried is None or candidate not in tried)
                and not candidate.is_ejected(now_ms)
            ):
                return True
        return False

    def pick(self, request: RequestView, tried: list[Candidate] | None, now: int) -> Candidate | None:
        """The endpoint for `request`, one that is not in `tried` while there is another; None when none is usable.
        `now`: microseconds of the monotonic clock."""
        raise NotImplementedError


class RoundRobin(Balancer):
    """Each usable endpoint in turn, backups only while no primary is usable that the request has not tried.

    One that is full is taken only when all its equals are. Weight 0 takes nothing; other weights are not looked at.
    The turn goes on behind whatever was picked, so endpoints that are skipped add to everybody's share and not to
    their neighbour's.
    """

    def __init__(self, candidates: Sequence[Candidate], start: int = 0) -> None:
        super().__init__(candidates)
        self.next_index = start

    def left(self, index: int) -> None:
        if index < self.next_index:
            self.next_index -= 1

    def replace(self, candidates: list[Candidate]) -> None:
        staying = set(candidates)
        self.next_index = len([each for each in self.candidates[: self.next_index] if each in staying])
        self.candidates = candidates

    def pick(self, request: RequestView, tried: list[Candidate] | None, now: int) -> Candidate | None:
        candidates = self.candidates
        count = len(candidates)
        now_ms = now // 1000
        best = None
        best_index = 0
        best_rank = UNUSABLE
        for step in range(count):
            index = (self.next_index + step) % count
            candidate = candidates[index]
            if not candidate.usable or candidate.weight == 0:
                continue
            rank = 0
            if candidate.full:
                rank += FULL
            if candidate.backup:
                rank += BACKUP
            if tried is not None and candidate in tried:
                rank += TRIED
            if rank < best_rank and not candidate.is_ejected(now_ms):
                best = candidate
                best_index = index
                best_rank = rank
                if rank == 0:
                    break
        if best is not None:
            self.next_index = best_index + 1
        return best
