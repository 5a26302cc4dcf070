"""Listeners as they are in force: the routes of the API before those of the file.

A route may lead to a service that nobody defines any more. Then the service is there without endpoints, so that its
requests are answered 503 instead of being taken by another route.
Pure.
"""

from __future__ import annotations

from collections.abc import Container, Iterable

import msgspec

from discovery.changes import PutRoute
from discovery.model import Listener, Protocol, Service

ROUTED = (Protocol.HTTP, Protocol.AUTO)


def takes(listener: Listener, put: PutRoute) -> bool:
    return listener.protocol in ROUTED and put.listener in ("", listener.name)


def with_routes(listeners: Iterable[Listener], puts: Iterable[PutRoute]) -> tuple[Listener, ...]:
    puts = tuple(puts)
    return tuple(_with_routes(listener, puts) for listener in listeners)


def _with_routes(listener: Listener, puts: Iterable[PutRoute]) -> Listener:
    routes = [put.route for put in puts if takes(listener, put)]
    if not routes:
        return listener
    names = {route.name for route in routes}
    routes += [route for route in listener.routes if route.name not in names]  # rows of statistics have these names
    return msgspec.structs.replace(listener, routes=tuple(routes))


def missing(listeners: Iterable[Listener], services: Iterable[Service], there: Container[str]) -> list[str]:
    """Services that something leads to and that are not `there`."""
    wanted: dict[str, None] = {}
    for listener in listeners:
        for route in listener.all_routes:
            if route.service:
                wanted[route.service] = None
            wanted.update({split.service: None for split in route.split if split.service})
    for service in services:
        wanted.update({split.service: None for split in service.traffic_split if split.service})
    return [name for name in sorted(wanted) if name not in there]
