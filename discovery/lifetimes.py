"""What happens because time passes: leases of endpoints and nodes, reports that count for a while, tombstones.

    lease      an endpoint registered with a TTL sent no heartbeat: it is out
    forget     and sent none for as long again (at least a minute): it is deregistered
    report     an endpoint with a TTL check did not report: it is unhealthy
    unhealthy  a registration was unhealthy for as long as it may be: it is deregistered
    node       a node sent no heartbeat: it is silent, and its endpoints are out
    left       a node that left long ago, and that nothing runs on, is forgotten
    tombstone  an old report about a removed endpoint cannot come any more

A restart begins all of them anew: whoever is alive gets the time to say so. What is decided here and must outlive the
agent is collected in `decided`, for the store.
Pure.
"""

from __future__ import annotations

from collections.abc import Callable

from discovery import overlay as records
from discovery.changes import HealthReport, Heartbeat, PutEndpoint, RemoveEndpoint
from discovery.checks import CheckProtocol
from discovery.config import RegistrySettings
from discovery.leases import Leases
from discovery.model import EndpointState
from discovery.nodes import Nodes, lease_of
from discovery.overlay import Edit, Overlay, RecordKey
from discovery.records import EndpointEvent, Entry, ServiceRecord
from discovery.roster import Roster

TOMBSTONE_TTL = 3600.0  # how long an old report is recognised as one
MAX_TOMBSTONES = 10_000
# One that was only paused is back with its next heartbeat; one that is dead need not be looked at for longer.
MIN_FORGET = 60.0

_OF_ENDPOINT = ("lease", "forget", "report", "unhealthy")

Effect = Callable[[Edit, float, str], None]


