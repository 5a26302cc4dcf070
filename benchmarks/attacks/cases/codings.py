"""Transfer-Encoding: how it may be written, and how it is disguised so that only one of two servers sees it.

Most cases have a Content-Length of 5 beside a body of "0 CRLF CRLF", which is both five bytes and an empty chunked
body, so what a proxy believes is told by what it forwards.
"""

from __future__ import annotations

from benchmarks.attacks.case import EITHER, FORWARDED, Table, chunked, post

TABLE = Table("transfer-encoding", "RFC 9112 6.3, 4: chunked is not the last coding, 400 and close")
request = TABLE.request
BAD = frozenset({400, 501})
LAST = b"0\r\n\r\n"
HELLO = b"5\r\nhello\r\n" + LAST
ONE = ("POST /attack",)


def coded(value: bytes, body: bytes = HELLO) -> bytes:
    return post(b"Transfer-Encoding:" + value, body=body)


def hidden(*lines: bytes) -> bytes:
    """A disguised coding behind a length that is honest."""
    return post(b"Content-Length: 5", *lines, body=LAST)


request("plain", "chunked", coded(b" chunked"), right=FORWARDED, body=b"hello")
request("upper case", "CHUNKED", coded(b" CHUNKED"), right=FORWARDED, body=b"hello", source="RFC 9112 7")
request("no space", "no space after the colon", coded(b"chunked"), right=FORWARDED, body=b"hello")
request("tabs around", "tabs are optional white space", coded(b"\tchunked\t"), right=FORWARDED, body=b"hello")
request("many spaces", "a thousand spaces before it", coded(b" " * 1000 + b"chunked"), right=FORWARDED, body=b"hello")
request(
    "case of the name",
    "tRANSFER-eNCODING",
    post(b"tRANSFER-eNCODING: chunked", body=HELLO),
    right=FORWARDED,
    body=b"hello",
)
request(
    "empty member first",
    ", chunked",
    coded(b" , chunked"),
    right=EITHER,
    body=b"hello",
    source="RFC 9110 5.6.1.2: empty members are ignored; refusing is the safe side of RFC 9112 11.2",
)
request(
    "empty member last",
    "chunked,",
    coded(b" chunked,"),
    right=EITHER,
    body=b"hello",
    source="RFC 9110 5.6.1.2: empty members are ignored; refusing is the safe side of RFC 9112 11.2",
)
request(
    "parameter",
    "chunked;q=1: parameters SHOULD be an error",
    coded(b" chunked;q=1"),
    right=EITHER,
    body=b"hello",
    source="RFC 9112 7.1",
)
request("parameter without value", "chunked;", coded(b" chunked;"), right=EITHER, body=b"hello", source="RFC 9112 7.1")
request("twice in a list", "chunked, chunked", coded(b" chunked, chunked"), statuses=BAD, source="RFC 9112 6.1")
request(
    "twice in fields",
    "two fields that say chunked",
    post(b"Transfer-Encoding: chunked", b"Transfer-Encoding: chunked", body=HELLO),
    statuses=BAD,
    source="RFC 9112 6.1: chunked must not be applied twice",
)
request("then another", "chunked and then gzip", coded(b" chunked, gzip"), statuses=BAD)
request("then identity", "chunked and then identity", coded(b" chunked, identity"), statuses=BAD)
request(
    "identity first",
    "identity, chunked: the coding went with RFC 2616",
    coded(b" identity, chunked"),
    source="RFC 9112 7",
)
request(
    "gzip first",
    "gzip, chunked: proper, and not ours to decode",
    coded(b" gzip, chunked"),
    source="RFC 9112 6.1: 501 for a coding that is not understood",
)
request("only gzip", "gzip", coded(b" gzip", b""), statuses=BAD)
request("only identity", "identity", coded(b" identity", b""), statuses=BAD)
request("unknown", "cow", coded(b" cow", b""), statuses=BAD)
request("empty", "no value", coded(b"", b""), statuses=BAD)
request("letter before", "xchunked", coded(b" xchunked"), statuses=BAD)
request("letter after", "chunkedx", coded(b" chunkedx"), statuses=BAD)
request("cut short", "chunke", coded(b" chunke"), statuses=BAD)
request("double quotes", '"chunked"', coded(b' "chunked"'), statuses=BAD)
request("single quotes", "'chunked'", coded(b" 'chunked'"), statuses=BAD)
request("space in list", "x chunked: a space is no comma", coded(b" x chunked"), statuses=BAD)
request("semicolon in list", "x;chunked", coded(b" x;chunked"), statuses=BAD)
request("equals sign", "chunked=1", coded(b" chunked=1"), statuses=BAD)
request("colon before", ": chunked", coded(b": chunked"), statuses=BAD)
request(
    "in two fields",
    "gzip in one field and chunked in the next",
    post(b"Transfer-Encoding: gzip", b"Transfer-Encoding: chunked", body=HELLO),
    source="RFC 9112 6.1",
)
request(
    "identity in a field after",
    "chunked, and a second field that takes it back",
    post(b"Transfer-Encoding: chunked", b"Transfer-Encoding: identity", body=HELLO),
    statuses=BAD,
)
request(
    "hidden by vertical tab",
    "a vertical tab before chunked",
    hidden(b"Transfer-Encoding: \x0bchunked"),
    statuses=BAD,
    source="RFC 9110 5.5: CTL in a value",
)
request("hidden by form feed", "a form feed before chunked", hidden(b"Transfer-Encoding: \x0cchunked"), statuses=BAD)
request(
    "hidden by NUL before",
    "a NUL before chunked",
    hidden(b"Transfer-Encoding: \x00chunked"),
    statuses=BAD,
    source="RFC 9110 5.5: NUL in a value",
)
request("hidden by NUL after", "a NUL after chunked", hidden(b"Transfer-Encoding: chunked\x00"), statuses=BAD)
request(
    "hidden by CR before",
    "a bare CR before chunked",
    hidden(b"Transfer-Encoding: \rchunked"),
    statuses=BAD,
    source="RFC 9112 2.2: bare CR",
)
request(
    "hidden by CR after",
    "a second CR at the end of the line",
    hidden(b"Transfer-Encoding: chunked\r"),
    statuses=BAD,
    source="RFC 9112 2.2: bare CR",
)
request("hidden by DEL", "DEL after chunked", hidden(b"Transfer-Encoding: chunked\x7f"), statuses=BAD)
request("hidden by no-break space", "byte A0 before chunked", hidden(b"Transfer-Encoding: \xa0chunked"), statuses=BAD)
request(
    "hidden by BOM", "a byte order mark before chunked", hidden(b"Transfer-Encoding: \xef\xbb\xbfchunked"), statuses=BAD
)
request(
    "hidden by space in the name",
    "a space before the colon",
    hidden(b"Transfer-Encoding : chunked"),
    statuses=frozenset({400}),
    source="RFC 9112 5.1",
)
request(
    "hidden by tab in the name",
    "a tab before the colon",
    hidden(b"Transfer-Encoding\t: chunked"),
    statuses=frozenset({400}),
    source="RFC 9112 5.1",
)
request(
    "hidden by vertical tab in the name",
    "a vertical tab before the colon",
    hidden(b"Transfer-Encoding\x0b: chunked"),
    statuses=frozenset({400}),
    source="RFC 9110 5.1: a name is a token",
)
request(
    "hidden by NUL in the name",
    "a NUL before the colon",
    hidden(b"Transfer-Encoding\x00: chunked"),
    statuses=frozenset({400}),
    source="RFC 9110 5.1",
)
request(
    "hidden by underscore",
    "Transfer_Encoding",
    hidden(b"Transfer_Encoding: chunked"),
    right=EITHER,
    body=LAST,
    lacks=(b"transfer_encoding",),
    source="RFC 3875 4.1.18: CGI makes both names one",
)
request(
    "hidden by folding",
    "the value on a second line",
    hidden(b"Transfer-Encoding:", b" chunked"),
    right=EITHER,
    seen=ONE,
    forwarded=1,
    source="RFC 9112 5.2: refuse, or a space for the fold; then 6.1",
)
request(
    "hidden in a fold",
    "a fold that looks like a field",
    hidden(b"X-A: 1", b" Transfer-Encoding: chunked"),
    right=EITHER,
    body=LAST,
    source="RFC 9112 5.2: refuse, or a space for the fold",
)
request(
    "hidden in a fold of a tab",
    "the same with a tab",
    hidden(b"X-A: 1", b"\tTransfer-Encoding: chunked"),
    right=EITHER,
    body=LAST,
    source="RFC 9112 5.2",
)
request(
    "hidden behind LF",
    "a bare LF, which may end a line",
    hidden(b"X-A: 1\nTransfer-Encoding: chunked"),
    right=EITHER,
    seen=ONE,
    forwarded=1,
    source="RFC 9112 2.2, 6.1",
)
request(
    "hidden behind CR",
    "a bare CR, which may not",
    hidden(b"X-A: 1\rTransfer-Encoding: chunked"),
    statuses=BAD,
    source="RFC 9112 2.2: bare CR",
)
request(
    "hidden behind NUL",
    "a NUL between two fields",
    hidden(b"X-A: 1\x00\r\nTransfer-Encoding: chunked"),
    statuses=BAD,
    source="RFC 9110 5.5",
)
request("hidden before the name", "a NUL in front of the name", hidden(b"\x00Transfer-Encoding: chunked"), statuses=BAD)
request(
    "hidden by another name",
    "X-Transfer-Encoding is not it",
    hidden(b"X-Transfer-Encoding: chunked"),
    right=FORWARDED,
    body=LAST,
    source="RFC 9110 5.1",
)
request(
    "hidden by ligature",
    "a name that is not ASCII",
    hidden("Transﬀer-Encoding: chunked".encode()),
    statuses=frozenset({400}),
    source="RFC 9110 5.1: a name is a token",
)
request(
    "Content-Encoding",
    "Content-Encoding: chunked frames nothing",
    hidden(b"Content-Encoding: chunked"),
    right=FORWARDED,
    body=LAST,
    source="RFC 9110 8.4",
)
request(
    "TE field",
    "TE: chunked frames nothing",
    hidden(b"TE: chunked"),
    right=FORWARDED,
    body=LAST,
    source="RFC 9110 10.1.4",
)
request(
    "in HTTP/1.0",
    "HTTP/1.0 has no codings",
    post(b"Transfer-Encoding: chunked", body=HELLO, version=b"HTTP/1.0"),
    right=EITHER,
    seen=ONE,
    forwarded=1,
    source="RFC 9112 6.1: faulty framing, and close",
)
request(
    "in HTTP/1.0, kept",
    "the same with keep-alive",
    post(b"Transfer-Encoding: chunked", b"Connection: keep-alive", body=HELLO, version=b"HTTP/1.0"),
    right=EITHER,
    seen=ONE,
    forwarded=1,
    source="RFC 9112 6.1",
)
request(
    "in HTTP/1.2",
    "a later minor version is read as 1.1",
    post(b"Transfer-Encoding: chunked", body=HELLO, version=b"HTTP/1.2"),
    right=EITHER,
    body=b"hello",
    source="RFC 9110 2.5",
)
request("body missing", "chunked, and then the next request at once", chunked(b""), source="RFC 9112 7.1")
