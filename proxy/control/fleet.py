"""The workers as the agent sees them: what each was sent, and what all should have.

There is one *wanted* state: snapshot, statistics rows and listening sockets. `publish` replaces it, and each link
compares it with what its worker has and sends the difference: Unlisten, then the change, then Listen, so that a worker
never accepts for a listener it does not know. A link whose channel is still full sends nothing; when the channel has
drained it compares again, with whatever is wanted by then, so a slow worker skips states instead of collecting them.
A worker that is new, one that was started again, and one that stayed while the agent was started again differ only in
what they say they have.

Who accepts on which socket is decided anew whenever a worker is ready, leaves or dies (proxy/control/assignment.py).
Workers numbered from `count` on are leaving: they drain, are sent nothing more, and are forgotten when they are gone.

Rows are given out and taken back by proxy/stats/allocator.py; this file tells it who holds what.
Never waits for a worker; who wants to know when something has arrived awaits `settled`.
"""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

import msgspec

from discovery.delta import delta, merge_telling
from discovery.model import EndpointState, Snapshot
from mesh.decision import MOST_ENDPOINTS, Question
from proxy.admin.view import Asked, Recorded, WorkerStatus
from proxy.control.assignment import accepting, accepting_on_one
from proxy.control.channel import Message, Wire
from proxy.control.messages import (
    Answer,
    Applied,
    Ask,
    Delta,
    Drain,
    Drained,
    Draining,
    Event,
    Find,
    Found,
    Hello,
    Listen,
    Released,
    ReopenLogs,
    Seen,
    Tap,
    Unlisten,
    Untap,
)
from proxy.control.parts import in_parts, is_large
from proxy.control.questions import Questions
from proxy.control.sockets import UDP_PREFIX, UNIX_PREFIX
from proxy.control.taps import RunningTaps
from proxy.kernel.cells import Table
from proxy.stats.allocator import SlotAllocator, key_change, keys_of
from proxy.stats.slots import GAUGES, WORKER_GAUGES, WORKER_SLOT

Numbered = tuple[str, int]  # one of a listener's sockets: the listener's name and the socket's number
OnEvent = Callable[[int, str, Mapping[str, str | int | float]], None]


class Place(NamedTuple):
    """Where a listener accepts: its address as configured and as bound, and its sockets, at least one per worker
    unless it is a unix socket, which all share."""

    address: str
    actual: str
    sockets: Sequence[socket.socket]

    @property
    def is_shared(self) -> bool:
        return self.address.startswith(UNIX_PREFIX)

    def socket(self, number: int) -> socket.socket:
        return self.sockets[0] if self.is_shared else self.sockets[number]


@dataclass(frozen=True, slots=True)
class State:
    """`slots` has the keys of `snapshot`. It may be the allocator's own map: nothing is given out between that and
    `publish`."""

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
    listening: dict[Numbered, str] = field(default_factory=dict)  # the address of each socket that it accepts on
    is_leaving: bool = False  # it drains, or is about to

    @property
    def is_staying(self) -> bool:
        return self.pid != 0 and not self.is_leaving

    def push(
        self, wanted: State, assigned: Mapping[Numbered, Place], difference: Callable[[State], Delta]
    ) -> Iterable[int]:
        """Send what is missing, if the channel has room; `difference` is from a state to the wanted one. The rows that
        the worker was told of."""
        wire = self.wire
        if wire is None or not self.is_greeted or self.is_leaving or wire.backlog:
            return ()
        for (name, number), address in list(self.listening.items()):
            place = assigned.get((name, number))
            if place is None or place.address != address:
                wire.send(Unlisten(name=name, number=number))
                del self.listening[name, number]
        told = self._push_state(wire, wanted, difference)
        for (name, number), place in assigned.items():
            if (name, number) not in self.listening:
                wire.send(Listen(name=name, address=place.address, number=number), place.socket(number))
                self.listening[name, number] = place.address
        return told

    def _push_state(self, wire: Wire, wanted: State, difference: Callable[[State], Delta]) -> Iterable[int]:
        sent = self.sent
        if sent is wanted:
            return ()
        self.sent = wanted
        message = None if sent is None else difference(sent)
        if message is None or is_large(message.change):
            for part in in_parts(wanted.snapshot, wanted.slots):
                wire.send(part)
            return wanted.slots.values()
        wire.send(message)
        return message.slots.values()


