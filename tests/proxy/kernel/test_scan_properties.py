"""The head scanner on generated input: pieces, garbage, and the same understanding as h11.

Where the scanner refuses what h11 takes, `STRICTER` says so case by case, with the reason.
"""

from __future__ import annotations

import h11
import pytest
from heads import (
    SCANS,
    buffer_of,
    plain_names,
    request_head,
    requests,
    response_head,
    responses,
    scan,
    tokens,
    trailer_sections,
)
from hypothesis import given
from hypothesis import strategies as st

from mesh.forwarding import is_reserved
from mesh.paths import is_plain
from proxy.kernel.scan import ERRORS, FIELD_IDS, ChunkLine, Head, HeadLimits, scan_chunk_line

heads_of = {"request": requests(), "response": responses(), "trailers": trailer_sections()}
kinds_and_heads = st.sampled_from(sorted(heads_of)).flatmap(lambda kind: st.tuples(st.just(kind), heads_of[kind]))
LARGEST = 1024 * 1024


@given(kinds_and_heads, st.data())
def test_a_head_is_incomplete_until_its_last_byte(kind_and_head: tuple[str, bytes], data: st.DataObject) -> None:
    kind, raw = kind_and_head
    cut = data.draw(st.integers(0, len(raw) - 1))
    assert scan(kind, raw[:cut])[0] == 0
    assert scan(kind, raw)[0] == len(raw)


@given(kinds_and_heads, st.binary(max_size=40), st.binary(min_size=1, max_size=40))
def test_what_is_around_a_head_does_not_matter(kind_and_head: tuple[str, bytes], before: bytes, after: bytes) -> None:
    kind, raw = kind_and_head
    buffer = buffer_of(raw + after, before)
    head = Head()
    assert SCANS[kind](buffer, head, HeadLimits()) == len(raw)
    assert head.items() == scan(kind, raw)[1].items()
    assert buffer.take() == raw + after  # nothing is consumed


@given(st.sampled_from(sorted(SCANS)), st.binary(max_size=300))
def test_random_bytes_are_an_error_or_incomplete_or_a_head(kind: str, raw: bytes) -> None:
    result, head = scan(kind, raw, HeadLimits(head=128, start_line=64, fields=5))
    assert result in ERRORS or 0 <= result <= min(len(raw), 128 + 8)
    if result > 0:
        assert head.size == result and head.count <= 5


@given(kinds_and_heads, st.data())
def test_a_damaged_head_never_crashes(kind_and_head: tuple[str, bytes], data: st.DataObject) -> None:
    kind, raw = kind_and_head
    damaged = bytearray(raw)
    for _ in range(data.draw(st.integers(1, 4))):
        damaged[data.draw(st.integers(0, len(raw) - 1))] = data.draw(st.integers(0, 255))
    result, head = scan(kind, bytes(damaged))
    assert result in ERRORS or 0 <= result <= len(raw)
    if result > 0:
        for name, value in head.items():
            assert name and not set(name) & set(b" \t:\r\n\x00")
            assert not set(value) & {*range(9), *range(10, 32), 127}


@given(kinds_and_heads, st.data())
def test_an_error_stays_an_error_when_more_comes(kind_and_head: tuple[str, bytes], data: st.DataObject) -> None:
    """Otherwise an answer would depend on how the bytes were cut."""
    kind, raw = kind_and_head
    damaged = bytearray(raw)
    damaged[data.draw(st.integers(0, len(raw) - 1))] = data.draw(st.sampled_from([0, 10, 13, 32, 58, 127, 200]))
    refused = False
    for cut in range(len(damaged) + 1):
        result = scan(kind, bytes(damaged[:cut]))[0]
        if result > 0:
            assert not refused
            break
        assert not (refused and result == 0)
        refused = result < 0


@given(st.binary(max_size=40), st.integers(0, 20))
def test_random_chunk_lines(raw: bytes, limit: int) -> None:
    line = ChunkLine()
    result = scan_chunk_line(buffer_of(raw), line, limit)
    assert result in ERRORS or 0 <= result <= len(raw)
    if result > 0:
        assert raw[:result].endswith(b"\r\n")
        assert line.size == int(raw[:result].split(b";")[0].strip(), 16)


# --- h11 ----------------------------------------------------------------------------------------------------------


