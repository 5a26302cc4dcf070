"""How an event looks on standard error, the same from every process.

JSON, one line each, when a program reads it: `{"ts": …, "level": …, "event": …, fields …}`. On a terminal: the time of
day, the event, and the fields as key=value. Standard library only, because the supervisor writes events too; the
agent renders its structlog events with the same two functions.
"""

from __future__ import annotations

import contextlib
import json
import sys
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any, TextIO

_COLOURS = {"error": "\033[31m", "warning": "\033[33m", "info": "\033[32m"}
_RESET = "\033[0m"


def as_json(event: str, level: str, fields: Mapping[str, Any]) -> str:
    head = {"ts": _now().isoformat(timespec="milliseconds").replace("+00:00", "Z"), "level": level, "event": event}
    return json.dumps({**head, **fields}, default=str, ensure_ascii=False)


def as_text(event: str, level: str, fields: Mapping[str, Any]) -> str:
    words = " ".join(f"{key}={_word(value)}" for key, value in fields.items())
    time_of_day = _now().astimezone().strftime("%H:%M:%S")
    return f"{time_of_day} {_COLOURS.get(level, '')}{level:<7}{_RESET} {event:<24} {words}".rstrip()


class EventLog:
    """Writes events without structlog."""

    def __init__(self, stream: TextIO | None = None) -> None:
        self._stream = stream if stream is not None else sys.stderr
        self._render = as_text if self._stream.isatty() else as_json

    def write(self, event: str, level: str = "info", **fields: Any) -> None:
        with contextlib.suppress(OSError):  # nobody reads our log: that stops no traffic
            # In one write: `print` makes two, and the other processes write to the same descriptor.
            self._stream.write(self._render(event, level, fields) + "\n")
            self._stream.flush()


def _word(value: object) -> str:
    text = str(value)
    return json.dumps(text, ensure_ascii=False) if not text or any(mark in text for mark in ' "=\n') else text


def _now() -> datetime:
    return datetime.now(UTC)
