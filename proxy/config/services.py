"""The keys of a service: its endpoints, how traffic is spread over them, how they are checked, connections kept to
them."""

from __future__ import annotations

import msgspec

from discovery.config import FollowedName
from discovery.model import DnsAnswer, DnsPolicy, PoolPolicy, ProxyHeader, Service, Struct, Timeouts, TrafficSplit
from discovery.policies import CircuitBreaker, RequestPolicies, RetryPolicy
from proxy.config.addresses import followed_name, parse_host_name
from proxy.config.balancing import AFFINITY, STICKY_SPLIT, LoadBalancing, LoadBalancingShape
from proxy.config.checks import CHECK, written_over
from proxy.config.dns import ANSWER, POLICY
from proxy.config.endpoints import ENDPOINTS, METADATA, finished
from proxy.config.guards import GUARDS, build_policies, show_policies
from proxy.config.nodes import Node, Path, Scalar
from proxy.config.reading import Reading
from proxy.config.records import AnyKey, Distinct, Fields, Key, Record, RecordList, StructRecord
from proxy.config.retries import CIRCUIT_BREAKER, RETRY, check_attempt
from proxy.config.routes import MAX_SHARES, check_weights
from proxy.config.scalars import format_duration
from proxy.config.shapes import Always, Choice, Duration, Flag, Integer, Json, MapOf, Text
from proxy.config.words import NAME, VERSION, WEIGHT

MAX_CONNECTIONS = 1_000_000  # above what one process may open

# --- policies -----------------------------------------------------------------------------------------------------

SPLIT_VERSION = Key("version", VERSION, "endpoints of this version", required=True)
SPLIT_WEIGHT = Key("weight", WEIGHT, "share out of the sum of all weights; 1 by default, 0 takes nothing")
VERSION_SHARE = Record(
    "a share",
    (SPLIT_VERSION, SPLIT_WEIGHT),
    lambda fields: TrafficSplit(version=fields.get(SPLIT_VERSION, ""), weight=fields.get(SPLIT_WEIGHT, 1)),
)

# What `idle_timeout` is until the end of reading, when timeouts.upstream_idle is known. Nobody can write it.
UNSET_IDLE = 0.0


def _leave_idle_open(fields: Fields) -> None:
    fields.values.setdefault(IDLE_TIMEOUT.name, UNSET_IDLE)


IDLE_TIMEOUT = Key("idle_timeout", Duration(), "how long an idle one is kept; default: timeouts.upstream_idle")
POOL = StructRecord(
    "a pool",
    PoolPolicy,
    (
        Key("max_idle", Integer(0, MAX_CONNECTIONS), "idle connections kept per endpoint and worker"),
        IDLE_TIMEOUT,
        Key("max_connections", Integer(0, MAX_CONNECTIONS), "open connections per endpoint and worker; 0 = no limit"),
        Key(
            "max_total",
            Integer(0, MAX_CONNECTIONS),
            "open connections of the whole service, all workers together; 0 = no limit",
        ),
        Key("max_pending", Integer(0, MAX_CONNECTIONS), "requests that may wait for a connection; more get 503"),
    ),
    _leave_idle_open,
)


class MeshPolicy(Struct):
    """What `mesh` says."""

    timeout: float = 0.0
    deadline_header: bool = False
    retry: RetryPolicy | None = None
    circuit_breaker: CircuitBreaker = CircuitBreaker()
    policies: RequestPolicies = RequestPolicies()
    proxy_protocol: ProxyHeader = ProxyHeader.OFF


TIMEOUT = Key("timeout", Duration(zero="none"), "whole request including retries; 0 = none; a route's own wins")
DEADLINE_HEADER = Key(
    "deadline_header", Flag(), "say to the endpoint how long it has (x-envoy-expected-rq-timeout-ms); false by default"
)
PROXY_PROTOCOL = Key(
    "proxy_protocol", Choice(ProxyHeader), "the PROXY header that connections to its endpoints begin with"
)


def _build_mesh(fields: Fields) -> MeshPolicy:
    timeout = fields.get(TIMEOUT, 0.0)
    check_attempt(fields, RETRY, timeout)
    return MeshPolicy(
        timeout=timeout,
        deadline_header=fields.get(DEADLINE_HEADER, False),
        retry=fields.get(RETRY, None),
        circuit_breaker=fields.get(CIRCUIT_BREAKER, CircuitBreaker()),
        policies=build_policies(fields.values),
        proxy_protocol=fields.get(PROXY_PROTOCOL, ProxyHeader.OFF),
    )


def show_mesh(service: Service) -> dict[str, Json]:
    return {
        TIMEOUT.name: format_duration(service.timeout),
        DEADLINE_HEADER.name: service.deadline_header,
        **({RETRY.name: RETRY.shape.render(service.retry)} if service.retry is not None else {}),
        CIRCUIT_BREAKER.name: CIRCUIT_BREAKER.shape.render(service.circuit_breaker),
        **show_policies(service.policies),
        PROXY_PROTOCOL.name: service.proxy_protocol.value,
        **{key.name: key.shape.render(value) for key, value in _ALWAYS.items()},
    }


