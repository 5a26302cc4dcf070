"""docs/guide/tap.md says what the filter language has, what is hidden, and what the bounds are."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from mesh import capture, expression, redaction
from mesh.capture import read_capture
from mesh.expression import FIELDS, ExpressionError, Kind
from proxy import taps
from proxy.admin import tap as admin
from proxy.cli import tap as cli
from proxy.cli.layout import Marks
from proxy.control import taps as control
from proxy.control import worker
from proxy.control.messages import MOST_PER_SECOND

GUIDE = (Path(__file__).parents[3] / "docs/guide/tap.md").read_text()
PLAIN = " ".join(GUIDE.split())
BLOCKS = re.findall(r"^```\n(.*?)^```$", GUIDE, re.MULTILINE | re.DOTALL)
KINDS = {
    "text": {Kind.TEXT},
    "texts": {Kind.TEXTS},
    "number": {Kind.NUMBER},
    "size": {Kind.SIZE},
    "time": {Kind.TIME},
    "time or number of milliseconds": {Kind.MILLIS},
    "true or false": {Kind.BOOL},
}


def test_every_field_is_told_with_its_kind() -> None:
    told = {}
    for names, kind in re.findall(r"^\| ((?:`[\w.]+` ?)+)\| ([a-z ]+)(?::.*)?\|$", GUIDE, re.MULTILINE):
        for name in re.findall(r"`([\w.]+)`", names):
            if kind.strip() in KINDS:
                told[name] = KINDS[kind.strip()]
    assert told.pop("header.NAME") == {Kind.TEXTS}
    assert told == {name: {field.kind} for name, field in FIELDS.items()}


def test_every_operator_is_told() -> None:
    assert all(f"`{sign}`" in GUIDE for sign in (*expression.COMPARISONS, expression.MATCHES, "in"))


@pytest.mark.parametrize("text", re.findall(r"hivemesh tap '(.*)'$", GUIDE, re.MULTILINE))
def test_its_filters_are_what_it_says(text: str) -> None:
    told = GUIDE.partition(text)[2].splitlines()[1]
    try:
        expression.compile(text)
    except ExpressionError as error:
        assert told == f"hivemesh: filter: {error}"
    else:
        assert "hivemesh: " not in told


def test_its_line_is_what_is_printed() -> None:
    from mesh.record import Record

    record = Record(
        ts="2026-03-01T10:00:00.123Z",
        duration_ms=1600.0,
        t_total=1600.0,
        method="GET",
        host="shop.local",
        path="/api?id=(redacted)",
        status=504,
        flags="UT",
        route="api",
        endpoint="10.0.0.1:80",
        t_recv=1.0,
        t_queue=99.0,
        t_connect=500.0,
    )
    assert cli.line_of(record, Marks()).plain in BLOCKS[0]


def test_its_capture_can_be_read() -> None:
    (example,) = (block for block in BLOCKS if block.startswith('{"capture"'))
    found = read_capture(example.encode().splitlines(keepends=True))
    assert len(list(found)) == 1
    assert (found.is_whole, found.lost) == (True, 12)


def test_what_is_hidden_and_what_is_always_captured_is_told() -> None:
    assert all(f"`{name}`" in GUIDE for name in (*redaction.SECRET_PARTS, *capture.ALWAYS))


@pytest.mark.parametrize(
    "words",
    [
        f"| taps at a time | {control.MOST_TAPS};",
        f"| {MOST_PER_SECOND} per second and worker, or `rate`;",
        f"{expression.MAX_TEXT} characters, {expression.MAX_TERMS} comparisons, {expression.MAX_DEPTH} of `!` and `(`",
        f"{expression.MAX_PATTERNS} regular expressions",
        f"batches of {taps.MOST_RECORDS} requests or {taps.MOST_BYTES // 1024} KiB",
        f"at least every {taps.PERIOD * 1000:.0f} ms",
        f"more than {worker._TAP_BACKLOG // 1024} KiB wait for the agent",
        f"| waiting for a reader | {admin.MAX_BEHIND >> 20} MiB;",
        f"is let go after {admin.WRITE_TIMEOUT:.0f} s",
        f"up to {cli.CAPTURE_RATE:,} requests per second",
    ],
)
def test_its_bounds_are_those_there_are(words: str) -> None:
    assert words in PLAIN


def test_the_options_of_the_commands_are_told() -> None:
    for command in cli.COMMANDS:
        for parameter in command.params:
            name = next(
                (each for each in parameter.opts if each.startswith("--") or len(parameter.opts) == 1),
                parameter.opts[0],
            )
            if name not in ("--admin", "--token", "expression", "--output"):
                assert f"`{name}" in GUIDE, name
