"""The strategies of load balancing by name."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from discovery.policies import Balancing, LoadBalancingStrategy, RequestKey
from mesh.balance import Balancer, Candidate, Group, Terms
from mesh.consistent import Hashing
from mesh.draws import Draws
from mesh.rotation import RoundRobin, WeightedRoundRobin
from mesh.sampling import LeastConnections, PeakEwma, Random
from mesh.tables import Maglev, Ring

# With up to so many endpoints ip_hash needs no table: all scores are computed, which takes about a microsecond.
RENDEZVOUS = 64

MakeGroup = Callable[[Sequence[Candidate], Terms], Group]


def strategy_of(strategy: LoadBalancingStrategy, balancing: Balancing) -> MakeGroup:
    """How groups of candidates are made for it."""
    match strategy:
        case LoadBalancingStrategy.ROUND_ROBIN:
            return RoundRobin
        case LoadBalancingStrategy.WEIGHTED_ROUND_ROBIN:
            return WeightedRoundRobin
        case LoadBalancingStrategy.RANDOM:
            return Random
        case LoadBalancingStrategy.LEAST_CONNECTIONS:
            return lambda members, terms: LeastConnections(members, terms, balancing.choices)
        case LoadBalancingStrategy.PEAK_EWMA:
            return lambda members, terms: PeakEwma(members, terms, balancing.choices, balancing.decay)
        case LoadBalancingStrategy.IP_HASH:
            return lambda members, terms: Hashing(
                members, terms, RequestKey(), balancing.bounded_load, Ring, RENDEZVOUS
            )
        case LoadBalancingStrategy.RING_HASH:
            return lambda members, terms: Hashing(members, terms, balancing.hash_on, balancing.bounded_load, Ring, 0)
        case LoadBalancingStrategy.MAGLEV:
            return lambda members, terms: Hashing(members, terms, balancing.hash_on, balancing.bounded_load, Maglev, 0)


def make_balancer(
    strategy: LoadBalancingStrategy,
    candidates: Sequence[Candidate],
    start: int = 0,
    balancing: Balancing | None = None,
    zone: str = "",
    draws: Draws | None = None,
) -> Balancer:
    """The balancer for `strategy`; `start` differs per worker so that workers do not all begin at the same endpoint."""
    if balancing is None:
        balancing = Balancing()
    measures = strategy is LoadBalancingStrategy.PEAK_EWMA
    return Balancer(candidates, strategy_of(strategy, balancing), balancing, zone, draws, start, measures)
