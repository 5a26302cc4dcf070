"""PROXY headers: who may send one, what one is, and that nothing behind it is taken for a part of it."""

from __future__ import annotations

import struct

from benchmarks.attacks.case import FORWARDED, HOST, REFUSED, WAITED, Door, Table, get

TABLE = Table(
    "proxy-header", "PROXY protocol 2.1, 2.2: a receiver must be told, must not guess, and must drop what is wrong"
)
SEEN = ("GET /attack", "GET /after")
V1 = b"PROXY TCP4 192.0.2.1 198.51.100.7 4711 80"
MAGIC = b"\r\n\r\n\x00\r\nQUIT\n"
NAMED = {b"x-forwarded-for": b"192.0.2.1"}
ADDRESSES = bytes([192, 0, 2, 1, 198, 51, 100, 7]) + struct.pack("!HH", 4711, 80)


def v2(command: int = 0x21, family: int = 0x11, rest: bytes = ADDRESSES, length: int | None = None) -> bytes:
    return MAGIC + bytes([command, family]) + struct.pack("!H", len(rest) if length is None else length) + rest


def first(
    id: str, what: str, header: bytes, right: frozenset = REFUSED, door: Door = Door.PROXY, **more: object
) -> None:  # type: ignore[type-arg]
    more.setdefault("seen", () if right == REFUSED else SEEN)
    TABLE.request(id, what, header + get(), right=right, door=door, **more)


first("version 1", "a proper one", V1 + b"\r\n", FORWARDED, last=NAMED)
first(
    "version 1, IPv6",
    "TCP6",
    b"PROXY TCP6 2001:db8::1 2001:db8::2 4711 80\r\n",
    FORWARDED,
    last={b"x-forwarded-for": b"2001:db8::1"},
)
first("version 1, UNKNOWN", "addresses are not known", b"PROXY UNKNOWN\r\n", FORWARDED)
first(
    "version 1, UNKNOWN and more",
    "what follows UNKNOWN is ignored",
    b"PROXY UNKNOWN ffff::1 ffff::2 1 2\r\n",
    FORWARDED,
)
first("version 1 where none is expected", "a header is no request", V1 + b"\r\n", door=Door.PLAIN)
first("version 2 where none is expected", "a header is no request", v2(), door=Door.PLAIN)
first("none where one is expected", "a request at once", b"", source="PROXY protocol 2: MUST NOT guess")
first("twice", "a second header is no request", V1 + b"\r\n" + V1 + b"\r\n")
first("version 2 after version 1", "a second header is no request", V1 + b"\r\n" + v2())
first("version 1, LF", "LF ends the line", V1 + b"\n")
first("version 1, CR", "CR ends the line", V1 + b"\r")
first("version 1, lower case", "proxy", V1.lower() + b"\r\n")
first("version 1, UDP4", "a family that it does not have", V1.replace(b"TCP4", b"UDP4") + b"\r\n")
first("version 1, two spaces", "between words", V1.replace(b" ", b"  ", 1) + b"\r\n")
first("version 1, a word too many", "six of them", V1 + b" 90\r\n")
first("version 1, a word too few", "no second port", V1[:-3] + b"\r\n")
first("version 1, port 65536", "no port", V1.replace(b"4711", b"65536") + b"\r\n")
first("version 1, port with a sign", "+4711", V1.replace(b"4711", b"+4711") + b"\r\n")
first(
    "version 1, port with a zero first",
    "04711",
    V1.replace(b"4711", b"04711") + b"\r\n",
    REFUSED | FORWARDED,
    seen=SEEN,
)
first("version 1, IPv6 as TCP4", "::1", b"PROXY TCP4 ::1 ::1 4711 80\r\n")
first("version 1, address of 256", "192.0.2.256", V1.replace(b"192.0.2.1", b"192.0.2.256") + b"\r\n")
first("version 1, a name", "an address is no name", V1.replace(b"192.0.2.1", b"a.test") + b"\r\n")
first(
    "version 1, hidden field",
    "CR and a field in place of an address",
    V1.replace(b"192.0.2.1", b"192.0.2.1\rX-A:1") + b"\r\n",
)
first("version 1, NUL", "in an address", V1.replace(b"192.0.2.1", b"192.0.2.1\x00") + b"\r\n")
first("version 1, 200 bytes", "longer than 107 bytes", b"PROXY UNKNOWN " + b"a" * 200 + b"\r\n")
TABLE.add("version 1, never ends", "no line end", V1, right=WAITED | REFUSED, seen=(), door=Door.PROXY)
first("version 2", "a proper one", v2(), FORWARDED, last=NAMED)
first("version 2, LOCAL", "the connection's own addresses", v2(0x20, 0x00, b""), FORWARDED)
first(
    "version 2, TLV", "something behind the addresses", v2(rest=ADDRESSES + b"\x04\x00\x03abc"), FORWARDED, last=NAMED
)
first(
    "version 2, TLV that is a request",
    "a request within the header",
    v2(rest=ADDRESSES + b"\x04\x00\x3a" + b"GET /smuggled HTTP/1.1\r\n" + HOST + b"\r\n"),
    REFUSED | FORWARDED,
    seen=SEEN,
    last=NAMED,
)
first(
    "version 2, TLV longer than the header",
    "a length that lies",
    v2(rest=ADDRESSES + b"\x04\xff\xffabc"),
    REFUSED | FORWARDED,
    seen=SEEN,
    last=NAMED,
)
first("version 2, version 1 in it", "version nibble 1", v2(0x11))
first("version 2, version 3 in it", "version nibble 3", v2(0x31))
first("version 2, unknown command", "command 2", v2(0x22))
first("version 2, unknown family", "family 4", v2(0x21, 0x41), REFUSED | FORWARDED, seen=SEEN)
first("version 2, UDP", "a datagram's header on a connection", v2(0x21, 0x12), REFUSED | FORWARDED, seen=SEEN)
first("version 2, too short", "four bytes of addresses", v2(rest=ADDRESSES[:4]))
first("version 2, length into the request", "the header takes bytes of the request", v2(length=len(ADDRESSES) + 10))
TABLE.add(
    "version 2, length beyond all",
    "65,535 bytes that do not come",
    v2(length=65535) + get(),
    right=WAITED | REFUSED,
    seen=(),
    door=Door.PROXY,
)
