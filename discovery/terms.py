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
from discovery.checks import CheckProtocol, HealthCheck
from discovery.model import NameMatch, Route, RouteMatch, Service
from discovery.policies import LoadBalancingStrategy as LoadBalancingStrategy
from discovery.retry_on import parse_retry_on

# Names become metric labels, parts of URLs and of statistics keys, where "/" separates them.
_NAME = re.compile(r"[A-Za-z0-9_\[][A-Za-z0-9_.:@\[\]-]{0,252}")
_NOT_IN_NAMES = re.compile(r"[^A-Za-z0-9_.:@\[\]-]")
_DOMAIN = re.compile(r"[a-z0-9_]([a-z0-9_-]{0,61}[a-z0-9_])?(\.[a-z0-9_]([a-z0-9_-]{0,61}[a-z0-9_])?)*")

MAX_WEIGHT = 1_000_000
FULL_WEIGHT = 100  # a routing rule with this weight is no share
LONGEST_MS = 365 * 86_400_000
MOST_RETRIES = 100
MOST_AT_A_TIME = 10_000_000  # above what one machine serves

# What the calls set, as names of discovery/merge.POLICIES.
BALANCING_FIELDS = ("load_balancing", "balancing")
MESH_FIELDS = ("timeout", "retry", "circuit_breaker")


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
    """A failed request is sent again up to `max_retries` times, if it failed by one of `retry_on` (Envoy's words and
    status codes). `timeout_ms`: of one attempt; 0: none."""

    max_retries: int = 3
    retry_on: Sequence[str] = ("5xx", "connect-failure")
    timeout_ms: int = 1000


@dataclass(frozen=True, kw_only=True)
class CircuitBreakerPolicy:
    """The first four: limits of the service, exact over all workers; 0: none. An endpoint with so many errors in a row
    is taken out for `base_ejection_time_ms`, longer each time, and then tried with `half_open_requests` requests;
    threshold 0: never."""

    max_connections: int = 100
    max_pending_requests: int = 10
    max_requests: int = 1000
    max_retries: int = 3
    consecutive_errors_threshold: int = 5
    interval_ms: int = 10_000
    base_ejection_time_ms: int = 30_000
    half_open_requests: int = 5


@dataclass(frozen=True, kw_only=True)
class ServiceMeshConfig:
    """`timeout_ms`: of a whole request, with its retries; None or 0: none. Without `retry_policy` or `circuit_breaker`
    that part is as other sources say. Trace context is always passed on (`tracing_enabled`). `enabled` False takes the
    policies back that were set here."""

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
    """Requests of every HTTP listener with this path prefix and these headers go to the service, and there to endpoints
    with all of `metadata`, if there is any. `name`: a rule of the same name is replaced; default: made from the
    conditions, so that the same rule twice is one.

    `weight` None and 100: all of them. From 0 to 99 it is a share: rules with the same conditions and weights are one
    rule that is drawn by, each service with its weight out of the sum; 0 takes a service out of it."""

    service_name: str
    path_prefix: str | None = None
    headers: Mapping[str, str] | None = None
    weight: int | None = None
    metadata: Mapping[str, str] | None = None
    name: str = ""

    @property
    def is_share(self) -> bool:
        return self.weight is not None and self.weight != FULL_WEIGHT


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
    """Parameters are those by default."""
    checked_name(name, "a service")
    try:
        known = LoadBalancingStrategy(strategy)
    except ValueError:
        words = ", ".join(LoadBalancingStrategy)
        raise Invalid(f"'{str(strategy)[:60]}' is no load balancing strategy, expected one of {words}") from None
    return PutPolicies(service=Service(name=name, load_balancing=known), fields=BALANCING_FIELDS)


def service_mesh_change(name: str, config: ServiceMeshConfig) -> PutPolicies:
    """What `config` says; the rest of MESH_FIELDS is for others to say."""
    checked_name(name, "a service")
    if config.mtls_enabled:
        raise NotInThisRelease("mutual TLS is not in this release")
    if not config.tracing_enabled:
        raise NotInThisRelease("trace context is always passed on in this release")
    timeout_ms = _count("timeout_ms", config.timeout_ms or 0, 0, LONGEST_MS)
    retry, breaker = config.retry_policy, config.circuit_breaker
    service = Service(
        name=name,
        timeout=timeout_ms / 1000,
        retry=_retry(retry, timeout_ms) if retry is not None else None,
        circuit_breaker=_breaker(breaker) if breaker is not None else policies.CircuitBreaker(),
    )
    said = {"timeout": True, "retry": retry is not None, "circuit_breaker": breaker is not None}
    return PutPolicies(service=service, fields=tuple(field for field in MESH_FIELDS if said[field]))


