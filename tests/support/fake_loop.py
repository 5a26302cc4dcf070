"""An event loop that is a list of timers: a test moves its clock, and what is due happens, in order, at its time.

It has what code needs that only sets timers: `call_later`, `call_soon`, `time`. `hold_up` makes it a loop that is late.
"""

from __future__ import annotations

import heapq
import itertools
from collections.abc import Callable
from typing import Any


class Timer:
    def __init__(self, when: float, callback: Callable[..., Any], arguments: tuple[Any, ...]) -> None:
        self.when = when
        self.callback = callback
        self.arguments = arguments
        self.is_cancelled = False

    def cancel(self) -> None:
        self.is_cancelled = True


class FakeLoop:
    def __init__(self, now: float = 1000.0) -> None:
        self.now = now
        self._timers: list[tuple[float, int, Timer]] = []
        self._order = itertools.count()

    def time(self) -> float:
        return self.now

    def call_later(self, delay: float, callback: Callable[..., Any], *arguments: Any) -> Timer:
        timer = Timer(self.now + delay, callback, arguments)
        heapq.heappush(self._timers, (timer.when, next(self._order), timer))
        return timer

    def call_soon(self, callback: Callable[..., Any], *arguments: Any) -> Timer:
        return self.call_later(0.0, callback, *arguments)

    def advance(self, seconds: float) -> None:
        """Let `seconds` pass; each timer rings at its time."""
        until = self.now + seconds
        while self._timers and self._timers[0][0] <= until:
            when, _, timer = heapq.heappop(self._timers)
            self.now = max(self.now, when)
            if not timer.is_cancelled:
                timer.callback(*timer.arguments)
        self.now = until

    def hold_up(self, seconds: float) -> None:
        """Something else has the loop for `seconds`; then everything that is due rings at once."""
        self.now += seconds
        self.advance(0.0)

    @property
    def pending(self) -> int:
        """Timers that have not rung and are not cancelled."""
        return sum(not timer.is_cancelled for _, _, timer in self._timers)
