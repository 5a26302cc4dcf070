"""Waiting for a condition that another thread or process brings about.

Tests never sleep for a guessed time: they name the condition, and a limit after which waiting is a failure.
"""

from __future__ import annotations

import os
import select
import time
from collections.abc import Callable, Iterable
from typing import TypeVar

T = TypeVar("T")

# How much slower than usual everything is: sanitized modules, a machine that others use.
PATIENCE = float(os.environ.get("HIVEMESH_PATIENCE", "1"))

# Long enough for a loaded machine; only a failing test ever waits for it.
LIMIT = 30.0
STEP = 0.005


def eventually(condition: Callable[[], T | None], what: str, limit: float = LIMIT) -> T:
    """The first true value of `condition`; AssertionError naming `what` when it stays false for `limit` seconds."""
    limit *= PATIENCE
    deadline = time.monotonic() + limit
    while True:
        value = condition()
        if value:
            return value
        if time.monotonic() >= deadline:
            raise AssertionError(f"still not so after {limit:g} s: {what} (last: {value!r})")
        time.sleep(STEP)


def readable(descriptors: Iterable[int], wait: float = 0.0) -> list[int]:
    """Which of them can be read, after at most `wait` seconds."""
    poll = select.poll()
    for fd in descriptors:
        poll.register(fd, select.POLLIN)
    return [fd for fd, _ in poll.poll(wait * 1000)]
