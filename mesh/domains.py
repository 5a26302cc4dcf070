"""What a listener without routes of its own serves: every service that has a domain, under that domain.

Services come and go while the listener stays, so these routes stand in no configuration: they follow from the services
there are, by the one rule of this file. `Domains` keeps a router true to them, one service at a time.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

from discovery.model import Listener, Route, RouteMatch, Service, StreamRoute
from mesh.router import Router


def has_domain(service: Service | None) -> bool:
    return service is not None and bool(service.domain)


def domain_route(service: Service) -> Route:
    """The route that a service with a domain has on such a listener; it is named after the service."""
    return Route(
        name=service.name,
        match=RouteMatch(host=service.domain),
        service=service.name,
        position=service.position,
    )


def routes_of(listener: Listener, services: Iterable[Service]) -> tuple[Route, ...]:
    """All HTTP routes of `listener`, in the order in which equals are asked."""
    if not listener.by_domain:
        return listener.routes
    return (*listener.routes, *(domain_route(service) for service in services if has_domain(service)))


def all_routes_of(listener: Listener, services: Iterable[Service]) -> tuple[Route | StreamRoute, ...]:
    """Routes of requests and of connections."""
    return routes_of(listener, services) + listener.streams


class Domains:
    """Keeps `router` true to the domains of services that come, change and go. Its other routes are `pairs`."""

    def __init__(self, pairs: Iterable[tuple[Route, object]]) -> None:
        """Raises RouteError."""
        self.own: dict[str, list[tuple[Route, object]]] = {}
        for route, payload in pairs:
            self.own.setdefault(route.match.host, []).append((route, payload))
        self.router = Router([pair for pairs in self.own.values() for pair in pairs])
        self.served: dict[str, tuple[Route, object]] = {}  # by service
        self.claims: dict[str, list[str]] = {}  # services by domain

    def put(self, service: str, route: Route, payload: object, order: Callable[[str], int]) -> None:
        """`service` has this route; `order` says where a service stands among those that claim the same domain."""
        self.drop(service)
        self.served[service] = (route, payload)
        claims = self.claims.setdefault(route.match.host, [])
        claims.append(service)
        if len(claims) > 1:
            claims.sort(key=order)
        self._update(route.match.host)

    def has(self, service: str, route: Route) -> bool:
        """Whether `put` would change nothing."""
        known = self.served.get(service)
        return known is not None and known[0] == route and len(self.claims[route.match.host]) == 1

    def drop(self, service: str) -> None:
        """`service` has none, if it had one."""
        known = self.served.pop(service, None)
        if known is None:
            return
        host = known[0].match.host
        self.claims[host].remove(service)
        self._update(host)
        if not self.claims[host]:
            del self.claims[host]

    def _update(self, host: str) -> None:
        claimed = [self.served[service] for service in self.claims[host]]
        self.router.put_host(host, [*self.own.get(host, ()), *claimed])
