"""The registry: what is in force now.

`apply` is the only way anything changes. It edits the records of the services that a change concerns and remembers
which; the immutable `snapshot` is made when it is asked for, out of the objects of the last one wherever nothing
changed, so a thousand changes within one publication cost one snapshot. Every change that had an effect is the next
`index`; a service keeps the index of its last change, and a snapshot's version is the index when it was made.

    admission.py   what is refused                 overlay.py      what the API said, as records
    statements.py  what everybody said             merge.py        who is right
    roster.py      services and endpoints as is    states.py       the state of an endpoint, and why
    lifetimes.py   what happens by time            leases.py       deadlines
    snapshots.py   the snapshot in force           views.py        services as they are described
    domains.py, nodes.py, listeners.py             what one service cannot know by itself

Pure: never does I/O, never looks at a clock, never tells anybody. `now` is seconds of a monotonic clock.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass

import msgspec

from discovery import overlay as records
from discovery.admission import Admission
from discovery.changes import (
    FILE,
    Base,
    Change,
    ChangeError,
    Durable,
    HealthReport,
    Heartbeat,
    NodeHeartbeat,
    PutEndpoint,
    PutNode,
    PutPolicies,
    PutRoute,
    RemoveEndpoint,
    Replace,
    Resolved,
)
from discovery.config import RegistrySettings
from discovery.lifetimes import Lifetimes
from discovery.model import EndpointState, Service, Snapshot
from discovery.nodes import Nodes
from discovery.overlay import Edit, Overlay, Record, RecordKey
from discovery.preview import preview
from discovery.records import EndpointEvent, HistoryEntry, ServiceView
from discovery.roster import Roster
from discovery.snapshots import Snapshots
from discovery.statements import Statements
from discovery.views import Views

_DEFAULTS = RegistrySettings()


@dataclass(slots=True, frozen=True)
class Applied:
    """What a change did. `edits`: what the registry decided by itself and a store should be told of."""

    index: int
    services: frozenset[str] = frozenset()
    changed: bool = False
    events: tuple[EndpointEvent, ...] = ()
    edits: tuple[Edit, ...] = ()


class Registry:
    def __init__(self, version: int = 0, settings: RegistrySettings = _DEFAULTS) -> None:
        """Counting goes on from `version`."""
        self.index = version
        self._overlay = Overlay()
        self._statements = Statements(self._overlay, settings.directories)
        self._nodes = Nodes(self._overlay)
        self._roster = Roster(self._overlay, self._statements, self._nodes)
        self._lifetimes = Lifetimes(self._overlay, self._roster, self._nodes, self._effect, settings)
        self._admission = Admission(self._overlay, self._statements, self._roster, self._nodes, settings)
        self._gone_index = version
        self._followed = 0  # of the roster's events
        self._is_changed = False  # by the change that is being applied: something other than services
        self._snapshots = Snapshots(self._overlay, self._roster, self._nodes)
        self._views = Views(self._overlay, self._statements, self._roster, self._lifetimes)

    # --- asking ---------------------------------------------------------------------------------------------------

    @property
    def snapshot(self) -> Snapshot:
        """What is in force. Services, nodes, listeners and settings that did not change are the same objects."""
        return self._snapshots.current(self.index)

    @property
    def endpoints(self) -> int:
        """How many there are, of all services."""
        return self._roster.endpoints

    @property
    def leases(self) -> int:
        """How many endpoints and nodes have to give a sign of life."""
        return self._lifetimes.count

    @property
    def expirations(self) -> int:
        """How many leases ran out so far."""
        return self._lifetimes.expirations

    def services(self) -> list[str]:
        return list(self._roster.services)

    def service(self, name: str) -> Service | None:
        record = self._roster.services.get(name)
        return None if record is None else record.as_seen()

    def policies(self, service: str) -> PutPolicies | None:
        """What the API sets of it."""
        return self._overlay.policies(service)

    def registered(self, service: str) -> Mapping[str, PutEndpoint]:
        """What the API registered for it, by id."""
        return self._overlay.registered.get(service, {})

    def route(self, name: str) -> PutRoute | None:
        """One that the API has added."""
        return self._overlay.routes.get(name)

    def index_of(self, service: str) -> int:
        """When it changed last. Of one that is not there: when it, or another one, was removed."""
        record = self._roster.services.get(service)
        return self._gone_index if record is None else record.index

    def history(self, service: str, id: str) -> tuple[HistoryEntry, ...]:
        """The last changes of an endpoint, also of one that was removed lately; oldest first."""
        return self._roster.history(service, id)

    def described(self, service: str) -> ServiceView:
        """Raises NotFound."""
        return self._views.described(service)

    def notices(self) -> list[str]:
        """What some source says and is not in force, one sentence each."""
        return self._views.notices()

    def records(self) -> list[Edit]:
        """All that a store would have."""
        return [Edit(key, record) for key, record in self._overlay.records.items()]

    def statements(self) -> list[Replace | Resolved]:
        """What the sources other than the file and the API have said, as changes that say it again."""
        said: list[Replace | Resolved] = []
        for source, services in self._statements.said.items():
            if source != FILE:
                listed = tuple(
                    msgspec.structs.replace(each.service, endpoints=tuple(each.listed.values()))
                    for each in services.values()
                )
                said.append(Replace(source=source, services=listed))
            for name, each in services.items():
                for id, endpoints in each.resolved.items():
                    said.append(Resolved(service=name, id=id, endpoints=tuple(endpoints.values()), source=source))
        return said

    def sources(self) -> list[str]:
        """Those other than the API that have said something, highest first."""
        return list(self._statements.order)

    # --- changing -------------------------------------------------------------------------------------------------

    def configure(self, settings: RegistrySettings, now: float) -> Applied:
        """Limits, lifetimes and the order of directories from now on."""
        self._admission.settings = self._lifetimes.settings = settings
        former = list(self._statements.order)
        self._statements.rank(settings.directories)
        if self._statements.order != former:
            for name in list(self._roster.services):
                self._roster.merge_service(name, now, "directories have another order")
        return self._finish(now)

    def advance(self, version: int) -> None:
        """Somebody has seen `version` already: go on from there."""
        if version > self.index:
            self.index = version
            self._snapshots.outdate()

    def touch(self, services: Iterable[str]) -> Applied:
        """Something about these services is different that is not kept here, such as a circuit breaker: they count as
        changed, so that whoever follows them is told."""
        known = [found for name in services if (found := self._roster.services.get(name)) is not None]
        if not known:
            return Applied(self.index)
        self.index += 1
        self._snapshots.outdate()
        for record in known:
            record.index = self.index
        return Applied(self.index, frozenset(record.name for record in known), True)

    def check(
        self, groups: Iterable[Sequence[Change]], settings: RegistrySettings | None = None
    ) -> list[tuple[Edit, ...] | ChangeError]:
        """For each group of changes, tried one after the other without any effect: the edits that it would make, or
        why it is refused as a whole. `settings`: by these limits instead of those in force."""
        admission = self._admission
        former, admission.settings = admission.settings, settings or admission.settings
        try:
            return admission.check(groups)
        finally:
            admission.settings = former

    def preview(self, base: Snapshot) -> Snapshot:
        """What `Base(base)` would lead to, of the next version; the snapshot in force if it is the same. Nothing
        changes."""
        now = self.snapshot
        then = self.would_be(base)
        if then is now:
            return now
        self._snapshots.tried = msgspec.structs.replace(then, version=now.version + 1)
        return self._snapshots.tried

    def would_be(self, base: Snapshot) -> Snapshot:
        """The same for somebody who only wants to know: nothing is kept of it, and its version is the one in force."""
        now = self.snapshot
        then = preview(base, now.version, self._overlay, self._statements, self._roster, self._nodes)
        return now if then == now else then

    def apply(self, change: Change, now: float) -> Applied:
        """Put `change` in force. Raises ChangeError, and then nothing has changed."""
        (result,) = self.check([[change]])
        if isinstance(result, ChangeError):
            raise result
        return self.commit([change], now)

    def commit(self, changes: Iterable[Change], now: float) -> Applied:
        """Put in force what `check` has let pass. What has become void since then has no effect."""
        for change in changes:
            self._commit(change, now)
            self._follow(now)
        return self._finish(now)

    def restore(self, edits: Iterable[Edit], now: float) -> Applied:
        """What the API said before a restart. Leases begin anew, so that whoever is alive has the time to say so."""
        for edit in edits:
            self._overlay.put(edit)
            self._effect(edit, now, "known from before")
            self._follow(now)
        return self._finish(now)

    def adopt(self, known: Callable[[str, str, str], EndpointState | None], now: float) -> Applied:
        """The states that endpoints had before a restart: `known` is asked with service, id and address. Who was
        healthy by its check is so until a check says otherwise; whose lease was over has to send a heartbeat."""
        for record in self._roster.services.values():
            for id, entry in record.entries.items():
                state = known(record.name, id, entry.endpoint.address)
                if state in (EndpointState.HEALTHY, EndpointState.UNHEALTHY):
                    self._lifetimes.adopt(record, id, entry, state, now)
        self._follow(now)
        return self._finish(now)

    def expire(self, now: float) -> Applied | None:
        """Do what is due. None: nothing was."""
        if not self._lifetimes.expire(now):
            return None
        self._follow(now)
        return self._finish(now)

    def next_expiry(self) -> float | None:
        """When `expire` should be called; there may be nothing to do then."""
        return self._lifetimes.next()

    # --- one change -----------------------------------------------------------------------------------------------

    def _commit(self, change: Change, now: float) -> None:
        match change:
            case Base(snapshot=snapshot):
                self._is_changed |= self._snapshots.put_base(snapshot)
                self._admission.listeners = snapshot.listeners
                self._replace(FILE, snapshot.services, now)
            case Replace(source=source, services=services):
                self._replace(source, services, now)
            case Resolved(service=service):
                for id in self._statements.resolve(change) or ():
                    record = self._roster.services[service]
                    self._roster.merge_endpoint(record, id, now, "its name stands for other addresses")
            case HealthReport():
                self._report(change, now)
            case Heartbeat():
                self._lifetimes.heartbeat(change, now)
            case NodeHeartbeat(name=name):
                self._lifetimes.node_heartbeat(name, now)
            case _:
                for edit in self._overlay.edits(change):
                    self._overlay.put(edit)
                    self._effect(edit, now, _reason(change))

    def _replace(self, source: str, services: Iterable[Service], now: float) -> None:
        former = self._statements.said.get(source, {})
        said = self._statements.read(source, services)
        order = self._statements.order
        self._statements.put(source, said)
        is_inserted = self._statements.order[: len(order)] != order
        for name in former:
            if name not in said:
                self._roster.merge_service(name, now, f"removed from the {source}")
        for name, new in said.items():
            was = former.get(name)
            if was is None:
                self._roster.merge_service(name, now, f"defined by the {source}")
            elif was is not new:
                record = self._roster.services[name]
                self._roster.merge_head(record, now)
                for id in {**was.listed, **new.listed}:
                    if was.endpoint(id) != new.endpoint(id):
                        self._roster.merge_endpoint(record, id, now, f"changed by the {source}")
        if is_inserted:  # a new source before others: their claims to domains are one rank lower now
            for record in list(self._roster.services.values()):
                self._roster.merge_head(record, now)

    def _report(self, change: HealthReport, now: float) -> None:
        found = self._roster.find(change.service, change.id)
        if found is None or found[1].endpoint.address != change.address:
            return  # it is not about what is there now
        record, entry = found
        entry.report = change
        self._lifetimes.reported(change, record, entry, now)
        self._roster.restate(record, change.id, entry, now)

    def _effect(self, edit: Edit, now: float, why: str) -> None:
        """An edit of the overlay has been made."""
        key, made = edit
        match key.kind:
            case records.POLICIES:
                self._roster.merge_service(key.name, now, why)
            case records.ENDPOINT:
                self._registered(key, made, now, why)
            case records.DRAIN:
                found = self._roster.find(key.name, key.id)
                if found is not None:
                    self._roster.restate(found[0], key.id, found[1], now, why)
            case records.NODE:
                if isinstance(made, PutNode):
                    self._lifetimes.node_put(key.name, made.ttl, now)
                self._roster.restate_node(key.name, now)
            case records.GONE:
                if made is not None:
                    self._lifetimes.node_left(key.name, now)
                self._roster.restate_node(key.name, now)
            case records.ROUTE:
                self._snapshots.outdate(routes=True)
                self._is_changed = True

    def _registered(self, key: RecordKey, made: Record | None, now: float, why: str) -> None:
        _, name, id = key
        if isinstance(made, RemoveEndpoint):
            self._lifetimes.bury(key, now)
        else:
            self._lifetimes.unbury(key)
        if not isinstance(made, PutEndpoint):
            self._lifetimes.end(name, id)
        record = self._roster.services.get(name)
        if record is None or not self._statements.is_defined(name):
            self._roster.merge_service(name, now, why)
        else:
            self._roster.merge_endpoint(record, id, now, why)
        found = self._roster.find(name, id)
        if isinstance(made, PutEndpoint) and found is not None:
            record, entry = found
            self._lifetimes.begin(made, entry, now)
            self._roster.restate(record, id, entry, now, why)

    def _follow(self, now: float) -> None:
        """Changes of states have their own consequences in time."""
        for event in self._roster.events[self._followed :]:
            self._lifetimes.follow(event, now)
        self._followed = len(self._roster.events)

    def _finish(self, now: float) -> Applied:
        self._follow(now)
        roster = self._roster
        is_changed = self._is_changed or roster.has_other_nodes or bool(roster.touched)
        if is_changed:
            self.index += 1
            self._snapshots.outdate(roster.touched, nodes=roster.has_other_nodes, targets=roster.has_other_targets)
            for name in roster.touched:
                record = roster.services.get(name)
                if record is None:
                    self._gone_index = self.index
                else:
                    record.index = self.index
        applied = Applied(
            self.index,
            frozenset(roster.touched),
            is_changed,
            tuple(roster.events),
            tuple(self._lifetimes.decided),
        )
        self._is_changed = roster.has_other_nodes = roster.has_other_targets = False
        roster.touched, roster.events, self._lifetimes.decided, self._followed = set(), [], [], 0
        return applied


def _reason(change: Durable) -> str:
    match change:
        case PutEndpoint():
            return "registered"
        case RemoveEndpoint():
            return "deregistered"
        case _:
            return "changed by the API"
