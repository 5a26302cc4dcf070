"""Which endpoints of a service an answer lists, and in which order.

Usable is what takes new requests: healthy, weight above 0, breaker closed. Primaries that are usable are listed;
while there is none, the backups that are; while there is none of these either, those that would be usable but for a
half-open breaker, which takes few requests at a time. Else nothing, or with `fail_open` whatever is out for its health
alone (unhealthy, checking, ejected). What drains or has weight 0 was taken out by somebody's decision and stays out.
An endpoint on a unix socket is not in DNS.

Clients mostly take the first address. With `shuffle` each is first equally often: the sender rotates the records. With
`weighted` each is first as often as its weight says: a few ready answers ("variants") are sent one after the other.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from functools import lru_cache
from math import gcd
from typing import NamedTuple, Protocol

from discovery.delta import Identity, identity
from discovery.dns.names import label_of
from discovery.model import Endpoint, EndpointState, Service

# Ready answers to one question. Sixteen give shares in steps of 6 %.
MAX_VARIANTS = 16
# Records in all variants together: a large answer has fewer of them, so that memory and making them stay bounded.
MAX_VARIED = 4096

# What only its health can keep out of an answer.
HEALTH_STATES = frozenset(EndpointState) - {EndpointState.DRAINING}


class Rng(Protocol):
    """The part of random.Random that is needed."""

    def random(self) -> float: ...

    def shuffle(self, x: list[bytes]) -> None: ...


class Place(NamedTuple):
    """An endpoint with its address taken apart: 4 or 16 bytes, and the port."""

    endpoint: Endpoint
    packed: bytes
    port: int

    @property
    def priority(self) -> int:
        """Of SRV: what was written, otherwise 0 for primaries and 1 for backups."""
        return self.endpoint.priority or int(self.endpoint.backup)


class Circuits(NamedTuple):
    """What the circuit breakers of a service's endpoints say at one moment. Who is not among them is closed."""

    epoch: int | None = None  # goes up with every change of one; it was read before the rest. None: nobody tells
    open: Mapping[Identity, int] = {}  # until when (milliseconds of the monotonic clock)
    half_open: Collection[Identity] = ()

    @property
    def until(self) -> int:
        """When the first of them is half-open without anybody saying so; 0 = none is open."""
        return min(self.open.values(), default=0)


ALL_CLOSED = Circuits()

# By the name of a service.
Breakers = Callable[[str], Circuits]


class Pools(NamedTuple):
    """The endpoints that answers are made from."""

    addresses: list[Place]  # of A and AAAA
    services: list[Place]  # of SRV: backups too, behind the primaries


@lru_cache(maxsize=16_384)
def parse_address(address: str) -> tuple[bytes, int] | None:
    """host:port or [v6]:port; None for a unix socket. ValueError for what is neither."""
    if address.startswith("unix:"):
        return None
    host, _, port = address.rpartition(":")
    return ipaddress.ip_address(host.strip("[]")).packed, int(port)


def places(service: Service) -> list[Place]:
    """The endpoints that have an IP address, in the order of the service."""
    found = []
    for endpoint in service.endpoints:
        parsed = parse_address(endpoint.address)
        if parsed is not None:
            found.append(Place(endpoint, *parsed))
    return found


def versions(service: Service) -> dict[bytes, str]:
    """Label -> version, of all that endpoints have or the split names. A version that is written like the label wins
    over one that was made into it, then the alphabet decides."""
    known = {endpoint.version for endpoint in service.endpoints}
    known.update(share.version for share in service.traffic_split if share.service in ("", service.name))
    known.discard("")
    return by_label(known)


def by_label(names: Iterable[str]) -> dict[bytes, str]:
    """Label -> the name that it stands for."""
    return {label_of(name): name for name in sorted(names, key=precedence, reverse=True)}


def precedence(name: str) -> tuple[bool, str]:
    """Of names with the same label the smallest is meant: one that is its own label, then by the alphabet."""
    return label_of(name) != name.encode("utf-8", "surrogateescape"), name


def pools(found: Sequence[Place], fail_open: bool, circuits: Circuits = ALL_CLOSED) -> Pools:
    usable = [place for place in found if place.endpoint.state is EndpointState.HEALTHY and place.endpoint.weight > 0]
    if circuits.open or circuits.half_open:
        usable = admitted(usable, circuits)
    if not usable and fail_open:
        usable = [place for place in found if place.endpoint.state in HEALTH_STATES and place.endpoint.weight > 0]
        return Pools(usable, usable)
    primaries = [place for place in usable if not place.endpoint.backup]
    return Pools(primaries or usable, usable)