MESH_KEYS: tuple[AnyKey, ...] = (TIMEOUT, DEADLINE_HEADER, RETRY, CIRCUIT_BREAKER, *GUARDS, PROXY_PROTOCOL)
# What can only be said one way, and what that is.
_ALWAYS: dict[Key[bool], bool] = {
    Key("enabled", Always(True, "policies that shall not be in force are left out"), "policies are in force"): True,
    Key("mtls", Always(False, "mutual TLS is not in this release"), "mutual TLS", aliases=("mtls_enabled",)): False,
    Key(
        "tracing",
        Always(True, "trace context is always passed on in this release"),
        "trace context is accepted or started, passed on and logged",
        aliases=("tracing_enabled",),
    ): True,
}
MESH = Record(
    "mesh policies",
    (
        *MESH_KEYS,
        *_ALWAYS,
    ),
    _build_mesh,
)

# --- the service --------------------------------------------------------------------------------------------------


class Domain(Text):
    """A domain; the end of reading checks that it belongs to one service."""

    def read(self, node: Node, path: Path, reading: Reading) -> str | None:
        text = super().read(node, path, reading)
        if text is not None:
            reading.domains.append((text, node, path))
        return text


DOMAIN = Key("domain", Domain("a host name", parse_host_name), "Host that a listener without routes serves it under")
LOAD_BALANCING = Key("load_balancing", LoadBalancingShape(), "how an endpoint is picked; round_robin by default")
TRAFFIC_SPLIT = Key(
    "traffic_split",
    RecordList(
        VERSION_SHARE,
        (Distinct(SPLIT_VERSION, lambda fields: fields.get(SPLIT_VERSION, None), "version"),),
        MAX_SHARES,
        1,
    ),
    "shares of its versions, for routes that do not pin one",
)
MESH_KEY = Key("mesh", MESH, "policies of requests to the service")
POOL_KEY = Key("pool", POOL, "connections kept to its endpoints")


SERVICE_CHECK = Key(
    "health_check", CHECK, "how its endpoints are checked; default: not at all, they are taken as healthy"
)
SERVICE_DNS = Key("dns", POLICY, "how it appears in DNS")

SERVICE_KEYS: tuple[AnyKey, ...] = (
    DOMAIN, LOAD_BALANCING, AFFINITY, ENDPOINTS, TRAFFIC_SPLIT, STICKY_SPLIT, SERVICE_CHECK, ANSWER, SERVICE_DNS,
    METADATA, MESH_KEY, POOL_KEY,
)  # fmt: skip


def build_service(fields: Fields) -> Service:
    check_weights(fields, TRAFFIC_SPLIT)
    mesh = fields.get(MESH_KEY, MeshPolicy())
    written = fields.get(SERVICE_CHECK, None)
    check = written_over(written) if written is not None else None
    policy = fields.get(SERVICE_DNS, DnsPolicy())
    balancing = fields.get(LOAD_BALANCING, LoadBalancing())
    return Service(
        name="",  # its key; ServiceMap fills it in
        domain=fields.get(DOMAIN, ""),
        metadata=fields.get(METADATA, {}),
        load_balancing=balancing.strategy,
        balancing=balancing.parameters,
        affinity=fields.get(AFFINITY, None),
        # Those that are names among them: `followed_of` tells them apart.
        endpoints=tuple(finished(each, check) for each in fields.get(ENDPOINTS, ())),
        traffic_split=fields.get(TRAFFIC_SPLIT, ()),
        sticky_split=fields.get(STICKY_SPLIT, None),
        timeout=mesh.timeout,
        deadline_header=mesh.deadline_header,
        retry=mesh.retry,
        circuit_breaker=mesh.circuit_breaker,
        policies=mesh.policies,
        proxy_protocol=mesh.proxy_protocol,
        pool=fields.get(POOL_KEY, PoolPolicy(idle_timeout=UNSET_IDLE)),
        dns=msgspec.structs.replace(policy, answer=fields.get(ANSWER, DnsAnswer.ENDPOINTS)),
        health_check=check,
    )


SERVICE_RECORD = Record(
    "a service",
    SERVICE_KEYS,
    build_service,
    elsewhere={
        "max_connections": "pool.max_connections",
        "max_pending": "pool.max_pending",
        "strategy": "load_balancing",
        **{name: f"mesh.{key.name}" for key in MESH_KEYS for name in key.spellings()},
    },
)


def with_idle_timeout(service: Service, timeouts: Timeouts) -> Service:
    """`service`, whose pool keeps idle connections as long as `timeouts` say where it does not say itself."""
    if service.pool.idle_timeout != UNSET_IDLE:
        return service
    pool = msgspec.structs.replace(service.pool, idle_timeout=timeouts.upstream_idle)
    return msgspec.structs.replace(service, pool=pool)


def followed_of(service: Service) -> tuple[Service, tuple[FollowedName, ...]]:
    """The service with the endpoints that are places, and those that are names, which others will turn into places."""
    names = []
    for endpoint in service.endpoints:
        followed = followed_name(endpoint.address)
        if followed is not None:
            kind, name, port = followed
            names.append(FollowedName(service=service.name, endpoint=endpoint, kind=kind, name=name, port=port))
    if not names:
        return service, ()
    templates = {each.endpoint.id for each in names}
    places = tuple(endpoint for endpoint in service.endpoints if endpoint.id not in templates)
    return msgspec.structs.replace(service, endpoints=places), tuple(names)


class ServiceMap(MapOf[Service]):
    """Services by name."""

    def __init__(self) -> None:
        super().__init__(SERVICE_RECORD, NAME)

    def finish(self, key: Scalar, name: str, value: Service, reading: Reading) -> Service:
        return msgspec.structs.replace(value, name=name, position=reading.position(key))
