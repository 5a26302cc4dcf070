"""Rendered answers for tests of the DNS server, made by dnslib, and a table of them that counts its misses."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from dnslib import AAAA, QTYPE, RR, SOA, A, DNSHeader, DNSQuestion, DNSRecord

from discovery.dns.answer import Answer, Rotation
from discovery.dns.names import wire_name
from proxy.kernel.dnswire import Answers


def made(wire: bytes, rotation: tuple[int, int, int] = (0, 0, 0), **given: Any) -> Answer:
    """An answer that may be kept."""
    return Answer(wire, **{"rcode": 0, "owner": "web", "cacheable": True, "rotation": Rotation(*rotation), **given})


def rendered(name: str, records: Sequence[RR], qtype: str = "A", rcode: int = 0, extra: Sequence[RR] = ()) -> bytes:
    made = DNSRecord(DNSHeader(id=0, qr=1, aa=1, rd=0, rcode=rcode), q=DNSQuestion(name, getattr(QTYPE, qtype)))
    made.add_answer(*records)
    made.add_ar(*extra)
    return bytes(made.pack())


def a(name: str, *addresses: str) -> list[RR]:
    return [RR(name, QTYPE.A, rdata=A(address), ttl=5) for address in addresses]


def aaaa(name: str, *addresses: str) -> list[RR]:
    return [RR(name, QTYPE.AAAA, rdata=AAAA(address), ttl=5) for address in addresses]


def of_addresses(name: str, *addresses: str, **given: Any) -> Answer:
    """Addresses that may be rotated."""
    wire = rendered(name, a(name, *addresses))
    start = 12 + len(wire_name(name)) + 4
    return made(wire, (start, 16, len(addresses)), **given)


def no_such_name(name: str, qtype: str = "A") -> Answer:
    made = DNSRecord(DNSHeader(id=0, qr=1, aa=1, rd=0, rcode=3), q=DNSQuestion(name, getattr(QTYPE, qtype)))
    made.add_auth(RR("hivemesh", QTYPE.SOA, rdata=SOA("ns.hivemesh", "hostmaster.hivemesh", (1, 2, 3, 4, 5)), ttl=5))
    return Answer(bytes(made.pack()), rcode=3)


@dataclass
class Names:
    """Who knows the answers: by name in wire form and type."""

    known: dict[tuple[bytes, int], Answer] = field(default_factory=dict)
    asked: list[tuple[bytes, int]] = field(default_factory=list)
    bug: BaseException | None = None

    def add(self, name: str, answer: Answer, qtype: int = 1) -> None:
        self.known[wire_name(name), qtype] = answer

    def answer(self, name: bytes, qtype: int) -> Answer | None:
        self.asked.append((name, qtype))
        if self.bug is not None:
            raise self.bug
        return self.known.get((name, qtype))


class Table(Answers):
    """Answers from `names`."""

    def __init__(self, most_entries: int = 1000, most_bytes: int = 1 << 20) -> None:
        super().__init__(most_entries, most_bytes)
        self.names = Names()

    def lookup(self, name: bytes, qtype: int) -> Answer | None:
        return self.names.answer(name, qtype)
