"""Where bodies end: whatever the pieces they come in, as h11 reads them, and never a byte too far."""

from __future__ import annotations

from dataclasses import dataclass, field
from itertools import pairwise

import h11
import pytest
from heads import buffer_of, tokens, values
from hypothesis import given
from hypothesis import strategies as st

from proxy.http1.body import BodyReader
from proxy.http1.codes import CHUNKED, DATA, DONE, FAILED, LENGTH, NEED, NO_BODY, UNTIL_CLOSE
from proxy.kernel.buffer import Buffer
from proxy.kernel.scan import ERRORS, HeadLimits

TRAILERS = HeadLimits(head=256, start_line=256, fields=10)
EXTENSION = 32


@dataclass
class Reading:
    """What became of a body: `rest` is what the reader left alone."""

    data: bytes = b""
    last: int = NEED
    error: int = 0
    total: int = 0
    trailers: list[tuple[bytes, bytes]] | None = None
    rest: bytes = b""
    said: list[int] = field(default_factory=list)


def read(pieces: list[bytes], framing: int, length: int = 0) -> Reading:
    """Give the pieces to a reader one after the other, as a driver does."""
    reader = BodyReader(TRAILERS, EXTENSION)
    reader.begin(framing, length)
    buffer = Buffer(16)
    result = Reading()
    for piece in pieces:
        buffer.append(piece)
        while result.last not in (DONE, FAILED):
            result.last = reader.next(buffer)
            result.said.append(result.last)
            if result.last == NEED:
                break
            if result.last == DATA:
                assert reader.count > 0
                result.data += buffer.peek(reader.at, reader.count)
                if reader.is_done():
                    result.last = DONE
        assert reader.is_done() == (result.last == DONE)
    result.total = reader.total
    result.error = reader.error
    result.trailers = None if reader.trailers is None else reader.trailers.items()
    result.rest = buffer.take()
    return result


def cut(raw: bytes, cuts: list[int]) -> list[bytes]:
    at = sorted({0, len(raw), *(position % (len(raw) + 1) for position in cuts)})
    return [raw[start:end] for start, end in pairwise(at)] or [b""]


cuts = st.lists(st.integers(0, 10_000), max_size=12)
data_pieces = st.lists(st.binary(min_size=1, max_size=40), max_size=6)
trailer_names = tokens.filter(
    lambda name: name.lower() not in (b"content-length", b"transfer-encoding", b"host", b"connection")
)


@st.composite
def chunked_bodies(draw: st.DrawFn, white_space: bool = True) -> tuple[bytes, bytes, list[tuple[bytes, bytes]]]:
    """A body on the wire, its data, its trailers. `white_space`: RFC 9112 section 7.1.1 has it before extensions."""
    extensions = st.sampled_from([b"", b"", b";a", b";a=b", b";", b' ; a="b c"' if white_space else b""])
    pieces = draw(data_pieces)
    trailers = draw(st.lists(st.tuples(trailer_names, values), max_size=3))
    wire = b""
    for piece in pieces:
        size = b"%x" % len(piece)
        size = draw(st.sampled_from([size, size.upper(), size.rjust(4, b"0")]))
        wire += size + draw(extensions) + b"\r\n" + piece + b"\r\n"
    wire += draw(st.sampled_from([b"0", b"000"])) + draw(extensions) + b"\r\n"
    wire += b"".join(name + b": " + value + b"\r\n" for name, value in trailers) + b"\r\n"
    return wire, b"".join(pieces), trailers


@given(chunked_bodies(), cuts, st.binary(max_size=20))
def test_a_chunked_body_is_the_same_however_it_is_cut(
    body: tuple[bytes, bytes, list[tuple[bytes, bytes]]], positions: list[int], following: bytes
) -> None:
    wire, data, trailers = body
    reading = read(cut(wire + following, positions), CHUNKED)
    assert reading.last == DONE
    assert reading.data == data
    assert reading.total == len(data)
    assert reading.trailers == (trailers or None)
    assert reading.rest == following


@given(chunked_bodies(), st.integers(0, 10_000))
def test_a_chunked_body_is_not_done_before_its_last_byte(
    body: tuple[bytes, bytes, list[tuple[bytes, bytes]]], position: int
) -> None:
    wire, data, _ = body
    reading = read([wire[: position % len(wire)]], CHUNKED)
    assert reading.last in (NEED, DATA)
    assert data.startswith(reading.data)


@given(st.binary(max_size=100), cuts, st.binary(max_size=20))
def test_a_body_with_a_length_ends_there(body: bytes, positions: list[int], following: bytes) -> None:
    reading = read(cut(body + following, positions), LENGTH, len(body))
    assert (reading.last, reading.data, reading.rest) == (DONE, body, following)
    assert reading.total == len(body)


@given(st.binary(max_size=100), cuts)
def test_a_body_until_close_takes_everything_and_has_no_end_of_its_own(body: bytes, positions: list[int]) -> None:
    reading = read(cut(body, positions), UNTIL_CLOSE)
    assert reading.last in (NEED, DATA)
    assert (reading.data, reading.rest, reading.total) == (body, b"", len(body))


@given(st.binary(max_size=20))
def test_no_body_leaves_everything_alone(following: bytes) -> None:
    for framing in (NO_BODY, LENGTH):
        reading = read([following], framing, 0)
        assert (reading.last, reading.data, reading.rest) == (DONE, b"", following)


