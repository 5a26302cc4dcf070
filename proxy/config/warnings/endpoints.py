"""Services without anybody who could answer, and versions that nobody has."""

from __future__ import annotations

from collections.abc import Iterator

from discovery.config import Config
from discovery.model import Endpoint, Service
from proxy.config.places import Steps
from proxy.config.registry import MEMORY
from proxy.config.warnings.finding import Finding, some
from proxy.config.warnings.reach import shares_of


def findings(config: Config) -> Iterator[Finding]:
    endpoints: dict[str, list[Endpoint]] = {
        service.name: list(service.endpoints) for service in config.snapshot.services
    }
    for followed in config.followed:
        endpoints[followed.service].append(followed.endpoint)
    # Files of a directory, and what was registered before, may have the rest.
    is_whole = not config.registry.directories and config.registry.store == MEMORY
    if is_whole:
        yield from _versions(config, endpoints)
    for service in config.snapshot.services:
        own = endpoints[service.name]
        if not own and is_whole:
            yield Finding(
                "no endpoints, and no directory of services is watched: requests are answered 503 until one is "
                "registered by the API; add endpoints, or registry.directories",
                (("services", service.name),),
            )
        elif own and not any(endpoint.weight for endpoint in own):
            yield Finding(
                "every endpoint has the weight 0, so none takes requests: they are answered 503; give one a weight",
                (("services", service.name, "endpoints"),),
            )
        yield from _panic(service, own)


def _versions(config: Config, endpoints: dict[str, list[Endpoint]]) -> Iterator[Finding]:
    known = {name: {endpoint.version for endpoint in own} for name, own in endpoints.items()}

    def missing(service: str, version: str) -> bool:
        return bool(version and known.get(service)) and version not in known[service]

    def message(service: str, version: str, what: str) -> str:
        versions = sorted(known[service] - {""})
        has = f"there are {some(versions, 'version')}" if versions else "its endpoints have none"
        return f"service {service} has no endpoint of version {version} ({has}), so {what}; correct the version"

    for index, listener in enumerate(config.snapshot.listeners):
        for place, route in enumerate(listener.all_routes):
            at: Steps = ("listeners", index, "routes", place)
            shares = shares_of(route)
            for number, share in enumerate(shares):
                if share.weight and missing(share.service, share.version):
                    where = (*at, "split", number, "version") if route.split else (*at, "version")
                    what = "its share goes to the others" if len(shares) > 1 else "requests are answered 503"
                    spots = (where, ("listeners", index, "version"))
                    yield Finding(message(share.service, share.version, what), spots)
    for service in config.snapshot.services:
        for number, share in enumerate(service.traffic_split):
            if share.weight and missing(service.name, share.version):
                what = "its share goes to the others" if len(service.traffic_split) > 1 else "requests are answered 503"
                where = ("services", service.name, "traffic_split", number, "version")
                yield Finding(message(service.name, share.version, what), (where,))


def _panic(service: Service, own: list[Endpoint]) -> Iterator[Finding]:
    is_single = len(own) == 1 and own[0] in service.endpoints
    if is_single and service.balancing.panic_threshold_pct > 0.0:
        yield Finding(
            "there is one endpoint, so it is used whether it is healthy or not: health checks and its circuit breaker "
            "change nothing; take panic_threshold out, or add endpoints",
            (("services", service.name, "load_balancing", "panic_threshold"),),
        )
