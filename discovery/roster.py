"""The records of services and endpoints: what was said, merged, and the state of each endpoint.

Whoever changes something that was said (statements, overlay, nodes, reports) tells the roster what that concerns, and
the roster finds out what is different now: it compares, edits the record, notes the service as touched and the
endpoint's change of state as an event. An endpoint costs the same in a service of two and of ten thousand.
Pure.
"""

from __future__ import annotations

from discovery.changes import API
from discovery.domains import Domains
from discovery.model import EndpointState, Service
from discovery.nodes import Nodes
from discovery.overlay import Overlay
from discovery.records import EndpointEvent, Entry, HistoryEntry, ServiceRecord
from discovery.statements import Statements
from discovery.states import state_of

MAX_FORMER = 10_000  # histories kept of endpoints that are gone


class Roster:
    def __init__(self, overlay: Overlay, statements: Statements, nodes: Nodes) -> None:
        self.services: dict[str, ServiceRecord] = {}
        self.endpoints = 0  # of all services
        self.domains = Domains()
        # What the change that is being applied has done so far.
        self.touched: set[str] = set()
        self.events: list[EndpointEvent] = []
        self.has_other_nodes = False
        self.has_other_targets = False  # a service came or went, or leads to other ones
        self._overlay = overlay
        self._statements = statements
        self._nodes = nodes
        self._former: dict[tuple[str, str], tuple[HistoryEntry, ...]] = {}  # oldest first

    def find(self, service: str, id: str) -> tuple[ServiceRecord, Entry] | None:
        record = self.services.get(service)
        entry = None if record is None else record.entries.get(id)
        return None if record is None or entry is None else (record, entry)

    def history(self, service: str, id: str) -> tuple[HistoryEntry, ...]:
        found = self.find(service, id)
        return self._former.get((service, id), ()) if found is None else tuple(found[1].history)

    def forget_history(self, service: str, id: str) -> None:
        self._former.pop((service, id), None)

    # --- something was said otherwise ---------------------------------------------------------------------------------

    def merge_service(self, name: str, now: float, why: str) -> None:
        """Anything about it may be different, its being there included."""
        record = self.services.get(name)
        if not self._statements.is_defined(name):
            if record is not None:
                self._end(record, now, why)
            return
        if record is None:
            record = self.services[name] = ServiceRecord(name, Service(name=name))
            self.has_other_targets = True
            self._touch(record)
        self.merge_head(record, now)
        for id in {**record.entries, **self._statements.ids(name)}:
            self.merge_endpoint(record, id, now, why)

    def merge_head(self, record: ServiceRecord, now: float) -> None:
        """What concerns the service as a whole may be different."""
        head, record.origins, rank = self._statements.head(record.name)
        former, record.head = record.head, head
        if head != former:
            self._touch(record)
        self._claim(record.name, head.domain, rank)
        if head.traffic_split != former.traffic_split:
            self.has_other_targets = True
        if head.health_check != former.health_check:
            for id, entry in record.entries.items():
                self.restate(record, id, entry, now)

    def merge_endpoint(self, record: ServiceRecord, id: str, now: float, why: str) -> None:
        merged = self._statements.endpoint(record.name, id)
        entry = record.entries.get(id)
        if merged is None:
            if entry is not None:
                self._remove(record, id, now, why)
            return
        if entry is None:
            entry = record.entries[id] = Entry(merged, now)
            self.endpoints += 1
            self._arrived(merged.endpoint.node, record.name, id)
            self._touch(record)
        elif entry.merged != merged:
            former, entry.merged = entry.merged, merged
            if former.endpoint.address != merged.endpoint.address:
                entry.report = None  # it was about the former place
            if former.endpoint.node != merged.endpoint.node:
                self._left(former.endpoint.node, record.name, id)
                self._arrived(merged.endpoint.node, record.name, id)
            if merged.origin != API:
                entry.lease_over = ""
            if former.endpoint != merged.endpoint:
                entry.made = None
                self._touch(record)
        self.restate(record, id, entry, now, why)

    # --- states -------------------------------------------------------------------------------------------------------

    def restate(self, record: ServiceRecord, id: str, entry: Entry, now: float, why: str = "") -> None:
        """Find out the state of an endpoint. `why` is told where the state needs no reason of its own."""
        state, reason = self.state_of(record, id, entry)
        entry.reason = reason
        if state is entry.state:
            return
        before, entry.state, entry.since, entry.made = entry.state, state, now, None
        told = reason or why
        entry.history.append(HistoryEntry(time=now, state=state, reason=told))
        self.events.append(EndpointEvent(record.name, id, before, state, told, entry.merged.origin))
        self._touch(record)

    def restate_node(self, name: str, now: float) -> None:
        """The node came back or is gone."""
        self.has_other_nodes = True
        for service, id in self._nodes.on(name):
            record = self.services[service]
            self.restate(record, id, record.entries[id], now, f"node {name} is back")

    def state_of(self, record: ServiceRecord, id: str, entry: Entry) -> tuple[EndpointState, str]:
        return state_of(
            entry.endpoint,
            record.check_of(entry),
            entry.report,
            is_drained=self._overlay.is_drained(record.name, id),
            node_gone=self._nodes.gone(entry.endpoint.node),
            lease_over=entry.lease_over,
        )

    # --- inside -------------------------------------------------------------------------------------------------------

    def _touch(self, record: ServiceRecord) -> None:
        record.made = None
        self.touched.add(record.name)

    def _end(self, record: ServiceRecord, now: float, why: str) -> None:
        for id in list(record.entries):
            self._remove(record, id, now, why)
        self._touch(record)
        del self.services[record.name]
        self.has_other_targets = True
        self._claim(record.name, "", 0)

    def _remove(self, record: ServiceRecord, id: str, now: float, why: str) -> None:
        entry = record.entries.pop(id)
        self.endpoints -= 1
        self._left(entry.endpoint.node, record.name, id)
        entry.history.append(HistoryEntry(time=now, state=None, reason=why))
        self._former.pop((record.name, id), None)
        self._former[record.name, id] = tuple(entry.history)
        if len(self._former) > MAX_FORMER:
            del self._former[next(iter(self._former))]
        self.events.append(EndpointEvent(record.name, id, entry.state, None, why, entry.merged.origin))
        self._touch(record)

    def _claim(self, name: str, domain: str, rank: int) -> None:
        for other in self.domains.claim(name, domain, rank) | {name}:
            record = self.services.get(other)
            if record is not None and record.domain != self.domains.of(other):
                record.domain = self.domains.of(other)
                self._touch(record)

    def _arrived(self, node: str, service: str, id: str) -> None:
        if self._nodes.arrived(node, (service, id)):
            self.has_other_nodes = True

    def _left(self, node: str, service: str, id: str) -> None:
        if self._nodes.left(node, (service, id)):
            self.has_other_nodes = True
