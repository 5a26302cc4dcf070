"""The configuration in force, as plain values in the words of the file: what GET /v1/config answers.

Every default is written out; what has no value (no domain, no token) is left out. Loading it again gives the same
configuration, but for secrets, which are hidden.
"""

from __future__ import annotations

from typing import TypeVar

from discovery.config import Config, RouteTest
from discovery.model import (
    Endpoint,
    Filters,
    HeaderEdit,
    Listener,
    MatchKind,
    NameMatch,
    Node,
    PathKind,
    Protocol,
    Route,
    RouteMatch,
    Service,
    StreamRoute,
    TrafficSplit,
)
from proxy.config.balancing import AFFINITY, STICKY_SPLIT, SUBSET, show_load_balancing
from proxy.config.checks import show_check
from proxy.config.dns import DNS, show_policy
from proxy.config.guards import show_policies
from proxy.config.listeners import DEFAULT_ROUTE, Acceptance
from proxy.config.records import Key
from proxy.config.registry import REGISTRY
from proxy.config.retries import RETRY
from proxy.config.scalars import format_duration
from proxy.config.services import POOL, show_mesh
from proxy.config.settings import ACCESS_LOG, LIMITS, RECORDS, TIMEOUTS, show_admin
from proxy.config.shapes import Json
from proxy.config.words import MIN_SECRET

T = TypeVar("T")

HIDDEN = "***"
HIDDEN_SECRET = "*" * MIN_SECRET

PATH_KEYS = {PathKind.EXACT: "path", PathKind.PREFIX: "path_prefix", PathKind.REGEX: "path_regex"}


def effective(config: Config) -> dict[str, Json]:
    settings = config.snapshot.settings
    shown: dict[str, Json] = {
        "admin": {**show_admin(config.admin), **_given(token=HIDDEN if config.admin.token else "")},
        **_given(metrics=_given(address=config.metrics_address)),
        "access_log": ACCESS_LOG.render(settings.access_log),
        "records": RECORDS.render(settings.records),
        "instance": settings.instance,
        "workers": config.workers,
        "pin_workers": settings.pin_workers,
        "trusted_proxies": list(settings.trusted_proxies),
        "path_escapes": settings.path_escapes.value,
        "merge_slashes": settings.merge_slashes,
        **_given(zone=settings.zone, secret=HIDDEN_SECRET if settings.secret else ""),
        "limits": LIMITS.render(settings.limits),
        "timeouts": TIMEOUTS.render(settings.timeouts),
        "registry": REGISTRY.render(config.registry),
        **({"dns": DNS.render(settings.dns)} if settings.dns.addresses else {}),
        "listeners": [show_listener(each) for each in config.snapshot.listeners if not each.protocol.is_dns],
        "services": _services(config),
        **_given(nodes={node.name: show_node(node) for node in config.snapshot.nodes}),
        "tests": [_test(test) for test in config.tests],
    }
    return {key: _escaped(value) for key, value in shown.items()}


def _given(**keys: Json) -> dict[str, Json]:
    """Without what has no value. A key that may be 0 or false is not for here."""
    return {key: value for key, value in keys.items() if value not in (None, "", [], {})}


def _optional(key: Key[T], value: T | None) -> dict[str, Json]:
    return {} if value is None else {key.name: key.shape.render(value)}


def _escaped(value: Json) -> Json:
    """With "${" written so that the file's reader does not take it for a variable."""
    if isinstance(value, str):
        return value.replace("${", "$${")
    if isinstance(value, list):
        return [_escaped(item) for item in value]
    if isinstance(value, dict):
        return {key: _escaped(item) for key, item in value.items()}
    return value


def show_listener(listener: Listener) -> dict[str, Json]:
    streams = listener.streams
    default: dict[str, Json] = {}
    if streams and _is_default(streams[-1]):
        default = _given(service=streams[-1].service, version=streams[-1].version)
        streams = streams[:-1]
    shown: dict[str, Json] = {
        "name": listener.name,
        "address": listener.address,
        "protocol": listener.protocol.value,
    }
    if listener.protocol is not Protocol.UDP:
        shown["backlog"] = listener.backlog
        shown["proxy_protocol"] = (Acceptance.RECEIVE if listener.accept_proxy else Acceptance.OFF).value
    return {
        **shown,
        "max_connections": listener.max_connections,
        **default,
        **({} if listener.by_domain else {"routes": _routes(listener.routes, streams)}),
    }


def _routes(routes: tuple[Route, ...], streams: tuple[StreamRoute, ...]) -> list[Json]:
    return [*(show_route(route) for route in routes), *(show_stream(route) for route in streams)]


def _is_default(route: StreamRoute) -> bool:
    """Can it be written as the listener's `service`?"""
    return route.name == DEFAULT_ROUTE and not (route.sni or route.clients or route.split)


def show_stream(route: StreamRoute) -> dict[str, Json]:
    return {
        "name": route.name,
        "match": _given(sni=list(route.sni), clients=list(route.clients)),
        **_given(
            service=route.service,
            version=route.version,
            split=[_share(share) for share in route.split],
        ),
    }


