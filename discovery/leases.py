"""Who has to give a sign of life until when.

A heap of deadlines. A sign of life only moves the deadline in a dictionary: the heap hears of it when the former
deadline comes up, so that a heartbeat costs the same with ten leases and with ten thousand.
Pure: `now` and deadlines are seconds of a monotonic clock.
"""

from __future__ import annotations

import heapq
from collections.abc import Iterator
from typing import Generic, TypeVar

Key = TypeVar("Key", bound=tuple[str, ...])


class Leases(Generic[Key]):
    def __init__(self) -> None:
        self._deadlines: dict[Key, float] = {}
        self._heap: list[tuple[float, Key]] = []  # at least one entry per key, none of them after its deadline

    def __len__(self) -> int:
        return len(self._deadlines)

    def __iter__(self) -> Iterator[Key]:
        return iter(self._deadlines)

    def __contains__(self, key: Key) -> bool:
        return key in self._deadlines

    def set(self, key: Key, deadline: float) -> None:
        former = self._deadlines.get(key)
        self._deadlines[key] = deadline
        if former is None or deadline < former:
            heapq.heappush(self._heap, (deadline, key))
            if len(self._heap) > 2 * len(self._deadlines) + 64:  # of keys that were dropped and set again and again
                self._heap = [(at, key) for key, at in self._deadlines.items()]
                heapq.heapify(self._heap)

    def drop(self, key: Key) -> None:
        self._deadlines.pop(key, None)

    def deadline(self, key: Key) -> float | None:
        return self._deadlines.get(key)

    def due(self, now: float) -> list[Key]:
        """Those whose deadline has come, in the order of their deadlines. They are dropped."""
        due = []
        while self._heap and self._heap[0][0] <= now:
            _, key = heapq.heappop(self._heap)
            deadline = self._deadlines.get(key)
            if deadline is None:
                continue
            if deadline > now:
                heapq.heappush(self._heap, (deadline, key))
            else:
                del self._deadlines[key]
                due.append(key)
        return due

    def next(self) -> float | None:
        """When `due` should be asked again. It may find nothing then."""
        return self._heap[0][0] if self._heap else None
