"""proxy.kernel.scan.scan_response beside h11: what both accept means the same, and nothing else is accepted.

The first byte says where the head is cut, as for request_head.

What we accept and h11 does not: nothing.
"""

from __future__ import annotations

from fuzz.support import as_h11, exact, expect, h11_response
from fuzz.targets.request_head import WORDS as REQUEST_WORDS
from proxy.kernel.scan import ERRORS, Head, HeadLimits, scan_response

LIMITS = HeadLimits(head=1024, start_line=256, fields=12)

SEEDS = (
    b"\0HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok",
    b"\x10HTTP/1.1 404\r\nTransfer-Encoding: chunked\r\nConnection: close\r\n\r\n0\r\n\r\n",
    b"\x30HTTP/1.0 200 \r\nConnection: keep-alive\r\nServer: \xe4\r\n\r\nall that follows",
    b"\x50HTTP/1.1 101 Switching\r\nUpgrade: x\r\nConnection: Upgrade\r\n\r\n",
    b"\x44HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 204 No Content\r\n\r\n",
    b"\x64HTTP/1.1 304 Not Modified\r\nETag: a\r\nContent-Length: 9\r\nTrailer: x\r\nAlt-Svc: y\r\n\r\n",
)
WORDS = (b"HTTP/1.1 ", b"HTTP/1.0 ", b"HTTP/2 ", b" 200 OK\r\n", b" 204", b" 304", b" 101", b" 100", *REQUEST_WORDS)


def check(data: bytes) -> None:
    if not data:
        return
    cut, data = data[0], data[1:]
    head = Head()
    size = scan_response(exact(data), head, LIMITS)
    part = data[: (cut * len(data)) >> 8]
    partly = scan_response(exact(part), Head(), LIMITS)
    expect(size >= 0 or size in ERRORS, "an error without words", size)
    if size == 0:
        expect(partly == 0, "what needs more was more with less", partly, part)
        return
    if size < 0:
        expect(partly <= 0, "what is refused was accepted with less", size, partly, part)
        return
    expect(size <= len(data) and size <= LIMITS.head, "more is taken than there is", size, len(data))
    expect(partly == (size if len(part) >= size else 0), "a good head is judged by how it came", partly, size, part)
    compare(data[:size], head)


def compare(data: bytes, head: Head) -> None:
    other = h11_response(data)
    if isinstance(other, str):
        expect(False, "h11 refuses it", other, data)
        return
    fields = as_h11(head.items())
    expect(head.status == other.status, "another status", head.status, other.status)
    expect(head.minor == min(other.minor, 1), "another version", head.minor, other.minor)
    expect(fields == other.fields, "other fields", fields, other.fields)
    if head.status < 200 or head.status in (204, 304):
        return
    kind, numbers = other.framing
    if head.chunked:
        expect(kind == "chunked", "chunked, but not for h11", other.framing)
    elif head.content_length >= 0:
        expect((kind, numbers) == ("content-length", (head.content_length,)), "another length", other.framing)
    else:
        expect(kind == "http/1.0", "until the end, but not for h11", other.framing)
