"""proxy.kernel.scan.scan_request beside h11: what both accept means the same, and nothing else is accepted.

The first byte says where the head is cut: a part of a head that is good needs more, and is never refused.

What we accept and h11 does not:
 - empty lines before the request line (RFC 9112 section 2.2)
What h11 accepts and we do not is no matter here: refusing is safe.
"""

from __future__ import annotations

from fuzz.support import as_h11, exact, expect, h11_request
from proxy.kernel.scan import ERRORS, Head, HeadLimits, scan_request

LIMITS = HeadLimits(head=1024, start_line=256, fields=12)
BLANK_PREFIX = 8

SEEDS = (
    b"\0GET / HTTP/1.1\r\nHost: a\r\n\r\n",
    b"\5POST /a?b=c HTTP/1.1\r\nHost: a.test:80\r\nContent-Length: 5\r\nConnection: close, x\r\nX: y\r\n\r\nhello",
    b"\x20PUT http://[::1]/ HTTP/1.1\r\nhost: [::1]\r\nTransfer-Encoding: chunked\r\nTE: trailers\r\n\r\n0\r\n\r\n",
    b"\x01GET /chat HTTP/1.1\r\nHost: a\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nExpect: 100-continue\r\n\r\n",
    b"\x09\r\n\r\nOPTIONS * HTTP/1.0\r\nX-Forwarded-For: 1.2.3.4\r\nVia: 1.1 x\r\nX_Request_Id: 1\r\n\r\n",
    b"\x30CONNECT a:443 HTTP/1.1\r\nHost: a:443\r\nConnection: keep-alive\r\ntraceparent: 00-x\r\n\r\n",
    b"\x11GET / HTTP/1.1\r\nHost:a\r\nContent-Length: 1\r\nTransfer-Encoding: gzip, chunked\r\n\r\n",
)
WORDS = (
    b"GET ",
    b"HEAD ",
    b"POST ",
    b" HTTP/1.1\r\n",
    b" HTTP/1.0\r\n",
    b"\r\n\r\n",
    b"\r\n ",
    b"\r\n\t",
    b"Host: ",
    b"\r\nHost: a",
    b"Content-Length: ",
    b"\r\nContent-Length: 0",
    b"Transfer-Encoding: ",
    b"chunked",
    b", chunked",
    b"identity",
    b"Connection: ",
    b"close",
    b"keep-alive",
    b"upgrade",
    b"Upgrade: ",
    b"Expect: 100-continue",
    b"TE: trailers",
    b"Trailer: ",
    b"content_length",
    b"transfer_encoding",
    b"X-Forwarded-",
    b"X-Request-Id: ",
    b"x-envoy-",
    b"l5d-",
    b"http://",
    b"[::1]",
    b"%00",
    b"+1",
    b"0x1",
    b"18446744073709551617",
    b"\x0b",
    b"\x0c",
    b"\x7f",
    b"\xa0",
)


def check(data: bytes) -> None:
    if not data:
        return
    cut, data = data[0], data[1:]
    head = Head()
    size = scan_request(exact(data), head, LIMITS)
    part = data[: (cut * len(data)) >> 8]
    before = Head()
    partly = scan_request(exact(part), before, LIMITS)
    expect(size >= 0 or size in ERRORS, "an error without words", size)
    if size == 0:
        expect(partly == 0, "what needs more was more with less", partly, part)
        return
    if size < 0:
        expect(partly <= 0, "what is refused was accepted with less", size, partly, part)
        return
    expect(size <= len(data) and size <= LIMITS.head + BLANK_PREFIX, "more is taken than there is", size, len(data))
    expect(partly == (size if len(part) >= size else 0), "a good head is judged by how it came", partly, size, part)
    compare(data[:size], head)


def compare(data: bytes, head: Head) -> None:
    """`data`: a head that was accepted as `head`."""
    data = data[skipped(data) :]
    other = h11_request(data)
    if isinstance(other, str):
        expect(False, "h11 refuses it", other, data)
        return
    fields = as_h11(head.items())
    expect(head.method() == other.method, "another method", head.method(), other.method)
    expect(head.target() == other.target, "another target", head.target(), other.target)
    expect(head.path() + (b"?" + head.query() if b"?" in other.target else b"") == other.target, "another path", data)
    expect(head.minor == min(other.minor, 1), "another version", head.minor, other.minor)
    expect(fields == other.fields, "other fields", fields, other.fields)
    expect(other.rest == b"", "h11 takes less", other.rest)
    check_framing(head, other.framing)
    hosts = [value for name, value in fields if name == b"host"]
    expect(len(hosts) == 1 or (not hosts and head.minor == 0), "not one host", hosts)
    expect(head.raw_host() == (hosts[0] if hosts else b""), "another host", hosts)
    options = [
        word.strip(b" \t").lower() for name, value in fields if name == b"connection" for word in value.split(b",")
    ]
    words = [word for option in options for word in option.replace(b"\t", b" ").split(b" ")]
    expect(head.wants_close == (b"close" in words), "another wish to close", options)
    expect(head.upgrade == (b"upgrade" in words), "another wish to upgrade", options)


def check_framing(head: Head, framing: tuple[str, tuple[int, ...] | tuple[()]]) -> None:
    kind, numbers = framing
    if head.chunked:
        expect(kind == "chunked", "chunked, but not for h11", framing)
    elif head.content_length >= 0:
        expect(framing == ("content-length", (head.content_length,)), "another length", head.content_length, framing)
    else:
        expect(framing == ("content-length", (0,)), "no body, but not for h11", framing, numbers)


def skipped(data: bytes) -> int:
    """Bytes of empty lines at the start."""
    count = 0
    while data.startswith(b"\r\n", count) and count < BLANK_PREFIX:
        count += 2
    return count
