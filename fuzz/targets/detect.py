"""proxy.preface.detect: HTTP, TLS or something else by the first bytes; told once, it stays so, however they come."""

from __future__ import annotations

from fuzz.support import exact, expect
from proxy.kernel.scan import Head, HeadLimits, scan_request
from proxy.preface.detect import ENOUGH, Kind, detect

LIMITS = HeadLimits()

SEEDS = (
    b"\0GET / HTTP/1.1\r\nHost: a\r\n\r\n",
    b"\x20OPTIONS * HTTP/1.1\r\nHost: a\r\n\r\n",
    b"\x40PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    b"\x60\x16\3\1\0\5hello",
    b"\x80CONNECT a:1 HTTP/1.1\r\nHost: a:1\r\n\r\n",
    b"\x30GET HTTP://a/ HTTP/1.1\r\nHost: a\r\n\r\n",
    b"\x50SSH-2.0-x\r\n",
    b"\x99PROXY TCP4 1.1.1.1 1.1.1.1 1 1\r\n",
)
WORDS = (
    b"GET ",
    b"PRI",
    b" ",
    b"/",
    b"*",
    b"http://",
    b"https://",
    b"\x16\3",
    b"CONNECT ",
    b" HTTP/1.1\r\nHost: a\r\n\r\n",
)


def check(data: bytes) -> None:
    if not data:
        return
    cut, data = data[0], data[1:]
    found, part = detect(data), data[: (cut * len(data)) >> 8]
    partly = detect(part)
    expect(partly in (found, Kind.NEED_MORE), "it changes its mind", partly, found)
    expect(found is not Kind.NEED_MORE or len(data) < ENOUGH, "needs more for ever", data)
    if scan_request(exact(data), Head(), LIMITS) > 0 and data[:1] != b"\r":
        path = data.partition(b" ")[2]
        if path.lower().startswith((b"/", b"*", b"http://", b"https://")) and len(data.partition(b" ")[0]) <= 32:
            expect(found is Kind.HTTP or data.startswith(b"PRI "), "a request that is none", found, data)
