"""Strategies that draw: at random by weight, the least loaded, the one that answers soonest.

All draw from one structure (`Drawing`): the sums of the weights, made anew when weights or members have changed. A draw
that falls on a candidate which does not fit is repeated, which leaves the shares of the others as they should be; after
some in vain all are looked at.
"""

from __future__ import annotations

from array import array
from collections.abc import Sequence
from math import exp

from mesh.balance import FEW, Candidate, Group, Scores, Terms
from mesh.request import RequestView

# Draws that may be in vain before all candidates are looked at.
DRAWS = 8

# What an endpoint that nobody has measured is taken for (Finagle, Linkerd): microseconds.
FIRST_RTT = 30_000.0

# What a failure or a 429 counts for at least, and at most if it says more by Retry-After (Linkerd: 5 s and 300 s).
PENALTY_US = 5_000_000
MOST_PENALTY_US = 300_000_000


def penalty_us(retry_after: bytes | None) -> int:
    """The time that an endpoint which failed or refused is taken to need. A Retry-After that is a date says nothing
    here: clocks differ, and what it protects from is over by then."""
    if retry_after is None or not retry_after.isdigit() or len(retry_after) > 9:
        return PENALTY_US
    return min(max(int(retry_after) * 1_000_000, PENALTY_US), MOST_PENALTY_US)


class Drawing(Group):
    """Base: draws by weight."""

    def __init__(self, members: Sequence[Candidate], terms: Terms) -> None:
        super().__init__(members, terms)
        self.sums = array("d")  # empty while all weights are equal
        self.stale = True

    def changed(self) -> None:
        self.stale = True

    def add_up(self) -> None:
        self.stale = False
        self.sums = array("d")
        members = self.members
        if not members:
            return
        first = members[0].weight
        equal = True
        for candidate in members:
            if candidate.weight != first:
                equal = False
                break
        if equal:
            return
        sums = array("d", bytes(8 * len(members)))
        total = 0.0
        for index in range(len(members)):
            candidate = members[index]
            total += max(candidate.weight, 0)
            sums[index] = total
        self.sums = sums

    def index(self) -> int:
        """Where a draw falls; there is at least one member."""
        if self.stale:
            self.add_up()
        count = len(self.members)
        draws = self.terms.draws
        if len(self.sums) == 0:
            return draws.below(count)
        wanted = draws.unit() * self.sums[count - 1]
        low = 0
        high = count - 1
        while low < high:
            middle = (low + high) // 2
            if self.sums[middle] > wanted:
                high = middle
            else:
                low = middle + 1
        return low

    def draw(self, tried: list[Candidate] | None, now_ms: int) -> Candidate | None:
        """One at random by weight."""
        members = self.members
        if not members:
            return None
        terms = self.terms
        for _ in range(DRAWS):
            candidate = members[self.index()]
            if self.fits(candidate, tried, now_ms) and not candidate.full:
                if terms.slow_start_ms == 0:
                    return candidate
                warmth = terms.warmth(candidate, now_ms)
                if warmth >= 1.0 or terms.draws.unit() < warmth:
                    return candidate
        fitting = self.best(tried, now_ms)
        return self.draw_among(fitting, now_ms) if fitting else None

    def draw_among(self, candidates: list[Candidate], now_ms: int) -> Candidate:
        """One of these, by weight."""
        total = 0.0
        found = candidates[0]
        for candidate in candidates:
            weight = self.share(candidate, now_ms)
            total += weight
            if total == weight or self.terms.draws.unit() * total < weight:
                found = candidate
        return found

    def scores(self, request: RequestView, tried: list[Candidate] | None, now: int) -> Scores:
        """How much of the draws falls on each, in percent."""
        now_ms = now // 1000
        shares = [(candidate, self.share(candidate, now_ms)) for candidate in self.best(tried, now_ms)]
        total = sum(share for _, share in shares)
        return Scores("share", {candidate: 100.0 * share / total for candidate, share in shares}, True)

    def share(self, candidate: Candidate, now_ms: int) -> float:
        """Its weight, less while it is in slow start."""
        weight = float(candidate.weight)
        if self.terms.slow_start_ms > 0:
            weight *= self.terms.warmth(candidate, now_ms)
        return weight