def _count(what: str, number: int, least: int, most: int) -> int:
    if not least <= number <= most:
        raise Invalid(f"{what} {number} is out of range, expected {least} to {most}")
    return number


def _retry(policy: RetryPolicy, timeout_ms: int) -> policies.RetryPolicy:
    words = tuple(policy.retry_on)
    if not words:
        raise Invalid("retry_on is empty, expected some of Envoy's words or status codes")
    try:
        parse_retry_on(words)
    except ValueError as error:
        raise Invalid(f"retry_on: {error}") from None
    attempt_ms = _count("timeout_ms of retry_policy", policy.timeout_ms, 0, LONGEST_MS)
    if timeout_ms and attempt_ms >= timeout_ms:
        raise Invalid(f"an attempt of {attempt_ms} ms leaves no time for a retry, expected less than {timeout_ms} ms")
    return policies.RetryPolicy(
        max_retries=_count("max_retries of retry_policy", policy.max_retries, 0, MOST_RETRIES),
        retry_on=words,
        per_try_timeout=attempt_ms / 1000,
    )


def _breaker(policy: CircuitBreakerPolicy) -> policies.CircuitBreaker:
    plain = policies.CircuitBreaker()
    base = _count("base_ejection_time_ms", policy.base_ejection_time_ms, 1, LONGEST_MS) / 1000
    return policies.CircuitBreaker(
        max_connections=_count("max_connections", policy.max_connections, 0, MOST_AT_A_TIME),
        max_pending_requests=_count("max_pending_requests", policy.max_pending_requests, 0, MOST_AT_A_TIME),
        max_requests=_count("max_requests", policy.max_requests, 0, MOST_AT_A_TIME),
        max_retries=_count("max_retries", policy.max_retries, 0, MOST_AT_A_TIME),
        consecutive_errors=_count("consecutive_errors_threshold", policy.consecutive_errors_threshold, 0, 1000),
        interval=_count("interval_ms", policy.interval_ms, 1, LONGEST_MS) / 1000,
        base_ejection_time=base,
        max_ejection_time=max(base, plain.max_ejection_time),
        half_open_requests=_count("half_open_requests", policy.half_open_requests, 1, 1000),
    )


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


def rule_name(rule: RoutingRule) -> str:
    """What a rule is called. Raises Invalid."""
    checked_name(rule.service_name, "a service")
    if rule.name:
        return checked_name(rule.name, "a rule")
    headers = sorted(f"{header.name}:{header.value}" for header in _headers(rule))
    metadata = sorted(f"{name}={value}" for name, value in (rule.metadata or {}).items())
    # Shares of the same requests are one rule.
    service = "" if rule.is_share else rule.service_name
    conditions = "\n".join([service, _prefix(rule), *headers, *metadata])
    return f"rule-{hashlib.sha256(conditions.encode()).hexdigest()[:12]}"


def routing_rule_change(rule: RoutingRule, former: Route | None = None) -> PutRoute:
    """`former`: the rule of that name, if there is one; only a share looks at it."""
    name = rule_name(rule)
    match = RouteMatch(path=_prefix(rule), headers=_headers(rule))
    subset = policies.Subset(metadata=dict(rule.metadata)) if rule.metadata else None
    if not rule.is_share:
        return PutRoute(route=Route(name=name, match=match, service=rule.service_name, subset=subset))
    weight = _count("weight", rule.weight or 0, 0, FULL_WEIGHT)
    share = model.TrafficSplit(service=rule.service_name, weight=weight)
    others: tuple[model.TrafficSplit, ...] = ()
    if former is not None and former.match == match:
        others = tuple(each for each in former.split if each.service != rule.service_name)
    shares = (*others, share) if weight else others
    if not shares:
        raise Invalid(f"no share would be left of rule {name}, expected a weight above 0, or the rule to be removed")
    return PutRoute(route=Route(name=name, match=match, split=shares, subset=subset))


def _prefix(rule: RoutingRule) -> str:
    path = rule.path_prefix if rule.path_prefix is not None else "/"
    if not path.startswith("/"):
        raise Invalid(f"'{path[:60]}' is not a path, expected one that starts with /")
    return path


def _headers(rule: RoutingRule) -> tuple[NameMatch, ...]:
    return tuple(NameMatch(name=name.lower(), value=value) for name, value in (rule.headers or {}).items())