def difference(sent: State, wanted: State) -> Delta:
    """What a worker lacks that was sent `sent`, at the cost of what changed. A key that is in both has the same row: it
    cannot get another one before this worker has let go of the first."""
    change = delta(sent.snapshot, wanted.snapshot)
    added = key_change(sent.snapshot, merge_telling(sent.snapshot, change)).added
    return Delta(change=change, slots={key: wanted.slots[key] for key in added})


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
        self.count = count
        self.links = {number: Link(number) for number in range(count)}
        self.allocator = allocator
        self.known_version = 0  # the highest that a worker came with ...
        self.known_states: Mapping[str, EndpointState] = {}  # ... and the endpoints' states that it decides by
        self._table = table
        self._on_event = on_event
        self._on_progress = on_progress
        self._wanted: State | None = None
        self._is_successor = is_successor
        self._is_draining = False
        self._waiting: list[tuple[Callable[[], bool], asyncio.Future[None]]] = []
        self._questions: Questions[Answer] = Questions()
        self._searches: Questions[Found] = Questions()
        self._taps = RunningTaps()

    # --- who is there -------------------------------------------------------------------------------------------

    def connect(self, number: int, pid: int, wire: Wire) -> None:
        """Worker `number` is process `pid` and reachable over `wire`, whose messages go to `receive`."""
        self._table.grow(number + 1)
        self.links[number] = Link(number, pid, "starting", wire=wire)
        wire.drained = self._push

    def gone(self, number: int, pid: int) -> None:
        """The process has ended: it holds no rows, what it was doing is over, and others accept in its place."""
        link = self.links.get(number)
        if link is None or link.pid != pid:
            return
        if link.wire is not None:
            link.wire.close()
        if number < self.count:
            self.links[number] = Link(number)
        else:
            del self.links[number]
        self._reset_gauges(number, self.allocator.in_use(number))
        self.allocator.gone(number)
        self._questions.gone(number)
        self._searches.gone(number)
        self._taps.gone(number)
        self._push()
        self._progress()

    def resize(self, count: int) -> None:
        """This many workers are to stay; those beyond are given no more to do, until `retire` makes them end."""
        self._table.grow(count)
        self.count = count
        for number in range(count):
            self.links.setdefault(number, Link(number))
        for number in [number for number, link in self.links.items() if number >= count and not link.pid]:
            del self.links[number]

    def retire(self) -> None:
        """Let the workers beyond `count` drain and end. The supervisor must know by then, or it starts them again."""
        for link in self.links.values():
            if link.number >= self.count and not link.is_leaving:
                self._retire(link)

    def receive(self, number: int, message: Message) -> None:
        link = self.links.get(number)
        if link is None:
            return  # it was leaving, and is gone
        match message:
            case Hello():
                self._greet(link, message)
            case Applied(version=version):
                link.version = version
                if link.state == "starting":
                    self._ask_for_taps(link)
                    link.state = "draining" if self._is_draining else "ready"
                    self._push()  # whoever accepted in its place lets go
            case Draining():
                link.state = "draining"
                link.is_leaving = True
                self._take_datagrams(link)
                self._push()
            case Released(slots=slots, version=version):
                self.allocator.released(number, slots, version)
            case Event(name=name, fields=fields):
                self._on_event(number, name, fields)
            case Answer():
                self._questions.answered(number, message.number, message)
            case Found():
                self._searches.answered(number, message.number, message)
            case Seen():
                self._taps.received(number, message)
                return
            case Drained():
                link.state = "gone"
            case _:
                raise ValueError(f"a worker does not send {type(message).__name__}")
        self._progress()

    def statuses(self) -> tuple[WorkerStatus, ...]:
        return tuple(
            WorkerStatus(worker=link.number, pid=link.pid, version=link.version, state=link.state)
            for link in self.links.values()
        )

    # --- what they should have ------------------------------------------------------------------------------------

    def publish(self, wanted: State) -> None:
        if self._wanted is None and self._is_successor:
            for number in range(self._table.workers):
                link = self.links.get(number)
                if link is None or not link.version:  # it died while there was no agent
                    self._reset_gauges(number, self.allocator.rows())
        self._wanted = wanted
        self._push()

    def drain(self, deadline: float, streams: float) -> None:
        self._is_draining = True
        for link in self.links.values():
            if link.wire is not None:
                link.state = "draining"
                link.wire.send(Drain(deadline=deadline, streams=streams))

    def reopen_logs(self) -> None:
        for link in self.links.values():
            if link.wire is not None:
                link.wire.send(ReopenLogs())

    # --- what is asked --------------------------------------------------------------------------------------------

    def in_service(self) -> list[int]:
        """The workers that serve and stay."""
        return sorted(link.number for link in self.links.values() if link.is_staying and link.version)

    async def ask(self, question: Question) -> Asked:
        """What every worker that serves would do with it. The first one tells of routes and, if so many are wanted, of
        all endpoints; the others have the same. Raises TooManyQuestions."""
        workers = self.in_service()
        few = min(question.most_endpoints or MOST_ENDPOINTS, MOST_ENDPOINTS)
        brief = msgspec.structs.replace(question, most_routes=1, most_endpoints=few)

        def send(worker: int, number: int) -> None:
            self._tell(worker, Ask(number=number, question=question if worker == workers[0] else brief))

        answers = await self._questions.ask(workers, send)
        problems = [f"worker {worker}: {each.problem}" for worker, each in answers.items() if each.problem]
        problems += [f"worker {worker} did not answer in time" for worker in workers if worker not in answers]
        decisions = tuple(each.decision for each in answers.values() if each.decision is not None)
        return Asked(decisions=decisions, problems=tuple(problems))

    async def find(self, request_id: str = "", most: int = 0, only_errors: bool = False) -> Recorded:
        """The records of this request, or without an id the newest `most`, of all workers together. Raises
        TooManyQuestions."""
        workers = self.in_service()

        def send(worker: int, number: int) -> None:
            self._tell(worker, Find(number=number, request_id=request_id, most=most, only_errors=only_errors))

        found = await self._searches.ask(workers, send)
        records = [record for each in found.values() for record in each.records]
        records.sort(key=lambda record: record.ts, reverse=True)  # of one form, so the text sorts by time
        return Recorded(
            records=tuple(records if request_id else records[:most]),
            problems=tuple(f"worker {worker} did not answer in time" for worker in workers if worker not in found),
            kept=sum(each.kept for each in found.values()),
            since=min((each.since for each in found.values() if each.since), default=""),
        )

    async def tap(self, wanted: Tap, seen: Callable[[Seen], None]) -> Callable[[], None]:
        """Let every worker show what ends there, those that come later too; `seen` gets it. When it
        returns they have begun. The result ends it. Raises TooManyTaps."""
        workers = [link.number for link in self.links.values() if link.wire is not None and link.version]
        running = self._taps.open(wanted, seen, workers)

        def end() -> None:
            self._taps.close(running)
            for worker in self.links:
                self._tell(worker, Untap(number=running.wanted.number))

        for worker in workers:
            self._tell(worker, running.wanted)
        try:
            await self._taps.begun(running)
        except BaseException:
            end()
            raise
        return end

    def _ask_for_taps(self, link: Link) -> None:
        """It serves from now on; before, it had nothing to show."""
        for wanted in self._taps.wanted():
            self._tell(link.number, wanted)

    def _tell(self, worker: int, message: Message) -> None:
        link = self.links.get(worker)
        if link is not None and link.wire is not None:
            link.wire.send(message)

    # --- waiting --------------------------------------------------------------------------------------------------

    async def greeted(self) -> None:
        """Until every worker that has a process, and of the first agent every worker, has said what it has."""
        await self._until(
            lambda: all(link.is_greeted or (self._is_successor and not link.pid) for link in self.links.values())
        )

    async def settled(self, version: int) -> None:
        """Until every worker that has a process and stays decides by `version` or a later one."""
        await self._until(lambda: all(link.version >= version for link in self.links.values() if link.is_staying))

    async def ready(self) -> None:
        """Until every worker is in service."""
        await self._until(lambda: all(link.state == "ready" for link in self.links.values()))

    async def ended(self) -> None:
        """Until no worker is left."""
        await self._until(lambda: all(link.state == "gone" for link in self.links.values()))

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
        link.listening = {(listen.name, listen.number): listen.address for listen in hello.listening}
        link.version = hello.version
        if hello.version:
            link.state = "ready"  # it serves, and was told to by the agent before this one
            self._ask_for_taps(link)
        if hello.version > self.known_version:
            self.known_version = hello.version
            self.known_states = hello.states
        if hello.version:
            self.allocator.adopt(link.number, hello.slots, hello.lingering)
            if self._wanted is not None:  # late: what it has beyond that is not needed
                self.allocator.assign(keys_of(self._wanted.snapshot), self._wanted.snapshot.version)
        elif self._is_successor and self._wanted is not None:
            self._reset_gauges(link.number, self.allocator.rows())
        if link.number >= self.count and self._wanted is not None:
            self._retire(link)
        self._push()

    def _retire(self, link: Link) -> None:
        if link.wire is not None and self._wanted is not None:
            timeouts = self._wanted.snapshot.settings.timeouts
            link.state = "draining"
            link.is_leaving = True
            self._take_datagrams(link)
            link.wire.send(Drain(deadline=timeouts.drain, streams=timeouts.drain_streams))

    def _take_datagrams(self, link: Link) -> None:
        """A worker that drains accepts no connections, but it reads datagrams for the sessions that it has, unless it
        is told that others have its sockets."""
        for (name, number), address in list(link.listening.items()):
            if address.startswith(UDP_PREFIX) and link.wire is not None:
                link.wire.send(Unlisten(name=name, number=number))
                del link.listening[name, number]

    def _push(self) -> None:
        """Send every worker what it lacks of what is wanted now."""
        wanted = self._wanted
        if wanted is None or self._is_draining:
            return
        assigned = self._assign(wanted.places)
        differences: dict[int, Delta] = {}  # by what was sent: mostly the same to all

        def lacking(sent: State) -> Delta:
            known = differences.get(id(sent))
            if known is None:
                known = differences[id(sent)] = difference(sent, wanted)
            return known

        for link in list(self.links.values()):
            told = link.push(wanted, assigned.get(link.number, {}), lacking)
            if told:
                self.allocator.sent(link.number, told)

    def _assign(self, places: Mapping[str, Place]) -> dict[int, dict[Numbered, Place]]:
        staying = {link.number for link in self.links.values() if link.is_staying and link.number < self.count}
        in_service = {number for number in staying if self.links[number].state == "ready"}
        assigned: dict[int, dict[Numbered, Place]] = {worker: {} for worker in staying}
        for name, place in places.items():
            if place.is_shared:
                numbers_of = accepting_on_one(staying)
            else:
                numbers_of = accepting(len(place.sockets), staying, in_service)
            for worker, numbers in numbers_of.items():
                for number in numbers:
                    assigned[worker][name, number] = place
        return assigned

    def _reset_gauges(self, number: int, rows: Iterable[int]) -> None:
        """A dead worker cannot take back what its gauges say."""
        self._table.zero(number, WORKER_SLOT, WORKER_GAUGES)
        for row in rows:
            self._table.zero(number, row, GAUGES)
