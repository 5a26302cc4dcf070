"""Limits that others make pointless, and rates that are tighter than they look."""

from __future__ import annotations

from collections.abc import Iterator

from discovery.config import Config
from discovery.model import Service
from discovery.policies import RateLimit
from proxy.config.places import Steps
from proxy.config.scalars import format_size
from proxy.config.warnings.finding import Finding, span
from proxy.config.warnings.guarded import guarded

# Two requests that are closer than this come from one page, or one program.
CLOSE = 0.1


def findings(config: Config) -> Iterator[Finding]:
    for service in config.snapshot.services:
        yield from _of_service(service, ("services", service.name, "mesh"))
    body = config.snapshot.settings.limits.body
    for policies, places in guarded(config):
        if 0 < body < policies.max_body:
            yield Finding(
                f"a body of {format_size(policies.max_body)} never gets here, because limits.body refuses more than "
                f"{format_size(body)}; make limits.body larger, and limit others by a max_body of their own",
                (places["max_body"],),
            )
        if policies.rate_limit is not None:
            yield from _rate(policies.rate_limit, places["rate_limit"])


def _of_service(service: Service, mesh: Steps) -> Iterator[Finding]:
    breaker = service.circuit_breaker
    at: Steps = (*mesh, "circuit_breaker")
    if 0 < breaker.max_requests <= breaker.max_pending_requests:
        yield Finding(
            f"{breaker.max_pending_requests} requests never wait, because those that wait count among the "
            f"{breaker.max_requests} of max_requests; make this less than that",
            ((*at, "max_pending_requests"), (*at, "max_requests")),
        )
    if 0 < breaker.max_requests <= service.policies.max_concurrent:
        yield Finding(
            f"{service.policies.max_concurrent} at the same time are never reached, because "
            f"circuit_breaker.max_requests refuses more than {breaker.max_requests}; keep the smaller one alone",
            ((*mesh, "max_concurrent"),),
        )


def _rate(limit: RateLimit, at: Steps) -> Iterator[Finding]:
    apart = limit.per / limit.requests
    if limit.burst == 0 and limit.requests > 1 and apart >= CLOSE:
        yield Finding(
            f"{limit.requests} per {span(limit.per)} is one every {span(apart)}: of two that come sooner after "
            "each other "
            f"the second is answered 429; say `burst: {limit.requests - 1}` where {limit.requests} may come at once",
            ((*at, "requests"), at),
        )
