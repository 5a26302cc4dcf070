"""What hivemesh writes to standard error, read once and as it grows: events by name, and what only a bug leaves."""

from __future__ import annotations

import contextlib
import json
import time
from collections import Counter
from datetime import datetime
from pathlib import Path
from typing import Any

Json = dict[str, Any]


class Journal:
    """errors: events of level error, with the time of the monotonic clock as `at`. bugs: tracebacks, lines that are no
    events, and events that say so."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._at = 0
        self._rest = ""
        self._offset = time.time() - time.monotonic()
        self.counts: Counter[str] = Counter()
        self.errors: list[Json] = []
        self.bugs: list[str] = []

    def count(self, event: str) -> int:
        """How many there were until now."""
        self.read()
        return self.counts[event]

    def read(self) -> None:
        with self._path.open("rb") as file:
            file.seek(self._at)
            data = file.read()
        self._at += len(data)
        *lines, self._rest = (self._rest + data.decode(errors="replace")).split("\n")
        for line in lines:
            self._take(line)

    def _take(self, line: str) -> None:
        event: object = None
        with contextlib.suppress(ValueError):
            event = json.loads(line)
        if not isinstance(event, dict) or "event" not in event:
            if line.strip():
                self.bugs.append(line[:300])
            return
        self.counts[event["event"]] += 1
        if event["event"] == "bug":
            self.bugs.append(line[:1000])
        elif event.get("level") == "error":
            self.errors.append({**event, "at": self._monotonic(event["ts"])})

    def _monotonic(self, stamp: str) -> float:
        return datetime.fromisoformat(stamp).timestamp() - self._offset
