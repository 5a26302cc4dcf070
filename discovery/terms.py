"""The values that the Python API is called with, by the names of the service discovery that programs are written for.

    ServiceConfig, HealthCheckConfig, LoadBalancingStrategy, ServiceMeshConfig (with RetryPolicy and
    CircuitBreakerPolicy), TrafficSplitConfig (with TrafficSplit), RoutingRule

Each turns into the changes of discovery/changes.py (`..._change`). What this release does not do is refused with
`NotInThisRelease`, what makes no sense with `Invalid`; nothing is passed over. Pure.
"""

from __future__ import annotations

import hashlib
import ipaddress
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum

from discovery import model, policies
from discovery.changes import ChangeError, PutPolicies, PutRoute
from discovery.model import CheckProtocol, HealthCheck, NameMatch, Route, RouteMatch, Service

# Names become metric labels, parts of URLs and of statistics keys, where "/" separates them.
_NAME = re.compile(r"[A-Za-z0-9_\[][A-Za-z0-9_.:@\[\]-]{0,252}")
_NOT_IN_NAMES = re.compile(r"[^A-Za-z0-9_.:@\[\]-]")
_DOMAIN = re.compile(r"[a-z0-9_]([a-z0-9_-]{0,61}[a-z0-9_])?(\.[a-z0-9_]([a-z0-9_-]{0,61}[a-z0-9_])?)*")

MAX_WEIGHT = 1_000_000
FULL_WEIGHT = 100  # a routing rule's weight is a share of it


class Invalid(ChangeError):
    """A value that makes no sense. Message: which, and what was expected."""


class NotInThisRelease(ChangeError):
    """A value that means something, but not yet."""


class Unreachable(ChangeError):
    """The agent did not answer, or not as an agent would."""


class Denied(ChangeError):
    """The agent does not serve this program: the token is missing or wrong."""


# --- the values ---------------------------------------------------------------------------------------------------


class HealthCheckProtocol(StrEnum):
    TCP = "tcp"
    HTTP = "http"
    HTTPS = "https"
    COMMAND = "command"
    GRPC = "grpc"
    TTL = "ttl"


class LoadBalancingStrategy(StrEnum):
    """docs/guide/load-balancing.md says when to use which."""

    ROUND_ROBIN = "round_robin"
    LEAST_CONNECTIONS = "least_connections"
    RANDOM = "random"
    WEIGHTED_ROUND_ROBIN = "weighted_round_robin"
    IP_HASH = "ip_hash"


@dataclass(frozen=True, kw_only=True)
class ServiceConfig:
    """A service as one of its endpoints registers it. `domain`: what DNS answers for, and the Host of HTTP listeners
    without routes; "" leaves the service's as it is. `version`, `weight` and `metadata` are the endpoint's. `ttl`:
    seconds within which a heartbeat must come, 0 = none is needed."""

    name: str
    domain: str = ""
    version: str = ""
    metadata: Mapping[str, str] = field(default_factory=dict)
    weight: int = 1
    ttl: float = 0.0


@dataclass(frozen=True, kw_only=True)
class HealthCheckConfig:
    """`path` of HTTP and HTTPS, `command` (argv) of COMMAND, `ttl_secs` of TTL."""

    protocol: HealthCheckProtocol = HealthCheckProtocol.TCP
    path: str | None = None
    interval_secs: float = 30
    timeout_secs: float = 5
    healthy_threshold: int = 2
    unhealthy_threshold: int = 3
    command: Sequence[str] = ()
    grpc_service: str = ""
    ttl_secs: float = 0


@dataclass(frozen=True, kw_only=True)
class RetryPolicy:
    """Not in this release."""

    max_retries: int = 3
    retry_on: Sequence[str] = ("5xx", "connect-failure")
    timeout_ms: int = 1000


@dataclass(frozen=True, kw_only=True)
class CircuitBreakerPolicy:
    """Not in this release."""

    max_connections: int = 100
    max_pending_requests: int = 10
    max_requests: int = 1000
    max_retries: int = 3
    consecutive_errors_threshold: int = 5
    interval_ms: int = 10_000
    base_ejection_time_ms: int = 30_000


