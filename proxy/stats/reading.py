"""The statistics table read by name: one `Row` of numbers for each listener, route, service and endpoint.

`take(view)` notes on the agent's loop what is in force at this moment (references only); `rows(scope)` then reads the
table, in any thread, without locks. A row is complete for each worker as of some instant within the reading.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from discovery.catalog import NOTHING_KNOWN, CatalogReading
from discovery.config import Config
from discovery.health.numbers import NO_CHECKS, HealthReading
from discovery.model import Endpoint, EndpointState, Snapshot
from mesh.breaker import OPEN, state_of
from mesh.domains import all_routes_of
from proxy.admin.view import AgentView, WorkerStatus
from proxy.config.problems import Severity
from proxy.kernel.cells import Shared, Table
from proxy.stats import slots
from proxy.stats.families import Scope, code_label
from proxy.stats.words import BREAKER_WORD, EJECTION_REASONS, EJECTIONS

NO_CELLS = [0] * slots.CODES


@dataclass(frozen=True, slots=True)
class Row:
    """`labels` are the values of the scope's labels; `cells` are summed over the workers, and so are `codes`. `shared`
    has the words of the row, or of several that are shown as one. `subject` is what the row stands for, where that is
    a route, a service or an endpoint."""

    labels: tuple[str, ...]
    cells: list[int]
    codes: dict[int, int]
    shared: tuple[Shared, ...] = ()
    subject: object = None

    def word(self, number: int) -> int:
        """A counter among the shared words."""
        return sum(shared.load(number) for shared in self.shared)

    @property
    def ejections(self) -> int:
        """For any reason."""
        return sum(self.word(EJECTIONS + place) for place in range(len(EJECTION_REASONS)))

    @property
    def was_ejected(self) -> bool:
        return self.ejections > 0

    def circuit(self, now_ms: int) -> int:
        """State of the circuit breaker (mesh/breaker.py)."""
        return max((state_of(shared.load(BREAKER_WORD), now_ms) for shared in self.shared), default=0)

    @property
    def used(self) -> bool:
        """Has anything ever been counted here?"""
        return bool(self.codes) or any(self.cells)

    @property
    def code_counts(self) -> dict[str, int]:
        """Requests by code label; what is no HTTP status is lumped together."""
        counts: dict[str, int] = {}
        for code, count in sorted(self.codes.items()):
            label = code_label(code)
            counts[label] = counts.get(label, 0) + count
        return counts

    @property
    def buckets(self) -> list[int]:
        """Durations per bucket, not cumulative; the last is what lies above the highest bound."""
        return self.cells[slots.BUCKETS : slots.BUCKETS + len(slots.BUCKET_BOUNDS) + 1]


@dataclass(frozen=True, slots=True)
class Reading:
    """What is in force at one moment. Everything here is immutable or only ever read."""

    config: Config
    snapshot: Snapshot
    table: Table
    slot_numbers: Mapping[str, int]
    workers: tuple[WorkerStatus, ...]
    problems: int
    reloads: Mapping[str, int]
    last_reload: float
    now: float  # monotonic, for the workers' heartbeats
    health: HealthReading = NO_CHECKS
    registry: CatalogReading = NOTHING_KNOWN
    admin: tuple[int, int, int] = (0, 0, 0)  # connections of the admin addresses: open, refused, timed out

    @classmethod
    def take(cls, view: AgentView) -> Reading:
        """Called on the agent's loop; constant time, but for a copy of the counters of health checks."""
        return cls(
            config=view.config,
            snapshot=view.snapshot,
            table=view.table,
            slot_numbers=view.slot_numbers,
            workers=view.workers(),
            problems=sum(problem.severity is Severity.ERROR for problem in view.problems()),
            reloads=dict(view.reloads),
            last_reload=view.last_reload,
            now=time.monotonic(),
            health=view.health(),
            registry=view.catalog.reading(),
            admin=(view.admin.open, view.admin.refused, view.admin.timed_out),
        )

    def rows(self, scope: Scope) -> list[Row]:
        """One row per name that the snapshot knows; zeros for one that has no place in the table yet."""
        if scope is Scope.DNS:
            return [self.whole_row(key, labels) for key, labels, _ in self._names(scope)]
        return [self.row(key, labels, subject) for key, labels, subject in self._names(scope)]

    def row(self, key: str, labels: tuple[str, ...], subject: object = None) -> Row:
        number = self.slot_numbers.get(key)
        if number is None:
            return Row(labels, NO_CELLS, {}, (), subject)
        return Row(labels, *self.table.totals(number), (self.table.shared(number),), subject)

    @property
    def now_ms(self) -> int:
        return int(self.now * 1000)

    def breaker(self, service: str, endpoint: Endpoint) -> int:
        """The word of its circuit breaker (mesh/breaker.py); 0 for one that has no row yet."""
        number = self.slot_numbers.get(slots.endpoint_key(service, endpoint.id, endpoint.address))
        return 0 if number is None else self.table.shared(number).load(BREAKER_WORD)

    def state(self, service: str, endpoint: Endpoint) -> EndpointState:
        """As it is for requests: what the registry says, or ejected by its circuit breaker."""
        if endpoint.state is EndpointState.HEALTHY:
            word = self.breaker(service, endpoint)
            if word and state_of(word, self.now_ms) == OPEN:
                return EndpointState.EJECTED
        return endpoint.state

    def whole_row(self, key: str, labels: tuple[str, ...]) -> Row:
        """A row that counts otherwise where others have pairs of codes."""
        number = self.slot_numbers.get(key)
        if number is None:
            return Row(labels, [0] * slots.CELLS, {})
        return Row(labels, [sum(cells) for cells in zip(*self.table.read(number), strict=True)], {})

    def worker_cells(self) -> list[list[int]]:
        """The row of each worker about itself, by worker number."""
        return self.table.read(slots.WORKER_SLOT)

    def _names(self, scope: Scope) -> Iterator[tuple[str, tuple[str, ...], object]]:
        """Key, labels, and what it is."""
        if scope is Scope.LISTENER:
            for listener in self.snapshot.listeners:
                yield slots.listener_key(listener.name), (listener.name,), None
        elif scope is Scope.ROUTE:
            for listener in self.snapshot.listeners:
                for route in all_routes_of(listener, self.snapshot.services):
                    yield slots.route_key(listener.name, route.name), (listener.name, route.name), route
        elif scope is Scope.DNS:
            if any(listener.protocol.is_dns for listener in self.snapshot.listeners):
                for protocol in ("udp", "tcp"):
                    yield slots.dns_key(protocol), (protocol,), None
        elif scope is Scope.FORWARDING:
            if self.snapshot.settings.dns.forward:
                yield slots.dns_key("forward"), (), None
        elif scope is Scope.SERVICE:
            for service in self.snapshot.services:
                yield slots.service_key(service.name), (service.name,), service
        else:
            for service in self.snapshot.services:
                for endpoint in service.endpoints:
                    key = slots.endpoint_key(service.name, endpoint.id, endpoint.address)
                    yield key, (service.name, endpoint.id), endpoint
