"""The PROXY protocol, versions 1 and 2: read what a proxy in front of us says, and say it to a server.

`parse` looks at the first bytes of a connection. Any prefix of a header needs more, so it may be asked again and again
with more bytes; as soon as no continuation could be a header the answer is `Invalid`. The rules are those of HAProxy's
doc/proxy-protocol.txt ("the document" below), and where it says that a receiver may choose, the choice is told here:

 - a v1 line of UNKNOWN, and in v2 the command LOCAL, an unspecified family or transport, and unix sockets: the
   connection is taken, and its real addresses hold (`source` and `destination` are None)
 - TLVs are skipped by their lengths, which have to add up; a CRC-32C is checked
 - a v2 header of more than MAX_V2 bytes is invalid

Whether there is a header is never guessed: who calls `parse` knows that there is one.
"""

from __future__ import annotations

import ipaddress
import re
from enum import Enum
from typing import Final, NamedTuple, TypeAlias

from discovery.model import ProxyHeader
from mesh.networks import address_text, parse_address

Place: TypeAlias = tuple[bytes, int]  # text of an IP address, port


class Complete(NamedTuple):
    """A whole header: the first `length` bytes. None: the header does not say."""

    length: int
    source: Place | None
    destination: Place | None


class Invalid(NamedTuple):
    reason: str


class Unfinished(Enum):
    NEED_MORE = "need more"


NEED_MORE: Final = Unfinished.NEED_MORE

Parsed: TypeAlias = Complete | Invalid | Unfinished

SIGNATURE: Final = b"\r\n\r\n\x00\r\nQUIT\n"
V1_BEGIN: Final = b"PROXY "
MAX_V1: Final = 107  # with CRLF; section 2.1 of the document
V2_FIXED: Final = 16
MAX_V2: Final = 4096  # as nginx; names of hosts and certificates fit, what would fill a socket's buffer does not
MAX_HEADER: Final = MAX_V2

# Fourteenth byte of v2: family and transport. Sizes of the block of addresses, section 2.2.
STREAM: Final = 1
FAMILIES: Final = {0: 0, 1: 12, 2: 36, 3: 216}
TRANSPORTS: Final = (0, STREAM, 2)
INET: Final = 1
INET6: Final = 2
IP_BYTES: Final = {INET: 4, INET6: 16}

LOCAL: Final = 0
PROXY: Final = 1

TLV_CRC32C: Final = 3

_V1_NUMBER = re.compile(rb"0|[1-9][0-9]{0,4}")
_V1_ADDRESS = re.compile(rb"[0-9A-Fa-f:.]{2,45}")


def parse(data: bytes) -> Parsed:
    """What the first bytes of a connection, `data`, say."""
    if data.startswith(SIGNATURE):
        return _parse_v2(data)
    if data.startswith(V1_BEGIN):
        return _parse_v1(data)
    if SIGNATURE.startswith(data) or V1_BEGIN.startswith(data):
        return NEED_MORE
    return Invalid("begins with something else")


# --- version 1 ----------------------------------------------------------------------------------------------------


def _parse_v1(data: bytes) -> Parsed:
    line = data[:MAX_V1]
    end = line.find(b"\n")
    if end < 0:
        return NEED_MORE if len(data) < MAX_V1 else Invalid(f"no end of the line in {MAX_V1} bytes")
    if line[end - 1 : end] != b"\r":
        return Invalid("the line does not end with CRLF")
    if b"\r" in line[: end - 1]:
        return Invalid("CR inside the line")
    words = line[len(V1_BEGIN) : end - 1].split(b" ")
    if words[0] == b"UNKNOWN":
        return Complete(end + 1, None, None)
    family = {b"TCP4": 4, b"TCP6": 6}.get(words[0])
    if family is None:
        return Invalid("neither TCP4, TCP6 nor UNKNOWN")
    if len(words) != 5:
        return Invalid("not two addresses and two ports")
    source, destination = _v1_place(family, words[1], words[3]), _v1_place(family, words[2], words[4])
    if source is None or destination is None:
        return Invalid("an address or port that is none")
    return Complete(end + 1, source, destination)


def _v1_place(family: int, address: bytes, port: bytes) -> Place | None:
    """Leading zeros are no numbers here (the `ipaddress` module refuses them in IPv4 as well)."""
    if not _V1_ADDRESS.fullmatch(address) or not _V1_NUMBER.fullmatch(port) or int(port) > 65535:
        return None
    text = address.decode()
    try:
        parsed = ipaddress.IPv4Address(text) if family == 4 else ipaddress.IPv6Address(text)
    except ValueError:
        return None
    return _text_of(parsed.packed), int(port)


# --- version 2 ----------------------------------------------------------------------------------------------------


