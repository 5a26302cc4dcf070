"""The snapshot in force, made when it is asked for.

Out of the objects of the last one wherever nothing changed, so whoever compares two of them finds what did at once. The
registry says what of it is not so any more (`outdate`); nothing else is looked at again. Pure.
"""

from __future__ import annotations

from collections.abc import Iterable

from discovery.listeners import missing, with_routes
from discovery.model import Listener, Node, Service, Snapshot
from discovery.nodes import Nodes
from discovery.overlay import Overlay
from discovery.roster import Roster


class Snapshots:
    """`base` is what the file says beside services. `tried` is a snapshot that somebody has already: its objects are
    taken if the next one is equal to it."""

    def __init__(self, overlay: Overlay, roster: Roster, nodes: Nodes) -> None:
        self.base = Snapshot()  # without services
        self.tried: Snapshot | None = None
        self._overlay = overlay
        self._roster = roster
        self._nodes = nodes
        self._snapshot: Snapshot | None = None
        self._made: dict[str, Service] = {}
        self._stale: set[str] = set()  # services that are not as in `_made`
        self._listeners: tuple[Listener, ...] | None = None
        self._in_force: tuple[Node, ...] | None = None
        self._placeholders: dict[str, Service] | None = None

    def outdate(
        self, services: Iterable[str] = (), *, routes: bool = False, nodes: bool = False, targets: bool = False
    ) -> None:
        """There is another version: with these services other than they were or gone, and where it is said with other
        routes, other nodes, or services that lead to other ones."""
        self._snapshot = None
        self._stale.update(services)
        if routes:
            self._listeners = None
        if routes or targets:
            self._placeholders = None
        if nodes:
            self._in_force = None

    def put_base(self, base: Snapshot) -> bool:
        """Whether it is another one, services aside."""
        former = self.base
        is_routed_otherwise = base.listeners != former.listeners
        has_other_nodes = base.nodes != former.nodes
        is_set_otherwise = base.settings != former.settings
        if is_routed_otherwise:
            self._listeners = self._placeholders = None
        if has_other_nodes:
            self._in_force = None
            self._nodes.listed = base.nodes
        self.base = Snapshot(
            settings=base.settings if is_set_otherwise else former.settings,
            listeners=base.listeners if is_routed_otherwise else former.listeners,
            nodes=base.nodes,
        )
        return is_routed_otherwise or is_set_otherwise or has_other_nodes

    def current(self, version: int) -> Snapshot:
        """Services, nodes, listeners and settings that did not change are the same objects as before. `version` is that
        of one that is made now."""
        if self._snapshot is None:
            made = self._make(version)
            tried, self.tried = self.tried, None
            if tried is not None and tried == made:
                self._take_objects(tried)
                made = tried
            self._snapshot = made
        return self._snapshot

    def _make(self, version: int) -> Snapshot:
        services = self._roster.services
        for name in self._stale:
            if name in services:
                self._made[name] = services[name].as_seen()
            else:
                self._made.pop(name, None)
        self._stale.clear()
        if self._listeners is None:
            self._listeners = with_routes(self.base.listeners, self._overlay.routes.values())
        if self._in_force is None:
            self._in_force = self._nodes.in_force(self.base.nodes)
        if self._placeholders is None:
            wanted = missing(self._listeners, self._made.values(), self._made)
            self._placeholders = {name: Service(name=name) for name in wanted}
        return Snapshot(
            version=version,
            settings=self.base.settings,
            listeners=self._listeners,
            services=(*self._made.values(), *self._placeholders.values()),
            nodes=self._in_force,
        )

    def _take_objects(self, tried: Snapshot) -> None:
        """It came as it was tried out, and somebody has those objects already."""
        for service in tried.services:
            record = self._roster.services.get(service.name)
            if record is None:
                assert self._placeholders is not None
                self._placeholders[service.name] = service
            elif record.made is not service:
                self._made[service.name] = record.made = service
                for entry, endpoint in zip(record.entries.values(), service.endpoints, strict=True):
                    entry.made = endpoint