@dataclass(frozen=True, kw_only=True)
class ServiceMeshConfig:
    """`timeout_ms`: of a whole request; None or 0: none. Trace context is always passed on (`tracing_enabled`).
    `enabled` False takes the policies back that were set here."""

    enabled: bool = True
    mtls_enabled: bool = False
    tracing_enabled: bool = True
    retry_policy: RetryPolicy | None = None
    timeout_ms: int | None = None
    circuit_breaker: CircuitBreakerPolicy | None = None


@dataclass(frozen=True, kw_only=True)
class TrafficSplit:
    """`weight` out of the sum of all weights goes to `version`."""

    version: str
    weight: int


@dataclass(frozen=True, kw_only=True)
class TrafficSplitConfig:
    """No splits: the split that was set here is taken back."""

    service_name: str
    splits: Sequence[TrafficSplit] = ()


@dataclass(frozen=True, kw_only=True)
class RoutingRule:
    """Requests of every HTTP listener with this path prefix and these headers go to the service. `weight` has no
    meaning for one rule alone; None and 100 are "all of them". `name`: a rule of the same name is replaced; default:
    made from the conditions, so that the same rule twice is one."""

    service_name: str
    path_prefix: str | None = None
    headers: Mapping[str, str] | None = None
    weight: int | None = None
    name: str = ""


# --- as changes ---------------------------------------------------------------------------------------------------


def checked_name(text: str, what: str) -> str:
    if not _NAME.fullmatch(text):
        raise Invalid(
            f"'{text[:60]}' is not a name of {what}, expected letters, digits and _ . : @ - [ ] (at most 253)"
        )
    return text


def endpoint_id(node: str, address: str) -> str:
    """What an endpoint is called that was registered by node and place."""
    place = _NOT_IN_NAMES.sub("-", address)
    return f"{node}-{place}"[:253] if node else place


def place(ip_address: str, port: int) -> str:
    """host:port, with IPv6 in brackets and compressed."""
    try:
        ip = ipaddress.ip_address(ip_address)
    except ValueError:
        raise Invalid(f"'{ip_address[:60]}' is not an IP address") from None
    if not 1 <= port <= 65535:
        raise Invalid(f"{port} is not a port, expected 1 to 65535")
    return f"[{ip.compressed}]:{port}" if ip.version == 6 else f"{ip}:{port}"


def registered(config: ServiceConfig, node_id: str, ip_address: str, port: int) -> model.Endpoint:
    address = place(ip_address, port)
    if node_id:
        checked_name(node_id, "a node")
    if config.version:
        checked_name(config.version, "a version")
    if not 0 <= config.weight <= MAX_WEIGHT:
        raise Invalid(f"weight {config.weight} is out of range, expected 0 to {MAX_WEIGHT}")
    if config.ttl < 0:
        raise Invalid(f"ttl {config.ttl:g} is out of range, expected 0 or more seconds")
    return model.Endpoint(
        id=endpoint_id(node_id, address),
        address=address,
        version=config.version,
        weight=config.weight,
        node=node_id,
        metadata={str(name): str(value) for name, value in config.metadata.items()},
    )


def domain_change(config: ServiceConfig) -> PutPolicies | None:
    """None when the registration says nothing of the service itself."""
    checked_name(config.name, "a service")
    if not config.domain:
        return None
    domain = config.domain.lower()
    if len(domain) > 253 or not _DOMAIN.fullmatch(domain):
        raise Invalid(f"'{config.domain[:60]}' is not a host name, expected one such as shop.local")
    return PutPolicies(service=Service(name=config.name, domain=domain), fields=("domain",))


