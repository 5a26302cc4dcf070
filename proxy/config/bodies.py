"""The bodies of the API's PUT and POST: JSON, read by the same tables of keys as the file, with the same sentences.

    read_service        PUT  /v1/services/{service}
    read_policy         PUT  /v1/services/{service}/{health_check, load_balancing, mesh, traffic_split ...}
    read_endpoint       PUT  /v1/services/{service}/endpoints/{id}
    read_node           PUT  /v1/nodes/{node}
    read_route          POST /v1/routes

What a body gives is a `Body`: a value and which of its fields were said, or problems. What is dangerous from afar is
refused (`Rules`): programs as health checks, checks in a hail, leases without an end; and what only a source that is
watched can have: names as addresses. Never looks at what is in force; whoever calls knows it.
"""

from __future__ import annotations

from collections.abc import Callable, Collection
from typing import Generic, NamedTuple, TypeVar

import msgspec

from discovery.checks import CheckProtocol, HealthCheck
from discovery.config import Config
from discovery.merge import NESTED, NESTED_FIELDS
from discovery.model import DnsAnswer, Endpoint, EscapePolicy, Node, Route, Service, Struct, Timeouts
from proxy.config import checks
from proxy.config.addresses import followed_name
from proxy.config.dns import ANSWER
from proxy.config.endpoints import (
    ENDPOINT_ADDRESS,
    ENDPOINT_CHECK,
    ENDPOINT_ID,
    ENDPOINT_KEYS,
    ENDPOINTS,
    WrittenEndpoint,
    build_endpoint,
    finished,
)
from proxy.config.guards import GUARDS
from proxy.config.json_tree import parse_json
from proxy.config.nodes import QUOTED, Mapping, Path, Scalar, child
from proxy.config.nodes import Node as TreeNode
from proxy.config.problems import Problem
from proxy.config.reading import Reading
from proxy.config.records import AnyKey, Fields, Key, Record
from proxy.config.references import NO_PROXY_ADDRESS, check_names, check_own_mirror, check_paths, check_zones
from proxy.config.registry import NODE_RECORD
from proxy.config.routes import ROUTE
from proxy.config.scalars import format_duration
from proxy.config.services import (
    LOAD_BALANCING,
    MESH,
    MESH_KEY,
    MESH_KEYS,
    SERVICE_CHECK,
    SERVICE_KEYS,
    SERVICE_RECORD,
    with_idle_timeout,
)
from proxy.config.shapes import Duration, Integer
from proxy.config.words import NAME

T = TypeVar("T")

FILE_NAME = "api"  # what positions name
LARGEST_REVISION = 2**63 - 1


class Rules(Struct):
    """What an instance lets bodies say."""

    allow_command_checks: bool = False
    min_interval: float = 0.0  # of health checks; 0 = any
    max_lease: float = 0.0  # 0 = any
    has_proxy_address: bool = True
    has_zone: bool = True
    path_escapes: EscapePolicy = EscapePolicy.REJECT
    merge_slashes: bool = True
    timeouts: Timeouts = Timeouts()

    @classmethod
    def of(cls, config: Config) -> Rules:
        settings = config.snapshot.settings
        return cls(
            allow_command_checks=config.admin.allow_command_checks,
            min_interval=config.registry.min_interval,
            max_lease=config.registry.max_lease,
            has_proxy_address=bool(settings.dns.proxy_addresses),
            has_zone=bool(settings.zone),
            path_escapes=settings.path_escapes,
            merge_slashes=settings.merge_slashes,
            timeouts=settings.timeouts,
        )


class Body(NamedTuple, Generic[T]):
    """A value and no problems, or problems and no value. `given`: the fields of the value that the body says, by the
    names of its struct and in its order; the others have their defaults."""

    value: T | None
    given: tuple[str, ...] = ()
    problems: tuple[Problem, ...] = ()


class EndpointBody(Struct):
    """The fields of a PutEndpoint. Which of the endpoint's were said is in Body.given, by their own names."""

    endpoint: Endpoint
    ttl: float = 0.0
    revision: int = 0
    deregister_after: float = 0.0


class NodeBody(Struct):
    node: Node
    ttl: float = 0.0


class RouteBody(Struct):
    route: Route
    listener: str = ""


# --- services -----------------------------------------------------------------------------------------------------

# How the source document's calls wrap a policy.
_WRAPPED = {"traffic_split": "splits"}

POLICIES = tuple(key.name for key in SERVICE_KEYS if key is not ENDPOINTS)
# What a key of `mesh` says, as names of discovery/merge.POLICIES.
_OF_MESH = {key.name: f"{NESTED}.{key.name}" if key in GUARDS else key.name for key in MESH_KEYS}
# The same for a key of a service: those that are not one field of the same name.
FIELDS = {
    ANSWER.name: ("dns",),
    LOAD_BALANCING.name: ("load_balancing", "balancing"),
    MESH_KEY.name: tuple(_OF_MESH.values()),
}


