"""The worker's side of the access log: lines are collected, written in batches, and given up rather than waited for.

`append` takes a finished line; `flush` at the end of a batch of events writes what there is with as few calls as the
target allows. What the target does not take stays in a backlog, which later flushes go on with. The backlog is
bounded: beyond it, lines are dropped and counted (`WORKER_LOG_DROPPED`), because a log that is not read must neither
stop the proxy nor fill its memory. Whoever owns the sink flushes it now and then while `pending` is not 0.

Never waits for a pipe, a terminal or a socket, formats nothing, and raises nothing but in the constructor and `reopen`.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable

from proxy.kernel.cells import Slot
from proxy.log_target import STANDARD, open_target
from proxy.stats.slots import WORKER_LOG_DROPPED

# A write call costs some microseconds, so a busy batch is written in pieces of this size.
FLUSH_SIZE = 64 * 1024
# About a second of a fully loaded worker: a reader that is away longer than that has missed its chance.
MAX_PENDING = 4 * 1024 * 1024
# Written in one flush at most, so that a backlog that begins to move again does not hold up the requests.
FLUSH_BUDGET = 256 * 1024


class LogSink:
    def __init__(
        self, path: str, row: Slot | None = None, on_loss: Callable[[str], None] = lambda reason: None
    ) -> None:
        """`path` as in the configuration: stdout, stderr or a file. `row` is the worker's own row of the statistics.
        `on_loss` gets one sentence when lines begin to be lost, and again only after writing has gone well in
        between. Raises OSError when the target cannot be opened."""
        self.path = path
        self.pending = 0  # bytes that are not written yet
        self.dropped = 0  # lines
        self._row = row
        self._on_loss = on_loss
        self._is_losing = False
        self._is_torn = False  # the last thing written is a part of a line whose rest was given up
        self._lines: list[bytes] = []
        self._collected = 0
        self._backlog: deque[bytes] = deque()
        self._offset = 0  # what is already written of the first of the backlog
        self._target = open_target(path)

    def append(self, line: bytes) -> None:
        """Take one or more whole lines, each with its newline."""
        size = len(line)
        if self.pending + size > MAX_PENDING:
            self._lose(line.count(b"\n"), "it is not read fast enough")
            return
        self._lines.append(line)
        self.pending += size
        self._collected += size
        if self._collected >= FLUSH_SIZE:
            self.flush()

    def flush(self) -> None:
        """Write what the target takes now, within the budget of a flush."""
        if self.pending:
            self._write(FLUSH_BUDGET)

    def reopen(self) -> None:
        """Go on in the file that now has our name, as after a rotation. Raises OSError, and then the old file stays
        in use. Standard output and error are what they are."""
        self._write(MAX_PENDING)
        if self.path in STANDARD:
            return
        target = open_target(self.path)
        self._target.close()
        self._target = target

    def close(self) -> None:
        """Write what the target takes now and count the rest as lost."""
        self._write(MAX_PENDING)
        if self.pending:
            self._give_up("it was closed while it was not read")
        self._target.close()

    def _write(self, budget: int) -> None:
        if self._lines:
            if self._is_torn:
                self._lines.insert(0, b"\n")
                self.pending += 1
                self._is_torn = False
            self._backlog.append(b"".join(self._lines))
            self._lines.clear()
            self._collected = 0
        while self._backlog and budget > 0:
            data = self._backlog[0]
            try:
                count = self._target.write(data, self._offset)
            except BlockingIOError:
                return
            except OSError as error:
                self._give_up(error.strerror or str(error))
                return
            self._is_losing = False
            budget -= count
            self.pending -= count
            self._offset += count
            if self._offset == len(data):
                self._backlog.popleft()
                self._offset = 0

    def _give_up(self, reason: str) -> None:
        """Forget everything that is not written."""
        first = self._backlog[0] if self._backlog else b""
        self._is_torn = self._offset > 0 and first[self._offset - 1 : self._offset] != b"\n"
        lost = first.count(b"\n", self._offset)
        self._backlog.popleft()
        lost += sum(data.count(b"\n") for data in self._backlog)
        self._backlog.clear()
        self._offset = 0
        self.pending = 0
        self._lose(lost, reason)

    def _lose(self, lines: int, reason: str) -> None:
        self.dropped += lines
        if self._row is not None:
            self._row.add(WORKER_LOG_DROPPED, lines)
        if not self._is_losing:
            self._is_losing = True
            self._on_loss(f"the access log {self.path} loses lines: {reason.lower()}")
