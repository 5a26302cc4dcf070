"""The statistics table read by name: one `Row` of numbers for each listener, route, service and endpoint.

`take(view)` notes on the agent's loop what is in force at this moment (references only); `rows(scope)` then reads the
table, in any thread, without locks. A row is complete for each worker as of some instant within the reading.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from discovery.catalog import NOTHING_KNOWN, CatalogReading
from discovery.health.numbers import NO_CHECKS, HealthReading
from discovery.model import Config, Snapshot
from mesh.domains import all_routes_of
from proxy.admin.view import AgentView, WorkerStatus
from proxy.kernel.cells import Table
from proxy.stats import slots
from proxy.stats.families import Scope, code_label

NO_CELLS = [0] * slots.CODES


@dataclass(frozen=True, slots=True)
class Row:
    """`labels` are the values of the scope's labels; `cells` are summed over the workers, and so are `codes`."""

    labels: tuple[str, ...]
    cells: list[int]
    codes: dict[int, int]

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

    @classmethod
    def take(cls, view: AgentView) -> Reading:
        """Called on the agent's loop; constant time, but for a copy of the counters of health checks."""
        return cls(
            config=view.config,
            snapshot=view.snapshot,
            table=view.table,
            slot_numbers=view.slot_numbers,
            workers=view.workers(),
            problems=len(view.problems()),
            reloads=dict(view.reloads),
            last_reload=view.last_reload,
            now=time.monotonic(),
            health=view.health(),
            registry=view.catalog.reading(),
        )

    def rows(self, scope: Scope) -> list[Row]:
        """One row per name that the snapshot knows; zeros for one that has no place in the table yet."""
        if scope is Scope.DNS:
            return [self.whole_row(key, labels) for key, labels in self._names(scope)]
        return [self.row(key, labels) for key, labels in self._names(scope)]

    def row(self, key: str, labels: tuple[str, ...]) -> Row:
        number = self.slot_numbers.get(key)
        if number is None:
            return Row(labels, NO_CELLS, {})
        return Row(labels, *self.table.totals(number))

    def whole_row(self, key: str, labels: tuple[str, ...]) -> Row:
        """A row that counts otherwise where others have pairs of codes."""
        number = self.slot_numbers.get(key)
        if number is None:
            return Row(labels, [0] * slots.CELLS, {})
        return Row(labels, [sum(cells) for cells in zip(*self.table.read(number), strict=True)], {})

    def worker_cells(self) -> list[list[int]]:
        """The row of each worker about itself, by worker number."""
        return self.table.read(slots.WORKER_SLOT)

    def _names(self, scope: Scope) -> Iterator[tuple[str, tuple[str, ...]]]:
        if scope is Scope.LISTENER:
            for listener in self.snapshot.listeners:
                yield slots.listener_key(listener.name), (listener.name,)
        elif scope is Scope.ROUTE:
            for listener in self.snapshot.listeners:
                for route in all_routes_of(listener, self.snapshot.services):
                    yield slots.route_key(listener.name, route.name), (listener.name, route.name)
        elif scope is Scope.DNS:
            if any(listener.protocol.is_dns for listener in self.snapshot.listeners):
                for protocol in ("udp", "tcp"):
                    yield slots.dns_key(protocol), (protocol,)
        elif scope is Scope.FORWARDING:
            if self.snapshot.settings.dns.forward:
                yield slots.dns_key("forward"), ()
        elif scope is Scope.SERVICE:
            for service in self.snapshot.services:
                yield slots.service_key(service.name), (service.name,)
        else:
            for service in self.snapshot.services:
                for endpoint in service.endpoints:
                    key = slots.endpoint_key(service.name, endpoint.id, endpoint.address)
                    yield key, (service.name, endpoint.id)
