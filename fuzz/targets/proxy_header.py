"""proxy.preface.proxy_protocol: the header of a proxy in front of us, versions 1 and 2.

The first byte says where it is cut. A header means the same however it comes, and what we write of what was read says
the same again. Beside it a second reading of version 1, a regular expression of the whole line.
"""

from __future__ import annotations

import ipaddress
import re

from fuzz.support import expect
from proxy.preface.proxy_protocol import (
    MAX_HEADER,
    MAX_V1,
    NEED_MORE,
    SIGNATURE,
    Complete,
    Invalid,
    crc32c,
    parse,
    write_v1,
    write_v2,
)


def v2(rest: bytes, command: int = 0x21, family: int = 0x11) -> bytes:
    return SIGNATURE + bytes((command, family)) + len(rest).to_bytes(2, "big") + rest


INET = bytes((10, 0, 0, 1, 10, 0, 0, 2, 0, 80, 1, 187))


def with_sum() -> bytes:
    blank = v2(INET + b"\3\0\4\0\0\0\0")
    return blank[:-4] + crc32c(blank).to_bytes(4, "big")


SEEDS = (
    b"\0PROXY TCP4 10.0.0.1 10.0.0.2 1234 80\r\nGET / HTTP/1.1\r\n",
    b"\x40PROXY TCP6 2001:db8::1 ::1 65535 0\r\n",
    b"\x80PROXY UNKNOWN ffff::1 whatever\r\n",
    b"\x20" + v2(INET),
    b"\x60" + v2(bytes(15) + b"\1" + bytes(15) + b"\2\0\1\0\2\4\0\1x", family=0x21),
    b"\x90" + v2(b"", command=0x20, family=0),
    b"\x10" + v2(INET + b"\1\0\2h2\2\0\3a.b"),
    b"\xff" + with_sum(),
    b"\xff" + v2(bytes(216), family=0x31),
    b"\xff" + v2(bytes(10) + b"\xff\xff\1\2\3\4" + bytes(20), family=0x21),
)
WORDS = (
    SIGNATURE,
    b"PROXY ",
    b"TCP4 ",
    b"TCP6 ",
    b"UNKNOWN",
    b"\r\n",
    b"255.255.255.255",
    b"::ffff:1.2.3.4",
    b"65535",
    b"65536",
    b"\x20",
    b"\x21",
    b"\x11",
    b"\x21",
    b"\x31",
    b"\0\x0c",
    b"\0\x24",
    b"\0\xd8",
    b"\x0f\xf0",
    b"\3\0\4",
)

_V1 = re.compile(rb"PROXY (TCP4|TCP6) ([0-9A-Fa-f:.]+) ([0-9A-Fa-f:.]+) (0|[1-9][0-9]*) (0|[1-9][0-9]*)\r\n")


def check(data: bytes) -> None:
    if not data:
        return
    cut, data = data[0], data[1:]
    found = parse(data)
    part = data[: (cut * len(data)) >> 8]
    partly = parse(part)
    if isinstance(found, Complete):
        expect(found.length <= min(len(data), MAX_HEADER), "longer than it is", found)
        expect(partly == (found if len(part) >= found.length else NEED_MORE), "depends on how it comes", partly, found)
        check_complete(data[: found.length], found)
    elif found is NEED_MORE:
        expect(partly is NEED_MORE, "what needs more was more with less", partly)
        expect(len(data) < MAX_HEADER, "needs more for ever", len(data))
    else:
        expect(isinstance(found, Invalid) and found.reason, "no reason", found)
        expect(not isinstance(partly, Complete), "what is refused was accepted with less", partly)


def check_complete(header: bytes, found: Complete) -> None:
    expect((found.source is None) == (found.destination is None), "half of the addresses", found)
    line = _V1.fullmatch(header)
    if header.startswith(b"PROXY "):
        expect(len(header) <= MAX_V1, "a line longer than a line", header)
        expect((line is None) == (found.source is None), "addresses of a line that has none", header, found)
    if found.source is None or found.destination is None:
        return
    if line is not None:
        ends = ((line[2], line[4], found.source), (line[3], line[5], found.destination))
        for address, port, place in ends:
            expect(int(port) == place[1] <= 65535, "another port", header, found)
            expect(same_address(address.decode(), place[0].decode()), "another address", header, found)
    for place in (found.source, found.destination):
        expect(0 <= place[1] <= 65535, "a port that is none", found)
    for written in (write_v1(found.source, found.destination), write_v2(found.source, found.destination)):
        again = parse(written)
        expect(isinstance(again, Complete) and again.length == len(written), "what is written cannot be read", written)
        expect(
            again == Complete(len(written), found.source, found.destination), "reads otherwise", written, again, found
        )


def same_address(left: str, right: str) -> bool:
    first, second = ipaddress.ip_address(left), ipaddress.ip_address(right)
    if isinstance(first, ipaddress.IPv6Address) and first.ipv4_mapped is not None:
        return first == second or first.ipv4_mapped == second
    return first == second
