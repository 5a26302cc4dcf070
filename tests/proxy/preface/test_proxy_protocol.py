"""The PROXY protocol: what a header says, what is none, and that it does not matter how the bytes arrive."""

from __future__ import annotations

import ipaddress

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from proxy.preface.proxy_protocol import (
    MAX_V1,
    MAX_V2,
    NEED_MORE,
    SIGNATURE,
    Complete,
    Invalid,
    Parsed,
    crc32c,
    parse,
    write_v1,
    write_v2,
)

V4 = bytes((192, 0, 2, 1, 198, 51, 100, 7)) + b"\xdd\xd5\x01\xbb"
V6 = ipaddress.ip_address("2001:db8::1").packed + ipaddress.ip_address("2001:db8::2").packed + b"\xdd\xd5\x01\xbb"
SOURCE, DESTINATION = (b"192.0.2.1", 56789), (b"198.51.100.7", 443)


def v2(block: bytes = V4, kind: int = 0x11, command: int = 0x21, length: int | None = None) -> bytes:
    size = len(block) if length is None else length
    return SIGNATURE + bytes((command, kind)) + size.to_bytes(2, "big") + block


def tlv(kind: int, value: bytes) -> bytes:
    return bytes((kind,)) + len(value).to_bytes(2, "big") + value


def with_crc(block: bytes, before: bytes = b"", after: bytes = b"", flip: int = 0) -> bytes:
    """A header whose TLVs contain its CRC-32C."""
    blank = v2(block + before + tlv(3, bytes(4)) + after)
    at = len(v2(block + before)) + 3
    return blank[:at] + (crc32c(blank) ^ flip).to_bytes(4, "big") + blank[at + 4 :]


# --- version 1 ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("line", "source", "destination"),
    [
        (b"TCP4 192.0.2.1 198.51.100.7 56789 443", SOURCE, DESTINATION),
        (b"TCP4 255.255.255.255 0.0.0.0 65535 0", (b"255.255.255.255", 65535), (b"0.0.0.0", 0)),
        (b"TCP6 2001:DB8:0:0:0:0:0:1 ::1 1 2", (b"2001:db8::1", 1), (b"::1", 2)),
        (b"TCP6 ::ffff:192.0.2.1 ::ffff:c633:6407 56789 443", SOURCE, DESTINATION),
        (b"UNKNOWN", None, None),
        (b"UNKNOWN ", None, None),
        (b"UNKNOWN ffff::1 whatever 99999 \x00\xff", None, None),
    ],
)
def test_a_line(line: bytes, source: object, destination: object) -> None:
    header = b"PROXY " + line + b"\r\n"
    assert parse(header) == Complete(len(header), source, destination)  # type: ignore[arg-type]
    assert parse(header + b"GET / HTTP/1.1\r\n") == parse(header)


def test_the_longest_line_the_document_knows() -> None:
    full = b"ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff"
    line = b"PROXY UNKNOWN %b %b 65535 65535\r\n" % (full, full)
    assert len(line) == MAX_V1
    assert parse(line) == Complete(MAX_V1, None, None)
    assert parse(line.replace(b"65535\r", b"655355\r")) == Invalid("no end of the line in 107 bytes")


@pytest.mark.parametrize(
    "line",
    [
        b"TCP4 192.0.2.1 198.51.100.7 56789 443\n",
        b"TCP4 192.0.2.1 198.51.100.7 56789\r\n",
        b"TCP4 192.0.2.1 198.51.100.7 56789 443 \r\n",
        b"TCP4  192.0.2.1 198.51.100.7 56789 443\r\n",
        b"TCP4\t192.0.2.1 198.51.100.7 56789 443\r\n",
        b"TCP4 192.0.2.01 198.51.100.7 56789 443\r\n",
        b"TCP4 192.0.2.1 198.51.100.7 056789 443\r\n",
        b"TCP4 192.0.2.1 198.51.100.7 56789 65536\r\n",
        b"TCP4 192.0.2.1 198.51.100.7 +5678 443\r\n",
        b"TCP4 192.0.2.256 198.51.100.7 56789 443\r\n",
        b"TCP4 192.0.2 198.51.100.7 56789 443\r\n",
        b"TCP4 ::1 ::1 56789 443\r\n",
        b"TCP6 192.0.2.1 198.51.100.7 56789 443\r\n",
        b"TCP6 ::1%lo ::1 56789 443\r\n",
        b"TCP6 1:2:3:4:5:6:7 ::1 56789 443\r\n",
        b"TCP6 1:2:3:4:5:6:7:8:9 ::1 56789 443\r\n",
        b"TCP6 12345::1 ::1 56789 443\r\n",
        b"TCP4 \xd9\xa1.0.0.1 127.0.0.1 1 1\r\n",
        b"UDP4 192.0.2.1 198.51.100.7 56789 443\r\n",
        b"tcp4 192.0.2.1 198.51.100.7 56789 443\r\n",
        b"UNKNOWNX\r\n",
        b"UNKNOWN\rX\r\n",
        b"\r\n",
    ],
)
def test_a_line_that_is_none(line: bytes) -> None:
    assert isinstance(parse(b"PROXY " + line), Invalid)


