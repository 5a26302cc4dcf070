"""Bodies of responses: where they end, and that a client can tell when their end is missing."""

from __future__ import annotations

from benchmarks.attacks.case import CUT, EITHER, FORWARDED, REFUSED, WAITED, Step, Table, Until

TABLE = Table("response-bodies", "RFC 9112 6.3: a response that is framed wrongly is discarded, 502")
BAD = frozenset({502, 503, 0})
CLOSE = Until.CLOSE
LAST = b"0\r\n\r\n"
TE = b"Transfer-Encoding: chunked"
INJECTED = b"HTTP/1.1 200 OK\r\nX-Tag: injected\r\nContent-Length: 0\r\n\r\n"


def response(
    id: str,
    what: str,
    fields: tuple[bytes, ...],
    data: bytes,
    *then: Step,
    right: frozenset = REFUSED,  # type: ignore[type-arg]
    version: bytes = b"HTTP/1.1",
    status: bytes = b"200 OK",
    **more: object,
) -> None:
    if right == REFUSED:
        more.setdefault("statuses", BAD)
    head = version + b" " + status + b"\r\nX-Tag: attack\r\n" + b"".join(line + b"\r\n" for line in fields) + b"\r\n"
    TABLE.response(id, what, head + data, *then, right=right, **more)


def length(
    id: str, what: str, *values: bytes, data: bytes = b"hello", right: frozenset = REFUSED, **more: object
) -> None:  # type: ignore[type-arg]
    response(id, what, tuple(b"Content-Length:" + value for value in values), data, right=right, **more)


length("plain", "a length", b" 5", right=FORWARDED, body=b"hello")
length("zero", "no body", b" 0", data=b"", right=FORWARDED)
length("plus sign", "+5", b" +5")
length("minus sign", "-5", b" -5")
length("hexadecimal", "0x5", b" 0x5")
length("letters after", "5abc", b" 5abc")
length("space inside", "1 0", b" 1 0")
length("empty", "no value", b"")
length("over 2**64", "wraps to 5", b" 18446744073709551621")
length("two that differ", "5 and 6", b" 5", b" 6")
length("list that differs", "5, 6", b" 5, 6")
length(
    "two that agree", "may become one", b" 5", b" 5", right=EITHER, source="RFC 9110 8.6", has={b"content-length": b"5"}
)
length(
    "list that agrees", "may become one", b" 5, 5", right=EITHER, source="RFC 9110 8.6", has={b"content-length": b"5"}
)
response(
    "length cut short",
    "the connection ends within the body",
    (b"Content-Length: 50",),
    b"hello",
    CLOSE,
    right=CUT,
    source="RFC 9112 8: incomplete, and the client must know",
)
response(
    "length broken off",
    "a reset within the body",
    (b"Content-Length: 50",),
    b"hello",
    Until.RESET,
    right=CUT,
    source="RFC 9112 8",
)
response(
    "length that does not come",
    "nothing more comes",
    (b"Content-Length: 50",),
    b"hello",
    right=CUT | WAITED,
    source="RFC 9112 8",
)
response(
    "until close",
    "the end of the connection is the end",
    (),
    b"hello",
    CLOSE,
    right=FORWARDED,
    source="RFC 9112 6.3, 8",
)
response("until close, broken off", "a reset is no end", (), b"hello", Until.RESET, right=CUT, source="RFC 9112 8")
response(
    "until close, HTTP/1.0",
    "the old form",
    (),
    b"hello",
    CLOSE,
    right=FORWARDED,
    version=b"HTTP/1.0",
    source="RFC 9112 6.3, 8",
)
response(
    "until close, looks like an answer",
    "an answer in the body is a body",
    (),
    b"HTTP/1.1 200 OK\r\nX-Tag: injected\r\nContent-Length: 0\r\n\r\n",
    CLOSE,
    right=FORWARDED,
    source="RFC 9112 6.3, 8",
)
response(
    "both, length first",
    "goes by Transfer-Encoding, without the length",
    (b"Content-Length: 2", TE),
    b"5\r\nhello\r\n" + LAST,
    right=EITHER,
    lacks=(b"content-length",),
    source="RFC 9112 6.3, 3: a proxy MUST remove the length",
)
response(
    "both, coding first",
    "the other order",
    (TE, b"Content-Length: 2"),
    b"5\r\nhello\r\n" + LAST,
    right=EITHER,
    lacks=(b"content-length",),
    source="RFC 9112 6.3, 3",
)
response(
    "both, an answer inside",
    "the length ends before an answer that is data",
    (b"Content-Length: 4", TE),
    b"%x\r\n" % len(INJECTED) + INJECTED + b"\r\n" + LAST,
    right=EITHER,
    lacks=(b"content-length",),
    source="RFC 9112 6.3, 3",
)
response(
    "both, in HTTP/1.0",
    "HTTP/1.0 has no codings",
    (b"Content-Length: 5", TE),
    LAST,
    right=EITHER,
    version=b"HTTP/1.0",
    source="RFC 9112 6.1",
)
response(
    "coding of HTTP/1.0",
    "HTTP/1.0 has no codings",
    (TE,),
    b"5\r\nhello\r\n" + LAST,
    CLOSE,
    right=EITHER,
    version=b"HTTP/1.0",
    source="RFC 9112 6.1",
)


