"""What the registry knows of one service and one endpoint, and what it says about them when asked.

Records are edited in place by the registry and nobody else; the values made of them (`Service`, `ServiceView`) are not.
Times are seconds of the clock that the registry's `now` is from.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field

import msgspec

from discovery.changes import HealthReport
from discovery.checks import HealthCheck
from discovery.merge import Merged
from discovery.model import Endpoint, EndpointState, Service, Struct

HISTORY = 10  # changes remembered per endpoint


class HistoryEntry(Struct):
    """At `time` the endpoint came to be in `state`, or (None) was removed, because of `reason`."""

    time: float
    state: EndpointState | None
    reason: str = ""


class Shadowed(Struct):
    """`source` says something about `what` (a field, or an endpoint's id) that is not in force, because `by` does."""

    what: str
    source: str
    by: str


class EndpointView(Struct):
    endpoint: Endpoint  # with its state
    origin: str
    reason: str = ""
    since: float = 0.0
    ttl: float = 0.0  # of its lease; 0 = it has none
    expires: float | None = None  # when the lease is over, or was; None = it has none
    revision: int = 0
    is_drained: bool = False  # by the API


class ServiceView(Struct):
    service: Service  # as it is in force, endpoints with their states
    index: int
    sources: tuple[str, ...]  # that speak of it, highest first
    origins: dict[str, str]  # field -> source, for fields that the API sets; all others are the first source's
    endpoints: tuple[EndpointView, ...]
    shadowed: tuple[Shadowed, ...] = ()


@dataclass(slots=True, frozen=True)
class EndpointEvent:
    """Something for the event log. `before` None: it is new; `after` None: it is gone."""

    service: str
    endpoint: str
    before: EndpointState | None
    after: EndpointState | None
    reason: str
    origin: str


@dataclass(slots=True)
class Entry:
    """An endpoint that is there."""

    merged: Merged
    since: float
    state: EndpointState | None = None  # None: it has just come
    reason: str = ""
    report: HealthReport | None = None
    lease_over: str = ""  # why it counts as dead although it is registered
    history: deque[HistoryEntry] = field(default_factory=lambda: deque(maxlen=HISTORY))
    made: Endpoint | None = None  # as the snapshot has it

    @property
    def endpoint(self) -> Endpoint:
        return self.merged.endpoint

    def as_seen(self) -> Endpoint:
        if self.made is None:
            assert self.state is not None
            endpoint = self.merged.endpoint
            is_so = endpoint.state is self.state
            self.made = endpoint if is_so else msgspec.structs.replace(endpoint, state=self.state)
        return self.made


@dataclass(slots=True)
class ServiceRecord:
    name: str
    head: Service  # without endpoints, with the domain that it wants
    origins: dict[str, str] = field(default_factory=dict)
    domain: str = ""  # that it has
    entries: dict[str, Entry] = field(default_factory=dict)
    index: int = 0
    made: Service | None = None  # as the snapshot has it

    def as_seen(self) -> Service:
        if self.made is None:
            endpoints = tuple([entry.as_seen() for entry in self.entries.values()])
            self.made = msgspec.structs.replace(self.head, domain=self.domain, endpoints=endpoints)
        return self.made

    def check_of(self, entry: Entry) -> HealthCheck | None:
        return entry.endpoint.health_check or self.head.health_check


Find = Callable[[str, str], tuple[ServiceRecord, Entry] | None]