@given(st.lists(st.binary(min_size=1, max_size=12), min_size=1, max_size=6))
def test_garbage_is_an_error_and_stays_one(pieces: list[bytes]) -> None:
    reader = BodyReader(TRAILERS, EXTENSION)
    reader.begin(CHUNKED, 0)
    buffer = Buffer(16)
    failed = 0
    for piece in pieces:
        buffer.append(piece)
        for _ in range(len(piece) + 2):
            said = reader.next(buffer)
            if failed:
                assert (said, reader.error) == (FAILED, failed)
                break
            if said == FAILED:
                failed = reader.error
                assert failed in ERRORS
                assert not reader.is_done()
            elif said in (NEED, DONE):
                break


@given(chunked_bodies(), st.data())
def test_a_damaged_body_is_read_as_far_as_it_is_good(
    body: tuple[bytes, bytes, list[tuple[bytes, bytes]]], data: st.DataObject
) -> None:
    wire, _, _ = body
    damaged = bytearray(wire)
    damaged[data.draw(st.integers(0, len(wire) - 1))] = data.draw(st.integers(0, 255))
    whole = read([bytes(damaged)], CHUNKED)
    single = read([bytes([byte]) for byte in damaged], CHUNKED)
    assert (whole.last == DONE, whole.last == FAILED) == (single.last == DONE, single.last == FAILED)
    assert (whole.data, whole.trailers) == (single.data, single.trailers)


@given(chunked_bodies(white_space=False), cuts)
def test_h11_reads_the_same(body: tuple[bytes, bytes, list[tuple[bytes, bytes]]], positions: list[int]) -> None:
    wire, _, _ = body
    machine = h11.Connection(h11.SERVER)
    machine.receive_data(b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n")
    assert isinstance(machine.next_event(), h11.Request)
    theirs = b""
    trailers: list[tuple[bytes, bytes]] | None = None
    for piece in cut(wire, positions):
        machine.receive_data(piece)
        while (event := machine.next_event()) is not h11.NEED_DATA:
            if isinstance(event, h11.EndOfMessage):
                trailers = list(event.headers)
                break
            assert isinstance(event, h11.Data)
            theirs += bytes(event.data)
    assert trailers is not None
    ours = read(cut(wire, positions), CHUNKED)
    assert ours.data == theirs
    assert [(name.lower(), value) for name, value in ours.trailers or []] == trailers


FAILING = [
    (b"x\r\n", -23),
    (b"5\r\nhelloX", -23),
    (b"5\r\nhello\nX", -23),
    (b"5\r\nhello\rX", -23),
    (b"5\r\nhello5\r\n", -23),
    (b"5;" + b"x" * EXTENSION + b"\r\n", -24),
    (b"0\r\nX: " + b"x" * 300 + b"\r\n\r\n", -25),
    (b"0\r\nnonsense\r\n\r\n", -8),
    (b"0\r\n" + b"A: 1\r\n" * 11 + b"\r\n", -7),
    (b"0\r\nX\x00: 1\r\n\r\n", -8),
]


@pytest.mark.parametrize(("wire", "error"), FAILING)
def test_what_is_wrong_is_named(wire: bytes, error: int) -> None:
    for pieces in ([wire], [bytes([byte]) for byte in wire]):
        reading = read(pieces, CHUNKED)
        assert (reading.last, reading.error) == (FAILED, error)


def test_data_of_a_chunk_that_is_not_complete_is_given_at_once() -> None:
    reading = read([b"a\r\nhel", b"lo"], CHUNKED)
    assert reading.data == b"hello"
    assert reading.said == [DATA, NEED, DATA, NEED]


def test_consumed_data_stays_in_place_until_the_buffer_is_written_to() -> None:
    reader = BodyReader(TRAILERS, EXTENSION)
    reader.begin(CHUNKED, 0)
    buffer = buffer_of(b"5\r\nhello\r\n3\r\nyou\r\n0\r\n\r\n")
    assert reader.next(buffer) == DATA
    first = (reader.at, reader.count)
    assert reader.next(buffer) == DATA
    assert buffer.peek(*first) == b"hello"
    assert buffer.peek(reader.at, reader.count) == b"you"


def test_a_reader_starts_anew() -> None:
    reader = BodyReader(TRAILERS, EXTENSION)
    reader.begin(CHUNKED, 0)
    assert reader.next(buffer_of(b"0\r\nA: 1\r\n\r\n")) == DONE
    assert reader.trailers is not None
    reader.begin(CHUNKED, 0)
    assert reader.next(buffer_of(b"zz")) == FAILED
    reader.begin(LENGTH, 3)
    assert (reader.trailers, reader.error, reader.total) == (None, 0, 0)
    assert reader.next(buffer_of(b"abcd")) == DATA
    assert reader.is_done() and reader.total == 3


def test_a_body_may_be_larger_than_memory() -> None:
    reader = BodyReader(TRAILERS, EXTENSION)
    reader.begin(LENGTH, 10**15)
    assert reader.next(buffer_of(b"abc")) == DATA
    assert reader.left == 10**15 - 3
    reader.begin(CHUNKED, 0)
    assert reader.next(buffer_of(b"f" * 15 + b"\r\nabc")) == DATA
    assert reader.left == 16**15 - 4
