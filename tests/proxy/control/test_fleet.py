"""The agent's links: what is sent to a worker depends on what it has and on what is wanted by then."""

from __future__ import annotations

import asyncio
import os
import socket
from collections.abc import Awaitable, Callable, Sequence

import pytest

from discovery.model import Service, Snapshot
from discovery.splices import Splice
from mesh.decision import Decision, Question
from mesh.record import Record
from proxy.admin.view import Asked, Recorded
from proxy.control.channel import Message
from proxy.control.fleet import Fleet, Place, State
from proxy.control.messages import (
    Answer,
    Applied,
    Apply,
    Ask,
    Delta,
    Drain,
    Drained,
    Draining,
    Find,
    Found,
    Hello,
    Listen,
    Part,
    Released,
    ReopenLogs,
    Unlisten,
)
from proxy.kernel.cells import Table
from proxy.stats.allocator import SlotAllocator, keys_of
from proxy.stats.slots import ACTIVE, REQUESTS, table_size

ROWS = 16
BLOCKS = 4


class Wire:
    """The worker's end: keeps what the agent says. `backlog` is how full the channel pretends to be."""

    def __init__(self) -> None:
        self.backlog = 0
        self.said: list[Message] = []
        self.drained: Callable[[], None] | None = None
        self.is_open = True

    def send(self, message: Message, sock: socket.socket | None = None) -> None:
        assert (sock is not None) == isinstance(message, Listen)
        self.said.append(message)

    def close(self) -> None:
        self.is_open = False

    def take(self) -> list[Message]:
        said, self.said = self.said, []
        return said

    def has_room(self) -> None:
        self.backlog = 0
        assert self.drained is not None
        self.drained()


class Bench:
    """A fleet whose wanted state is made from names of services and listeners."""

    def __init__(self, workers: int = 1, is_successor: bool = False) -> None:
        descriptor = os.memfd_create("table")
        os.ftruncate(descriptor, table_size(BLOCKS, ROWS))
        self.table = Table(descriptor, workers, ROWS)
        os.close(descriptor)
        self.events: list[str] = []
        allocator = SlotAllocator(ROWS, lambda _: None, is_fresh=not is_successor)
        self.fleet = Fleet(
            workers, allocator, self.table, lambda _, name, __: self.events.append(name), is_successor=is_successor
        )
        self.wires = [self.start(number) for number in range(workers)]
        self.version = 0
        self.sockets = 0  # of a listener, if more than workers

    def start(self, number: int, pid: int = 1) -> Wire:
        wire = Wire()
        self.fleet.connect(number, pid, wire)
        return wire

    def greet(self, number: int = 0, **has: object) -> None:
        self.fleet.receive(number, Hello(worker=number, pid=1, **has))  # type: ignore[arg-type]

    def serve(self, number: int = 0) -> None:
        """The worker has what is wanted and is in service."""
        self.fleet.receive(number, Applied(version=self.version))

    def want(self, services: str, listeners: Sequence[str] = ()) -> State:
        """`listeners`: name=address each."""
        self.version += 1
        snapshot = Snapshot(version=self.version, services=tuple(Service(name=name) for name in services))
        slots = self.fleet.allocator.assign(keys_of(snapshot), self.version)
        pairs = (listener.split("=") for listener in listeners)
        sock = socket.socket()
        sockets = [sock] * max(self.sockets, self.fleet.count)
        places = {name: Place(address, address, sockets) for name, address in pairs}
        state = State(snapshot, slots, places)
        self.fleet.publish(state)
        return state


def kinds(messages: Sequence[Message]) -> list[str]:
    return [type(message).__name__ for message in messages]


def run(scenario: Callable[[], Awaitable[None]]) -> None:
    async def limited() -> None:
        async with asyncio.timeout(10):
            await scenario()

    asyncio.run(limited())


def test_nothing_is_sent_before_the_worker_has_said_what_it_has() -> None:
    bench = Bench()
    state = bench.want("a", ["web=1"])
    assert bench.wires[0].said == []

    bench.greet()

    assert bench.wires[0].said == [Apply(snapshot=state.snapshot, slots=state.slots), Listen(name="web", address="1")]


