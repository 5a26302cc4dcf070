"""Who has said what: every source's services, beside what the API has said of them (the overlay).

Asked for a service, it says who defines it; asked for an endpoint, what is in force of what was said. Precedence is
discovery/merge.py's. A copy with another file costs what differs, so that a configuration can be tried out.
Pure.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

import msgspec

from discovery.changes import API, FILE, Resolved
from discovery.merge import Merged, merge_endpoint, merge_head, ranked, resolved_ids
from discovery.model import Endpoint, Service
from discovery.overlay import Overlay


@dataclass(slots=True)
class Said:
    """One source about one service: the definition without endpoints, what it lists, what its names stand for."""

    service: Service
    listed: dict[str, Endpoint]
    resolved: dict[str, dict[str, Endpoint]] = field(default_factory=dict)  # by the id that the name was given

    @classmethod
    def of(cls, service: Service, former: Said | None) -> Said:
        """`former`, the very object, if the service is as it was. Names stand for what they stood for until somebody
        says otherwise."""
        head = msgspec.structs.replace(service, endpoints=()) if service.endpoints else service
        listed = {endpoint.id: endpoint for endpoint in service.endpoints}
        if former is None:
            return cls(head, listed)
        if head == former.service and listed == former.listed:
            return former
        return cls(head, listed, former.resolved)

    def endpoint(self, id: str) -> Endpoint | None:
        found = self.listed.get(id)
        if found is None:
            for endpoints in self.resolved.values():
                if id in endpoints:
                    return endpoints[id]
        return found

    def ids(self) -> Iterator[str]:
        yield from self.listed
        for endpoints in self.resolved.values():
            yield from endpoints


class Statements:
    def __init__(self, overlay: Overlay, directories: Sequence[str] = ()) -> None:
        self.overlay = overlay
        self.said: dict[str, dict[str, Said]] = {FILE: {}}
        self.order: list[str] = [FILE]  # of sources other than the API, highest first
        self._directories = directories

    def with_file(self, services: Mapping[str, Said]) -> Statements:
        """The same, but for what the file says."""
        other = Statements(self.overlay, self._directories)
        other.said = {**self.said, FILE: dict(services)}
        other.order = self.order
        return other

    def rank(self, directories: Sequence[str]) -> None:
        """Directories have this order from now on."""
        self._directories = directories
        self.order = ranked(self.said, directories)

    def read(self, source: str, services: Iterable[Service]) -> dict[str, Said]:
        """`services` as what `source` says; it does not say it yet."""
        former = self.said.get(source, {})
        return {service.name: Said.of(service, former.get(service.name)) for service in services}

    def put(self, source: str, services: dict[str, Said]) -> None:
        is_new = source not in self.said
        self.said[source] = services
        if is_new:
            self.rank(self._directories)

    def resolve(self, change: Resolved) -> list[str] | None:
        """What a name stands for: the ids that are different now. None: nobody has such a service any more."""
        said = self.said.get(change.source, {}).get(change.service)
        if said is None:
            return None
        former = said.resolved.get(change.id, {})
        new = resolved_ids(change.id, change.endpoints)
        if new:
            said.resolved[change.id] = new
        else:
            said.resolved.pop(change.id, None)
        return [id for id in {**former, **new} if former.get(id) != new.get(id)]

    # --- asking ---------------------------------------------------------------------------------------------------

    def is_defined(self, name: str) -> bool:
        return (
            name in self.overlay.registered
            or self.overlay.policies(name) is not None
            or any(name in said for said in self.said.values())
        )

    def heads(self, name: str) -> list[tuple[str, Service]]:
        """Who defines it and how, without endpoints, highest first."""
        found = []
        for source in self.order:
            said = self.said[source].get(name)
            if said is not None:
                found.append((source, said.service))
        return found

    def head(self, name: str) -> tuple[Service, dict[str, str], int]:
        """The service without endpoints, the sources of single fields, and the rank of the source that its domain is
        from: 0 is the highest."""
        said = self.heads(name)
        head, origins = merge_head(name, said, self.overlay.policies(name))
        by = origins.get("domain", said[0][0] if said else API)
        return head, origins, 0 if by == API else self.order.index(by) + 1

    def endpoint(self, name: str, id: str) -> Merged | None:
        """What is in force of what was said of it."""
        found: list[tuple[str, Endpoint]] = []
        registration = self.overlay.endpoint(name, id)
        if registration is not None:
            found.append((API, registration.endpoint))
        for source in self.order:
            said = self.said[source].get(name)
            endpoint = None if said is None else said.endpoint(id)
            if endpoint is not None:
                found.append((source, endpoint))
        return merge_endpoint(found)

    def definition(self, name: str, id: str) -> str:
        """Where this endpoint is defined other than by the API, for people; "" if it is nowhere."""
        for source in self.order:
            said = self.said[source].get(name)
            if said is not None and said.endpoint(id) is not None:
                position = said.service.position
                return str(position) if position is not None else f"the {source}"
        return ""

    def ids(self, name: str) -> dict[str, None]:
        """Of all endpoints that anybody lists, in the order of the sources; those of the API last."""
        ids: dict[str, None] = {}
        for source in self.order:
            said = self.said[source].get(name)
            if said is not None:
                ids.update(dict.fromkeys(said.ids()))
        ids.update(dict.fromkeys(self.overlay.registered.get(name, ())))
        return ids
