"""Rendered answers for tests of the DNS server, made by dnslib, and a table of them that counts its misses."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from dnslib import AAAA, QTYPE, RR, SOA, A, DNSHeader, DNSLabel, DNSQuestion, DNSRecord

from proxy.kernel.dnswire import Answers

if TYPE_CHECKING:
    from proxy.kernel.dnswire import Answer

NO_ROTATION = (0, 0, 0)


@dataclass(frozen=True)
class Made:
    """An answer as discovery/dns/answer.py has it."""

    wire: bytes
    rotation: tuple[int, int, int] = NO_ROTATION
    variants: tuple[bytes, ...] = ()
    owner: str = "web"
    cacheable: bool = True
    additional: int = 0
    rcode: int = 0


def wire_name(name: str) -> bytes:
    return b"".join(bytes([len(label)]) + label for label in DNSLabel(name.lower()).label) + b"\0"


def rendered(name: str, records: Sequence[RR], qtype: str = "A", rcode: int = 0, extra: Sequence[RR] = ()) -> bytes:
    made = DNSRecord(DNSHeader(id=0, qr=1, aa=1, rd=0, rcode=rcode), q=DNSQuestion(name, getattr(QTYPE, qtype)))
    made.add_answer(*records)
    made.add_ar(*extra)
    return bytes(made.pack())


def a(name: str, *addresses: str) -> list[RR]:
    return [RR(name, QTYPE.A, rdata=A(address), ttl=5) for address in addresses]


def aaaa(name: str, *addresses: str) -> list[RR]:
    return [RR(name, QTYPE.AAAA, rdata=AAAA(address), ttl=5) for address in addresses]


def of_addresses(name: str, *addresses: str, **given: object) -> Made:
    """Addresses that may be rotated."""
    wire = rendered(name, a(name, *addresses))
    start = 12 + len(wire_name(name)) + 4
    return Made(wire, **{"rotation": (start, 16, len(addresses)), **given})  # type: ignore[arg-type]


def no_such_name(name: str, qtype: str = "A") -> Made:
    made = DNSRecord(DNSHeader(id=0, qr=1, aa=1, rd=0, rcode=3), q=DNSQuestion(name, getattr(QTYPE, qtype)))
    made.add_auth(RR("hivemesh", QTYPE.SOA, rdata=SOA("ns.hivemesh", "hostmaster.hivemesh", (1, 2, 3, 4, 5)), ttl=5))
    return Made(bytes(made.pack()), owner="", cacheable=False, rcode=3)


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
        self.names = Names()

    def lookup(self, name: bytes, qtype: int) -> Answer | None:
        return self.names.answer(name, qtype)
