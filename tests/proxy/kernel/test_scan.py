"""Every refusal of the head scanner, its limits at their exact boundaries, and what it finds in a head that is good."""

from __future__ import annotations

import pytest
from heads import buffer_of, request_head, response_head, scan

from proxy.kernel.buffer import Buffer
from proxy.kernel.ledger import Ledger
from proxy.kernel.scan import (
    ERRORS,
    FIELD_IDS,
    METHODS,
    ChunkLine,
    Head,
    HeadLimits,
    may_end,
    scan_chunk_line,
    scan_request,
)

G = b"GET / HTTP/1.1\r\nHost: a\r\n"
P = b"POST / HTTP/1.1\r\nHost: a\r\n"
R = b"HTTP/1.1 200 OK\r\n"

SIZES = HeadLimits(head=200, start_line=40, fields=4)

# What is wrong, and the number of its entry in ERRORS.
START_LINE, METHOD, TARGET, VERSION, START_LINE_SIZE, HEAD_SIZE, FIELD_COUNT, FIELD_NAME = range(-1, -9, -1)
FIELD_VALUE, FOLDING, LINE_END, CONTENT_LENGTH, CONTENT_LENGTH_TWICE, TRANSFER_ENCODING = range(-9, -15, -1)
TRANSFER_ENCODING_OLD, BOTH_FRAMINGS, HOST_MISSING, HOST_TWICE, HOST, CODING, STATUS = range(-15, -22, -1)
CONNECTION, CHUNK, CHUNK_EXTENSION, TRAILERS_SIZE = range(-22, -26, -1)

