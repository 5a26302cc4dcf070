"""`hivemesh tap` shows requests as they end, `hivemesh capture` writes them down.

Both read GET /v1/tap. What a line looks like is the pure `line_of`; the format of a capture is mesh/capture.py's.
"""

from __future__ import annotations

import os
import signal
import stat
import sys
import time
from contextlib import closing

import click
import msgspec
from rich.text import Text

from mesh.capture import CaptureEnd
from mesh.record import Record
from proxy.cli import output
from proxy.cli.client import Stream, Unreachable
from proxy.cli.context import Options, common_options
from proxy.cli.layout import BAD, DIM, GOOD, STRONG, WARN, Marks, joined, marks_for, text
from proxy.cli.past import PART_STYLES
from proxy.cli.timeline import cells_of, milliseconds, parts_of
from proxy.config.scalars import parse_duration

BAR = 16  # cells of a timeline
TIME = slice(11, 23)  # of a time as RFC 3339: hours to milliseconds
LOST = b'{"lost":'
TELL_LOST = 1.0  # seconds between two lines about what is missing
# A capture wants all there is; a worker that has more loses the rest.
CAPTURE_RATE = 100_000
FOR_OWNER = 0o600  # who may read a capture: it has what others hide

_RECORD = msgspec.json.Decoder(Record)


class Losses:
    """Requests that are missing from a stream, told on stderr now and then, and at the end."""

    def __init__(self) -> None:
        self.count = 0
        self._told = 0
        self._next = 0.0

    def take(self, line: bytes) -> bool:
        """Whether the line is about what is missing."""
        if not line.startswith(LOST):
            return False
        self.count += int(line[len(LOST) : -1])
        return True

    def tell(self, at_once: bool = False) -> None:
        missing = self.count - self._told
        if missing and (at_once or time.monotonic() >= self._next):
            self._told = self.count
            self._next = time.monotonic() + TELL_LOST
            output.print_error(f"{output.counted(missing, 'request')} more than could be shown")


@click.command()
@click.argument("expression", metavar="[EXPR]", default="")
@click.option("--header", "headers", metavar="NAME", multiple=True, help="Show this header; * for all. Repeatable.")
@click.option("--show-secrets", is_flag=True, help="Hide nothing: credentials, cookies, values of queries.")
@click.option("--count", type=click.IntRange(min=1), help="Stop after so many requests.")
@click.option("--rate", type=click.IntRange(min=1), help="So many per second and worker at most; default 1000.")
@common_options
def tap(
    options: Options,
    expression: str,
    headers: tuple[str, ...],
    show_secrets: bool,
    count: int | None,
    rate: int | None,
) -> None:
    """Show requests as they end: those that EXPR says, or all.

    For example: hivemesh tap 'route == "api" && status >= 500 && t_upstream > 1s'
    """
    query = [("filter", expression), *(("header", name) for name in headers)]
    query += [("open", "true")] if show_secrets else []
    query += [("count", str(count))] if count else []
    query += [("rate", str(rate))] if rate else []
    losses = Losses()
    with closing(options.client.stream("tap", query=query)) as stream:
        try:
            shown = _show(stream, losses, options.as_json)
        except KeyboardInterrupt:
            losses.tell(at_once=True)
            return
    losses.tell(at_once=True)
    if count is None or shown < count:
        raise Unreachable("the agent has ended the tap: it stops, or another takes its place")


def _show(stream: Stream, losses: Losses, as_json: bool) -> int:
    """How many requests there were."""
    shown = 0
    screen = output.console()
    marks = marks_for(screen.encoding)
    for line in stream.lines():
        if losses.take(line):
            losses.tell()
            if not as_json or line == LOST + b"0}":
                continue
        else:
            shown += 1
        if as_json:
            print(line.decode(), flush=True)
        else:
            screen.print(line_of(_RECORD.decode(line), marks), soft_wrap=True)
    return shown


