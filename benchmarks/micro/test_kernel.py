"""What the byte work of one request costs: scanning heads, writing them anew, taking bodies apart.

    pytest benchmarks/micro/test_kernel.py --benchmark-columns=min,median --benchmark-sort=name

Each round does its work 64 times, so divide by 64. The requests are what a browser or a library sends: ten fields,
about 500 bytes. All features of the path together have a budget of about 2 microseconds a request.
"""

from __future__ import annotations

from collections.abc import Callable

import pytest

from proxy.http1.body import BodyReader
from proxy.http1.codes import CHUNKED, DATA, LENGTH
from proxy.kernel.buffer import Buffer
from proxy.kernel.emit import (
    FRAMING_AS_RECEIVED,
    FieldEdits,
    ForwardAs,
    continue_trace,
    write_request_head,
    write_response_head,
)
from proxy.kernel.entropy import new_request_id
from proxy.kernel.scan import Head, HeadLimits, scan_request, scan_response

TIMES = 64

REQUEST = (
    b"GET /api/v2/items/42?page=3&sort=name HTTP/1.1\r\n"
    b"Host: shop.example.org\r\n"
    b"User-Agent: Mozilla/5.0 (X11; Linux x86_64; rv:128.0) Gecko/20100101 Firefox/128.0\r\n"
    b"Accept: text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8\r\n"
    b"Accept-Language: en-US,en;q=0.5\r\n"
    b"Accept-Encoding: gzip, deflate, br\r\n"
    b"Referer: https://shop.example.org/api/v2/items\r\n"
    b"Cookie: session=0123456789abcdef0123456789abcdef; theme=dark\r\n"
    b"X-Tenant: t1\r\n"
    b"Cache-Control: no-cache\r\n"
    b"Connection: keep-alive\r\n\r\n"
)
RESPONSE = (
    b"HTTP/1.1 200 OK\r\n"
    b"Server: nginx/1.22.1\r\n"
    b"Date: Mon, 01 Jan 2024 00:00:00 GMT\r\n"
    b"Content-Type: application/json\r\n"
    b"Content-Length: 71\r\n"
    b"Connection: keep-alive\r\n"
    b"Cache-Control: no-store\r\n\r\n"
)
LIMITS = HeadLimits()


def buffer_of(data: bytes) -> Buffer:
    buffer = Buffer(len(data))
    buffer.append(data)
    return buffer


def scanned(data: bytes) -> Head:
    head = Head()
    scan = scan_request if data is REQUEST else scan_response
    assert scan(buffer_of(data), head, LIMITS) == len(data)
    return head


@pytest.mark.parametrize(("scan", "data"), [(scan_request, REQUEST), (scan_response, RESPONSE)])
def test_scan_a_head(benchmark, scan: Callable[[Buffer, Head, HeadLimits], int], data: bytes) -> None:
    buffer, head = buffer_of(data), Head()

    def round_of_heads() -> None:
        for _ in range(TIMES):
            scan(buffer, head, LIMITS)

    benchmark(round_of_heads)


@pytest.mark.parametrize(
    "edits", [None, FieldEdits([b"cookie", b"x-tenant"], b"X-Tenant: t2\r\n")], ids=["plain", "edited"]
)
def test_write_a_request_head(benchmark, edits: FieldEdits | None) -> None:
    head, out, forward = scanned(REQUEST), Buffer(4096), ForwardAs()
    forward.peer = b"192.0.2.1"
    forward.port = b"8080"
    forward.request_id = new_request_id()
    forward.traceparent = continue_trace(None)
    forward.via = b"1.1 hive"

    def round_of_heads() -> None:
        for _ in range(TIMES):
            out.clear()
            write_request_head(out, head, None, None, forward, edits, False)

    benchmark(round_of_heads)


def test_write_a_response_head(benchmark) -> None:
    head, out = scanned(RESPONSE), Buffer(4096)

    def round_of_heads() -> None:
        for _ in range(TIMES):
            out.clear()
            write_response_head(out, head, None, FRAMING_AS_RECEIVED, None, False)

    benchmark(round_of_heads)


def test_a_request_id_and_a_trace(benchmark) -> None:
    def round_of_ids() -> None:
        for _ in range(TIMES):
            new_request_id()
            continue_trace(None)

    benchmark(round_of_ids)


# One megabyte in a round: from a body with a length, and from chunks as origins send them.
MEGABYTE = 1024 * 1024


@pytest.mark.parametrize("chunk", [0, 256, 4096, 65_000], ids=lambda size: f"chunks of {size}" if size else "length")
def test_read_a_megabyte_of_body(benchmark, chunk: int) -> None:
    """In pieces of 64 KiB, as they are received."""
    body = b"x" * MEGABYTE
    wire = body
    if chunk:
        pieces = (body[at : at + chunk] for at in range(0, MEGABYTE, chunk))
        wire = b"".join(b"%x\r\n%s\r\n" % (len(piece), piece) for piece in pieces) + b"0\r\n\r\n"
    received = [wire[at : at + 65_536] for at in range(0, len(wire), 65_536)]
    reader = BodyReader(LIMITS, 256)

    def whole_body() -> None:
        reader.begin(CHUNKED if chunk else LENGTH, MEGABYTE)
        buffer = Buffer(131_072)
        for piece in received:
            buffer.append(piece)
            while reader.next(buffer) == DATA:
                pass
        assert reader.is_done()

    benchmark(whole_body)
