"""Who offers a service, where, and in which state: the registry and what feeds it.

The names of the Python API are here, and imported when they are asked for: a worker that imports discovery.model pays
for nothing else.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from discovery.changes import ChangeError, Conflict, LimitReached, NotFound, Stale, StoreFailed
    from discovery.client import ServiceDiscovery
    from discovery.model import Endpoint, EndpointState, Service
    from discovery.terms import (
        CircuitBreakerPolicy,
        Denied,
        HealthCheckConfig,
        HealthCheckProtocol,
        Invalid,
        LoadBalancingStrategy,
        NotInThisRelease,
        RetryPolicy,
        RoutingRule,
        ServiceConfig,
        ServiceMeshConfig,
        TrafficSplit,
        TrafficSplitConfig,
        Unreachable,
    )

_MODULES = {
    "discovery.changes": ("ChangeError", "Conflict", "LimitReached", "NotFound", "Stale", "StoreFailed"),
    "discovery.client": ("ServiceDiscovery",),
    "discovery.model": ("Endpoint", "EndpointState", "Service"),
    "discovery.terms": (
        "CircuitBreakerPolicy",
        "Denied",
        "HealthCheckConfig",
        "HealthCheckProtocol",
        "Invalid",
        "LoadBalancingStrategy",
        "NotInThisRelease",
        "RetryPolicy",
        "RoutingRule",
        "ServiceConfig",
        "ServiceMeshConfig",
        "TrafficSplit",
        "TrafficSplitConfig",
        "Unreachable",
    ),
}
_HOME = {name: module for module, names in _MODULES.items() for name in names}

__all__ = [
    "ChangeError",
    "CircuitBreakerPolicy",
    "Conflict",
    "Denied",
    "Endpoint",
    "EndpointState",
    "HealthCheckConfig",
    "HealthCheckProtocol",
    "Invalid",
    "LimitReached",
    "LoadBalancingStrategy",
    "NotFound",
    "NotInThisRelease",
    "RetryPolicy",
    "RoutingRule",
    "Service",
    "ServiceConfig",
    "ServiceDiscovery",
    "ServiceMeshConfig",
    "Stale",
    "StoreFailed",
    "TrafficSplit",
    "TrafficSplitConfig",
    "Unreachable",
]


def __getattr__(name: str) -> Any:
    module = _HOME.get(name)
    if module is None:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib import import_module

    return getattr(import_module(module), name)
