"""Answers of resolvers, kept for as long as they may be.

An answer is kept for the shortest TTL in it; one that says "no such name" or "nothing of this type" for what its SOA
says (RFC 2308 section 5). Both are capped. What is served has counted down in the meantime. A failure is kept for a
few seconds, so that a name that cannot be resolved is not asked for on behalf of every client (RFC 2308 section 7).
What has run out stays for a while, because it is better than nothing while no resolver answers (RFC 8767).

The cache is bounded by number and by bytes; what was not asked for the longest goes first. `now` is in seconds.
"""

from __future__ import annotations

from collections import OrderedDict
from typing import Final, NamedTuple

from discovery.dns.messages import (
    ADDITIONAL,
    ANSWER,
    AUTHENTIC,
    AUTHORITY,
    CHECKING_DISABLED,
    RECURSION_AVAILABLE,
    RECURSION_DESIRED,
    RESPONSE,
    TRUNCATED,
    Item,
    Message,
    Query,
    Question,
    minimum_of,
)
from discovery.dns.records import HEADER_SIZE, Rcode, Type
from discovery.model import DnsSettings

# RFC 2308 section 7.1 allows five minutes; a resolver that is back should be noticed sooner.
FAILURE_TTL: Final = 5.0
# A negative answer without SOA should not be cached at all (RFC 2308 section 5), so that it cannot live for ever by
# going round; as long as a failure it may, or every client would ask again.
NO_SOA_TTL: Final = 5
# RFC 8767 section 5.
STALE_TTL: Final = 30

# What an answer needs beside its bytes, and what one may have on average if `cache_size` of them are to fit.
OVERHEAD: Final = 400
AVERAGE: Final = 1024

KEPT_RCODES: Final = (Rcode.NOERROR, Rcode.NXDOMAIN)


class Answered(NamedTuple):
    """What a resolver said, as clients get it: id 0, the question in lower case, without EDNS, which is a matter
    between two neighbours."""

    wire: bytes
    ttls: tuple[tuple[int, int], ...]  # offset, TTL
    lifetime: float  # seconds that it may be kept; 0 = not at all


def key_of(query: Query) -> bytes:
    """What two clients must have in common to get the same answer: the question, DO and CD (RFC 6840 section 5.9)."""
    question = query.question
    bits = (query.flags & CHECKING_DISABLED) | query.dnssec_ok
    return bytes((bits,)) + Question(question.name.lower(), question.qtype, question.qclass).wire


def taken_over(wire: bytes, message: Message, settings: DnsSettings) -> Answered:
    """A resolver's answer made ready to be kept and passed on."""
    items = message.items
    edns = next((index for index, item in enumerate(items) if item.rtype == Type.OPT), len(items))
    # What stands behind OPT (a signature of the hop, RFC 8945) goes with it.
    end = items[edns].start if edns < len(items) else len(wire)
    items = items[:edns]
    soa = _negative_soa(message, items)
    ttls = []
    for item in items:
        ttls.append((item.ttl_at, min(item.ttl, minimum_of(wire, item)) if item is soa else item.ttl))
    flags = RESPONSE | RECURSION_AVAILABLE | message.flags & (TRUNCATED | AUTHENTIC | 0x000F)
    out = bytearray(wire[:end])
    out[0:4] = b"\0\0" + flags.to_bytes(2, "big")
    out[10:12] = sum(item.section == ADDITIONAL for item in items).to_bytes(2, "big")
    question = message.question
    out[HEADER_SIZE : HEADER_SIZE + len(question.name)] = question.name.lower()
    for at, ttl in ttls:
        out[at : at + 4] = ttl.to_bytes(4, "big")
    return Answered(bytes(out), tuple(ttls), _lifetime(message, items, soa, dict(ttls), settings))


def is_negative(message: Message, items: list[Item]) -> bool:
    """RFC 2308 section 2: the name is not there, or has nothing of this type, perhaps at the end of aliases."""
    qtype = message.question.qtype
    if message.rcode == Rcode.NXDOMAIN:
        return True
    wanted = (item.rtype == qtype or qtype == Type.ANY for item in items if item.section == ANSWER)
    return message.rcode == Rcode.NOERROR and not any(wanted)


def _negative_soa(message: Message, items: list[Item]) -> Item | None:
    if not is_negative(message, items):
        return None
    return next((item for item in items if item.rtype == Type.SOA and item.section == AUTHORITY), None)


