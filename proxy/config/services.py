"""The keys of a service: its endpoints, how traffic is spread over them, how they are checked, connections kept to
them."""

from __future__ import annotations

import msgspec

from discovery.model import (
    DnsAnswer,
    DnsPolicy,
    FollowedName,
    PoolPolicy,
    ProxyHeader,
    Service,
    Struct,
    Timeouts,
    TrafficSplit,
)
from discovery.policies import LoadBalancingStrategy
from proxy.config.addresses import followed_name, parse_host_name
from proxy.config.checks import CHECK, written_over
from proxy.config.dns import ANSWER, POLICY
from proxy.config.endpoints import ENDPOINTS, METADATA, finished
from proxy.config.nodes import Node, Path, Scalar
from proxy.config.reading import Reading
from proxy.config.records import AnyKey, Distinct, Fields, Key, Record, RecordList, StructRecord
from proxy.config.routes import MAX_SHARES, check_weights
from proxy.config.shapes import Always, Choice, Duration, Integer, MapOf, Text
from proxy.config.words import NAME, VERSION, WEIGHT

MAX_CONNECTIONS = 1_000_000  # above what one process may open

# As the source document writes them.
SOURCE_STRATEGIES = {
    "RoundRobin": LoadBalancingStrategy.ROUND_ROBIN,
    "WeightedRoundRobin": LoadBalancingStrategy.WEIGHTED_ROUND_ROBIN,
    "LeastConnections": LoadBalancingStrategy.LEAST_CONNECTIONS,
    "Random": LoadBalancingStrategy.RANDOM,
    "IPHash": LoadBalancingStrategy.IP_HASH,
}

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
    """What `mesh` holds in this release."""

    timeout: float = 0.0
    proxy_protocol: ProxyHeader = ProxyHeader.OFF
    mtls: bool = False
    tracing: bool = False


MESH = StructRecord(
    "mesh policies",
    MeshPolicy,
    (
        Key("timeout", Duration(zero="none"), "whole request including replays; 0 = none; a route's own wins"),
        Key("proxy_protocol", Choice(ProxyHeader), "the PROXY header that connections to its endpoints begin with"),
        Key("mtls", Always(False, "mutual TLS is not in this release"), "mutual TLS", aliases=("mtls_enabled",)),
        Key("tracing", Always(False, "tracing is not in this release"), "trace context", aliases=("tracing_enabled",)),
    ),
    later={
        "retry": "retries are",
        "retry_policy": "retries are",
        "circuit_breaker": "circuit breakers are",
        "rate_limit": "rate limits are",
        "mirror": "mirroring is",
        "fault": "fault injection is",
    },
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
LOAD_BALANCING = Key(
    "load_balancing",
    Choice(LoadBalancingStrategy, SOURCE_STRATEGIES),
    "how an endpoint is picked",
)
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
    DOMAIN, LOAD_BALANCING, ENDPOINTS, TRAFFIC_SPLIT, SERVICE_CHECK, ANSWER, SERVICE_DNS, METADATA, MESH_KEY, POOL_KEY,
)  # fmt: skip


def build_service(fields: Fields) -> Service:
    check_weights(fields, TRAFFIC_SPLIT)
    mesh = fields.get(MESH_KEY, MeshPolicy())
    written = fields.get(SERVICE_CHECK, None)
    check = written_over(written) if written is not None else None
    policy = fields.get(SERVICE_DNS, DnsPolicy())
    return Service(
        name="",  # its key; ServiceMap fills it in
        domain=fields.get(DOMAIN, ""),
        metadata=fields.get(METADATA, {}),
        load_balancing=fields.get(LOAD_BALANCING, LoadBalancingStrategy.ROUND_ROBIN),
        # Those that are names among them: `followed_of` tells them apart.
        endpoints=tuple(finished(each, check) for each in fields.get(ENDPOINTS, ())),
        traffic_split=fields.get(TRAFFIC_SPLIT, ()),
        timeout=mesh.timeout,
        proxy_protocol=mesh.proxy_protocol,
        pool=fields.get(POOL_KEY, PoolPolicy(idle_timeout=UNSET_IDLE)),
        dns=msgspec.structs.replace(policy, answer=fields.get(ANSWER, DnsAnswer.ENDPOINTS)),
        health_check=check,
    )


SERVICE_RECORD = Record(
    "a service",
    SERVICE_KEYS,
    build_service,
    later={"affinity": "session affinity is"},
    elsewhere={"timeout": "mesh.timeout", "max_connections": "pool.max_connections", "max_pending": "pool.max_pending"},
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
