"""Policies in a few words."""

from __future__ import annotations

from discovery.model import Filters, Route, Service
from discovery.policies import (
    SOURCE_LIMITS,
    Access,
    Affinity,
    CircuitBreaker,
    Fault,
    KeyKind,
    Mirror,
    RateLimit,
    RequestPolicies,
    RetryPolicy,
    Subset,
)
from proxy.admin.policies import of_route, of_service


def test_what_everybody_has_is_not_told() -> None:
    assert of_service(Service(name="web")) == []
    assert of_route(Route(name="r", service="web")) == []


def test_a_service_with_everything() -> None:
    service = Service(
        name="web",
        affinity=Affinity(name="hm"),
        sticky_split=Affinity(kind=KeyKind.CLIENT_IP),
        timeout=5.0,
        retry=RetryPolicy(max_retries=3),
        circuit_breaker=SOURCE_LIMITS,
        policies=RequestPolicies(
            access=Access(deny=("10.0.0.0/8",)),
            max_body=1024,
            rate_limit=RateLimit(requests=100, per=60.0),
            max_concurrent=5,
            fault=Fault(),
            mirror=Mirror(service="shadow"),
        ),
    )
    assert of_service(service) == [
        "affinity cookie hm", "sticky split client_ip", "timeout 5s", "retry 3", "limits", "access", "body 1KiB",
        "rate 100 per 1m", "concurrent 5", "fault", "mirror to shadow",
    ]  # fmt: skip


def test_what_is_switched_off_is_told() -> None:
    breaker = CircuitBreaker(consecutive_errors=0, success_rate=False)
    service = Service(name="web", retry=RetryPolicy(max_retries=0), circuit_breaker=breaker)
    assert of_service(service) == ["no retry", "no breaker"]
    assert of_route(Route(name="r", timeout=0.0)) == ["no timeout"]


def test_a_route() -> None:
    route = Route(
        name="r",
        subset=Subset(metadata={"stage": "prod"}, headers={"region": "x-region"}),
        sticky_split=Affinity(kind=KeyKind.HEADER, name="x-user"),
        timeout=1.5,
        retry=RetryPolicy(),
        filters=Filters(policies=RequestPolicies(max_concurrent=2)),
    )
    assert of_route(route) == [
        "subset stage=prod region by x-region", "sticky split header x-user", "timeout 1s500ms", "retry 1",
        "concurrent 2",
    ]  # fmt: skip
