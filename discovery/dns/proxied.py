"""At which port the proxy serves a service: what SRV says of one that is answered with the proxy's addresses.

It is the first listener, in the order of the configuration, that leads there: one that serves every service by its
domain, or one with a route that names the service.
"""

from __future__ import annotations

from collections.abc import Iterable

from discovery.model import Listener, Route, Service, StreamRoute


def proxy_port(listeners: Iterable[Listener], service: Service) -> int:
    """0 when no listener leads to the service."""
    for listener in listeners:
        if listener.protocol.is_dns or listener.address.startswith("unix:"):
            continue
        by_domain = listener.by_domain and bool(service.domain)
        if by_domain or any(_leads_to(route, service.name) for route in listener.all_routes):
            return int(listener.address.rpartition(":")[2])
    return 0


def _leads_to(route: Route | StreamRoute, name: str) -> bool:
    return route.service == name or any(share.service == name for share in route.split)