def test_later_changes_are_sent_as_differences() -> None:
    bench = Bench()
    bench.want("ab")
    bench.greet()
    bench.wires[0].take()

    state = bench.want("ac")

    (message,) = bench.wires[0].take()
    assert isinstance(message, Delta)
    assert message.change.spliced == (Splice(at=1, removed=1, inserted=(Service(name="c"),)),)
    assert message.slots == {"service/c": state.slots["service/c"]}


def test_a_listener_stops_before_the_change_and_starts_after_it() -> None:
    bench = Bench()
    bench.want("a", ["old=1", "moved=2", "kept=3"])
    bench.greet()
    bench.wires[0].take()

    bench.want("a", ["moved=4", "kept=3", "new=5"])

    said = bench.wires[0].take()
    assert [message for message in said if isinstance(message, Unlisten)] == [
        Unlisten(name="old"),
        Unlisten(name="moved"),
    ]
    assert [message.name for message in said if isinstance(message, Listen)] == ["moved", "new"]
    assert kinds(said) == ["Unlisten", "Unlisten", "Delta", "Listen", "Listen"]


def test_a_slow_worker_skips_what_was_wanted_in_between() -> None:
    bench = Bench()
    bench.want("a")
    bench.greet()
    wire = bench.wires[0]
    wire.take()
    wire.backlog = 1

    for services in ("ab", "abc", "abcd"):
        bench.want(services)
    assert wire.said == []
    wire.has_room()

    (message,) = wire.take()
    assert isinstance(message, Delta)
    assert (message.change.base, message.change.version) == (1, 4)
    (spliced,) = message.change.spliced
    assert [service.name for service in spliced.inserted] == ["b", "c", "d"]


def test_a_row_a_slow_worker_never_heard_of_is_free_at_once() -> None:
    bench = Bench()
    bench.want("a")
    bench.greet()
    bench.wires[0].backlog = 1

    bench.want("ab")
    bench.want("a")

    assert bench.fleet.allocator.retired == 0


def test_a_worker_that_was_started_again_gets_everything() -> None:
    bench = Bench()
    state = bench.want("a", ["web=1"])
    bench.greet()

    bench.fleet.gone(0, 1)
    assert [status.state for status in bench.fleet.statuses()] == ["gone"]
    wire = bench.start(0, pid=2)
    bench.greet()

    assert wire.said == [Apply(snapshot=state.snapshot, slots=state.slots), Listen(name="web", address="1")]
    assert not bench.wires[0].is_open


def test_the_gauges_of_a_dead_worker_are_reset_and_its_counters_stay() -> None:
    bench = Bench(workers=2)
    state = bench.want("a")
    bench.greet(0)
    bench.greet(1)
    number = state.slots["service/a"]
    for worker in range(2):
        bench.table.slot(worker, number).add(ACTIVE, 3)
        bench.table.slot(worker, number).add(REQUESTS, 5)

    bench.fleet.gone(1, 1)

    cells, _ = bench.table.totals(number)
    assert (cells[ACTIVE], cells[REQUESTS]) == (3, 10)


def test_news_of_a_process_that_was_replaced_is_ignored() -> None:
    bench = Bench()
    bench.fleet.gone(0, 99)

    assert [status.pid for status in bench.fleet.statuses()] == [1]


def test_a_successor_leaves_alone_what_a_worker_has() -> None:
    bench = Bench(is_successor=True)
    bench.version = 7
    bench.greet(version=7, listening=(Listen(name="web", address="1"),), slots={"service/a": 5})

    state = bench.want("ab", ["web=1"])

    assert state.slots["service/a"] == 5
    assert bench.wires[0].said == [Apply(snapshot=state.snapshot, slots=state.slots)]
    assert bench.fleet.known_version == 7


def test_a_successor_resets_the_gauges_of_a_worker_that_died_meanwhile() -> None:
    bench = Bench(is_successor=True)
    bench.table.slot(0, 1).add(ACTIVE, 9)
    bench.greet()

    state = bench.want("a")

    assert bench.table.totals(state.slots["service/a"])[0][ACTIVE] == 0


