"""Services that nothing leads to."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from discovery.config import Config
from discovery.model import Listener, Protocol, Route, StreamRoute, TrafficSplit
from proxy.config.warnings.finding import Finding


def findings(config: Config) -> Iterator[Finding]:
    snapshot = config.snapshot
    listeners = [each for each in snapshot.listeners if not each.protocol.is_dns]
    # Without listeners it is a registry, and with DNS every service has a name.
    if not listeners or len(listeners) < len(snapshot.listeners):
        return
    reached, named = _led_to(config, listeners)
    for service in snapshot.services:
        if service.name in reached:
            continue
        at = (("services", service.name),)
        if service.name in named:
            yield Finding(
                "every share that leads here has the weight 0, so no request comes; give one of them a weight, or take "
                "the service out",
                at,
            )
        else:
            yield Finding(
                "nothing leads here: no route, split, mirror or domain of a listener, and there is no DNS; add a "
                "route, "
                "or take the service out, unless the API is to add one or others read it there",
                at,
            )


def _led_to(config: Config, listeners: Iterable[Listener]) -> tuple[set[str], set[str]]:
    """Services that get requests, and those that are named by shares which get none."""
    reached: set[str] = set()
    named: set[str] = set()
    for listener in listeners:
        for route in listener.all_routes:
            if route.service:
                reached.add(route.service)
            for share in route.split:
                (reached if share.weight else named).add(share.service)
            reached |= _mirrored(route)
        if listener.by_domain and listener.protocol is Protocol.HTTP:
            reached |= {service.name for service in config.snapshot.services if service.domain}
    mirrors = {service.name: service.policies.mirror for service in config.snapshot.services}
    following = list(reached)
    while following:
        mirror = mirrors.get(following.pop())
        if mirror is not None and mirror.service not in reached:
            reached.add(mirror.service)
            following.append(mirror.service)
    return reached, named


def _mirrored(route: Route | StreamRoute) -> set[str]:
    mirror = route.filters.policies.mirror if isinstance(route, Route) else None
    return {mirror.service} if mirror is not None else set()


def shares_of(route: Route | StreamRoute) -> tuple[TrafficSplit, ...]:
    """Where a route leads, as shares."""
    return route.split or ((TrafficSplit(service=route.service, version=route.version),) if route.service else ())
