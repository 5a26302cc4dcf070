"""A ClientHello from outside: names and protocols of real ones, and what is none."""

from __future__ import annotations

import ssl

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from proxy.preface.client_hello import MAX_RECORDS, NEED_MORE, NOT_TLS, TOO_LARGE, Complete, parse

LIMIT = 16 * 1024


def hello(name: str | None = "shop.local", alpn: tuple[str, ...] = (), version: ssl.TLSVersion | None = None) -> bytes:
    """What Python's TLS client sends first."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    if alpn:
        context.set_alpn_protocols(list(alpn))
    if version is not None:
        context.maximum_version = version
    outgoing = ssl.MemoryBIO()
    tls = context.wrap_bio(ssl.MemoryBIO(), outgoing, server_hostname=name)
    with pytest.raises(ssl.SSLWantReadError):
        tls.do_handshake()
    return outgoing.read()


def in_records(message: bytes, *sizes: int) -> bytes:
    """A handshake message in records of these sizes, the last of which takes the rest."""
    data, at = b"", 0
    for size in (*sizes, len(message)):
        piece = message[at : at + size]
        at += size
        if piece:
            data += b"\x16\x03\x01" + len(piece).to_bytes(2, "big") + piece
    return data


def vector(size: int, content: bytes) -> bytes:
    return len(content).to_bytes(size, "big") + content


def made(extensions: bytes | None = b"", session: bytes = b"", more: bytes = b"") -> bytes:
    """A hello of our own: what libraries do not send."""
    body = b"\x03\x03" + bytes(32) + vector(1, session) + vector(2, b"\x13\x01") + vector(1, b"\0")
    if extensions is not None:
        body += vector(2, extensions)
    return in_records(b"\x01" + vector(3, body + more))


def extension(kind: int, value: bytes) -> bytes:
    return kind.to_bytes(2, "big") + vector(2, value)


def named(name: bytes) -> bytes:
    return extension(0, vector(2, b"\0" + vector(2, name)))


# --- real ones ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("version", [None, ssl.TLSVersion.TLSv1_2])
@pytest.mark.parametrize("name", ["shop.local", "a.b.c.example.com", "x" * 63 + ".local", None])
@pytest.mark.parametrize("alpn", [(), ("h2", "http/1.1"), ("x" * 255,)])
def test_name_and_protocols(name: str | None, alpn: tuple[str, ...], version: ssl.TLSVersion | None) -> None:
    expected = Complete((name or "").encode(), tuple(protocol.encode() for protocol in alpn))
    data = hello(name, alpn, version)
    assert parse(data, LIMIT) == expected
    assert parse(data + b"early data", LIMIT) == expected


def test_names_are_in_lower_case() -> None:
    assert parse(hello("SHOP.Local"), LIMIT) == Complete(b"shop.local", ())


@given(st.lists(st.integers(1, 400), max_size=12))
def test_a_hello_may_be_spread_over_records(sizes: list[int]) -> None:
    message = hello(alpn=("h2",))[5:]
    assert parse(in_records(message, *sizes), LIMIT) == Complete(b"shop.local", (b"h2",))


# --- names that are none ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "name",
    [
        *(b"", b".", b"a..b", b".a", b"a.", b"a b", b"a\0b", b"-a", b"a-", b"\xc3\xa9.local", b"*.a", b"a:443", b"a/b"),
        *(b"10.0.0.1", b"::1", b"x" * 64, b".".join([b"x" * 60] * 5)),
    ],
)
def test_a_name_that_is_none_is_no_name(name: bytes) -> None:
    assert parse(made(named(name)), LIMIT) == Complete(b"", ())


@pytest.mark.parametrize("name", [b"_dmarc.a", b"a_b", b"1", b"1.2.3.x", b"xn--caf-dma.local", b"a--b.c"])
def test_unusual_names(name: bytes) -> None:
    assert parse(made(named(name)), LIMIT) == Complete(name, ())


# --- shapes -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("data", [made(b""), made(None), made(session=bytes(32))])
def test_a_hello_without_names(data: bytes) -> None:
    assert parse(data, LIMIT) == Complete(b"", ())


@pytest.mark.parametrize(
    "data",
    [
        b"GET / HTTP/1.1\r\n",
        b"\x16\x02\x00",
        b"\x15\x03\x01\x00\x02\x01\x00",  # an alert
        b"\x16\x03\x01\x00\x00",  # an empty piece of a handshake
        b"\x16\x03\x01\x40\x01",  # a record that is too long
        b"\x16\x03\x01\x00\x04\x02\x00\x00\x00",  # a ServerHello
        in_records(made()[5:], 10)[:15] + b"\x17\x03\x01\x00\x01x",
        made(session=bytes(33)),
        made(b"", more=b"x"),
        made(b"\0"),
        made(extension(0, b"")),
        made(named(b"a") + named(b"b")),
        made(extension(0, vector(2, b"\0" + vector(2, b"a") + b"\0" + vector(2, b"b")))),
        made(extension(0, vector(2, b"\x01" + vector(2, b"a")))),
        made(extension(0, vector(2, b"\0" + vector(2, b"a")) + b"x")),
        made(extension(0, vector(2, b"\0\0\x05a"))),
        made(extension(16, b"")),
        made(extension(16, vector(2, b""))),
        made(extension(16, vector(2, b"\0"))),
        made(extension(16, vector(2, b"\x05h2"))),
        made(extension(16, vector(2, vector(1, b"h2")) + b"x")),
    ],
)
def test_what_is_no_hello(data: bytes) -> None:
    assert parse(data, LIMIT) is NOT_TLS


# --- limits -------------------------------------------------------------------------------------------------------


def test_a_hello_that_fits_exactly_is_read() -> None:
    data = made(named(b"a.local") + extension(21, bytes(3000)))
    assert parse(data, len(data)) == Complete(b"a.local", ())
    assert parse(data, len(data) - 1) is TOO_LARGE


def test_one_that_announces_more_than_the_limit_is_not_waited_for() -> None:
    assert parse(b"\x16\x03\x01\x02\x00\x01\x00\x40\x00", LIMIT) is TOO_LARGE


def test_nor_are_endless_small_records() -> None:
    message = made(extension(21, bytes(1500)))[5:]
    most = [1] * (MAX_RECORDS - 1)
    assert parse(in_records(message, *most), LIMIT) == Complete(b"", ())
    assert parse(in_records(message, *most, 1), LIMIT) is TOO_LARGE
    assert parse(in_records(message, *most)[: 6 * MAX_RECORDS], LIMIT) is NEED_MORE


# --- however the bytes come ---------------------------------------------------------------------------------------

HELLOS = [
    hello(),
    hello(None),
    hello(alpn=("h2",), version=ssl.TLSVersion.TLSv1_2),
    in_records(made(named(b"a.b"))[5:], 3, 1, 30),
    made(named(b"a") + extension(16, b"")),
]


@pytest.mark.parametrize("data", HELLOS)
def test_every_prefix_needs_more(data: bytes) -> None:
    for end in range(len(data)):
        assert parse(data[:end], LIMIT) is NEED_MORE
    assert parse(data, LIMIT) is not NEED_MORE


@settings(max_examples=500)
@given(st.sampled_from(HELLOS), st.data())
def test_no_damage_raises_and_prefixes_agree(data: bytes, draw: st.DataObject) -> None:
    damaged = bytearray(data)
    for _ in range(draw.draw(st.integers(1, 4))):
        damaged[draw.draw(st.integers(0, len(damaged) - 1))] = draw.draw(st.integers(0, 255))
    limit = draw.draw(st.sampled_from([256, len(data), LIMIT]))
    whole = parse(bytes(damaged), limit)
    for end in range(0, len(damaged), 7):
        assert parse(bytes(damaged[:end]), limit) in (NEED_MORE, whole)


@given(st.binary(max_size=300) | st.binary(max_size=300).map(lambda rest: b"\x16\x03\x01" + rest))
def test_no_bytes_raise(data: bytes) -> None:
    whole = parse(data, LIMIT)
    assert all(parse(data[:end], LIMIT) in (NEED_MORE, whole) for end in range(len(data)))
