"""The strategies of load balancing by name."""

from __future__ import annotations

from collections.abc import Sequence
from math import log

from discovery.policies import Balancing, LoadBalancingStrategy, RequestKey
from mesh.balance import Balancer, Candidate, RoundRobin
from mesh.draws import Draws
from mesh.keys import key_of
from mesh.request import RequestView

MASK = 0xFFFF_FFFF_FFFF_FFFF


class Choosing(Balancer):
    """Base of strategies that choose among all candidates that are equally good."""

    def __init__(self, candidates: Sequence[Candidate], balancing: Balancing, draws: Draws) -> None:
        super().__init__(candidates)
        self.balancing = balancing
        self.draws = draws

    def pick(self, request: RequestView, tried: list[Candidate] | None, now: int) -> Candidate | None:
        now_ms = now // 1000
        found: dict[tuple[bool, bool, bool], list[Candidate]] = {}
        for each in self.candidates:
            if each.usable and each.weight > 0 and not each.is_ejected(now_ms):
                rank = (tried is not None and each in tried, each.backup, each.full)
                found.setdefault(rank, []).append(each)
        return self.choose(request, found[min(found)]) if found else None

    def choose(self, request: RequestView, among: list[Candidate]) -> Candidate:
        """One of `among`, which has at least one: by weight at random."""
        left = self.draws.unit() * sum(each.weight for each in among)
        for each in among:
            left -= each.weight
            if left < 0:
                return each
        return among[-1]


class WeightedRoundRobin(Choosing):
    """Smooth: everybody earns its weight, the richest is taken and pays the sum (nginx)."""

    def __init__(self, candidates: Sequence[Candidate], balancing: Balancing, draws: Draws) -> None:
        super().__init__(candidates, balancing, draws)
        self.current: dict[Candidate, float] = {}

    def choose(self, request: RequestView, among: list[Candidate]) -> Candidate:
        current = self.current
        total = sum(each.weight for each in among)
        for each in among:
            current[each] = current.get(each, 0.0) + each.weight / total
        best = max(among, key=lambda each: round(current[each], 9))
        current[best] -= 1.0
        return best


class LeastConnections(Choosing):
    def choose(self, request: RequestView, among: list[Candidate]) -> Candidate:
        loads = [each.load() / each.weight for each in among]
        least = min(loads)
        return super().choose(request, [each for each, load in zip(among, loads, strict=True) if load == least])


class Rendezvous(Choosing):
    """Highest random weight of key and endpoint."""

    key = RequestKey()

    def choose(self, request: RequestView, among: list[Candidate]) -> Candidate:
        key = key_of(request, self.key)
        if not key:
            return super().choose(request, among)
        return min(among, key=lambda each: -log(_unit(key, each)) / each.weight)


class KeyHash(Rendezvous):
    def __init__(self, candidates: Sequence[Candidate], balancing: Balancing, draws: Draws) -> None:
        super().__init__(candidates, balancing, draws)
        self.key = balancing.hash_on


STRATEGIES = {
    LoadBalancingStrategy.WEIGHTED_ROUND_ROBIN: WeightedRoundRobin,
    LoadBalancingStrategy.LEAST_CONNECTIONS: LeastConnections,
    LoadBalancingStrategy.RANDOM: Choosing,
    LoadBalancingStrategy.IP_HASH: Rendezvous,
    LoadBalancingStrategy.PEAK_EWMA: LeastConnections,
    LoadBalancingStrategy.MAGLEV: KeyHash,
    LoadBalancingStrategy.RING_HASH: KeyHash,
}


def make_balancer(
    strategy: LoadBalancingStrategy,
    candidates: Sequence[Candidate],
    start: int = 0,
    balancing: Balancing | None = None,
    zone: str = "",
    draws: Draws | None = None,
) -> Balancer:
    """The balancer for `strategy`; `start` differs per worker so that workers do not all begin at the same endpoint."""
    if strategy is LoadBalancingStrategy.ROUND_ROBIN:
        return RoundRobin(candidates, start)
    return STRATEGIES[strategy](candidates, balancing or Balancing(), draws or Draws(start))


def _unit(key: bytes, candidate: Candidate) -> float:
    """From above 0 up to 1."""
    mixed = 0xCBF2_9CE4_8422_2325
    for byte in key + b"\0" + candidate.endpoint.id.encode() + b"\0" + candidate.endpoint.address.encode():
        mixed = ((mixed ^ byte) * 0x100_0000_01B3) & MASK
    mixed = ((mixed ^ (mixed >> 30)) * 0xBF58_476D_1CE4_E5B9) & MASK
    mixed = ((mixed ^ (mixed >> 27)) * 0x94D0_49BB_1331_11EB) & MASK
    return (((mixed ^ (mixed >> 31)) >> 11) + 1) * 2.0**-53
