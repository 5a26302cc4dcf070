"""The keys of a route of connections or of sessions of datagrams, and which routes of a list are such.

Exactly one of service and split decides where a connection goes. Nothing in it is read, so there is nothing to filter
and no request that could take too long. On an auto listener a route is one of connections if it matches an SNI.
"""

from __future__ import annotations

from discovery.model import StreamRoute
from proxy.config.matches import CLIENTS, CONNECTION_MATCH, DATAGRAM_MATCH, HTTP_CONDITIONS, SNI, StreamMatch
from proxy.config.nodes import Mapping, Node, child
from proxy.config.records import Fields, Key, Record, Variants
from proxy.config.routes import (
    FILTERS,
    MATCH,
    OF_REQUESTS,
    ROUTE,
    ROUTE_NAME,
    ROUTE_VERSION,
    SERVICE,
    SPLIT,
    TIMEOUT,
    AnyRoute,
    check_weights,
)

CONNECTIONS = Key("match", CONNECTION_MATCH, "all of it must hold; default: every connection")
SESSIONS = Key("match", DATAGRAM_MATCH, "all of it must hold; default: every client")


def check_version(fields: Fields) -> None:
    if fields.given(ROUTE_VERSION) and not fields.given(SERVICE):
        fields.problem("pins the version of 'service', which is not given", ROUTE_VERSION)


def _build_stream(fields: Fields) -> StreamRoute:
    given = [key.name for key in (SERVICE, SPLIT) if fields.given(key)]
    if len(given) != 1:
        fields.problem(f"expected one of service and split, got {'both' if given else 'none of them'}")
    check_version(fields)
    check_weights(fields, SPLIT)
    match = fields.get(CONNECTIONS, StreamMatch())
    return StreamRoute(
        name=fields.get(ROUTE_NAME, ""),
        sni=match.sni,
        clients=match.clients,
        service=fields.get(SERVICE, ""),
        version=fields.get(ROUTE_VERSION, ""),
        split=fields.get(SPLIT, ()),
        position=fields.reading.position(fields.node),
    )


def _no_requests(what: str, idle: str) -> dict[str, str]:
    lasts = f"a {what} may last as long as it is used, expected timeouts.{idle} at the top of the file"
    no_filters = "filters change HTTP requests, which are not read here, expected no such key"
    no_requests = "is about HTTP requests, which are not read here, expected no such key"
    others = [name for key in OF_REQUESTS for name in key.spellings()]
    return {
        **dict.fromkeys(others, no_requests),
        FILTERS.name: no_filters,
        **dict.fromkeys(TIMEOUT.spellings(), lasts),
    }


CONNECTION_ROUTE: Record[AnyRoute] = Record(
    "a route of connections",
    (ROUTE_NAME, CONNECTIONS, SERVICE, ROUTE_VERSION, SPLIT),
    _build_stream,
    refused=_no_requests("connection", "tcp_idle"),
)
SESSION_ROUTE: Record[AnyRoute] = Record(
    "a route of datagrams",
    (ROUTE_NAME, SESSIONS, SERVICE, ROUTE_VERSION, SPLIT),
    _build_stream,
    refused=_no_requests("session", "udp_idle"),
)

# --- both kinds in one list ---------------------------------------------------------------------------------------


def is_stream(route: Node) -> bool:
    """In a list of both, which the effective configuration has after the others."""
    return child(child(route, MATCH.name), SNI.name) is not None


def _by_match(route: Mapping) -> Record[AnyRoute]:
    return CONNECTION_ROUTE if is_stream(route) else ROUTE


# Never read: the schema shows all conditions together.
_ANY_MATCH: Record[None] = Record("a match", (*HTTP_CONDITIONS, SNI, CLIENTS), lambda fields: None)

ANY_ROUTE: Record[AnyRoute] = Variants(
    "a route",
    (ROUTE_NAME, Key(MATCH.name, _ANY_MATCH, MATCH.about), SERVICE, ROUTE_VERSION, SPLIT, *OF_REQUESTS),
    _by_match,
)
