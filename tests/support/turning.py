"""Turning a reactor by hand: a test is its event loop, so one thread plays all sides and nothing is left to chance."""

from __future__ import annotations

import os
import time
from collections.abc import Callable

from waiting import readable

from proxy.kernel.netio import TICK, Reactor

# Only a failing test ever waits this long.
LIMIT = 10.0


class Turning:
    """Serves a reactor whenever a test waits."""

    def __init__(self, reactor: Reactor) -> None:
        self.reactor = reactor
        self.next_turn = 0.0

    def once(self, wait: float = 0.0, also: tuple[int, ...] = ()) -> None:
        """Serve what is ready, after waiting at most `wait` seconds for it or for one of the descriptors `also`."""
        now = time.monotonic()
        readable((self.reactor.fileno(), *also), max(0.0, min(wait, TICK, self.next_turn - now)))
        self.reactor.poll()
        if time.monotonic() >= self.next_turn:
            self.reactor.turn()
            self.next_turn = time.monotonic() + TICK

    def until(
        self, condition: Callable[[], object], what: str, limit: float = LIMIT, also: tuple[int, ...] = ()
    ) -> None:
        deadline = time.monotonic() + limit
        while not condition():
            if time.monotonic() >= deadline:
                raise AssertionError(f"still not so after {limit:g} s: {what}")
            self.once(TICK, also)

    def settle(self) -> None:
        """Serve until nothing is ready any more."""
        while readable([self.reactor.fileno()]):
            self.reactor.poll()
        self.reactor.turn()


def open_descriptors() -> set[str]:
    """What this process has open, without the descriptor that reading it takes."""
    found = set()
    for name in os.listdir("/proc/self/fd"):
        try:
            found.add(f"{name} {os.readlink(f'/proc/self/fd/{name}')}")
        except OSError:
            continue
    return found