def health_check_change(name: str, config: HealthCheckConfig) -> PutPolicies:
    checked_name(name, "a service")
    protocol = CheckProtocol(config.protocol.value)
    for what, seconds in (("interval_secs", config.interval_secs), ("timeout_secs", config.timeout_secs)):
        if seconds <= 0:
            raise Invalid(f"{what} {seconds:g} is no time at all, expected more than 0")
    if config.timeout_secs > config.interval_secs:
        raise Invalid(
            f"timeout_secs {config.timeout_secs:g} is longer than the interval, "
            f"expected at most {config.interval_secs:g}"
        )
    for what, count in (
        ("healthy_threshold", config.healthy_threshold),
        ("unhealthy_threshold", config.unhealthy_threshold),
    ):
        if not 1 <= count <= 1000:
            raise Invalid(f"{what} {count} is out of range, expected 1 to 1000")
    is_http = protocol in (CheckProtocol.HTTP, CheckProtocol.HTTPS)
    if config.path is not None and is_http and not config.path.startswith("/"):
        raise Invalid(f"'{config.path[:60]}' is not a path, expected one that starts with /")
    if (protocol is CheckProtocol.COMMAND) != bool(config.command):
        raise Invalid("command belongs to COMMAND, and COMMAND needs one")
    if (protocol is CheckProtocol.TTL) != bool(config.ttl_secs):
        raise Invalid("ttl_secs belongs to TTL, and TTL needs it")
    if config.grpc_service and protocol is not CheckProtocol.GRPC:
        raise Invalid("grpc_service belongs to GRPC")
    check = HealthCheck(
        protocol=protocol,
        path=config.path if config.path is not None and is_http else HealthCheck().path,
        interval=float(config.interval_secs),
        timeout=float(config.timeout_secs),
        healthy_threshold=config.healthy_threshold,
        unhealthy_threshold=config.unhealthy_threshold,
        command=tuple(config.command),
        grpc_service=config.grpc_service,
        ttl=float(config.ttl_secs),
    )
    return PutPolicies(service=Service(name=name, health_check=check), fields=("health_check",))


def load_balancing_change(name: str, strategy: LoadBalancingStrategy) -> PutPolicies:
    checked_name(name, "a service")
    known = policies.LoadBalancingStrategy(strategy.value)
    return PutPolicies(service=Service(name=name, load_balancing=known), fields=("load_balancing",))


def service_mesh_change(name: str, config: ServiceMeshConfig) -> PutPolicies:
    checked_name(name, "a service")
    if config.mtls_enabled:
        raise NotInThisRelease("mutual TLS is not in this release")
    if config.retry_policy is not None:
        raise NotInThisRelease("retries by policy are not in this release")
    if config.circuit_breaker is not None:
        raise NotInThisRelease("circuit breakers are not in this release")
    if not config.tracing_enabled:
        raise NotInThisRelease("trace context is always passed on in this release")
    if config.timeout_ms is not None and config.timeout_ms < 0:
        raise Invalid(f"timeout_ms {config.timeout_ms} is out of range, expected 0 or more")
    return PutPolicies(service=Service(name=name, timeout=(config.timeout_ms or 0) / 1000), fields=("timeout",))


def traffic_split_change(config: TrafficSplitConfig) -> PutPolicies:
    """Of at least one share."""
    checked_name(config.service_name, "a service")
    seen: set[str] = set()
    for split in config.splits:
        checked_name(split.version, "a version")
        if split.version in seen:
            raise Invalid(f"version '{split.version}' is given twice")
        if not 0 <= split.weight <= MAX_WEIGHT:
            raise Invalid(f"weight {split.weight} is out of range, expected 0 to {MAX_WEIGHT}")
        seen.add(split.version)
    if not any(split.weight for split in config.splits):
        raise Invalid("every weight is 0, expected one that is not")
    shares = tuple(model.TrafficSplit(version=split.version, weight=split.weight) for split in config.splits)
    return PutPolicies(service=Service(name=config.service_name, traffic_split=shares), fields=("traffic_split",))


def routing_rule_change(rule: RoutingRule) -> PutRoute:
    checked_name(rule.service_name, "a service")
    path = rule.path_prefix if rule.path_prefix is not None else "/"
    if not path.startswith("/"):
        raise Invalid(f"'{path[:60]}' is not a path, expected one that starts with /")
    if rule.weight is not None and rule.weight != FULL_WEIGHT:
        raise NotInThisRelease(
            "a rule for a share of the requests is not in this release (configure_traffic_split has shares)"
        )
    headers = tuple(NameMatch(name=name.lower(), value=value) for name, value in (rule.headers or {}).items())
    conditions = "\n".join([rule.service_name, path, *sorted(f"{header.name}:{header.value}" for header in headers)])
    name = rule.name or f"rule-{hashlib.sha256(conditions.encode()).hexdigest()[:12]}"
    checked_name(name, "a rule")
    match = RouteMatch(path=path, headers=headers)
    return PutRoute(route=Route(name=name, match=match, service=rule.service_name))
