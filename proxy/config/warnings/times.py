"""Timeouts that cut each other off."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

from discovery.config import Config
from discovery.model import Route, Service
from discovery.policies import RetryPolicy
from proxy.config.places import Steps
from proxy.config.warnings.finding import Finding, some, span
from proxy.config.warnings.reach import shares_of


class Way(NamedTuple):
    """How long requests have that go one way: `timeout` 0 is no limit. `at`: where that was said; `policy_at`: where
    the retry policy was. `name` of the route or service."""

    name: str
    service: str
    timeout: float
    at: Steps
    retry: RetryPolicy | None
    policy_at: Steps
    methods: tuple[str, ...] = ()


def of_service(service: Service) -> Way:
    mesh: Steps = ("services", service.name, "mesh")
    name = service.name
    return Way(f"service {name}", name, service.timeout, (*mesh, "timeout"), service.retry, (*mesh, "retry"))


def ways(config: Config) -> Iterator[Way]:
    """Services, and routes that have a timeout or a retry policy of their own, with each of their services."""
    services = {service.name: service for service in config.snapshot.services}
    for service in config.snapshot.services:
        yield of_service(service)
    for index, listener in enumerate(config.snapshot.listeners):
        for place, route in enumerate(listener.routes):
            if route.timeout is None and route.retry is None:
                continue
            at: Steps = ("listeners", index, "routes", place)
            for share in shares_of(route):
                if share.service in services:
                    yield _of_route(route, at, of_service(services[share.service]))


def _of_route(route: Route, at: Steps, service: Way) -> Way:
    timeout, timeout_at = (service.timeout, service.at) if route.timeout is None else (route.timeout, (*at, "timeout"))
    retry, retry_at = (service.retry, service.policy_at) if route.retry is None else (route.retry, (*at, "retry"))
    return Way(f"route {route.name}", service.service, timeout, timeout_at, retry, retry_at, route.match.methods)


def findings(config: Config) -> Iterator[Finding]:
    yield from _connect(config)
    yield from _response_header(config)
    yield from _drain(config)


def _attempt(way: Way) -> float:
    return way.retry.per_try_timeout if way.retry is not None else 0.0


def _connect(config: Config) -> Iterator[Finding]:
    connect = config.snapshot.settings.timeouts.connect
    several = {service.name for service in config.snapshot.services if len(service.endpoints) > 1}
    several |= {followed.service for followed in config.followed}
    cut = [way for way in ways(config) if 0 < way.timeout <= connect and not _attempt(way) and way.service in several]
    if cut:
        shortest = min(cut, key=lambda way: way.timeout)
        yield Finding(
            f"an endpoint that does not answer is waited for {span(connect)}, and requests of "
            f"{some(way.name for way in cut)} have no more than {span(shortest.timeout)}: they time out "
            "before another endpoint is tried; make timeouts.connect shorter, or give them a retry.per_try_timeout",
            (("timeouts", "connect"), shortest.at),
        )


def _response_header(config: Config) -> Iterator[Finding]:
    limit = config.snapshot.settings.timeouts.response_header
    for service in config.snapshot.services:
        retry = service.retry
        if retry is not None and retry.per_try_timeout > limit:
            at: Steps = ("services", service.name, "mesh", "retry", "per_try_timeout")
            yield Finding(_beyond(retry.per_try_timeout, limit), (at,))
    for index, listener in enumerate(config.snapshot.listeners):
        for place, route in enumerate(listener.routes):
            if route.retry is not None and route.retry.per_try_timeout > limit:
                at = ("listeners", index, "routes", place, "retry", "per_try_timeout")
                yield Finding(_beyond(route.retry.per_try_timeout, limit), (at,))


def _beyond(attempt: float, limit: float) -> str:
    return (
        f"{span(attempt)} is never reached, because timeouts.response_header ends an attempt after {span(limit)}; make "
        "that longer, or this shorter"
    )


def _drain(config: Config) -> Iterator[Finding]:
    drain = config.snapshot.settings.timeouts.drain
    longer = [way for way in ways(config) if way.timeout > drain]
    if longer:
        longest = max(longer, key=lambda way: way.timeout)
        yield Finding(
            f"when the program stops, open requests have {span(drain)}, and those of "
            f"{some(way.name for way in longer)} may take up to {span(longest.timeout)}: they would "
            "be cut "
            f"off; make timeouts.drain at least {span(longest.timeout)}",
            (("timeouts", "drain"), longest.at),
        )
