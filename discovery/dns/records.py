"""Messages and records of DNS written as bytes (RFC 1035 section 4).

Every answer has one question, whose name stands at offset 12, so the owner of its records is always the pointer to
there. Names inside of records are written out: RFC 2782 forbids to compress a target, and what is left is too short to
matter. What an answer can hold is decided by whoever asks; nothing here looks at sizes, except where it says so.
Never parses anything.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable
from typing import Final


class Type:
    """Types of records and questions that mean something to us (IANA DNS parameters). No enumeration: members of one
    take longer to find and to hash than the rest of a negative answer."""

    A: Final = 1
    NS: Final = 2
    SOA: Final = 6
    PTR: Final = 12
    HINFO: Final = 13
    TXT: Final = 16
    AAAA: Final = 28
    SRV: Final = 33
    OPT: Final = 41
    IXFR: Final = 251
    AXFR: Final = 252
    ANY: Final = 255


class Rcode:
    NOERROR: Final = 0
    FORMERR: Final = 1
    SERVFAIL: Final = 2
    NXDOMAIN: Final = 3
    NOTIMP: Final = 4
    REFUSED: Final = 5


# Room for what the server adds to an answer: OPT (11 bytes) with a cookie (28) and an extended error.
MAX_MESSAGE = 65_535 - 128

RESPONSE = 0x8000
AUTHORITATIVE = 0x0400
RECURSION_AVAILABLE = 0x0080

IN = b"\x00\x01"
QUESTION_NAME = b"\xc0\x0c"  # the pointer to offset 12
HEADER_SIZE = 12
MAX_POINTER = 0x4000  # pointers have 14 bits

MAX_STRING = 255  # of TXT

_HEADER = struct.Struct("!6H")
_U16 = struct.Struct("!H")
_RECORD = struct.Struct("!2sH2sIH")  # owner pointer, type, class, TTL, length
_TAIL = struct.Struct("!H2sIH")  # the same behind an owner that is written out
_SRV = struct.Struct("!3H")
_SOA = struct.Struct("!5I")

# SOA's numbers for secondaries, which we do not have; RIPE-203's values scaled down to how fast things change here.
REFRESH, RETRY, EXPIRE = 3600, 600, 86_400


def header(flags: int, answers: int = 0, authority: int = 0, additional: int = 0) -> bytes:
    """With id 0 and one question."""
    return _HEADER.pack(0, RESPONSE | flags, 1, answers, authority, additional)


def question(name: bytes, qtype: int) -> bytes:
    return name + _U16.pack(qtype) + IN


def record_head(rtype: int, ttl: int, size: int) -> bytes:
    """What comes before the `size` bytes of a record's data; the owner is the question's name."""
    return _RECORD.pack(QUESTION_NAME, rtype, IN, ttl, size)


def record(rtype: int, ttl: int, data: bytes) -> bytes:
    return record_head(rtype, ttl, len(data)) + data


def owned_record(owner: bytes, rtype: int, ttl: int, data: bytes) -> bytes:
    """A record whose owner is another name, or a pointer to one."""
    return owner + _TAIL.pack(rtype, IN, ttl, len(data)) + data


def pointer(offset: int) -> bytes:
    """`offset` must be below MAX_POINTER."""
    return _U16.pack(0xC000 | offset)


def address_type(packed: bytes) -> int:
    return Type.A if len(packed) == 4 else Type.AAAA


def srv_data(priority: int, weight: int, port: int, target: bytes) -> bytes:
    return _SRV.pack(priority, weight, port) + target


def soa_data(nameserver: bytes, hostmaster: bytes, serial: int, minimum: int) -> bytes:
    return nameserver + hostmaster + _SOA.pack(serial & 0xFFFFFFFF, REFRESH, RETRY, EXPIRE, minimum)


def text_data(text: bytes) -> bytes:
    """One text; what is too long for one string is several of them, which readers put together again."""
    strings = [text[at : at + MAX_STRING] for at in range(0, len(text), MAX_STRING)] or [b""]
    return b"".join(bytes((len(string),)) + string for string in strings)


def host_data(cpu: bytes, system: bytes) -> bytes:
    return bytes((len(cpu),)) + cpu + bytes((len(system),)) + system


def total(parts: Iterable[bytes]) -> int:
    return sum(map(len, parts))
