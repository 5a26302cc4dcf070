"""Machines that endpoints run on: which there are, which are gone, and what runs on them.

A node exists because somebody registered it, the file lists it, or an endpoint names it. One that left (by the API) or
fell silent (its lease is over) takes its endpoints out until it is put again or gives a sign of life.
Pure.
"""

from __future__ import annotations

from collections.abc import Iterable

from discovery import overlay as records
from discovery.changes import PutNode
from discovery.model import Node
from discovery.overlay import Overlay

Place = tuple[str, str]  # of an endpoint: service and id


class Nodes:
    def __init__(self, overlay: Overlay) -> None:
        self.listed: tuple[Node, ...] = ()  # by the file
        self.silent: dict[str, str] = {}  # by name, the reason that their endpoints get
        self._overlay = overlay
        self._running: dict[str, dict[Place, None]] = {}

    def gone(self, name: str) -> str:
        """Why endpoints on this node are out; "" if they are not."""
        if not name:
            return ""
        if self._overlay.get(records.GONE, name) is not None:
            return f"node {name} has left"
        return self.silent.get(name, "")

    def on(self, name: str) -> Iterable[Place]:
        """The endpoints that run on it."""
        return tuple(self._running.get(name, ()))

    def is_used(self, name: str) -> bool:
        return name in self._running

    def is_known(self, name: str) -> bool:
        return (
            name in self._running
            or self._overlay.get(records.NODE, name) is not None
            or self._overlay.get(records.GONE, name) is not None
            or any(node.name == name for node in self.listed)
        )

    def arrived(self, name: str, place: Place) -> bool:
        """An endpoint runs on it. Is that news of the node?"""
        if not name:
            return False
        is_new = name not in self._running
        self._running.setdefault(name, {})[place] = None
        return is_new

    def left(self, name: str, place: Place) -> bool:
        if not name:
            return False
        places = self._running[name]
        del places[place]
        if places:
            return False
        del self._running[name]
        return True

    def in_force(self, listed: Iterable[Node], used: Iterable[str] | None = None) -> tuple[Node, ...]:
        """Those that are there, by name. `used` by endpoints; None: as they are now."""
        nodes = {name: Node(name=name) for name in (self._running if used is None else used)}
        nodes.update({node.name: node for node in listed})
        for record in self._overlay.nodes.values():
            nodes[record.node.name] = record.node
        return tuple(nodes[name] for name in sorted(nodes) if not self.gone(name))


def lease_of(overlay: Overlay, name: str, default: float) -> float:
    """How long the node may be silent; 0 = for ever."""
    record = overlay.get(records.NODE, name)
    return record.ttl if isinstance(record, PutNode) and record.ttl else default
