"""Notices that the configuration file has become another one.

It asks the file system once a second (see discovery/sources/fingerprints.py for why). A file is reported when it looked
the same twice, so that one that is still being written is left alone, and a file that is missing for a moment is not
reported at all.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from discovery.sources.fingerprints import fingerprint

INTERVAL = 1.0  # seconds; a change is in force within two of them


class FileWatch:
    """Calls `changed` for each new content of `path`. Starts from what the file is when this is made."""

    def __init__(self, path: str, changed: Callable[[], None], interval: float = INTERVAL) -> None:
        self._path = path
        self._changed = changed
        self._interval = interval
        self._reported = self._last = fingerprint(path)
        self._timer: asyncio.TimerHandle | None = None

    def start(self, loop: asyncio.AbstractEventLoop) -> None:
        self._timer = loop.call_later(self._interval, self._tick, loop)

    def stop(self) -> None:
        if self._timer is not None:
            self._timer.cancel()

    def look(self) -> None:
        """One look at the file."""
        last, self._last = self._last, fingerprint(self._path)
        if self._last is not None and self._last == last and self._last != self._reported:
            self._reported = self._last
            self._changed()

    def _tick(self, loop: asyncio.AbstractEventLoop) -> None:
        self.look()
        self.start(loop)
