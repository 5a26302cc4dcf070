"""The request line: methods, versions, and what stands between."""

from __future__ import annotations

from benchmarks.attacks.case import EITHER, FORWARDED, HOST, REFUSED, WAITED, Table

TABLE = Table("request-line", "RFC 9112 3: method SP request-target SP HTTP-version; else 400")


def line(id: str, what: str, text: bytes, right: frozenset = REFUSED, host: bytes = HOST, **more: object) -> None:  # type: ignore[type-arg]
    TABLE.request(id, what, text + b"\r\n" + host + b"\r\n", right=right, **more)


ATTACK = (b"/attack",)
line("plain", "GET", b"GET /attack HTTP/1.1", FORWARDED, targets=ATTACK)
line("custom method", "an unknown method is a method", b"FROB /attack HTTP/1.1", EITHER, source="RFC 9110 9.1")
line("lower-case method", "get is another method than GET", b"get /attack HTTP/1.1", EITHER, source="RFC 9110 9.1")
line("method with a hyphen", "M-SEARCH is a token", b"M-SEARCH /attack HTTP/1.1", EITHER, source="RFC 9110 9.1")
line("method of odd tokens", "!#$ is a token", b"!#$ /attack HTTP/1.1", EITHER, source="RFC 9110 9.1")
line(
    "method of 8,000 letters",
    "longer than servers keep",
    b"A" * 8000 + b" /attack HTTP/1.1",
    EITHER,
    source="RFC 9112 3: 501 SHOULD answer it",
)
line("method with an at sign", "G@T", b"G@T /attack HTTP/1.1", source="RFC 9110 9.1: a method is a token")
line("method with a colon", "GET:", b"GET: /attack HTTP/1.1", source="RFC 9110 9.1")
line("method with a slash", "GE/T", b"GE/T /attack HTTP/1.1", source="RFC 9110 9.1")
line("method in quotes", '"GET"', b'"GET" /attack HTTP/1.1', source="RFC 9110 9.1")
line("method with non-ASCII", "GÉT", "GÉT /attack HTTP/1.1".encode(), source="RFC 9110 9.1")
line("method with a control byte", "GET and 01", b"GET\x01 /attack HTTP/1.1", source="RFC 9110 9.1")
line("method with a backspace", "what hides in a log", b"GEX\x08T /attack HTTP/1.1", source="RFC 9110 9.1")
line("no method", "a space first", b" /attack HTTP/1.1")
line(
    "space before the method",
    "white space may be ignored",
    b" GET /attack HTTP/1.1",
    EITHER,
    source="RFC 9112 3: words may be told by white space, leading too",
    seen=("GET /attack", "GET /after"),
)
line(
    "two spaces after the method",
    "words may be told by white space",
    b"GET  /attack HTTP/1.1",
    EITHER,
    source="RFC 9112 3",
)
line("two spaces before the version", "the same", b"GET /attack  HTTP/1.1", EITHER, source="RFC 9112 3", targets=ATTACK)
line("space at the end", "the same", b"GET /attack HTTP/1.1 ", EITHER, source="RFC 9112 3", targets=ATTACK)
line("tab after the method", "HTAB is white space too", b"GET\t/attack HTTP/1.1", EITHER, source="RFC 9112 3")
line("tab before the version", "the same", b"GET /attack\tHTTP/1.1", EITHER, source="RFC 9112 3", targets=ATTACK)
line("vertical tab between", "VT may be taken for white space", b"GET\x0b/attack HTTP/1.1", EITHER, source="RFC 9112 3")
line(
    "form feed between",
    "FF may be taken for white space",
    b"GET /attack\x0cHTTP/1.1",
    EITHER,
    source="RFC 9112 3",
    targets=ATTACK,
)
line(
    "bare CR between",
    "CR may be taken for white space",
    b"GET\r/attack HTTP/1.1",
    EITHER,
    source="RFC 9112 3",
    seen=("GET /attack", "GET /after"),
)
line(
    "space in the target",
    "not to be mended",
    b"GET /attack /secret HTTP/1.1",
    statuses=frozenset({400}),
    source="RFC 9112 3.2: no white space in a target; SHOULD NOT be corrected",
)
line(
    "space and a version in the target",
    "two versions",
    b"GET /attack HTTP/1.1 HTTP/1.1",
    statuses=frozenset({400}),
    source="RFC 9112 3.2",
)
line("lower-case protocol", "http/1.1", b"GET /attack http/1.1", source="RFC 9112 2.3: HTTP in upper case")
line("mixed-case protocol", "Http/1.1", b"GET /attack Http/1.1", source="RFC 9112 2.3")
line("other protocol", "ICY/1.1", b"GET /attack ICY/1.1", source="RFC 9112 2.3")
line("longer name", "XHTTP/1.1", b"GET /attack XHTTP/1.1", source="RFC 9112 2.3")
line("HTTP/0.9 with fields", "a version that has no fields", b"GET /attack HTTP/0.9", source="RFC 9112 2.3")
line("no version", "HTTP/0.9, and fields behind", b"GET /attack", source="RFC 9112 3")
line("empty version", "a space and nothing", b"GET /attack ", source="RFC 9112 3")
line("HTTP/1.2", "a later minor version is read as 1.1", b"GET /attack HTTP/1.2", EITHER, source="RFC 9110 2.5")
line("HTTP/1.9", "the last minor version", b"GET /attack HTTP/1.9", EITHER, source="RFC 9110 2.5")
line("HTTP/1.10", "two digits", b"GET /attack HTTP/1.10", source="RFC 9112 2.3: one digit")
line("HTTP/1.01", "a leading zero", b"GET /attack HTTP/1.01", source="RFC 9112 2.3: one digit")
line("HTTP/01.1", "a leading zero", b"GET /attack HTTP/01.1", source="RFC 9112 2.3: one digit")
line("HTTP/1", "no minor version", b"GET /attack HTTP/1", source="RFC 9112 2.3")
line("HTTP/1.", "a dot and nothing", b"GET /attack HTTP/1.", source="RFC 9112 2.3")
line("HTTP/.1", "no major version", b"GET /attack HTTP/.1", source="RFC 9112 2.3")
line("HTTP/1,1", "a comma", b"GET /attack HTTP/1,1", source="RFC 9112 2.3")
line("HTTP/1.1.1", "three numbers", b"GET /attack HTTP/1.1.1", source="RFC 9112 2.3")
line("HTTP/-1.1", "a sign", b"GET /attack HTTP/-1.1", source="RFC 9112 2.3")
line("HTTP/+1.1", "a sign", b"GET /attack HTTP/+1.1", source="RFC 9112 2.3")
line("HTTP/1.1x", "a letter after it", b"GET /attack HTTP/1.1x", source="RFC 9112 2.3")
line("HTTP /1.1", "a space inside", b"GET /attack HTTP /1.1", source="RFC 9112 2.3")
line("HTTP/ 1.1", "a space before the number", b"GET /attack HTTP/ 1.1", source="RFC 9112 2.3")
line("HTTP/1. 1", "a space inside the number", b"GET /attack HTTP/1. 1", source="RFC 9112 2.3")
line("HTTP/1.a", "hexadecimal", b"GET /attack HTTP/1.a", source="RFC 9112 2.3")
line("HTTP/2.0", "a major version that is spoken otherwise", b"GET /attack HTTP/2.0", source="RFC 9110 15.6.6: 505")
line("HTTP/3.0", "the same", b"GET /attack HTTP/3.0", source="RFC 9110 15.6.6: 505")
line("HTTP/1\\1", "a backslash", b"GET /attack HTTP\\1.1", source="RFC 9112 2.3")
TABLE.request(
    "HTTP/2 preface",
    "prior knowledge of HTTP/2",
    b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    right=REFUSED,
    source="RFC 9113 3.3: not what is spoken here",
    seen=(),
)
TABLE.request(
    "HTTP/0.9", "a line and no more", b"GET /attack\r\n\r\n", right=REFUSED, source="RFC 9112 3", seen=("GET /attack",)
)
TABLE.request(
    "HTTP/1.0",
    "without Host",
    b"GET /attack HTTP/1.0\r\n\r\n",
    right=FORWARDED,
    forwarded=1,
    seen=("GET /attack",),
    source="RFC 9112 3.2, 9.3: no Host needed, closes",
)
TABLE.request(
    "HTTP/1.0 kept",
    "keep-alive: the next request is in order",
    b"GET /attack HTTP/1.0\r\nHost: a.test\r\nConnection: keep-alive\r\n\r\n",
    right=FORWARDED,
    source="RFC 9112 C.2.2",
)
TABLE.request(
    "empty line first",
    "CRLF before the request line",
    b"\r\nGET /attack HTTP/1.1\r\n" + HOST + b"\r\n",
    right=FORWARDED,
    seen=("GET /attack", "GET /after"),
    source="RFC 9112 2.2: at least one is ignored",
)
TABLE.request(
    "five empty lines first",
    "more than one",
    b"\r\n" * 5 + b"GET /attack HTTP/1.1\r\n" + HOST + b"\r\n",
    right=EITHER,
    seen=("GET /attack", "GET /after"),
    source="RFC 9112 2.2",
)
TABLE.request(
    "10,000 empty lines first",
    "a flood of them",
    b"\r\n" * 10_000 + b"GET /attack HTTP/1.1\r\n" + HOST + b"\r\n",
    right=EITHER,
    seen=("GET /attack", "GET /after"),
    source="RFC 9112 2.2",
)
TABLE.request(
    "LF first",
    "a bare LF before the request line",
    b"\nGET /attack HTTP/1.1\r\n" + HOST + b"\r\n",
    right=EITHER,
    seen=("GET /attack", "GET /after"),
    source="RFC 9112 2.2",
)
TABLE.request(
    "CR first",
    "a bare CR before it",
    b"\rGET /attack HTTP/1.1\r\n" + HOST + b"\r\n",
    right=REFUSED,
    seen=("GET /attack",),
    source="RFC 9112 2.2",
)
TABLE.request(
    "a response",
    "a status line in place of a request",
    b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n",
    right=REFUSED,
    seen=(),
    source="RFC 9112 2.1",
)
TABLE.request(
    "TLS",
    "a ClientHello",
    b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n",
    right=REFUSED,
    seen=(),
    source="RFC 9112 3",
)
TABLE.request(
    "binary", "all control bytes", bytes(range(1, 32)) + b"\r\n\r\n", right=REFUSED, seen=(), source="RFC 9112 3"
)
TABLE.add("nothing", "a connection on which nothing comes", right=WAITED | REFUSED, seen=())
