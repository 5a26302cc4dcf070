"""A worker: a data plane that does what the agent says.

`Worker` is the rule book: each message of proxy/control/messages.py turned into calls of the data plane. It holds the
snapshot in force, so a difference can be merged into it, and knows which statistics rows it may still write to.
A change is carried out in slices, and traffic goes on in between; what comes meanwhile waits, so everything happens in
the order in which it was said, and a change counts when it is whole.
It keeps serving when its channel closes, and says on the next one what it has; a new agent then goes on from there.

`python -m proxy.control.worker` is its process: one uvloop and nothing else. It reports being alive in its own row of
the table, ends when it has drained, and drains by itself on SIGTERM and when the supervisor is gone. The process loads
uvloop, msgspec and our own modules only: what it imports is paid for once per core.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import socket
import sys
import time
import traceback
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import partial
from typing import Any, Protocol

import msgspec

from discovery.delta import SnapshotChange, change_between, merge_telling
from discovery.model import EndpointState, Service, Snapshot
from mesh.decision import Decision, Question
from mesh.record import Record
from proxy.control.affinity import core_of
from proxy.control.channel import Channel, Message, Wire
from proxy.control.children import FIRST_DESCRIPTOR, TABLE_DESCRIPTOR, unblock_signals
from proxy.control.collector import Collector
from proxy.control.lines import Lines
from proxy.control.messages import (
    Answer,
    Applied,
    Apply,
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
    Part,
    Released,
    ReopenLogs,
    Seen,
    Tap,
    Unlisten,
    Untap,
)
from proxy.control.parts import joined
from proxy.kernel.cells import Table
from proxy.stats.allocator import key_change
from proxy.stats.slots import (
    WORKER_GAUGES,
    WORKER_HEARTBEAT,
    WORKER_PID,
    WORKER_SLOT,
    WORKER_VERSION,
    endpoint_key,
)
from proxy.upstream.bell import SIGNAL as BELL

HEARTBEAT = 0.5  # seconds between two signs of life
_DRAIN_OVERTIME = 1.0  # after the deadline the data plane has this long to say that it is done
# How long a change is worked at before traffic gets its turn (seconds): what a request waits longer for it.
_SLICE = 0.0005
LOOKING = (Ask, Find, Tap, Untap)  # messages of those who only look
_BATCH = 100  # small things that count as one step: some tens of microseconds
_TAP_BACKLOG = 512 * 1024  # bytes waiting for the agent, beyond which it is sent nothing of taps
_ATTACH_AGAIN = 1.0  # seconds after the system had no room for watching a channel
EXIT_OS = 71  # EX_OSERR
EXIT_BUG = 70  # EX_SOFTWARE: an exception of ours while obeying; the supervisor starts a clean process


class Plane(Protocol):
    """The data plane as the worker sees it (proxy/dataplane.py)."""

    def listen(self, name: str, sock: socket.socket, number: int = 0) -> None: ...
    def unlisten(self, name: str, number: int = 0) -> None: ...
    def steps(self, change: SnapshotChange, slots: Mapping[str, int]) -> Iterator[None]: ...
    def forget(self, numbers: Iterable[tuple[str, int]]) -> None: ...
    def drain(self, deadline: float, streams: float, done: Callable[[], None]) -> None: ...
    def reopen_logs(self) -> None: ...
    def ask(self, question: Question, answered: Callable[[Decision | None, str], None]) -> Iterator[None]: ...
    def find(self, request_id: str) -> tuple[Record, ...]: ...
    def newest(self, most: int, only_errors: bool) -> Iterator[Record]: ...
    def kept(self) -> tuple[int, str]: ...
    def tap(self, wanted: Tap, send: Callable[[Seen], bool]) -> None: ...
    def untap(self, number: int | None = None) -> None: ...
    def wake(self) -> None: ...
    def close(self) -> None: ...


class PlaneFactory(Protocol):
    def __call__(
        self,
        loop: asyncio.AbstractEventLoop,
        *,
        table: Table,
        worker: int,
        emit: Callable[[str, Mapping[str, Any]], None],
        released: Callable[[tuple[int, ...]], None],
    ) -> Plane: ...


class Worker:
    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        plane: PlaneFactory,
        *,
        number: int,
        table: Table,
        applied: Callable[[], None] = lambda: None,
        collector: Collector | None = None,
        ended: Callable[[], None],
        failed: Callable[[], None] | None = None,
    ) -> None:
        """`applied` is called after every change; `ended` once, when everything has drained and is closed; `failed`
        out of the handler of an exception of ours while something is carried out that was said earlier."""
        self.snapshot = Snapshot()
        self.slots: dict[str, int] = {}
        self._loop = loop
        self._number = number
        self._table = table
        self._row = table.slot(number, WORKER_SLOT)
        self._applied = applied
        self._collector = collector
        self._ended = ended
        self._failed = failed
        self._is_working = False
        self._steps: Iterator[None] | None = None  # what is being carried out ...
        self._later: deque[tuple[Message, socket.socket | None]] = deque()  # ... and what was said meanwhile
        self._ahead: list[Service] = []  # parts of an Apply that is still to come
        self._ahead_slots: dict[str, int] = {}
        self._next_wire: Wire | None = None  # to be greeted when all of that is done
        self._listening: dict[tuple[str, int], Listen] = {}
        self._lingering: set[int] = set()
        self._unsaid: list[int] = []  # rows that were let go of and are not reported yet
        self._wire: Wire | None = None
        self._is_draining = False
        self._is_closed = False
        for gauge in WORKER_GAUGES:
            self._set(gauge, 0)  # whoever was this worker before took its connections along
        self._plane = plane(loop, table=table, worker=number, emit=self._emit, released=self._released)
        self._set(WORKER_PID, os.getpid())
        self._set(WORKER_VERSION, 0)
        self._heartbeat: asyncio.TimerHandle | None = None
        self._beat()

    def attach(self, wire: Wire) -> None:
        """Obey what comes on `wire` from now on (its owner calls `receive`); a former channel is closed."""
        for former in (self._wire, self._next_wire):
            if former is not None:
                former.close()
        self.detach()
        self._next_wire = wire
        if not self._is_working:
            self._work()

    def detach(self) -> None:
        """The channel is gone. Everything goes on as it was, but nobody looks on any more."""
        self._wire = None
        # What was asked and not answered yet was asked by whoever is gone.
        self._later = deque(each for each in self._later if not isinstance(each[0], LOOKING))
        if not self._is_closed:
            self._plane.untap()

    def receive(self, message: Message, sock: socket.socket | None) -> None:
        if isinstance(message, Drain):  # who is to end need not wait for what is still to be done
            self.drain(message.deadline, message.streams)
            return
        self._later.append((message, sock))
        if not self._is_working:
            self._work()

    def _obey(self, message: Message, sock: socket.socket | None) -> Iterator[None] | None:
        """What is to be done in steps; None: it has been done."""
        match message:
            case Part(services=services, slots=slots):
                self._ahead.extend(services)
                self._ahead_slots.update(slots)
            case Apply(snapshot=snapshot, slots=slots):
                services, self._ahead = joined((*self._ahead, *snapshot.services)), []
                slots, self._ahead_slots = self._ahead_slots | slots, {}
                return self._apply(msgspec.structs.replace(snapshot, services=services), slots)
            case Delta(change=change, slots=slots):
                return self._change(merge_telling(self.snapshot, change), slots)
            case Listen(name=name, number=number):
                assert sock is not None
                if self._is_draining:  # the two messages crossed
                    sock.close()
                    return None
                self._listening[name, number] = message
                self._plane.listen(name, sock, number)
            case Unlisten(name=name, number=number):
                if self._listening.pop((name, number), None) is not None:
                    self._plane.unlisten(name, number)
            case ReopenLogs():
                self._plane.reopen_logs()
            case Ask(number=number, question=question):
                return self._plane.ask(question, partial(self._answer, number))
            case Find():
                return self._find(message)
            case Tap():
                self._plane.tap(message, self._seen)
            case Untap(number=number):
                self._plane.untap(number)
            case _:
                raise ValueError(f"a worker does not take {type(message).__name__}")
        return None

    def drain(self, deadline: float | None = None, streams: float | None = None) -> None:
        """Finish requests within `deadline` seconds and streams within `streams`, or within what the settings say,
        and end."""
        if self._is_draining:
            return
        self._is_draining = True
        self._listening.clear()
        self._send(Draining())
        timeouts = self.snapshot.settings.timeouts
        for_requests = timeouts.drain if deadline is None else deadline
        for_streams = timeouts.drain_streams if streams is None else streams
        self._plane.drain(for_requests, for_streams, self._drained)
        if not self._is_closed:
            self._loop.call_later(max(for_requests, for_streams) + _DRAIN_OVERTIME, self._drained)

    def wake(self) -> None:
        """Another worker has rung: proxy/upstream/bell.py."""
        if not self._is_closed:
            self._plane.wake()

    def close(self) -> None:
        """End at once."""
        if self._is_closed:
            return
        self._is_closed = True
        if self._heartbeat is not None:
            self._heartbeat.cancel()
        while self._later:
            sock = self._later.popleft()[1]
            if sock is not None:
                sock.close()
        self._plane.close()
        self._ended()

    # --- a slice at a time ----------------------------------------------------------------------------------------

    def _work(self) -> None:
        """Carry out what was said, until the slice is over."""
        end = time.monotonic() + _SLICE
        self._is_working = True
        self._rest(True)
        try:
            while not self._is_closed:
                if self._steps is None:
                    if self._later:
                        self._steps = self._obey(*self._later.popleft())
                    elif self._next_wire is not None:
                        self._steps = self._greet(self._next_wire)
                    else:
                        break
                for _ in self._steps or ():
                    if self._is_closed or time.monotonic() >= end:
                        self._rest(False)
                        self._loop.call_soon(self._work_on)
                        return
                self._steps = None
        except BaseException:
            self._steps = None
            self._is_working = False
            self._rest(False)
            raise
        self._is_working = False
        self._rest(False)

    def _rest(self, is_resting: bool) -> None:
        """The garbage collector, while a slice is carried out: it would look at the largest tables there are."""
        if self._collector is not None:
            if is_resting:
                self._collector.rest()
            else:
                self._collector.settle()

    def _work_on(self) -> None:
        try:
            self._work()
        except Exception:
            if self._failed is None:
                raise
            self._failed()

    def _greet(self, wire: Wire) -> Iterator[None]:
        """Say on the next channel what there is."""
        states: dict[str, EndpointState] = {}
        for service in self.snapshot.services:
            for endpoint in service.endpoints:
                states[endpoint_key(service.name, endpoint.id, endpoint.address)] = endpoint.state
                if len(states) % _BATCH == 0:
                    yield
        if wire is not self._next_wire:
            return  # it was replaced meanwhile
        self._next_wire = None
        self._wire = wire
        self._ahead, self._ahead_slots = [], {}  # nobody is left who would say the rest
        wire.send(
            Hello(
                worker=self._number,
                pid=os.getpid(),
                version=self.snapshot.version,
                listening=tuple(self._listening.values()),
                slots=self.slots,
                lingering=tuple(self._lingering),
                states=states,
            )
        )
        if self._is_draining:
            wire.send(Draining())

    def _apply(self, snapshot: Snapshot, slots: Mapping[str, int]) -> Iterator[None]:
        """The whole state, with the objects that there are wherever they are equal."""
        known = {service.name: service for service in self.snapshot.services}
        services = []
        for service in snapshot.services:
            was = known.get(service.name)
            services.append(service if was is None or was != service else was)
            yield
        snapshot = msgspec.structs.replace(snapshot, services=tuple(services))
        yield from self._change(change_between(self.snapshot, snapshot), slots, slots)

    def _change(
        self, change: SnapshotChange, slots: Mapping[str, int], all_slots: Mapping[str, int] | None = None
    ) -> Iterator[None]:
        """`slots` are rows of keys that are new or have another row; `all_slots` those of all keys, if it is known."""
        self._report_released()  # in the name of the version that let them go
        moved = [(key, was) for key, number in slots.items() if (was := self.slots.get(key, number)) != number]
        if all_slots is None:
            removed = list(key_change(self.snapshot, change).removed)
        else:
            removed = [key for key in self.slots if key not in all_slots]
        self.slots.update(slots)
        self._lingering.difference_update(slots.values())
        self._let_go(moved)
        yield from self._plane.steps(change, self.slots)
        self.snapshot = change.snapshot
        self._set(WORKER_VERSION, self.snapshot.version)
        self._send(Applied(version=self.snapshot.version))
        self._applied()
        for start in range(0, len(removed), _BATCH):
            if start:
                yield
            self._let_go([(key, self.slots.pop(key)) for key in removed[start : start + _BATCH]])

    def _let_go(self, numbers: list[tuple[str, int]]) -> None:
        self._lingering.update(number for _, number in numbers)
        self._plane.forget(numbers)

    # --- what it says ---------------------------------------------------------------------------------------------

    def _released(self, numbers: tuple[int, ...]) -> None:
        if self._is_closed:
            return
        self._lingering.difference_update(numbers)
        if not self._unsaid:
            # A large change lets go of thousands, one by one. Objects may die in any thread of the agent.
            self._loop.call_soon_threadsafe(self._report_released)
        self._unsaid.extend(numbers)

    def _report_released(self) -> None:
        if self._unsaid:
            self._send(Released(slots=tuple(self._unsaid), version=self.snapshot.version))
            self._unsaid.clear()

    def _emit(self, name: str, fields: Mapping[str, Any]) -> None:
        self._send(Event(name=name, fields=dict(fields)))

    def _answer(self, number: int, decision: Decision | None, problem: str) -> None:
        if decision is not None:
            version = self.snapshot.version
            decision = msgspec.structs.replace(decision, worker=self._number, config_version=version)
        self._send(Answer(number=number, decision=decision, problem=problem))

    def _find(self, find: Find) -> Iterator[None]:
        records: list[Record] = []
        if find.request_id:
            records.extend(self._plane.find(find.request_id))
        else:
            for record in self._plane.newest(find.most, find.only_errors):
                records.append(record)
                yield
        kept, since = self._plane.kept()
        self._send(Found(number=find.number, records=tuple(records), kept=kept, since=since))

    def _seen(self, seen: Seen) -> bool:
        """Whether there was room for it. What the agent has not read yet is all that whoever looks on may cost."""
        if self._wire is None or self._wire.backlog > _TAP_BACKLOG:
            return False
        self._wire.send(seen)
        return True

    def _drained(self) -> None:
        if not self._is_closed:
            self._send(Drained())
            self.close()

    def _send(self, message: Message) -> None:
        if self._wire is not None:
            self._wire.send(message)

    def _beat(self) -> None:
        self._set(WORKER_HEARTBEAT, int(time.monotonic() * 1000))
        self._rest(False)
        self._heartbeat = self._loop.call_later(HEARTBEAT, self._beat)

    def _set(self, cell: int, value: int) -> None:
        self._row.add(cell, value - self._row.get(cell))


class Process:
    """Everything about a worker that only a process of its own has."""

    def __init__(self, loop: asyncio.AbstractEventLoop, plane: PlaneFactory, number: int) -> None:
        self._loop = loop
        self._lines = Lines(socket.socket(fileno=FIRST_DESCRIPTOR))
        self._number = number
        self._cores = os.sched_getaffinity(0)  # those that the program may use
        self._is_pinned = False
        table = Table(TABLE_DESCRIPTOR, number + 1)
        self._collector = Collector(table.slot(number, WORKER_SLOT))
        self._worker = Worker(
            loop,
            plane,
            number=number,
            table=table,
            applied=self._applied,
            collector=self._collector,
            ended=loop.stop,
            failed=self._failed,
        )
        loop.add_reader(self._lines.stream.sock, self._from_supervisor)
        loop.add_signal_handler(signal.SIGTERM, self._worker.drain)
        loop.add_signal_handler(signal.SIGQUIT, self._worker.close)
        loop.add_signal_handler(BELL, self._worker.wake)

    def _from_supervisor(self) -> None:
        try:
            messages = self._lines.receive()
        except EOFError:
            self._loop.remove_reader(self._lines.stream.sock)
            self._worker.drain()  # nobody would start us again: leave while it can be done well
            return
        for message, descriptors in messages:
            if message["op"] != "channel":
                raise ValueError(f"the supervisor sent {message['op']!r}, which is no message to a worker")
            self._attach(socket.socket(fileno=descriptors[0]))

    def _attach(self, sock: socket.socket) -> None:
        try:
            self._worker.attach(Channel(self._loop, sock, self._obey, self._worker.detach))
        except OSError:
            # No room for watching it: what is served goes on, and the agent waits.
            self._loop.call_later(_ATTACH_AGAIN, self._attach, sock)

    def _obey(self, message: Message, sock: socket.socket | None) -> None:
        try:
            self._worker.receive(message, sock)
        except Exception:
            self._failed()

    def _failed(self) -> None:
        """Half of a change may be in force; a clean process with the whole state is the way out."""
        traceback.print_exc()
        sys.stderr.flush()
        os._exit(EXIT_BUG)

    def _applied(self) -> None:
        if self._worker.snapshot.settings.pin_workers != self._is_pinned:
            self._is_pinned = not self._is_pinned
            # Cores may have been taken from us since: then the kernel decides, as it would without us.
            with contextlib.suppress(OSError):
                os.sched_setaffinity(0, {core_of(self._number, self._cores)} if self._is_pinned else self._cores)
        self._collector.start()


def main(arguments: list[str]) -> int:
    import uvloop

    from proxy.dataplane import DataPlane

    number = int(arguments[arguments.index("--worker") + 1])
    for ignored in (signal.SIGINT, signal.SIGHUP, signal.SIGUSR1, signal.SIGUSR2):
        signal.signal(ignored, signal.SIG_IGN)  # the supervisor hears these and says what to do
    try:
        loop = uvloop.new_event_loop()
        asyncio.set_event_loop(loop)
        process = Process(loop, DataPlane, number)
        loop.call_soon(unblock_signals)  # uvloop loses what comes before it runs
        loop.run_forever()  # what fails in it is reported there, unless it cannot begin
    except (OSError, MemoryError) as error:
        print(f"hivemesh: worker {number} cannot start: {error!r}", file=sys.stderr, flush=True)
        os._exit(EXIT_OS)  # what is half made is not taken apart
    del process
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
