"""What the commands print: tables for people, JSON for programs, one sentence for errors.

Texts come from a configuration and are printed as they are: rich's markup is never applied to them, and control
characters are shown instead of sent to the terminal.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

if TYPE_CHECKING:
    from proxy.config.problems import Problem

# Wider than any table: output that goes to a file or a pipe is neither folded nor cut.
PIPE_WIDTH = 10_000

RIGHT = ">"  # a column name that begins with it is aligned to the right


def console() -> Console:
    found = Console(highlight=False, soft_wrap=False)
    return found if found.is_terminal else Console(highlight=False, width=PIPE_WIDTH)


def table(columns: Sequence[str], rows: Iterable[Sequence[object]]) -> Table:
    made = Table(box=None, pad_edge=False, header_style="bold")
    for column in columns:
        justify = "right" if column.startswith(RIGHT) else "left"
        made.add_column(column.removeprefix(RIGHT), justify=justify, no_wrap=True)  # type: ignore[arg-type]
    for row in rows:
        made.add_row(*(Text(printable(str(cell)), style=STYLES.get(str(cell), "")) for cell in row))
    return made


# Words that mean the same wherever they stand in a table.
STYLES = {
    "healthy": "green",
    "ready": "green",
    "unhealthy": "red",
    "ejected": "red",
    "gone": "red",
    "checking": "yellow",
    "draining": "yellow",
    "starting": "yellow",
}


def print_table(columns: Sequence[str], rows: Iterable[Sequence[object]]) -> None:
    console().print(table(columns, rows))


def print_json(value: Any) -> None:
    print(json.dumps(value, indent=2, ensure_ascii=False))


def compact_json(value: Any) -> str:
    """One line, for a program that reads line by line."""
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"))


def print_error(message: str) -> None:
    print(f"hivemesh: {printable(message)}", file=sys.stderr)


def printable(text: str) -> str:
    return text if text.isprintable() else "".join(c if c.isprintable() else repr(c)[1:-1] for c in text)


def problem_line(problem: dict[str, Any]) -> str:
    """A problem as the API encodes it, as `file:line:col: key: message`."""
    from msgspec import convert

    from proxy.config.problems import Problem

    return printable(str(convert(problem, Problem)))


def print_refused(problems: Sequence[Problem], as_json: bool) -> None:
    """Why a file is no configuration, as `check` says it."""
    if as_json:
        from msgspec import to_builtins

        print_json({"ok": False, "problems": to_builtins(problems)})
        return
    for problem in problems:
        print(printable(str(problem)))


def seconds(value: float | None) -> str:
    """A duration short enough for a column."""
    if value is None:
        return "-"
    if value < 0.001:
        return f"{value * 1e6:.0f}us"
    if value < 1:
        return f"{value * 1e3:.3g}ms"
    return f"{value:.3g}s"


def age(since: float) -> str:
    """How long ago a time was (seconds since the epoch), in its largest unit."""
    passed = max(0.0, time.time() - since)
    for unit, length in (("d", 86_400), ("h", 3600), ("m", 60)):
        if passed >= length:
            return f"{passed / length:.0f}{unit}"
    return f"{passed:.0f}s"


def size(value: float) -> str:
    for unit in ("B", "KiB", "MiB", "GiB"):
        if value < 1024:
            return f"{value:.0f}{unit}" if unit == "B" else f"{value:.1f}{unit}"
        value /= 1024
    return f"{value:.1f}TiB"


def counted(count: int, noun: str) -> str:
    return f"{count} {noun}" if count == 1 else f"{count} {noun}s"
