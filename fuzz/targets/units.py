"""proxy.config.scalars: numbers, durations and sizes; what is read and written is read as the same again."""

from __future__ import annotations

import math

from fuzz.support import expect
from proxy.config.scalars import format_duration, format_size, parse_duration, parse_integer, parse_size

SEEDS = (b"10", b"1h30m", b"1.5s", b"200ms", b"60KiB", b"1.5MB", b"-1", b"0", b"5m0s", b"1_000", b"99999h59m59s999ms")
WORDS = (
    b"h",
    b"m",
    b"s",
    b"ms",
    b"us",
    b"KiB",
    b"MB",
    b"GiB",
    b"TB",
    b".",
    b"-",
    b"+",
    b"e9",
    b"0x",
    b"_",
    b"inf",
    b"nan",
    b"\xd9\xa3",
)


def check(data: bytes) -> None:
    text = data.decode("utf-8", "replace")
    for parse in (parse_integer, parse_duration, parse_size):
        try:
            value = parse(text)
        except ValueError as error:
            expect(str(error), "no words", parse)
            continue
        expect(math.isfinite(value), "no number", text, value)
        expect(value >= 0 or parse is parse_integer, "less than nothing", text, value)
        if parse is parse_duration and value < 1e6:
            again = parse_duration(format_duration(value))
            expect(abs(again - value) < 1e-3, "another duration", text, value, format_duration(value))
        elif parse is parse_size:
            expect(parse_size(str(format_size(int(value)))) == value, "another size", text, value)