class Lifetimes:
    def __init__(
        self, overlay: Overlay, roster: Roster, nodes: Nodes, effect: Effect, settings: RegistrySettings
    ) -> None:
        """`effect` is told of edits that were made here, with the time and why."""
        self.settings = settings
        self.expirations = 0  # leases that ran out
        self.decided: list[Edit] = []
        self._overlay = overlay
        self._roster = roster
        self._nodes = nodes
        self._effect = effect
        self._leases: Leases[tuple[str, str, str]] = Leases()
        self._tombstones: dict[RecordKey, None] = {}  # oldest first

    @property
    def count(self) -> int:
        """How many endpoints and nodes have to give a sign of life."""
        return sum(1 for kind, _, _ in self._leases if kind in ("lease", "node"))

    def next(self) -> float | None:
        return self._leases.next()

    def expires(self, service: str, id: str) -> float | None:
        return self._leases.deadline(("lease", service, id))

    # --- signs of life ------------------------------------------------------------------------------------------------

    def begin(self, registration: PutEndpoint, entry: Entry, now: float) -> None:
        """It was registered, or said that it lives."""
        service, id = registration.service, registration.endpoint.id
        self._leases.drop(("forget", service, id))
        entry.lease_over = ""
        if registration.ttl:
            self._leases.set(("lease", service, id), now + registration.ttl)
        else:
            self._leases.drop(("lease", service, id))

    def end(self, service: str, id: str) -> None:
        """The API has no registration of it any more."""
        for kind in ("lease", "forget", "unhealthy"):
            self._leases.drop((kind, service, id))

    def heartbeat(self, change: Heartbeat, now: float) -> None:
        found = self._roster.find(change.service, change.id)
        if found is None:
            return
        record, entry = found
        registration = self._overlay.endpoint(change.service, change.id)
        if registration is not None:
            self.begin(registration, entry, now)
        check = record.check_of(entry)
        if check is not None and check.protocol is CheckProtocol.TTL:
            is_healthy = change.state is EndpointState.HEALTHY
            reason = change.reason or ("" if is_healthy else "it says so itself")
            self._leases.set(("report", change.service, change.id), now + check.ttl)
            entry.report = _report(record, change.id, entry, change.state, reason)
        self._roster.restate(record, change.id, entry, now, "heartbeat")

    def reported(self, change: HealthReport, record: ServiceRecord, entry: Entry, now: float) -> None:
        """Somebody else says how it is, which has to be confirmed by itself if it has a TTL check."""
        check = record.check_of(entry)
        if check is not None and check.protocol is CheckProtocol.TTL and change.state is EndpointState.HEALTHY:
            self._leases.set(("report", change.service, change.id), now + check.ttl)

    def adopt(self, record: ServiceRecord, id: str, entry: Entry, state: EndpointState, now: float) -> None:
        """The endpoint was in this state before a restart."""
        check = record.check_of(entry)
        if check is not None:
            entry.report = _report(record, id, entry, state, "as before the restart")
            self.reported(entry.report, record, entry, now)
        elif state is EndpointState.UNHEALTHY and ("lease", record.name, id) in self._leases:
            registration = self._overlay.endpoint(record.name, id)
            assert registration is not None, "it has a lease"
            self._lease_is_over(record, entry, registration, now, "no heartbeat since before the restart")
        self._roster.restate(record, id, entry, now)

    def node_put(self, name: str, ttl: float, now: float) -> None:
        self._nodes.silent.pop(name, None)
        if ttl:
            self._leases.set(("node", name, ""), now + ttl)

    def node_left(self, name: str, now: float) -> None:
        self._nodes.silent.pop(name, None)
        self._leases.drop(("node", name, ""))
        self._leases.set(("left", name, ""), now + TOMBSTONE_TTL)

    def node_heartbeat(self, name: str, now: float) -> None:
        ttl = lease_of(self._overlay, name, self.settings.node_ttl)
        if ttl:
            self._leases.set(("node", name, ""), now + ttl)
        if self._nodes.gone(name):
            self._nodes.silent.pop(name, None)
            key = RecordKey(records.GONE, name)
            if self._overlay.get(*key) is not None:
                self._decide(Edit(key, None), now, "heartbeat")
            self._roster.restate_node(name, now)

    def follow(self, event: EndpointEvent, now: float) -> None:
        """The state of an endpoint has changed."""
        service, id = event.service, event.endpoint
        if event.after is None:
            for kind in _OF_ENDPOINT:
                self._leases.drop((kind, service, id))
            if self._overlay.is_drained(service, id):  # another one of this name is not meant
                self._decide(Edit(RecordKey(records.DRAIN, service, id), None), now, "")
            return
        key = ("unhealthy", service, id)
        registration = self._overlay.endpoint(service, id)
        found = self._roster.find(service, id)
        after = 0.0
        if registration is not None and found is not None and found[1].state is EndpointState.UNHEALTHY:
            after = registration.deregister_after or self.settings.deregister_unhealthy_after
        if after and found is not None:
            self._leases.set(key, found[1].since + after)
        else:
            self._leases.drop(key)

    # --- tombstones ---------------------------------------------------------------------------------------------------

    def bury(self, key: RecordKey, now: float) -> None:
        """The record of `key` is a tombstone now."""
        self._tombstones.pop(key, None)
        self._tombstones[key] = None
        self._leases.set(("tombstone", key.name, key.id), now + TOMBSTONE_TTL)
        if len(self._tombstones) > MAX_TOMBSTONES:
            self._exhume(next(iter(self._tombstones)), now)

    def unbury(self, key: RecordKey) -> None:
        """It is a registration again."""
        self._tombstones.pop(key, None)
        self._leases.drop(("tombstone", key.name, key.id))

    def _exhume(self, key: RecordKey, now: float) -> None:
        self.unbury(key)
        self._roster.forget_history(key.name, key.id)
        self._decide(Edit(key, None), now, "")

    # --- what is due --------------------------------------------------------------------------------------------------

    def expire(self, now: float) -> bool:
        """Was anything due?"""
        due = self._leases.due(now)
        for kind, name, id in due:
            match kind:
                case "node":
                    self._node_is_silent(name, now)
                case "left":
                    self._forget_node(name, now)
                case "tombstone":
                    self._exhume(RecordKey(records.ENDPOINT, name, id), now)
                case _:
                    found = self._roster.find(name, id)
                    if found is not None:
                        self._endpoint_is_due(kind, *found, id, now)
        return bool(due)

    def _endpoint_is_due(self, kind: str, record: ServiceRecord, entry: Entry, id: str, now: float) -> None:
        registration = self._overlay.endpoint(record.name, id)
        check = record.check_of(entry)
        if kind == "report" and check is not None and check.protocol is CheckProtocol.TTL:
            entry.report = _report(record, id, entry, EndpointState.UNHEALTHY, f"no report for {check.ttl:g} s")
            self._roster.restate(record, id, entry, now)
        elif kind == "lease" and registration is not None:
            self.expirations += 1
            self._lease_is_over(record, entry, registration, now, f"no heartbeat for {registration.ttl:g} s")
            self._roster.restate(record, id, entry, now)
        elif kind in ("forget", "unhealthy") and registration is not None:
            why = f"deregistered: {entry.reason}"
            for edit in self._overlay.edits(RemoveEndpoint(service=record.name, id=id)):
                self._decide(edit, now, why)

    def _lease_is_over(
        self, record: ServiceRecord, entry: Entry, registration: PutEndpoint, now: float, why: str
    ) -> None:
        service, id = record.name, registration.endpoint.id
        entry.lease_over = why
        self._leases.drop(("lease", service, id))
        self._leases.set(("forget", service, id), now + max(registration.ttl, MIN_FORGET))

    def _node_is_silent(self, name: str, now: float) -> None:
        self.expirations += 1
        ttl = lease_of(self._overlay, name, self.settings.node_ttl)
        self._nodes.silent[name] = f"no heartbeat of node {name} for {ttl:g} s"
        self._roster.restate_node(name, now)

    def _forget_node(self, name: str, now: float) -> None:
        if self._overlay.get(records.GONE, name) is None:
            return  # it is back
        if self._nodes.is_used(name):
            self._leases.set(("left", name, ""), now + TOMBSTONE_TTL)
            return
        for kind in (records.NODE, records.GONE):
            if self._overlay.get(kind, name) is not None:
                self._decide(Edit(RecordKey(kind, name), None), now, "")

    def _decide(self, edit: Edit, now: float, why: str) -> None:
        """An edit that nobody asked for."""
        self._overlay.put(edit)
        self.decided.append(edit)
        self._effect(edit, now, why)


def _report(record: ServiceRecord, id: str, entry: Entry, state: EndpointState, reason: str) -> HealthReport:
    return HealthReport(service=record.name, id=id, address=entry.endpoint.address, state=state, reason=reason)
