"""The workers as the agent sees them: what each was sent, and what all should have.

There is one *wanted* state: snapshot, statistics rows and listening sockets. `publish` replaces it, and each link
compares it with what its worker has and sends the difference: Unlisten, then the change, then Listen, so that a worker
never accepts for a listener it does not know. A link whose channel is still full sends nothing; when the channel has
drained it compares again, with whatever is wanted by then, so a slow worker skips states instead of collecting them.
A worker that is new, one that was started again, and one that stayed while the agent was started again differ only in
what they say they have.

Rows are given out and taken back by proxy/stats/allocator.py; this file tells it who holds what.
Never waits for a worker; who wants to know when something has arrived awaits `settled`.
"""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from discovery.delta import delta
from discovery.model import Snapshot
from proxy.admin.view import WorkerStatus
from proxy.control.channel import Message, Wire
from proxy.control.messages import (
    Applied,
    Apply,
    Delta,
    Drain,
    Drained,
    Event,
    Hello,
    Listen,
    Released,
    ReopenLogs,
    Unlisten,
)
from proxy.kernel.cells import Table
from proxy.stats.allocator import SlotAllocator
from proxy.stats.slots import GAUGES, WORKER_CONNECTIONS, WORKER_SLOT

OnEvent = Callable[[int, str, Mapping[str, str | int | float]], None]


class Place(NamedTuple):
    """Where a listener accepts: its address as configured and as bound, and a socket for each worker."""

    address: str
    actual: str
    sockets: Sequence[socket.socket]


@dataclass(frozen=True, slots=True)
class State:
    snapshot: Snapshot
    slots: Mapping[str, int]
    places: Mapping[str, Place]  # by name of listener


@dataclass(slots=True)
class Link:
    """One worker. `pid` is 0 and `wire` None while it has no process."""

    number: int
    pid: int = 0
    state: str = "gone"
    version: int = 0  # what it decides by
    wire: Wire | None = None
    is_greeted: bool = False
    sent: State | None = None
    listeners: dict[str, str] = field(default_factory=dict)  # name -> address, as it has them

    def push(self, wanted: State) -> set[int]:
        """Send what is missing, if the channel has room. The rows that the worker was told of."""
        if self.wire is None or not self.is_greeted or self.wire.backlog or self.sent is wanted:
            return set()
        wire, sent = self.wire, self.sent
        places = wanted.places
        for name, address in list(self.listeners.items()):
            if name not in places or places[name].address != address:
                wire.send(Unlisten(name=name))
                del self.listeners[name]
        if sent is None:
            told = dict(wanted.slots)
            wire.send(Apply(snapshot=wanted.snapshot, slots=told))
        else:
            told = {key: number for key, number in wanted.slots.items() if sent.slots.get(key) != number}
            wire.send(Delta(change=delta(sent.snapshot, wanted.snapshot), slots=told))
        for name, place in places.items():
            if name not in self.listeners:
                wire.send(Listen(name=name, address=place.address), place.sockets[self.number])
                self.listeners[name] = place.address
        self.sent = wanted
        return set(told.values())