def coding(id: str, what: str, *values: bytes, right: frozenset = EITHER, **more: object) -> None:  # type: ignore[type-arg]
    more.setdefault("source", "RFC 9112 6.3, 4: not chunked at the end, so until the connection ends; or refused")
    response(
        id,
        what,
        tuple(b"Transfer-Encoding:" + value for value in values),
        b"5\r\nhello\r\n" + LAST,
        CLOSE,
        right=right,
        **more,
    )


coding("chunked", "plain", b" chunked", right=FORWARDED)
coding("chunked in upper case", "CHUNKED", b" CHUNKED", right=FORWARDED)
coding("gzip alone", "a coding that is not ours", b" gzip")
coding("gzip, chunked", "a coding that is not ours", b" gzip, chunked")
coding("chunked, gzip", "chunked is not last", b" chunked, gzip")
coding("identity", "went with RFC 2616", b" identity")
coding("xchunked", "another word", b" xchunked")
coding("chunked twice", "chunked, chunked", b" chunked, chunked")
coding("chunked in two fields", "twice", b" chunked", b" chunked")
coding("chunked in quotes", '"chunked"', b' "chunked"')
coding("vertical tab", "before chunked", b" \x0bchunked", right=EITHER, source="RFC 9110 5.5")
coding("coding empty", "no value", b"")
response(
    "underscore",
    "Transfer_Encoding frames nothing",
    (b"Content-Length: 5", b"Transfer_Encoding: chunked"),
    LAST,
    right=EITHER,
    source="RFC 9110 5.1; a client makes nothing of it",
)


def chunks(id: str, what: str, data: bytes, *then: Step, right: frozenset = CUT, **more: object) -> None:  # type: ignore[type-arg]
    more.setdefault("source", "RFC 9112 7.1, 8: incomplete, and the client must know")
    response(id, what, (TE,), data, *then, right=right, **more)


chunks("chunks", "two", b"2\r\nhe\r\n3\r\nllo\r\n" + LAST, right=FORWARDED)
chunks("chunk extension", "is dropped or kept", b"5;a=b\r\nhello\r\n" + LAST, right=FORWARDED)
chunks("trailers", "pass, or not", b"5\r\nhello\r\n0\r\nX-A: 1\r\n\r\n", right=FORWARDED)
chunks(
    "trailer Content-Length",
    "no framing after the body",
    b"5\r\nhello\r\n0\r\nContent-Length: 99\r\n\r\n",
    right=FORWARDED | CUT,
    lacks=(b"content-length",),
    source="RFC 9110 6.5.1",
)
chunks(
    "trailer Set-Cookie",
    "may be dropped",
    b"5\r\nhello\r\n0\r\nSet-Cookie: a=b\r\n\r\n",
    right=FORWARDED | CUT,
    source="RFC 9110 6.5.1",
)
chunks("trailer without a colon", "nonsense", b"5\r\nhello\r\n0\r\nnonsense\r\n\r\n")
chunks(
    "trailer of 100,000 bytes",
    "a limit is the recipient's",
    b"5\r\nhello\r\n0\r\nX-A: " + b"a" * 100_000 + b"\r\n\r\n",
    right=CUT | FORWARDED,
)
chunks("size is no number", "x", b"5\r\nhello\r\nx\r\n")
chunks("size with a sign", "+5", b"+5\r\nhello\r\n" + LAST)
chunks("size with 0x", "0x5", b"0x5\r\nhello\r\n" + LAST)
chunks("size over 2**64", "wraps to 5", b"10000000000000005\r\nhello\r\n" + LAST)
chunks("size minus one", "ffffffffffffffff", b"ffffffffffffffff\r\nhello", CLOSE)
chunks("size and bare LF", "LF ends the size", b"5\nhello\r\n" + LAST, right=CUT | FORWARDED)
chunks("size and space", "as old servers send", b"5 \r\nhello\r\n" + LAST, right=CUT | FORWARDED)
chunks("data without CRLF", "the next size at once", b"5\r\nhello" + LAST)
chunks("data longer than its size", "one byte more", b"5\r\nhelloX\r\n" + LAST)
chunks("extension with bare LF", "LF inside", b"5;a\nb\r\nhello\r\n" + LAST, right=CUT)
chunks("cut within a chunk", "the connection ends", b"5\r\nhe", CLOSE)
chunks("cut after a chunk", "the connection ends", b"5\r\nhello\r\n", CLOSE)
chunks("cut within a size", "the connection ends", b"5\r\nhello\r\n1", CLOSE)
chunks("cut before the empty line", "0 CRLF and the end", b"5\r\nhello\r\n0\r\n", CLOSE)
chunks("cut within trailers", "the connection ends", b"5\r\nhello\r\n0\r\nX-A", CLOSE)
chunks("broken off", "a reset", b"5\r\nhello\r\n", Until.RESET)
chunks("only a head", "no chunk, and the end", b"", CLOSE)
