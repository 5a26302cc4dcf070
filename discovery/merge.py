"""What several sources say of the same service, made one.

Precedence: the API over the file over the directories, these in the order of `registry.directories`. A service is
defined by the highest source that has it, and the API may set single fields on top (policies). Endpoints are united by
id: the higher source's wins, the others are *shadowed*, which means that they wait and are told of. What a DNS name
stands for belongs to the source that wrote the name.
Pure functions over values; who has said what is kept in discovery/statements.py.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import msgspec

from discovery.changes import API, DIRECTORY, FILE, PutPolicies
from discovery.model import Endpoint, Service
from discovery.policies import RequestPolicies

MAX_NAME = 253
NOT_IN_NAMES = re.compile(r"[^A-Za-z0-9_.:@\[\]-]")

NOT_POLICIES = frozenset(("name", "endpoints", "position"))
# What requests have to pass is said one by one, so that who limits a rate leaves alone who may ask: "policies.access".
NESTED = "policies"
NESTED_FIELDS = tuple(f"{NESTED}.{name}" for name in RequestPolicies.__struct_fields__)
POLICIES = (*(name for name in Service.__struct_fields__ if name not in (*NOT_POLICIES, NESTED)), *NESTED_FIELDS)

_PLAIN = Service(name="")


@dataclass(slots=True, frozen=True)
class Merged:
    """An endpoint as the highest source has it, and what lower ones have under the same id."""

    endpoint: Endpoint
    origin: str
    shadowed: tuple[tuple[str, Endpoint], ...] = ()


def ranked(sources: Iterable[str], directories: Sequence[str]) -> list[str]:
    """`sources`, highest first. What is no directory of the list comes last."""
    order = {DIRECTORY + path: number for number, path in enumerate(directories, start=2)}
    order[API], order[FILE] = 0, 1
    return sorted(sources, key=lambda source: (order.get(source, len(order)), source))


def value_of(service: Service, field: str) -> object:
    """`field`: one of POLICIES."""
    name, _, part = field.partition(".")
    value: object = getattr(service, name)
    return getattr(value, part) if part else value


def with_fields(service: Service, other: Service, fields: Iterable[str]) -> Service:
    """`service`, with `fields` (of POLICIES) as in `other`."""
    fields = tuple(fields)
    values: dict[str, object] = {name: value_of(other, name) for name in fields if "." not in name}
    nested = {name.partition(".")[2]: value_of(other, name) for name in fields if "." in name}
    if nested:
        values[NESTED] = msgspec.structs.replace(service.policies, **nested)
    return msgspec.structs.replace(service, **values)


def merge_head(
    name: str, said: Sequence[tuple[str, Service]], policies: PutPolicies | None
) -> tuple[Service, dict[str, str]]:
    """The service without endpoints, and the source of each field that is not from the one that defines it. `said`:
    highest first."""
    head = said[0][1] if said else Service(name=name)
    if policies is None:
        return head, {}
    return with_fields(head, policies.service, policies.fields), dict.fromkeys(policies.fields, API)


def merge_endpoint(said: Sequence[tuple[str, Endpoint]]) -> Merged | None:
    """`said`: highest first."""
    if not said:
        return None
    origin, endpoint = said[0]
    return Merged(endpoint, origin, tuple(said[1:]))


def overridden(said: Sequence[tuple[str, Service]], origins: Mapping[str, str]) -> list[tuple[str, str, str]]:
    """(field, the source whose value is not in force, the source whose is): what the source that defines the service
    wrote, and the API has put something else over. Of sources below it all is shadowed, which says nothing."""
    return [
        (name, source, by)
        for source, service in said[:1]
        for name, by in origins.items()
        if value_of(service, name) != value_of(_PLAIN, name)
    ]


def resolved_ids(id: str, endpoints: Iterable[Endpoint]) -> dict[str, Endpoint]:
    """What the name that was given `id` stands for, under the ids that these endpoints get: `id` itself if it is one,
    else `id` and the address, so that an address keeps its identity while others come and go."""
    by_address = {endpoint.address: endpoint for endpoint in endpoints}
    if len(by_address) == 1:
        (endpoint,) = by_address.values()
        return {id: _called(endpoint, id)}
    found = {}
    for address in sorted(by_address):
        name = f"{id}-{NOT_IN_NAMES.sub('-', address)}"[:MAX_NAME]
        found[name] = _called(by_address[address], name)
    return found


def _called(endpoint: Endpoint, id: str) -> Endpoint:
    return endpoint if endpoint.id == id else msgspec.structs.replace(endpoint, id=id)
