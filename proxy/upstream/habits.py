"""How long an endpoint keeps an idle connection, learned from what it says and from what it does.

A server that closes a connection just as we send a request on it costs a failed or a repeated request. `Keep-Alive:
timeout=N` tells the time; servers that do not say it are watched: two closes after about the same idle time in a row
are taken for a rule, one alone is not (it may have been a restart). What was observed is forgotten after a while,
because a connection given up early can no longer show that the endpoint would have kept it.
Pure: `now` is passed in; nothing here opens or closes anything.
"""

from __future__ import annotations

from math import inf
from typing import Final

# Two observed idle times this close together (as a share of the longer) are the same rule.
ALIKE: Final = 0.25
# An observation is believed for this long (seconds).
BELIEVED_FOR: Final = 600.0
# The part of a known time that is used: the rest covers the way of a request to the endpoint.
SAFE_SHARE: Final = 0.9
# Closes after less than this are not about being idle (seconds).
SHORTEST: Final = 0.5


class IdleHabit:
    """What is known of one endpoint."""

    __slots__ = ("believed_until", "last_seen", "observed", "said")

    def __init__(self) -> None:
        self.said = 0.0
        self.observed = 0.0
        self.last_seen = 0.0
        self.believed_until = 0.0

    def hear(self, keep_alive: bytes) -> None:
        """A Keep-Alive field of a response (RFC 9112 appendix C.2.2 names it; `timeout` is in seconds)."""
        for part in keep_alive.split(b","):
            name, _, value = part.strip().partition(b"=")
            if name.strip().lower() == b"timeout" and value.strip().isdigit():
                self.said = float(min(int(value.strip()[:9]), 86_400))

    def see_close(self, idle_for: float, now: float) -> None:
        """The endpoint closed a connection that had been idle for this many seconds."""
        if idle_for < SHORTEST:
            return
        longer = max(idle_for, self.last_seen)
        if self.last_seen and abs(idle_for - self.last_seen) <= ALIKE * longer:
            self.observed = min(idle_for, self.last_seen)
            self.believed_until = now + BELIEVED_FOR
        self.last_seen = idle_for

    def known(self, now: float) -> float | None:
        """Seconds after which the endpoint closes an idle connection; None when it is not known."""
        times = []
        if self.said:
            times.append(self.said)
        if self.observed and now < self.believed_until:
            times.append(self.observed)
        return min(times) if times else None

    def changes_at(self, now: float) -> float:
        """When what is known ends by itself; infinity when it does not."""
        return self.believed_until if self.observed and now < self.believed_until else inf

    def keep_for(self, configured: float, now: float) -> float:
        """Seconds for which an idle connection is worth keeping."""
        known = self.known(now)
        return configured if known is None else min(configured, known * SAFE_SHARE)
