"""Taps between the agent and its workers: who is asked for them, when they have begun, and when they end."""

from __future__ import annotations

import asyncio
import os
import socket
from collections.abc import Awaitable, Callable

import pytest

from discovery.model import Snapshot
from mesh.record import Record
from proxy.admin.view import TooManyTaps
from proxy.control import taps
from proxy.control.channel import Message
from proxy.control.fleet import Fleet, State
from proxy.control.messages import Applied, Hello, Seen, Tap, Untap
from proxy.control.taps import MOST_TAPS
from proxy.kernel.cells import Table
from proxy.stats.allocator import SlotAllocator
from proxy.stats.slots import table_size

WANTED = Tap(number=0, filter="status >= 500", most=7)


class Wire:
    """A worker's end."""

    backlog = 0
    drained: Callable[[], None] | None = None

    def __init__(self) -> None:
        self.said: list[Message] = []

    def send(self, message: Message, sock: socket.socket | None = None) -> None:
        self.said.append(message)

    def close(self) -> None:
        pass

    def take(self) -> list[Message]:
        said, self.said = self.said, []
        return said


class Bench:
    """A fleet that wants the first version of nothing in particular."""

    def __init__(self, workers: int) -> None:
        descriptor = os.memfd_create("table")
        os.ftruncate(descriptor, table_size(workers, 16))
        table = Table(descriptor, workers, 16)
        os.close(descriptor)
        self.fleet = Fleet(workers, SlotAllocator(16, lambda _: None), table, lambda *_: None)
        self.wires = [self.start(number) for number in range(workers)]
        self.fleet.publish(State(Snapshot(version=1), {}, {}))

    def start(self, number: int, pid: int = 1) -> Wire:
        wire = Wire()
        self.fleet.connect(number, pid, wire)
        return wire

    def greet(self, number: int, version: int = 0) -> None:
        self.fleet.receive(number, Hello(worker=number, pid=1, version=version))

    def serve(self, number: int) -> None:
        self.fleet.receive(number, Applied(version=1))


def run(scenario: Callable[[], Awaitable[None]]) -> None:
    async def limited() -> None:
        async with asyncio.timeout(10):
            await scenario()

    asyncio.run(limited())


def of_taps(bench: Bench, worker: int) -> list[Tap | Untap]:
    return [message for message in bench.wires[worker].take() if isinstance(message, (Tap, Untap))]


def serving(workers: int = 2) -> Bench:
    bench = Bench(workers)
    for worker in range(workers):
        bench.greet(worker)
        bench.serve(worker)
    return bench


def tapping(scenario: Callable[[Bench, list[Seen], Callable[[], None]], Awaitable[None]]) -> None:
    """A tap that has begun on both workers."""

    async def whole() -> None:
        bench = serving()
        seen: list[Seen] = []
        task = asyncio.create_task(bench.fleet.tap(WANTED, seen.append))
        await asyncio.sleep(0)
        for worker in range(2):
            assert not task.done()
            assert of_taps(bench, worker) == [Tap(number=1, filter="status >= 500", most=7)]
            bench.fleet.receive(worker, Seen(number=1))
        await scenario(bench, seen, await task)

    run(whole)


def test_every_worker_is_asked_and_what_they_say_arrives() -> None:
    async def scenario(bench: Bench, seen: list[Seen], end: Callable[[], None]) -> None:
        said = Seen(number=1, records=(Record(path="/"),), lost=2)
        bench.fleet.receive(1, said)
        assert seen == [Seen(number=1), Seen(number=1), said]

    tapping(scenario)


def test_it_ends_everywhere_and_what_comes_after_that_goes_nowhere() -> None:
    async def scenario(bench: Bench, seen: list[Seen], end: Callable[[], None]) -> None:
        end()
        assert [of_taps(bench, worker) for worker in range(2)] == [[Untap(number=1)]] * 2
        bench.fleet.receive(0, Seen(number=1, lost=1))
        assert seen == [Seen(number=1)] * 2

    tapping(scenario)


def test_a_worker_that_comes_later_is_asked_when_it_serves() -> None:
    async def scenario(bench: Bench, seen: list[Seen], end: Callable[[], None]) -> None:
        bench.fleet.gone(1, 1)
        bench.wires[1] = bench.start(1, pid=2)
        bench.greet(1)
        assert of_taps(bench, 1) == []
        bench.serve(1)
        assert [message.number for message in of_taps(bench, 1)] == [1]
        bench.fleet.receive(1, Applied(version=2))
        assert of_taps(bench, 1) == []

    tapping(scenario)


def test_a_worker_that_stayed_while_the_agent_was_away_is_asked_at_once() -> None:
    async def scenario(bench: Bench, seen: list[Seen], end: Callable[[], None]) -> None:
        bench.fleet.gone(1, 1)
        bench.wires[1] = bench.start(1, pid=2)
        bench.greet(1, version=1)
        assert [message.number for message in of_taps(bench, 1)] == [1]

    tapping(scenario)


def test_a_worker_that_dies_is_not_waited_for() -> None:
    async def scenario() -> None:
        bench = serving()
        task = asyncio.create_task(bench.fleet.tap(WANTED, lambda _: None))
        await asyncio.sleep(0)
        bench.fleet.receive(0, Seen(number=1))
        bench.fleet.gone(1, 1)
        await task

    run(scenario)


def test_a_worker_that_is_busy_is_not_waited_for_long(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(taps, "BEGINS_WITHIN", 0.01)

    async def scenario() -> None:
        await serving().fleet.tap(WANTED, lambda _: None)

    run(scenario)


def test_whoever_gives_up_leaves_nothing_behind() -> None:
    async def scenario() -> None:
        bench = serving()
        task = asyncio.create_task(bench.fleet.tap(WANTED, lambda _: None))
        await asyncio.sleep(0)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert of_taps(bench, 0)[-1:] == [Untap(number=1)]
        assert list(bench.fleet._taps.wanted()) == []

    run(scenario)


def test_there_is_an_end_to_how_many_there_may_be() -> None:
    async def scenario() -> None:
        fleet = Bench(1).fleet
        ends = [await fleet.tap(WANTED, lambda _: None) for _ in range(MOST_TAPS)]
        with pytest.raises(TooManyTaps, match="16 taps are running"):
            await fleet.tap(WANTED, lambda _: None)
        ends[5]()
        await fleet.tap(WANTED, lambda _: None)

    run(scenario)
