"""The zone beside a model that goes through everything it knows for every question, over any history of changes.

The model also keeps answers as the kernel does: what was answered before a change, and is not forgotten by it, must
still be what would be answered now. Circuit breakers open and close meanwhile, and raise their service's epoch.
"""

from __future__ import annotations

import random
from collections.abc import Iterable

import dns.rdatatype
import pytest
from dns_answers import read

from discovery.delta import Identity, identity
from discovery.dns.answer import Answer
from discovery.dns.names import label_of, wire_name
from discovery.dns.selection import Circuits
from discovery.dns.zone import Zone
from discovery.model import DnsPolicy, DnsSettings, Endpoint, EndpointState, Node, Service

ZONE = "mesh.test"
RESERVED = ("service", "node", "addr", "ns")
NAMES = ("web", "Web", "api", "b", "v1")
DOMAINS = (
    "",
    "",
    "web.test",
    "v1.web.test",
    "a.b.web.test",
    "test",
    "x.mesh.test",
    "web.service.mesh.test",
    "mesh.test",
)
VERSIONS = ("", "v1", "v.2", "v-2", "all", "_tcp")
NODES = ("", "n1", "n.2", "n-2")
IPS = ("10.0.0.1", "10.0.0.2", "10.0.0.3", "[fd00::1]")

TYPES = ("A", "AAAA", "SRV", "TXT", "PTR", "SOA", "NS", "ANY")


def endpoint(rng: random.Random, number: int) -> Endpoint:
    address = f"{rng.choice(IPS)}:{rng.randint(1, 3)}" if rng.random() < 0.9 else "unix:/run/x"
    return Endpoint(
        id=str(number),
        address=address,
        version=rng.choice(VERSIONS),
        weight=rng.randint(0, 2),
        node=rng.choice(NODES),
        backup=rng.random() < 0.3,
        state=rng.choice((*EndpointState, EndpointState.HEALTHY, EndpointState.HEALTHY)),
    )


def service(rng: random.Random, name: str, domain: str) -> Service:
    return Service(
        name=name,
        domain=domain,
        endpoints=tuple(endpoint(rng, number) for number in range(rng.randint(0, 4))),
        metadata=rng.choice([{}, {"k": "v"}]),
        dns=DnsPolicy(
            fail_open=rng.choice([None, None, True]), protocols=rng.choice([("tcp",), ("udp", "tcp"), ("http",)])
        ),
    )


def nodes(rng: random.Random) -> tuple[Node, ...]:
    return tuple(
        Node(name=name, address=rng.choice(["", "10.9.9.9", "fd00::9"])) for name in NODES[1:] if rng.random() < 0.5
    )


PREFIXES = ("", "v1.", "v-2.", "all.", "_tcp.", "_udp.", "_web._tcp.", "_api._http.", "_b._udp.", "b.", "no.", "x.y.")
BASES = (
    *(domain for domain in dict.fromkeys(DOMAINS) if domain),
    "b.web.test",
    *(f"{prefix}{reserved}.{ZONE}" for reserved in RESERVED for prefix in ("", "web.", "n1.", "n-2.", "0a000001.")),
    *(f"{name}.service.{ZONE}" for name in ("api", "b", "v1", "no")),
    "elsewhere.org",
    "1.0.0.10.in-addr.arpa",
    "9.9.9.10.in-addr.arpa",
)


