"""The difference of two snapshots, and a snapshot with a difference applied.

`merge(old, delta(old, new)) == new` for every pair. Services travel whole and by name: what did not change stays the
very same object after a merge, so that a data plane recognises it by identity and keeps its pools. The order of
services is part of a snapshot but means nothing; a difference carries it only when it cannot be derived.
Pure: never does I/O, never looks at a clock.
"""

from __future__ import annotations

from discovery.model import Listener, Node, Service, Settings, Snapshot, Struct


class SnapshotDelta(Struct):
    """What changed from version `base` to `version`. None: unchanged. Services are replaced whole, by name."""

    base: int
    version: int
    settings: Settings | None = None
    listeners: tuple[Listener, ...] | None = None
    nodes: tuple[Node, ...] | None = None
    services: tuple[Service, ...] = ()
    services_removed: tuple[str, ...] = ()
    order: tuple[str, ...] | None = None  # of the services, where keeping the old and appending the new is not it

    @property
    def is_empty(self) -> bool:
        """Nothing but the version differs."""
        return (
            self.settings is None
            and self.listeners is None
            and self.nodes is None
            and self.order is None
            and not self.services
            and not self.services_removed
        )


class VersionMismatch(ValueError):
    """A difference does not start where the snapshot stands: the whole snapshot has to be sent."""


def delta(old: Snapshot, new: Snapshot) -> SnapshotDelta:
    """What turns `old` into `new`. Names of services are unique within a snapshot."""
    before = {service.name: service for service in old.services}
    after = {service.name: service for service in new.services}
    changed = tuple(service for service in new.services if not _is_same(before.get(service.name), service))
    removed = tuple(name for name in before if name not in after)
    wanted = tuple(after)
    derived = _derived_order(before, changed, removed)
    return SnapshotDelta(
        base=old.version,
        version=new.version,
        settings=None if old.settings == new.settings else new.settings,
        listeners=None if old.listeners == new.listeners else new.listeners,
        nodes=None if old.nodes == new.nodes else new.nodes,
        services=changed,
        services_removed=removed,
        order=None if derived == wanted else wanted,
    )


def merge(old: Snapshot, change: SnapshotDelta) -> Snapshot:
    """`old` with `change` in force; services that did not change are the same objects. Raises VersionMismatch."""
    if change.base != old.version:
        raise VersionMismatch(f"a change from version {change.base} does not fit version {old.version}")
    services = {service.name: service for service in old.services}
    for name in change.services_removed:
        services.pop(name, None)
    for service in change.services:
        services[service.name] = service
    order = services if change.order is None else change.order
    return Snapshot(
        version=change.version,
        settings=old.settings if change.settings is None else change.settings,
        listeners=old.listeners if change.listeners is None else change.listeners,
        services=tuple(services[name] for name in order),
        nodes=old.nodes if change.nodes is None else change.nodes,
    )


def rebase(old: Snapshot, new: Snapshot) -> Snapshot:
    """`new`, made of the objects of `old` wherever they are equal."""
    return merge(old, delta(old, new))


def _is_same(old: Service | None, new: Service) -> bool:
    return old is new or old == new  # most are the same object, and comparing contents takes longer


def _derived_order(
    before: dict[str, Service], changed: tuple[Service, ...], removed: tuple[str, ...]
) -> tuple[str, ...]:
    gone = set(removed)
    kept = tuple(name for name in before if name not in gone)
    return kept + tuple(service.name for service in changed if service.name not in before)