REQUESTS = [
    # the start line
    (b"GET /\r\n\r\n", START_LINE, "HTTP/0.9"),
    (b"GET / HTTP/1.1 \r\nHost: a\r\n\r\n", START_LINE, "space at the end"),
    (b"GET / http/1.1\r\nHost: a\r\n\r\n", START_LINE, "lower-case protocol"),
    (b"GET / HTTP/1.10\r\nHost: a\r\n\r\n", START_LINE, "two digits"),
    (b"GET / HTTP/1.x\r\nHost: a\r\n\r\n", START_LINE, "no digit"),
    (b"GET / HTTPS/1.1\r\nHost: a\r\n\r\n", START_LINE, "another protocol"),
    (b"\r\n" * 5 + G + b"\r\n", START_LINE, "five blank lines"),
    (b"GET / HTTP/2.0\r\nHost: a\r\n\r\n", VERSION, "HTTP/2.0"),
    (b"GET / HTTP/0.9\r\nHost: a\r\n\r\n", VERSION, "HTTP/0.9 said aloud"),
    (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", VERSION, "preface of HTTP/2"),
    (b"G@T / HTTP/1.1\r\nHost: a\r\n\r\n", METHOD, "no token"),
    (b" GET / HTTP/1.1\r\nHost: a\r\n\r\n", METHOD, "space first"),
    (b"GET\t/ HTTP/1.1\r\nHost: a\r\n\r\n", METHOD, "tab"),
    (b"GET\r\n\r\n", METHOD, "method alone"),
    (b"\x16\x03\x01\x02\x00\x01\x00", METHOD, "TLS"),
    (b"\n" + G + b"\r\n", METHOD, "bare line feed first"),
    (b"\r" + G + b"\r\n", METHOD, "bare carriage return first"),
    (b"GET  / HTTP/1.1\r\nHost: a\r\n\r\n", TARGET, "two spaces"),
    (b"GET /a#b HTTP/1.1\r\nHost: a\r\n\r\n", TARGET, "fragment"),
    (b"GET /\x7f HTTP/1.1\r\nHost: a\r\n\r\n", TARGET, "DEL"),
    (b"GET /\x80 HTTP/1.1\r\nHost: a\r\n\r\n", TARGET, "above 0x7F"),
    (b"GET /\x00 HTTP/1.1\r\nHost: a\r\n\r\n", TARGET, "NUL"),
    (b"GET /a\tb HTTP/1.1\r\nHost: a\r\n\r\n", TARGET, "tab"),
    (b"GET / HTTP/1.1\nHost: a\r\n\r\n", LINE_END, "bare line feed after the start line"),
    (b"GET / HTTP/1.1\rHost: a\r\n\r\n", LINE_END, "bare carriage return after the start line"),
    # fields
    (G + b"nonsense\r\n\r\n", FIELD_NAME, "no colon"),
    (G + b": 1\r\n\r\n", FIELD_NAME, "no name"),
    (G + b"X-A : 1\r\n\r\n", FIELD_NAME, "space before the colon"),
    (G + b"X-A\t: 1\r\n\r\n", FIELD_NAME, "tab before the colon"),
    (G + b"X\x01A: 1\r\n\r\n", FIELD_NAME, "control character in a name"),
    (G + b"X\xc3\xa9: 1\r\n\r\n", FIELD_NAME, "byte above 0x7F in a name"),
    (G + b"X(A): 1\r\n\r\n", FIELD_NAME, "delimiter in a name"),
    (G + b"X: 1\x002\r\n\r\n", FIELD_VALUE, "NUL"),
    (G + b"X: 1\x0b2\r\n\r\n", FIELD_VALUE, "control character"),
    (G + b"X: 1\x7f2\r\n\r\n", FIELD_VALUE, "DEL"),
    (G + b"X: " + b"v" * 40 + b"\x01" + b"v" * 40 + b"\r\n\r\n", FIELD_VALUE, "control character deep in a value"),
    (G + b"Connection: close; x\r\n\r\n", FIELD_VALUE, "Connection option that is no token"),
    (G + b'Connection: "close"\r\n\r\n', FIELD_VALUE, "quoted Connection option"),
    (G + b"X: 1\r\n 2\r\n\r\n", FOLDING, "folded by a space"),
    (G + b"X: 1\r\n\t2\r\n\r\n", FOLDING, "folded by a tab"),
    (b"GET / HTTP/1.1\r\n Host: a\r\n\r\n", FOLDING, "first field begins with a space"),
    (G + b"X: 1\nY: 2\r\n\r\n", LINE_END, "bare line feed in a field"),
    (G + b"X: 1\rY: 2\r\n\r\n", LINE_END, "bare carriage return in a field"),
    (G + b"X\n\r\n", LINE_END, "line feed in a name"),
    (G + b"\rX: 1\r\n\r\n", LINE_END, "bare carriage return before a field"),
    (G + b"\n", LINE_END, "line feed as the empty line"),
    (G + b"Connection: " + b", ".join(b"n%d" % n for n in range(33)) + b"\r\n\r\n", CONNECTION, "33 names"),
    # framing
    (P + b"Content-Length: 5x\r\n\r\n", CONTENT_LENGTH, "letter"),
    (P + b"Content-Length: +5\r\n\r\n", CONTENT_LENGTH, "plus"),
    (P + b"Content-Length: -5\r\n\r\n", CONTENT_LENGTH, "minus"),
    (P + b"Content-Length: 0x5\r\n\r\n", CONTENT_LENGTH, "hexadecimal"),
    (P + b"Content-Length: 1 0\r\n\r\n", CONTENT_LENGTH, "space inside"),
    (P + b"Content-Length: 1_0\r\n\r\n", CONTENT_LENGTH, "underscore"),
    (P + b"Content-Length: 5, 5\r\n\r\n", CONTENT_LENGTH, "list"),
    (P + b"Content-Length:\r\n\r\n", CONTENT_LENGTH, "empty"),
    (P + b"Content-Length: 5.0\r\n\r\n", CONTENT_LENGTH, "fraction"),
    (P + b"Content-Length: \xb2\r\n\r\n", CONTENT_LENGTH, "digit of another script"),
    (P + b"Content-Length: 1000000000000000000\r\n\r\n", CONTENT_LENGTH, "19 digits"),
    (P + b"Content-Length: 9223372036854775808\r\n\r\n", CONTENT_LENGTH, "2**63"),
    (P + b"Content-Length: 18446744073709551621\r\n\r\n", CONTENT_LENGTH, "2**64 + 5"),
    (P + b"Content-Length: 5\r\nContent-Length: 5\r\n\r\n", CONTENT_LENGTH_TWICE, "the same again"),
    (P + b"Content-Length: 5\r\ncontent-length: 6\r\n\r\n", CONTENT_LENGTH_TWICE, "another one"),
    (P + b"Transfer-Encoding: xchunked\r\n\r\n", TRANSFER_ENCODING, "xchunked"),
    (P + b"Transfer-Encoding: chunked, chunked\r\n\r\n", TRANSFER_ENCODING, "chunked twice"),
    (P + b"Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n", TRANSFER_ENCODING, "two fields"),
    (P + b"Transfer-Encoding: chunked, gzip\r\n\r\n", TRANSFER_ENCODING, "chunked is not last"),
    (P + b"Transfer-Encoding: gzip\r\n\r\n", TRANSFER_ENCODING, "not chunked"),
    (P + b"Transfer-Encoding: identity\r\n\r\n", TRANSFER_ENCODING, "identity"),
    (P + b'Transfer-Encoding: "chunked"\r\n\r\n', TRANSFER_ENCODING, "quoted"),
    (P + b"Transfer-Encoding: chunked;q=1\r\n\r\n", TRANSFER_ENCODING, "parameter"),
    (P + b"Transfer-Encoding: ,chunked\r\n\r\n", TRANSFER_ENCODING, "empty member"),
    (P + b"Transfer-Encoding:\r\n\r\n", TRANSFER_ENCODING, "empty"),
    (P + b"Transfer-Encoding: \x0bchunked\r\n\r\n", FIELD_VALUE, "control character before chunked"),
    (P + b"Transfer-Encoding: gzip, chunked\r\n\r\n", CODING, "gzip"),
    (P + b"Transfer-Encoding: deflate, chunked\r\n\r\n", CODING, "deflate"),
    (b"POST / HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n", TRANSFER_ENCODING_OLD, "HTTP/1.0"),
    (P + b"Transfer-Encoding: chunked\r\nContent-Length: 5\r\n\r\n", BOTH_FRAMINGS, "coding first"),
    (P + b"Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n", BOTH_FRAMINGS, "length first"),
    # Host
    (b"GET / HTTP/1.1\r\nX: a\r\n\r\n", HOST_MISSING, "none"),
    (b"GET / HTTP/1.1\r\n\r\n", HOST_MISSING, "no field at all"),
    (b"GET http://a/ HTTP/1.1\r\n\r\n", HOST_MISSING, "none beside an absolute target"),
    (G + b"Host: a\r\n\r\n", HOST_TWICE, "the same again"),
    (G + b"host: b\r\n\r\n", HOST_TWICE, "another one"),
    (b"GET / HTTP/1.0\r\nHost: a\r\nHost: a\r\n\r\n", HOST_TWICE, "HTTP/1.0"),
    *((b"GET / HTTP/1.1\r\nHost: " + host + b"\r\n\r\n", HOST, repr(host)) for host in (
        b"a b", b"a/b", b"u@a", b"a\\b", b"a#b", b"a?b", b"a:b", b"a:80x", b"a:1234567", b"a:80:80", b"[::1", b"::1]",
        b"[::1]x", b"[::1]:x", b"a[b]", b"a\xc3\xa9", b'"a"', b"<a>", b"a:65536", b"a:99999", b"[::1]:65536",
        b":80", b":",
        b"%zz", b"%4", b"a%", b"a%4g", b"[]", b"[zz]", b"[a.test]", b"[:]", b"[:1]", b"[1:]", b"[:::]", b"[12345::]",
        b"[1::2::3]", b"[1:2:3:4:5:6:7]", b"[1:2:3:4:5:6:7:8:9]", b"[1:2:3:4:5:6:7::8]", b"[1:2:3:4:5:6:7:8::]",
        b"[1:2:3:4:5:6:7:1.2.3.4]", b"[1:2:3:4:5::6:1.2.3.4]", b"[1.2.3.4]", b"[::1.2.3]", b"[::1.2.3.4.5]",
        b"[::1.2.3.256]",
        b"[::01.2.3.4]", b"[::1.2.3.4:5]", b"[::1.2.3.]", b"[fe80::1%25eth0]", b"[v1.a]", b"[[::1]]",
    )),
]  # fmt: skip

RESPONSES = [
    (b"HTTP/2.0 200 OK\r\n\r\n", VERSION, "HTTP/2.0"),
    (b"ICY 200 OK\r\n\r\n", START_LINE, "another protocol"),
    (b"HTTP/1.1  200 OK\r\n\r\n", STATUS, "two spaces"),
    (b"HTTP/1.10 200 OK\r\n\r\n", VERSION, "two digits"),
    (b"HTTP/1.1 099 No\r\n\r\n", STATUS, "below 100"),
    (b"HTTP/1.1 600 No\r\n\r\n", STATUS, "above 599"),
    (b"HTTP/1.1 20 OK\r\n\r\n", STATUS, "two digits"),
    (b"HTTP/1.1 2000 OK\r\n\r\n", STATUS, "four digits"),
    (b"HTTP/1.1 2xx OK\r\n\r\n", STATUS, "letters"),
    (b"HTTP/1.1 200 O\x00K\r\n\r\n", LINE_END, "NUL in the reason"),
    (b"HTTP/1.1 200 OK\nX: 1\r\n\r\n", LINE_END, "bare line feed after the status line"),
    (R + b"X: 1\r\n 2\r\n\r\n", FOLDING, "folded"),
    (R + b"X : 1\r\n\r\n", FIELD_NAME, "space before the colon"),
    (R + b"X: \x00\r\n\r\n", FIELD_VALUE, "NUL"),
    (R + b"Content-Length: 5\r\nContent-Length: 5\r\n\r\n", CONTENT_LENGTH_TWICE, "length twice"),
    (R + b"Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n", BOTH_FRAMINGS, "both framings"),
    (R + b"Transfer-Encoding: gzip, chunked\r\n\r\n", CODING, "gzip"),
    (b"HTTP/1.0 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", TRANSFER_ENCODING_OLD, "HTTP/1.0"),
]

TRAILERS = [
    (b"nonsense\r\n\r\n", FIELD_NAME, "no colon"),
    (b"X: 1\n\r\n", LINE_END, "bare line feed"),
    (b" X: 1\r\n\r\n", FOLDING, "folded"),
    (b"\rX", LINE_END, "bare carriage return"),
]

LIMITED = [
    ("request", b"GET /" + b"x" * 40 + b" HTTP/1.1\r\nHost: a\r\n\r\n", START_LINE_SIZE),
    ("request", b"GET / HTTP/1.1\r\nHost: a\r\nX: " + b"x" * 200 + b"\r\n\r\n", HEAD_SIZE),
    ("request", G + b"A: 1\r\n" * 4 + b"\r\n", FIELD_COUNT),
    ("response", R + b"A: 1\r\n" * 5 + b"\r\n", FIELD_COUNT),
    ("response", R + b"X: " + b"x" * 200 + b"\r\n\r\n", HEAD_SIZE),
    ("trailers", b"A: 1\r\n" * 5 + b"\r\n", FIELD_COUNT),
    ("trailers", b"X: " + b"x" * 200 + b"\r\n\r\n", TRAILERS_SIZE),
]

BAD_CHUNKS = [
    (b"x\r\n", CHUNK, "no digit"),
    (b"\r\n", CHUNK, "empty"),
    (b" 5\r\n", CHUNK, "space first"),
    (b"5 \r\n", CHUNK, "space last"),
    (b"0x5\r\n", CHUNK, "prefix"),
    (b"+5\r\n", CHUNK, "sign"),
    (b"0_5\r\n", CHUNK, "underscore"),
    (b"5g\r\n", CHUNK, "no hexadecimal digit"),
    (b"5\n", CHUNK, "bare line feed"),
    (b"5\rx", CHUNK, "bare carriage return"),
    (b"5;a\n", CHUNK, "line feed in the extension"),
    (b"5;a=\rb\r\n", CHUNK, "carriage return in the extension"),
    (b"5;a\x00\r\n", CHUNK, "NUL in the extension"),
    (b"0" * 15 + b"5\r\n", CHUNK, "16 digits"),
    (b"8000000000000000\r\n", CHUNK, "2**63"),
    (b"10000000000000005\r\n", CHUNK, "2**64 + 5"),
    (b"5;" + b"x" * 20 + b"\r\n", CHUNK_EXTENSION, "extension over the limit"),
]


def ids(table: list[tuple[bytes, int, str]]) -> list[str]:
    return [f"{ERRORS[error][1].split(' limits')[0]}: {what}" for _, error, what in table]


@pytest.mark.parametrize(("raw", "error", "what"), REQUESTS, ids=ids(REQUESTS))
def test_a_request_head_is_refused(raw: bytes, error: int, what: str) -> None:
    assert scan("request", raw)[0] == error


@pytest.mark.parametrize(("raw", "error", "what"), RESPONSES, ids=ids(RESPONSES))
def test_a_response_head_is_refused(raw: bytes, error: int, what: str) -> None:
    assert scan("response", raw)[0] == error


@pytest.mark.parametrize(("raw", "error", "what"), TRAILERS, ids=ids(TRAILERS))
def test_a_trailer_section_is_refused(raw: bytes, error: int, what: str) -> None:
    assert scan("trailers", raw)[0] == error


@pytest.mark.parametrize(("kind", "raw", "error"), LIMITED)
def test_a_section_over_a_limit_is_refused(kind: str, raw: bytes, error: int) -> None:
    assert scan(kind, raw, SIZES)[0] == error


@pytest.mark.parametrize(("raw", "error", "what"), BAD_CHUNKS, ids=ids(BAD_CHUNKS))
def test_a_chunk_line_is_refused(raw: bytes, error: int, what: str) -> None:
    assert scan_chunk_line(buffer_of(raw), ChunkLine(), 16) == error


def test_every_entry_of_the_table_of_errors_can_be_reached() -> None:
    reached = {error for table in (REQUESTS, RESPONSES, TRAILERS, BAD_CHUNKS) for _, error, _ in table}
    reached |= {error for _, _, error in LIMITED}
    assert reached == set(ERRORS)


def test_errors_have_a_status_of_the_client_and_words() -> None:
    for status, words in ERRORS.values():
        assert status in (400, 414, 431, 501, 505)
        assert words[0].isalpha() and not words.endswith(".")


# --- limits, at the byte ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("cut", [True, False])
def test_the_longest_request_line_that_is_taken(cut: bool) -> None:
    """The line counts without its CRLF, and the same whether it comes at once or in pieces."""

    def verdict(size: int) -> int:
        line = b"GET /" + b"x" * (size - 14) + b" HTTP/1.1"
        assert len(line) == size
        raw = line + b"\r\nHost: a\r\n\r\n"
        if cut:
            partial = scan("request", raw[: size + 2], SIZES)[0]
            return partial or scan("request", raw, SIZES)[0]
        return scan("request", raw, SIZES)[0]

    assert verdict(SIZES.start_line) > 0
    assert verdict(SIZES.start_line + 1) == START_LINE_SIZE


@pytest.mark.parametrize("cut", [True, False])
@pytest.mark.parametrize("kind", ["request", "response", "trailers"])
def test_the_largest_head_that_is_taken(kind: str, cut: bool) -> None:
    """A head counts with its empty line and without what follows."""
    start = {"request": G, "response": R, "trailers": b""}[kind]
    error = TRAILERS_SIZE if kind == "trailers" else HEAD_SIZE

    def verdict(size: int) -> int:
        raw = start + b"X: " + b"x" * (size - len(start) - 7) + b"\r\n\r\n"
        assert len(raw) == size
        if cut:
            partial = scan(kind, raw[:-1], SIZES)[0]
            return partial or scan(kind, raw, SIZES)[0]
        return scan(kind, raw + b"body", SIZES)[0]

    assert verdict(SIZES.head) == SIZES.head
    assert verdict(SIZES.head + 1) == error


@pytest.mark.parametrize(("kind", "start"), [("request", G), ("response", R + b"A: 1\r\n"), ("trailers", b"A: 1\r\n")])
def test_the_most_fields_that_are_taken(kind: str, start: bytes) -> None:
    most = start + b"A: 1\r\n" * (SIZES.fields - 1)
    size, head = scan(kind, most + b"\r\n", SIZES)
    assert size == len(most) + 2
    assert head.count == SIZES.fields
    assert scan(kind, most + b"A: 1\r\n\r\n", SIZES)[0] == FIELD_COUNT


def test_thirty_two_names_may_stand_in_connection_fields() -> None:
    names = [b"n%d" % n for n in range(32)]
    head = request_head(G + b"Connection: " + b",".join(names) + b", close, keep-alive\r\n\r\n")
    assert head.wants_close and head.wants_keep_alive


def test_four_blank_lines_may_come_before_a_request() -> None:
    raw = b"\r\n" * 4 + G + b"\r\n"
    head = Head()
    assert scan_request(buffer_of(raw), head, HeadLimits()) == len(raw)
    assert head.size == len(G) + 2
    # They do not count towards the limits.
    assert scan("request", raw, HeadLimits(head=len(G) + 2, start_line=16))[0] == len(raw)


def test_the_longest_extension_of_a_chunk_that_is_taken() -> None:
    line = ChunkLine()
    assert scan_chunk_line(buffer_of(b"5;" + b"x" * 15 + b"\r\n"), line, 16) == 19
    assert scan_chunk_line(buffer_of(b"5;" + b"x" * 16 + b"\r\n"), line, 16) == CHUNK_EXTENSION
    # An endless one is refused before it ends.
    assert scan_chunk_line(buffer_of(b"5;" + b"x" * 16), line, 16) == CHUNK_EXTENSION
    assert scan_chunk_line(buffer_of(b"5\r\n"), line, 0) == 3


@pytest.mark.parametrize(
    ("raw", "size"),
    [
        (b"0\r\n", 0),
        (b"5\r\n", 5),
        (b"aF\r\n", 0xAF),
        (b"000a\r\n", 10),
        (b"f" * 15 + b"\r\n", 16**15 - 1),
        (b"5;a=b\r\n", 5),
        (b"5 ; a\r\n", 5),
        (b'5\t;a="b c"\r\n', 5),
        (b"5;\r\n", 5),
    ],
)
def test_a_chunk_line_is_read(raw: bytes, size: int) -> None:
    line = ChunkLine()
    assert scan_chunk_line(buffer_of(raw + b"rest", before=b"xyz"), line, 256) == len(raw)
    assert line.size == size
    for end in range(len(raw)):
        assert scan_chunk_line(buffer_of(raw[:end]), ChunkLine(), 256) == 0


@pytest.mark.parametrize("arguments", [(15, 15, 1), (100, 15, 1), (100, 101, 1), (100, 50, 0), (2**24 + 1, 50, 1)])
def test_limits_that_make_no_sense_are_refused(arguments: tuple[int, int, int]) -> None:
    with pytest.raises(ValueError, match="head limits must be"):
        HeadLimits(*arguments)


# --- what is found ----------------------------------------------------------------------------------------------


def test_the_parts_of_a_request() -> None:
    head = request_head(
        b"POST /a/b?x=1&y=2?z HTTP/1.1\r\nhOsT: Shop.Test:8080\r\nX-A:  one \t\r\nX-A: two\r\nContent-Length: 17\r\n"
        b"Expect: 100-Continue\r\nTE: gzip;q=0.5, trailers\r\n\r\n"
    )
    assert (head.method(), head.minor, head.is_request) == (b"POST", 1, True)
    assert (head.target(), head.path(), head.query()) == (b"/a/b?x=1&y=2?z", b"/a/b", b"x=1&y=2?z")
    assert (head.host(), head.raw_host()) == (b"shop.test", b"Shop.Test:8080")
    assert head.get(b"x-a") == b"one"
    assert head.get(b"x-b") is None
    assert head.items()[:3] == [(b"hOsT", b"Shop.Test:8080"), (b"X-A", b"one"), (b"X-A", b"two")]
    assert (head.content_length, head.chunked) == (17, False)
    assert head.expects_continue and head.accepts_trailers
    assert not (head.wants_close or head.wants_keep_alive or head.upgrade)


def test_the_parts_of_a_response() -> None:
    head = response_head(b"HTTP/1.0 404 Not  here\r\nConnection: Upgrade, keep-alive\r\nKeep-Alive: timeout=5\r\n\r\n")
    assert (head.status, head.reason, head.minor, head.is_request) == (404, b"Not  here", 0, False)
    assert head.upgrade and head.wants_keep_alive and not head.wants_close
    assert head.get_id(FIELD_IDS["keep-alive"]) == b"timeout=5"
    assert head.content_length == -1


@pytest.mark.parametrize("line", [b"HTTP/1.1 200\r\n\r\n", b"HTTP/1.1 200 \r\n\r\n"])
def test_a_response_may_have_no_reason(line: bytes) -> None:
    assert response_head(line).reason == b""


def test_a_head_can_be_used_again() -> None:
    head = Head()
    first = b"POST /long/target HTTP/1.0\r\nHost: a\r\nContent-Length: 5\r\nConnection: close, upgrade\r\n\r\n"
    assert scan_request(buffer_of(first), head, HeadLimits()) == len(first)
    second = b"GET / HTTP/1.1\r\nHost: b\r\n\r\n"
    assert scan_request(buffer_of(second), head, HeadLimits()) == len(second)
    assert (head.method(), head.target(), head.host(), head.minor) == (b"GET", b"/", b"b", 1)
    assert head.content_length == -1
    assert not (head.wants_close or head.upgrade or head.has(FIELD_IDS["content-length"]))
    assert head.items() == [(b"Host", b"b")]


def test_the_head_does_not_depend_on_the_buffer_it_was_in() -> None:
    buffer = buffer_of(G + b"X-A: value\r\n\r\n")
    head = Head()
    buffer.consume(scan_request(buffer, head, HeadLimits()))
    buffer.clear()
    buffer.append(b"\xff" * 60)
    assert head.items() == [(b"Host", b"a"), (b"X-A", b"value")]


@pytest.mark.parametrize("method", [*METHODS[1:], b"get", b"PURGE", b"M-SEARCH"])
def test_methods_are_told_apart_by_case_and_keep_their_spelling(method: bytes) -> None:
    head = request_head(method + b" / HTTP/1.1\r\nHost: a\r\n\r\n")
    assert head.method() == method
    assert head.method_id == (METHODS.index(method) if method in METHODS else 0)


@pytest.mark.parametrize(
    ("target", "plain"),
    [
        (b"/", True),
        (b"/a/b.c/d", True),
        (b"/a?x=%2F//../", True),
        (b"/a/", True),
        (b"/%61", False),
        (b"//a", False),
        (b"/a//b", False),
        (b"/a/./b", False),
        (b"/a/..", False),
        (b"/.well-known", False),
        (b"/a\\b", False),
        (b"*", False),
        (b"http://a/", False),
        (b"?x", False),
    ],
)
def test_a_plain_target_needs_no_second_look(target: bytes, plain: bool) -> None:
    assert request_head(b"GET " + target + b" HTTP/1.1\r\nHost: a\r\n\r\n").plain_target == plain


@pytest.mark.parametrize(
    ("sent", "host"),
    [
        (b"A.Test", b"a.test"),
        (b"a:80", b"a"),
        (b"[2001:DB8::1]:80", b"[2001:db8::1]"),
        (b"[::1]", b"[::1]"),
        (b"a:", b"a"),
        (b"", b""),
        (b"xn--bcher-kva.test", b"xn--bcher-kva.test"),
        (b"a:65535", b"a"),
        (b"a:0", b"a"),
        (b"%61%4A.test", b"%61%4a.test"),
        (b"[::]", b"[::]"),
        (b"[1::]:1", b"[1::]"),
        (b"[1:2:3:4:5:6:7:8]", b"[1:2:3:4:5:6:7:8]"),
        (b"[1:2:3:4:5:6:7::]", b"[1:2:3:4:5:6:7::]"),
        (b"[::2:3:4:5:6:7:8]", b"[::2:3:4:5:6:7:8]"),
        (b"[1:2:3:4:5:6:255.0.10.1]", b"[1:2:3:4:5:6:255.0.10.1]"),
        (b"[::ffff:192.0.2.1]:80", b"[::ffff:192.0.2.1]"),
        (b"[1:2:3:4::5:1.2.3.4]", b"[1:2:3:4::5:1.2.3.4]"),
    ],
)
def test_hosts(sent: bytes, host: bytes) -> None:
    head = request_head(b"GET / HTTP/1.1\r\nHost: " + sent + b"\r\n\r\n")
    assert (head.host(), head.raw_host()) == (host, sent)


def test_http_1_0_needs_no_host() -> None:
    assert request_head(b"GET / HTTP/1.0\r\n\r\n").host() == b""


@pytest.mark.parametrize(
    ("value", "accepts"),
    [
        (b"trailers", True),
        (b"Trailers", True),
        (b"gzip, trailers", True),
        (b"trailers;q=1", True),
        (b"gzip;q=0.5,trailers , x", True),
        (b"xtrailers", False),
        (b"trailersx", False),
        (b"trailer", False),
        (b"", False),
    ],
)
def test_te_names_trailers_or_not(value: bytes, accepts: bool) -> None:
    assert request_head(G + b"TE: " + value + b"\r\n\r\n").accepts_trailers == accepts


def test_http_1_x_counts_as_1_1() -> None:
    """RFC 9110 section 2.5: a higher minor version is treated as the highest we know."""
    assert request_head(b"GET / HTTP/1.7\r\nHost: a\r\n\r\n").minor == 1


@pytest.mark.parametrize(
    ("before", "after", "ends"),
    [
        (b"GET / HTTP/1.1\r\nHost: a", b"\r\n", False),
        (b"GET / HTTP/1.1\r\nHost: a", b"\r\nX: 1\r\nY", False),
        (b"GET / HTTP/1.1\r\nHost: a", b"\r\n\r\n", True),
        (b"GET / HTTP/1.1\r\nHost: a\r", b"\n\r\n", True),
        (b"GET / HTTP/1.1\r\nHost: a\r\n", b"\r\n", True),
        (b"GET / HTTP/1.1\r\nHost: a\r\n\r", b"\n", True),
        (b"GET / HTTP/1.1\r\nHost: a\r\n\r", b"", False),
        (b"GET / HTTP/1.1\r\nHost: a", b"\n", True),
        (b"GET / HTTP/1.1\r\nHost: a\r\n", b"\n", True),
        (b"GET / HTTP/1.1\r\nHost: a\r\n", b"X: 1\nY: 2", True),
        (b"G", b"\n", True),
        (b"", b"\n", True),
    ],
)
def test_a_head_in_part_is_looked_at_again_when_it_may_end(before: bytes, after: bytes, ends: bool) -> None:
    buffer = Buffer()
    buffer.append(b"gone" + before + after)
    buffer.consume(4)
    assert may_end(buffer, len(before)) == ends


def test_a_head_that_nothing_was_read_into_is_empty() -> None:
    """Its bytes are none, and are copied as such: `make sanitize` finds a copy from NULL."""
    head = Head()
    assert (head.target(), head.path(), head.items()) == (b"", b"", [])
    ledger = Ledger(1)
    ledger.begin(0)
    assert ledger.target(0, head, 100) == 0
    assert ledger.text_at(0, 0) == b""