def test_rows_come_back_when_every_worker_released_them() -> None:
    bench = Bench(workers=2)
    state = bench.want("ab")
    bench.greet(0)
    bench.greet(1)
    bench.want("a")
    row = state.slots["service/b"]

    bench.fleet.receive(0, Released(slots=(row,), version=2))
    assert bench.fleet.allocator.retired == 1
    bench.fleet.receive(1, Released(slots=(row,), version=2))

    assert bench.fleet.allocator.retired == 0


def test_settled_waits_for_every_worker_that_has_a_process() -> None:
    async def scenario() -> None:
        bench = Bench(workers=2)
        bench.want("a")
        bench.greet(0)
        bench.greet(1)
        settled = asyncio.ensure_future(bench.fleet.settled(1))

        bench.fleet.receive(0, Applied(version=1))
        await asyncio.sleep(0)
        assert not settled.done()
        bench.fleet.gone(1, 1)

        await settled

    run(scenario)


def test_draining_is_told_to_all_and_ends_when_all_have_ended() -> None:
    async def scenario() -> None:
        bench = Bench(workers=2)
        bench.greet(0)
        bench.greet(1)
        ended = asyncio.ensure_future(bench.fleet.ended())

        bench.fleet.drain(3.0, 5.0)
        assert [wire.said[-1] for wire in bench.wires] == [Drain(deadline=3.0, streams=5.0)] * 2
        assert [status.state for status in bench.fleet.statuses()] == ["draining"] * 2
        bench.fleet.receive(0, Drained())
        bench.fleet.gone(1, 1)

        await ended

    run(scenario)


def sockets_of(messages: Sequence[Message]) -> list[str]:
    """+ for Listen and - for Unlisten, with the number of the socket."""
    words = []
    for message in messages:
        if isinstance(message, Listen | Unlisten):
            words.append(f"{'+' if isinstance(message, Listen) else '-'}{message.number}")
    return words


def serving(workers: int = 2, sockets: int = 0, listener: str = "web=1") -> Bench:
    """With one listener, and all workers in service."""
    bench = Bench(workers=workers)
    bench.sockets = sockets
    bench.want("a", [listener])
    for number in range(workers):
        bench.greet(number)
    for number in range(workers):
        bench.serve(number)
        bench.wires[number].take()
    for wire in bench.wires:
        wire.take()
    return bench


def test_a_sibling_accepts_for_a_dead_worker_until_the_next_one_is_in_service() -> None:
    bench = serving()

    bench.fleet.gone(1, 1)
    assert sockets_of(bench.wires[0].take()) == ["+1"]
    replacement = bench.start(1, pid=2)
    bench.greet(1)
    assert kinds(replacement.take()) == ["Apply", "Listen"]
    assert bench.wires[0].take() == []
    bench.serve(1)

    assert sockets_of(bench.wires[0].take()) == ["-1"]
    assert replacement.take() == []


def test_a_sibling_accepts_for_a_worker_that_drains_by_itself() -> None:
    bench = serving()

    bench.fleet.receive(1, Draining())

    assert sockets_of(bench.wires[0].take()) == ["+1"]
    assert bench.wires[1].take() == []
    assert [status.state for status in bench.fleet.statuses()] == ["ready", "draining"]


def test_a_worker_that_drains_by_itself_lets_go_of_sockets_of_datagrams() -> None:
    bench = serving(listener="dns=udp:1")

    bench.fleet.receive(1, Draining())

    assert sockets_of(bench.wires[0].take()) == ["+1"]
    assert sockets_of(bench.wires[1].take()) == ["-1"]


def test_a_unix_socket_needs_nobody_to_stand_in() -> None:
    bench = Bench(workers=2)
    bench.want("a", ["web=unix:/a"])
    for number in range(2):
        bench.greet(number)
        bench.serve(number)

    assert [sockets_of(wire.take()) for wire in bench.wires] == [["+0"], ["+1"]]
    bench.fleet.gone(1, 1)
    assert bench.wires[0].take() == []


