"""The addresses of a service's usable primaries with their weights: what an answer of A or AAAA lists, kept true.

An answer is made from thousands of endpoints again after each change of one of them. To look at all of them each time
would hold up the worker's traffic for tens of milliseconds in a storm of health, so what is known of the last version
of a service is taken over: endpoints that are the same objects as before count as before. Breakers change without a
new version, and mostly few are open: whoever they keep out is taken off again.

The rule is selection.pools, of which this is the common case: there are usable primaries. Whatever is not common (none
is usable, only backups are) is left to it. Pure.
"""

from __future__ import annotations

from discovery.delta import Identity
from discovery.dns.selection import Circuits, parse_address
from discovery.model import Endpoint, EndpointState

Weights = dict[bytes, int]


def counts(endpoint: Endpoint) -> bool:
    """Whether an answer lists it while all breakers are closed, and primaries are usable."""
    return endpoint.state is EndpointState.HEALTHY and endpoint.weight > 0 and not endpoint.backup


class Tally:
    """Of one version of a service. `sums`: by the size of an address, the weight of all that have it."""

    __slots__ = ("count", "endpoints", "sums")

    def __init__(self, endpoints: tuple[Endpoint, ...], before: Tally | None = None) -> None:
        """`before`: of an earlier version, which stays as it is."""
        self.endpoints = endpoints
        if before is None or len(before.endpoints) != len(endpoints):
            self.count = 0
            self.sums: dict[int, Weights] = {}
            for endpoint in endpoints:
                if counts(endpoint):
                    self._add(endpoint, 1)
            return
        self.count = before.count
        self.sums = {size: dict(sums) for size, sums in before.sums.items()}
        for was, now in zip(before.endpoints, endpoints, strict=True):
            if was is not now:
                if counts(was):
                    self._add(was, -1)
                if counts(now):
                    self._add(now, 1)

    def of(self, size: int, circuits: Circuits) -> Weights | None:
        """The addresses of `size` bytes, not to be changed; None where only the whole rule can tell."""
        if not circuits.open and not circuits.half_open:
            return self.sums.get(size, {}) if self.count else None
        out = [each for each in self._named(circuits) if counts(each) and parse_address(each.address) is not None]
        if len(out) >= self.count:
            return None
        sums = dict(self.sums.get(size, {}))
        for endpoint in out:
            _put(sums, endpoint, size, -endpoint.weight)
        return sums

    def _named(self, circuits: Circuits) -> list[Endpoint]:
        """The endpoints whose breakers are not closed. Ids first: most are told apart by them, and need no more."""
        out: set[Identity] = {*circuits.open, *circuits.half_open}
        ids = {id for id, _ in out}
        return [each for each in self.endpoints if each.id in ids and (each.id, each.address) in out]

    def _add(self, endpoint: Endpoint, step: int) -> None:
        parsed = parse_address(endpoint.address)
        if parsed is not None:
            self.count += step
            size = len(parsed[0])
            _put(self.sums.setdefault(size, {}), endpoint, size, step * endpoint.weight)


def _put(sums: Weights, endpoint: Endpoint, size: int, weight: int) -> None:
    parsed = parse_address(endpoint.address)
    assert parsed is not None
    packed = parsed[0]
    if len(packed) == size:
        left = sums.get(packed, 0) + weight
        if left:
            sums[packed] = left
        else:
            del sums[packed]
