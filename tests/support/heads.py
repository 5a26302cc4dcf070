"""Message heads for tests of the scanner and of what is written: scanned from bytes, and generated."""

from __future__ import annotations

from hypothesis import strategies as st

from proxy.kernel.buffer import Buffer
from proxy.kernel.scan import ERRORS, Head, HeadLimits, scan_request, scan_response, scan_trailers

SCANS = {"request": scan_request, "response": scan_response, "trailers": scan_trailers}


def buffer_of(data: bytes, before: bytes = b"") -> Buffer:
    """A buffer whose live bytes are `data`, at an offset when `before` was there and is consumed."""
    buffer = Buffer(64)
    buffer.append(before + data)
    buffer.consume(len(before))
    return buffer


def scan(kind: str, data: bytes, limits: HeadLimits | None = None) -> tuple[int, Head]:
    """What the scanner of this kind says of `data`, and the head it filled."""
    head = Head()
    return SCANS[kind](buffer_of(data), head, limits or HeadLimits()), head


def request_head(data: bytes) -> Head:
    """A head that is complete and good."""
    size, head = scan("request", data)
    assert size == len(data), ERRORS.get(size, size)
    return head


def response_head(data: bytes) -> Head:
    size, head = scan("response", data)
    assert size == len(data), ERRORS.get(size, size)
    return head


TOKEN = "!#$%&'*+-.^_`|~0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"
VISIBLE = bytes(range(0x21, 0x7F))

tokens = st.text(TOKEN, min_size=1, max_size=12).map(str.encode)
# No fragment; any other visible byte may stand in a target.
targets = st.binary(max_size=24).map(
    lambda raw: b"/" + bytes(VISIBLE[byte % len(VISIBLE)] for byte in raw if byte != 2)
)
targets = targets.map(lambda target: target.replace(b"#", b"-"))
# Tabs, spaces and bytes above 0x7F inside; not at the ends, where they are stripped.
values = st.binary(max_size=24).map(
    lambda raw: bytes(byte if byte == 9 or (byte >= 0x20 and byte != 0x7F) else 0x61 for byte in raw).strip(b" \t")
)
hosts = st.sampled_from([b"a.test", b"A.Test:80", b"127.0.0.1:8080", b"[::1]", b"[2001:DB8::1]:443", b"x"])

# Names with a meaning for framing or connections are generated on purpose, not by chance.
MEANT = {b"host", b"content-length", b"transfer-encoding", b"connection", b"expect", b"upgrade", b"te"}
plain_names = tokens.filter(lambda name: name.lower() not in MEANT)
plain_fields = st.lists(st.tuples(plain_names, values), max_size=6)


@st.composite
def framings(draw: st.DrawFn) -> list[tuple[bytes, bytes]]:
    kind = draw(st.sampled_from(["none", "length", "chunked"]))
    if kind == "length":
        return [(draw(st.sampled_from([b"Content-Length", b"content-length"])), b"%d" % draw(st.integers(0, 10**12)))]
    if kind == "chunked":
        return [(b"Transfer-Encoding", draw(st.sampled_from([b"chunked", b"Chunked"])))]
    return []


@st.composite
def connections(draw: st.DrawFn) -> list[tuple[bytes, bytes]]:
    options = draw(st.lists(st.sampled_from([b"close", b"Keep-Alive", b"x-a", b"TE"]), min_size=0, max_size=3))
    return [(b"Connection", b", ".join(options))] if options else []


@st.composite
def field_lines(draw: st.DrawFn, fields: list[tuple[bytes, bytes]]) -> bytes:
    """The fields as lines, in any order, with any white space around the values."""
    spaces = st.sampled_from([b"", b" ", b"\t", b"  "])
    shuffled = draw(st.permutations(fields))
    return b"".join(name + b":" + draw(spaces) + value + draw(spaces) + b"\r\n" for name, value in shuffled)


@st.composite
def requests(draw: st.DrawFn) -> bytes:
    """A valid request head."""
    method = draw(
        st.one_of(st.sampled_from([b"GET", b"HEAD", b"POST", b"PUT", b"DELETE", b"OPTIONS", b"PATCH"]), tokens)
    )
    minor = draw(st.sampled_from([b"0", b"1"]))
    fields = [*draw(plain_fields), (b"Host", draw(hosts)), *draw(connections())]
    framing = draw(framings())
    if minor == b"1" or not framing or framing[0][0] != b"Transfer-Encoding":
        fields += framing
    lines = draw(field_lines(fields))
    return method + b" " + draw(targets) + b" HTTP/1." + minor + b"\r\n" + lines + b"\r\n"


@st.composite
def responses(draw: st.DrawFn) -> bytes:
    """A valid response head."""
    minor = draw(st.sampled_from([b"0", b"1"]))
    fields = [*draw(plain_fields), *draw(connections())]
    framing = draw(framings())
    if minor == b"1" or not framing or framing[0][0] != b"Transfer-Encoding":
        fields += framing
    status = b"%d" % draw(st.integers(100, 599))
    reason = draw(st.one_of(st.just(b""), values.map(lambda value: b" " + value)))
    return b"HTTP/1." + minor + b" " + status + reason + b"\r\n" + draw(field_lines(fields)) + b"\r\n"


@st.composite
def trailer_sections(draw: st.DrawFn) -> bytes:
    return draw(field_lines(draw(plain_fields))) + b"\r\n"
