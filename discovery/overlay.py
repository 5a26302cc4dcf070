"""What the API has said and nobody has taken back, as records by key. This is what the store keeps.

A durable change is a few edits of records (`edits`), so writing it down and applying it are the same thing told twice.
Edits that are only tried out lie in `pending`, above the records, until they are dropped: this is how a batch of
changes can be checked, each one after the others, before any of them is in force.
A removed endpoint leaves a *tombstone* under its key, so that an old report cannot bring it back.
Pure.
"""

from __future__ import annotations

from typing import NamedTuple

import msgspec

from discovery.changes import (
    Durable,
    PutEndpoint,
    PutNode,
    PutPolicies,
    PutRoute,
    RemoveEndpoint,
    RemoveNode,
    RemovePolicies,
    RemoveRoute,
    SetDrain,
)
from discovery.merge import with_fields

Record = PutPolicies | PutEndpoint | RemoveEndpoint | PutNode | RemoveNode | SetDrain | PutRoute

POLICIES = "policies"
ENDPOINT = "endpoint"  # PutEndpoint, or RemoveEndpoint as its tombstone
DRAIN = "drain"
NODE = "node"
GONE = "gone"  # a node that has left
ROUTE = "route"


class RecordKey(NamedTuple):
    kind: str
    name: str  # of the service, node or route
    id: str = ""


class Edit(NamedTuple):
    """The record of `key` is `record` from now on; None: there is none."""

    key: RecordKey
    record: Record | None


def key_of(record: Record) -> RecordKey:
    match record:
        case PutPolicies(service=service):
            return RecordKey(POLICIES, service.name)
        case PutEndpoint(service=name, endpoint=endpoint):
            return RecordKey(ENDPOINT, name, endpoint.id)
        case RemoveEndpoint(service=name, id=id):
            return RecordKey(ENDPOINT, name, id)
        case SetDrain(service=name, id=id):
            return RecordKey(DRAIN, name, id)
        case PutNode(node=node):
            return RecordKey(NODE, node.name)
        case RemoveNode(name=name):
            return RecordKey(GONE, name)
        case PutRoute(route=route):
            return RecordKey(ROUTE, route.name)


class Overlay:
    def __init__(self) -> None:
        self.records: dict[RecordKey, Record] = {}
        self.pending: dict[RecordKey, Record | None] = {}
        self.registered: dict[str, dict[str, PutEndpoint]] = {}  # by service and id
        self.routes: dict[str, PutRoute] = {}
        self.nodes: dict[str, PutNode] = {}

    def get(self, kind: str, name: str, id: str = "") -> Record | None:
        key = RecordKey(kind, name, id)
        return self.pending[key] if key in self.pending else self.records.get(key)

    def policies(self, service: str) -> PutPolicies | None:
        record = self.get(POLICIES, service)
        return record if isinstance(record, PutPolicies) else None

    def endpoint(self, service: str, id: str) -> PutEndpoint | None:
        record = self.get(ENDPOINT, service, id)
        return record if isinstance(record, PutEndpoint) else None

    def tombstone(self, service: str, id: str) -> RemoveEndpoint | None:
        record = self.get(ENDPOINT, service, id)
        return record if isinstance(record, RemoveEndpoint) else None

    def is_drained(self, service: str, id: str) -> bool:
        return self.get(DRAIN, service, id) is not None

    def edits(self, change: Durable) -> list[Edit]:
        match change:
            case PutPolicies(service=service, fields=fields):
                return [Edit(key_of(change), self._with_policies(service.name, change, fields))]
            case RemovePolicies(service=name, fields=fields):
                return [Edit(RecordKey(POLICIES, name), self._without_policies(name, fields))]
            case PutEndpoint() | RemoveNode() | PutRoute():
                return [Edit(key_of(change), change)]
            case RemoveEndpoint(service=name, id=id, revision=revision):
                known = self.get(ENDPOINT, name, id)
                if isinstance(known, PutEndpoint | RemoveEndpoint) and known.revision > revision:
                    change = msgspec.structs.replace(change, revision=known.revision)
                return [Edit(key_of(change), change), Edit(RecordKey(DRAIN, name, id), None)]
            case SetDrain(is_draining=is_draining):
                return [Edit(key_of(change), change if is_draining else None)]
            case PutNode(node=node):
                return [Edit(key_of(change), change), Edit(RecordKey(GONE, node.name), None)]
            case RemoveRoute(name=name):
                return [Edit(RecordKey(ROUTE, name), None)]

    def put(self, edit: Edit) -> None:
        key, record = edit
        if record is None:
            self.records.pop(key, None)
        else:
            self.records[key] = record
        if key.kind == ENDPOINT:
            self._put_endpoint(key, record)
        elif isinstance(record, PutRoute):
            self.routes[key.name] = record
        elif isinstance(record, PutNode):
            self.nodes[key.name] = record
        elif key.kind == ROUTE:
            self.routes.pop(key.name, None)
        elif key.kind == NODE:
            self.nodes.pop(key.name, None)

    def _put_endpoint(self, key: RecordKey, record: Record | None) -> None:
        if isinstance(record, PutEndpoint):
            self.registered.setdefault(key.name, {})[key.id] = record
            return
        of_service = self.registered.get(key.name)
        if of_service is not None and of_service.pop(key.id, None) is not None and not of_service:
            del self.registered[key.name]

    def _with_policies(self, name: str, change: PutPolicies, fields: tuple[str, ...]) -> PutPolicies:
        known = self.policies(name)
        if known is None:
            return change
        return PutPolicies(
            service=with_fields(known.service, change.service, fields),
            fields=known.fields + tuple(field for field in fields if field not in known.fields),
        )

    def _without_policies(self, name: str, fields: tuple[str, ...]) -> PutPolicies | None:
        known = self.policies(name)
        left = tuple(field for field in known.fields if field not in fields) if known is not None and fields else ()
        return msgspec.structs.replace(known, fields=left) if known is not None and left else None
