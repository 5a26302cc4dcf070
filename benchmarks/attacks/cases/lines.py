"""Where lines end, in the head: bare LF, bare CR, NUL and folding."""

from __future__ import annotations

from benchmarks.attacks.case import EITHER, HOST, REFUSED, SMUGGLED, WAITED, Table, Until

TABLE = Table("lines", "RFC 9112 2.2: LF alone may end a line; a bare CR is invalid")
request = TABLE.request
BAD = frozenset({400})
GET = b"GET /attack HTTP/1.1\r\n"
CLEAR = ("GET /attack", "GET /after")

request("all LF", "LF ends every line", b"GET /attack HTTP/1.1\nHost: a.test\n\n", right=EITHER)
request("LF after the request line", "then CRLF", b"GET /attack HTTP/1.1\nHost: a.test\r\n\r\n", right=EITHER)
request("LF after a field", "between two fields", GET + b"X-A: 1\nX-B: 2\r\n" + HOST + b"\r\n", right=EITHER)
request("LF as the empty line", "the head ends with CRLF LF", GET + HOST + b"\n", right=EITHER)
request(
    "LF LF inside a value",
    "an empty line of LF, and then a request",
    GET + HOST + b"X-A: 1\n\n" + SMUGGLED,
    right=EITHER,
    seen=("GET /attack", "GET /smuggled", "GET /after"),
    forwarded=3,
)
request("CR after the request line", "CR alone", b"GET /attack HTTP/1.1\rHost: a.test\r\n\r\n", statuses=BAD)
request("CR after a field", "between two fields", GET + HOST + b"X-A: 1\rX-B: 2\r\n\r\n", statuses=BAD)
request(
    "CR and a request",
    "a whole request behind bare CRs",
    GET + HOST + b"X-A: 1\r\r" + SMUGGLED.replace(b"\r\n", b"\r"),
    statuses=BAD,
)
request("CR CR LF", "two CR before LF", GET + HOST + b"X-A: 1\r\r\n\r\n", statuses=BAD)
request("CR CR LF as the empty line", "the head ends with CRLF CR CRLF", GET + HOST + b"\r\r\n", statuses=BAD)
request("LF CR", "the wrong way round", GET + HOST + b"X-A: 1\n\rX-B: 2\r\n\r\n", statuses=BAD)
request("CR at the start of a line", "before a name", GET + HOST + b"\rX-A: 1\r\n\r\n", statuses=BAD)
request("CR in a name", "X CR A", GET + HOST + b"X\rA: 1\r\n\r\n", statuses=BAD)
request("CR only", "no LF at all", b"GET /attack HTTP/1.1\rHost: a.test\r\r", statuses=BAD)
request("CR before the colon", "X-A CR : 1", GET + HOST + b"X-A\r: 1\r\n\r\n", statuses=BAD)
request("NUL in a value", "1 NUL 2", GET + HOST + b"X-A: 1\x002\r\n\r\n", statuses=BAD, source="RFC 9110 5.5")
request("NUL in a name", "X NUL A", GET + HOST + b"X\x00A: 1\r\n\r\n", statuses=BAD, source="RFC 9110 5.1")
request("NUL before a name", "NUL X-A", GET + HOST + b"\x00X-A: 1\r\n\r\n", statuses=BAD, source="RFC 9110 5.1")
request("NUL as a line", "a line of NUL", GET + HOST + b"\x00\r\n\r\n", statuses=BAD, source="RFC 9112 5")
request(
    "NUL before the request",
    "before the method",
    b"\x00" + GET + HOST + b"\r\n",
    statuses=BAD,
    source="RFC 9110 9.1",
    seen=("GET /attack",),
)
request(
    "NUL in the request line",
    "in the path",
    b"GET /attack\x00 HTTP/1.1\r\n" + HOST + b"\r\n",
    statuses=BAD,
    source="RFC 9112 3.2",
    seen=("GET /attack",),
)
request(
    "folded by space",
    "a value over two lines",
    GET + HOST + b"X-A: 1\r\n 2\r\n\r\n",
    right=EITHER,
    source="RFC 9112 5.2: refuse, or a space for the fold",
)
request(
    "folded by tab", "the same with a tab", GET + HOST + b"X-A: 1\r\n\t2\r\n\r\n", right=EITHER, source="RFC 9112 5.2"
)
request(
    "folded, blank line",
    "a fold of blanks only",
    GET + HOST + b"X-A: 1\r\n \r\nX-B: 2\r\n\r\n",
    right=EITHER,
    source="RFC 9112 5.2",
)
request("folded by LF", "LF and a space", GET + HOST + b"X-A: 1\n 2\r\n\r\n", right=EITHER, source="RFC 9112 2.2, 5.2")
request(
    "fold of the last field",
    "a blank before the empty line",
    GET + HOST + b" \r\n\r\n",
    right=EITHER,
    source="RFC 9112 5.2",
)
request(
    "fold hides a Host",
    "a second Host in a fold",
    GET + HOST + b"X-A: 1\r\n Host: evil.test\r\n\r\n",
    right=EITHER,
    source="RFC 9112 5.2",
    has={b"host": b"a.test"},
)
request(
    "fold hides a length",
    "Content-Length in a fold",
    GET + HOST + b"X-A: 1\r\n Content-Length: %d\r\n\r\n" % len(SMUGGLED) + SMUGGLED,
    right=EITHER,
    source="RFC 9112 5.2",
    seen=("GET /attack", "GET /smuggled", "GET /after"),
    forwarded=3,
)
request(
    "space before the first field",
    "white space after the request line",
    GET + b" " + HOST + b"\r\n",
    right=REFUSED,
    statuses=BAD,
    source="RFC 9112 2.2: refuse, or drop the line; without it Host is missing",
)
request(
    "white space line first",
    "a line of blanks after the request line",
    GET + b" \r\n" + HOST + b"\r\n",
    right=EITHER,
    source="RFC 9112 2.2: refuse, or drop the line",
)
request(
    "hidden field first",
    "a field with white space before it, after the request line",
    GET + b" X-A: 1\r\n" + HOST + b"\r\n",
    right=EITHER,
    lacks=(b"x-a",),
    source="RFC 9112 2.2",
)
TABLE.add(
    "never ends", "no empty line", GET + HOST + b"X-A: 1", right=WAITED | REFUSED, source="RFC 9112 2.1", seen=CLEAR
)
TABLE.request(
    "LF, late",
    "a good beginning, and then lines that end with LF",
    GET + HOST,
    Until.READ,
    b"X-A: 1\n\n",
    right=EITHER,
    seen=CLEAR,
)
TABLE.request(
    "LF after CRLF, late",
    "the empty line is LF alone",
    GET + HOST + b"X-A: 1\r",
    Until.READ,
    b"\n\n",
    right=EITHER,
    seen=CLEAR,
)
TABLE.add(
    "LF, late, and no more",
    "a bare LF in a head that does not end",
    GET + HOST,
    Until.READ,
    b"X-A: 1\nX-B: 2",
    right=EITHER | WAITED,
    seen=CLEAR,
)
TABLE.request(
    "CR, late", "a good beginning, and then a bare CR", GET + HOST, Until.READ, b"X-A: 1\r\r\n\r\n", statuses=BAD
)
request("ends within CRLF", "the head ends with CR", GET + HOST + b"X-A: 1\r\n\r", right=REFUSED, statuses=BAD)
request(
    "vertical tab as a line end",
    "VT for CRLF",
    GET + HOST + b"X-A: 1\x0bX-B: 2\r\n\r\n",
    statuses=BAD,
    source="RFC 9110 5.5",
)
request(
    "NEL as a line end",
    "byte 85, a line end to Python's splitlines",
    GET + HOST + b"X-A: 1\x85X-B: 2\r\n\r\n",
    right=EITHER,
    source="RFC 9110 5.5: obs-text",
)
request(
    "LS as a line end",
    "U+2028, a line end to JavaScript",
    GET + HOST + "X-A: 1\u2028X-B: 2\r\n\r\n".encode(),
    right=EITHER,
    source="RFC 9110 5.5: obs-text",
)
request(
    "CR LF low bytes",
    "U+010D U+010A, whose low bytes are CR and LF",
    GET + HOST + "X-A: 1\u010d\u010aX-B: 2\r\n\r\n".encode(),
    right=EITHER,
    source="RFC 9110 5.5: obs-text",
    lacks=(b"x-b",),
)
