"""What requests have to pass, with where it stands."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import msgspec

from discovery.config import Config
from discovery.model import Filters
from discovery.policies import RequestPolicies
from proxy.config.places import Steps

PLAIN = RequestPolicies()
OFF = msgspec.structs.asdict(PLAIN)
# Filters that the effective configuration has before these.
CHANGES = ("request_headers", "response_headers", "url_rewrite", "redirect", "direct_response")


class Guarded(NamedTuple):
    """`places`: by the name of a policy that is in force."""

    policies: RequestPolicies
    places: dict[str, Steps]


def guarded(config: Config) -> Iterator[Guarded]:
    """Of every service and route that has any."""
    for service in config.snapshot.services:
        if service.policies != PLAIN:
            names = _in_force(service.policies)
            yield Guarded(service.policies, {name: ("services", service.name, "mesh", name) for name in names})
    for index, listener in enumerate(config.snapshot.listeners):
        for place, route in enumerate(listener.routes):
            if route.filters.policies != PLAIN:
                at: Steps = ("listeners", index, "routes", place, "filters")
                yield Guarded(route.filters.policies, _filters(route.filters, at))


def _filters(filters: Filters, at: Steps) -> dict[str, Steps]:
    before = sum(getattr(filters, name) is not None for name in CHANGES)
    return {name: (*at, before + number, name) for number, name in enumerate(_in_force(filters.policies))}


def _in_force(policies: RequestPolicies) -> list[str]:
    return [name for name, off in OFF.items() if getattr(policies, name) != off]