def fields_of(policy: str) -> tuple[str, ...]:
    """What one of POLICIES is about, as names of discovery/merge.POLICIES."""
    return FIELDS.get(policy, (policy,))


def read_service(text: str | bytes, name: str, rules: Rules, services: Collection[str] | None = None) -> Body[Service]:
    """All of a service. Its endpoints, if it has any, are whole: they have what the body says and nothing else.
    `services`: names that it may refer to; None: any."""
    return _read(text, lambda root, reading: _service(root, name, rules, services, reading))


def read_policy(
    text: str | bytes, policy: str, name: str, rules: Rules, services: Collection[str] | None = None
) -> Body[Service]:
    """One of POLICIES: a service that says nothing else. Of `mesh` only what is said is given;
    `dns` and `dns_answer` are one field of a service, so the one that is not said is as by default."""
    if policy not in POLICIES:
        raise ValueError(policy)

    def read(node: TreeNode, reading: Reading) -> tuple[Service | None, tuple[str, ...]]:
        wrapped = child(node, _WRAPPED.get(policy, ""))
        root = Mapping(0, 0)
        root.entries[policy] = (Scalar(0, 0, policy, QUOTED), node if wrapped is None else wrapped)
        return _service(root, name, rules, services, reading)

    return _read(text, read)


def _service(
    root: TreeNode, name: str, rules: Rules, services: Collection[str] | None, reading: Reading
) -> tuple[Service | None, tuple[str, ...]]:
    _named(name, reading)
    fields = SERVICE_RECORD.fields(root, None, reading)
    service = SERVICE_RECORD.finish(fields) if fields is not None else None
    if services is not None:
        check_names("service", reading.service_references, services, reading)
    check_own_mirror(name, root, None, reading)
    check_zones(rules.has_zone, reading)
    if fields is None or service is None:
        return None, ()
    _check_rules(fields.get(SERVICE_CHECK, None), rules)
    if service.dns.answer is DnsAnswer.PROXY and not rules.has_proxy_address:
        fields.problem(f"{NO_PROXY_ADDRESS}, expected some in the file", ANSWER)
    for index, (endpoint, written) in enumerate(zip(service.endpoints, _items(fields), strict=True)):
        at: Path = ((None, ENDPOINTS.name), index)
        _check_address(endpoint, at, written, reading)
        own = child(written, ENDPOINT_CHECK.name)
        if isinstance(own, Mapping):
            # Read before, without problems; this time for what it says rather than for what it comes to.
            _check_rules(checks.CHECK.fields(own, (at, ENDPOINT_CHECK.name), reading), rules)
    value = with_idle_timeout(msgspec.structs.replace(service, name=name), rules.timeouts)
    given = _given(fields)
    return value, tuple(field for field in (*Service.__struct_fields__, *NESTED_FIELDS) if field in given)


def _items(fields: Fields) -> list[TreeNode]:
    entry = fields.node.entries.get(ENDPOINTS.name)
    return entry[1].items if entry is not None and hasattr(entry[1], "items") else []


def _given(fields: Fields) -> set[str]:
    """Names of discovery/merge.POLICIES, and endpoints."""
    given: set[str] = set()
    for key in SERVICE_KEYS:
        if not fields.given(key):
            continue
        if key is MESH_KEY:
            mesh = MESH.fields(fields.node.entries[key.name][1], None, Reading(FILE_NAME))
            given |= {_OF_MESH[name] for name in (mesh.written if mesh else ()) if name in _OF_MESH}
        else:
            given |= set(fields_of(key.name))
    return given


# --- endpoints, nodes, routes -------------------------------------------------------------------------------------

_TTL = Key("ttl", Duration(zero="stays"), "taken out unless there is a heartbeat within so long; 0 = it stays")
_REVISION = Key("revision", Integer(0, LARGEST_REVISION), "grows; what is not above what is known is an old report")
_DEREGISTER_AFTER = Key(
    "deregister_after", Duration(zero="default"), "removed after being unhealthy so long; 0 = as the registry says"
)


class _EndpointFields(NamedTuple):
    written: WrittenEndpoint
    fields: Fields


_ENDPOINT = Record(
    "an endpoint",
    (*ENDPOINT_KEYS, _TTL, _REVISION, _DEREGISTER_AFTER),
    lambda fields: _EndpointFields(build_endpoint(fields), fields),
)


