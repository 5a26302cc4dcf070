"""Messages to a DNS server: good ones with everything that a client may say, and what becomes of them on a bad day."""

from __future__ import annotations

import random
import struct
from collections.abc import Sequence

OPT = 41
CLASS_IN = 1


def wire_of(labels: Sequence[bytes]) -> bytes:
    """Labels as they are, too long ones included: their length is then cut to what a byte holds."""
    return b"".join(bytes([len(label) & 0xFF]) + label for label in labels) + b"\0"


def query(
    name: bytes,
    qtype: int = 1,
    qclass: int = CLASS_IN,
    number: int = 0,
    flags: int = 0x0100,
    edns: tuple[int, int, bool, bytes] | None = None,
) -> bytes:
    """`edns`: size, version, DO and options."""
    message = struct.pack("!6H", number, flags, 1, 0, 0, edns is not None) + name + struct.pack("!2H", qtype, qclass)
    if edns is not None:
        size, version, do, options = edns
        message += b"\0" + struct.pack("!2H2BHH", OPT, size, 0, version, do << 15, len(options)) + options
    return message


def option(code: int, data: bytes) -> bytes:
    return struct.pack("!2H", code, len(data)) + data


def random_query(rng: random.Random, names: Sequence[bytes]) -> bytes:
    """A good one: mostly about one of `names` (in wire form), in any case."""
    if rng.random() < 0.7:
        letters = rng.choice(names)
        name = bytes(byte ^ 0x20 if chr(byte).isalpha() and rng.random() < 0.5 else byte for byte in letters)
    else:
        name = wire_of([rng.randbytes(rng.choice((1, 3, 10, 63))) for _ in range(rng.randrange(4))])
    edns = None
    if rng.random() < 0.5:
        options = b"".join(
            option(rng.choice((3, 8, 10, 12, 65001)), rng.randbytes(rng.randrange(20))) for _ in range(2)
        )
        edns = (rng.choice((0, 512, 1232, 4096, 65535)), 0, rng.random() < 0.5, options if rng.random() < 0.5 else b"")
    qtype = rng.choice((1, 1, 1, 28, 33, 16, 255, 65, rng.randrange(65536)))
    return query(name, qtype, number=rng.randrange(65536), flags=rng.choice((0, 0x100, 0x120, 0x10)), edns=edns)


def mutated(rng: random.Random, message: bytes) -> bytes:
    """`message` with some bytes changed, removed, put in, or the rest cut off."""
    data = bytearray(message)
    for _ in range(rng.choice((1, 1, 2, 5))):
        at = rng.randrange(len(data) + 1)
        kind = rng.randrange(6)
        if kind == 0 and at < len(data):
            data[at] = rng.randrange(256)
        elif kind == 1 and at < len(data):
            data[at] ^= 1 << rng.randrange(8)
        elif kind == 2:
            del data[at:]
        elif kind == 3:
            data[at:at] = rng.randbytes(rng.choice((1, 2, 11, 300)))
        elif kind == 4:
            del data[at : at + rng.choice((1, 2, 11))]
        elif len(data) >= 12:
            data[rng.randrange(4, 12)] = rng.choice((0, 1, 2, 0xC0, 0xFF))
    return bytes(data)
