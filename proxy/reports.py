"""What a worker tells the event log of its reactor: bugs of drivers, and that accepting has paused.

Either may happen with every connection, so each is told now and then. Counted is always.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Mapping
from typing import Any

from proxy.kernel.cells import Slot
from proxy.kernel.netio import Reactor, Stream
from proxy.stats.slots import WORKER_CROWDED

bugs = logging.getLogger("hivemesh.bugs")

# Least time between two reports of bugs (milliseconds).
BUG_PAUSE_MS = 100

# Least time between two reports that accepting has paused (milliseconds).
CROWDED_TOLD_MS = 10_000


class Reports:
    """emit(name, fields): an event worth the event log."""

    def __init__(self, reactor: Reactor, worker_slot: Slot, emit: Callable[[str, Mapping[str, Any]], None]) -> None:
        self.reactor = reactor
        self.worker_slot = worker_slot
        self.emit = emit
        self.crowded_told = -CROWDED_TOLD_MS
        self.bug_reported = -BUG_PAUSE_MS
        reactor.on_bug = self.bug
        reactor.on_crowded = self.crowded

    def crowded(self, error: int) -> None:
        """There is no room for further clients (`error` says why), or there is again (0). Under a load that is just too
        much this goes to and fro, so it is told now and then and counted always."""
        if error:
            self.worker_slot.add(WORKER_CROWDED, 1)
            if self.reactor.now_ms - self.crowded_told < CROWDED_TOLD_MS:
                return
            self.crowded_told = self.reactor.now_ms
            fields = {"reason": os.strerror(error), "descriptors": self.reactor.descriptor_limit}
            self.emit("accepting paused", fields)
        elif self.reactor.now_ms - self.crowded_told < CROWDED_TOLD_MS:
            self.emit("accepting again", {})

    def bug(self, stream: Stream, bug: BaseException) -> None:
        """A driver failed: its connection is gone, the rest goes on. A bug that every request meets must not fill
        the disk, so only some are reported."""
        if self.reactor.now_ms - self.bug_reported < BUG_PAUSE_MS:
            return
        self.bug_reported = self.reactor.now_ms
        if isinstance(bug, MemoryError):
            self.emit("out of memory", {"stream": repr(stream)})
            return
        bugs.error("a connection was ended by a bug: %r", stream, exc_info=bug)
        self.emit("bug", {"stream": repr(stream), "error": repr(bug)})
