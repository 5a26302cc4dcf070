"""Answers as messages: what is prepared once per configuration, and what is written per answer.

Everything is put together from bytes (discovery/dns/records.py). Addresses stand side by side right behind the
question, each with the pointer to its name, so that a sender may rotate them where they are. An answer that has no
room for all records has as many as fit; which ones is drawn when it is made.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final, NamedTuple

from discovery.dns.answer import NO_ROTATION, Answer, Rotation
from discovery.dns.names import MAX_NAME, NameProblem, hex_label, wire_name
from discovery.dns.records import (
    AUTHORITATIVE,
    HEADER_SIZE,
    MAX_MESSAGE,
    MAX_POINTER,
    RECURSION_AVAILABLE,
    Rcode,
    Type,
    address_type,
    header,
    host_data,
    owned_record,
    pointer,
    question,
    record,
    record_head,
    soa_data,
    srv_data,
    text_data,
)
from discovery.dns.selection import Rng, parse_address, shuffled, weighted
from discovery.model import DnsOrder, DnsSettings

# What comes before the zone in the longest name that we write: 32 digits and "addr", each with its length.
LONGEST_PREFIX: Final = 33 + 5
# Characters of a zone: its wire form has one more at either end.
MAX_ZONE: Final = MAX_NAME - LONGEST_PREFIX - 2
# Names that one address stands for. One is usual (RFC 2181 section 10.2 allows more); a host with a hundred services
# would give an answer that nobody reads.
MAX_POINTERS: Final = 8

# RFC 8482 section 4.2: the answer to ANY.
MINIMAL_ANY: Final = host_data(b"RFC8482", b"")


class Target(NamedTuple):
    """One record of SRV."""

    priority: int
    weight: int
    port: int
    packed: bytes


class Renderer:
    """Writes answers as `settings` say. A serial that changes costs nothing until the next answer needs it."""

    def __init__(self, settings: DnsSettings, rng: Rng) -> None:
        """NameProblem when zone, nameserver or hostmaster cannot be names of DNS."""
        self.settings = settings
        self._rng = rng
        self.zone = wire_name(settings.zone)
        if len(self.zone) + LONGEST_PREFIX > MAX_NAME:
            raise NameProblem(f"zone {settings.zone[:80]!r} is too long, expected at most {MAX_ZONE} characters")
        self._below_addr = wire_name(f"addr.{settings.zone}")
        self._nameserver = wire_name(settings.nameserver or f"ns.{settings.zone}")
        self._hostmaster = wire_name(settings.hostmaster or f"hostmaster.{settings.zone}")
        self.own_addresses = _own_addresses(settings)
        flags = AUTHORITATIVE | (RECURSION_AVAILABLE if settings.forward else 0)
        self._flags = flags
        self._positive = header(flags, answers=1)
        self._negative = {rcode: header(flags | rcode, authority=1) for rcode in (Rcode.NOERROR, Rcode.NXDOMAIN)}
        self._refused = header((flags & ~AUTHORITATIVE) | Rcode.REFUSED)
        self._limit = settings.max_answers or MAX_MESSAGE
        self._serial = 0
        self._soa_tail = b""

    @property
    def serial(self) -> int:
        return self._serial

    @serial.setter
    def serial(self, serial: int) -> None:
        self._serial = serial
        self._soa_tail = b""

    # --- answers without records, and those of a zone ------------------------------------------------------------

    def negative(self, name: bytes, qtype: int, apex: bytes, rcode: int, owner: str = "") -> Answer:
        """Nothing of this type (NOERROR) or nothing of this name (NXDOMAIN), with the SOA that says for how long.
        RFC 2308 section 3: its TTL is what the answer may be kept for."""
        tail = self._soa_tail
        if not tail:
            ttl = int(self.settings.negative_ttl)
            tail = self._soa_tail = owned_record(b"", Type.SOA, ttl, self._soa())
        wire = self._negative[rcode] + question(name, qtype) + apex + tail
        return Answer(wire, rcode, owner, bool(owner))

    def refused(self, name: bytes, qtype: int) -> Answer:
        """Zone transfers are not given."""
        return Answer(self._refused + question(name, qtype), Rcode.REFUSED)

    def soa(self, name: bytes) -> Answer:
        return self._single(name, Type.SOA, Type.SOA, self._soa(), int(self.settings.ttl))

    def nameserver(self, name: bytes) -> Answer:
        """NS, with the server's addresses where its name is in our zone."""
        ttl = int(self.settings.ttl)
        head = question(name, Type.NS) + record(Type.NS, ttl, self._nameserver)
        glue = []
        if not self.settings.nameserver:
            at = pointer(HEADER_SIZE + len(head) - len(self._nameserver))
            glue = [owned_record(at, address_type(packed), ttl, packed) for packed in self.own_addresses]
        wire = header(self._flags, answers=1, additional=len(glue)) + head
        return Answer(wire + b"".join(glue), Rcode.NOERROR, additional=len(wire) if glue else 0)

    def any(self, name: bytes, ttl: int, owner: str = "") -> Answer:
        return self._single(name, Type.ANY, Type.HINFO, MINIMAL_ANY, ttl, owner)

    def _single(self, name: bytes, qtype: int, rtype: int, data: bytes, ttl: int, owner: str = "") -> Answer:
        wire = self._positive + question(name, qtype) + record(rtype, ttl, data)
        return Answer(wire, Rcode.NOERROR, owner, bool(owner))

    def _soa(self) -> bytes:
        return soa_data(self._nameserver, self._hostmaster, self._serial, int(self.settings.negative_ttl))

    # --- answers with records ------------------------------------------------------------------------------------

    def addresses(
        self, name: bytes, qtype: int, ttl: int, by_weight: Mapping[bytes, int], order: DnsOrder, owner: str = ""
    ) -> Answer:
        """A or AAAA; `by_weight` is not empty and its addresses are of that type."""
        asked = question(name, qtype)
        size = len(next(iter(by_weight)))
        head = record_head(qtype, ttl, size)
        fitting = (MAX_MESSAGE - HEADER_SIZE - len(asked)) // (len(head) + size)
        limit = min(self._limit, fitting)
        arrange = weighted if order is DnsOrder.WEIGHTED and len(set(by_weight.values())) > 1 else None
        lists = arrange(by_weight, limit, self._rng) if arrange else shuffled(by_weight, limit, self._rng)
        start = header(self._flags, answers=len(lists[0])) + asked
        wires = tuple(start + b"".join([head + packed for packed in packets]) for packets in lists)
        rotation = NO_ROTATION if arrange else Rotation(len(start), len(head) + size, len(lists[0]))
        variants = wires if len(wires) > 1 else ()
        return Answer(wires[0], Rcode.NOERROR, owner, bool(owner), rotation, variants)

    def services(self, name: bytes, ttl: int, targets: Sequence[Target], owner: str) -> Answer:
        """SRV by priority, with the addresses of its targets in ADDITIONAL. `targets` is not empty."""
        asked = question(name, Type.SRV)
        size = HEADER_SIZE + len(asked)
        draw = self._rng.random
        order = sorted((target.priority, draw(), target) for target in targets)
        answers: list[bytes] = []
        where: dict[bytes, bytes] = {}  # address -> how its name is written in ADDITIONAL
        for _, _, target in order[: self._limit]:
            host = self.address_name(target.packed)
            written = record(Type.SRV, ttl, srv_data(target.priority, target.weight, target.port, host))
            if size + len(written) > MAX_MESSAGE:
                break
            answers.append(written)
            size += len(written)
            at = size - len(host)
            where.setdefault(target.packed, pointer(at) if at < MAX_POINTER else host)
        extra: list[bytes] = []
        start = size
        for packed, host in where.items():
            written = owned_record(host, address_type(packed), ttl, packed)
            if size + len(written) > MAX_MESSAGE:
                break
            extra.append(written)
            size += len(written)
        wire = header(self._flags, answers=len(answers), additional=len(extra)) + asked
        wire += b"".join(answers) + b"".join(extra)
        return Answer(wire, Rcode.NOERROR, owner, bool(owner), additional=start if extra else 0)

    def texts(self, name: bytes, ttl: int, metadata: Mapping[str, str], owner: str = "") -> Answer:
        """A record key=value for each entry (RFC 1464), which is not empty."""
        pairs = [text_data(f"{key}={value}".encode("utf-8", "replace")) for key, value in metadata.items()]
        return self._records(name, Type.TXT, ttl, pairs, owner)

    def pointers(self, name: bytes, ttl: int, names: Sequence[bytes]) -> Answer:
        return self._records(name, Type.PTR, ttl, names[:MAX_POINTERS], "")

    def _records(self, name: bytes, rtype: int, ttl: int, contents: Sequence[bytes], owner: str) -> Answer:
        asked = question(name, rtype)
        size = HEADER_SIZE + len(asked)
        answers: list[bytes] = []
        for data in contents[: self._limit]:
            written = record(rtype, ttl, data)
            size += len(written)
            if size > MAX_MESSAGE:
                break
            answers.append(written)
        wire = header(self._flags, answers=len(answers)) + asked + b"".join(answers)
        return Answer(wire, Rcode.NOERROR, owner, bool(owner))

    def address_name(self, packed: bytes) -> bytes:
        """The name that SRV calls an address by."""
        label = hex_label(packed)
        return bytes((len(label),)) + label + self._below_addr


def _own_addresses(settings: DnsSettings) -> list[bytes]:
    """Where this server is reached: the addresses that it listens on, or the proxy's where that is every address."""
    listening = [parsed[0] for parsed in map(parse_address, settings.addresses) if parsed is not None]
    specific = [packed for packed in listening if any(packed)]
    return list(dict.fromkeys(specific)) or packed_addresses(settings.proxy_addresses)


def packed_addresses(texts: Sequence[str]) -> list[bytes]:
    """IP addresses without port."""
    parsed = (parse_address(f"{text}:0") for text in texts)
    return [found[0] for found in parsed if found is not None]
