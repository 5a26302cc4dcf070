"""What the admin API says about services and their endpoints: what is in force, where it is from, and why it is so.

`Described` is taken on the agent's loop: references and one pass over the records of a service. The answers are made
from it and a `Reading` in any thread. Durations are seconds, times are seconds since the epoch.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass

import msgspec

from discovery.catalog import Catalog
from discovery.changes import NotFound
from discovery.checks import HealthCheck
from discovery.health.checker import CheckStatus
from discovery.model import EndpointState, Service
from discovery.records import EndpointView, HistoryEntry, ServiceView, Shadowed
from mesh import breaker
from proxy.admin import policies
from proxy.admin.answers import Answer, BreakerDetail, EndpointStats, ServiceStats, endpoint_stats, service_stats, where
from proxy.stats import slots
from proxy.stats.reading import Reading, Row


@dataclass(frozen=True, slots=True)
class Described:
    """A service at one moment. `to_wall` added to a time of the registry gives seconds since the epoch."""

    view: ServiceView
    to_wall: float
    now: float  # of the registry's clock

    @classmethod
    def of(cls, catalog: Catalog, service: str) -> Described:
        """Raises NotFound."""
        return cls(catalog.registry.described(service), catalog.wall_time(0.0), catalog.clock())

    @classmethod
    def find(cls, catalog: Catalog, service: str) -> Described | None:
        try:
            return cls.of(catalog, service)
        except NotFound:
            return None

    def wall(self, at: float) -> float:
        """Milliseconds are what anybody can make use of."""
        return round(at + self.to_wall, 3)

    @property
    def service(self) -> Service:
        return self.view.service

    def endpoint(self, id: str) -> EndpointView:
        """Raises NotFound."""
        for view in self.view.endpoints:
            if view.endpoint.id == id:
                return view
        raise NotFound(f"service {self.service.name} has no endpoint {id}")


class ServiceSummary(Answer, frozen=True):
    name: str
    domain: str
    load_balancing: str
    policies: list[str]  # in a few words each
    endpoints: dict[str, int]  # by state
    requests: int
    active_requests: int
    pending_requests: int
    position: str


class ServiceDetail(Answer, frozen=True):
    """`origins`: where each field is from that is not from the first of `sources`. `shadowed`: what somebody says and
    is not in force."""

    service: Service
    sources: tuple[str, ...]
    origins: dict[str, str]
    shadowed: tuple[Shadowed, ...]
    index: int
    stats: ServiceStats


class Lease(Answer, frozen=True):
    """`left` is below 0 when it is over."""

    ttl: float
    left: float


class EndpointDetail(Answer, frozen=True):
    """`state` is ejected while the endpoint is healthy and its circuit breaker is open; `since` is when the registry
    learnt the state that it has there."""

    id: str
    address: str
    version: str
    weight: int
    node: str
    backup: bool
    priority: int
    metadata: dict[str, str]
    state: str
    reason: str
    since: float
    origin: str
    revision: int
    is_drained: bool
    breaker: BreakerDetail
    lease: Lease | None
    active_requests: int
    requests: int
    pool: dict[str, int]  # idle, active
    stats: EndpointStats


class HistoryLine(Answer, frozen=True):
    """`state` "": it was removed."""

    at: float
    state: str
    reason: str


class CheckDetail(Answer, frozen=True):
    """How the checks of an endpoint go, see discovery/health/checker.py. `last_result` "": there was none yet."""

    protocol: str
    last_result: str
    last_reason: str
    last_duration: float
    last_at: float | None
    next_in: float | None
    successes: int
    failures: int


class EndpointHistory(Answer, frozen=True):
    """What GET of one endpoint answers. `health_check`: how it is checked, its own check or the service's. `check`: how
    that goes, the last result among it; None where nothing is checked from here."""

    endpoint: EndpointDetail
    health_check: HealthCheck | None
    check: CheckDetail | None
    history: list[HistoryLine]


def summaries(reading: Reading, services: Iterable[Service]) -> list[ServiceSummary]:
    """By name: the registry has them in the order in which they came."""
    return [_summary(reading, service) for service in sorted(services, key=lambda service: service.name)]


def service_detail(reading: Reading, described: Described) -> ServiceDetail:
    view = described.view
    return ServiceDetail(
        service=_service_as_met(reading, view.service),
        sources=view.sources,
        origins=view.origins,
        shadowed=view.shadowed,
        index=view.index,
        stats=service_stats(_service_row(reading, view.service)),
    )


@dataclass(frozen=True, slots=True)
class Wanted:
    """Which endpoints of a service: all of them, unless it says otherwise."""

    passing: bool = False
    version: str | None = None

    def takes(self, view: EndpointView) -> bool:
        endpoint = view.endpoint
        if self.passing and endpoint.state is not EndpointState.HEALTHY:
            return False
        return self.version is None or endpoint.version == self.version


EVERY = Wanted()


def endpoints(reading: Reading, described: Described, wanted: Wanted = EVERY) -> list[EndpointDetail]:
    return [_detail(reading, described, view) for view in as_met(reading, described) if wanted.takes(view)]


def as_met(reading: Reading, described: Described) -> list[EndpointView]:
    """The endpoints of a service as requests meet them: healthy ones whose circuit breaker is open are ejected."""
    return [_view_as_met(reading, described.service.name, view) for view in described.view.endpoints]


def _view_as_met(reading: Reading, service: str, view: EndpointView) -> EndpointView:
    if reading.state(service, view.endpoint) is view.endpoint.state:
        return view
    ejected = msgspec.structs.replace(view.endpoint, state=EndpointState.EJECTED)
    reason = ejection(reading.breaker(service, view.endpoint), reading.now_ms)
    return msgspec.structs.replace(view, endpoint=ejected, reason=reason)


def _service_as_met(reading: Reading, service: Service) -> Service:
    endpoints = tuple(
        endpoint
        if (state := reading.state(service.name, endpoint)) is endpoint.state
        else msgspec.structs.replace(endpoint, state=state)
        for endpoint in service.endpoints
    )
    return msgspec.structs.replace(service, endpoints=endpoints)


def ejection(word: int, now_ms: int) -> str:
    """Why an endpoint with this breaker is ejected, for people."""
    why = "it failed more often than the others" if word & breaker.OUTLIER_BIT else "too many errors"
    return f"circuit breaker {breaker.describe(word, now_ms)}: {why}"


def endpoint_history(
    reading: Reading,
    described: Described,
    view: EndpointView,
    history: Iterable[HistoryEntry],
    check: CheckStatus | None,
) -> EndpointHistory:
    return EndpointHistory(
        endpoint=_detail(reading, described, _view_as_met(reading, described.service.name, view)),
        health_check=view.endpoint.health_check or described.service.health_check,
        check=_check(check) if check is not None else None,
        history=[
            HistoryLine(
                at=described.wall(entry.time),
                state=entry.state.value if entry.state is not None else "",
                reason=entry.reason,
            )
            for entry in history
        ],
    )


def _check(status: CheckStatus) -> CheckDetail:
    return CheckDetail(
        protocol=status.protocol.value,
        last_result=status.last_result.value if status.last_result is not None else "",
        last_reason=status.last_reason,
        last_duration=round(status.last_duration, 6),
        last_at=round(status.last_at, 3) if status.last_at is not None else None,
        next_in=round(status.next_in, 3) if status.next_in is not None else None,
        successes=status.successes,
        failures=status.failures,
    )


def _service_row(reading: Reading, service: Service) -> Row:
    return reading.row(slots.service_key(service.name), (service.name,))


def _summary(reading: Reading, service: Service) -> ServiceSummary:
    cells = _service_row(reading, service).cells
    states = Counter(reading.state(service.name, endpoint) for endpoint in service.endpoints)
    return ServiceSummary(
        name=service.name,
        domain=service.domain,
        load_balancing=service.load_balancing.value,
        policies=policies.of_service(service),
        endpoints={state.value: states[state] for state in EndpointState},
        requests=cells[slots.REQUESTS],
        active_requests=cells[slots.ACTIVE],
        pending_requests=cells[slots.PENDING],
        position=where(service.position),
    )


def _detail(reading: Reading, described: Described, view: EndpointView) -> EndpointDetail:
    endpoint = view.endpoint
    counted = endpoint_stats(reading, described.service, endpoint)
    return EndpointDetail(
        id=endpoint.id,
        address=endpoint.address,
        version=endpoint.version,
        weight=endpoint.weight,
        node=endpoint.node,
        backup=endpoint.backup,
        priority=endpoint.priority,
        metadata=endpoint.metadata,
        state=endpoint.state.value,
        reason=view.reason,
        since=described.wall(view.since),
        origin=view.origin,
        revision=view.revision,
        is_drained=view.is_drained,
        breaker=counted.breaker,
        lease=Lease(ttl=view.ttl, left=round(view.expires - described.now, 3)) if view.expires is not None else None,
        active_requests=counted.stats.active_requests,
        requests=counted.stats.requests,
        pool={"idle": counted.pool_idle, "active": max(0, counted.stats.connections - counted.pool_idle)},
        stats=counted,
    )