def admitted(usable: Sequence[Place], circuits: Circuits) -> list[Place]:
    """Those with a closed breaker, backups among them; where there is none, those with a half-open one."""
    out = circuits.open.keys() | circuits.half_open
    closed = [place for place in usable if (place.endpoint.id, place.endpoint.address) not in out]
    return closed or [place for place in usable if identity(place.endpoint) in circuits.half_open]


def weights(found: Iterable[Place], size: int) -> dict[bytes, int]:
    """The distinct addresses of `size` bytes, each with the weight of all endpoints that have it."""
    summed: dict[bytes, int] = {}
    for place in found:
        if len(place.packed) == size:
            summed[place.packed] = summed.get(place.packed, 0) + place.endpoint.weight
    return summed


def shuffled(addresses: Iterable[bytes], limit: int, rng: Rng) -> list[list[bytes]]:
    """At most `limit` of the addresses. Where that is not all of them, several lists that together have as many as
    possible, all of one length."""
    order = list(addresses)
    count = len(order)
    variants = max(1, min(-(-count // limit), MAX_VARIANTS, MAX_VARIED // limit))
    if variants * limit < count:
        # The rest goes nowhere, so it is not shuffled either.
        draw_first(order, variants * limit, rng)
        return [order[start : start + limit] for start in range(0, variants * limit, limit)]
    rng.shuffle(order)
    if count <= limit:
        return [order]
    twice = order + order
    return [twice[start : start + limit] for start in (index * limit % count for index in range(variants))]


def draw_first(order: list[bytes], most: int, rng: Rng) -> None:
    """Begin `order` with so many of it, drawn at random (the first steps of a shuffle by Fisher and Yates)."""
    random, count = rng.random, len(order)
    for index in range(most):
        other = index + int(random() * (count - index))
        order[index], order[other] = order[other], order[index]


def weighted(by_weight: Mapping[bytes, int], limit: int, rng: Rng) -> list[list[bytes]]:
    """Lists of at most `limit` of the addresses; how many begin with an address follows its weight. What comes behind
    the first is drawn by weight as well."""
    addresses = list(by_weight)
    shares = [max(1, by_weight[address]) for address in addresses]
    most = max(1, min(MAX_VARIANTS, MAX_VARIED // min(limit, len(addresses))))
    lists = []
    for first in first_places(shares, most, rng):
        # An exponential clock per address: they ring in the order of draws without replacement.
        rings = sorted(range(len(addresses)), key=_rings(shares, rng).__getitem__)
        rings.remove(first)
        lists.append([addresses[first], *(addresses[index] for index in rings[: limit - 1])])
    return lists


def _rings(shares: Sequence[int], rng: Rng) -> list[float]:
    """Efraimidis and Spirakis: the largest of random ** (1 / weight) are a weighted sample; here the smallest of their
    negatives, so that sorting ascends."""
    return [-(rng.random() ** (1.0 / share)) for share in shares]


def first_places(shares: Sequence[int], most: int, rng: Rng) -> list[int]:
    """Whose turn it is to be first, as indices of `shares` (all above 0): in exact proportion where `most` turns are
    enough for that, otherwise as close as so many turns allow, with the remainder drawn fairly."""
    total = sum(shares)
    period = total // gcd(*shares)
    turns = min(period, most)
    # Systematic sampling: `turns` evenly spaced marks on a line of all shares. Each share gets its exact number of
    # marks, rounded up or down at random.
    offset = rng.random() if turns < period else 0.5
    counts = [0] * len(shares)
    index, end = 0, shares[0]
    for turn in range(turns):
        mark = (turn + offset) * total / turns
        while mark >= end and index < len(shares) - 1:
            index += 1
            end += shares[index]
        counts[index] += 1
    return _smooth(counts)


def _smooth(counts: Sequence[int]) -> list[int]:
    """nginx' smooth weighted round robin: each index as often as its count, spread out evenly."""
    total = sum(counts)
    turns = [index for index, count in enumerate(counts) if count]
    current = dict.fromkeys(turns, 0)
    order = []
    for _ in range(total):
        for index in turns:
            current[index] += counts[index]
        best = max(turns, key=current.__getitem__)
        current[best] -= total
        order.append(best)
    return order
