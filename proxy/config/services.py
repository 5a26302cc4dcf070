"""The keys of a service: its endpoints, how traffic is spread over them, connections kept to them."""

from __future__ import annotations

import msgspec

from discovery.model import (
    Endpoint,
    LoadBalancingStrategy,
    PoolPolicy,
    ProxyHeader,
    Service,
    Struct,
    TrafficSplit,
)
from proxy.config.addresses import parse_endpoint_address, parse_host_name
from proxy.config.nodes import Node, Path, Scalar
from proxy.config.reading import Reading
from proxy.config.records import Distinct, Fields, Key, Record, RecordList, StructRecord
from proxy.config.routes import MAX_SHARES, check_weights
from proxy.config.shapes import Always, Choice, Duration, Flag, Integer, MapOf, Text
from proxy.config.words import MAX_NAME, NAME, NOT_IN_NAMES, VERSION, WEIGHT

MAX_METADATA = 64  # entries; they are sent to every worker
MAX_METADATA_TEXT = 1024
MAX_CONNECTIONS = 1_000_000  # above what one process may open

LATER_STRATEGIES = (
    "weighted_round_robin", "least_connections", "random", "ip_hash", "peak_ewma", "maglev",
    "WeightedRoundRobin", "LeastConnections", "Random", "IPHash",
)  # fmt: skip

# --- endpoints ----------------------------------------------------------------------------------------------------

ENDPOINT_ID = Key("id", NAME, "identity within the service; default: made from the address")
ENDPOINT_ADDRESS = Key(
    "address",
    Text("host:port, [v6]:port or unix:PATH", parse_endpoint_address),
    "where it listens: IP address (or localhost) and port, or the path of a unix socket",
    required=True,
)
ENDPOINT_VERSION = Key("version", VERSION, "what traffic_split and a route's version choose by")
ENDPOINT_WEIGHT = Key("weight", WEIGHT, "share among the endpoints of a version; 0 takes no new requests")
NODE = Key("node", NAME, "the machine it runs on")
BACKUP = Key("backup", Flag(), "used only while no other endpoint is usable")
METADATA = Key(
    "metadata",
    MapOf(Text("a text", longest=MAX_METADATA_TEXT, empty=True), Text("a name", longest=256), MAX_METADATA),
    "free texts that logs and the API show",
)


def endpoint_id(address: str) -> str:
    """The id of an endpoint that was given none: its address, in the characters of a name."""
    return NOT_IN_NAMES.sub("-", address)[:MAX_NAME]


def _identity(fields: Fields) -> str | None:
    if fields.given(ENDPOINT_ID):
        return fields.get(ENDPOINT_ID, None)
    address = fields.get(ENDPOINT_ADDRESS, None)
    return address and endpoint_id(address)


def _build_endpoint(fields: Fields) -> Endpoint:
    return Endpoint(
        id=_identity(fields) or "",
        address=fields.get(ENDPOINT_ADDRESS, ""),
        version=fields.get(ENDPOINT_VERSION, ""),
        weight=fields.get(ENDPOINT_WEIGHT, 1),
        node=fields.get(NODE, ""),
        backup=fields.get(BACKUP, False),
        metadata=fields.get(METADATA, {}),
    )


ENDPOINT = Record(
    "an endpoint",
    (ENDPOINT_ID, ENDPOINT_ADDRESS, ENDPOINT_VERSION, ENDPOINT_WEIGHT, NODE, BACKUP, METADATA),
    _build_endpoint,
)

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
    Choice(LoadBalancingStrategy, {"RoundRobin": LoadBalancingStrategy.ROUND_ROBIN}, LATER_STRATEGIES),
    "how an endpoint is picked",
)
ENDPOINTS = Key(
    "endpoints", RecordList(ENDPOINT, (Distinct(ENDPOINT_ID, _identity, "id"),)), "the places that provide the service"
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


def _build_service(fields: Fields) -> Service:
    check_weights(fields, TRAFFIC_SPLIT)
    mesh = fields.get(MESH_KEY, MeshPolicy())
    return Service(
        name="",  # its key; ServiceMap fills it in
        domain=fields.get(DOMAIN, ""),
        load_balancing=fields.get(LOAD_BALANCING, LoadBalancingStrategy.ROUND_ROBIN),
        endpoints=fields.get(ENDPOINTS, ()),
        traffic_split=fields.get(TRAFFIC_SPLIT, ()),
        timeout=mesh.timeout,
        proxy_protocol=mesh.proxy_protocol,
        pool=fields.get(POOL_KEY, PoolPolicy(idle_timeout=UNSET_IDLE)),
    )


SERVICE_RECORD = Record(
    "a service",
    (DOMAIN, LOAD_BALANCING, ENDPOINTS, TRAFFIC_SPLIT, MESH_KEY, POOL_KEY),
    _build_service,
    later={
        "health_check": "health checks are",
        "affinity": "session affinity is",
        "dns_answer": "DNS is",
    },
    elsewhere={"timeout": "mesh.timeout", "max_connections": "pool.max_connections", "max_pending": "pool.max_pending"},
)


class ServiceMap(MapOf[Service]):
    """Services by name."""

    def __init__(self) -> None:
        super().__init__(SERVICE_RECORD, NAME)

    def finish(self, key: Scalar, name: str, value: Service, reading: Reading) -> Service:
        return msgspec.structs.replace(value, name=name, position=reading.position(key))