class Model:
    """What the page about names says, one question at a time."""

    def __init__(self) -> None:
        self.services: dict[str, Service] = {}
        self.nodes: tuple[Node, ...] = ()
        self.epochs: dict[str, int] = {}
        self.open: dict[str, dict[Identity, int]] = {}  # by service
        self.half_open: dict[str, set[Identity]] = {}

    def circuits(self, name: str) -> Circuits:
        return Circuits(self.epochs.get(name, 0), self.open.get(name, {}), self.half_open.get(name, set()))

    # --- names ---

    def domains(self) -> dict[str, Service]:
        """By domain; the zone itself is no service's."""
        reserved = tuple(f".{label}.{ZONE}" for label in RESERVED)
        return {
            service.domain: service
            for service in self.services.values()
            if service.domain and service.domain != ZONE and not f".{service.domain}".endswith(reserved)
        }

    def meant(self, label: str, names: Iterable[str]) -> str | None:
        found = sorted(name for name in names if label_of(name).decode() == label)
        return label if label in found else found[0] if found else None

    def answer(self, name: str, qtype: str) -> tuple[str, list[str]] | None:
        """The code and what the records say, sorted; None when the name is not ours."""
        if name.endswith(".arpa"):
            return self.backwards(name, qtype)
        domains = self.domains()
        apexes = [apex for apex in (*domains, ZONE) if f".{name}".endswith(f".{apex}")]
        if not apexes:
            return None
        apex = max(apexes, key=len)
        labels = name[: -len(apex)].rstrip(".").split(".") if name != apex else []
        if not labels and qtype == "SOA":
            return "NOERROR", [f"ns.{ZONE}. hostmaster.{ZONE}. 0 3600 600 86400 5"]
        if not labels and qtype == "NS":
            return "NOERROR", [f"ns.{ZONE}."]
        records = self.in_zone(labels, qtype) if apex == ZONE else self.in_domain(domains[apex], labels, qtype)
        if records is None:
            if any(other.endswith(f".{name}") for other in domains):
                records = []
            else:
                return "NXDOMAIN", []
        if qtype == "ANY":
            return "NOERROR", ['"RFC8482" ""']
        return "NOERROR", sorted(records)

    def in_domain(self, service: Service, labels: list[str], qtype: str) -> list[str] | None:
        protocols = [f"_{label_of(protocol).decode()}" for protocol in service.dns.protocols]
        own = "_" + label_of(service.name).decode()
        match labels:
            case []:
                return self.of_service(service, qtype)
            case [proto] if proto.startswith("_"):
                return [] if proto in protocols else None
            case [part]:
                return self.of_part(service, part, qtype)
            case [first, proto] if first == own and proto in protocols:
                return self.of_service(service, qtype) if qtype in ("SRV", "TXT") else []
        return None

    def in_zone(self, labels: list[str], qtype: str) -> list[str] | None:
        match labels:
            case [] | ["service"] | ["node"] | ["addr"]:
                return []
            case ["ns"]:
                return ["10.0.0.53"] if qtype == "A" else []
            case [label, "node"]:
                return self.of_node(label, qtype)
            case [digits, "addr"]:
                return None if digits != "0a000001" else ["10.0.0.1"] if qtype == "A" else []
            case [proto, "service"] if proto.startswith("_"):
                known = {f"_{each}" for service in self.services.values() for each in service.dns.protocols}
                return [] if proto in known else None
            case [first, proto, "service"] if proto.startswith("_"):
                name = self.meant(first[1:], self.services) if first.startswith("_") else None
                if name is None or proto[1:] not in self.services[name].dns.protocols:
                    return None
                return self.of_service(self.services[name], qtype) if qtype in ("SRV", "TXT") else []
            case [*part, label, "service"] if len(part) < 2:
                name = self.meant(label, self.services)
                if name is None:
                    return None
                service = self.services[name]
                return self.of_part(service, part[0], qtype) if part else self.of_service(service, qtype)
        return None

    def backwards(self, name: str, qtype: str) -> tuple[str, list[str]] | None:
        address = ".".join(reversed(name.split(".")[:-2]))
        nodes = {label_of(node.name).decode() for node in self.known_nodes() if node.address == address}
        if len(name.split(".")) != 6:
            return None
        if nodes:
            targets = [f"{min(nodes)}.node.{ZONE}."]
        else:
            domains = {service.name: domain for domain, service in self.domains().items()}
            targets = [
                f"{domains.get(service.name) or label_of(service.name).decode() + '.service.' + ZONE}."
                for service in self.services.values()
                if any(endpoint.address.startswith(f"{address}:") for endpoint in service.endpoints)
            ]
        if not targets:
            return None
        if qtype == "PTR":
            return "NOERROR", targets
        if qtype == "SOA":
            return "NOERROR", [f"ns.{ZONE}. hostmaster.{ZONE}. 0 3600 600 86400 5"]
        return "NOERROR", ['"RFC8482" ""'] if qtype == "ANY" else []

    # --- records ---

    def known_nodes(self) -> list[Node]:
        by_name = {node.name: node for node in self.nodes}
        labels = {label_of(name).decode() for name in by_name}
        return [by_name[name] for label in labels if (name := self.meant(label, by_name))]

    def of_node(self, label: str, qtype: str) -> list[str] | None:
        node = next((node for node in self.known_nodes() if label_of(node.name).decode() == label), None)
        if node is not None and node.address:
            found = {node.address}
        else:
            found = {
                ip(endpoint)
                for service in self.services.values()
                for endpoint in service.endpoints
                if endpoint.node and label_of(endpoint.node).decode() == label and has_ip(endpoint)
            }
            if node is None and not found:
                return None
        return sorted(of_family(found, qtype))

    def of_part(self, service: Service, part: str, qtype: str) -> list[str] | None:
        if part == "all":
            return listed(service, [e for e in service.endpoints if has_ip(e)], None, qtype)
        version = self.meant(part, {endpoint.version for endpoint in service.endpoints} - {""})
        if version is None:
            return None
        return listed(service, *self.chosen(service, [e for e in service.endpoints if e.version == version]), qtype)

    def of_service(self, service: Service, qtype: str) -> list[str]:
        return listed(service, *self.chosen(service, list(service.endpoints)), qtype)

    def chosen(self, service: Service, endpoints: list[Endpoint]) -> tuple[list[Endpoint], list[Endpoint]]:
        """For addresses, and for SRV."""
        endpoints = [endpoint for endpoint in endpoints if has_ip(endpoint) and endpoint.weight]
        healthy = [endpoint for endpoint in endpoints if endpoint.state == "healthy"]
        half_open = [each for each in healthy if identity(each) in self.half_open.get(service.name, ())]
        is_open = [each for each in healthy if identity(each) in self.open.get(service.name, ())]
        usable = [each for each in healthy if each not in half_open and each not in is_open] or half_open
        if not usable and service.dns.fail_open:
            everything = [endpoint for endpoint in endpoints if endpoint.state != "draining"]
            return everything, everything
        return [endpoint for endpoint in usable if not endpoint.backup] or usable, usable


