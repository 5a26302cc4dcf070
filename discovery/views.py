"""What the registry says of itself: services as they are described, and what some source says in vain.

Looks only; the values that come out are in discovery/records.py. Pure.
"""

from __future__ import annotations

from discovery.changes import API, NotFound
from discovery.lifetimes import Lifetimes
from discovery.merge import overridden
from discovery.overlay import Overlay
from discovery.records import EndpointView, Entry, ServiceView, Shadowed
from discovery.roster import Roster
from discovery.statements import Statements


class Views:
    def __init__(self, overlay: Overlay, statements: Statements, roster: Roster, lifetimes: Lifetimes) -> None:
        self._overlay = overlay
        self._statements = statements
        self._roster = roster
        self._lifetimes = lifetimes

    def described(self, service: str) -> ServiceView:
        """Raises NotFound."""
        record = self._roster.services.get(service)
        if record is None:
            raise NotFound(f"there is no service called {service}")
        heads = self._statements.heads(service)
        sources = [source for source, _ in heads]
        if self._overlay.policies(service) is not None or service in self._overlay.registered:
            sources.insert(0, API)
        return ServiceView(
            service=record.as_seen(),
            index=record.index,
            sources=tuple(sources),
            origins=dict(record.origins),
            endpoints=tuple(self._view(service, id, entry) for id, entry in record.entries.items()),
            shadowed=tuple(self._shadowed(service)),
        )

    def notices(self) -> list[str]:
        """What some source says and is not in force, one sentence each."""
        found = []
        for name, record in self._roster.services.items():
            if record.domain != record.head.domain:
                owner = self._roster.domains.owner(record.head.domain)
                found.append(f"service {name} does not have its domain {record.head.domain}, it is that of {owner}")
            for shadowed in self._shadowed(name):
                found.append(
                    f"service {name}: {shadowed.what} of the {shadowed.source} is overridden by the {shadowed.by}"
                )
        return found

    def _shadowed(self, service: str) -> list[Shadowed]:
        record = self._roster.services[service]
        heads = self._statements.heads(service)
        found = [Shadowed(what=what, source=source, by=by) for what, source, by in overridden(heads, record.origins)]
        for id, entry in record.entries.items():
            merged = entry.merged
            found += [Shadowed(what=f"endpoint {id}", source=source, by=merged.origin) for source, _ in merged.shadowed]
        return found

    def _view(self, service: str, id: str, entry: Entry) -> EndpointView:
        registration = self._overlay.endpoint(service, id)
        expires = self._lifetimes.expires(service, id)
        if expires is None and entry.lease_over:
            expires = entry.since
        return EndpointView(
            endpoint=entry.as_seen(),
            origin=entry.merged.origin,
            reason=entry.reason,
            since=entry.since,
            ttl=registration.ttl if registration is not None else 0.0,
            expires=expires,
            revision=registration.revision if registration is not None else 0,
            is_drained=self._overlay.is_drained(service, id),
        )