def test_with_fewer_workers_those_that_stay_take_the_sockets_and_the_others_drain() -> None:
    bench = serving(workers=3)

    bench.fleet.resize(1)
    bench.sockets = 3
    bench.want("b", ["web=1"])
    bench.fleet.retire()
    bench.fleet.retire()

    assert sockets_of(bench.wires[0].take()) == ["+1", "+2"]
    for wire in bench.wires[1:]:
        assert kinds(wire.take()) == ["Unlisten", "Delta", "Drain"]
    assert [status.state for status in bench.fleet.statuses()] == ["ready", "draining", "draining"]
    bench.want("c", ["web=1"])
    assert bench.wires[1].take() == []
    for number in (1, 2):
        bench.fleet.receive(number, Drained())
        bench.fleet.gone(number, 1)
    assert [(status.worker, status.state) for status in bench.fleet.statuses()] == [(0, "ready")]
    assert [kinds(wire.take()) for wire in bench.wires] == [["Delta"], [], []]


def test_the_counters_of_a_worker_that_left_stay_and_its_gauges_do_not() -> None:
    bench = serving(workers=2)
    state = bench.want("a", ["web=1"])
    row = bench.table.slot(1, state.slots["service/a"])
    row.add(ACTIVE, 3)
    row.add(REQUESTS, 5)
    bench.fleet.resize(1)
    bench.fleet.retire()

    cells, _ = bench.table.totals(state.slots["service/a"])
    assert (cells[ACTIVE], cells[REQUESTS]) == (3, 5)
    bench.fleet.gone(1, 1)

    cells, _ = bench.table.totals(state.slots["service/a"])
    assert (cells[ACTIVE], cells[REQUESTS]) == (0, 5)


def test_with_more_workers_the_new_ones_get_sockets_of_their_own() -> None:
    bench = serving(workers=1)

    bench.fleet.resize(2)
    bench.want("a", ["web=1"])
    assert sockets_of(bench.wires[0].take()) == ["+1"]
    wire = bench.start(1)
    bench.greet(1)
    bench.serve(1)

    assert sockets_of(wire.take()) == ["+1"]
    assert sockets_of(bench.wires[0].take()) == ["-1"]


def test_a_worker_that_is_wanted_again_while_it_leaves_is_replaced_when_it_is_gone() -> None:
    bench = serving(workers=2)
    bench.fleet.resize(1)
    bench.fleet.retire()
    bench.wires[0].take()

    bench.fleet.resize(2)
    bench.want("b", ["web=1"])
    assert kinds(bench.wires[0].take()) == ["Delta", "Listen"]
    assert kinds(bench.wires[1].take()) == ["Drain"]
    bench.fleet.gone(1, 1)
    wire = bench.start(1, pid=2)
    bench.greet(1)

    assert kinds(wire.take()) == ["Apply", "Listen"]


def test_a_successor_makes_a_leaving_worker_end_and_keeps_what_its_siblings_accept_on() -> None:
    bench = Bench(workers=1, is_successor=True)
    bench.version = 7
    leaving = bench.start(1)
    had = (Listen(name="web", address="1"), Listen(name="web", address="1", number=1))
    bench.greet(0, version=7, slots={"service/a": 5}, listening=had)
    bench.greet(1, version=7, slots={"service/a": 5})
    bench.sockets = 2

    bench.want("a", ["web=1"])
    bench.fleet.retire()

    assert kinds(bench.wires[0].take()) == ["Apply"]
    assert kinds(leaving.take()) == ["Apply", "Drain"]


def test_a_successor_resets_the_gauges_of_a_worker_that_is_not_there_any_more() -> None:
    bench = Bench(workers=1, is_successor=True)
    bench.table.grow(2)  # once there were two
    bench.version = 7
    for worker in range(2):
        bench.table.slot(worker, 5).add(ACTIVE, 9)
    bench.greet(0, version=7, slots={"service/a": 5})

    bench.want("a")

    assert bench.table.totals(5)[0][ACTIVE] == 9


def test_reopening_logs_is_told_to_all() -> None:
    bench = Bench(workers=2)

    bench.fleet.reopen_logs()

    assert [wire.said for wire in bench.wires] == [[ReopenLogs()]] * 2


