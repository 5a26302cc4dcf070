"""DNS messages of a client: a question written, an answer understood (RFC 1035 section 4).

An answer counts only if it has the id and repeats the question, in whatever case; everything else is somebody else's,
or somebody's attempt to be believed, and gives None. What has both and is no message all the same is `Garbled`.
No EDNS: answers above 512 bytes come over TCP, which every server has (RFC 7766). Pure.
"""

from __future__ import annotations

import ipaddress
import struct
from typing import Final, NamedTuple

from discovery.dns.messages import (
    ADDITIONAL,
    ANSWER,
    OPCODE,
    RECURSION_DESIRED,
    RESPONSE,
    TRUNCATED,
    Malformed,
    read_message,
)
from discovery.dns.messages import Item as WireRecord
from discovery.dns.names import MAX_NAME, NameProblem, wire_name

A: Final = 1
CNAME: Final = 5
AAAA: Final = 28
SRV: Final = 33

NOERROR: Final = 0
NXDOMAIN: Final = 3

_HEADER = struct.Struct("!6H")
_NUMBERS = struct.Struct("!HH")
_SRV = struct.Struct("!3H")
_RCODE = 0x000F
_INTERNET = 1
_POINTER = 0xC0


class Garbled(ValueError):
    """Message: why an answer is none."""


class Target(NamedTuple):
    """What an SRV record says (RFC 2782)."""

    priority: int
    weight: int
    port: int
    host: str  # "" is the root: decidedly no such service


class Record(NamedTuple):
    """`owner` and names in values are in lower case, without the final dot."""

    owner: str
    kind: int
    ttl: int
    value: str | Target


class Reply(NamedTuple):
    rcode: int
    is_truncated: bool
    answers: tuple[Record, ...] = ()
    additional: tuple[Record, ...] = ()


def question(id: int, name: str, kind: int) -> bytes:
    """Raises Garbled for a name that cannot be asked for, which an alias may lead to."""
    return _HEADER.pack(id, RECURSION_DESIRED, 1, 0, 0, 0) + _asked(name, kind)


def understand(message: bytes, id: int, name: str, kind: int) -> Reply | None:
    """The answer to that question; None for anything else. Raises Garbled."""
    asked = _asked(name, kind)
    end = _HEADER.size + len(asked)
    if len(message) < end:
        return None
    found, flags, questions, *_ = _HEADER.unpack_from(message)
    if found != id or not flags & RESPONSE or flags & OPCODE or questions != 1:
        return None
    if message[_HEADER.size : end].lower() != asked:
        return None
    rcode = flags & _RCODE
    if flags & TRUNCATED:
        return Reply(rcode, is_truncated=True)
    try:
        items = read_message(message).items
        records = {
            section: tuple(
                record for item in items if item.section == section and (record := _record(message, item)) is not None
            )
            for section in (ANSWER, ADDITIONAL)
        }
    except Malformed as error:
        raise Garbled(f"no message of DNS: {error}") from None
    except (IndexError, struct.error):
        raise Garbled("no message of DNS: a record ends early") from None
    return Reply(rcode, False, records[ANSWER], records[ADDITIONAL])


def _asked(name: str, kind: int) -> bytes:
    try:
        return wire_name(name) + _NUMBERS.pack(kind, _INTERNET)
    except NameProblem as error:
        raise Garbled(f"a name that cannot be asked for: {error}") from None


def _record(message: bytes, item: WireRecord) -> Record | None:
    """None for what is of no use here."""
    kind, begin = item.rtype, item.ttl_at + 6  # behind TTL and length
    if _NUMBERS.unpack_from(message, item.ttl_at - 4)[1] != _INTERNET:
        return None
    value: str | Target
    if kind in (A, AAAA):
        data = message[begin : item.end]
        if len(data) != (4 if kind == A else 16):
            raise Malformed(f"an address of {len(data)} bytes")
        value = str(ipaddress.ip_address(data))
    elif kind == CNAME:
        value = _name(message, begin)
    elif kind == SRV:
        priority, weight, port = _SRV.unpack_from(message, begin)
        value = Target(priority, weight, port, _name(message, begin + _SRV.size))
    else:
        return None
    return Record(_name(message, item.start), kind, item.ttl, value)


def _name(message: bytes, at: int) -> str:
    """The name at `at`. Pointers must lead back, each further than the one before: there is no loop."""
    labels = []
    lowest, size = at, 1
    while length := message[at]:
        if length < 64:
            label = message[at + 1 : at + 1 + length]
            if len(label) < length or b"." in label:
                raise Malformed("a label that ends early, or has a dot in it")
            labels.append(label)
            at += length + 1
            size += length + 1
        elif length >= _POINTER and (target := (length & 0x3F) << 8 | message[at + 1]) < lowest:
            at = lowest = target
        else:
            raise Malformed(f"a label of unknown kind, or a pointer that leads on ({length:#04x})")
        if size > MAX_NAME:
            raise Malformed(f"a name longer than {MAX_NAME} bytes")
    return b".".join(labels).decode("ascii", "replace").lower()