def show_route(route: Route) -> dict[str, Json]:
    shown: dict[str, Json] = {"name": route.name, "match": _match(route.match)}
    shown |= _given(
        service=route.service,
        version=route.version,
        split=[_share(share) for share in route.split],
        filters=_filters(route.filters),
    )
    if route.timeout is not None:
        shown["timeout"] = format_duration(route.timeout)
    return {
        **shown,
        **_optional(STICKY_SPLIT, route.sticky_split),
        **_optional(SUBSET, route.subset),
        **_optional(RETRY, route.retry),
    }


def _match(match: RouteMatch) -> dict[str, Json]:
    return {
        **_given(host=match.host),
        PATH_KEYS[match.path_kind]: match.path,
        **_given(
            methods=list(match.methods),
            headers=_conditions(match.headers),
            query=_conditions(match.query),
            clients=list(match.clients),
        ),
    }


def _conditions(conditions: tuple[NameMatch, ...]) -> dict[str, Json]:
    shown: dict[str, Json] = {}
    for condition in conditions:
        if condition.kind is MatchKind.EXACT:
            shown[condition.name] = condition.value
        else:
            shown[condition.name] = {condition.kind.value: condition.kind is MatchKind.PRESENT or condition.value}
    return shown


def _share(share: TrafficSplit) -> dict[str, Json]:
    return {**_given(service=share.service, version=share.version), "weight": share.weight}


def _filters(filters: Filters) -> list[Json]:
    shown: list[Json] = []
    if filters.request_headers is not None:
        shown.append({"request_headers": _edit(filters.request_headers)})
    if filters.response_headers is not None:
        shown.append({"response_headers": _edit(filters.response_headers)})
    rewrite, redirect, response = filters.url_rewrite, filters.redirect, filters.direct_response
    if rewrite is not None:
        shown.append({"url_rewrite": _given(host=rewrite.host, path=rewrite.path, path_prefix=rewrite.path_prefix)})
    if redirect is not None:
        target = _given(
            scheme=redirect.scheme,
            host=redirect.host,
            port=redirect.port,
            path=redirect.path,
            path_prefix=redirect.path_prefix,
        )
        shown.append({"redirect": {**target, "status": redirect.status}})
    if response is not None:
        content: dict[str, Json] = {
            "status": response.status,
            "body": response.body,
            "content_type": response.content_type,
            **_given(headers=_texts(response.headers)),
        }
        shown.append({"direct_response": content})
    shown += [{name: policy} for name, policy in show_policies(filters.policies).items()]
    return shown


def _edit(edit: HeaderEdit) -> dict[str, Json]:
    if not (edit.set or edit.add or edit.remove):
        return {"set": {}}  # written so in the file; an empty edit would not be read back
    return _given(set=_texts(edit.set), add=_texts(edit.add), remove=list(edit.remove))


def _texts(texts: dict[str, str]) -> dict[str, Json]:
    return dict(texts.items())


def _services(config: Config) -> dict[str, Json]:
    names: dict[str, list[Endpoint]] = {}
    for followed in config.followed:
        names.setdefault(followed.service, []).append(followed.endpoint)
    return {each.name: show_service(each, names.get(each.name, [])) for each in config.snapshot.services}


def show_service(service: Service, followed: list[Endpoint]) -> dict[str, Json]:
    return {
        **_given(domain=service.domain),
        "load_balancing": show_load_balancing(service.load_balancing, service.balancing),
        **_optional(AFFINITY, service.affinity),
        "endpoints": [show_endpoint(endpoint) for endpoint in (*service.endpoints, *followed)],
        **_given(
            traffic_split=[_share(share) for share in service.traffic_split],
            health_check=show_check(service.health_check),
        ),
        **_optional(STICKY_SPLIT, service.sticky_split),
        "dns_answer": service.dns.answer.value,
        "dns": show_policy(service.dns),
        **_given(metadata=_texts(service.metadata)),
        "mesh": show_mesh(service),
        "pool": POOL.render(service.pool),
    }


def show_endpoint(endpoint: Endpoint) -> dict[str, Json]:
    return {
        "id": endpoint.id,
        "address": endpoint.address,
        **_given(version=endpoint.version),
        "weight": endpoint.weight,
        **_given(node=endpoint.node),
        "backup": endpoint.backup,
        "priority": endpoint.priority,
        **_given(metadata=_texts(endpoint.metadata), health_check=show_check(endpoint.health_check)),
    }


def show_node(node: Node) -> dict[str, Json]:
    return _given(address=node.address, metadata=_texts(node.metadata))


def _test(test: RouteTest) -> dict[str, Json]:
    request = test.request
    url = f"http://{request.host}{request.target}" if request.host and request.target != "*" else request.target
    return {
        "request": {
            "method": request.method,
            "url": url,
            **_given(headers=_texts(request.headers), client=request.client, listener=request.listener),
        },
        "expect": dict(test.expect.items()),
    }
