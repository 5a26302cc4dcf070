"""A buffer holds what was put into it, in order, whatever the sizes."""

from __future__ import annotations

import json
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.kernel.buffer import Buffer
from proxy.kernel.emit import write_chunk

steps = st.lists(st.one_of(st.binary(max_size=100), st.integers(0, 120)), max_size=30)


@given(st.integers(0, 64), steps)
def test_bytes_come_out_as_they_went_in(size: int, script: list[bytes | int]) -> None:
    buffer = Buffer(size)
    model = b""
    for step in script:
        if isinstance(step, bytes):
            buffer.append(step)
            model += step
        else:
            count = min(step, len(model))
            buffer.consume(count)
            model = model[count:]
        assert len(buffer) == buffer.length() == len(model)
        assert buffer.peek(buffer.start, len(model)) == model
        assert 0 <= buffer.start <= buffer.end <= buffer.size
    assert buffer.take() == model
    assert len(buffer) == 0


@given(st.binary(max_size=60), st.binary(min_size=1, max_size=3), st.integers(0, 20), st.integers(0, 70))
def test_finding(data: bytes, needle: bytes, consumed: int, start: int) -> None:
    buffer = Buffer()
    buffer.append(data)
    buffer.consume(min(consumed, len(data)))
    # What has been consumed is not found again.
    assert buffer.find(needle, start) == data.find(needle, max(start, buffer.start))


@given(st.integers(-(2**63) + 1, 2**63 - 1))
def test_decimal_numbers(value: int) -> None:
    buffer = Buffer()
    buffer.append_decimal(value)
    assert buffer.take() == b"%d" % value


@given(st.integers(0, 2**63 - 1))
def test_hexadecimal_numbers(value: int) -> None:
    buffer = Buffer()
    buffer.append_hex(value)
    assert buffer.take() == b"%x" % value


@given(st.integers(-10, 10**12))
def test_milliseconds(micros: int) -> None:
    buffer = Buffer()
    buffer.append_millis(micros)
    text = buffer.take().decode()
    assert float(text) == max(micros, 0) / 1000
    assert len(text.partition(".")[2]) == 3


@given(st.integers(0, 10**20 // 200), st.integers(1, 18))
def test_numbers_of_fixed_width(value: int, digits: int) -> None:
    buffer = Buffer()
    buffer.append_padded(value, digits)
    assert buffer.take() == str(value % 10**digits).zfill(digits).encode()


@pytest.mark.parametrize(("value", "digits"), [(-1, 3), (1, 0), (1, 19)])
def test_a_width_that_does_not_fit_is_refused(value: int, digits: int) -> None:
    with pytest.raises(ValueError, match="cannot write"):
        Buffer().append_padded(value, digits)


@given(st.binary(max_size=200))
def test_any_bytes_are_the_inside_of_a_json_string(data: bytes) -> None:
    buffer = Buffer(16)
    buffer.append_json(data)
    written = buffer.take()
    assert json.loads(b'"' + written + b'"') == data.decode("latin-1")
    assert all(0x20 <= byte < 0x7F for byte in written)


@given(st.binary(max_size=60), st.integers(-2, 70), st.integers(-2, 70))
def test_ranges_outside_the_live_bytes_are_refused(data: bytes, start: int, count: int) -> None:
    source, target = Buffer(), Buffer()
    source.append(data)
    if start >= 0 and count >= 0 and start + count <= len(data):
        target.append_range(source, start, count)
        assert target.take() == data[start : start + count] == source.peek(start, count)
        return
    with pytest.raises(IndexError):
        target.append_range(source, start, count)
    with pytest.raises(IndexError):
        source.peek(start, count)
    assert len(target) == 0


@pytest.mark.parametrize("count", [-1, 4])
def test_more_than_there_is_cannot_be_consumed(count: int) -> None:
    buffer = Buffer()
    buffer.append(b"abc")
    with pytest.raises(IndexError):
        buffer.consume(count)
    assert buffer.take() == b"abc"


def test_room_that_was_consumed_is_used_again() -> None:
    buffer = Buffer(1024)
    for _ in range(1000):
        buffer.append(b"x" * 600)
        buffer.consume(600)
    assert buffer.size == 1024


@pytest.mark.parametrize("start", [1, 3])
def test_a_range_whose_end_no_integer_holds_is_outside(start: int) -> None:
    """start + count would be negative, and so no larger than the end."""
    source, out = Buffer(), Buffer()
    source.append(b"abc")
    for refused in (
        lambda: source.peek(start, sys.maxsize),
        lambda: out.append_range(source, start, sys.maxsize),
        lambda: write_chunk(out, source, start, sys.maxsize),
    ):
        with pytest.raises(IndexError, match="outside the buffer"):
            refused()
    assert out.take() == b""


def test_none_is_no_bytes() -> None:
    buffer = Buffer()
    buffer.append(b"abc")
    for refused in (buffer.append, buffer.append_json, lambda none: buffer.find(none, 0)):
        with pytest.raises(TypeError, match="expected bytes, got NoneType"):
            refused(None)
    assert buffer.take() == b"abc"