def by_h11(
    role: type[h11.SERVER] | type[h11.CLIENT], raw: bytes
) -> h11.Request | h11.Response | h11.InformationalResponse:
    """The first event in `raw`; RemoteProtocolError when h11 refuses it."""
    machine = h11.Connection(role, max_incomplete_event_size=LARGEST)
    if role is h11.CLIENT:
        # Whatever status comes must be an answer to something.
        machine.send(
            h11.Request(method="GET", target="/", headers=[("Host", "a"), ("Upgrade", "x"), ("Connection", "upgrade")])
        )
        machine.send(h11.EndOfMessage())
    machine.receive_data(raw)
    return machine.next_event()


def lower(fields: list[tuple[bytes, bytes]]) -> list[tuple[bytes, bytes]]:
    return [(name.lower(), value) for name, value in fields]


def without_framing(fields: list[tuple[bytes, bytes]]) -> list[tuple[bytes, bytes]]:
    return [(name, value) for name, value in lower(fields) if name not in (b"content-length", b"transfer-encoding")]


def framing_of(fields: list[tuple[bytes, bytes]]) -> tuple[int, bool]:
    found = dict(lower(fields))
    return int(found.get(b"content-length", -1)), found.get(b"transfer-encoding", b"").lower() == b"chunked"


@given(requests())
def test_a_request_means_what_h11_takes_it_for(raw: bytes) -> None:
    theirs = by_h11(h11.SERVER, raw)
    assert isinstance(theirs, h11.Request)
    head = request_head(raw)
    assert head.method() == theirs.method
    assert head.target() == theirs.target
    assert b"1.%d" % head.minor == theirs.http_version
    assert without_framing(head.items()) == without_framing(list(theirs.headers))
    assert (head.content_length, head.chunked) == framing_of(list(theirs.headers))


@given(responses())
def test_a_response_means_what_h11_takes_it_for(raw: bytes) -> None:
    theirs = by_h11(h11.CLIENT, raw)
    assert isinstance(theirs, h11.Response | h11.InformationalResponse)
    size, head = scan("response", raw)
    assert size == len(raw)
    assert head.status == theirs.status_code
    assert head.reason.strip(b" \t") == bytes(theirs.reason).strip(b" \t")
    assert without_framing(head.items()) == without_framing(list(theirs.headers))
    assert (head.content_length, head.chunked) == framing_of(list(theirs.headers))


@given(requests(), st.data())
def test_what_we_take_h11_takes(raw: bytes, data: st.DataObject) -> None:
    """The other way round is `STRICTER`: we never see a request where a strict parser sees none."""
    damaged = bytearray(raw)
    for _ in range(data.draw(st.integers(1, 3))):
        damaged[data.draw(st.integers(0, len(raw) - 1))] = data.draw(
            st.sampled_from(list(b"\x00\t\n\r :;,aZ09#%*/[]\x7f\x80"))
        )
    size, head = scan("request", bytes(damaged))
    if size <= 0:
        return
    try:
        theirs = by_h11(h11.SERVER, bytes(damaged))
    except h11.RemoteProtocolError as error:
        pytest.fail(f"h11 refuses {bytes(damaged)!r}: {error}")
    assert isinstance(theirs, h11.Request)
    assert (head.method(), head.target()) == (theirs.method, theirs.target)
    assert (head.content_length, head.chunked) == framing_of(list(theirs.headers))


HOST = b"Host: a\r\n"
STRICTER = {
    "bare LF ends a line: RFC 9112 2.2 lets a recipient take it, and two that differ disagree about where heads end":
        b"GET / HTTP/1.1\n" + HOST + b"\n",
    "equal Content-Lengths: RFC 9112 6.3 lets a recipient merge them, but nobody sends that in good faith":
        b"POST / HTTP/1.1\r\n" + HOST + b"Content-Length: 5\r\nContent-Length: 5\r\n\r\n",
    "a list of equal Content-Lengths, as above":
        b"POST / HTTP/1.1\r\n" + HOST + b"Content-Length: 5, 5\r\n\r\n",
    "19 and more digits of Content-Length: no body is that large":
        b"POST / HTTP/1.1\r\n" + HOST + b"Content-Length: 0000000000000000005\r\n\r\n",
    "Transfer-Encoding beside Content-Length: RFC 9112 6.1 names it an attempt at smuggling":
        b"POST / HTTP/1.1\r\n" + HOST + b"Transfer-Encoding: chunked\r\nContent-Length: 5\r\n\r\n",
    "Transfer-Encoding in HTTP/1.0: RFC 9112 6.1 takes the framing for faulty":
        b"POST / HTTP/1.0\r\n" + HOST + b"Transfer-Encoding: chunked\r\n\r\n",
    "obs-fold: RFC 9112 5.2 lets a server refuse it":
        b"GET / HTTP/1.1\r\n" + HOST + b"X: 1\r\n 2\r\n\r\n",
    "a control character in a value: RFC 9110 5.5 forbids to send it":
        b"GET / HTTP/1.1\r\n" + HOST + b"X: 1\x012\r\n\r\n",
    "DEL in a value, as above":
        b"GET / HTTP/1.1\r\n" + HOST + b"X: 1\x7f2\r\n\r\n",
    "a Host that is no host: RFC 9112 3.2 asks for 400":
        b"GET / HTTP/1.1\r\nHost: a/b\r\n\r\n",
    "a fragment in a target: RFC 9112 3.2 knows none":
        b"GET /#a HTTP/1.1\r\n" + HOST + b"\r\n",
    "a version above 1.x: it is not ours to guess":
        b"GET / HTTP/2.0\r\n" + HOST + b"\r\n",
    "a Connection option that is no token: RFC 9110 7.6.1":
        b"GET / HTTP/1.1\r\n" + HOST + b"Connection: a b;c\r\n\r\n",
}  # fmt: skip


