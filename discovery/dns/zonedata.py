"""What there is in the zone: services by the names that lead to them, kept true while these come and go.

A name belongs to the longest domain that it is, or is below: such a domain is an *apex*, the zone's own name or the
domain of a service. What the zone needs itself (its own name, and all at or below service, node, addr and ns) is no
service's domain. Names above an apex exist, and are empty. Of two services whose names are one label, or who claim one
domain, one is meant. What is counted here is counted so that `remove` leaves nothing behind.

What a name means, and what is answered, is in zone.py.
"""

from __future__ import annotations

from typing import Final

from discovery.dns.names import label_of, split, wire_name
from discovery.dns.selection import Circuits, Place, Pools, places, pools, precedence, versions
from discovery.dns.tally import Tally, Weights
from discovery.model import Service

UNDERSCORE: Final = 0x5F

ZONE: Final = ""  # whose apex it is, where that is no service


class Record:
    """A service, and what was found out about it when it was asked for."""

    __slots__ = ("_before", "_places", "_pools", "_tally", "_versions", "domain", "service")

    def __init__(self, service: Service, domain: bytes, old: Record | None = None) -> None:
        """`old`: of the version of the service before, which is not kept; only what was counted of it is."""
        self.service = service
        self._tally: Tally | None = None
        self._before = old.counted if old is not None else None
        self.domain = domain  # on the wire; empty: none is served
        self._places: list[Place] | None = None
        self._versions: dict[bytes, str] | None = None
        self._pools: dict[str, Pools] = {}

    @property
    def places(self) -> list[Place]:
        if self._places is None:
            self._places = places(self.service)
        return self._places

    @property
    def versions(self) -> dict[bytes, str]:
        if self._versions is None:
            self._versions = versions(self.service)
        return self._versions

    @property
    def counted(self) -> Tally | None:
        """What was counted last, of this version or one before it."""
        return self._tally or self._before

    def listed(self, size: int, circuits: Circuits) -> Weights | None:
        """The addresses of `size` bytes that an answer lists, of all versions; None where `pools` has to tell."""
        if self._tally is None:
            self._tally = Tally(self.service.endpoints, self._before)
            self._before = None
        return self._tally.of(size, circuits)

    def pools(self, version: str, fail_open: bool, circuits: Circuits) -> Pools:
        """Of one version; "" = of all."""
        if circuits.open or circuits.half_open:  # nothing that lasts
            return pools(self.of_version(version), fail_open, circuits)
        found = self._pools.get(version)
        if found is None:
            found = self._pools[version] = pools(self.of_version(version), fail_open)
        return found

    def of_version(self, version: str) -> list[Place]:
        return [place for place in self.places if version in ("", place.endpoint.version)]


class ZoneData:
    """Services by their names, domains and protocols. `apexes` say whose name an apex is."""

    def __init__(self, zone: bytes, name: str) -> None:
        """`zone` is the zone's own name on the wire, `name` the same in words."""
        self.zone = zone
        self.records: dict[str, Record] = {}
        self.apexes: dict[bytes, str] = {zone: ZONE}
        self._reserved = frozenset(wire_name(f"{label}.{name}") for label in ("service", "node", "addr", "ns"))
        self._above: dict[bytes, int] = {}  # names above an apex -> how many apexes are below: they exist, empty
        self._labels: dict[bytes, tuple[str, ...]] = {}  # of services, the one that is meant first
        self._protocols: dict[bytes, int] = {}
        self._deepest = len(split(zone))
        self._count_above(zone, 1)

    # --- asking ---------------------------------------------------------------------------------------------------

    def closest(self, name: bytes, starts: list[int]) -> tuple[bytes, str, int] | None:
        """The apex that the name is, or is below, whose it is, and how many labels it has; None: it is not ours.
        `starts`: where the name's labels begin."""
        count = len(starts)
        for depth in range(min(count, self._deepest), 0, -1):
            apex = name[starts[count - depth] :]
            owner = self.apexes.get(apex)
            if owner is not None:
                return apex, owner, depth
        return None

    def is_above(self, name: bytes) -> bool:
        """Whether there is an apex below the name."""
        return name in self._above

    def by_label(self, label: bytes) -> Record | None:
        """The service that is called so."""
        names = self._labels.get(label)
        return None if names is None else self.records[names[0]]

    def has_protocol(self, label: bytes) -> bool:
        """Whether some service has it."""
        return label in self._protocols

    # --- changing -------------------------------------------------------------------------------------------------

    def put(self, service: Service) -> tuple[str, ...]:
        """The service is there, or is another now. Returns other services some of whose names mean something else now:
        answers that belong to them are void too."""
        name = service.name
        old = self.records.get(name)
        affected: list[str] = []
        if old is None or old.service.domain != service.domain:
            if old is not None:
                self._withdraw(old)
            domain = self._announce(service, affected)
        else:
            domain = old.domain
        if old is None:
            self._add_label(name, affected)
        if old is None or old.service.dns.protocols != service.dns.protocols:
            self._count_protocols(old, -1)
        self.records[name] = record = Record(service, domain, old)
        if old is None or old.service.dns.protocols != service.dns.protocols:
            self._count_protocols(record, 1)
        return tuple(other for other in affected if other != name)

    def remove(self, name: str) -> bool:
        """Whether it was there."""
        record = self.records.pop(name, None)
        if record is None:
            return False
        self._withdraw(record)
        self._count_protocols(record, -1)
        label = label_of(name)
        left = tuple(other for other in self._labels[label] if other != name)
        if left:
            self._labels[label] = left
        else:
            del self._labels[label]
        return True

    def _announce(self, service: Service, affected: list[str]) -> bytes:
        """Serve the service's domain; empty when it has none, or one that is the zone's."""
        if not service.domain:
            return b""
        domain = wire_name(service.domain)
        starts = split(domain)
        suffixes = [domain[at:] for at in starts]
        if domain == self.zone or not self._reserved.isdisjoint(suffixes):
            return b""
        # Names at and below it were those of the closest domain above it, or of whoever had it.
        affected.extend([self.apexes[suffix] for suffix in suffixes if suffix in self.apexes][:1])
        if domain not in self.apexes:
            self._count_above(domain, 1)
        self.apexes[domain] = service.name
        self._deepest = max(self._deepest, len(starts))
        return domain

    def _withdraw(self, record: Record) -> None:
        if record.domain and self.apexes.get(record.domain) == record.service.name:
            del self.apexes[record.domain]
            self._count_above(record.domain, -1)

    def _count_above(self, domain: bytes, step: int) -> None:
        for at in split(domain)[1:]:
            above = domain[at:]
            count = self._above.get(above, 0) + step
            if count:
                self._above[above] = count
            else:
                del self._above[above]

    def _add_label(self, name: str, affected: list[str]) -> None:
        label = label_of(name)
        known = self._labels.get(label, ())
        affected.extend(known[:1])
        self._labels[label] = tuple(sorted((*known, name), key=precedence))

    def _count_protocols(self, record: Record | None, step: int) -> None:
        for protocol in set(record.service.dns.protocols) if record is not None else ():
            label = protocol_label(protocol)
            count = self._protocols.get(label, 0) + step
            if count:
                self._protocols[label] = count
            else:
                del self._protocols[label]


def protocol_label(protocol: str) -> bytes:
    return b"_" + label_of(protocol)


def has_protocol(service: Service, label: bytes) -> bool:
    return any(protocol_label(protocol) == label for protocol in service.dns.protocols)


def is_service_label(label: bytes, service: Service) -> bool:
    return label[0] == UNDERSCORE and label[1:] == label_of(service.name)
