"""The difference of two snapshots, and a snapshot with a difference applied.

`merge(old, delta(old, new)) == new` for every pair. A difference names what changed and nothing else: a service by the
fields that it has now, its endpoints by what came, went or is other than it was. Where things stand in their sequence
travels as positions (discovery/splices.py), so one endpoint among ten thousand is one endpoint on the wire. What did
not change stays the very same object after a merge: a data plane recognises it by identity and keeps its pools.
Comparing costs one look per service and, within a service that is another object, one per endpoint.
Pure: never does I/O, never looks at a clock.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import msgspec

from discovery.model import Endpoint, Listener, Node, Service, Settings, Snapshot, Struct
from discovery.splices import Splice, compare, splice

Identity = tuple[str, str]  # of an endpoint within its service: id and address


class ServiceDelta(Struct):
    """What changed of the service that stands at `at` after the splices of its snapshot. `fields` is the service as it
    is now, without endpoints; None: nothing but endpoints changed."""

    name: str
    at: int
    fields: Service | None = None
    endpoints: tuple[Splice[Endpoint], ...] = ()


class SnapshotDelta(Struct):
    """What changed from version `base` to `version`. None: unchanged. `spliced` are the services that came, went or
    changed places, `services` those that are other than they were."""

    base: int
    version: int
    settings: Settings | None = None
    listeners: tuple[Listener, ...] | None = None
    nodes: tuple[Node, ...] | None = None
    spliced: tuple[Splice[Service], ...] = ()
    services: tuple[ServiceDelta, ...] = ()

    @property
    def is_empty(self) -> bool:
        """Nothing but the version differs."""
        return (
            self.settings is None
            and self.listeners is None
            and self.nodes is None
            and not self.spliced
            and not self.services
        )


class ServiceChange(NamedTuple):
    """A service before and after a change; None where there is none. `splices` turn the endpoints of `was` into those
    of `now`, if both are there."""

    name: str
    was: Service | None
    now: Service | None
    splices: tuple[Splice[Endpoint], ...] = ()

    def put(self) -> Sequence[Endpoint]:
        """Endpoints that are new or other than they were (or stand elsewhere)."""
        if self.now is None:
            return ()
        if self.was is None:
            return self.now.endpoints
        return [endpoint for each in self.splices for endpoint in each.inserted]

    def taken(self) -> Sequence[Endpoint]:
        """Endpoints that are gone or other than they are now (or stood elsewhere), as they were."""
        was = self.was
        if was is None:
            return ()
        if self.now is None:
            return was.endpoints
        return [endpoint for each in self.splices for endpoint in was.endpoints[each.at : each.at + each.removed]]

    def gone(self) -> Sequence[Endpoint]:
        """Endpoints whose identity is there no more, as they were."""
        there = {identity(endpoint) for endpoint in self.put()}
        return [endpoint for endpoint in self.taken() if identity(endpoint) not in there]


class SnapshotChange(NamedTuple):
    """A snapshot, and its services that are other than they were in the one before. All else that is the same is the
    same object."""

    snapshot: Snapshot
    services: tuple[ServiceChange, ...]


class VersionMismatch(ValueError):
    """A difference does not start where the snapshot stands: the whole snapshot has to be sent."""


def identity(endpoint: Endpoint) -> Identity:
    return endpoint.id, endpoint.address


def delta(old: Snapshot, new: Snapshot) -> SnapshotDelta:
    """What turns `old` into `new`. Names of services are unique within a snapshot, identities within a service."""
    found = compare(old.services, new.services, _name)
    services = []
    for was, now in found.pairs:
        change = _service_delta(old.services[was], new.services[now], now)
        if change is not None:
            services.append(change)
    return SnapshotDelta(
        base=old.version,
        version=new.version,
        settings=None if old.settings == new.settings else new.settings,
        listeners=None if old.listeners == new.listeners else new.listeners,
        nodes=None if old.nodes == new.nodes else new.nodes,
        spliced=found.splices,
        services=tuple(services),
    )


def merge(old: Snapshot, change: SnapshotDelta) -> Snapshot:
    """`old` with `change` in force; what did not change is the same objects. Raises VersionMismatch."""
    return merge_telling(old, change).snapshot


def merge_telling(old: Snapshot, change: SnapshotDelta) -> SnapshotChange:
    """`merge`, and what it changed. A service that only changed its place is told of as well."""
    if change.base != old.version:
        raise VersionMismatch(f"a change from version {change.base} does not fit version {old.version}")
    services = old.services
    changes: list[ServiceChange] = []
    if change.spliced or change.services:
        before = {
            service.name: service
            for each in change.spliced
            for service in old.services[each.at : each.at + each.removed]
        }
        replaced = splice(old.services, [_kept(each, before, changes) for each in change.spliced])
        changes.extend(ServiceChange(name, was, None) for name, was in before.items())
        for each in change.services:
            was = replaced[each.at]
            now = replaced[each.at] = _merge_service(was, each)
            changes.append(ServiceChange(now.name, was, now, each.endpoints))
        services = tuple(replaced)
    snapshot = Snapshot(
        version=change.version,
        settings=old.settings if change.settings is None else change.settings,
        listeners=old.listeners if change.listeners is None else change.listeners,
        services=services,
        nodes=old.nodes if change.nodes is None else change.nodes,
    )
    return SnapshotChange(snapshot, tuple(changes))


def rebase(old: Snapshot, new: Snapshot) -> Snapshot:
    """`new`, made of the objects of `old` wherever they are equal."""
    return merge(old, delta(old, new))


def change_between(old: Snapshot, new: Snapshot) -> SnapshotChange:
    """`rebase`, and what is other than in `old`."""
    return merge_telling(old, delta(old, new))


def _name(service: Service) -> str:
    return service.name


def _splices(was: Service, now: Service) -> tuple[Splice[Endpoint], ...]:
    """What turns the endpoints of `was` into those of `now`."""
    found = compare(was.endpoints, now.endpoints, identity)
    if not found.pairs:
        return found.splices
    replaced = [
        Splice(at=old, removed=1, inserted=(now.endpoints[new],))
        for old, new in found.pairs
        if was.endpoints[old] != now.endpoints[new]
    ]
    return tuple(sorted((*found.splices, *replaced), key=_position))


def _position(each: Splice[Endpoint]) -> tuple[int, int]:
    return each.at, each.removed  # what is only put in stands before what is taken out there


def _service_delta(was: Service, now: Service, at: int) -> ServiceDelta | None:
    splices = () if was.endpoints is now.endpoints else _splices(was, now)
    fields = _without_endpoints(now)
    if fields == _without_endpoints(was):
        return ServiceDelta(name=now.name, at=at, endpoints=splices) if splices else None
    return ServiceDelta(name=now.name, at=at, fields=fields, endpoints=splices)


def _merge_service(was: Service, change: ServiceDelta) -> Service:
    if was.name != change.name:
        raise VersionMismatch(f"a change of service {change.name} met service {was.name}")
    endpoints = tuple(splice(was.endpoints, change.endpoints)) if change.endpoints else was.endpoints
    return msgspec.structs.replace(was if change.fields is None else change.fields, endpoints=endpoints)


def _without_endpoints(service: Service) -> Service:
    return msgspec.structs.replace(service, endpoints=())


def _kept(each: Splice[Service], before: dict[str, Service], changes: list[ServiceChange]) -> Splice[Service]:
    """`each` with the objects that there were before wherever they are equal. What it puts in is added to `changes`
    and taken from `before`."""
    inserted = []
    for service in each.inserted:
        was = before.pop(service.name, None)
        if was is not None and was == service:
            service = was
        inserted.append(service)
        splices = () if was is None or was is service else _splices(was, service)
        changes.append(ServiceChange(service.name, was, service, splices))
    return Splice(at=each.at, removed=each.removed, inserted=tuple(inserted))
