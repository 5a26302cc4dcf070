"""The forms of a target: origin, absolute, authority, asterisk; and bytes that may not stand in one."""

from __future__ import annotations

from benchmarks.attacks.case import ANSWERED, EITHER, FORWARDED, HOST, REFUSED, Table

TABLE = Table("targets", "RFC 9112 3.2: request-target; else 400")
BAD = frozenset({400, 404, 405, 501})
OTHER = b"Host: two.test\r\n"


def target(
    id: str,
    what: str,
    text: bytes,
    right: frozenset = REFUSED,
    method: bytes = b"GET",
    host: bytes = HOST,  # type: ignore[type-arg]
    **more: object,
) -> None:
    if right == REFUSED:
        more.setdefault("statuses", BAD)
    more.setdefault("seen", ("GET /attack", "GET /after"))
    TABLE.request(id, what, method + b" " + text + b" HTTP/1.1\r\n" + host + b"\r\n", right=right, **more)


ORIGIN = {b"host": b"one.test"}
target("absolute", "an absolute target with the same Host", b"http://a.test/attack", FORWARDED, source="RFC 9112 3.2.2")
target(
    "absolute, other Host",
    "the target's host counts, or it is refused",
    b"http://one.test/attack",
    EITHER,
    host=OTHER,
    has=ORIGIN,
    source="RFC 9112 3.2.2: Host is ignored and made anew",
)
target(
    "absolute, no Host",
    "Host is needed all the same",
    b"http://one.test/attack",
    host=b"",
    statuses=frozenset({400}),
    source="RFC 9112 3.2",
)
target(
    "absolute, two Hosts",
    "no more than one",
    b"http://one.test/attack",
    host=b"Host: one.test\r\nHost: two.test\r\n",
    statuses=frozenset({400}),
    source="RFC 9112 3.2",
    seen=("GET /attack",),
)
target("absolute, other port", "the port is a part of it", b"http://a.test:81/attack", EITHER, source="RFC 9112 3.2.2")
target(
    "absolute, upper case", "scheme and host in upper case", b"HTTP://A.TEST/attack", FORWARDED, source="RFC 9110 4.2.3"
)
target(
    "absolute, no path",
    "http://a.test is /",
    b"http://a.test",
    FORWARDED,
    source="RFC 9112 3.2.1",
    seen=("GET /", "GET ", "GET /after"),
)
target(
    "absolute, only a query",
    "http://a.test?q",
    b"http://a.test?q",
    EITHER,
    source="RFC 9112 3.2.1",
    seen=("GET /", "GET /?q", "GET /after"),
)
target(
    "absolute, user",
    "user information",
    b"http://user@a.test/attack",
    EITHER,
    source="RFC 9110 4.2.4: SHOULD be an error",
)
target(
    "absolute, user that looks like a host",
    "http://a.test@one.test/",
    b"http://a.test@one.test/attack",
    EITHER,
    source="RFC 9110 4.2.4",
    has=ORIGIN,
)
target(
    "absolute, backslash",
    "http://one.test\\@a.test/",
    b"http://one.test\\@a.test/attack",
    REFUSED,
    source="RFC 3986 3.2",
)
target("absolute, empty host", "http:///attack", b"http:///attack", REFUSED, source="RFC 9110 4.2.1: MUST be rejected")
target("absolute, only a port", "http://:80/attack", b"http://:80/attack", REFUSED, source="RFC 9110 4.2.1")
target(
    "absolute, port is no number", "http://a.test:x/attack", b"http://a.test:x/attack", REFUSED, source="RFC 3986 3.2.3"
)
target("absolute, host in quotes", 'http://"a"/attack', b'http://"a"/attack', REFUSED, source="RFC 3986 3.2.2")
target("absolute, fragment", "a fragment", b"http://a.test/attack#x", EITHER, source="RFC 9112 3.2: none in a target")
target(
    "absolute, https",
    "https on a port without TLS",
    b"https://a.test/attack",
    EITHER,
    source="RFC 9110 7.4: 421, or forwarded",
)
target("absolute, ftp", "a scheme that is not HTTP's", b"ftp://a.test/attack", EITHER, source="RFC 9112 3.2.2")
target("absolute, file", "file:///etc/passwd", b"file:///etc/passwd", REFUSED, source="RFC 9112 3.2.2: no host")
target("absolute, one slash", "http:/a.test/attack", b"http:/a.test/attack", REFUSED, source="RFC 3986 3: no authority")
target(
    "absolute into the denied",
    "an absolute target of /secret",
    b"http://a.test/secret",
    REFUSED,
    statuses=frozenset({403}),
    source="RFC 9112 3.2.2: the path counts",
    seen=("GET /after",),
)
target(
    "absolute into the denied, other Host",
    "a Host that differs does not open it",
    b"http://one.test/secret",
    REFUSED,
    host=OTHER,
    statuses=frozenset({400, 403}),
    source="RFC 9112 3.2.2",
    seen=("GET /after",),
)
target("authority", "authority-form is for CONNECT", b"a.test:80", source="RFC 9112 3.2.3")
target("authority, no port", "a host alone", b"a.test", source="RFC 9112 3.2.3")
target("asterisk", "* is for OPTIONS", b"*", source="RFC 9112 3.2.4")
target(
    "asterisk, OPTIONS",
    "OPTIONS *",
    b"*",
    FORWARDED | ANSWERED,
    method=b"OPTIONS",
    source="RFC 9112 3.2.4",
    seen=("OPTIONS *", "GET /after"),
)
target("asterisk with a slash", "/*", b"/*", FORWARDED, source="RFC 9112 3.2.1", seen=("GET /*", "GET /after"))
target("asterisk and more", "*x", b"*x", source="RFC 9112 3.2")
target("relative", "attack", b"attack", source="RFC 9112 3.2.1: a slash first")
target("dots first", "../attack", b"../attack", source="RFC 9112 3.2.1")
target("query only", "?attack", b"?attack", source="RFC 9112 3.2.1")
target("backslash first", "\\attack", b"\\attack", source="RFC 9112 3.2.1")
target("encoded slash first", "%2fattack", b"%2fattack", source="RFC 9112 3.2.1")
target(
    "two slashes",
    "//one.test/attack is a path",
    b"//one.test/attack",
    EITHER | ANSWERED,
    source="RFC 9112 3.2.1",
    seen=("GET //one.test/attack", "GET /one.test/attack", "GET /after"),
)
target("fragment", "/attack#x", b"/attack#x", EITHER, source="RFC 9112 3.2: none in a target", targets=(b"/attack",))
target(
    "fragment and dots",
    "/attack#/../secret",
    b"/attack#/../secret",
    EITHER,
    source="RFC 9112 3.2",
    targets=(b"/attack",),
)
target("non-ASCII", "raw UTF-8", "/attack/é".encode(), source="RFC 3986 2: encoded or not at all")
target("byte FF", "raw Latin-1", b"/attack/\xff", source="RFC 3986 2")
target("control byte", "byte 01", b"/attack\x01", source="RFC 3986 2")
target("DEL", "byte 7F", b"/attack\x7f", source="RFC 3986 2")
target("double quote", 'a "', b'/attack"', EITHER, source="RFC 3986 2: not a character of URIs")
target("angle brackets", "<script>", b"/attack<script>", EITHER, source="RFC 3986 2")
target("braces", "{}", b"/attack{}", EITHER, source="RFC 3986 2")
target("caret, bar and backquote", "^|`", b"/attack^|`", EITHER, source="RFC 3986 2")
target(
    "query of odd characters",
    "what browsers send raw",
    b"/attack?a[]={b}|c",
    EITHER,
    source="RFC 3986 3.4",
    seen=("GET /attack", "GET /after"),
)
target(
    "query with a question mark",
    "two of them",
    b"/attack?a?b",
    FORWARDED,
    source="RFC 3986 3.4",
    targets=(b"/attack?a?b",),
)
target(
    "query with CRLF, encoded",
    "stays encoded",
    b"/attack?a=%0d%0aX-B:%201",
    FORWARDED,
    source="RFC 3986 2.4",
    lacks=(b"x-b",),
    targets=(b"/attack?a=%0d%0aX-B:%201",),
)
target(
    "query with a bad escape",
    "%zz is the server's business",
    b"/attack?a=%zz",
    FORWARDED,
    source="RFC 3986 2.1",
    targets=(b"/attack?a=%zz",),
)
