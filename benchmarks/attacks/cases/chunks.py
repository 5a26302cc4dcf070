"""Chunks: sizes, extensions, ends. A size that two servers read differently moves the end of the body.

TERM.EXT, EXT.TERM, TERM.SPILL, SPILL.TERM, ONE.TWO and TWO.ONE are the names that the attacks were published under
("Funky chunks", 2025).
"""

from __future__ import annotations

from benchmarks.attacks.case import EITHER, FORWARDED, REFUSED, SMUGGLED, WAITED, Table, chunked

TABLE = Table("chunks", "RFC 9112 7.1: chunk = chunk-size [ chunk-ext ] CRLF chunk-data CRLF")
BAD = frozenset({400})
LAST = b"0\r\n\r\n"
END = b"\r\nhello\r\n" + LAST


def request(id: str, what: str, data: bytes, right: frozenset = REFUSED, **more: object) -> None:  # type: ignore[type-arg]
    if right == REFUSED:
        more.setdefault("statuses", BAD)
    TABLE.request(id, what, chunked(data), right=right, **more)


request("several", "single bytes", b"1\r\nh\r\n1\r\ni\r\n" + LAST, FORWARDED, body=b"hi")
request("none", "only the last chunk", LAST, FORWARDED, body=b"")
request("upper case", "A for ten", b"A\r\nhellohello\r\n" + LAST, FORWARDED, body=b"hellohello")
request("lower case", "a for ten", b"a\r\nhellohello\r\n" + LAST, FORWARDED, body=b"hellohello")
request("leading zeros", "0005", b"0005" + END, FORWARDED, body=b"hello")
request(
    "many leading zeros",
    "forty zeros and 5",
    b"0" * 40 + b"5" + END,
    EITHER,
    body=b"hello",
    source="RFC 9112 7.1; how many digits are read is the recipient's limit",
)
request(
    "data that is a request",
    "a request as data",
    b"%x\r\n" % len(SMUGGLED) + SMUGGLED + b"\r\n" + LAST,
    FORWARDED,
    body=SMUGGLED,
)
request("data that is a last chunk", "0 CRLF CRLF as data", b"5\r\n" + LAST + b"\r\n" + LAST, FORWARDED, body=LAST)
request("plus sign", "+5", b"+5" + END)
request("minus sign", "-5", b"-5" + END)
request("minus zero", "-0 as the last chunk", b"5\r\nhello\r\n-0\r\n\r\n")
request("hexadecimal mark", "0x5", b"0x5" + END)
request("mark of the last", "0x0 as the last chunk", b"5\r\nhello\r\n0x0\r\n\r\n")
request("underscore", "0_5", b"0_5" + END)
request("no digit", "x", b"x" + END)
request("digit and letter", "5x", b"5x" + END)
request("empty size", "an empty line", END)
request("only an extension", "no size before it", b";a=b" + END)
request("space before", "a space before the size", b" 5" + END)
request("tab before", "a tab before the size", b"\t5" + END)
request("space after", "a space before CRLF, as old servers send", b"5 " + END, EITHER, body=b"hello")
request("tab after", "a tab before CRLF", b"5\t" + END, EITHER, body=b"hello")
request("two sizes", "5 5", b"5 5" + END)
request("comma", "5,5", b"5,5" + END)
request("decimal point", "5.0", b"5.0" + END)
request("NUL after", "a NUL after the size", b"5\x00" + END)
request("NUL before", "a NUL before the size", b"\x005" + END)
request("vertical tab", "a vertical tab after the size", b"5\x0b" + END)
request("non-ASCII", "a fullwidth digit", "\uff15".encode() + END)
request("2**63 and 5", "negative in 64 bits", b"8000000000000005" + END, REFUSED | WAITED, seen=("POST /attack",))
request(
    "2**64 and 5",
    "wraps to 5 in 64 bits",
    b"10000000000000005" + END,
    statuses=frozenset({400, 413}),
    source="RFC 9112 7.1: large numerals must be anticipated",
)
request(
    "2**32 and 5",
    "wraps to 5 in 32 bits: more than comes",
    b"100000005" + END,
    REFUSED | WAITED,
    seen=("POST /attack",),
)
request("2**64 - 1", "minus one in 64 bits", b"ffffffffffffffff" + END, REFUSED | WAITED, seen=("POST /attack",))
request(
    "bare LF",
    "LF ends the size, which 7.1 does not allow",
    b"5\nhello\r\n" + LAST,
    EITHER,
    body=b"hello",
    source="RFC 9112 2.2: LF as a line end is for heads; 7.1",
)
request("bare CR", "CR ends the size", b"5\rhello\r\n" + LAST)
request("two CR", "CR CR LF ends the size", b"5\r\r\nhello\r\n" + LAST)
request("LF CR", "LF CR ends the size", b"5\n\rhello\r\n" + LAST)
request("extension", "a name", b"5;a" + END, FORWARDED, body=b"hello", source="RFC 9112 7.1.1")
request("extension with value", "name=value", b"5;a=b" + END, FORWARDED, body=b"hello", source="RFC 9112 7.1.1")
request("extensions", "two of them", b"5;a;b=c" + END, FORWARDED, body=b"hello", source="RFC 9112 7.1.1")
request(
    "extension after a space",
    "BWS before the semicolon",
    b"5 ;a=b" + END,
    FORWARDED,
    body=b"hello",
    source="RFC 9112 7.1.1",
)
request(
    "extension in quotes",
    "a quoted value with a semicolon",
    b'5;a="b;c"' + END,
    FORWARDED,
    body=b"hello",
    source="RFC 9112 7.1.1",
)
request(
    "extension, escaped quote", "a quoted pair", b'5;a="b\\"c"' + END, FORWARDED, body=b"hello", source="RFC 9112 7.1.1"
)
request("extension empty", "a semicolon alone", b"5;" + END, EITHER, body=b"hello", source="RFC 9112 7.1.1")
request(
    "extension, quote left open",
    "CRLF ends the line all the same",
    b'5;a="b' + END,
    EITHER,
    body=b"hello",
    source="RFC 9112 7.1.1",
)
request(
    "extension, CRLF in quotes",
    "a quoted value that holds CRLF and a last chunk",
    b'5;a="\r\n0\r\n\r\n' + SMUGGLED,
    source="RFC 9112 7.1.1",
    seen=("POST /attack",),
)
request("extension, equals only", "5;=", b"5;=" + END, EITHER, body=b"hello", source="RFC 9112 7.1.1")
request("extension, bare CR", "CR inside", b"5;a=\rb" + END, source="RFC 9112 2.2: bare CR")
request("extension, NUL", "NUL inside", b"5;a=\x00b" + END)
request("extension, control", "byte 1 inside", b"5;a=\x01b" + END)
request("extension of 200 bytes", "long and within reason", b"5;" + b"a" * 200 + END, EITHER, body=b"hello")
request(
    "extension of 20,000 bytes",
    "an attack on whoever counts data only",
    b"5;" + b"a" * 20_000 + END,
    EITHER,
    body=b"hello",
    source="RFC 9112 7.1.1: a limit is reasonable (CVE-2023-39326)",
    seen=("POST /attack", "GET /after"),
)
request(
    "many extensions",
    "a thousand chunks with extensions",
    b"1;" + b"a" * 100 + b"\r\nh\r\n" + (b"1;" + b"a" * 100 + b"\r\nh\r\n") * 200 + LAST,
    EITHER,
    body=b"h" * 201,
    source="RFC 9112 7.1.1",
)
request(
    "TERM.EXT",
    "LF in an extension ends the line for the proxy alone",
    b"2;\nxx\r\n%x\r\n" % (len(SMUGGLED) + 5) + LAST + SMUGGLED + b"\r\n" + LAST,
    source="RFC 9112 7.1.1",
)
request(
    "EXT.TERM",
    "LF in an extension ends the line for the server alone",
    b"2;\nxx\r\n0\r\n\r\n" + SMUGGLED,
    source="RFC 9112 7.1.1",
)
request(
    "TERM.EXT with CR",
    "a bare CR in its place",
    b"2;\rxx\r\n%x\r\n" % (len(SMUGGLED) + 5) + LAST + SMUGGLED + b"\r\n" + LAST,
    source="RFC 9112 7.1.1",
)
request("extension without semicolon", "LF after a space", b"2 \nxx\r\n" + LAST)
request("TERM.SPILL", "one byte more than the size, then CRLF", b"5\r\nhelloX\r\n" + LAST)
request("SPILL.TERM", "two bytes instead of CRLF, then the next size", b"5\r\nhelloXX0\r\n\r\n" + SMUGGLED)
request(
    "SPILL over a size", "what replaces CRLF hides the next size", b"5\r\nhello\r\r%x\r\n" % len(SMUGGLED) + SMUGGLED
)
request("ONE.TWO", "LF alone after the data", b"5\r\nhello\n" + LAST, source="RFC 9112 7.1")
request("TWO.ONE", "CR alone after the data", b"5\r\nhello\r" + LAST)
request("nothing after the data", "the next size at once", b"5\r\nhello" + LAST)
request("CRLF twice after the data", "an empty line before the next size", b"5\r\nhello\r\n\r\n" + LAST)
request("data one byte short", "the CRLF is counted as data", b"6\r\nhello\r\n" + LAST)
request("data two bytes short", "the CRLF and no other is counted", b"7\r\nhello\r\n" + LAST)
request(
    "last, without its empty line",
    "0 CRLF and then the next request",
    b"5\r\nhello\r\n0\r\n",
    source="RFC 9112 7.1.2: what comes is a bad trailer",
)
request(
    "last, LF only", "0 LF LF", b"5\r\nhello\r\n0\n\n", EITHER, body=b"hello", source="RFC 9112 7.1; 2.2 is for heads"
)
request("last, then LF", "0 CRLF LF", b"5\r\nhello\r\n0\r\n\n", EITHER, body=b"hello", source="RFC 9112 2.2, 7.1.2")
request("last, then CR", "0 CRLF CR and no LF", b"5\r\nhello\r\n0\r\n\rX")
request("last, two digits", "00", b"5\r\nhello\r\n00\r\n\r\n", FORWARDED, body=b"hello")
request("last, many zeros", "16 zeros", b"5\r\nhello\r\n" + b"0" * 16 + b"\r\n\r\n", EITHER, body=b"hello")
request(
    "last, with extension", "0;a=b", b"5\r\nhello\r\n0;a=b\r\n\r\n", FORWARDED, body=b"hello", source="RFC 9112 7.1.1"
)
request("last, space after", "0 and a space", b"5\r\nhello\r\n0 \r\n\r\n", EITHER, body=b"hello")
TABLE.add("never ends", "no last chunk", chunked(b"5\r\nhello\r\n"), right=WAITED, seen=("POST /attack",))
TABLE.add(
    "size never ends",
    "digits without CRLF",
    chunked(b"5\r\nhello\r\n" + b"0" * 5000),
    right=WAITED | REFUSED,
    seen=("POST /attack",),
)
request(
    "gzip inside",
    "the data is whatever it is",
    b"4\r\n\x1f\x8b\x00\xff\r\n" + LAST,
    FORWARDED,
    body=b"\x1f\x8b\x00\xff",
)
