"""The policies of a service or a route in a few words each, for lists: "retry 3", "rate 100 per 1s".

Only what is in force is told, and nothing of what everybody has.
"""

from __future__ import annotations

from discovery.model import Route, Service
from discovery.policies import Affinity, CircuitBreaker, KeyKind, RequestPolicies, RetryPolicy
from proxy.config.scalars import format_duration, format_size

_LIMITS = ("max_connections", "max_pending_requests", "max_requests", "max_retries")


def of_service(service: Service) -> list[str]:
    words = []
    if service.affinity is not None:
        words.append(f"affinity {_client(service.affinity)}")
    if service.sticky_split is not None:
        words.append(f"sticky split {_client(service.sticky_split)}")
    if service.timeout:
        words.append(f"timeout {format_duration(service.timeout)}")
    return [*words, *_retry(service.retry), *_breaker(service.circuit_breaker), *_guards(service.policies)]


def of_route(route: Route) -> list[str]:
    words = []
    if route.subset is not None:
        metadata = [f"{name}={value}" for name, value in route.subset.metadata.items()]
        metadata += [f"{name} by {header}" for name, header in route.subset.headers.items()]
        words.append(f"subset {' '.join(metadata)}")
    if route.sticky_split is not None:
        words.append(f"sticky split {_client(route.sticky_split)}")
    if route.timeout is not None:
        words.append(f"timeout {format_duration(route.timeout)}" if route.timeout else "no timeout")
    return [*words, *_retry(route.retry), *_guards(route.filters.policies)]


def _client(affinity: Affinity) -> str:
    return "client_ip" if affinity.kind is KeyKind.CLIENT_IP else f"{affinity.kind.value} {affinity.name}"


def _retry(retry: RetryPolicy | None) -> list[str]:
    return [] if retry is None else [f"retry {retry.max_retries}" if retry.max_retries else "no retry"]


def _breaker(breaker: CircuitBreaker) -> list[str]:
    words = ["limits"] if any(getattr(breaker, name) for name in _LIMITS) else []
    return words if breaker.consecutive_errors or breaker.success_rate else [*words, "no breaker"]


def _guards(policies: RequestPolicies) -> list[str]:
    words = []
    if policies.access is not None:
        words.append("access")
    if policies.max_body:
        words.append(f"body {format_size(policies.max_body)}")
    if policies.rate_limit is not None:
        words.append(f"rate {policies.rate_limit.requests} per {format_duration(policies.rate_limit.per)}")
    if policies.max_concurrent:
        words.append(f"concurrent {policies.max_concurrent}")
    if policies.fault is not None:
        words.append("fault")
    if policies.mirror is not None:
        words.append(f"mirror to {policies.mirror.service}")
    return words
