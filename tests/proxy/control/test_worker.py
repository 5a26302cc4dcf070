"""What a worker makes of the agent's messages, and what it answers."""

from __future__ import annotations

import asyncio
import os
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator

import msgspec
import pytest
from fake_plane import FakePlane

from discovery.delta import delta
from discovery.model import Endpoint, EndpointState, Service, Settings, Snapshot, Timeouts
from mesh.decision import Question
from mesh.record import Record
from proxy.control.channel import Message
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
from proxy.control.worker import Worker
from proxy.kernel.cells import Table
from proxy.stats.allocator import keys_of
from proxy.stats.slots import WORKER_HEARTBEAT, WORKER_PID, WORKER_SLOT, WORKER_VERSION, table_size

# What the command line, the admin API and the configuration need, and a worker must not load.
HEAVY = ("aiohttp", "click", "pydantic", "rich", "structlog", "yaml", "prometheus_client", "dnslib", "h11")

# Slices of work that are waited for; nearly always it is done in the first.
TURNS = 20


class Wire:
    """The agent's end: keeps what the worker says."""

    backlog = 0
    drained: Callable[[], None] | None = None

    def __init__(self) -> None:
        self.said: list[Message] = []
        self.is_open = True

    def send(self, message: Message, sock: socket.socket | None = None) -> None:
        self.said.append(message)

    def close(self) -> None:
        self.is_open = False

    def take(self) -> list[Message]:
        said, self.said = self.said, []
        return said


class Bench:
    """A worker with a fake data plane."""

    def __init__(self) -> None:
        self.loop = asyncio.new_event_loop()
        descriptor = os.memfd_create("table")
        os.ftruncate(descriptor, table_size(1, 16))
        self.table = Table(descriptor, 1, 16)
        os.close(descriptor)
        self.ended = 0
        self.worker = Worker(self.loop, self._plane, number=0, table=self.table, ended=self._end)
        self.wire = Wire()
        self.worker.attach(self.wire)

    def _plane(self, *arguments: object, **named: object) -> FakePlane:
        self.plane = FakePlane(*arguments, **named)  # type: ignore[arg-type]
        return self.plane

    def _end(self) -> None:
        self.ended += 1

    def turn(self) -> None:
        """One turn of the event loop."""
        self.loop.run_until_complete(asyncio.sleep(0))

    def tell(self, *messages: Message) -> list[Message]:
        """What the worker answers."""
        for message in messages:
            self.worker.receive(message, socket.socket() if isinstance(message, Listen) else None)
        # On a busy machine even a small change may not be done within its first slice.
        turns = 0 if self.plane.pauses else TURNS
        while turns and not self.wire.said:
            turns -= 1
            self.turn()
        return self.wire.take()


@pytest.fixture
def bench() -> Iterator[Bench]:
    bench = Bench()
    bench.wire.take()
    yield bench
    bench.loop.close()


def of(*names: str, version: int = 1, drain: float = 30.0) -> Snapshot:
    return Snapshot(
        version=version,
        settings=Settings(timeouts=Timeouts(drain=drain, drain_streams=drain)),
        services=tuple(Service(name=name) for name in names),
    )


def test_a_new_worker_says_that_it_has_nothing() -> None:
    bench = Bench()
    assert bench.wire.said == [Hello(worker=0, pid=os.getpid())]
    bench.loop.close()


def test_a_snapshot_is_applied_and_acknowledged(bench: Bench) -> None:
    snapshot = of("a")

    assert bench.tell(Apply(snapshot=snapshot, slots={"service/a": 1})) == [Applied(version=1)]
    assert bench.plane.snapshot == snapshot
    assert bench.plane.slots == {"service/a": 1}


def test_its_own_row_says_who_it_is_that_it_lives_and_what_it_decides_by(bench: Bench) -> None:
    bench.tell(Apply(snapshot=of("a", version=7), slots={"service/a": 1}))

    row = bench.table.slot(0, WORKER_SLOT)

    assert row.get(WORKER_PID) == os.getpid()
    assert row.get(WORKER_HEARTBEAT) > 0
    assert row.get(WORKER_VERSION) == 7


def test_a_difference_keeps_the_objects_of_services_that_did_not_change(bench: Bench) -> None:
    first = of("a", "b")
    bench.tell(Apply(snapshot=first, slots={"service/a": 1, "service/b": 2}))
    kept = bench.plane.snapshot.services[0]

    second = of("a", "c", version=2)
    bench.tell(Delta(change=delta(first, second), slots={"service/c": 3}))

    assert bench.plane.snapshot == second
    assert bench.plane.snapshot.services[0] is kept
    assert bench.plane.slots == {"service/a": 1, "service/c": 3}


