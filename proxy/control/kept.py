"""What an agent has the supervisor keep for whoever comes after it.

The configuration in force, what its sources said last, so that they need not be asked before traffic goes on, and with
`store: memory:` the registrations, because an agent that dies is not a program that was stopped. The states of
endpoints are kept when a program takes over from another one; a successor of a dead agent hears them from the workers.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import msgspec

from discovery.changes import DIRECTORY, FILE, Replace, Resolved
from discovery.config import Config
from discovery.model import EndpointState, Snapshot, Struct
from discovery.overlay import Edit, Record, key_of
from proxy.stats.slots import endpoint_key


class Kept(Struct):
    config: Config | None = None
    said: tuple[Replace | Resolved, ...] = ()
    records: tuple[Record, ...] = ()
    version: int = 0  # of the registry
    states: Mapping[str, EndpointState] = msgspec.field(default_factory=dict)  # by the key of the endpoint's row

    def edits(self) -> list[Edit]:
        return [Edit(key_of(record), record) for record in self.records]

    def still_said(self, config: Config) -> Iterator[Replace | Resolved]:
        """What sources said that `config` still has."""
        sources = {FILE, *(DIRECTORY + path for path in config.registry.directories)}
        for change in self.said:
            if change.source in sources:
                yield change


def states_of(snapshot: Snapshot) -> dict[str, EndpointState]:
    return {
        endpoint_key(service.name, endpoint.id, endpoint.address): endpoint.state
        for service in snapshot.services
        for endpoint in service.endpoints
    }