def read_endpoint(
    text: str | bytes, identity: str, rules: Rules, check: HealthCheck | None = None
) -> Body[EndpointBody]:
    """An endpoint called `identity`. `check` is its service's, over which its own is written."""

    def read(root: TreeNode, reading: Reading) -> tuple[EndpointBody | None, tuple[str, ...]]:
        _named(identity, reading)
        found = _ENDPOINT.read(root, None, reading)
        if found is None:
            return None, ()
        fields = found.fields
        if fields.get(ENDPOINT_ID, identity) != identity:
            fields.problem(f"is not the one of the URL, expected '{identity}' or no such key", ENDPOINT_ID)
        endpoint = msgspec.structs.replace(finished(found.written, check), id=identity)
        _check_address(endpoint, None, fields.node, reading)
        _check_lease(fields, _TTL, rules)
        _check_rules(fields.get(ENDPOINT_CHECK, None), rules)
        value = EndpointBody(
            endpoint=endpoint,
            ttl=fields.get(_TTL, 0.0),
            revision=fields.get(_REVISION, 0),
            deregister_after=fields.get(_DEREGISTER_AFTER, 0.0),
        )
        return value, _ordered(set(fields.written), Endpoint)

    return _read(text, read)


_NODE_KEYS: tuple[AnyKey, ...] = (*NODE_RECORD.keys, _TTL)


def read_node(text: str | bytes, name: str, rules: Rules) -> Body[NodeBody]:
    def read(root: TreeNode, reading: Reading) -> tuple[NodeBody | None, tuple[str, ...]]:
        _named(name, reading)
        fields = Record("a node", _NODE_KEYS, lambda fields: fields).read(root, None, reading)
        node = NODE_RECORD.build(fields) if fields is not None else None
        if fields is None or node is None:
            return None, ()
        _check_lease(fields, _TTL, rules)
        value = NodeBody(node=msgspec.structs.replace(node, name=name), ttl=fields.get(_TTL, 0.0))
        return value, _ordered(set(fields.written), Node)

    return _read(text, read)


_LISTENER = Key("listener", NAME, "where it is; default: at every listener of HTTP requests")


def read_route(text: str | bytes, rules: Rules, services: Collection[str] | None = None) -> Body[RouteBody]:
    """A route of requests. `services`: names that it may refer to; None: any."""

    def read(root: TreeNode, reading: Reading) -> tuple[RouteBody | None, tuple[str, ...]]:
        fields = _ROUTE.fields(root, None, reading)
        route = ROUTE.finish(fields) if fields is not None else None
        if services is not None:
            check_names("service", reading.service_references, services, reading)
        check_paths(rules.path_escapes, rules.merge_slashes, reading)
        if fields is None or not isinstance(route, Route):
            return None, ()
        return RouteBody(route=route, listener=fields.get(_LISTENER, "")), _ordered(set(fields.written), Route)

    return _read(text, read)


_ROUTE: Record[None] = Record("a route", (*ROUTE.keys, _LISTENER), lambda fields: None)

# --- what all of them have in common ------------------------------------------------------------------------------


def _read(text: str | bytes, read: Callable[[TreeNode, Reading], tuple[T | None, tuple[str, ...]]]) -> Body[T]:
    reading = Reading(FILE_NAME)
    root = parse_json(text, reading)
    value, given = read(root, reading) if root is not None else (None, ())
    problems = reading.problems()
    return Body(None, (), problems) if problems else Body(value, given)


def _named(name: str, reading: Reading) -> None:
    """The name stands in the URL, so nothing has read it."""
    try:
        NAME.parse(name)
    except ValueError as error:
        reading.problem_at(0, 0, str(error))


def _ordered(names: set[str], kind: type[Struct]) -> tuple[str, ...]:
    return tuple(name for name in kind.__struct_fields__ if name in names)


def _check_rules(check: Fields | None, rules: Rules) -> None:
    """Only what the body itself says is judged: what it leaves to the file is the file's."""
    if check is None:
        return
    is_command = check.get(checks.PROTOCOL, None) is CheckProtocol.COMMAND
    if (is_command or check.given(checks.COMMAND)) and not rules.allow_command_checks:
        what = "runs a program on this machine, which the API may not ask for"
        where: AnyKey = checks.PROTOCOL if is_command else checks.COMMAND
        check.problem(f"{what}, expected another protocol, or admin.allow_command_checks: true in the file", where)
    for key in (checks.INTERVAL, checks.TRANSITION_INTERVAL):
        interval = check.get(key, 0.0)
        if 0 < interval < rules.min_interval:
            least = format_duration(rules.min_interval)
            check.problem(f"{format_duration(interval)} is too often for the API, expected at least {least}", key)


def _check_address(endpoint: Endpoint, path: Path, written: TreeNode, reading: Reading) -> None:
    if followed_name(endpoint.address) is not None:
        node = child(written, ENDPOINT_ADDRESS.name) or written
        message = f"'{endpoint.address}' is a name, and names are followed for files only, expected an IP address"
        reading.problem(node, (path, ENDPOINT_ADDRESS.name), message)


def _check_lease(fields: Fields, key: Key[float], rules: Rules) -> None:
    ttl = fields.get(key, 0.0)
    if rules.max_lease and ttl > rules.max_lease:
        longest = format_duration(rules.max_lease)
        fields.problem(f"{format_duration(ttl)} is longer than registry.max_lease, expected at most {longest}", key)
