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
from discovery.merge import POLICIES, Said
from discovery.model import RegistrySettings, Service
from discovery.overlay import Edit, Overlay, Record, RecordKey
from discovery.records import ServiceRecord


class Admission:
    def __init__(
        self,
        overlay: Overlay,
        services: Mapping[str, ServiceRecord],
        said: Mapping[str, Mapping[str, Said]],
        settings: RegistrySettings,
    ) -> None:
        self.settings = settings
        self._overlay = overlay
        self._services = services
        self._said = said
        self._added: dict[tuple[str, str], None] = {}  # endpoints that there would be; (service, "") a service

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
                        self._added.popitem()
                    results.append(error)
        finally:
            overlay.pending.clear()
            self._added.clear()
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
        if isinstance(known, PutEndpoint) or revision:
            return
        for source, services in self._said.items():
            said = services.get(service)
            if said is not None and said.endpoint(id) is not None:
                where = said.service.position or f"the {source}"
                raise Conflict(
                    f"endpoint {id} of service {service} is defined in {where} and can only be removed there"
                )
        raise NotFound(f"service {service} has no endpoint {id}")

    def _admit_route(self, change: PutRoute) -> None:
        pass

    # --- conditions -----------------------------------------------------------------------------------------------

    def _has_endpoint(self, service: str, id: str) -> bool:
        if self._overlay.endpoint(service, id) is not None:
            return True
        return any(
            said is not None and said.endpoint(id) is not None
            for said in (services.get(service) for services in self._said.values())
        )

    def _need_endpoint(self, service: str, id: str) -> None:
        if not self._has_endpoint(service, id):
            raise NotFound(f"service {service} has no endpoint {id}")

    def _need_node(self, name: str) -> None:
        is_known = (
            self._overlay.get(records.NODE, name) is not None or self._overlay.get(records.GONE, name) is not None
        )
        if not is_known and not any(
            entry.endpoint.node == name for record in self._services.values() for entry in record.entries.values()
        ):
            raise NotFound(f"there is no node called {name}")

    def _short_enough(self, what: str, ttl: float) -> None:
        longest = self.settings.max_lease
        if ttl > longest:
            raise LimitReached(f"{what}: a lease of {ttl:g} s is longer than registry.max_lease, {longest:g} s")

    def _domain_is_free(self, service: Service) -> None:
        for key, record in {**self._overlay.records, **self._overlay.pending}.items():
            if (
                isinstance(record, PutPolicies)
                and key.name != service.name
                and "domain" in record.fields
                and record.service.domain == service.domain
            ):
                raise Conflict(f"the domain {service.domain} belongs to service {key.name}")

    # --- limits ---------------------------------------------------------------------------------------------------

    def _room_for_service(self, name: str) -> None:
        if name in self._services or (name, "") in self._added:
            return
        new = sum(1 for _, id in self._added if not id)
        if len(self._services) + new >= self.settings.max_services:
            raise LimitReached(f"there are {self.settings.max_services} services already (registry.max_services)")
        self._added[name, ""] = None

    def _room_for_endpoint(self, service: str, id: str) -> None:
        record = self._services.get(service)
        if (record is not None and id in record.entries) or (service, id) in self._added:
            return
        there = sum(len(record.entries) for record in self._services.values())
        new = sum(1 for _, id in self._added if id)
        if there + new >= self.settings.max_endpoints:
            raise LimitReached(f"there are {self.settings.max_endpoints} endpoints already (registry.max_endpoints)")
        self._added[service, id] = None

    def _room_for_node(self, name: str) -> None:
        pass

    def _room_for(self, source: str, services: Sequence[Service]) -> None:
        pass

    def _room_for_resolved(self, change: Resolved) -> None:
        pass