def has_ip(endpoint: Endpoint) -> bool:
    return not endpoint.address.startswith("unix:")


def ip(endpoint: Endpoint) -> str:
    return endpoint.address.rpartition(":")[0].strip("[]")


def of_family(found: Iterable[str], qtype: str) -> list[str]:
    return [address for address in found if {"A": ":" not in address, "AAAA": ":" in address}.get(qtype, False)]


def listed(service: Service, addresses: list[Endpoint], targets: list[Endpoint] | None, qtype: str) -> list[str]:
    if qtype == "TXT":
        return [f'"{key}={value}"' for key, value in service.metadata.items()]
    if qtype == "SRV":
        summed: dict[tuple[int, str, str], int] = {}
        for endpoint in addresses if targets is None else targets:
            host = "".join(f"{int(part):02x}" for part in ip(endpoint).split(".")) if ":" not in ip(endpoint) else None
            key = (int(endpoint.backup), endpoint.address.rpartition(":")[2], host or "fd00" + "0" * 27 + "1")
            summed[key] = summed.get(key, 0) + endpoint.weight
        return [f"{order} {weight} {port} {host}.addr.{ZONE}." for (order, port, host), weight in summed.items()]
    return sorted(set(of_family(map(ip, addresses), qtype)))


# Together a few seconds.
HISTORIES, CHANGES, QUESTIONS = 40, 20, 60

SETTINGS = DnsSettings(zone=ZONE, addresses=("10.0.0.53:53",))


@pytest.mark.parametrize("seed", range(HISTORIES))
def test_every_answer_is_the_models(seed: int) -> None:
    rng = random.Random(seed)
    model = Model()
    zone = Zone(SETTINGS, random.Random(1), model.circuits)
    kept: dict[tuple[str, str], Answer] = {}
    for _ in range(CHANGES):
        change(rng, zone, model, kept)
        for _ in range(QUESTIONS):
            name, qtype = question = rng.choice(PREFIXES) + rng.choice(BASES), rng.choice(TYPES)
            answer = kept.get(question) or zone.answer(wire_name(name), int(dns.rdatatype.from_text(qtype)))
            expected = model.answer(name, qtype)
            if answer is None or expected is None:
                assert answer is expected, f"{name} {qtype}"
                continue
            found = read(answer.wire)
            assert (found.rcode, found.data) == (expected[0], sorted(expected[1])), f"{name} {qtype}"
            assert bool(found.authority) == (not found.answer)
            if answer.cacheable:
                assert answer.owner in model.services
                if answer.epoch is not None:
                    circuits = model.circuits(answer.owner)
                    assert (answer.epoch, answer.until) == (circuits.epoch, min(circuits.open.values(), default=0))
                kept[question] = answer


def change(rng: random.Random, zone: Zone, model: Model, kept: dict[tuple[str, str], Answer]) -> None:
    gone: set[str] = set()
    name = rng.choice(NAMES)
    what = rng.random()
    if what < 0.3 and name in model.services:
        model.epochs[name] = model.epochs.get(name, 0) + 1
        of = [identity(endpoint) for endpoint in model.services[name].endpoints]
        model.open[name] = {each: rng.randint(1, 9) for each in of if rng.random() < 0.4}
        model.half_open[name] = {each for each in of if each not in model.open[name] and rng.random() < 0.3}
        moved = [each for each, answer in kept.items() if answer.owner == name and answer.epoch is not None]
        for question in moved:
            del kept[question]
    elif what < 0.75:
        taken = {
            service.domain for other, service in model.services.items() if other != name
        }  # the registry sees to it
        new = service(rng, name, rng.choice(["", *(domain for domain in DOMAINS if domain not in taken)]))
        model.services[name] = new
        gone = {name, *zone.put(new)}
    elif what < 0.9:
        model.services.pop(name, None)
        zone.remove(name)
        gone = {name}
    else:
        model.nodes = nodes(rng)
        zone.nodes(model.nodes)
    for question in [question for question, answer in kept.items() if answer.owner in gone]:
        del kept[question]