def line_of(record: Record, marks: Marks) -> Text:
    """A request in one line; the headers that came along are below it."""
    good = GOOD if 0 < record.status < 400 else WARN if 400 <= record.status < 500 else BAD
    place = joined([text(record.route or "no route"), text(record.endpoint)], f" {marks.arrow} ")
    line = joined(
        [
            text(record.ts[TIME], DIM),
            text(f"{record.status:3}", good),
            text(record.method, STRONG),
            text(record.host + record.path),
            place,
            text(record.flags, BAD),
            text(f"tried {', '.join(record.tried)}" if record.tried else "", WARN),
            _timeline(record, marks),
        ],
        "  ",
    )
    for name, value in record.headers:
        line += joined([Text("\n    ") + text(f"{name}:", DIM), text(value)])
    return line


def _timeline(record: Record, marks: Marks) -> Text:
    """How long it took: the whole, a bar of its phases to scale, and each of them."""
    parts = parts_of(record)
    fills = marks.fills
    bar = Text()
    for number, count in enumerate(cells_of([part.took for part in parts], BAR)):
        bar += Text(fills[number % len(fills)] * count, style=PART_STYLES[number])
    took = [
        joined([Text(fills[number % len(fills)], style=PART_STYLES[number]), text(f"{part.name} {part.took:.3g}", DIM)])
        for number, part in enumerate(parts)
        if part.took > 0
    ]
    return joined([text(milliseconds(record.duration_ms), STRONG), bar, *took])


@click.command()
@click.argument("expression", metavar="[EXPR]", default="")
@click.option("-o", "--output", "path", metavar="FILE", required=True, type=click.Path(dir_okay=False, writable=True))
@click.option("--for", "duration", metavar="DURATION", default="60s", show_default=True, help="How long, such as 5m.")
@click.option("--header", "headers", metavar="NAME", multiple=True, help="This header as well; * for all. Repeatable.")
@common_options
def capture(options: Options, expression: str, path: str, duration: str, headers: tuple[str, ...]) -> None:
    """Write requests to FILE as they end: those that EXPR says, or all.

    They have the headers that rules of the configuration look at, unredacted, so that `hivemesh simulate` can decide
    them again; only the owner may read FILE.
    """
    try:
        seconds = parse_duration(duration)
    except ValueError as error:
        raise click.BadParameter(str(error), param_hint="--for") from None
    query = [("filter", expression), ("capture", "true"), ("rate", str(CAPTURE_RATE))]
    query += [("header", name) for name in headers]
    losses = Losses()
    with closing(options.client.stream("tap", query=query)) as stream:
        count = _write(stream, losses, path, time.monotonic() + seconds)
    missing = f", {losses.count} are missing" if losses.count else ""
    print(f"{output.counted(count, 'request')} in {path}{missing}", file=sys.stderr)
    if stream.has_ended:
        raise Unreachable("the agent has ended the capture: it stops, or another takes its place")


def _write(stream: Stream, losses: Losses, path: str, until: float) -> int:
    """How many records were written."""
    descriptor = _for_owner(path)
    count = -1  # the first line is the start
    before = signal.signal(signal.SIGTERM, signal.default_int_handler)  # scripts end it so: theirs ignore Ctrl-C
    with open(descriptor, "wb") as file:
        try:
            for line in stream.lines(until):
                if losses.take(line):
                    if line == LOST + b"0}":
                        continue
                else:
                    count += 1
                file.write(line + b"\n")
                if count == 0:
                    file.flush()  # who waits for the capture to begin sees that it has
        except KeyboardInterrupt:
            pass  # that is how one ends it early
        finally:
            signal.signal(signal.SIGTERM, before)
        ended = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
        file.write(msgspec.json.encode(CaptureEnd(ended=ended, count=count, lost=losses.count)) + b"\n")
    return count


def _for_owner(path: str) -> int:
    """A new file, or what was there before emptied, that nobody else may read. What is no file stays as it is."""
    try:
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, FOR_OWNER)
    except OSError as error:
        raise click.FileError(path, error.strerror or str(error)) from None
    if stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.fchmod(descriptor, FOR_OWNER)
    return descriptor


COMMANDS = (tap, capture)