def test_what_is_large_is_sent_in_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("proxy.control.parts.PART_SIZE", 2)
    monkeypatch.setattr("proxy.control.parts.MOST_IN_DELTA", 2)
    bench = Bench()
    bench.want("abc")
    bench.greet()
    assert kinds(bench.wires[0].take()) == ["Part", "Apply"]

    bench.want("abcd")
    assert kinds(bench.wires[0].take()) == ["Delta"]
    state = bench.want("defg")

    said = bench.wires[0].take()
    assert kinds(said) == ["Part", "Apply"]
    told: dict[str, int] = {}
    for message in said:
        assert isinstance(message, Part | Apply)
        told |= message.slots
    assert told == state.slots


def answer(bench: Bench, worker: int, endpoint: str = "", problem: str = "") -> None:
    """The worker answers the question that it has been asked."""
    (asked,) = bench.wires[worker].take()
    assert isinstance(asked, Ask)
    decision = None if problem else Decision(worker=worker, endpoint=endpoint)
    bench.fleet.receive(worker, Answer(number=asked.number, decision=decision, problem=problem))


def asking(scenario: Callable[[Bench], Awaitable[None]], workers: int = 2) -> Asked:
    """What a fleet says to a question while `scenario` goes on."""

    async def ask() -> Asked:
        bench = serving(workers)
        for wire in bench.wires:
            wire.take()
        async with asyncio.timeout(10):
            task = asyncio.create_task(bench.fleet.ask(Question(target="/a", most_routes=30)))
            await asyncio.sleep(0)
            await scenario(bench)
            return await task

    return asyncio.run(ask())


def test_every_worker_is_asked_and_one_of_them_about_all_routes() -> None:
    async def both(bench: Bench) -> None:
        asked = [wire.said[0] for wire in bench.wires]
        assert [each.question.most_routes for each in asked if isinstance(each, Ask)] == [30, 1]
        answer(bench, 1, "10.0.0.2:80")
        answer(bench, 0, "10.0.0.1:80")

    asked = asking(both)
    assert [(each.worker, each.endpoint) for each in asked.decisions] == [(0, "10.0.0.1:80"), (1, "10.0.0.2:80")]
    assert asked.problems == ()


def test_a_worker_that_is_gone_or_cannot_answer_is_named() -> None:
    async def one(bench: Bench) -> None:
        answer(bench, 0, problem="no listener is called web")
        bench.fleet.gone(1, 1)

    asked = asking(one)
    assert asked.decisions == ()
    assert asked.problems == ("worker 0: no listener is called web", "worker 1 did not answer in time")


def test_without_a_worker_in_service_there_is_no_answer() -> None:
    async def ask() -> Asked:
        return await Bench().fleet.ask(Question())

    assert asyncio.run(ask()) == Asked()


def test_what_the_workers_have_kept_comes_together_the_newest_first() -> None:
    async def ask() -> Recorded:
        bench = serving(2)
        for wire in bench.wires:
            wire.take()
        async with asyncio.timeout(10):
            task = asyncio.create_task(bench.fleet.find(most=3, only_errors=True))
            await asyncio.sleep(0)
            for worker, times in ((1, "531"), (0, "42")):
                (find,) = bench.wires[worker].take()
                assert isinstance(find, Find)
                assert (find.most, find.only_errors) == (3, True)
                records = tuple(Record(ts=time, worker=worker) for time in times)
                bench.fleet.receive(worker, Found(number=find.number, records=records, kept=40, since=times[-1]))
            return await task

    found = asyncio.run(ask())
    assert [(record.ts, record.worker) for record in found.records] == [("5", 1), ("4", 0), ("3", 1)]
    assert (found.kept, found.since, found.problems) == (80, "1", ())


def test_a_worker_that_does_not_tell_its_records_is_named() -> None:
    async def ask() -> Recorded:
        bench = serving(2)
        for wire in bench.wires:
            wire.take()
        async with asyncio.timeout(10):
            task = asyncio.create_task(bench.fleet.find("a"))
            await asyncio.sleep(0)
            (find,) = bench.wires[0].take()
            assert isinstance(find, Find)
            bench.fleet.receive(0, Found(number=find.number, records=(Record(request_id=find.request_id),), kept=1))
            bench.fleet.gone(1, 1)
            return await task

    found = asyncio.run(ask())
    assert [record.request_id for record in found.records] == ["a"]
    assert found.problems == ("worker 1 did not answer in time",)
