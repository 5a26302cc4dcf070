"""What every name of ours means: the zone with its services and nodes, and the services' own domains.

    web.local                       the service whose domain it is; its own zone, with SOA and NS
    v1.web.local  all.web.local     one version of it; all endpoints, whatever their state
    _web._tcp.web.local             SRV as RFC 2782 asks for it
    web.service.hivemesh            the same service by its name, with v1. and all. below it
    _web._tcp.service.hivemesh      and its SRV
    node-1.node.hivemesh            a node
    0a000001.addr.hivemesh          the address 10.0.0.1: what SRV points to
    ns.hivemesh                     this server
    1.0.0.10.in-addr.arpa           what is known of an address

Which domain a name belongs to, and which services there are by name, is in zonedata.py. A question costs a look-up per
label; an answer without records is put together from bytes that are ready, and one with records is made when it is
asked for. Knows nothing of transport: sizes, EDNS, ids, and whether a name that is not ours is refused or forwarded,
are the server's business.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from discovery.dns.answer import Answer
from discovery.dns.names import (
    address_of_hex,
    address_of_reverse,
    label_of,
    labels_between,
    split,
    wire_name,
)
from discovery.dns.proxied import proxy_port
from discovery.dns.records import Rcode, Type
from discovery.dns.rendering import Renderer, Target, packed_addresses
from discovery.dns.reverse import Reverse
from discovery.dns.selection import (
    ALL_CLOSED,
    Breakers,
    Place,
    Pools,
    Rng,
    by_label,
    weights,
)
from discovery.dns.tally import Weights
from discovery.dns.zonedata import UNDERSCORE, Record, ZoneData, has_protocol, is_service_label
from discovery.model import DnsAnswer, DnsOrder, DnsSettings, Listener, Node, Service

SERVICE: Final = b"service"
NODE: Final = b"node"
ADDR: Final = b"addr"
NS: Final = b"ns"
ALL: Final = b"all"

# Labels before the zone in the longest name that there is: _web._tcp.service.
LONGEST: Final = 3

SIZES: Final = {Type.A: 4, Type.AAAA: 16}
MAX_SRV: Final = 65_535  # weights and priorities have 16 bits


class Zone:
    """All that is ours. Answers that `cacheable` says may be kept until `put` or `remove` names their owner, `put`
    returns it, or `configure` or `listeners` is called; and no longer than their `epoch` and `until` say."""

    def __init__(self, settings: DnsSettings, rng: Rng, breakers: Breakers = lambda _: ALL_CLOSED) -> None:
        """`rng` decides which records come first; `breakers` is asked when an answer is made that lists endpoints which
        take requests. NameProblem when the zone's names cannot be names of DNS."""
        self._rng = rng
        self._breakers = breakers
        self._reverse = Reverse()
        self._nodes: dict[bytes, Node] = {}
        self._nodes_at: dict[bytes, bytes] = {}  # address -> label
        self._listeners: tuple[Listener, ...] = ()
        self._begin(settings, 0, ())

    # --- what there is -------------------------------------------------------------------------------------------

    def configure(self, settings: DnsSettings, serial: int = 0) -> None:
        """Other settings: all answers that were kept are void."""
        self._begin(settings, serial, [record.service for record in self._data.records.values()])

    def _begin(self, settings: DnsSettings, serial: int, services: Iterable[Service]) -> None:
        self._render = Renderer(settings, self._rng)
        self._render.serial = serial
        self.settings = settings
        self._proxy = packed_addresses(settings.proxy_addresses)
        self._data = ZoneData(self._render.zone, settings.zone)
        for service in services:
            self.put(service)

    def version(self, number: int) -> None:
        """The version of the snapshot that the next answers speak of: SOA's serial."""
        self._render.serial = number

    def listeners(self, listeners: tuple[Listener, ...]) -> None:
        """The proxy's: they tell the port in SRV of a service that is answered with the proxy's address."""
        self._listeners = listeners

    def nodes(self, nodes: tuple[Node, ...]) -> None:
        by_name = {node.name: node for node in nodes}
        self._nodes = {label: by_name[name] for label, name in by_label(by_name).items()}
        self._nodes_at = {
            packed: label
            for label, node in sorted(self._nodes.items(), reverse=True)  # of two with one address the first is named
            if node.address
            for packed in packed_addresses((node.address,))
        }

    def put(self, service: Service) -> tuple[str, ...]:
        """The service is there, or is another now. Returns other services some of whose names mean something else now:
        answers that belong to them are void too."""
        affected = self._data.put(service)
        self._reverse.put(service)
        return affected

    def remove(self, name: str) -> None:
        if self._data.remove(name):
            self._reverse.remove(name)

    # --- what a name means ---------------------------------------------------------------------------------------

    def answer(self, name: bytes, qtype: int) -> Answer | None:
        """`name` is a whole name on the wire, in lower case, with its final zero. None: it is not ours."""
        starts = split(name)
        closest = self._data.closest(name, starts)
        if closest is None:
            return self._answer_reverse(name, qtype)
        apex, owner, depth = closest
        below = len(starts) - depth
        if qtype in (Type.AXFR, Type.IXFR):
            return self._render.refused(name, qtype)
        found = None
        if below <= LONGEST:
            labels = labels_between(name, starts, below)
            if not labels and qtype == Type.SOA:
                return self._render.soa(name)
            if not labels and qtype == Type.NS:
                return self._render.nameserver(name)
            if not owner:
                found = self._answer_zone(name, qtype, labels)
            else:
                found = self._answer_domain(name, qtype, apex, labels, self._data.records[owner])
        if found is not None:
            return found
        if self._data.is_above(name):
            return self._empty(name, qtype, apex)
        return self._render.negative(name, qtype, apex, Rcode.NXDOMAIN)

    def _answer_domain(
        self, name: bytes, qtype: int, apex: bytes, labels: tuple[bytes, ...], record: Record
    ) -> Answer | None:
        """Names at and below a service's domain. None: there is no such name."""
        if not labels:
            return self._answer_service(name, qtype, apex, record)
        if len(labels) == 1:
            label = labels[0]
            if label[0] == UNDERSCORE:
                return self._empty(name, qtype, apex, record) if has_protocol(record.service, label) else None
            return self._answer_part(name, qtype, apex, label, record)
        if len(labels) == 2 and is_service_label(labels[0], record.service) and has_protocol(record.service, labels[1]):
            return self._answer_srv_name(name, qtype, apex, record)
        return None

    def _answer_zone(self, name: bytes, qtype: int, labels: tuple[bytes, ...]) -> Answer | None:
        """Names at and below the zone's apex. None: there is no such name."""
        apex = self._render.zone
        if not labels:
            return self._empty(name, qtype, apex)
        last = labels[-1]
        if len(labels) == 1:
            if last == NS:
                return self._answer_addresses(name, qtype, apex, self._render.own_addresses)
            return self._empty(name, qtype, apex) if last in (SERVICE, NODE, ADDR) else None
        if last == SERVICE:
            return self._answer_named(name, qtype, labels[:-1])
        if len(labels) == 2 and last == NODE:
            return self._answer_node(name, qtype, labels[0])
        if len(labels) == 2 and last == ADDR:
            packed = address_of_hex(labels[0])
            return None if packed is None else self._answer_addresses(name, qtype, apex, [packed])
        return None

    def _answer_named(self, name: bytes, qtype: int, labels: tuple[bytes, ...]) -> Answer | None:
        """Names below service.<zone>: web, v1.web, _tcp, _web._tcp."""
        apex = self._render.zone
        last = labels[-1]
        if last[0] == UNDERSCORE:
            if not self._data.has_protocol(last):
                return None
            if len(labels) == 1:
                return self._empty(name, qtype, apex)
            record = self._data.by_label(labels[0][1:])
            if labels[0][0] != UNDERSCORE or record is None or not has_protocol(record.service, last):
                return None
            return self._answer_srv_name(name, qtype, apex, record)
        record = self._data.by_label(last)
        if record is None:
            return None
        if len(labels) == 1:
            return self._answer_service(name, qtype, apex, record)
        return self._answer_part(name, qtype, apex, labels[0], record)

    # --- what it answers -----------------------------------------------------------------------------------------

    def _empty(self, name: bytes, qtype: int, apex: bytes, record: Record | None = None) -> Answer:
        """A name that is there and has no records, but for those of an apex."""
        if qtype == Type.ANY:
            return self._render.any(name, int(self.settings.ttl))
        return self._render.negative(name, qtype, apex, Rcode.NOERROR, "" if record is None else record.service.name)

    def _answer_part(self, name: bytes, qtype: int, apex: bytes, label: bytes, record: Record) -> Answer | None:
        """`all` or a version, before a name of the service."""
        if label == ALL:
            everything = record.places
            return self._answer_pools(name, qtype, apex, record, Pools(everything, everything))
        version = record.versions.get(label)
        if version is None:
            return None
        return self._answer_usable(name, qtype, apex, record, version)

    def _answer_service(self, name: bytes, qtype: int, apex: bytes, record: Record) -> Answer:
        if record.service.dns.answer is DnsAnswer.PROXY and qtype in (Type.A, Type.AAAA, Type.SRV):
            return self._answer_proxy(name, qtype, apex, record)
        return self._answer_usable(name, qtype, apex, record, "")

    def _answer_usable(self, name: bytes, qtype: int, apex: bytes, record: Record, version: str) -> Answer:
        """Endpoints that take requests now, of one version or ("") all."""
        if qtype not in (Type.A, Type.AAAA, Type.SRV):
            return self._answer_pools(name, qtype, apex, record, Pools([], []))
        circuits = self._breakers(record.service.name)
        listed = record.listed(SIZES[qtype], circuits) if not version and qtype in SIZES else None
        if listed is None:
            found = record.pools(version, self._fail_open(record), circuits)
            answer = self._answer_pools(name, qtype, apex, record, found)
        else:
            answer = self._answer_listed(name, qtype, apex, record, listed)
        if circuits.epoch is None:
            return answer
        return answer._replace(epoch=circuits.epoch, until=circuits.until)

    def _answer_srv_name(self, name: bytes, qtype: int, apex: bytes, record: Record) -> Answer:
        """_web._tcp: SRV, and the TXT that clients ask for beside it (RFC 6763 section 6); no addresses."""
        if qtype in (Type.A, Type.AAAA):
            return self._empty(name, qtype, apex, record)
        return self._answer_service(name, qtype, apex, record)

    def _answer_listed(self, name: bytes, qtype: int, apex: bytes, record: Record, by_weight: Weights) -> Answer:
        """A or AAAA with these addresses."""
        service = record.service
        if not by_weight:
            return self._render.negative(name, qtype, apex, Rcode.NOERROR, service.name)
        order = service.dns.order or self.settings.order
        return self._render.addresses(name, qtype, self._ttl(service), by_weight, order, service.name)

    def _answer_pools(self, name: bytes, qtype: int, apex: bytes, record: Record, found: Pools) -> Answer:
        service = record.service
        ttl = self._ttl(service)
        if qtype in SIZES:
            return self._answer_listed(name, qtype, apex, record, weights(found.addresses, SIZES[qtype]))
        if qtype == Type.SRV:
            targets = srv_targets(found.services)
            if targets:
                return self._render.services(name, ttl, targets, service.name)
        elif qtype == Type.TXT and service.metadata:
            return self._render.texts(name, ttl, service.metadata, service.name)
        elif qtype == Type.ANY:
            return self._render.any(name, ttl, service.name)
        return self._render.negative(name, qtype, apex, Rcode.NOERROR, service.name)

    def _answer_proxy(self, name: bytes, qtype: int, apex: bytes, record: Record) -> Answer:
        """The proxy's addresses, however the endpoints are: the proxy knows best what to say then."""
        service = record.service
        ttl = self._ttl(service)
        if qtype == Type.SRV:
            port = proxy_port(self._listeners, service)
            targets = [Target(0, 1, port, packed) for packed in self._proxy if port]
            if targets:
                return self._render.services(name, ttl, targets, service.name)
        else:
            listed = {packed: 1 for packed in self._proxy if len(packed) == SIZES[qtype]}
            if listed:
                return self._render.addresses(name, qtype, ttl, listed, DnsOrder.SHUFFLE, service.name)
        return self._render.negative(name, qtype, apex, Rcode.NOERROR, service.name)

    def _answer_addresses(self, name: bytes, qtype: int, apex: bytes, packed: Iterable[bytes]) -> Answer:
        """A name of the zone that has these addresses and nothing else."""
        if qtype in (Type.A, Type.AAAA):
            listed = {address: 1 for address in packed if len(address) == SIZES[qtype]}
            if listed:
                return self._render.addresses(name, qtype, int(self.settings.ttl), listed, DnsOrder.SHUFFLE)
        return self._empty(name, qtype, apex)

    def _answer_node(self, name: bytes, qtype: int, label: bytes) -> Answer | None:
        """A node that was registered, or that endpoints name. Its addresses do not depend on anybody's health."""
        node = self._nodes.get(label)
        if node is not None and qtype == Type.TXT and node.metadata:
            return self._render.texts(name, int(self.settings.ttl), node.metadata)
        packed: Iterable[bytes] | None
        if node is not None and node.address:
            packed = packed_addresses((node.address,))
        else:
            packed = self._reverse.addresses_of(label)
            if packed is None and node is None:
                return None
        return self._answer_addresses(name, qtype, self._render.zone, packed or ())

    def _answer_reverse(self, name: bytes, qtype: int) -> Answer | None:
        """in-addr.arpa and ip6.arpa: only what is known; each such name is its own apex."""
        packed = address_of_reverse(name)
        if packed is None:
            return None
        names = self._names_at(packed)
        if not names:
            return None
        if qtype == Type.PTR:
            return self._render.pointers(name, int(self.settings.ttl), names)
        if qtype == Type.SOA:
            return self._render.soa(name)
        return self._empty(name, qtype, name)

    def _names_at(self, packed: bytes) -> list[bytes]:
        """Of the node whose address it is, otherwise of the services: their domain or else their name."""
        label = self._nodes_at.get(packed)
        if label is not None:
            return [wire_name(f"{label.decode()}.node.{self.settings.zone}")]
        found = []
        for name in self._reverse.services_at(packed):
            domain = self._data.records[name].domain
            found.append(domain or wire_name(f"{label_of(name).decode()}.service.{self.settings.zone}"))
        return sorted(found)

    def _ttl(self, service: Service) -> int:
        ttl = service.dns.ttl
        return int(self.settings.ttl if ttl is None else ttl)

    def _fail_open(self, record: Record) -> bool:
        fail_open = record.service.dns.fail_open
        return self.settings.fail_open if fail_open is None else fail_open


def srv_targets(found: Iterable[Place]) -> list[Target]:
    """What SRV lists, each address and port once, with weights that fit into 16 bits."""
    summed: dict[tuple[int, int, bytes], int] = {}
    for place in found:
        key = (min(place.priority, MAX_SRV), place.port, place.packed)
        summed[key] = summed.get(key, 0) + place.endpoint.weight
    largest = max((MAX_SRV, *summed.values()))
    return [
        Target(priority, max(1, weight * MAX_SRV // largest) if weight else 0, port, packed)
        for (priority, port, packed), weight in summed.items()
    ]