@pytest.mark.parametrize("raw", STRICTER.values(), ids=STRICTER.keys())
def test_we_refuse_what_h11_takes(raw: bytes) -> None:
    assert scan("request", raw)[0] in ERRORS
    assert isinstance(by_h11(h11.SERVER, raw), h11.Request)


def test_we_take_blank_lines_before_a_request_which_h11_does_not() -> None:
    """RFC 9112 section 2.2: a server should ignore at least one."""
    raw = b"\r\n\r\nGET / HTTP/1.1\r\n" + HOST + b"\r\n"
    assert scan("request", raw)[0] == len(raw)
    with pytest.raises(h11.RemoteProtocolError):
        by_h11(h11.SERVER, raw)


# --- names that say something about forwarding, and paths -----------------------------------------------------------

WORDS = ["x", "forwarded", "for", "proto", "host", "real", "ip", "scheme", "envoy", "hivemesh", "l5d", "request", "id"]
words = st.lists(st.sampled_from(WORDS), min_size=1, max_size=4)
reserved_like = st.tuples(words, st.sampled_from(["-", "_"]), tokens, st.booleans()).map(
    lambda parts: (parts[1].join(parts[0]) + (parts[1] + parts[2].decode() if parts[3] else "")).encode()
)
OWN_IDS = ("x-forwarded-for", "x-forwarded-proto", "x-forwarded-host", "forwarding")


@given(st.one_of(reserved_like, plain_names))
def test_what_only_trusted_peers_may_send_is_marked_by_the_scanner(name: bytes) -> None:
    """The scanner marks what mesh.forwarding reserves, underscores included, and no more than `x-forwarded-*` beside
    it: a name that begins so says something about forwarding whether or not somebody knows it."""
    head = request_head(b"GET / HTTP/1.0\r\n" + name + b": 1\r\n\r\n")
    marked = any(head.has(FIELD_IDS[known]) for known in OWN_IDS)
    plain = name.lower().replace(b"_", b"-")
    # X-Request-Id has a field of its own, so only its imitations are marked.
    imitates_id = plain == b"x-request-id" and name.lower() != plain
    assert marked == (is_reserved(name.lower()) or plain.startswith(b"x-forwarded-") or imitates_id)


@given(st.sampled_from(sorted(FIELD_IDS)), st.data())
def test_names_are_known_in_any_case(name: str, data: st.DataObject) -> None:
    if name == "forwarding":  # a class of names
        return
    spelled = "".join(data.draw(st.sampled_from([letter, letter.upper()])) for letter in name)
    value = {"host": "a", "content-length": "1", "transfer-encoding": "chunked"}.get(name, "x")
    head = response_head(f"HTTP/1.1 200\r\n{spelled}: {value}\r\n\r\n".encode())
    assert head.get_id(FIELD_IDS[name]) == value.encode()
    assert head.get(name.encode()) == value.encode()


@given(st.text("/.%\\?a-_~1", max_size=12).map(lambda rest: b"/" + rest.encode()))
def test_a_target_is_plain_when_its_path_is(target: bytes) -> None:
    head = request_head(b"GET " + target + b" HTTP/1.0\r\n\r\n")
    assert head.plain_target == is_plain(target.partition(b"?")[0])