class Random(Drawing):
    """At random by weight."""

    def pick(self, request: RequestView, tried: list[Candidate] | None, now: int) -> Candidate | None:
        return self.draw(tried, now // 1000)


class Comparing(Drawing):
    """Base of those that draw some and take the cheapest: two of many are nearly as good as all (Mitzenmacher 2001),
    and workers that decide at the same moment do not all run to the same one. Of those that cost the same, one at
    random by weight."""

    def __init__(self, members: Sequence[Candidate], terms: Terms, choices: int, scanned: int) -> None:
        """With up to `scanned` candidates all are compared."""
        super().__init__(members, terms)
        self.choices = max(choices, 1)
        self.kind = "load"
        self.unit = 1.0  # of scores
        self.scanned = max(scanned, self.choices)

    def cost(self, candidate: Candidate, now: int) -> float:
        raise NotImplementedError

    def pick(self, request: RequestView, tried: list[Candidate] | None, now: int) -> Candidate | None:
        members = self.members
        now_ms = now // 1000
        if len(members) > self.scanned:
            found = self.cheapest_drawn(tried, now)
            if found is not None:
                return found
            fitting = self.best(tried, now_ms)
            if len(fitting) > self.scanned:
                # The same among those that fit: draw the choices from them.
                some: list[Candidate] = []
                for _ in range(self.choices + DRAWS):
                    candidate = self.draw_among(fitting, now_ms)
                    if candidate not in some:
                        some.append(candidate)
                        if len(some) == self.choices:
                            break
                fitting = some
            return self.cheapest(fitting, now)
        return self.cheapest(self.best(tried, now_ms), now)

    def scores(self, request: RequestView, tried: list[Candidate] | None, now: int) -> Scores:
        """The cost of each. Of many, only those that are drawn are compared."""
        costs = {candidate: self.cost(candidate, now) / self.unit for candidate in self.best(tried, now // 1000)}
        return Scores(self.kind, costs, drawn=self.choices if len(self.members) > self.scanned else 0)

    def cheapest_drawn(self, tried: list[Candidate] | None, now: int) -> Candidate | None:
        """The cheapest of `choices` different ones, or of fewer when too many draws were in vain; None: of none."""
        members = self.members
        now_ms = now // 1000
        seen: list[Candidate] = []
        best = None
        least = 0.0
        tied = 0
        for _ in range(self.choices + DRAWS):
            candidate = members[self.index()]
            if candidate.full or not self.fits(candidate, tried, now_ms) or candidate in seen:
                continue
            cost = self.cost(candidate, now)
            seen.append(candidate)
            if best is None or cost < least:
                best = candidate
                least = cost
                tied = 1
            elif cost == least:
                # Weights have had their say in the draw.
                tied += 1
                if self.terms.draws.below(tied) == 0:
                    best = candidate
            if len(seen) == self.choices:
                break
        return best

    def cheapest(self, candidates: list[Candidate], now: int) -> Candidate | None:
        best = None
        least = 0.0
        total = 0.0  # weight of those that cost as little
        now_ms = now // 1000
        for candidate in candidates:
            cost = self.cost(candidate, now)
            if best is None or cost < least:
                best = candidate
                least = cost
                total = self.share(candidate, now_ms)
            elif cost == least:
                weight = self.share(candidate, now_ms)
                total += weight
                if self.terms.draws.unit() * total < weight:
                    best = candidate
        return best


class LeastConnections(Comparing):
    """Fewest requests under way, of all workers, in proportion to the weight."""

    def __init__(self, members: Sequence[Candidate], terms: Terms, choices: int) -> None:
        super().__init__(members, terms, choices, FEW)

    def cost(self, candidate: Candidate, now: int) -> float:
        load = candidate.load()
        return load / self.share(candidate, now // 1000) if load > 0 else 0.0


class PeakEwma(Comparing):
    """The least time to wait: what its answers took of late, times the requests under way and this one, in proportion
    to the weight (Finagle). What was measured fades while nobody measures, so one that was slow is tried again."""

    def __init__(self, members: Sequence[Candidate], terms: Terms, choices: int, decay: float) -> None:
        super().__init__(members, terms, choices, 0)
        self.kind = "time"
        self.unit = 1000.0  # scores are milliseconds
        self.decay_us = decay * 1_000_000
        self.changed()

    def changed(self) -> None:
        self.stale = True
        for candidate in self.members:
            candidate.decay_us = self.decay_us

    def cost(self, candidate: Candidate, now: int) -> float:
        rtt = FIRST_RTT
        if candidate.rtt_at:
            rtt = candidate.rtt
            if now > candidate.rtt_at:
                rtt *= exp((candidate.rtt_at - now) / self.decay_us)
        return rtt * (candidate.load() + 1) / self.share(candidate, now // 1000)
