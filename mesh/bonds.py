# cython: overflowcheck=False
"""Bonds between clients and endpoints: which endpoint a request has to go to, and what if it cannot.

Affinity ties a client to an endpoint by what its requests carry. With a cookie of ours the endpoint is named there.
With a key (a header, the client's address) it follows from the key and the endpoints that there are, by rendezvous
hashing (Thaler and Ravishankar 1998; weighted as in Resch 2015): each endpoint draws a number from the key and its own
name, and the best number wins. So there is no table, all workers and instances agree, and an endpoint that comes or
goes moves only the clients that it gains or loses.

A bond is broken when its endpoint takes no requests: it is gone, unhealthy, ejected, draining or of weight 0. One that
is merely full is waited for, and one that has failed a request is passed over for that request only.
mesh/affinity.py makes bonds; here is what the request path asks, compiled. The hash wraps at 64 bits, which is why this
module is compiled without checks for overflow.
"""

from __future__ import annotations

from math import log
from typing import TYPE_CHECKING

from mesh.balance import Balancer, Candidate

if TYPE_CHECKING:  # imported where affinity is configured
    from mesh.affinity import Affinities

MASK = 0xFFFF_FFFF_FFFF_FFFF
UNIT = 2.0**-53

# FNV-1a (64 bits), and the finalizer of splitmix64, because FNV alone spreads the last bytes badly.
FNV_START = 0xCBF2_9CE4_8422_2325
FNV_STEP = 0x0000_0100_0000_01B3
MIX_1 = 0xBF58_476D_1CE4_E5B9
MIX_2 = 0x94D0_49BB_1331_11EB


def mix(value: int) -> int:
    """64 bits that all depend on all 64 bits of `value`."""
    value = ((value ^ (value >> 30)) * MIX_1) & MASK
    value = ((value ^ (value >> 27)) * MIX_2) & MASK
    return value ^ (value >> 31)


def hash_of(text: bytes, seed: int) -> int:
    """64 bits of `text`; another `seed` gives independent ones. The same in every process."""
    hashed = FNV_START ^ seed
    for byte in text:
        hashed = ((hashed ^ byte) * FNV_STEP) & MASK
    return mix(hashed)


def unit_of(hashed: int) -> float:
    """A hash as a number from 0 up to but not including 1."""
    return (hashed >> 11) * UNIT


def is_able(candidate: Candidate, now_ms: int) -> bool:
    """Whether the candidate takes requests at all, now or when it has room."""
    return candidate.usable and candidate.weight > 0 and not candidate.is_ejected(now_ms)


class Bond:
    """What one request says of the endpoint it belongs to.

    candidate: the endpoint that its cookie names. key: a hash that the endpoint follows from; a cookie that names one
    which the route excludes is such a key too, so that its client stays in one place there as well. is_lost: its
    cookie was ours and names no endpoint that there is. is_new: it has no bond yet, and gets one with the answer.
    is_broken: the bond could not be kept, said by `target`. is_strict: then nothing else will do. is_guest: the cookie
    is a key for this route only.
    """

    affinities: Affinities
    candidate: Candidate | None
    key: int
    is_keyed: bool
    is_lost: bool
    is_new: bool
    is_strict: bool
    is_broken: bool
    is_guest: bool
    is_told: bool  # that it is broken

    def __init__(self, affinities: Affinities, is_strict: bool) -> None:
        self.affinities = affinities
        self.candidate = None
        self.key = 0
        self.is_keyed = False
        self.is_lost = False
        self.is_new = False
        self.is_strict = is_strict
        self.is_broken = False
        self.is_guest = False
        self.is_told = False

    def exclude(self) -> None:
        """The endpoint that the cookie names is none of those that the route allows: the bond stays as it is, and the
        cookie serves as a key."""
        if self.candidate is not None:
            self.candidate = None
            self.is_keyed = True
            self.is_guest = True
            self.is_strict = False

    def target(self, balancer: Balancer, tried: list[Candidate] | None, now_ms: int) -> Candidate | None:
        """The one endpoint that the request has to go to. None: any that the balancer picks, unless `forbids` says
        that there is none for it."""
        candidate = self.candidate
        if candidate is not None:
            if is_able(candidate, now_ms):
                return None if tried is not None and candidate in tried else candidate
            self.is_broken = True
        elif self.is_lost:
            self.is_broken = True
        elif self.is_keyed:
            return self.rendezvous(balancer.candidates, tried, now_ms)
        return None

    def forbids(self, tried: list[Candidate] | None) -> bool:
        """Asked when there is no target: whether the request must not go to any other endpoint."""
        return self.is_strict and (self.is_broken or self.is_keyed or (tried is not None and self.candidate in tried))

    def rendezvous(self, candidates: list[Candidate], tried: list[Candidate] | None, now_ms: int) -> Candidate | None:
        """The best of those that take requests; primaries before backups. The bond is broken when somebody better
        does not: then this is where the client stays for the time being."""
        home = None
        best = None
        home_cost = best_cost = 0.0
        home_rank = best_rank = 0
        spots = self.affinities.spots
        for candidate in candidates:
            if candidate.weight <= 0:
                continue
            known = spots.get(candidate)
            spot = self.affinities.spot_of(candidate) if known is None else known
            # Exponentially distributed with the weight as its rate: the least of them is each as often as its weight.
            cost = -log(((mix(self.key ^ spot) >> 11) + 1) * UNIT) / candidate.weight
            rank = 1 if candidate.backup else 0
            if home is None or rank < home_rank or (rank == home_rank and cost < home_cost):
                home = candidate
                home_cost = cost
                home_rank = rank
            if (
                (best is None or rank < best_rank or (rank == best_rank and cost < best_cost))
                and is_able(candidate, now_ms)
                and (tried is None or candidate not in tried)
            ):
                best = candidate
                best_cost = cost
                best_rank = rank
        if home is not None and home is not best:
            # Passed over for this request only, when it has been tried.
            if not self.is_guest and not is_able(home, now_ms):
                self.is_broken = True
            if self.is_strict:
                return None
        return best

    def line_for(self, candidate: Candidate, now_ms: int) -> bytes | None:
        """The Set-Cookie line of an answer by `candidate`; None when the client has the right cookie, or needs none."""
        bound = self.candidate
        if self.is_new or self.is_lost or (bound is not None and bound is not candidate and not is_able(bound, now_ms)):
            return self.affinities.line(candidate, self)
        return None
