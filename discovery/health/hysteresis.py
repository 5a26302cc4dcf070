"""When is an endpoint healthy? A state that changes only when enough results in a row say so.

    CHECKING   one success: HEALTHY (Envoy's rule for the first check). `unhealthy_threshold` failures in a row:
               UNHEALTHY. Until then it stays as it is, without traffic.
    HEALTHY    `unhealthy_threshold` failures in a row: UNHEALTHY (HAProxy `fall`).
    UNHEALTHY  `healthy_threshold` successes in a row: HEALTHY (HAProxy `rise`).

A check whose configuration has changed begins anew, but its endpoint keeps the state that it has: `renewed`. Its first
result weighs like that of a new endpoint: a success makes it HEALTHY at once, a failure is the first in a row.
Pure; knows no time.
"""

from __future__ import annotations

from discovery.model import EndpointState

# What a check can say of an endpoint. All other states are the registry's.
CHECKED_STATES = (EndpointState.CHECKING, EndpointState.HEALTHY, EndpointState.UNHEALTHY)


class Hysteresis:
    """`state` as given if a check can have said it, else CHECKING. `successes` and `failures` are those in a row."""

    __slots__ = ("_has_result", "failures", "healthy_threshold", "state", "successes", "unhealthy_threshold")

    def __init__(self, state: EndpointState, healthy_threshold: int, unhealthy_threshold: int) -> None:
        self.state = state if state in CHECKED_STATES else EndpointState.CHECKING
        self.healthy_threshold = healthy_threshold
        self.unhealthy_threshold = unhealthy_threshold
        self.successes = 0
        self.failures = 0
        self._has_result = True  # of this check; False after `renewed`

    def renewed(self, healthy_threshold: int, unhealthy_threshold: int) -> Hysteresis:
        """For a check that asks something else from now on."""
        new = Hysteresis(self.state, healthy_threshold, unhealthy_threshold)
        new._has_result = False
        return new

    def success(self) -> bool:
        """Whether the state has changed."""
        self.failures = 0
        self.successes += 1
        is_first = self.state is EndpointState.CHECKING or not self._has_result
        self._has_result = True
        return (is_first or self.successes >= self.healthy_threshold) and self._become(EndpointState.HEALTHY)

    def failure(self) -> bool:
        """Whether the state has changed."""
        self.successes = 0
        self.failures += 1
        self._has_result = True
        return self.failures >= self.unhealthy_threshold and self._become(EndpointState.UNHEALTHY)

    def decide(self, state: EndpointState) -> bool:
        """Somebody who knows has said it (TTL): no thresholds. Whether the state has changed."""
        self._has_result = True
        is_healthy = state is EndpointState.HEALTHY
        self.successes = self.successes + 1 if is_healthy else 0
        self.failures = 0 if is_healthy else self.failures + 1
        return self._become(state)

    @property
    def is_between(self) -> bool:
        """Is it on its way to another state? Then `transition_interval` applies (HAProxy `fastinter`)."""
        if self.state is EndpointState.HEALTHY:
            return self.failures > 0
        if self.state is EndpointState.UNHEALTHY:
            return self.successes > 0
        return True

    def _become(self, state: EndpointState) -> bool:
        if state is self.state:
            return False
        self.state = state
        return True
