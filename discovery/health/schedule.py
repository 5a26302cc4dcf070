"""When is an endpoint checked, and when is a check over?

**First check.** A new endpoint takes no traffic before it, so it comes soon; but endpoints that appear together are
spread so that they are not checked all at once: each is given `SPACING` of its own, over no more than one interval. An
endpoint whose state is known (its agent died, its check has changed) can wait: it is spread over the interval, which is
as many checks in a second as ever.

**Next check.** `interval` after the begin of the last one, give or take `JITTER`, so that checks that began together
drift apart (HAProxy `spread-checks`, Envoy `interval_jitter`); never before the last one has ended. Between two
thresholds `transition_interval` takes its place.

**Deadline.** A check has `timeout` seconds from its begin. Time in which our own loop did not come round is not the
endpoint's: answers may lie in the socket, unread. `Lateness` adds up that time, and `overtime` gives it back, at most
the timeout once more.

Pure: `now` and random numbers are arguments. Times are seconds of one monotonic clock.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from discovery.checks import HealthCheck

Draw = Callable[[], float]  # a random number from 0 up to 1

# So many seconds between two first checks, on average: 500 a second, about what one agent does with ease.
SPACING: Final = 0.002
JITTER: Final = 0.05
# A timer is never exact. What is below this is not called late.
PUNCTUAL: Final = 0.02


def first_delay(check: HealthCheck, newcomers: int, is_known: bool, draw: Draw) -> float:
    """Seconds until the first check of an endpoint that appears together with others, `newcomers` in all.
    `is_known`: its state is."""
    width = check.interval if is_known else min(check.interval, newcomers * SPACING)
    return draw() * width


def next_begin(check: HealthCheck, began: float, now: float, is_between: bool, draw: Draw) -> float:
    """When to begin again, for a check that began at `began` and has ended by `now`."""
    interval = check.transition_interval if is_between and check.transition_interval else check.interval
    return max(now, began + interval * (1 + JITTER * (2 * draw() - 1)))


class Lateness:
    """How much time our own loop has lost so far: `total` only grows."""

    __slots__ = ("_seen", "total")

    def __init__(self) -> None:
        self.total = 0.0
        self._seen = 0.0  # until when lost time is already counted

    def observe(self, due: float, now: float) -> None:
        """Something that should have happened at `due` happens at `now`."""
        if now - due > PUNCTUAL:
            self.total += now - max(due, self._seen)
            self._seen = now


def overtime(timeout: float, lost: float, granted: float) -> float:
    """Seconds that a check whose time is up gets on top. `lost`: by our loop since its begin; `granted`: before."""
    return max(0.0, min(lost, timeout) - granted)
