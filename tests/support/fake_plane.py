"""A data plane that serves nothing and remembers what it was told.

Rows that no key names any more are released at once, unless `holds_rows` is set; then `let_go` releases them.
"""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

from discovery.delta import SnapshotChange
from discovery.model import Snapshot
from mesh.decision import Decision, Question
from mesh.record import Record
from proxy.control.messages import Seen, Tap
from proxy.kernel.cells import Table


class FakePlane:
    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        *,
        table: Table,
        worker: int,
        emit: Callable[[str, Mapping[str, Any]], None],
        released: Callable[[tuple[int, ...]], None],
    ) -> None:
        self.snapshot = Snapshot()
        self.slots: Mapping[str, int] = {}
        self.sockets: dict[tuple[str, int], socket.socket] = {}
        self.calls: list[str] = []
        self.emit = emit
        self.holds_rows = False
        self.pauses = 0  # steps that a change takes beyond the first
        self.done: Callable[[], None] | None = None
        self.taps: dict[int, Callable[[Seen], bool]] = {}
        self.deadline = self.streams = 0.0
        self._released = released
        self.records: list[Record] = []  # of requests that are over, the newest first
        self._held: set[int] = set()

    def listen(self, name: str, sock: socket.socket, number: int = 0) -> None:
        self.calls.append(f"listen {_place(name, number)}")
        self.sockets[name, number] = sock

    def unlisten(self, name: str, number: int = 0) -> None:
        self.calls.append(f"unlisten {_place(name, number)}")
        self.sockets.pop((name, number)).close()

    def steps(self, change: SnapshotChange, slots: Mapping[str, int]) -> Iterator[None]:
        """As many as `self.pauses`."""
        self.calls.append(f"apply {change.snapshot.version}")
        for _ in range(self.pauses):
            yield
        self.snapshot, self.slots = change.snapshot, slots

    def forget(self, numbers: Iterable[tuple[str, int]]) -> None:
        self._held |= {number for _, number in numbers}
        if not self.holds_rows:
            self.let_go()

    def let_go(self) -> None:
        gone, self._held = self._held, set()
        if gone:
            self._released(tuple(gone))

    def drain(self, deadline: float, streams: float, done: Callable[[], None]) -> None:
        """Drained when the test calls `done`."""
        self.calls.append("drain")
        self.deadline, self.streams, self.done = deadline, streams, done

    def ask(self, question: Question, answered: Callable[[Decision | None, str], None]) -> Iterator[None]:
        """As many steps as `self.pauses`; a question about /wrong cannot be answered."""
        self.calls.append(f"ask {question.method} {question.target}")
        for _ in range(self.pauses):
            yield
        if question.target == "/wrong":
            answered(None, "no listener takes it")
        else:
            answered(Decision(question=question, status=404), "")

    def find(self, request_id: str) -> tuple[Record, ...]:
        return tuple(record for record in self.records if record.request_id == request_id)

    def newest(self, most: int, only_errors: bool) -> Iterator[Record]:
        yield from [record for record in self.records if record.kept == "error" or not only_errors][:most]

    def kept(self) -> tuple[int, str]:
        return len(self.records), self.records[-1].ts if self.records else ""

    def tap(self, wanted: Tap, send: Callable[[Seen], bool]) -> None:
        """`self.taps[number]` sends what the test gives it."""
        self.calls.append(f"tap {wanted.number} {wanted.filter}")
        self.taps[wanted.number] = send
        send(Seen(number=wanted.number))

    def untap(self, number: int | None = None) -> None:
        for each in [number] if number is not None else list(self.taps):
            self.calls.append(f"untap {each}")
            self.taps.pop(each, None)

    def reopen_logs(self) -> None:
        self.calls.append("reopen_logs")

    def wake(self) -> None:
        self.calls.append("wake")

    def close(self) -> None:
        self.calls.append("close")
        for sock in self.sockets.values():
            sock.close()


def _place(name: str, number: int) -> str:
    return f"{name} {number}" if number else name