@pytest.mark.parametrize("data", [b"GET / HTTP/1.1\r\n", b"PROXYX", b"proxy ", b"\r\n\r\nX", b"\x16\x03\x01", b"P\x00"])
def test_what_begins_with_something_else_is_found_at_once(data: bytes) -> None:
    assert parse(data) == Invalid("begins with something else")


# --- version 2 ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", [0x11, 0x12])
def test_ipv4_in_binary(kind: int) -> None:
    assert parse(v2(kind=kind)) == Complete(28, SOURCE, DESTINATION)


@pytest.mark.parametrize("kind", [0x21, 0x22])
def test_ipv6_in_binary(kind: int) -> None:
    assert parse(v2(V6, kind)) == Complete(52, (b"2001:db8::1", 56789), (b"2001:db8::2", 443))


def test_ipv4_written_as_ipv6_is_ipv4() -> None:
    prefix = bytes(10) + b"\xff\xff"
    assert parse(v2(prefix + V4[:4] + prefix + V4[4:], 0x21)) == Complete(52, SOURCE, DESTINATION)


@pytest.mark.parametrize(
    ("kind", "block"),
    [
        (0x00, b""),
        (0x00, b"anything"),
        (0x01, b""),
        (0x10, V4),
        (0x20, V6),
        (0x30, bytes(216)),
        (0x31, b"/run/a".ljust(108, b"\0") + bytes(108)),
        (0x32, bytes(216)),
    ],
)
def test_what_names_no_ip_address_leaves_the_real_ones(kind: int, block: bytes) -> None:
    assert parse(v2(block, kind)) == Complete(16 + len(block), None, None)


@pytest.mark.parametrize("kind", [0x00, 0x11, 0xFF])
def test_of_a_local_connection_everything_is_discarded(kind: int) -> None:
    assert parse(v2(b"whatever", kind, command=0x20)) == Complete(24, None, None)
    assert parse(v2(b"", kind, command=0x20)) == Complete(16, None, None)


@pytest.mark.parametrize(
    ("header", "reason"),
    [
        (v2(command=0x11), "version 1"),
        (v2(command=0x31), "version 3"),
        (v2(command=0x22), "command 2"),
        (v2(kind=0x13), "family and transport 0x13"),
        (v2(kind=0x41), "family and transport 0x41"),
        (v2(V4[:-1]), "too short for its addresses"),
        (v2(V4, 0x21), "too short for its addresses"),
        (v2(bytes(215), 0x31), "too short for its addresses"),
        (v2(V4 + b"\x04"), "a TLV is cut off"),
        (v2(V4 + b"\x04\x00"), "a TLV is cut off"),
        (v2(V4 + b"\x04\x00\x02x"), "a TLV is longer than the header"),
        (v2(V4 + tlv(3, b"12345")), "a CRC-32C that has not 4 bytes"),
        (v2(V4 + tlv(3, b"1234")), "the CRC-32C is another"),
        (v2(V4, length=MAX_V2 - 15), f"{MAX_V2 + 1} bytes, more than {MAX_V2}"),
        (v2(b"", command=0x20, length=65535), f"65551 bytes, more than {MAX_V2}"),
    ],
)
def test_a_binary_header_that_is_none(header: bytes, reason: str) -> None:
    assert parse(header) == Invalid(reason)


def test_a_wrong_version_is_found_before_the_rest_is_there() -> None:
    assert parse(SIGNATURE + b"\x31") == Invalid("version 3")
    assert parse(SIGNATURE + b"\x22") == Invalid("command 2")
    assert parse(SIGNATURE + b"\x21\x41") == Invalid("family and transport 0x41")


