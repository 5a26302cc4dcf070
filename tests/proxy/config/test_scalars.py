"""Durations, sizes and whole numbers."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.config.scalars import format_duration, format_size, parse_duration, parse_integer, parse_size


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("5s", 5),
        ("250ms", 0.25),
        ("1m30s", 90),
        ("2h", 7200),
        ("0", 0),
        ("0s", 0),
        ("1h1m1s1ms", 3661.001),
        ("1s1s", 2),
    ],
)
def test_durations(text: str, seconds: float) -> None:
    assert parse_duration(text) == seconds


@pytest.mark.parametrize("text", ["", "5", "s", "-5s", "5 s", "1.5h", "5S", "100000s", "1s1s1s1s1s", "5s\n", "٣s"])
def test_what_is_no_duration(text: str) -> None:
    with pytest.raises(ValueError, match="is not a duration, expected one such as 5s, 250ms or 1m30s"):
        parse_duration(text)


@pytest.mark.parametrize(("text", "hint"), [("5", r"5s or 5ms"), ("0.5s", r"write 500ms"), ("1.25s", "write 1s250ms")])
def test_what_was_probably_meant(text: str, hint: str) -> None:
    with pytest.raises(ValueError, match=hint):
        parse_duration(text)


@given(st.integers(0, 99_999 * 3_600_000))
def test_a_formatted_duration_reads_back(milliseconds: int) -> None:
    assert round(parse_duration(format_duration(milliseconds / 1000)) * 1000) == milliseconds


@pytest.mark.parametrize(
    ("text", "size"),
    [("0", 0), ("1024", 1024), ("64KiB", 65536), ("10MB", 10_000_000), ("1 GiB", 1 << 30), ("5kB", 5000), ("7B", 7)],
)
def test_sizes(text: str, size: int) -> None:
    assert parse_size(text) == size


@pytest.mark.parametrize("text", ["", "-1", "1.5MB", "64K", "64kib", "KiB", "1e3", "0x10", "٣MB"])
def test_what_is_no_size(text: str) -> None:
    with pytest.raises(ValueError, match="is not a size, expected bytes or a number with a unit"):
        parse_size(text)


def test_a_lone_letter_is_asked_about() -> None:
    with pytest.raises(ValueError, match="write 64KiB or 64KB"):
        parse_size("64k")


@given(st.integers(0, 1 << 50))
def test_a_formatted_size_reads_back(size: int) -> None:
    assert parse_size(str(format_size(size))) == size


@pytest.mark.parametrize("text", ["", "+1", "01", "1_0", "0x1", "1.0", "1" * 30, "٣"])
def test_what_is_no_whole_number(text: str) -> None:
    with pytest.raises(ValueError, match="is not a whole number"):
        parse_integer(text)


@given(st.text())
def test_any_text_is_read_or_refused(text: str) -> None:
    for parse in (parse_duration, parse_size, parse_integer):
        try:
            parse(text)
        except ValueError as error:
            assert "\n" not in str(error)
