"""Chunks and trailers that leave."""

from __future__ import annotations

import h11
import pytest
from heads import buffer_of, scan
from hypothesis import given
from hypothesis import strategies as st

from proxy.kernel.buffer import Buffer
from proxy.kernel.emit import write_chunk, write_fields, write_trailers


@given(st.lists(st.binary(max_size=300), max_size=5))
def test_chunks_are_read_back_by_h11(pieces: list[bytes]) -> None:
    out = Buffer(16)
    for piece in pieces:
        write_chunk(out, buffer_of(piece, before=b"abc"), 3, len(piece))
    write_trailers(out, None, None)
    machine = h11.Connection(h11.SERVER)
    machine.receive_data(b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n" + out.take())
    assert isinstance(machine.next_event(), h11.Request)
    body = b""
    while isinstance(event := machine.next_event(), h11.Data):
        body += bytes(event.data)
    assert isinstance(event, h11.EndOfMessage)
    assert body == b"".join(pieces)


def test_a_chunk_outside_the_buffer_is_refused() -> None:
    with pytest.raises(IndexError):
        write_chunk(Buffer(), buffer_of(b"abc"), 1, 3)


def test_trailers_that_would_mislead_are_left_out() -> None:
    lines = [
        b"X-Sum: 1", b"Digest: y", b"Content-Length: 5", b"Host: evil", b"Connection: X-Named", b"X-Named: 1", b"TE: x",
        b"Authorization: z", b"Set-Cookie: a=1", b"Content-Encoding: gzip", b"Content-Type: a/b", b"Trailer: x",
        b"X-Forwarded-For: 1.1.1.1", b"X_Real_Ip: 1.1.1.1", b"X-Request-Id: 9", b"traceparent: t", b"tracestate: s",
        b"Upgrade: x", b"Expect: 100-continue", b"Cache-Control: x", b"Via: 1.1 x", b"Keep-Alive: 1", b"x-envoy-a: 1",
    ]  # fmt: skip
    size, head = scan("trailers", b"\r\n".join(lines) + b"\r\n\r\n")
    assert size > 0
    out = Buffer()
    write_trailers(out, head, None)
    assert out.take() == b"0\r\nX-Sum: 1\r\nDigest: y\r\n\r\n"


def test_fields_are_written_as_lines() -> None:
    out = Buffer(16)
    write_fields(out, [(b"A", b"1"), (b"B", b"")])
    assert out.take() == b"A: 1\r\nB: \r\n"
