"""What a listener without routes serves: every service that has a domain, under that domain.

Written out as ordinary routes when the file is loaded, so that everything after it knows routes only.
"""

from __future__ import annotations

from collections.abc import Iterable

from discovery.model import Route, RouteMatch, Service


def default_routes(services: Iterable[Service]) -> tuple[Route, ...]:
    """One route per domain, named after its service and standing where the service stands."""
    return tuple(
        Route(
            name=service.name,
            match=RouteMatch(host=service.domain),
            service=service.name,
            position=service.position,
        )
        for service in services
        if service.domain
    )
