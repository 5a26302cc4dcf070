"""Trailers of requests: fields after a chunked body, which a server might merge into those before it."""

from __future__ import annotations

from benchmarks.attacks.case import EITHER, REFUSED, SMUGGLED, WAITED, Table, chunked

TABLE = Table("trailers", "RFC 9112 7.1.2, 9110 6.5")


def trailer(id: str, what: str, section: bytes, right: frozenset = EITHER, **more: object) -> None:  # type: ignore[type-arg]
    if right != REFUSED:
        more.setdefault("body", b"hello")
    TABLE.request(id, what, chunked(b"5\r\nhello\r\n0\r\n" + section + b"\r\n"), right=right, **more)


trailer("harmless", "a checksum", b"X-Checksum: 1\r\n", right=EITHER - REFUSED, source="RFC 9112 7.1.2")
trailer("announced", "the same", b"Server-Timing: a;dur=1\r\n", right=EITHER - REFUSED, source="RFC 9112 7.1.2")
FRAMING = "RFC 9110 6.5.1: fields of framing, routing and of one hop are no trailers"
for name, value, harmful in (
    (b"Content-Length", b"5", True),
    (b"Transfer-Encoding", b"chunked", True),
    (b"Content_Length", b"5", True),
    (b"Host", b"evil.test", True),
    (b"Connection", b"close", True),
    (b"X-Forwarded-For", b"192.0.2.9", True),
    (b"X_Forwarded_For", b"192.0.2.9", True),
    (b"Forwarded", b"for=192.0.2.9", False),
    (b"Authorization", b"Basic eA==", False),
    (b"Cookie", b"a=b", False),
    (b"Content-Type", b"text/html", False),
    (b"Content-Encoding", b"gzip", False),
    (b"Expect", b"100-continue", False),
    (b"TE", b"gzip", False),
    (b"Upgrade", b"websocket", False),
    (b"If-Match", b'"a"', False),
):
    trailer(
        name.decode(),
        f"{name.decode()} after the body",
        name + b": " + value + b"\r\n",
        trailer_lacks=(name.lower(),) if harmful else (),
        source=FRAMING if harmful else "RFC 9110 2.2, 6.5.1: not to be generated, and may be passed on",
    )
trailer("no colon", "a line that is no field", b"nonsense\r\n", right=REFUSED, source="RFC 9112 7.1.2")
trailer("a request line", "a request in place of trailers", SMUGGLED[:-2], right=REFUSED, source="RFC 9112 7.1.2")
trailer("space before the colon", "X-A : 1", b"X-A : 1\r\n", right=REFUSED, source="RFC 9112 5.1, 7.1.2")
trailer("bare LF", "LF ends the line", b"X-A: 1\n", source="RFC 9112 2.2, 7.1.2")
trailer("bare CR", "CR in the value", b"X-A: 1\rX-B: 2\r\n", right=REFUSED, source="RFC 9112 2.2")
trailer("NUL", "NUL in the value", b"X-A: 1\x002\r\n", right=REFUSED, source="RFC 9110 5.5")
trailer("folded", "two lines", b"X-A: 1\r\n 2\r\n", source="RFC 9112 5.2")
trailer("empty name", ": 1", b": 1\r\n", right=REFUSED, source="RFC 9112 5")
trailer("large", "20,000 bytes", b"X-A: " + b"a" * 20_000 + b"\r\n", source="RFC 9110 5.4: a limit is the server's")
trailer("many", "1,500 fields", b"X-A: 1\r\n" * 1500, source="RFC 9110 5.4: a limit is the server's")
trailer(
    "endless",
    "a line that does not end",
    b"X-A: " + b"a" * 100_000,
    right=REFUSED | WAITED,
    source="RFC 9110 5.4",
    body=None,
    seen=("POST /attack",),
)