def _parse_v2(data: bytes) -> Parsed:
    # Each byte is judged as soon as it is there: version and command, family and transport, length.
    count = len(data)
    if count > 12 and data[12] >> 4 != 2:
        return Invalid(f"version {data[12] >> 4}")
    if count > 12 and data[12] & 15 not in (LOCAL, PROXY):
        return Invalid(f"command {data[12] & 15}")
    if count < V2_FIXED:
        if count > 13 and data[12] & 15 == PROXY and not _is_known(data[13]):
            return Invalid(f"family and transport 0x{data[13]:02x}")
        return NEED_MORE
    length = V2_FIXED + int.from_bytes(data[14:16], "big")
    if data[12] & 15 == LOCAL:
        # Whatever stands there is to be discarded, the family included.
        return _whole(data, length) or Complete(length, None, None)
    if not _is_known(data[13]):
        return Invalid(f"family and transport 0x{data[13]:02x}")
    family, transport = data[13] >> 4, data[13] & 15
    block = FAMILIES[family]
    if length < V2_FIXED + block:
        return Invalid("too short for its addresses")
    unfinished = _whole(data, length)
    if unfinished is not None:
        return unfinished
    if family == 0:
        return Complete(length, None, None)
    problem = _check_tlvs(data[:length], V2_FIXED + block)
    if problem is not None:
        return problem
    if family not in IP_BYTES or not transport:
        return Complete(length, None, None)
    size = IP_BYTES[family]
    at = V2_FIXED + 2 * size
    source_port, destination_port = (
        int.from_bytes(data[at : at + 2], "big"),
        int.from_bytes(data[at + 2 : at + 4], "big"),
    )
    source = _text_of(data[V2_FIXED : V2_FIXED + size]), source_port
    destination = _text_of(data[V2_FIXED + size : at]), destination_port
    return Complete(length, source, destination)


def _is_known(byte: int) -> bool:
    return byte >> 4 in FAMILIES and byte & 15 in TRANSPORTS


def _whole(data: bytes, length: int) -> Parsed | None:
    """None when all `length` bytes are there."""
    if length > MAX_V2:
        return Invalid(f"{length} bytes, more than {MAX_V2}")
    return NEED_MORE if len(data) < length else None


def _check_tlvs(header: bytes, at: int) -> Invalid | None:
    """Section 2.2: the TLVs fill the rest of the header exactly; a CRC-32C is that of the header with zeros in its
    place."""
    while at < len(header):
        start = at + 3
        if start > len(header):
            return Invalid("a TLV is cut off")
        at = start + int.from_bytes(header[at + 1 : start], "big")
        if at > len(header):
            return Invalid("a TLV is longer than the header")
        if header[start - 3] == TLV_CRC32C:
            if at - start != 4:
                return Invalid("a CRC-32C that has not 4 bytes")
            expected = crc32c(header[:start] + bytes(4) + header[at:])
            if int.from_bytes(header[start:at], "big") != expected:
                return Invalid("the CRC-32C is another")
    return None


def _crc_table() -> list[int]:
    """RFC 4960 appendix B: the Castagnoli polynomial, reflected."""
    table = []
    for byte in range(256):
        value = byte
        for _ in range(8):
            value = value >> 1 ^ (0x82F63B78 if value & 1 else 0)
        table.append(value)
    return table


_CRC_TABLE = _crc_table()


def crc32c(data: bytes) -> int:
    value = 0xFFFFFFFF
    for byte in data:
        value = value >> 8 ^ _CRC_TABLE[(value ^ byte) & 0xFF]
    return value ^ 0xFFFFFFFF


# --- writing ------------------------------------------------------------------------------------------------------


def write(header: ProxyHeader, source: Place, destination: Place) -> bytes:
    """What a connection to an endpoint begins with that expects `header`; b"" for OFF."""
    if header is ProxyHeader.V1:
        return write_v1(source, destination)
    return write_v2(source, destination) if header is ProxyHeader.V2 else b""


V1_UNKNOWN = b"PROXY UNKNOWN\r\n"
# Nothing is known of the client. Receivers must accept LOCAL; an unspecified family they may refuse.
V2_UNKNOWN = SIGNATURE + b"\x20\x00\x00\x00"


def write_v1(source: Place, destination: Place) -> bytes:
    """The line for a connection of `source` that came to `destination`. An address that is no IP address (b"" of a
    unix socket) makes it UNKNOWN."""
    packed = _packed(source[0], destination[0])
    if packed is None:
        return V1_UNKNOWN
    texts = [str(ipaddress.ip_address(raw)).encode() for raw in packed]
    family = b"TCP4" if len(packed[0]) == 4 else b"TCP6"
    return b"PROXY %b %b %b %d %d\r\n" % (family, texts[0], texts[1], source[1], destination[1])


def write_v2(source: Place, destination: Place) -> bytes:
    """The same in binary."""
    packed = _packed(source[0], destination[0])
    if packed is None:
        return V2_UNKNOWN
    family = INET if len(packed[0]) == 4 else INET6
    block = b"".join(packed) + source[1].to_bytes(2, "big") + destination[1].to_bytes(2, "big")
    return SIGNATURE + bytes((0x20 | PROXY, family << 4 | STREAM)) + len(block).to_bytes(2, "big") + block


def _packed(source: bytes, destination: bytes) -> tuple[bytes, bytes] | None:
    """Both addresses in one family: where they differ, which they may when one came from another proxy, the IPv4
    address is written as IPv6."""
    first, second = parse_address(source), parse_address(destination)
    if first is None or second is None:
        return None
    if first[0] == second[0]:
        size = first[0] // 8
        return first[1].to_bytes(size, "big"), second[1].to_bytes(size, "big")
    return _as_ipv6(first), _as_ipv6(second)


def _as_ipv6(address: tuple[int, int]) -> bytes:
    bits, number = address
    return number.to_bytes(16, "big") if bits == 128 else b"\0" * 10 + b"\xff\xff" + number.to_bytes(4, "big")


def _text_of(packed: bytes) -> bytes:
    """The one spelling of an address, as sockets and conditions have it; ::ffff:a.b.c.d is a.b.c.d."""
    address = parse_address(str(ipaddress.ip_address(packed)).encode())
    assert address is not None
    return address_text(address)
