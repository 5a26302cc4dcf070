"""What is counted about checks. The agent owns one; whoever exposes them takes a `HealthReading`. Pure."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Mapping
from typing import Final, NamedTuple

from discovery.checks import CheckProtocol
from discovery.health.result import Outcome

# Upper bounds of histograms in seconds, those of all others (docs/metrics.md).
BOUNDS: Final = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 15.0, 60.0)

ResultKey = tuple[str, str, str]  # service, protocol, outcome


class Times(NamedTuple):
    """A histogram: counts by bucket, not cumulative, the last above the highest bound; and the sum."""

    buckets: tuple[int, ...]
    sum: float


class HealthReading(NamedTuple):
    results: Mapping[ResultKey, int]
    durations: Mapping[str, Times]  # by protocol
    lateness: Times
    in_flight: int = 0
    waiting: int = 0


class Histogram:
    __slots__ = ("buckets", "sum")

    def __init__(self) -> None:
        self.buckets = [0] * (len(BOUNDS) + 1)
        self.sum = 0.0

    def add(self, seconds: float) -> None:
        self.buckets[bisect_left(BOUNDS, seconds)] += 1
        self.sum += seconds

    def taken(self) -> Times:
        return Times(tuple(self.buckets), self.sum)


class HealthNumbers:
    def __init__(self) -> None:
        self._results: dict[ResultKey, int] = {}
        self._durations: dict[str, Histogram] = {}
        self._lateness = Histogram()

    def began(self, late: float) -> None:
        """A check begins, `late` seconds after it was due."""
        self._lateness.add(late)

    def ended(self, service: str, protocol: CheckProtocol, outcome: Outcome, duration: float) -> None:
        key = (service, protocol.value, outcome.value)
        self._results[key] = self._results.get(key, 0) + 1
        histogram = self._durations.get(protocol.value)
        if histogram is None:
            histogram = self._durations[protocol.value] = Histogram()
        histogram.add(duration)

    def forget(self, service: str) -> None:
        """It is gone, and so are its counters."""
        for key in [key for key in self._results if key[0] == service]:
            del self._results[key]

    def taken(self, in_flight: int, waiting: int) -> HealthReading:
        """As of now: nothing that is handed out changes later."""
        durations = {protocol: histogram.taken() for protocol, histogram in self._durations.items()}
        return HealthReading(dict(self._results), durations, self._lateness.taken(), in_flight, waiting)


NO_CHECKS: Final = HealthNumbers().taken(0, 0)
