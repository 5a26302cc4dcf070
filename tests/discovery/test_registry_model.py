"""Any sequence of changes gives what a simple model says: dictionaries, and everything computed anew each time."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import hypothesis.strategies as st
import msgspec
from hypothesis import settings
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from discovery.changes import (
    FILE,
    Base,
    Change,
    ChangeError,
    HealthReport,
    Heartbeat,
    NotFound,
    PutEndpoint,
    PutNode,
    PutPolicies,
    RemoveEndpoint,
    RemoveNode,
    RemovePolicies,
    Replace,
    Resolved,
    SetDrain,
    Stale,
)
from discovery.checks import HealthCheck
from discovery.config import RegistrySettings
from discovery.model import Endpoint, EndpointState, Node, Service, Snapshot
from discovery.registry import Registry

NAMES = st.sampled_from("abc")
IDS = st.sampled_from(("e1", "e2", "n"))
ADDRESSES = st.sampled_from(("10.0.0.1:80", "10.0.0.2:80"))
NODES = st.sampled_from(("", "n1", "n2"))
DIRECTORIES = ("directory:x", "directory:y")
CHECKED = HealthCheck()
TTLS = st.sampled_from((0.0, 10.0, 90.0))
NODE_TTL = 30.0

endpoints = st.builds(Endpoint, id=IDS, address=ADDRESSES, node=NODES)
services = st.builds(
    Service,
    name=NAMES,
    domain=st.sampled_from(("", "x.test", "y.test")),
    timeout=st.sampled_from((0.0, 1.0)),
    health_check=st.sampled_from((None, CHECKED)),
    endpoints=st.lists(endpoints, max_size=3, unique_by=lambda endpoint: endpoint.id).map(tuple),
)


def distinct(listed: list[Service]) -> tuple[Service, ...]:
    """Domains are unique within a source."""
    seen: set[str] = set()
    kept = []
    for service in listed:
        if service.domain in seen:
            service = msgspec.structs.replace(service, domain="")
        seen.add(service.domain)
        kept.append(service)
    return tuple(kept)


of_a_source = st.lists(services, max_size=3, unique_by=lambda service: service.name).map(distinct)


@dataclass
class Registered:
    endpoint: Endpoint
    ttl: float
    revision: int
    deadline: float | None = None
    over: bool = False
    forget: float | None = None


@dataclass
class Model:
    said: dict[str, dict[str, Service]] = field(default_factory=lambda: {FILE: {}})
    resolved: dict[tuple[str, str, str], tuple[str, ...]] = field(default_factory=dict)  # source, service, id
    policies: dict[str, dict[str, Any]] = field(default_factory=dict)
    registered: dict[tuple[str, str], Registered] = field(default_factory=dict)
    tombstones: dict[tuple[str, str], int] = field(default_factory=dict)
    drained: set[tuple[str, str]] = field(default_factory=set)
    reports: dict[tuple[str, str], tuple[str, EndpointState]] = field(default_factory=dict)
    nodes: set[str] = field(default_factory=set)
    left: set[str] = field(default_factory=set)
    silent: set[str] = field(default_factory=set)
    node_deadlines: dict[str, float] = field(default_factory=dict)

    def sources(self) -> list[str]:
        return [source for source in (FILE, *DIRECTORIES) if source in self.said]

    def of_source(self, source: str, name: str) -> dict[str, Endpoint]:
        service = self.said[source].get(name)
        if service is None:
            return {}
        found: dict[str, Endpoint] = {}
        for (by, of, id), addresses in self.resolved.items():
            if (by, of) == (source, name):
                for address in addresses:
                    own = id if len(addresses) == 1 else f"{id}-{address}"
                    found[own] = Endpoint(id=own, address=address)
        return {**found, **{endpoint.id: endpoint for endpoint in service.endpoints}}

    def services(self) -> dict[str, dict[str, Any]]:
        names = {name for said in self.said.values() for name in said}
        names |= set(self.policies) | {name for name, _ in self.registered}
        return {name: self.service(name) for name in names}

    def service(self, name: str) -> dict[str, Any]:
        heads = [
            (rank, self.said[source][name])
            for rank, source in enumerate(self.sources(), 1)
            if name in self.said[source]
        ]
        rank, head = heads[0] if heads else (0, Service(name=name))
        fields = {"domain": head.domain, "timeout": head.timeout, "health_check": head.health_check}
        fields.update(self.policies.get(name, {}))
        if "domain" in self.policies.get(name, {}):
            rank = 0
        found = {}
        for source in reversed(self.sources()):
            found.update(self.of_source(source, name))
        found.update({id: known.endpoint for (of, id), known in self.registered.items() if of == name})
        return {**fields, "rank": rank, "endpoints": found}

    def state(self, name: str, id: str, endpoint: Endpoint, check: HealthCheck | None) -> EndpointState:
        known = self.registered.get((name, id))
        if (name, id) in self.drained:
            return EndpointState.DRAINING
        if endpoint.node in self.left | self.silent:
            return EndpointState.UNHEALTHY
        if known is not None and known.over:
            return EndpointState.UNHEALTHY
        if check is None:
            return EndpointState.HEALTHY
        return self.reports.get((name, id), ("", EndpointState.CHECKING))[1]

    def expected(self) -> dict[str, Any]:
        found = self.services()
        owners: dict[str, tuple[int, str]] = {}
        for name, service in found.items():
            if service["domain"]:
                owners[service["domain"]] = min(owners.get(service["domain"], (99, "")), (service["rank"], name))
        return {
            name: {
                "domain": service["domain"] if service["domain"] and owners[service["domain"]][1] == name else "",
                "timeout": service["timeout"],
                "endpoints": {
                    id: (endpoint.address, self.state(name, id, endpoint, service["health_check"]))
                    for id, endpoint in service["endpoints"].items()
                },
            }
            for name, service in found.items()
        }

    def prune(self) -> None:
        """What was about an endpoint goes with it."""
        there = {(name, id): each for name, of in self.services().items() for id, each in of["endpoints"].items()}
        self.drained &= set(there)
        self.reports = {
            key: report for key, report in self.reports.items() if key in there and there[key].address == report[0]
        }
        for source, name, id in list(self.resolved):
            if name not in self.said.get(source, {}):
                del self.resolved[source, name, id]

    def used_nodes(self) -> set[str]:
        return {each.node for of in self.services().values() for each in of["endpoints"].values()} - {""}


class Machine(RuleBasedStateMachine):
    def __init__(self) -> None:
        super().__init__()
        settings = RegistrySettings(directories=("x", "y"), node_ttl=NODE_TTL)
        self.registry = Registry(settings=settings)
        self.model = Model()
        self.now = 0.0
        self.former = self.registry.snapshot

    def apply(self, change: Change) -> None:
        self.registry.apply(change, self.now)
        self.model.prune()

    def refused(self, change: Change, error: type[ChangeError]) -> None:
        index = self.registry.index
        try:
            self.registry.apply(change, self.now)
        except error:
            assert self.registry.index == index
        else:
            raise AssertionError(f"{change} should be refused: {error.__name__}")

    @rule(listed=of_a_source)
    def file(self, listed: tuple[Service, ...]) -> None:
        tried = self.registry.preview(Snapshot(services=listed))
        index = self.registry.index
        assert self.registry.snapshot.version == index, "a preview changes nothing"
        self.model.said[FILE] = {service.name: service for service in listed}
        self.apply(Base(snapshot=Snapshot(services=listed)))
        after = self.registry.snapshot
        assert {service.name: as_set(service) for service in tried.services} == {
            service.name: as_set(service) for service in after.services
        }
        assert tried.nodes == after.nodes
        assert tried is after or tried.version <= index + 1

    @rule(source=st.sampled_from(DIRECTORIES), listed=of_a_source)
    def directory(self, source: str, listed: tuple[Service, ...]) -> None:
        self.model.said[source] = {service.name: service for service in listed}
        self.apply(Replace(source=source, services=listed))

    @rule(source=st.sampled_from((FILE, *DIRECTORIES)), name=NAMES, addresses=st.sets(ADDRESSES, max_size=2))
    def name(self, source: str, name: str, addresses: set[str]) -> None:
        if name in self.model.said.get(source, {}):
            self.model.resolved[source, name, "dns"] = tuple(sorted(addresses))
        found = tuple(Endpoint(id="?", address=address) for address in addresses)
        self.apply(Resolved(service=name, id="dns", endpoints=found, source=source))

    @rule(name=NAMES, endpoint=endpoints, ttl=TTLS, revision=st.integers(0, 4))
    def register(self, name: str, endpoint: Endpoint, ttl: float, revision: int) -> None:
        key = (name, endpoint.id)
        known = self.model.registered.get(key)
        newest = known.revision if known is not None else self.model.tombstones.get(key, 0)
        change = PutEndpoint(service=name, endpoint=endpoint, ttl=ttl, revision=revision)
        if revision and revision <= newest:
            self.refused(change, Stale)
            return
        self.model.tombstones.pop(key, None)
        self.model.registered[key] = Registered(endpoint, ttl, revision, self.now + ttl if ttl else None)
        self.apply(change)

    @rule(name=NAMES, id=IDS, revision=st.integers(0, 4))
    def deregister(self, name: str, id: str, revision: int) -> None:
        key = (name, id)
        known = self.model.registered.get(key)
        newest = known.revision if known is not None else self.model.tombstones.get(key, 0)
        change = RemoveEndpoint(service=name, id=id, revision=revision)
        if revision and revision < newest:
            self.refused(change, Stale)
        elif known is None and (not revision or any(id in self.model.of_source(s, name) for s in self.model.sources())):
            self.refused(change, ChangeError)
        else:
            self.model.registered.pop(key, None)
            self.model.tombstones[key] = max(revision, newest)
            self.model.drained.discard(key)
            self.apply(change)

    @rule(name=NAMES, id=IDS)
    def heartbeat(self, name: str, id: str) -> None:
        change = Heartbeat(service=name, id=id)
        if id not in self.model.services().get(name, {"endpoints": {}})["endpoints"]:
            self.refused(change, NotFound)
            return
        known = self.model.registered.get((name, id))
        if known is not None and known.ttl:
            known.deadline, known.over, known.forget = self.now + known.ttl, False, None
        self.apply(change)

    @rule(
        name=NAMES, id=IDS, address=ADDRESSES, state=st.sampled_from((EndpointState.HEALTHY, EndpointState.UNHEALTHY))
    )
    def report(self, name: str, id: str, address: str, state: EndpointState) -> None:
        there = self.model.services().get(name, {"endpoints": {}})["endpoints"].get(id)
        if there is not None and there.address == address:
            self.model.reports[name, id] = (address, state)
        self.apply(HealthReport(service=name, id=id, address=address, state=state))

    @rule(name=NAMES, id=IDS, is_draining=st.booleans())
    def drain(self, name: str, id: str, is_draining: bool) -> None:
        change = SetDrain(service=name, id=id, is_draining=is_draining)
        if id not in self.model.services().get(name, {"endpoints": {}})["endpoints"]:
            self.refused(change, NotFound)
            return
        (self.model.drained.add if is_draining else self.model.drained.discard)((name, id))
        self.apply(change)

    @rule(name=NAMES, values=st.dictionaries(st.sampled_from(("timeout",)), st.sampled_from((2.0, 3.0)), min_size=1))
    def policies(self, name: str, values: dict[str, Any]) -> None:
        self.model.policies.setdefault(name, {}).update(values)
        self.apply(PutPolicies(service=Service(name=name, **values), fields=tuple(values)))

    @rule(name=NAMES, check=st.sampled_from((None, CHECKED)))
    def check(self, name: str, check: HealthCheck | None) -> None:
        self.model.policies.setdefault(name, {})["health_check"] = check
        self.apply(PutPolicies(service=Service(name=name, health_check=check), fields=("health_check",)))

    @rule(name=NAMES, domain=st.sampled_from(("x.test", "y.test")))
    def domain(self, name: str, domain: str) -> None:
        change = PutPolicies(service=Service(name=name, domain=domain), fields=("domain",))
        if any(values.get("domain") == domain for other, values in self.model.policies.items() if other != name):
            self.refused(change, ChangeError)
            return
        self.model.policies.setdefault(name, {})["domain"] = domain
        self.apply(change)

    @rule(name=NAMES)
    def no_policies(self, name: str) -> None:
        if name not in self.model.policies:
            self.refused(RemovePolicies(service=name), NotFound)
            return
        del self.model.policies[name]
        self.apply(RemovePolicies(service=name))

    @rule(name=st.sampled_from(("n1", "n2")), ttl=st.sampled_from((0.0, 20.0)))
    def node(self, name: str, ttl: float) -> None:
        self.model.nodes.add(name)
        self.model.left.discard(name)
        self.model.silent.discard(name)
        if ttl:
            self.model.node_deadlines[name] = self.now + ttl
        self.apply(PutNode(node=Node(name=name), ttl=ttl))

    @rule(name=st.sampled_from(("n1", "n2")))
    def node_leaves(self, name: str) -> None:
        if name not in self.model.nodes | self.model.left | self.model.used_nodes():
            self.refused(RemoveNode(name=name), NotFound)
            return
        self.model.left.add(name)
        self.model.silent.discard(name)
        self.model.node_deadlines.pop(name, None)
        self.apply(RemoveNode(name=name))

    @rule(seconds=st.sampled_from((1.0, 5.0, 15.0, 61.0, 100.0)))
    def time_passes(self, seconds: float) -> None:
        self.now += seconds
        for key, known in list(self.model.registered.items()):
            if known.deadline is not None and known.deadline <= self.now:
                known.deadline, known.over, known.forget = None, True, self.now + max(known.ttl, 60.0)
            elif known.forget is not None and known.forget <= self.now:
                del self.model.registered[key]
                self.model.tombstones[key] = known.revision
                self.model.drained.discard(key)
        for name, deadline in list(self.model.node_deadlines.items()):
            if deadline <= self.now:
                del self.model.node_deadlines[name]
                self.model.silent.add(name)
        self.registry.expire(self.now)
        self.model.prune()

    @rule()
    def restart(self) -> None:
        """A successor reads the store and hears the file and the directories again."""
        former = self.registry
        self.registry = Registry(
            version=former.index, settings=RegistrySettings(directories=("x", "y"), node_ttl=NODE_TTL)
        )
        self.registry.restore(former.records(), self.now)
        self.registry.apply(Base(snapshot=Snapshot(services=tuple(self.model.said[FILE].values()))), self.now)
        for change in former.statements():
            self.registry.apply(change, self.now)
        for known in self.model.registered.values():
            known.deadline, known.over, known.forget = self.now + known.ttl if known.ttl else None, False, None
        self.model.silent.clear()
        self.model.node_deadlines.clear()
        for edit in former.records():
            if isinstance(edit.record, PutNode) and edit.record.ttl and edit.key.name not in self.model.left:
                self.model.node_deadlines[edit.key.name] = self.now + edit.record.ttl
        self.model.reports.clear()
        self.former = self.registry.snapshot

    @invariant()
    def the_snapshot_is_what_the_model_says(self) -> None:
        snapshot = self.registry.snapshot
        assert {service.name: as_set(service) for service in snapshot.services} == self.model.expected()
        assert len({service.name for service in snapshot.services}) == len(snapshot.services)
        assert self.registry.endpoints == sum(len(service.endpoints) for service in snapshot.services)
        out = self.model.left | self.model.silent
        assert {node.name for node in snapshot.nodes} == (self.model.nodes | self.model.used_nodes()) - out

    @invariant()
    def what_did_not_change_is_the_same_object(self) -> None:
        snapshot = self.registry.snapshot
        assert snapshot.version >= self.former.version
        if snapshot.version == self.former.version:
            assert snapshot is self.former
        former = {service.name: service for service in self.former.services}
        for service in snapshot.services:
            if self.registry.index_of(service.name) <= self.former.version:
                assert former[service.name] is service
        self.former = snapshot


def as_set(service: Service) -> dict[str, Any]:
    return {
        "domain": service.domain,
        "timeout": service.timeout,
        "endpoints": {endpoint.id: (endpoint.address, endpoint.state) for endpoint in service.endpoints},
    }


TestModel = Machine.TestCase
TestModel.settings = settings(max_examples=60, stateful_step_count=40, deadline=None)