def test_tlvs_are_skipped() -> None:
    block = V4 + tlv(4, b"") + tlv(2, b"shop.local") + tlv(0xE0, bytes(1000))
    assert parse(v2(block) + b"GET /") == Complete(16 + len(block), SOURCE, DESTINATION)
    largest = V4 + tlv(4, bytes(MAX_V2 - 16 - 12 - 3))
    assert parse(v2(largest)) == Complete(MAX_V2, SOURCE, DESTINATION)


def test_a_checksum_is_checked() -> None:
    assert crc32c(b"123456789") == 0xE3069283  # the check value of CRC-32C (RFC 3720 appendix B.4 has others)
    assert crc32c(bytes(32)) == 0x8A9136AA
    right = with_crc(V4, tlv(4, b"abc"), tlv(5, b"id"))
    assert parse(right) == Complete(len(right), SOURCE, DESTINATION)
    assert parse(with_crc(V4, flip=1)) == Invalid("the CRC-32C is another")
    changed = right.replace(b"abc", b"abd")
    assert parse(changed) == Invalid("the CRC-32C is another")


# --- however the bytes come ---------------------------------------------------------------------------------------

HEADERS = st.one_of(
    st.sampled_from(
        [write_v1(SOURCE, DESTINATION), v2(), v2(V6, 0x21), with_crc(V4, tlv(4, b"abc")), v2(b"", 0, 0x20)]
    ),
    st.builds(v2, st.binary(max_size=60), st.integers(0, 255), st.integers(0x1F, 0x23), st.none() | st.integers(0, 80)),
    st.binary(max_size=100).map(lambda rest: b"PROXY " + rest),
    st.text("TCP46UNKOW 0123456789.:f\r\n", max_size=120).map(lambda rest: b"PROXY " + rest.encode()),
    st.binary(max_size=80),
    st.binary(max_size=40).map(lambda rest: SIGNATURE + rest),
)


@settings(max_examples=500)
@given(HEADERS, st.binary(max_size=10))
@example(b"", b"")
def test_every_prefix_needs_more_or_says_what_the_whole_says(header: bytes, rest: bytes) -> None:
    data = header + rest
    whole = parse(data)
    if isinstance(whole, Complete):
        assert 15 <= whole.length <= len(data)
        assert parse(data[: whole.length]) == whole
    for end in range(len(data)):
        seen: Parsed = parse(data[:end])
        assert seen is NEED_MORE or seen == whole
        if isinstance(whole, Complete):
            assert (seen is NEED_MORE) == (end < whole.length)


ADDRESSES = st.ip_addresses().map(lambda address: str(address).encode())
PLACES = st.tuples(ADDRESSES, st.integers(0, 65535))


def plain(place: tuple[bytes, int]) -> tuple[bytes, int]:
    address = ipaddress.ip_address(place[0].decode().partition("%")[0])
    mapped = address.ipv4_mapped if isinstance(address, ipaddress.IPv6Address) else None
    return str(mapped or address).encode(), place[1]


@given(PLACES, PLACES)
@example((b"::ffff:192.0.2.1", 1), (b"192.0.2.1", 2))
def test_what_is_written_is_read(source: tuple[bytes, int], destination: tuple[bytes, int]) -> None:
    for write in (write_v1, write_v2):
        header = write(source, destination)
        assert parse(header) == Complete(len(header), plain(source), plain(destination))


@pytest.mark.parametrize("peer", [(b"", 0), (b"/run/x", 5)])
def test_who_has_no_ip_address_is_unknown(peer: tuple[bytes, int]) -> None:
    for source, destination in ((peer, DESTINATION), (SOURCE, peer)):
        assert write_v1(source, destination) == b"PROXY UNKNOWN\r\n"
        assert parse(write_v1(source, destination)) == Complete(15, None, None)
        assert parse(write_v2(source, destination)) == Complete(16, None, None)


def test_headers_are_those_of_the_document() -> None:
    assert write_v1(SOURCE, DESTINATION) == b"PROXY TCP4 192.0.2.1 198.51.100.7 56789 443\r\n"
    assert write_v1((b"2001:db8::1", 1), (b"::1", 2)) == b"PROXY TCP6 2001:db8::1 ::1 1 2\r\n"
    assert write_v2(SOURCE, DESTINATION) == v2()
    assert write_v2((b"2001:db8::1", 56789), (b"2001:db8::2", 443)) == v2(V6, 0x21)
    assert write_v1(SOURCE, (b"::1", 2)) == b"PROXY TCP6 ::ffff:c000:201 ::1 56789 2\r\n"