class Fleet:
    def __init__(
        self,
        count: int,
        allocator: SlotAllocator,
        table: Table,
        on_event: OnEvent,
        on_progress: Callable[[], None] = lambda: None,
        is_successor: bool = False,
    ) -> None:
        """`on_progress` is called when a worker has moved on. `is_successor`: an agent before this one had the same
        workers and the same table."""
        self.links = [Link(number) for number in range(count)]
        self.allocator = allocator
        self.known_version = 0  # the highest that a worker came with
        self._table = table
        self._on_event = on_event
        self._on_progress = on_progress
        self._wanted: State | None = None
        self._is_successor = is_successor
        self._is_draining = False
        self._waiting: list[tuple[Callable[[], bool], asyncio.Future[None]]] = []

    # --- who is there -------------------------------------------------------------------------------------------

    def connect(self, number: int, pid: int, wire: Wire) -> None:
        """Worker `number` is process `pid` and reachable over `wire`, whose messages go to `receive`."""
        link = self.links[number] = Link(number, pid, "starting", wire=wire)
        wire.drained = lambda: self._push(link)

    def gone(self, number: int, pid: int) -> None:
        """The process has ended: it holds no rows, and what it was doing is over."""
        link = self.links[number]
        if link.pid != pid:
            return
        if link.wire is not None:
            link.wire.close()
        self.links[number] = Link(number)
        self._reset_gauges(number, self.allocator.in_use(number))
        self.allocator.gone(number)
        self._progress()

    def receive(self, number: int, message: Message) -> None:
        link = self.links[number]
        match message:
            case Hello():
                self._greet(link, message)
            case Applied(version=version):
                link.version = version
                link.state = "draining" if self._is_draining else "ready"
            case Released(slots=slots, version=version):
                self.allocator.released(number, slots, version)
            case Event(name=name, fields=fields):
                self._on_event(number, name, fields)
            case Drained():
                link.state = "gone"
            case _:
                raise ValueError(f"a worker does not send {type(message).__name__}")
        self._progress()

    def statuses(self) -> tuple[WorkerStatus, ...]:
        return tuple(
            WorkerStatus(worker=link.number, pid=link.pid, version=link.version, state=link.state)
            for link in self.links
        )

    # --- what they should have ------------------------------------------------------------------------------------

    def publish(self, wanted: State) -> None:
        if self._wanted is None and self._is_successor:
            for link in self.links:
                if link.is_greeted and not link.version:
                    self._reset_gauges(link.number, wanted.slots.values())
        self._wanted = wanted
        for link in self.links:
            self._push(link)

    def drain(self, deadline: float) -> None:
        self._is_draining = True
        for link in self.links:
            if link.wire is not None:
                link.state = "draining"
                link.wire.send(Drain(deadline=deadline))

    def reopen_logs(self) -> None:
        for link in self.links:
            if link.wire is not None:
                link.wire.send(ReopenLogs())

    # --- waiting --------------------------------------------------------------------------------------------------

    async def greeted(self) -> None:
        """Until every worker has said what it has."""
        await self._until(lambda: all(link.is_greeted for link in self.links))

    async def settled(self, version: int) -> None:
        """Until every worker that has a process decides by `version` or a later one."""
        await self._until(lambda: all(link.version >= version for link in self.links if link.pid))

    async def ready(self) -> None:
        """Until every worker is in service."""
        await self._until(lambda: all(link.state == "ready" for link in self.links))

    async def ended(self) -> None:
        """Until no worker is left."""
        await self._until(lambda: all(link.state == "gone" for link in self.links))

    async def _until(self, condition: Callable[[], bool]) -> None:
        if not condition():
            future = asyncio.get_running_loop().create_future()
            self._waiting.append((condition, future))
            await future

    def _progress(self) -> None:
        still = []
        for condition, future in self._waiting:
            if future.done():
                continue
            if condition():
                future.set_result(None)
            else:
                still.append((condition, future))
        self._waiting = still
        self._on_progress()

    # --- inside ---------------------------------------------------------------------------------------------------

    def _greet(self, link: Link, hello: Hello) -> None:
        link.is_greeted = True
        link.listeners = dict(hello.listeners)
        link.version = hello.version
        self.known_version = max(self.known_version, hello.version)
        if hello.version:
            self.allocator.adopt(link.number, hello.slots, hello.lingering)
        elif self._is_successor and self._wanted is not None:
            self._reset_gauges(link.number, self._wanted.slots.values())
        self._push(link)

    def _push(self, link: Link) -> None:
        if self._wanted is not None and not self._is_draining:
            told = link.push(self._wanted)
            if told:
                self.allocator.sent(link.number, told)

    def _reset_gauges(self, number: int, rows: Iterable[int]) -> None:
        """A dead worker cannot take back what its gauges say."""
        self._table.zero(number, WORKER_SLOT, (WORKER_CONNECTIONS,))
        for row in rows:
            self._table.zero(number, row, GAUGES)
