"""Names of DNS: as text, as bytes on the wire, as labels made of names that were not meant for DNS.

A name on the wire is labels, each after its length, and a final zero (RFC 1035 section 3.1). All names of this package
are lower case and have that zero. Names of services, versions and nodes may hold what a label should not; `label_of`
says how they are asked for.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from functools import lru_cache

MAX_LABEL = 63
MAX_NAME = 255  # bytes on the wire

ROOT = b"\0"

# What has a place of its own in an address of one of these two is looked up backwards (RFC 1035 3.5, RFC 3596 2.5).
IN_ADDR_ARPA = b"\x07in-addr\x04arpa\0"
IP6_ARPA = b"\x03ip6\x04arpa\0"

# Where an IPv4 address stands that an IPv6 socket reports.
_NOT_IN_LABELS = re.compile(r"[^a-z0-9_-]")
_HEX = re.compile(rb"[0-9a-f]+")


class NameProblem(ValueError):
    """A text that cannot be a name of DNS."""


def wire_name(text: str) -> bytes:
    """`text` (with or without the dot at its end) on the wire, in lower case. NameProblem when it cannot be."""
    stripped = text.lower().removesuffix(".")
    if not stripped:
        return ROOT
    wire = join(label.encode("utf-8", "surrogateescape") for label in stripped.split("."))
    if len(wire) > MAX_NAME:
        raise NameProblem(f"{text[:80]!r} is longer than a name of DNS may be ({MAX_NAME} bytes)")
    return wire


def join(labels: Iterable[bytes]) -> bytes:
    """Labels as a name. NameProblem for a label that is empty or too long."""
    parts = []
    for label in labels:
        if not 0 < len(label) <= MAX_LABEL:
            raise NameProblem(f"{label[:80]!r} is no label, expected 1 to {MAX_LABEL} bytes")
        parts.append(bytes((len(label),)) + label)
    return b"".join(parts) + ROOT


def split(wire: bytes) -> list[int]:
    """Where the labels of a whole name begin."""
    starts = []
    at = 0
    while length := wire[at]:
        starts.append(at)
        at += length + 1
    return starts


def labels_between(wire: bytes, starts: list[int], count: int) -> tuple[bytes, ...]:
    """The first `count` labels."""
    return tuple([wire[at + 1 : at + 1 + wire[at]] for at in starts[:count]])


def text_name(wire: bytes) -> str:
    """A name as text without the dot at its end, for messages and logs; "." is the root."""
    return ".".join(wire[at + 1 : at + 1 + wire[at]].decode("ascii", "replace") for at in split(wire)) or "."


@lru_cache(maxsize=1024)
def label_of(name: str) -> bytes:
    """How a service, version or node is called in DNS: lower case, "-" for what is no letter, digit, "_" or "-" (a dot
    would begin another label), cut to 63 bytes. v1.2 is asked for as v1-2."""
    return _NOT_IN_LABELS.sub("-", name.lower())[:MAX_LABEL].encode()


def hex_label(packed: bytes) -> bytes:
    """The label that an address has below addr.<zone>: 0a000001, as Consul writes it."""
    return packed.hex().encode()


def address_of_hex(label: bytes) -> bytes | None:
    """The address of such a label; None when it is none."""
    if len(label) not in (8, 32) or not _HEX.fullmatch(label):
        return None
    return bytes.fromhex(label.decode())


def reverse_name(packed: bytes) -> bytes:
    """The name under which an address is looked up backwards."""
    if len(packed) == 4:
        return join(str(byte).encode() for byte in reversed(packed))[:-1] + IN_ADDR_ARPA
    return join(digit.encode() for digit in reversed(packed.hex()))[:-1] + IP6_ARPA


def address_of_reverse(wire: bytes) -> bytes | None:
    """The address that a name below in-addr.arpa or ip6.arpa stands for; None for a part of one, and for others."""
    if wire.endswith(IN_ADDR_ARPA):
        starts = split(wire)
        labels = labels_between(wire, starts, len(starts) - 2)
        if len(labels) != 4 or not all(_is_octet(label) for label in labels):
            return None
        return bytes(int(label) for label in reversed(labels))
    if wire.endswith(IP6_ARPA) and len(wire) == 64 + len(IP6_ARPA):
        digits = wire[1:64:2]
        if wire[0:64:2] != b"\x01" * 32 or not _HEX.fullmatch(digits):
            return None
        return bytes.fromhex(digits[::-1].decode())
    return None


def _is_octet(label: bytes) -> bool:
    return label.isdigit() and len(label) <= 3 and int(label) <= 255 and (len(label) == 1 or label[0] != 0x30)
