"""Messages of DNS read: as much as forwarding and keeping them needs (RFC 1035 section 4).

`read_message` walks over all records, so what it accepts ends where it says and every name in an owner's place can be
followed. What stands inside of records is not looked at, apart from the two numbers that a cache lives by: TTL, and
MINIMUM of SOA. All of it may come from anybody: Malformed is the only error.
"""

from __future__ import annotations

import struct
from typing import Final, NamedTuple

from discovery.dns.names import MAX_NAME
from discovery.dns.records import HEADER_SIZE, Type

RESPONSE: Final = 0x8000
OPCODE: Final = 0x7800
AUTHORITATIVE: Final = 0x0400
TRUNCATED: Final = 0x0200
RECURSION_DESIRED: Final = 0x0100
RECURSION_AVAILABLE: Final = 0x0080
AUTHENTIC: Final = 0x0020  # AD: the resolver has validated it (RFC 4035 section 3.2.3)
CHECKING_DISABLED: Final = 0x0010  # CD: it need not

DNSSEC_OK: Final = 0x8000  # DO, in the TTL of OPT (RFC 3225)

# Records of one message. The smallest has 11 bytes, so a message of 64 KiB could name 6000; an answer that large is
# no answer of a resolver.
MAX_RECORDS: Final = 4096

_HEADER = struct.Struct("!6H")
_QUESTION = struct.Struct("!HH")
_FIXED = struct.Struct("!HHIH")  # type, class, TTL, length

ANSWER: Final = 0
AUTHORITY: Final = 1
ADDITIONAL: Final = 2


class Malformed(ValueError):
    """Bytes that are no message of DNS."""


class Question(NamedTuple):
    """The one question of a message."""

    name: bytes  # as it was written, with the final zero; never compressed
    qtype: int
    qclass: int

    @property
    def wire(self) -> bytes:
        return self.name + _QUESTION.pack(self.qtype, self.qclass)


class Item(NamedTuple):
    """A record, by where it stands."""

    section: int
    start: int
    rtype: int
    ttl: int
    ttl_at: int
    end: int


class Query(NamedTuple):
    """What a client asks."""

    id: int
    flags: int
    question: Question
    dnssec_ok: bool


class Message(NamedTuple):
    """What a resolver answers."""

    id: int
    flags: int
    question: Question
    question_end: int
    items: list[Item]

    @property
    def rcode(self) -> int:
        return self.flags & 0x000F


def read_query(wire: bytes) -> Query:
    """The header and question of a query, and whether it wants DNSSEC's records. What stands behind OPT is ignored."""
    message = read_message(wire)
    dnssec_ok = any(item.rtype == Type.OPT and item.ttl & DNSSEC_OK for item in message.items)
    return Query(message.id, message.flags, message.question, dnssec_ok)


def read_message(wire: bytes) -> Message:
    """Malformed when it is not one message with exactly one question."""
    if len(wire) < HEADER_SIZE:
        raise Malformed(f"{len(wire)} bytes are no message, expected a header of {HEADER_SIZE}")
    number, flags, questions, *counts = _HEADER.unpack_from(wire)
    if questions != 1:
        raise Malformed(f"{questions} questions, expected 1")
    if sum(counts) > MAX_RECORDS:
        raise Malformed(f"{sum(counts)} records, expected at most {MAX_RECORDS}")
    try:
        question, at = _read_question(wire)
        items, at = _read_records(wire, at, counts)
    except (IndexError, struct.error):
        raise Malformed(f"the message ends early, after {len(wire)} bytes") from None
    if at != len(wire):
        raise Malformed(f"{len(wire) - at} bytes behind the last record")
    return Message(number, flags, question, HEADER_SIZE + len(question.name) + _QUESTION.size, items)


def _read_question(wire: bytes) -> tuple[Question, int]:
    at = HEADER_SIZE
    while length := wire[at]:
        if length > 63:
            raise Malformed("the question's name is compressed, expected labels")
        at += length + 1
    at += 1
    name = wire[HEADER_SIZE:at]
    if len(name) > MAX_NAME:
        raise Malformed(f"a name of {len(name)} bytes, expected at most {MAX_NAME}")
    qtype, qclass = _QUESTION.unpack_from(wire, at)
    return Question(name, qtype, qclass), at + _QUESTION.size


def _read_records(wire: bytes, at: int, counts: list[int]) -> tuple[list[Item], int]:
    items = []
    for section, count in enumerate(counts):
        for _ in range(count):
            start = at
            at = _skip_name(wire, at)
            rtype, _, ttl, size = _FIXED.unpack_from(wire, at)
            end = at + _FIXED.size + size
            if end > len(wire):
                raise Malformed(f"a record of {size} bytes goes beyond the message")
            if rtype == Type.OPT and section != ADDITIONAL:
                # RFC 6891 section 6.1.1. Elsewhere it would be counted among the records that are passed on.
                raise Malformed("OPT among the answers, expected in the additional section")
            # RFC 2181 section 8: a TTL with its highest bit set counts as 0. That of OPT is no TTL.
            if ttl & 0x80000000 and rtype != Type.OPT:
                ttl = 0
            items.append(Item(section, start, rtype, ttl, at + 4, end))
            at = end
    return items, at


def _skip_name(wire: bytes, at: int) -> int:
    """Where the name at `at` ends. Pointers must lead back, each further than the one before: there is no loop."""
    end = 0
    size = 1
    lowest = at
    while length := wire[at]:
        if length < 64:
            size += length + 1
            at += length + 1
        elif length >= 0xC0:
            target = (length & 0x3F) << 8 | wire[at + 1]
            if target >= lowest or target < HEADER_SIZE:
                raise Malformed(f"a name at {at} points to {target}, expected an earlier one")
            end = end or at + 2
            at = lowest = target
        else:
            raise Malformed(f"a label of unknown kind ({length:#04x})")
        if size > MAX_NAME:
            raise Malformed(f"a name longer than {MAX_NAME} bytes")
    return end or at + 1


def minimum_of(wire: bytes, soa: Item) -> int:
    """MINIMUM: the last number of SOA."""
    return int.from_bytes(wire[soa.end - 4 : soa.end], "big")
