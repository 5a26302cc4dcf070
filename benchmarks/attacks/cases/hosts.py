"""Host: how many, and what may stand in one. Caches, routes and servers decide by it."""

from __future__ import annotations

from benchmarks.attacks.case import EITHER, FORWARDED, REFUSED, Table

TABLE = Table("host", "RFC 9112 3.2: 400 to HTTP/1.1 without Host, with two, or with an invalid one")
BAD = frozenset({400})
SEEN = ("GET /attack", "GET /after")


def host(
    id: str, what: str, lines: bytes, right: frozenset = REFUSED, version: bytes = b"HTTP/1.1", **more: object
) -> None:  # type: ignore[type-arg]
    if right == REFUSED:
        more.setdefault("statuses", BAD)
    more.setdefault("seen", SEEN)
    TABLE.request(id, what, b"GET /attack " + version + b"\r\n" + lines + b"\r\n", right=right, **more)


def value(id: str, what: str, text: bytes, right: frozenset = REFUSED, **more: object) -> None:  # type: ignore[type-arg]
    host(id, what, b"Host: " + text + b"\r\n", right, **more)


host("none", "no Host", b"")
host("none but X-Host", "X-Host is not it", b"X-Host: a.test\r\n")
host("two equal", "twice the same", b"Host: a.test\r\nHost: a.test\r\n")
host("two different", "two hosts", b"Host: a.test\r\nHost: b.test\r\n")
host("two, other case", "host and HOST", b"host: a.test\r\nHOST: b.test\r\n")
host("two, one empty", "the second is empty", b"Host: a.test\r\nHost:\r\n")
host(
    "two in HTTP/1.0",
    "where none is needed, two are still wrong",
    b"Host: a.test\r\nHost: b.test\r\n",
    version=b"HTTP/1.0",
    seen=("GET /attack",),
)
host("no space", "Host:a.test", b"Host:a.test\r\n", FORWARDED)
host("space before the colon", "Host : a.test", b"Host : a.test\r\n", source="RFC 9112 5.1")
host(
    "second with a space",
    "a good Host, and one with a space before the colon",
    b"Host: a.test\r\nHost : b.test\r\n",
    source="RFC 9112 5.1",
)
host(
    "second hidden by NUL",
    "a good Host, and one with a NUL in the name",
    b"Host: a.test\r\nHost\x00: b.test\r\n",
    source="RFC 9110 5.1",
)
host("folded", "the value on the next line", b"Host:\r\n a.test\r\n", EITHER, source="RFC 9112 5.2")
host("not last", "behind other fields", b"X-A: 1\r\nHost: a.test\r\n", FORWARDED)
host(
    "X-Forwarded-Host",
    "a host that a stranger claims",
    b"Host: a.test\r\nX-Forwarded-Host: evil.test\r\n",
    EITHER,
    source="RFC 7239 8.1; what servers make of it is theirs",
)
value("empty", "no host: for http URLs there is always one", b"", EITHER, source="RFC 9110 7.2, 4.2.1")
value("upper case", "A.TEST", b"A.TEST", FORWARDED, source="RFC 9110 4.2.3")
value("port", "a.test:80", b"a.test:80", FORWARDED)
value("port empty", "a.test:", b"a.test:", EITHER, source="RFC 3986 3.2.3: allowed by the grammar")
value("port 0", "a.test:0", b"a.test:0", EITHER, source="RFC 3986 3.2.3: allowed by the grammar")
value("port 65535", "the highest", b"a.test:65535", FORWARDED)
value(
    "port 65536", "no port", b"a.test:65536", EITHER, source="RFC 3986 3.2.3: allowed by the grammar, and no TCP port"
)
value(
    "port 99999", "no port", b"a.test:99999", EITHER, source="RFC 3986 3.2.3: allowed by the grammar, and no TCP port"
)
value("port of thirty digits", "no port", b"a.test:" + b"1" * 30, EITHER, source="RFC 3986 3.2.3")
value("port with leading zeros", "a.test:0080", b"a.test:0080", EITHER, source="RFC 3986 3.2.3")
value("port is no number", "a.test:8o", b"a.test:8o")
value("port with a sign", "a.test:+80", b"a.test:+80")
value("port negative", "a.test:-1", b"a.test:-1")
value("port after a space", "a.test: 80", b"a.test: 80")
value("two ports", "a.test:80:80", b"a.test:80:80")
value("only a port", ":80", b":80", EITHER, source="RFC 9110 4.2.1: no host")
value("user", "user@a.test", b"user@a.test", source="RFC 9110 7.2: uri-host and port, no userinfo")
value("user and password", "user:pass@a.test", b"user:pass@a.test", source="RFC 9110 7.2")
value("port that is a user", "a.test:80@evil.test", b"a.test:80@evil.test", source="RFC 9110 7.2")
value("list", "a.test, b.test", b"a.test, b.test")
value(
    "list without a space",
    "a.test,b.test: a comma may be a part of a name",
    b"a.test,b.test",
    EITHER,
    source="RFC 3986 3.2.2",
)
value("space", "a b", b"a b")
value("tab", "a TAB b", b"a\tb")
value("NUL", "a NUL b", b"a\x00b")
value("slash", "a/b", b"a/b")
value("path", "a.test/secret", b"a.test/secret")
value("question mark", "a?b", b"a?b")
value("number sign", "a#b", b"a#b")
value("backslash", "a\\b", b"a\\b")
value("double quotes", '"a.test"', b'"a.test"')
value("angle brackets", "<a>", b"<a>")
value("non-ASCII", "raw UTF-8", "ä.test".encode())
value("punycode", "an encoded name", b"xn--4ca.test", FORWARDED)
value("escape", "%61.test is a.test", b"%61.test", EITHER, source="RFC 3986 3.2.2: allowed by the grammar")
value("bad escape", "%zz", b"%zz", source="RFC 3986 2.1")
value("escape cut short", "a%4", b"a%4", source="RFC 3986 2.1")
value("escape of a slash", "a%2fb", b"a%2fb", EITHER, source="RFC 3986 3.2.2")
value("escape of NUL", "a%00b", b"a%00b", EITHER, source="RFC 3986 3.2.2")
value("underscore", "a_b.test", b"a_b.test", FORWARDED, source="RFC 3986 3.2.2")
value("sub-delims", "a;b=c", b"a;b=c", EITHER, source="RFC 3986 3.2.2: allowed by the grammar")
value("dots", "a..test", b"a..test", EITHER, source="RFC 3986 3.2.2: allowed by the grammar")
value("dot last", "a.test. is the same host to DNS", b"a.test.", EITHER, source="RFC 3986 3.2.2")
value("only a dot", ".", b".", EITHER, source="RFC 3986 3.2.2")
value("long", "a name of 2,000 bytes", b"a" * 2000 + b".test", EITHER, source="RFC 3986 3.2.2")
value("URL", "http://a.test/", b"http://a.test/")
value("IPv4", "127.0.0.1", b"127.0.0.1", FORWARDED)
value("IPv4 as a number", "2130706433 is a name", b"2130706433", EITHER, source="RFC 3986 3.2.2")
value("IPv6", "[::1]", b"[::1]", FORWARDED)
value("IPv6 and port", "[::1]:80", b"[::1]:80", FORWARDED)
value("IPv6 in full", "eight groups", b"[2001:db8:0:0:0:0:0:1]", FORWARDED)
value("IPv6 with IPv4", "[::ffff:192.0.2.1]", b"[::ffff:192.0.2.1]", FORWARDED)
value("IPv6, port empty", "[::1]:", b"[::1]:", EITHER, source="RFC 3986 3.2.3")
value("IPv6, port 99999", "[::1]:99999", b"[::1]:99999", EITHER, source="RFC 3986 3.2.3")
value("IPv6 without brackets", "::1", b"::1")
value("IPv6 left open", "[::1", b"[::1")
value("IPv6 not opened", "::1]", b"::1]")
value("IPv6, something after", "[::1]x", b"[::1]x")
value("IPv6, something before", "x[::1]", b"x[::1]")
value("IPv6, port without a colon", "[::1]80", b"[::1]80")
value("IPv6 empty", "[]", b"[]")
value("IPv6, not hexadecimal", "[zz]", b"[zz]")
value("IPv6, a name", "[a.test]", b"[a.test]")
value("IPv6, nine groups", "[1:2:3:4:5:6:7:8:9]", b"[1:2:3:4:5:6:7:8:9]")
value("IPv6, five digits", "[12345::]", b"[12345::]")
value("IPv6, two gaps", "[1::2::3]", b"[1::2::3]")
value("IPv6, one colon", "[:1]", b"[:1]")
value("IPv6, only IPv4", "[192.0.2.1]", b"[192.0.2.1]")
value("IPv6, IPv4 of 256", "[::ffff:256.0.0.1]", b"[::ffff:256.0.0.1]")
value("IPv6, brackets twice", "[[::1]]", b"[[::1]]")
value("IPv6 with a zone", "[fe80::1%25eth0]", b"[fe80::1%25eth0]", EITHER, source="RFC 6874, which RFC 9844 took back")
value("IPv6 with a raw zone", "[fe80::1%eth0]", b"[fe80::1%eth0]", source="RFC 3986 3.2.2")
value("IPvFuture", "[v1.a]", b"[v1.a]", EITHER, source="RFC 3986 3.2.2: allowed by the grammar")
