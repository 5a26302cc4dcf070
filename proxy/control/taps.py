"""The taps that run, as the agent knows them: what the workers were asked for, and who gets what they send.

A tap is the agent's, not a worker's: whoever starts later is asked for it too. Its number is never used again, so what
a worker still sends of a tap that has ended goes nowhere.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable

import msgspec

from proxy.admin.view import TooManyTaps
from proxy.control.messages import Seen, Tap

# Each is looked at for every request.
MOST_TAPS = 16
# A worker that has a large change to carry out begins after it (seconds).
BEGINS_WITHIN = 2.0


class Running:
    """One tap. `owed`: workers that have not said that it has begun."""

    def __init__(self, wanted: Tap, seen: Callable[[Seen], None]) -> None:
        self.wanted = wanted
        self.seen = seen
        self.owed: set[int] = set()
        self.begun = asyncio.Event()

    def settle(self, worker: int) -> None:
        self.owed.discard(worker)
        if not self.owed:
            self.begun.set()


class RunningTaps:
    def __init__(self) -> None:
        self._running: dict[int, Running] = {}
        self._count = 0

    def wanted(self) -> Iterable[Tap]:
        """What a worker that comes is asked for."""
        return [running.wanted for running in self._running.values()]

    def open(self, wanted: Tap, seen: Callable[[Seen], None], workers: Iterable[int]) -> Running:
        """One more, which `workers` are going to be asked for by its `wanted`. Raises TooManyTaps."""
        if len(self._running) >= MOST_TAPS:
            raise TooManyTaps(f"{MOST_TAPS} taps are running, which is the most; one must end first")
        self._count += 1
        running = Running(msgspec.structs.replace(wanted, number=self._count), seen)
        running.owed.update(workers)
        running.settle(-1)
        self._running[self._count] = running
        return running

    async def begun(self, running: Running) -> None:
        """Until every worker that was asked shows what ends there, or it takes too long."""
        try:
            async with asyncio.timeout(BEGINS_WITHIN):
                await running.begun.wait()
        except TimeoutError:
            pass

    def close(self, running: Running) -> None:
        self._running.pop(running.wanted.number, None)

    def received(self, worker: int, seen: Seen) -> None:
        running = self._running.get(seen.number)
        if running is not None:
            running.settle(worker)
            running.seen(seen)

    def gone(self, worker: int) -> None:
        for running in self._running.values():
            running.settle(worker)
