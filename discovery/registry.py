"""The registry: what is in force now.

`apply` is the only way anything changes. It edits the records of the services that a change concerns and remembers
which; the immutable `snapshot` is made when it is asked for, out of the objects of the last one wherever nothing
changed, so a thousand changes within one publication cost one snapshot. Every change that had an effect is the next
`index`; a service keeps the index of its last change, and a snapshot's version is the index when it was made.

    merge.py    which source is right              overlay.py    what the API said, as records
    states.py   the state of an endpoint, and why  leases.py     deadlines
    admission.py  what is refused                  records.py    services and endpoints, and views of them

Pure: never does I/O, never looks at a clock, never tells anybody. `now` is seconds of a monotonic clock.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import msgspec

from discovery import overlay as records
from discovery.admission import Admission
from discovery.changes import (
    API,
    FILE,
    Base,
    Change,
    ChangeError,
    Durable,
    HealthReport,
    Heartbeat,
    NodeHeartbeat,
    NotFound,
    PutEndpoint,
    PutNode,
    RemoveEndpoint,
    Replace,
    Resolved,
)
from discovery.leases import Leases
from discovery.merge import Merged, Said, merge_endpoint, merge_head, overridden, ranked, resolved_ids
from discovery.model import (
    CheckProtocol,
    Endpoint,
    EndpointState,
    HealthCheck,
    Listener,
    Node,
    Protocol,
    RegistrySettings,
    Service,
    Snapshot,
)
from discovery.overlay import Edit, Overlay, RecordKey
from discovery.records import EndpointView, Entry, HistoryEntry, ServiceRecord, ServiceView, Shadowed
from discovery.states import state_of

TOMBSTONE_TTL = 3600.0  # how long an old report is recognised as one
MAX_TOMBSTONES = 10_000
# A lease that is over takes an endpoint out at once; it is forgotten after as long again, but not sooner than this, so
# that one that was only paused is back with its next heartbeat.
MIN_FORGET = 60.0

LeaseKey = tuple[str, ...]

_DEFAULTS = RegistrySettings()


@dataclass(slots=True, frozen=True)
class EndpointEvent:
    """Something for the event log. `before` None: it is new; `after` None: it is gone."""

    service: str
    endpoint: str
    before: EndpointState | None
    after: EndpointState | None
    reason: str
    origin: str


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
        self.overlay = Overlay()
        self.expirations = 0  # leases that ran out
        self.endpoints = 0  # of all services
        self._settings = settings
        self._base = Snapshot(version=version)
        self._said: dict[str, dict[str, Said]] = {FILE: {}}
        self._order = [FILE]  # of sources other than the API, highest first
        self._services: dict[str, ServiceRecord] = {}
        self._admission = Admission(self.overlay, self._services, self._said, settings)
        self._leases: Leases[LeaseKey] = Leases()
        self._claims: dict[str, dict[str, int]] = {}  # domain -> service -> rank
        self._on_node: dict[str, set[tuple[str, str]]] = {}
        self._silent: dict[str, str] = {}  # nodes that sent no heartbeat, and the reason that their endpoints get
        self._tombstones: dict[RecordKey, None] = {}  # oldest first
        self._former: dict[tuple[str, str], tuple[HistoryEntry, ...]] = {}  # histories of what is gone, oldest first
        self._gone_index = version
        # of the change that is being applied
        self._touched: set[str] = set()
        self._is_changed = False
        self._events: list[EndpointEvent] = []
        self._edits: list[Edit] = []
        # made when asked for
        self._snapshot: Snapshot | None = self._base
        self._listeners: tuple[Listener, ...] | None = ()
        self._nodes: tuple[Node, ...] | None = ()
        self._placeholders: dict[str, Service] = {}

    # --- asking ---------------------------------------------------------------------------------------------------

    @property
    def snapshot(self) -> Snapshot:
        """What is in force. Services, nodes, listeners and settings that did not change are the same objects."""
        if self._snapshot is None:
            if self._listeners is None:
                self._listeners = self._make_listeners()
            if self._nodes is None:
                self._nodes = self._make_nodes()
            services = [record.as_seen() for record in self._services.values()]
            self._snapshot = Snapshot(
                version=self.index,
                settings=self._base.settings,
                listeners=self._listeners,
                services=(*services, *self._placeholders.values()),
                nodes=self._nodes,
            )
        return self._snapshot

    @property
    def leases(self) -> int:
        """How many endpoints and nodes must give a sign of life."""
        return sum(1 for key in self._leases if key[0] in ("lease", "node"))

    def services(self) -> list[str]:
        return list(self._services)

    def service(self, name: str) -> Service | None:
        record = self._services.get(name)
        return None if record is None else record.as_seen()

    def index_of(self, service: str) -> int:
        """When it changed last. Of one that is not there: when it, or another one, was removed."""
        record = self._services.get(service)
        return self._gone_index if record is None else record.index

    def history(self, service: str, id: str) -> tuple[HistoryEntry, ...]:
        """The last changes of an endpoint, also of one that was removed lately; oldest first."""
        record = self._services.get(service)
        entry = None if record is None else record.entries.get(id)
        return self._former.get((service, id), ()) if entry is None else tuple(entry.history)

    def described(self, service: str) -> ServiceView:
        """Raises NotFound."""
        record = self._services.get(service)
        if record is None:
            raise NotFound(f"there is no service called {service}")
        heads = self._heads(service)
        sources = [source for source, _ in heads]
        if self.overlay.policies(service) is not None or service in self.overlay.registered:
            sources.insert(0, API)
        shadowed = [Shadowed(what=what, source=s, by=by) for what, s, by in overridden(heads, record.origins)]
        views = []
        for id, entry in record.entries.items():
            views.append(self._view(service, id, entry))
            merged = entry.merged
            shadowed += [Shadowed(what=id, source=source, by=merged.origin) for source, _ in merged.shadowed]
        return ServiceView(
            service=record.as_seen(),
            index=record.index,
            sources=tuple(sources),
            origins=dict(record.origins),
            endpoints=tuple(views),
            shadowed=tuple(shadowed),
        )

    def notices(self) -> list[str]:
        """What some source says and is not in force, one sentence each."""
        found = []
        for name, record in self._services.items():
            if not record.has_domain:
                owner = self._owner(record.head.domain)
                found.append(f"service {name}: its domain {record.head.domain} belongs to service {owner}")
            heads = self._heads(name)
            for what, source, by in overridden(heads, record.origins):
                found.append(f"service {name}: {what} of the {source} is overridden by the {by}")
            for id, entry in record.entries.items():
                for source, _ in entry.merged.shadowed:
                    found.append(
                        f"service {name}: endpoint {id} of the {source} is overridden by the {entry.merged.origin}"
                    )
        return found

    # --- changing -------------------------------------------------------------------------------------------------

    def configure(self, settings: RegistrySettings) -> None:
        """Limits, lifetimes and the order of directories from now on."""
        self._settings = settings
        self._admission.settings = settings

    def advance(self, version: int) -> None:
        """Somebody has seen `version` already: go on from there."""
        if version > self.index:
            self.index = version
            self._snapshot = None

    def check(self, groups: Iterable[Sequence[Change]]) -> list[tuple[Edit, ...] | ChangeError]:
        """For each group of changes, tried one after the other without any effect: the edits that it would make, or
        why it is refused as a whole."""
        return self._admission.check(groups)

    def apply(self, change: Change, now: float) -> Applied:
        """Put `change` in force. Raises ChangeError, and then nothing has changed."""
        (result,) = self.check([[change]])
        if isinstance(result, ChangeError):
            raise result
        return self.commit([change], now)

    def commit(self, changes: Iterable[Change], now: float) -> Applied:
        """Put in force what has been checked."""
        for change in changes:
            self._commit(change, now)
        return self._finish()

    def restore(self, edits: Iterable[Edit], now: float) -> Applied:
        """What the API said before a restart. Leases begin anew, so that whoever is alive has the time to say so."""
        for edit in edits:
            self.overlay.put(edit)
            self._effect(edit, now, "known from before")
        return self._finish()

    def expire(self, now: float) -> Applied | None:
        """Do what is due. None: nothing was."""
        due = self._leases.due(now)
        for key in due:
            self._expired(key, now)
        return self._finish() if due else None

    def next_expiry(self) -> float | None:
        return self._leases.next()

    # --- one change -----------------------------------------------------------------------------------------------

    def _commit(self, change: Change, now: float) -> None:
        match change:
            case Base(snapshot=snapshot):
                self._set_base(snapshot)
                self._replace(FILE, snapshot.services, now)
            case Replace(source=source, services=services):
                self._replace(source, services, now)
            case Resolved():
                self._resolved(change, now)
            case HealthReport():
                self._report(change, now)
            case Heartbeat():
                self._heartbeat(change, now)
            case NodeHeartbeat(name=name):
                self._node_alive(name, now)
            case _:
                for edit in self.overlay.edits(change):
                    self.overlay.put(edit)
                    self._effect(edit, now, _reason(change))

    def _finish(self) -> Applied:
        is_changed = self._is_changed or bool(self._touched)
        if is_changed:
            self.index += 1
            self._snapshot = None
            for name in self._touched:
                record = self._services.get(name)
                if record is None:
                    self._gone_index = self.index
                else:
                    record.index = self.index
        applied = Applied(self.index, frozenset(self._touched), is_changed, tuple(self._events), tuple(self._edits))
        self._touched, self._is_changed, self._events, self._edits = set(), False, [], []
        return applied

    def _set_base(self, base: Snapshot) -> None:
        former = self._base
        if base.settings != former.settings or base.listeners != former.listeners:
            self._base = msgspec.structs.replace(
                base,
                settings=former.settings if base.settings == former.settings else base.settings,
                listeners=former.listeners if base.listeners == former.listeners else base.listeners,
                services=(),
            )
            self._is_changed = True
            if base.listeners != former.listeners:
                self._listeners = None

    def _replace(self, source: str, services: Iterable[Service], now: float) -> None:
        if source not in self._said:
            self._said[source] = {}
            self._order = ranked(self._said, self._settings.directories)
        said = self._said[source]
        after = {service.name: service for service in services}
        for name in [name for name in said if name not in after]:
            del said[name]
            self._merge_all(name, now, f"removed from the {source}")
        for name, service in after.items():
            former = said.get(name)
            new = Said.of(service)
            if former is None:
                said[name] = new
                self._merge_all(name, now, f"read from the {source}")
                continue
            new.resolved = former.resolved
            if new.service == former.service and new.listed == former.listed:
                continue
            said[name] = new
            self._merge_head(self._services[name], now)
            for id in {**former.listed, **new.listed}:
                if former.endpoint(id) != new.endpoint(id):
                    self._merge_one(self._services[name], id, now, f"changed in the {source}")

    def _resolved(self, change: Resolved, now: float) -> None:
        said = self._said.get(change.source, {}).get(change.service)
        if said is None:
            return  # the source has dropped the service meanwhile
        former = said.resolved.get(change.id, {})
        new = resolved_ids(change.id, change.endpoints)
        if new:
            said.resolved[change.id] = new
        else:
            said.resolved.pop(change.id, None)
        record = self._services[change.service]
        for id in {**former, **new}:
            if former.get(id) != new.get(id):
                self._merge_one(record, id, now, "its name stands for other addresses now")

    def _report(self, change: HealthReport, now: float) -> None:
        found = self._find(change.service, change.id)
        if found is None or found[1].endpoint.address != change.address:
            return  # it is not about what is there now
        record, entry = found
        entry.report = change
        check = _check_of(record, entry)
        if check is not None and check.protocol is CheckProtocol.TTL and change.state is EndpointState.HEALTHY:
            self._leases.set(("report", change.service, change.id), now + check.ttl)
        self._restate(record, change.id, entry, now)

    def _heartbeat(self, change: Heartbeat, now: float) -> None:
        found = self._find(change.service, change.id)
        if found is None:
            return
        record, entry = found
        registration = self.overlay.endpoint(change.service, change.id)
        if registration is not None and registration.ttl:
            self._begin_lease(change.service, change.id, entry, registration, now)
        check = _check_of(record, entry)
        if check is not None and check.protocol is CheckProtocol.TTL:
            reason = change.reason or "it says so"
            self._leases.set(("report", change.service, change.id), now + check.ttl)
            entry.report = HealthReport(
                service=change.service,
                id=change.id,
                address=entry.endpoint.address,
                state=change.state,
                reason=change.reason if change.state is EndpointState.HEALTHY else reason,
            )
        self._restate(record, change.id, entry, now)

    def _effect(self, edit: Edit, now: float, why: str) -> None:
        """An edit of the overlay has been made."""
        key, made = edit
        match key.kind:
            case records.POLICIES:
                self._merge_all(key.name, now, why)
            case records.ENDPOINT:
                self._endpoint_said(key, made, now, why)
            case records.DRAIN:
                found = self._find(key.name, key.id)
                if found is not None:
                    self._restate(found[0], key.id, found[1], now)
            case records.NODE:
                self._nodes, self._is_changed = None, True
                if isinstance(made, PutNode) and made.ttl:
                    self._leases.set(("node", key.name), now + made.ttl)
                self._silent.pop(key.name, None)
                self._node_changed(key.name, now)
            case records.GONE:
                self._nodes, self._is_changed = None, True
                if made is not None:
                    self._leases.drop(("node", key.name))
                    self._silent.pop(key.name, None)
                self._node_changed(key.name, now)
            case records.ROUTE:
                self._listeners, self._is_changed = None, True

    def _endpoint_said(self, key: RecordKey, made: records.Record | None, now: float, why: str) -> None:
        _, name, id = key
        for kind in ("lease", "forget", "unhealthy"):
            self._leases.drop((kind, name, id))
        if isinstance(made, RemoveEndpoint):
            self._bury(key, now)
        else:
            self._tombstones.pop(key, None)
            self._leases.drop(("tombstone", name, id))
        record = self._services.get(name)
        if record is None or not self._is_defined(name):
            self._merge_all(name, now, why)
        else:
            self._merge_one(record, id, now, why)
        found = self._find(name, id)
        if found is not None:
            record, entry = found
            entry.lease_over = ""
            if isinstance(made, PutEndpoint) and made.ttl:
                self._begin_lease(name, id, entry, made, now)
            self._restate(record, id, entry, now)

    def _begin_lease(self, name: str, id: str, entry: Entry, registration: PutEndpoint, now: float) -> None:
        self._leases.set(("lease", name, id), now + registration.ttl)
        self._leases.drop(("forget", name, id))
        entry.lease_over = ""

    def _bury(self, key: RecordKey, now: float) -> None:
        self._tombstones.pop(key, None)
        self._tombstones[key] = None
        self._leases.set(("tombstone", key.name, key.id), now + TOMBSTONE_TTL)
        if len(self._tombstones) > MAX_TOMBSTONES:
            oldest = next(iter(self._tombstones))
            self._leases.drop(("tombstone", oldest.name, oldest.id))
            self._exhume(oldest)

    def _exhume(self, key: RecordKey) -> None:
        self._tombstones.pop(key, None)
        self._former.pop((key.name, key.id), None)
        self._decide(Edit(key, None))

    def _decide(self, edit: Edit) -> None:
        """An edit that nobody asked for."""
        self.overlay.put(edit)
        self._edits.append(edit)

    def _expired(self, key: LeaseKey, now: float) -> None:
        kind, name, id = key if len(key) == 3 else (*key, "")
        if kind == "node":
            ttl = self._node_ttl(name)
            self._silent[name] = f"no heartbeat of node {name} for {ttl:g} s"
            self._nodes, self._is_changed = None, True
            self._node_changed(name, now)
            self.expirations += 1
            return
        if kind == "tombstone":
            self._exhume(RecordKey(records.ENDPOINT, name, id))
            return
        found = self._find(name, id)
        if found is None:
            return
        record, entry = found
        registration = self.overlay.endpoint(name, id)
        if kind == "lease" and registration is not None:
            self.expirations += 1
            entry.lease_over = f"no heartbeat for {registration.ttl:g} s"
            self._leases.set(("forget", name, id), now + max(registration.ttl, MIN_FORGET))
            self._restate(record, id, entry, now)
        elif kind == "report":
            check = _check_of(record, entry)
            if check is not None and check.protocol is CheckProtocol.TTL:
                reason = f"no report for {check.ttl:g} s"
                state = EndpointState.UNHEALTHY
                address = entry.endpoint.address
                entry.report = HealthReport(service=name, id=id, address=address, state=state, reason=reason)
                self._restate(record, id, entry, now)
        elif kind in ("forget", "unhealthy") and registration is not None:
            for edit in self.overlay.edits(RemoveEndpoint(service=name, id=id)):
                self._decide(edit)
                self._effect(edit, now, f"{entry.reason}, and then deregistered")

    # --- services and endpoints -------------------------------------------------------------------------------------

    def _find(self, service: str, id: str) -> tuple[ServiceRecord, Entry] | None:
        record = self._services.get(service)
        entry = None if record is None else record.entries.get(id)
        return None if record is None or entry is None else (record, entry)

    def _heads(self, name: str) -> list[tuple[str, Service]]:
        """Who defines it, highest first."""
        found = []
        for source in self._order:
            said = self._said[source].get(name)
            if said is not None:
                found.append((source, said.service))
        return found

    def _is_defined(self, name: str) -> bool:
        return (
            self.overlay.policies(name) is not None
            or name in self.overlay.registered
            or any(name in said for said in self._said.values())
        )

    def _merged(self, name: str, id: str) -> Merged | None:
        said: list[tuple[str, Endpoint]] = []
        registration = self.overlay.endpoint(name, id)
        if registration is not None:
            said.append((API, registration.endpoint))
        for source in self._order:
            by_source = self._said[source].get(name)
            endpoint = None if by_source is None else by_source.endpoint(id)
            if endpoint is not None:
                said.append((source, endpoint))
        return merge_endpoint(said)

    def _ids(self, name: str) -> dict[str, None]:
        ids: dict[str, None] = {}
        for source in self._order:
            said = self._said[source].get(name)
            if said is not None:
                ids.update(dict.fromkeys(said.ids()))
        ids.update(dict.fromkeys(self.overlay.registered.get(name, ())))
        return ids

    def _merge_all(self, name: str, now: float, why: str) -> None:
        """Anything about this service may be different, its being there included."""
        record = self._services.get(name)
        if not self._is_defined(name):
            if record is not None:
                for id in list(record.entries):
                    self._remove(record, id, now, why)
                del self._services[name]
                self._claim(record, "", 0)
                self._touched.add(name)
                self._listeners_refer(name)
            return
        if record is None:
            record = self._services[name] = ServiceRecord(name, Service(name=name))
            self._touch(record)
            self._listeners_refer(name)
        self._merge_head(record, now)
        for id in {**record.entries, **self._ids(name)}:
            self._merge_one(record, id, now, why)

    def _merge_head(self, record: ServiceRecord, now: float) -> None:
        said = self._heads(record.name)
        head, origins = merge_head(record.name, said, self.overlay.policies(record.name))
        record.origins = origins
        by = origins.get("domain", said[0][0] if said else API)
        self._claim(record, head.domain, 0 if by == API else self._order.index(by) + 1)
        if head == record.head:
            return
        is_checked_otherwise = head.health_check != record.head.health_check
        record.head = head
        self._touch(record)
        if is_checked_otherwise:
            for id, entry in record.entries.items():
                self._restate(record, id, entry, now)

    def _merge_one(self, record: ServiceRecord, id: str, now: float, why: str) -> None:
        merged = self._merged(record.name, id)
        entry = record.entries.get(id)
        if merged is None:
            if entry is not None:
                self._remove(record, id, now, why)
            return
        if entry is None:
            entry = record.entries[id] = Entry(merged, now)
            self.endpoints += 1
            self._runs_on(merged.endpoint.node, record.name, id)
            self._touch(record)
        elif entry.merged != merged:
            former, entry.merged = entry.merged, merged
            if former.endpoint.address != merged.endpoint.address:
                entry.report = None  # it was about the former place
                self._leases.drop(("report", record.name, id))
            if former.origin == API != merged.origin:
                entry.lease_over = ""
            if former.endpoint.node != merged.endpoint.node:
                self._runs_no_more(former.endpoint.node, record.name, id)
                self._runs_on(merged.endpoint.node, record.name, id)
            if former.endpoint != merged.endpoint:
                entry.made = None
                self._touch(record)
        self._restate(record, id, entry, now, why)

    def _remove(self, record: ServiceRecord, id: str, now: float, why: str) -> None:
        entry = record.entries.pop(id)
        self.endpoints -= 1
        self._runs_no_more(entry.endpoint.node, record.name, id)
        for kind in ("lease", "forget", "unhealthy", "report"):
            self._leases.drop((kind, record.name, id))
        entry.history.append(HistoryEntry(time=now, state=None, reason=why))
        self._former.pop((record.name, id), None)
        self._former[record.name, id] = tuple(entry.history)
        if len(self._former) > MAX_TOMBSTONES:
            del self._former[next(iter(self._former))]
        origin = entry.merged.origin
        self._events.append(EndpointEvent(record.name, id, entry.state, None, why, origin))
        self._touch(record)

    def _restate(self, record: ServiceRecord, id: str, entry: Entry, now: float, why: str = "") -> None:
        """Find out the state of an endpoint; its only way to one."""
        state, reason = state_of(
            entry.endpoint,
            _check_of(record, entry),
            entry.report,
            is_drained=self.overlay.is_drained(record.name, id),
            node_gone=self._node_gone(entry.endpoint.node),
            lease_over=entry.lease_over,
        )
        entry.reason = reason
        if state is not entry.state:
            before, entry.state, entry.since, entry.made = entry.state, state, now, None
            told = reason or why
            entry.history.append(HistoryEntry(time=now, state=state, reason=told))
            self._events.append(EndpointEvent(record.name, id, before, state, told, entry.merged.origin))
            self._touch(record)
            self._watch_unhealthy(record.name, id, entry)

    def _watch_unhealthy(self, name: str, id: str, entry: Entry) -> None:
        registration = self.overlay.endpoint(name, id)
        key = ("unhealthy", name, id)
        after = 0.0
        if registration is not None and entry.state is EndpointState.UNHEALTHY:
            after = registration.deregister_after or self._settings.deregister_unhealthy_after
        if after:
            self._leases.set(key, entry.since + after)
        else:
            self._leases.drop(key)

    def _touch(self, record: ServiceRecord) -> None:
        record.made = None
        self._touched.add(record.name)

    def _view(self, service: str, id: str, entry: Entry) -> EndpointView:
        registration = self.overlay.endpoint(service, id)
        ttl = registration.ttl if registration is not None else 0.0
        expires = self._leases.deadline(("lease", service, id))
        if expires is None and entry.lease_over:
            expires = entry.since
        return EndpointView(
            endpoint=entry.as_seen(),
            origin=entry.merged.origin,
            reason=entry.reason,
            since=entry.since,
            ttl=ttl,
            expires=expires,
            revision=registration.revision if registration is not None else 0,
            is_drained=self.overlay.is_drained(service, id),
        )

    # --- domains ----------------------------------------------------------------------------------------------------

    def _claim(self, record: ServiceRecord, domain: str, rank: int) -> None:
        """Of several services with one domain, the one of the higher source has it."""
        former = record.head.domain
        if former and former != domain:
            claims = self._claims[former]
            claims.pop(record.name, None)
            if not claims:
                del self._claims[former]
            self._settle(former)
        if domain:
            self._claims.setdefault(domain, {})[record.name] = rank
            self._settle(domain)
        if not domain:
            record.has_domain = True

    def _settle(self, domain: str) -> None:
        owner = self._owner(domain)
        for name in self._claims.get(domain, ()):
            record = self._services.get(name)
            if record is not None and record.has_domain != (name == owner):
                record.has_domain = name == owner
                self._touch(record)

    def _owner(self, domain: str) -> str:
        claims = self._claims.get(domain)
        return min(claims, key=lambda name: (claims[name], name)) if claims else ""

    # --- nodes ------------------------------------------------------------------------------------------------------

    def _node_gone(self, name: str) -> str:
        if not name:
            return ""
        if self.overlay.get(records.GONE, name) is not None:
            return f"node {name} has left"
        return self._silent.get(name, "")

    def _node_ttl(self, name: str) -> float:
        record = self.overlay.get(records.NODE, name)
        return record.ttl if isinstance(record, PutNode) and record.ttl else self._settings.node_ttl

    def _node_alive(self, name: str, now: float) -> None:
        ttl = self._node_ttl(name)
        if ttl:
            self._leases.set(("node", name), now + ttl)
        was_gone = bool(self._node_gone(name))
        self._silent.pop(name, None)
        if self.overlay.get(records.GONE, name) is not None:
            self._decide(Edit(RecordKey(records.GONE, name), None))
        if was_gone:
            self._nodes, self._is_changed = None, True
            self._node_changed(name, now)

    def _node_changed(self, name: str, now: float) -> None:
        for service, id in sorted(self._on_node.get(name, ())):
            record = self._services[service]
            self._restate(record, id, record.entries[id], now, f"node {name} is back")

    def _runs_on(self, node: str, service: str, id: str) -> None:
        if node:
            if node not in self._on_node:
                self._on_node[node] = set()
                self._nodes, self._is_changed = None, True
            self._on_node[node].add((service, id))

    def _runs_no_more(self, node: str, service: str, id: str) -> None:
        if node:
            self._on_node[node].discard((service, id))
            if not self._on_node[node]:
                del self._on_node[node]
                self._nodes, self._is_changed = None, True

    def _make_nodes(self) -> tuple[Node, ...]:
        nodes = {name: Node(name=name) for name in self._on_node}
        for key, record in self.overlay.records.items():
            if key.kind == records.NODE and isinstance(record, PutNode):
                nodes[key.name] = record.node
        return tuple(nodes[name] for name in sorted(nodes) if not self._node_gone(name))

    # --- listeners --------------------------------------------------------------------------------------------------

    def _make_listeners(self) -> tuple[Listener, ...]:
        """Those of the file, with the routes of the API before theirs."""
        made = []
        for listener in self._base.listeners:
            if listener.protocol in (Protocol.HTTP, Protocol.AUTO):
                routes = [put.route for put in self.overlay.routes.values() if put.listener in ("", listener.name)]
                if routes:
                    names = {route.name for route in routes}
                    routes += [route for route in listener.routes if route.name not in names]
                    listener = msgspec.structs.replace(listener, routes=tuple(routes))
            made.append(listener)
        referred = {name for listener in made for name in _services_of(listener)}
        missing = sorted(name for name in referred if name not in self._services)
        self._placeholders = {name: self._placeholders.get(name) or Service(name=name) for name in missing}
        return tuple(made)

    def _listeners_refer(self, name: str) -> None:
        """`name` came or went. A route to a service that nobody defines leads to one without endpoints, instead of
        letting another route take its requests."""
        self._listeners = None


def _services_of(listener: Listener) -> Iterable[str]:
    for route in listener.all_routes:
        if route.service:
            yield route.service
        for split in route.split:
            if split.service:
                yield split.service


def _check_of(record: ServiceRecord, entry: Entry) -> HealthCheck | None:
    return entry.endpoint.health_check or record.head.health_check


def _reason(change: Durable) -> str:
    match change:
        case PutEndpoint():
            return "registered"
        case RemoveEndpoint():
            return "deregistered"
        case _:
            return "changed by the API"
