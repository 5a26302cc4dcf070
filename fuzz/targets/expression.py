"""mesh.expression: any text is a filter or an ExpressionError with its column; a filter answers true or false."""

from __future__ import annotations

import msgspec

from fuzz.support import expect
from mesh.expression import MAX_TEXT, ExpressionError, compile
from mesh.record import Record

RECORDS = (
    msgspec.convert({"route": "api", "status": 503, "method": "GET", "path": "/a"}, Record, strict=False),
    msgspec.convert({}, Record, strict=False),
)

SEEDS = (
    b'route == "api" && status >= 500',
    b"!(status in [200, 404]) || t_upstream > 1.5s",
    b'path =~ "/a.*"',
    b"header.x-a != 'b' && bytes_out < 10KiB",
    b'((status)) && !method == "GET"',
    b"duration_ms > 200ms",
    b"",
)
WORDS = (
    b"&&",
    b"||",
    b"!",
    b"(",
    b")",
    b"==",
    b"!=",
    b"<=",
    b">=",
    b"=~",
    b" in [",
    b"]",
    b"route",
    b"status",
    b"path",
    b"header.",
    b"true",
    b"false",
    b"1.5s",
    b"200ms",
    b"3us",
    b"10KiB",
    b'"',
    b"'",
    b"tried",
    b"flags",
    b"t_total",
    b"(?P<",
    b"*",
    b"{9999}",
)


def check(data: bytes) -> None:
    text = data.decode("utf-8", "replace")
    try:
        expression = compile(text)
    except ExpressionError as error:
        expect(str(error), "no words")
        return
    expect(len(text) <= MAX_TEXT, "longer than it may be", len(text))
    for record in RECORDS:
        expect(expression.matches(record) in (True, False), "neither true nor false", text)
