"""Content-Length: what is a number, how many there may be, and what it means beside Transfer-Encoding."""

from __future__ import annotations

from benchmarks.attacks.case import EITHER, FORWARDED, REFUSED, SMUGGLED, WAITED, Table, post

TABLE = Table("content-length", "RFC 9112 6.3, 5: not a valid Content-Length is an error, 400 and close")
request = TABLE.request
BAD = frozenset({400})
TE = b"Transfer-Encoding: chunked"
CL = b"Content-Length: "
ONE = ("POST /attack",)


def length(value: bytes, body: bytes = b"hello", version: bytes = b"HTTP/1.1") -> bytes:
    return post(b"Content-Length:" + value, body=body, version=version)


request("plain", "a length and a body", length(b" 5"), right=FORWARDED, body=b"hello")
request("zero", "a body of no bytes", length(b" 0", b""), right=FORWARDED, body=b"")
request("no space", "no space after the colon", length(b"5"), right=FORWARDED, body=b"hello")
request("tabs around", "tabs are optional white space", length(b"\t5\t"), right=FORWARDED, body=b"hello")
request("leading zero", "digits are all that the grammar asks for", length(b" 005"), right=FORWARDED, body=b"hello")
request(
    "twenty digits",
    "a small number in many digits; how many are read is the recipient's limit",
    length(b" 00000000000000000005"),
    right=EITHER,
    body=b"hello",
    source="RFC 9110 8.6",
)
request("plus sign", "+5", length(b" +5"), statuses=BAD)
request("minus sign", "-5", length(b" -5"), statuses=BAD)
request("minus zero", "-0 is no digit either", length(b" -0", b""), statuses=BAD)
request("hexadecimal", "0x5", length(b" 0x5"), statuses=BAD)
request("octal mark", "0o5", length(b" 0o5"), statuses=BAD)
request("letters after", "5abc, which strtol reads as 5", length(b" 5abc"), statuses=BAD)
request("space inside", "1 0", length(b" 1 0"), statuses=BAD)
request("underscore", "1_0, which some languages read as 10", length(b" 1_0"), statuses=BAD)
request("decimal point", "5.0", length(b" 5.0"), statuses=BAD)
request("exponent", "5e0", length(b" 5e0"), statuses=BAD)
request("semicolon", "a parameter", length(b" 5;a=b"), statuses=BAD)
request("quoted", "in quotes", length(b' "5"'), statuses=BAD)
request("empty", "no value at all", length(b"", b""), statuses=BAD)
request("only blanks", "a value of blanks", length(b" \t ", b""), statuses=BAD)
request("vertical tab", "a vertical tab before the digit is no white space", length(b" \x0b5"), statuses=BAD)
request("form feed", "a form feed after the digit", length(b" 5\x0c"), statuses=BAD)
request("no-break space", "byte A0 before the digit", length(b" \xa05"), statuses=BAD)
request("NUL after", "a NUL after the digit", length(b" 5\x00"), statuses=BAD)
request("arabic digits", "digits of another script, as UTF-8", length(" \u0665".encode()), statuses=BAD)
request(
    "over 2**63",
    "one more than a signed 64-bit number holds",
    length(b" 9223372036854775808"),
    right=REFUSED | WAITED,
    source="RFC 9110 8.6: large numerals must be anticipated",
)
request(
    "over 2**64",
    "wraps to 5 in 64 bits",
    length(b" 18446744073709551621"),
    statuses=frozenset({400, 413}),
    source="RFC 9110 8.6: large numerals must be anticipated",
)
request(
    "over 2**32",
    "wraps to 5 in 32 bits: a body that never ends",
    length(b" 4294967301"),
    right=REFUSED | WAITED,
    seen=("POST /attack",),
    source="RFC 9110 8.6",
)
request(
    "list of equals",
    "5, 5 may become one, or be refused",
    length(b" 5, 5"),
    right=EITHER,
    body=b"hello",
    has={b"content-length": b"5"},
    source="RFC 9110 8.6",
)
request("list of different", "5, 6", length(b" 5, 6"), statuses=BAD)
request(
    "list, empty member",
    "5, and nothing",
    length(b" 5,"),
    right=EITHER,
    body=b"hello",
    has={b"content-length": b"5"},
    source="RFC 9110 5.6.1.2: empty members are ignored; 8.6: or refused",
)
request(
    "twice, equal",
    "two fields that agree",
    post(CL + b"5", CL + b"5", body=b"hello"),
    right=EITHER,
    body=b"hello",
    has={b"content-length": b"5"},
    source="RFC 9110 8.6",
)
request("twice, different", "5 and 6", post(CL + b"5", CL + b"6", body=b"hello!"), statuses=BAD)
request(
    "twice, zero last",
    "the first holds a request, the second says that there is none",
    post(CL + b"%d" % len(SMUGGLED), CL + b"0", body=SMUGGLED),
    statuses=BAD,
)
request(
    "twice, zero first", "the other way round", post(CL + b"0", CL + b"%d" % len(SMUGGLED), body=SMUGGLED), statuses=BAD
)
request("twice, one empty", "5 and nothing", post(CL + b"5", b"Content-Length:", body=b"hello"), statuses=BAD)
request(
    "twice, as numbers equal",
    "5 and 05: equal to who compares numbers",
    post(CL + b"5", CL + b"05", body=b"hello"),
    right=EITHER,
    body=b"hello",
    source="RFC 9110 8.6: the values must be identical",
)
request("case of the name", "cONTENT-lENGTH", post(b"cONTENT-lENGTH: 5", body=b"hello"), right=FORWARDED, body=b"hello")
request(
    "both, length first",
    "the chunked body ends before the length does: CL.TE",
    post(CL + b"%d" % (5 + len(SMUGGLED)), TE, body=b"0\r\n\r\n" + SMUGGLED),
    right=EITHER,
    body=b"",
    seen=("POST /attack",),
    forwarded=1,
    lacks=(b"content-length",),
    source="RFC 9112 6.1: refuse, or go by Transfer-Encoding alone and close",
)
request(
    "both, coding first",
    "the same fields in the other order: TE.CL",
    post(TE, CL + b"4", body=b"%x\r\n" % len(SMUGGLED) + SMUGGLED + b"\r\n0\r\n\r\n"),
    right=EITHER,
    body=SMUGGLED,
    seen=("POST /attack",),
    forwarded=1,
    lacks=(b"content-length",),
    source="RFC 9112 6.1: refuse, or go by Transfer-Encoding alone and close",
)
request(
    "both, length between",
    "another field between them",
    post(TE, b"X-A: 1", CL + b"5", body=b"0\r\n\r\n"),
    right=EITHER,
    body=b"",
    seen=("POST /attack",),
    forwarded=1,
    lacks=(b"content-length",),
    source="RFC 9112 6.1",
)
request(
    "both, length zero",
    "TE.0: the length denies a body",
    post(CL + b"0", TE, body=b"5\r\nhello\r\n0\r\n\r\n"),
    right=EITHER,
    body=b"hello",
    seen=ONE,
    forwarded=1,
    lacks=(b"content-length",),
    source="RFC 9112 6.1",
)
request(
    "both, length bad",
    "the coding does not save a length that is no number",
    post(CL + b"x", TE, body=b"0\r\n\r\n"),
    right=EITHER,
    body=b"",
    seen=ONE,
    forwarded=1,
    lacks=(b"content-length",),
    source="RFC 9112 6.1, 6.3",
)
request(
    "both, coding unknown",
    "an unknown coding beside a length",
    post(CL + b"5", b"Transfer-Encoding: x", body=b"hello"),
    statuses=frozenset({400, 501}),
    source="RFC 9112 6.3, 4: chunked is not the last coding, 400 and close",
)
request(
    "both, in HTTP/1.0",
    "HTTP/1.0 has no codings: faulty whatever it says",
    post(CL + b"5", TE, b"Connection: keep-alive", body=b"0\r\n\r\n", version=b"HTTP/1.0"),
    right=EITHER,
    seen=ONE,
    forwarded=1,
    source="RFC 9112 6.1: faulty framing, and close",
)
request(
    "both, two lengths",
    "two lengths that agree, and a coding",
    post(CL + b"5", CL + b"5", TE, body=b"0\r\n\r\n"),
    right=EITHER,
    seen=ONE,
    forwarded=1,
    lacks=(b"content-length",),
    source="RFC 9112 6.1",
)
request(
    "underscore in the name",
    "Content_Length: a second length to a server that makes hyphens of underscores",
    post(CL + b"5", b"Content_Length: 0", body=b"hello"),
    right=EITHER,
    body=b"hello",
    lacks=(b"content_length",),
    source="RFC 3875 4.1.18: CGI makes both names one",
)
request(
    "only with underscore",
    "Content_Length alone: no body here, perhaps one behind",
    post(b"Content_Length: %d" % len(SMUGGLED)),
    right=EITHER,
    body=b"",
    lacks=(b"content_length",),
    source="RFC 3875 4.1.18: CGI makes both names one",
)
request(
    "space in the name",
    "Content Length is no token",
    post(b"Content Length: 5", body=b"hello"),
    statuses=BAD,
    source="RFC 9112 5.1",
)
request(
    "dot in the name",
    "Content.Length is another field",
    post(CL + b"5", b"Content.Length: 0", body=b"hello"),
    right=EITHER,
    body=b"hello",
    source="RFC 9110 5.1",
)
request(
    "body too short",
    "less than was promised",
    post(CL + b"500", body=b"hello"),
    right=WAITED,
    seen=("POST /attack",),
    source="RFC 9112 8: incomplete",
)
request(
    "body holds a request",
    "CL.0: the body is a request, and remains a body",
    post(CL + b"%d" % len(SMUGGLED), body=SMUGGLED),
    right=FORWARDED,
    body=SMUGGLED,
    source="RFC 9112 6.3",
)
