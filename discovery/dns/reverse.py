"""Which services an address serves, and which addresses a node has, looked up from the endpoints' side.

Few questions need this, and a change of a service may come many times a second: changes are only noted, and taken in
at the next question.
"""

from __future__ import annotations

from collections.abc import Iterable

from discovery.dns.names import label_of
from discovery.dns.selection import parse_address
from discovery.model import Service

Entry = tuple[bytes, bytes]  # address, label of the node ("" = none is named)
NOTHING: frozenset[Entry] = frozenset()


class Reverse:
    """What `put` and `remove` said, by address and by node."""

    def __init__(self) -> None:
        self._noted: dict[str, Service | None] = {}
        self._entries: dict[str, frozenset[Entry]] = {}  # of each service
        self._services: dict[bytes, tuple[str, ...]] = {}  # by address
        self._nodes: dict[bytes, dict[bytes, int]] = {}  # by label: address -> how many services have it there

    def put(self, service: Service) -> None:
        self._noted[service.name] = service

    def remove(self, name: str) -> None:
        self._noted[name] = None

    def services_at(self, packed: bytes) -> tuple[str, ...]:
        """The services with an endpoint at this address, in the order in which they came."""
        self._take_in()
        return self._services.get(packed, ())

    def addresses_of(self, node: bytes) -> Iterable[bytes] | None:
        """The distinct addresses of all endpoints of a node; None when no endpoint names it."""
        self._take_in()
        return self._nodes.get(node)

    def _take_in(self) -> None:
        noted, self._noted = self._noted, {}
        for name, service in noted.items():
            before = self._entries.pop(name, NOTHING)
            now = NOTHING if service is None else _entries_of(service)
            if now:
                self._entries[name] = now
            self._change_services(name, before, now)
            for packed, node in before - now:
                self._leave(node, packed)
            for packed, node in now - before:
                if node:
                    counts = self._nodes.setdefault(node, {})
                    counts[packed] = counts.get(packed, 0) + 1

    def _change_services(self, name: str, before: frozenset[Entry], now: frozenset[Entry]) -> None:
        old, new = {packed for packed, _ in before}, {packed for packed, _ in now}
        for packed in old - new:
            left = tuple(other for other in self._services[packed] if other != name)
            if left:
                self._services[packed] = left
            else:
                del self._services[packed]
        for packed in new - old:
            self._services[packed] = (*self._services.get(packed, ()), name)

    def _leave(self, node: bytes, packed: bytes) -> None:
        if not node:
            return
        counts = self._nodes[node]
        counts[packed] -= 1
        if not counts[packed]:
            del counts[packed]
        if not counts:
            del self._nodes[node]


def _entries_of(service: Service) -> frozenset[Entry]:
    entries = set()
    for endpoint in service.endpoints:
        parsed = parse_address(endpoint.address)
        if parsed is not None:
            entries.add((parsed[0], label_of(endpoint.node) if endpoint.node else b""))
    return frozenset(entries)