def _lifetime(
    message: Message, items: list[Item], soa: Item | None, ttls: dict[int, int], settings: DnsSettings
) -> float:
    if message.flags & TRUNCATED or message.rcode not in KEPT_RCODES:
        return 0.0
    if not is_negative(message, items):
        return min(float(min(ttls.values())), settings.cache_ttl)
    shortest = min(ttls.values(), default=NO_SOA_TTL)
    if soa is None:
        shortest = min(shortest, NO_SOA_TTL)
    return min(float(shortest), settings.cache_negative_ttl)


def failure(question: Question, rcode: int = Rcode.SERVFAIL) -> Answered:
    """An answer of our own that has nothing in it."""
    flags = RESPONSE | RECURSION_AVAILABLE | rcode
    name = Question(question.name.lower(), question.qtype, question.qclass)
    wire = b"\0\0" + flags.to_bytes(2, "big") + b"\0\1" + b"\0" * 6 + name.wire
    return Answered(wire, (), FAILURE_TTL if rcode == Rcode.SERVFAIL else 0.0)


def reply(query: Query, wire: bytes) -> bytes:
    """The answer `wire` to this client: its id, its spelling of the name, its RD and CD. AD only for those who know
    what it means (RFC 6840 section 5.8)."""
    flags = int.from_bytes(wire[2:4], "big") | query.flags & (RECURSION_DESIRED | CHECKING_DISABLED)
    if not query.dnssec_ok and not query.flags & AUTHENTIC:
        flags &= ~AUTHENTIC
    name = query.question.name
    head = query.id.to_bytes(2, "big") + flags.to_bytes(2, "big")
    return head + wire[4:HEADER_SIZE] + name + wire[HEADER_SIZE + len(name) :]


class Kept:
    """An answer with its times."""

    __slots__ = ("answered", "ends", "held_until", "since")

    def __init__(self, answered: Answered, now: float) -> None:
        self.answered = answered
        self.since = now
        self.ends = now + answered.lifetime
        self.held_until = 0.0  # until then it is served although it has ended

    @property
    def size(self) -> int:
        return len(self.answered.wire) + OVERHEAD

    def counted_down(self, now: float) -> bytes:
        """With what is left of each TTL."""
        age = int(now - self.since)
        return self._with_ttls([(at, max(0, ttl - age)) for at, ttl in self.answered.ttls])

    def stale(self) -> bytes:
        return self._with_ttls([(at, STALE_TTL) for at, _ in self.answered.ttls])

    def _with_ttls(self, ttls: list[tuple[int, int]]) -> bytes:
        out = bytearray(self.answered.wire)
        for at, ttl in ttls:
            out[at : at + 4] = ttl.to_bytes(4, "big")
        return bytes(out)


class Found(NamedTuple):
    wire: bytes
    is_stale: bool


class Cache:
    """Answers by `key_of` the query."""

    def __init__(self, settings: DnsSettings) -> None:
        self._most = settings.cache_size
        self._most_bytes = settings.cache_size * AVERAGE
        self._serve_stale = settings.serve_stale
        self._kept: OrderedDict[bytes, Kept] = OrderedDict()
        self.size = 0  # bytes

    def __len__(self) -> int:
        return len(self._kept)

    def find(self, key: bytes, now: float) -> Found | None:
        """An answer that may be given without asking anybody."""
        kept = self._kept.get(key)
        if kept is None:
            return None
        if now < kept.ends:
            self._kept.move_to_end(key)
            return Found(kept.counted_down(now), False)
        if now < kept.held_until:
            return Found(kept.stale(), True)
        if not self._is_of_use(kept, now):
            self._drop(key)
        return None

    def find_stale(self, key: bytes, now: float) -> bytes | None:
        """An answer for when no resolver has one."""
        kept = self._kept.get(key)
        return kept.stale() if kept is not None and self._is_of_use(kept, now) else None

    def hold(self, key: bytes, now: float) -> None:
        """No resolver answers this question: for a few seconds what is there is given without trying again."""
        self._kept[key].held_until = now + FAILURE_TTL

    def put(self, key: bytes, answered: Answered, now: float) -> None:
        """Keep it, in place of what was there, unless it may not be kept."""
        if answered.lifetime <= 0:
            return
        kept = Kept(answered, now)
        if not self._most or kept.size > self._most_bytes:
            return
        if key in self._kept:
            self._drop(key)
        self._kept[key] = kept
        self.size += kept.size
        while len(self._kept) > self._most or self.size > self._most_bytes:
            self._drop(next(iter(self._kept)))

    def _is_of_use(self, kept: Kept, now: float) -> bool:
        """An answer that has ended and may be given all the same. Failures are no use to anybody."""
        is_failure = kept.answered.wire[3] & 0x0F not in KEPT_RCODES
        return not is_failure and now < kept.ends + self._serve_stale

    def _drop(self, key: bytes) -> None:
        self.size -= self._kept.pop(key).size
