"""The keys of a route's match: host, path, methods, headers, query, clients; of connections sni and clients.

Meaning and limits are those of Gateway API's HTTPRouteMatch; which route wins is decided in mesh/router.py and
mesh/streams.py.
"""

from __future__ import annotations

from typing import NamedTuple

from discovery.model import MatchKind, NameMatch, PathKind, RouteMatch
from proxy.config.addresses import parse_host_pattern, parse_network, parse_server_name
from proxy.config.nodes import Mapping, Node, Path
from proxy.config.reading import Reading
from proxy.config.records import Fields, Key, Record
from proxy.config.shapes import Always, Json, ListOf, MapOf, OneOrMore, Schema, Text
from proxy.config.words import (
    HEADER_NAME,
    HEADER_VALUE,
    MAX_CONDITIONS,
    MAX_HEADER_VALUE,
    PATTERN,
    MatchedPath,
    method,
)

MAX_METHODS = 16
MAX_CLIENTS = 1024
MAX_SERVER_NAMES = 256
MAX_PARAMETER = 256  # characters of the name of a query parameter


def _build_condition(fields: Fields) -> tuple[MatchKind, str]:
    fields.only_one(EXACT, REGEX, PRESENT)
    if not fields.node.entries:
        fields.problem("empty, expected one of exact, regex and present")
    if fields.given(REGEX):
        return MatchKind.REGEX, fields.get(REGEX, "")
    if fields.given(PRESENT):
        return MatchKind.PRESENT, ""
    return MatchKind.EXACT, fields.get(EXACT, "")


def _show_condition(condition: tuple[MatchKind, str]) -> Json:
    kind, value = condition
    return value if kind is MatchKind.EXACT else {kind.value: True if kind is MatchKind.PRESENT else value}


class Condition(Record[tuple[MatchKind, str]]):
    """What a header or a query parameter must be: a text, or {regex: ...}, {present: true}, {exact: ...}."""

    def __init__(self, exact: Text, exact_key: Key[str]) -> None:
        super().__init__("a text or a condition", (exact_key, REGEX, PRESENT), _build_condition, _show_condition)
        self.exact = exact

    def read(self, node: Node, path: Path, reading: Reading) -> tuple[MatchKind, str] | None:
        if type(node) is Mapping:
            return super().read(node, path, reading)
        text = self.exact.read(node, path, reading)
        return None if text is None else (MatchKind.EXACT, text)

    def schema(self, defs: Schema) -> Schema:
        return {"anyOf": [self.exact.schema(defs), super().schema(defs)]}


QUERY_VALUE = Text("a value", longest=MAX_HEADER_VALUE, empty=True)
EXACT = Key("exact", HEADER_VALUE, "the value as it is, upper and lower case distinguished")
EXACT_QUERY = Key("exact", QUERY_VALUE, "the value as it is, upper and lower case distinguished")
REGEX = Key("regex", PATTERN, "the whole value matches this expression (RE2 syntax)")
PRESENT = Key("present", Always(True, "absence cannot be matched"), "there is one, whatever its value")

HOST = Key(
    "host", Text("a host", parse_host_pattern), "Host of the request; *.shop.local is everything below shop.local"
)
PATH_EXACT = Key("path", MatchedPath(), "the whole path")
PATH_PREFIX = Key(
    "path_prefix", MatchedPath(), "the first elements of the path: /abc matches /abc and /abc/d, not /abcd"
)
PATH_REGEX = Key("path_regex", PATTERN, "the whole path matches this expression (RE2 syntax)")
METHODS = Key("methods", ListOf(Text("a method", method), MAX_METHODS, 1, unique=True), "one of these methods")
HEADERS = Key(
    "headers",
    MapOf(Condition(HEADER_VALUE, EXACT), HEADER_NAME, MAX_CONDITIONS, folded=True, lower=True),
    "every one of these headers matches",
)
QUERY = Key(
    "query",
    MapOf(Condition(QUERY_VALUE, EXACT_QUERY), Text("a parameter", longest=MAX_PARAMETER), MAX_CONDITIONS),
    "every one of these query parameters matches",
)
CLIENTS = Key(
    "clients",
    ListOf(Text("a network", parse_network), MAX_CLIENTS, 1, unique=True),
    "the client's address is in one of these networks",
)


def _build_match(fields: Fields) -> RouteMatch:
    fields.only_one(PATH_EXACT, PATH_PREFIX, PATH_REGEX)
    kind, path = PathKind.PREFIX, fields.get(PATH_PREFIX, "/")
    if fields.given(PATH_EXACT):
        kind, path = PathKind.EXACT, fields.get(PATH_EXACT, "/")
    elif fields.given(PATH_REGEX):
        kind, path = PathKind.REGEX, fields.get(PATH_REGEX, "/")
    return RouteMatch(
        host=fields.get(HOST, ""),
        path_kind=kind,
        path=path,
        methods=fields.get(METHODS, ()),
        headers=tuple(NameMatch(name=name, kind=k, value=v) for name, (k, v) in fields.get(HEADERS, {}).items()),
        query=tuple(NameMatch(name=name, kind=k, value=v) for name, (k, v) in fields.get(QUERY, {}).items()),
        clients=fields.get(CLIENTS, ()),
    )


HTTP_CONDITIONS = (HOST, PATH_EXACT, PATH_PREFIX, PATH_REGEX, METHODS, HEADERS, QUERY)

MATCH_RECORD = Record(
    "a match",
    (*HTTP_CONDITIONS, CLIENTS),
    _build_match,
    refused={
        "sni": "TLS is not terminated in this release, so an http listener sees no server name, "
        "expected a tcp or auto listener"
    },
)

# --- connections and datagrams ------------------------------------------------------------------------------------

SNI = Key(
    "sni",
    OneOrMore(Text("a server name", parse_server_name), MAX_SERVER_NAMES),
    "the server that a TLS client asks for, one or a list; *.shop.local is everything below shop.local",
)


class StreamMatch(NamedTuple):
    sni: tuple[str, ...] = ()
    clients: tuple[str, ...] = ()


def _build_stream_match(fields: Fields) -> StreamMatch:
    return StreamMatch(sni=fields.get(SNI, ()), clients=fields.get(CLIENTS, ()))


def _no_http(expected: str) -> dict[str, str]:
    message = f"a condition on HTTP requests, which are not read here, expected {expected}"
    return {key.name: message for key in HTTP_CONDITIONS}


CONNECTION_MATCH = Record("a match", (SNI, CLIENTS), _build_stream_match, refused=_no_http("sni or clients"))
DATAGRAM_MATCH = Record(
    "a match",
    (CLIENTS,),
    _build_stream_match,
    refused={**_no_http("clients"), "sni": "datagrams have no TLS server name, expected clients"},
)