def test_a_whole_snapshot_from_a_new_agent_keeps_them_too(bench: Bench) -> None:
    bench.tell(Apply(snapshot=of("a"), slots={"service/a": 1}))
    kept = bench.plane.snapshot.services[0]

    bench.tell(Apply(snapshot=of("a", version=2), slots={"service/a": 1}))

    assert bench.plane.snapshot.services[0] is kept


def test_rows_are_released_with_the_version_that_let_them_go(bench: Bench) -> None:
    first, second = of("a", "b"), of("a", version=2)
    bench.tell(Apply(snapshot=first, slots={"service/a": 1, "service/b": 2}))
    bench.plane.holds_rows = True
    assert bench.tell(Delta(change=delta(first, second))) == [Applied(version=2)]

    bench.plane.let_go()
    bench.turn()

    assert bench.wire.take() == [Released(slots=(2,), version=2)]


def test_rows_let_go_before_a_change_are_reported_before_it(bench: Bench) -> None:
    snapshots = [of("a", "b"), of("a", version=2), of("a", "b", version=3)]
    bench.plane.holds_rows = True
    bench.tell(Apply(snapshot=snapshots[0], slots={"service/a": 1, "service/b": 2}))
    bench.tell(Delta(change=delta(snapshots[0], snapshots[1])))

    bench.plane.let_go()
    said = bench.tell(Delta(change=delta(snapshots[1], snapshots[2]), slots={"service/b": 2}))

    assert said == [Released(slots=(2,), version=2), Applied(version=3)]


def test_on_a_new_channel_it_says_what_it_has(bench: Bench) -> None:
    first, second = of("a", "b"), of("a", version=2)
    bench.plane.holds_rows = True
    bench.tell(
        Apply(snapshot=first, slots={"service/a": 1, "service/b": 2}),
        Delta(change=delta(first, second)),
        Listen(name="web", address="127.0.0.1:80"),
    )
    bench.worker.detach()
    bench.plane.emit("nobody hears this", {})
    successor = Wire()

    bench.worker.attach(successor)

    assert successor.said == [
        Hello(
            worker=0,
            pid=os.getpid(),
            version=2,
            listening=(Listen(name="web", address="127.0.0.1:80"),),
            slots={"service/a": 1},
            lingering=(2,),
        )
    ]


def test_listeners_come_and_go(bench: Bench) -> None:
    bench.tell(Listen(name="web"), Unlisten(name="web"), Unlisten(name="never-there"))

    assert bench.plane.calls == ["listen web", "unlisten web"]


def test_a_listener_may_have_several_sockets(bench: Bench) -> None:
    bench.tell(Listen(name="web"), Listen(name="web", number=1), Unlisten(name="web", number=1))

    assert bench.plane.calls == ["listen web", "listen web 1", "unlisten web 1"]
    assert list(bench.plane.sockets) == [("web", 0)]


def test_a_draining_worker_says_so_and_listens_no_more(bench: Bench) -> None:
    bench.tell(Apply(snapshot=of("a"), slots={"service/a": 1}), Listen(name="web"))

    bench.worker.drain()
    assert bench.tell(Listen(name="late")) == [Draining()]
    successor = Wire()
    bench.worker.attach(successor)

    assert bench.plane.calls == ["apply 1", "listen web", "drain"]
    hello, draining = successor.said
    assert isinstance(hello, Hello) and hello.listening == ()
    assert draining == Draining()


def test_logs_are_reopened_and_events_passed_on(bench: Bench) -> None:
    bench.tell(ReopenLogs())
    bench.plane.emit("log failed", {"path": "x"})

    assert bench.plane.calls == ["reopen_logs"]
    assert bench.wire.said == [Event(name="log failed", fields={"path": "x"})]


def test_it_ends_when_it_has_drained(bench: Bench) -> None:
    assert bench.tell(Drain(deadline=5.0, streams=9.0), Drain(deadline=1.0, streams=1.0)) == [Draining()]
    assert (bench.plane.calls, bench.plane.deadline, bench.plane.streams) == (["drain"], 5.0, 9.0)
    assert bench.ended == 0

    assert bench.plane.done is not None
    bench.plane.done()

    assert bench.wire.said == [Drained()]
    assert bench.plane.calls == ["drain", "close"]
    assert bench.ended == 1


def test_a_data_plane_that_never_drains_is_closed_after_the_deadline(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("proxy.control.worker._DRAIN_OVERTIME", 0.0)
    bench.tell(Apply(snapshot=of("a", drain=0.0), slots={"service/a": 1}))
    bench.worker.drain()  # by itself: the settings say how long
    assert bench.plane.deadline == 0.0

    bench.loop.call_later(5.0, bench.loop.stop)
    bench.worker._ended = bench.loop.stop
    bench.loop.run_forever()

    assert bench.plane.calls[-1] == "close"


def test_it_is_closed_once(bench: Bench) -> None:
    bench.worker.close()
    bench.worker.close()

    assert (bench.plane.calls, bench.ended) == (["close"], 1)


@pytest.mark.parametrize(
    ("module", "forbidden"),
    [
        ("proxy.control.worker", HEAVY),
        ("proxy.control.supervisor", (*HEAVY, "uvloop", "msgspec", "asyncio", "logging")),
    ],
)
def test_a_process_that_stays_small_loads_little(module: str, forbidden: tuple[str, ...]) -> None:
    program = f"import sys, {module}; print(*sorted(name for name in sys.modules if '.' not in name))"

    loaded = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True).stdout.split()

    assert not set(forbidden) & set(loaded)


