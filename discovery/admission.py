"""What the registry refuses, and in which words.

Durable changes are checked in batches: each one on top of those before it, which are not in force yet (see
`Overlay.pending`). What a source reports is checked for the limits only.
Pure.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from discovery import overlay as records
from discovery.changes import (
    FILE,
    Base,
    Change,
    ChangeError,
    Conflict,
    HealthReport,
    Heartbeat,
    LimitReached,
    NodeHeartbeat,
    NotFound,
    PutEndpoint,
    PutNode,
    PutPolicies,
    PutRoute,
    RemoveEndpoint,
    RemoveNode,
    RemovePolicies,
    RemoveRoute,
    Replace,
    Resolved,
    SetDrain,
    Stale,
)
from discovery.config import RegistrySettings
from discovery.listeners import takes
from discovery.merge import POLICIES
from discovery.model import Listener, Service
from discovery.nodes import Nodes
from discovery.overlay import Edit, Overlay, Record, RecordKey
from discovery.roster import Roster
from discovery.statements import Said, Statements

MAX_ROUTES = 10_000  # of the API; each has a row of statistics per listener


class Admission:
    def __init__(
        self, overlay: Overlay, statements: Statements, roster: Roster, nodes: Nodes, settings: RegistrySettings
    ) -> None:
        self.settings = settings
        self.listeners: tuple[Listener, ...] = ()  # of the file
        self._overlay = overlay
        self._statements = statements
        self._roster = roster
        self._nodes = nodes
        self._added: dict[tuple[str, str], None] = {}  # what there would be: endpoints; (service, "") a service
        self._new_services = 0

    def check(self, groups: Iterable[Sequence[Change]]) -> list[tuple[Edit, ...] | ChangeError]:
        results: list[tuple[Edit, ...] | ChangeError] = []
        overlay = self._overlay
        try:
            for group in groups:
                undo: list[tuple[RecordKey, bool, Record | None]] = []
                added = len(self._added)
                edits: list[Edit] = []
                try:
                    for change in group:
                        edits += self._try(change, undo)
                    results.append(tuple(edits))
                except ChangeError as error:
                    for key, was_pending, record in reversed(undo):
                        if was_pending:
                            overlay.pending[key] = record
                        else:
                            del overlay.pending[key]
                    while len(self._added) > added:
                        (_, id), _ = self._added.popitem()
                        self._new_services -= not id
                    results.append(error)
        finally:
            overlay.pending.clear()
            self._added.clear()
            self._new_services = 0
        return results

    def _try(self, change: Change, undo: list[tuple[RecordKey, bool, Record | None]]) -> list[Edit]:
        match change:
            case Base(snapshot=snapshot):
                self._room_for(FILE, snapshot.services)
            case Replace(source=source, services=services):
                self._room_for(source, services)
            case Resolved():
                self._room_for_resolved(change)
            case Heartbeat(service=service, id=id):
                self._need_endpoint(service, id)
            case NodeHeartbeat(name=name):
                self._need_node(name)
            case HealthReport():
                pass
            case _:
                self._admit(change)
                made = []
                for key, record in self._overlay.edits(change):
                    if self._overlay.get(*key) == record:
                        continue
                    undo.append((key, key in self._overlay.pending, self._overlay.pending.get(key)))
                    self._overlay.pending[key] = record
                    made.append(Edit(key, record))
                return made
        return []

    # --- what the API asks for ------------------------------------------------------------------------------------

    def _admit(self, change: records.Record | RemovePolicies | RemoveRoute) -> None:
        match change:
            case PutPolicies(service=service, fields=fields):
                for name in fields:
                    if name not in POLICIES:
                        raise Conflict(f"{name} of a service cannot be set as a policy")
                self._room_for_service(service.name)
                if "domain" in fields and service.domain:
                    self._domain_is_free(service)
            case RemovePolicies(service=name):
                if self._overlay.policies(name) is None:
                    raise NotFound(f"the API sets nothing of a service called {name}")
            case PutEndpoint():
                self._admit_endpoint(change)
            case RemoveEndpoint():
                self._admit_removal(change)
            case SetDrain(service=service, id=id):
                self._need_endpoint(service, id)
            case PutNode(node=node, ttl=ttl):
                self._short_enough(f"node {node.name}", ttl)
                self._room_for_node(node.name)
            case RemoveNode(name=name):
                self._need_node(name)
            case PutRoute():
                self._admit_route(change)
            case RemoveRoute(name=name):
                if self._overlay.get(records.ROUTE, name) is None:
                    raise NotFound(f"no route of the API is called {name}")

    def _admit_endpoint(self, change: PutEndpoint) -> None:
        service, id, revision = change.service, change.endpoint.id, change.revision
        known = self._overlay.get(records.ENDPOINT, service, id)
        if revision and isinstance(known, PutEndpoint | RemoveEndpoint) and revision <= known.revision:
            what = "is known" if isinstance(known, PutEndpoint) else "was removed"
            raise Stale(
                f"endpoint {id} of service {service} {what} with revision {known.revision}; {revision} is not above it"
            )
        self._short_enough(f"endpoint {id} of service {service}", change.ttl)
        self._room_for_service(service)
        self._room_for_endpoint(service, id)

    def _admit_removal(self, change: RemoveEndpoint) -> None:
        service, id, revision = change.service, change.id, change.revision
        known = self._overlay.get(records.ENDPOINT, service, id)
        if revision and isinstance(known, PutEndpoint | RemoveEndpoint) and revision < known.revision:
            raise Stale(
                f"endpoint {id} of service {service} is known with revision {known.revision}; {revision} is below it"
            )
        if isinstance(known, PutEndpoint):
            return
        where = self._statements.definition(service, id)
        if where:
            raise Conflict(f"endpoint {id} of service {service} is defined in {where}, it has to be removed there")
        if not revision:  # with one, its registration may still be on the way
            raise NotFound(f"service {service} has no endpoint {id}")

    def _admit_route(self, change: PutRoute) -> None:
        route, listeners = change.route, [each for each in self.listeners if takes(each, change)]
        if change.listener and not listeners:
            raise NotFound(f"there is no listener for HTTP called {change.listener}")
        for listener in listeners:
            for other in listener.routes:
                if other.name == route.name:
                    where = other.position or "the file"
                    raise Conflict(f"a route of listener {listener.name} called {route.name} is defined in {where}")
        for name in (route.service, *(split.service for split in route.split)):
            if name and not self._is_service(name):
                raise NotFound(f"there is no service called {name}")
        if self._overlay.get(records.ROUTE, route.name) is None and len(self._overlay.routes) >= MAX_ROUTES:
            raise LimitReached(f"the API has {MAX_ROUTES} routes already")

    # --- conditions -----------------------------------------------------------------------------------------------

    def _is_service(self, name: str) -> bool:
        return name in self._roster.services or (name, "") in self._added

    def _need_endpoint(self, service: str, id: str) -> None:
        if self._overlay.endpoint(service, id) is None and not self._statements.definition(service, id):
            raise NotFound(f"service {service} has no endpoint {id}")

    def _need_node(self, name: str) -> None:
        if not self._nodes.is_known(name):
            raise NotFound(f"there is no node called {name}")

    def _short_enough(self, what: str, ttl: float) -> None:
        longest = self.settings.max_lease
        if ttl > longest:
            raise LimitReached(f"{what}: a lease of {ttl:g} s is longer than registry.max_lease, {longest:g} s")

    def _domain_is_free(self, service: Service) -> None:
        """Among services whose domain the API has set; of other sources it may take one."""
        for key, record in {**self._overlay.records, **self._overlay.pending}.items():
            if (
                isinstance(record, PutPolicies)
                and key.name != service.name
                and "domain" in record.fields
                and record.service.domain == service.domain
            ):
                raise Conflict(f"the domain {service.domain} is that of service {key.name}")

    # --- limits ---------------------------------------------------------------------------------------------------

    def _room_for_service(self, name: str) -> None:
        if self._is_service(name):
            return
        most = self.settings.max_services
        if len(self._roster.services) + self._new_services >= most:
            raise LimitReached(f"there are {most} services already (registry.max_services)")
        self._added[name, ""] = None
        self._new_services += 1

    def _room_for_endpoint(self, service: str, id: str) -> None:
        if (service, id) in self._added or self._roster.find(service, id) is not None:
            return
        most = self.settings.max_endpoints
        if self._roster.endpoints + len(self._added) - self._new_services >= most:
            raise LimitReached(f"there are {most} endpoints already (registry.max_endpoints)")
        self._added[service, id] = None

    def _room_for_node(self, name: str) -> None:
        most = self.settings.max_endpoints
        if self._overlay.get(records.NODE, name) is None and len(self._overlay.nodes) >= most:
            raise LimitReached(f"there are {most} nodes already (registry.max_endpoints)")

    def _room_for(self, source: str, services: Sequence[Service]) -> None:
        """All that `source` has from now on, in place of what it had."""
        former = self._statements.said.get(source, {})
        there = self._roster.services
        more = sum(1 for service in services if service.name not in there)
        if more and len(there) + more - self._only_from(former) > self.settings.max_services:
            raise LimitReached(
                f"the {source} has {len(services)} services, more than there is room for "
                f"(registry.max_services is {self.settings.max_services})"
            )
        listed = sum(len(service.endpoints) for service in services)
        had = sum(len(said.listed) for said in former.values())
        if listed > had and self._roster.endpoints + listed - had > self.settings.max_endpoints:
            raise LimitReached(
                f"the {source} has {listed} endpoints, more than there is room for "
                f"(registry.max_endpoints is {self.settings.max_endpoints})"
            )

    def _only_from(self, said: Mapping[str, Said]) -> int:
        """How many services would go with this source."""
        return sum(
            1
            for name in said
            if len(self._statements.heads(name)) == 1
            and name not in self._overlay.registered
            and self._overlay.policies(name) is None
        )

    def _room_for_resolved(self, change: Resolved) -> None:
        said = self._statements.said.get(change.source, {}).get(change.service)
        more = len(change.endpoints) - (len(said.resolved.get(change.id, ())) if said is not None else 0)
        most = self.settings.max_endpoints
        if more > 0 and self._roster.endpoints + more > most:
            raise LimitReached(
                f"service {change.service}: there is no room for the {len(change.endpoints)} endpoints that the name "
                f"of {change.id} stands for (registry.max_endpoints is {most})"
            )
