"""Answers of DNS as a reader sees them: what dnslib and dnspython both make of the bytes."""

from __future__ import annotations

import random
from functools import lru_cache
from typing import NamedTuple

import dns.flags
import dns.message
import dns.rdatatype
import dnslib

from discovery.dns.answer import Answer
from discovery.dns.names import wire_name
from discovery.dns.selection import ALL_CLOSED, Breakers
from discovery.dns.zone import Zone
from discovery.model import DnsSettings, Service

TYPES = {name: int(dns.rdatatype.from_text(name)) for name in ("A", "NS", "SOA", "PTR", "TXT", "AAAA", "SRV", "ANY")}


class Read(NamedTuple):
    """Records as "name type data"; their order within a section is the message's."""

    rcode: str
    authoritative: bool
    answer: list[str]
    authority: list[str]
    additional: list[str]
    ttls: set[int]  # of the answer, or else of the authority

    @property
    def data(self) -> list[str]:
        """What the answer's records say, sorted."""
        return sorted(line.split(" ", 2)[2] for line in self.answer)


def zone(
    *services: Service,
    settings: DnsSettings | None = None,
    seed: int = 1,
    breakers: Breakers = lambda _: ALL_CLOSED,
) -> Zone:
    made = Zone(settings or DnsSettings(addresses=("127.0.0.1:8600",)), random.Random(seed), breakers)
    for service in services:
        made.put(service)
    return made


def ask(asked: Zone, name: str, qtype: str | int = "A") -> Answer | None:
    number = qtype if isinstance(qtype, int) else int(dns.rdatatype.from_text(qtype))
    answer = asked.answer(wire_name(name), number)
    if answer is not None:
        for wire in (answer.wire, *answer.variants):
            read(wire)
    return answer


def resolve(asked: Zone, name: str, qtype: str | int = "A") -> Read:
    answer = ask(asked, name, qtype)
    assert answer is not None, f"{name} is not ours"
    found = read(answer.wire)
    assert dns.message.from_wire(answer.wire).rcode() == answer.rcode
    return found


@lru_cache(maxsize=4096)
def read(wire: bytes) -> Read:
    """Two parsers must agree about every record, with nothing left over behind the last."""
    message = dns.message.from_wire(wire, one_rr_per_rrset=True)
    other = dnslib.DNSRecord.parse(wire)
    sections = ((message.answer, other.rr), (message.authority, other.auth), (message.additional, other.ar))
    for mine, theirs in sections:
        assert [(str(rrset.name).rstrip("."), int(rrset.rdtype), rrset.ttl) for rrset in mine] == [
            (str(rr.rname).rstrip("."), rr.rtype, rr.ttl) for rr in theirs
        ]
    answer, authority, additional = ([_line(rrset) for rrset in mine] for mine, _ in sections)
    return Read(
        rcode=dns.rcode.to_text(message.rcode()),
        authoritative=bool(message.flags & dns.flags.AA),
        answer=answer,
        authority=authority,
        additional=additional,
        ttls={rrset.ttl for rrset in message.answer or message.authority},
    )


def _line(rrset: dns.rrset.RRset) -> str:
    return f"{str(rrset.name).rstrip('.')} {dns.rdatatype.to_text(rrset.rdtype)} {rrset[0]}"
