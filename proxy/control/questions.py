"""What the agent asks its workers, and who still owes an answer.

A question goes to some workers at once and is over when all have answered, when a worker that has not is gone, or when
the time is over; whoever asked gets what has come, and who did not answer. Answers that come later are thrown away.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable
from typing import Generic, TypeVar

from proxy.admin.view import TooManyQuestions

T = TypeVar("T")

# Questions under way at a time. Each costs every worker some tenths of a millisecond, and changes wait their turn.
MOST_OPEN = 16

# A worker that has a large change to carry out answers after it (seconds).
WITHIN = 5.0


class Open(Generic[T]):
    """A question that is under way."""

    def __init__(self, workers: Iterable[int], done: asyncio.Future[None]) -> None:
        self.owed = set(workers)
        self.answers: dict[int, T] = {}
        self.done = done

    def settle(self, worker: int) -> None:
        self.owed.discard(worker)
        if not self.owed and not self.done.done():
            self.done.set_result(None)


class Questions(Generic[T]):
    def __init__(self) -> None:
        self._open: dict[int, Open[T]] = {}
        self._count = 0

    async def ask(
        self, workers: Iterable[int], send: Callable[[int, int], None], within: float = WITHIN
    ) -> dict[int, T]:
        """`send(worker, number)` puts the question; the answers by worker, of those who gave one. Raises
        TooManyQuestions."""
        if len(self._open) >= MOST_OPEN:
            raise TooManyQuestions(f"{MOST_OPEN} questions are being answered, which is the most; ask again")
        asked = sorted(workers)
        self._count += 1
        number = self._count
        question: Open[T] = Open(asked, asyncio.get_running_loop().create_future())
        self._open[number] = question
        try:
            for worker in asked:
                send(worker, number)
            if question.owed:
                await asyncio.wait((question.done,), timeout=within)
        finally:
            del self._open[number]
        return {worker: question.answers[worker] for worker in asked if worker in question.answers}

    def answered(self, worker: int, number: int, answer: T) -> None:
        question = self._open.get(number)
        if question is not None and worker in question.owed:
            question.answers[worker] = answer
            question.settle(worker)

    def gone(self, worker: int) -> None:
        for question in self._open.values():
            question.settle(worker)
