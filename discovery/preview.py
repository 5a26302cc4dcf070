"""What another configuration file would lead to, without any effect.

A file may be refused after it was read: an address is in use, the statistics table is full. By then nothing may have
changed, health least of all. So the snapshot is made here first, from records that nobody keeps; endpoints that stay
have the state that they have.
Pure.
"""

from __future__ import annotations

from dataclasses import replace as replaced

import msgspec

from discovery.changes import FILE
from discovery.domains import Domains
from discovery.listeners import missing, with_routes
from discovery.model import Service, Snapshot
from discovery.nodes import Nodes
from discovery.overlay import Overlay
from discovery.records import Entry, ServiceRecord
from discovery.roster import Roster
from discovery.statements import Statements


def preview(
    base: Snapshot, version: int, overlay: Overlay, statements: Statements, roster: Roster, nodes: Nodes
) -> Snapshot:
    """The snapshot as it would be with `base` in place of what the file says."""
    former, said = statements.said[FILE], statements.read(FILE, base.services)
    tried = statements.with_file(said)
    records = {name: record for name, record in roster.services.items() if tried.is_defined(name)}
    domains = roster.domains.copy()
    for name in roster.services:
        if name not in records:
            domains.claim(name, "", 0)
    for name in {**former, **said}:
        if said.get(name) is not former.get(name) and tried.is_defined(name):
            records[name] = _record(name, tried, roster, domains)
    services = {}
    for name, record in records.items():
        domain = domains.of(name)
        service = record.as_seen()
        if service.domain != domain:
            service = msgspec.structs.replace(service, domain=domain)
        now = roster.services.get(name)
        services[name] = now.as_seen() if now is not None and now.as_seen() == service else service
    listeners = with_routes(base.listeners, overlay.routes.values())
    used = {entry.endpoint.node for record in records.values() for entry in record.entries.values()} - {""}
    wanted = missing(listeners, services.values(), services)
    return Snapshot(
        version=version,
        settings=base.settings,
        listeners=listeners,
        services=(*services.values(), *(Service(name=name) for name in wanted)),
        nodes=nodes.in_force(base.nodes, used),
    )


def _record(name: str, statements: Statements, roster: Roster, domains: Domains) -> ServiceRecord:
    head, _, rank = statements.head(name)
    domains.claim(name, head.domain, rank)
    record = ServiceRecord(name, head, domain=head.domain)
    former = roster.services.get(name)
    entries = former.entries if former is not None else {}
    ids = statements.ids(name)
    for id in (*(id for id in entries if id in ids), *(id for id in ids if id not in entries)):
        merged = statements.endpoint(name, id)
        assert merged is not None, "somebody lists it"
        entry = Entry(merged, 0.0)
        was = entries.get(id)
        if was is not None:
            entry = replaced(was, merged=merged)
            if was.endpoint.address != merged.endpoint.address:
                entry.report = None
        entry.state, entry.reason = roster.state_of(record, id, entry)
        if was is None or entry.state is not was.state or merged.endpoint != was.endpoint:
            entry.made = None
        record.entries[id] = entry
    return record