# --- a slice at a time ----------------------------------------------------------------------------------------------


@pytest.fixture
def slow(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> Bench:
    """A worker whose changes take three slices each."""
    monkeypatch.setattr("proxy.control.worker._SLICE", 0.0)
    bench.plane.pauses = 2
    return bench


def test_a_large_change_counts_when_it_is_whole(slow: Bench) -> None:
    assert slow.tell(Apply(snapshot=of("a"), slots={"service/a": 1})) == []
    assert slow.table.slot(0, WORKER_SLOT).get(WORKER_VERSION) == 0

    slow.turn()
    slow.turn()

    assert slow.wire.take() == [Applied(version=1)]
    assert slow.plane.snapshot.version == 1


def test_what_is_said_during_a_change_waits_for_its_end(slow: Bench) -> None:
    first, second = of("a"), of("b", version=2)
    slow.tell(
        Apply(snapshot=first, slots={"service/a": 1}),
        Listen(name="web"),
        Delta(change=delta(first, second), slots={"service/b": 2}),
        Unlisten(name="web"),
    )
    assert slow.plane.calls == []

    for _ in range(6):
        slow.turn()

    assert slow.plane.calls == ["apply 1", "listen web", "apply 2", "unlisten web"]
    assert slow.wire.take() == [Applied(version=1), Applied(version=2), Released(slots=(1,), version=2)]


def test_who_is_to_end_begins_at_once(slow: Bench) -> None:
    slow.tell(Apply(snapshot=of("a"), slots={"service/a": 1}), Listen(name="web"))

    assert slow.tell(Drain(deadline=1.0, streams=1.0)) == [Draining()]
    for _ in range(4):
        slow.turn()

    assert slow.plane.calls == ["drain", "apply 1"]


def test_a_new_channel_is_greeted_with_what_there_is_after_the_change(slow: Bench) -> None:
    slow.tell(Apply(snapshot=of("a"), slots={"service/a": 1}))
    early, late = Wire(), Wire()

    slow.worker.attach(early)
    slow.worker.attach(late)
    slow.turn()
    slow.turn()

    assert early.said == [] and not early.is_open
    (hello,) = late.said
    assert isinstance(hello, Hello)
    assert (hello.version, hello.slots) == (1, {"service/a": 1})


def test_a_worker_that_is_closed_goes_on_with_nothing(slow: Bench) -> None:
    slow.tell(Apply(snapshot=of("a"), slots={"service/a": 1}), Listen(name="web"))

    slow.worker.close()
    slow.turn()

    assert slow.plane.calls == ["close"]


def test_it_says_by_which_states_of_endpoints_it_decides(bench: Bench) -> None:
    endpoints = tuple(
        Endpoint(id=state.value, address=f"127.0.0.1:{port}", state=state)
        for port, state in enumerate(EndpointState, 1)
    )
    snapshot = Snapshot(version=1, services=(Service(name="a", endpoints=endpoints),))
    bench.tell(Apply(snapshot=snapshot, slots={key: row for row, key in enumerate(keys_of(snapshot), 1)}))
    successor = Wire()

    bench.worker.attach(successor)

    (hello,) = successor.said
    assert isinstance(hello, Hello)
    assert hello.states == {
        f"endpoint/a/{state.value}/127.0.0.1:{port}": state for port, state in enumerate(EndpointState, 1)
    }


def test_a_key_that_has_another_row_lets_the_former_go(bench: Bench) -> None:
    bench.tell(Apply(snapshot=of("a"), slots={"service/a": 1}))

    said = bench.tell(Apply(snapshot=of("a", version=2), slots={"service/a": 7}))
    bench.turn()

    assert [*said, *bench.wire.take()] == [Applied(version=2), Released(slots=(1,), version=2)]
    assert bench.plane.slots == {"service/a": 7}


def test_parts_count_with_the_apply_that_ends_them(bench: Bench) -> None:
    whole = of("a", "b", "c")
    parts = [
        Part(services=whole.services[:1], slots={"service/a": 1}),
        Part(services=whole.services[1:2], slots={"service/b": 2}),
    ]
    assert bench.tell(*parts) == []

    last = Apply(snapshot=msgspec.structs.replace(whole, services=whole.services[2:]), slots={"service/c": 3})

    assert bench.tell(last) == [Applied(version=1)]
    assert bench.plane.snapshot == whole
    assert bench.plane.slots == {"service/a": 1, "service/b": 2, "service/c": 3}


def test_parts_of_an_agent_that_is_gone_mean_nothing(bench: Bench) -> None:
    bench.tell(Part(services=of("a").services, slots={"service/a": 1}))
    successor = Wire()
    bench.worker.attach(successor)

    bench.tell(Apply(snapshot=of("b"), slots={"service/b": 1}))

    assert bench.plane.snapshot == of("b")
    assert bench.plane.slots == {"service/b": 1}


def test_a_worker_that_is_woken_wakes_its_data_plane_until_it_is_closed(bench: Bench) -> None:
    bench.worker.wake()
    bench.worker.close()
    bench.worker.wake()
    assert bench.plane.calls == ["wake", "close"]


# --- questions ----------------------------------------------------------------------------------------------------


def test_a_question_is_answered_under_its_number_and_by_the_version_in_force(bench: Bench) -> None:
    bench.tell(Apply(snapshot=Snapshot(version=7), slots={}))
    (answer,) = bench.tell(Ask(number=41, question=Question(target="/a")))
    assert isinstance(answer, Answer)
    assert answer.number == 41
    assert answer.decision is not None
    assert (answer.decision.config_version, answer.decision.question.target) == (7, "/a")


def test_a_question_that_cannot_be_answered_says_why(bench: Bench) -> None:
    (answer,) = bench.tell(Ask(number=1, question=Question(target="/wrong")))
    assert answer == Answer(number=1, problem="no listener takes it")


def test_a_question_waits_for_the_change_before_it(bench: Bench) -> None:
    bench.plane.pauses = 20_000
    assert bench.tell(Apply(snapshot=Snapshot(version=3), slots={}), Ask(number=2, question=Question())) == []
    bench.plane.pauses = 0
    said: list[Message] = []
    while not any(isinstance(each, Answer) for each in said):
        bench.turn()
        said += bench.wire.take()
    (answer,) = (each for each in said if isinstance(each, Answer))
    assert answer.decision is not None
    assert answer.decision.config_version == 3


# --- taps -----------------------------------------------------------------------------------------------------------


def test_a_tap_begins_sends_and_ends(bench: Bench) -> None:
    assert bench.tell(Tap(number=3, filter="error")) == [Seen(number=3)]
    assert bench.plane.taps[3](Seen(number=3, lost=1))
    assert bench.wire.take() == [Seen(number=3, lost=1)]
    bench.tell(Untap(number=3))
    assert bench.plane.calls == ["tap 3 error", "untap 3"]


def test_an_agent_that_reads_nothing_is_sent_nothing_of_taps(bench: Bench) -> None:
    bench.tell(Tap(number=3))
    bench.wire.backlog = 10**7
    assert not bench.plane.taps[3](Seen(number=3, lost=1))
    assert bench.wire.take() == []


@pytest.mark.parametrize("end", [lambda bench: bench.worker.detach(), lambda bench: bench.worker.attach(Wire())])
def test_taps_end_with_the_channel(bench: Bench, end: Callable[[Bench], None]) -> None:
    bench.tell(Tap(number=3), Tap(number=4))
    send = bench.plane.taps[3]
    end(bench)
    assert bench.plane.taps == {}
    assert not send(Seen(number=3)) or bench.wire.is_open is False


# --- records ------------------------------------------------------------------------------------------------------


def test_records_are_found_by_their_id_and_the_newest_without_one(bench: Bench) -> None:
    bench.plane.records = [
        Record(ts="2", request_id="b", kept="sample"),
        Record(ts="1", request_id="a", kept="error"),
    ]
    (found,) = bench.tell(Find(number=7, request_id="a"))
    assert found == Found(number=7, records=(bench.plane.records[1],), kept=2, since="1")
    (newest,) = bench.tell(Find(number=8, most=1))
    assert newest == Found(number=8, records=(bench.plane.records[0],), kept=2, since="1")
    (errors,) = bench.tell(Find(number=9, most=5, only_errors=True))
    assert errors == Found(number=9, records=(bench.plane.records[1],), kept=2, since="1")


def test_what_was_asked_by_an_agent_that_is_gone_is_not_answered_to_the_next(bench: Bench) -> None:
    bench.plane.pauses = 20_000
    bench.tell(Apply(snapshot=Snapshot(version=3), slots={}), Tap(number=1), Ask(number=2, question=Question()))
    bench.worker.detach()
    wire = Wire()
    bench.worker.attach(wire)
    said: list[Message] = []
    while not any(isinstance(each, Hello) for each in said):
        bench.turn()
        said += wire.take()
    assert not any(call.startswith(("tap", "ask")) for call in bench.plane.calls)
