"""The keys of the tests block: requests, and what the routes must do with them. route_tests.py runs them."""

from __future__ import annotations

import ipaddress
from typing import NamedTuple

from discovery.config import RequestSample, RouteTest
from mesh.paths import PathError, origin, split_port
from proxy.config.addresses import parse_host_pattern
from proxy.config.nodes import Node, Path, Scalar, shown
from proxy.config.places import Parts, Place
from proxy.config.reading import Reading
from proxy.config.records import Fields, Key, Record
from proxy.config.shapes import Integer, MapOf, Schema, Text
from proxy.config.words import (
    HEADER_VALUE,
    MAX_HEADER_NAME,
    NAME,
    VERSION,
    ListenerReference,
    ServiceReference,
    header_name,
    method,
)

MAX_URL = 8 * 1024  # what limits.request_line lets through by default
EXPECTED_REQUEST = "expected a request such as GET http://shop.local/api?page=2"


class Url(NamedTuple):
    """`host` in lower case and without port, "" for none; `port` in decimal, "" for none; `scheme` "" without host."""

    scheme: str
    host: str
    port: str
    target: str


def split_url(text: str, verb: str = "GET") -> Url:
    """A URL, "/path?query", or "*"."""
    try:
        target = origin(text.encode("ascii"), verb.encode())
    except UnicodeEncodeError:
        raise ValueError(f"'{shown(text)}' is not a URL, expected ASCII (the rest as %XX)") from None
    except PathError as error:
        if "://" not in text and text.strip("*"):
            raise ValueError(
                f"'{shown(text)}' is not a URL: it begins with neither http:// nor /, "
                "expected http://HOST/PATH or /PATH"
            ) from None
        raise ValueError(f"'{shown(text)}' is not a URL: {error}, expected http://HOST/PATH or /PATH") from None
    question = b"?" if target.has_query else b""
    host, port = split_authority(target.authority.decode())
    return Url(target.scheme.decode(), host, port, (target.path + question + target.query).decode())


def split_authority(text: str) -> tuple[str, str]:
    """(host in lower case, port in decimal) of "host", "host:port" or ""; "" for what is not there."""
    name, port = (part.decode() for part in split_port(text.encode()))
    if port and not port.isdigit():
        raise ValueError(f"'{shown(port)}' is not a port, expected a number")
    return parse_host_pattern(name) if name else "", port


def parse_url(text: str, verb: str = "GET") -> tuple[str, str]:
    """(host without port, in lower case; target) of a URL, of "/path?query", or of "*"."""
    url = split_url(text, verb)
    return url.host, url.target


def parse_request(text: str) -> RequestSample:
    verb, space, url = text.strip().partition(" ")
    if not space:
        raise ValueError(f"'{shown(text)}' is not a request, {EXPECTED_REQUEST}")
    host, target = parse_url(url.strip(), method(verb))
    return RequestSample(method=verb, host=host, target=target)


def client_address(text: str) -> str:
    try:
        return str(ipaddress.ip_address(text))
    except ValueError:
        raise ValueError(f"'{shown(text)}' is not an IP address") from None


def _sample_header(text: str) -> str:
    if text.lower() == "host":
        raise ValueError("the host comes from the URL, expected other headers")
    return header_name(text)


SAMPLE_HEADER = Text("a header name", _sample_header, MAX_HEADER_NAME)
METHOD = Key("method", Text("a method", method), "GET by default")
URL = Key(
    "url",
    Text("a URL or a path", longest=MAX_URL),
    "http://HOST/PATH?QUERY, or a path for a request without host",
    required=True,
)
SAMPLE_HEADERS = Key("headers", MapOf(HEADER_VALUE, SAMPLE_HEADER, folded=True), "its headers")
CLIENT = Key("client", Text("an IP address", client_address), "address of the client; 127.0.0.1 by default")
LISTENER = Key("listener", ListenerReference(), "where it arrives; default: at every listener, with the same result")


def _build_request(fields: Fields) -> RequestSample:
    verb = fields.get(METHOD, "GET")
    try:
        host, target = parse_url(fields.get(URL, "/"), verb)
    except ValueError as error:
        fields.problem(str(error), URL)
        return RequestSample()
    return RequestSample(
        method=verb,
        host=host,
        target=target,
        headers=fields.get(SAMPLE_HEADERS, {}),
        client=fields.get(CLIENT, "127.0.0.1"),
        listener=fields.get(LISTENER, ""),
    )


def _request_text(text: str) -> str:
    parse_request(text)
    return text


_LINE = Text("a request", _request_text)


class RequestRecord(Record[RequestSample]):
    """A request in one line, or as a mapping when it needs headers."""

    def __init__(self) -> None:
        super().__init__("a request", (METHOD, URL, SAMPLE_HEADERS, CLIENT, LISTENER), _build_request)

    def read(self, node: Node, path: Path, reading: Reading) -> RequestSample | None:
        if not isinstance(node, Scalar) or node.is_null:
            return super().read(node, path, reading)
        text = _LINE.read(node, path, reading)
        return None if text is None else parse_request(text)

    def schema(self, defs: Schema) -> Schema:
        return {"anyOf": [{"type": "string", "minLength": 1}, super().schema(defs)]}

    def parts(self, node: Node, path: Path) -> Parts:
        if type(node) is not Scalar:
            return super().parts(node, path)
        return {METHOD.name: Place(node, path), URL.name: Place(node, path)}


EXPECT_ROUTE = Key("route", NAME, "name of the route that wins")
EXPECT_SERVICE = Key("service", ServiceReference(), "a service that the request can go to")
EXPECT_VERSION = Key("version", VERSION, "a version that the request can go to: one with a weight above 0")
EXPECT_STATUS = Key("status", Integer(100, 599), "status of an answer that needs no upstream")


def _build_expect(fields: Fields) -> dict[str, str | int]:
    if not fields.node.entries:
        fields.problem("empty, expected route, service, version or status")
    expect: dict[str, str | int] = {}
    for key in (EXPECT_ROUTE, EXPECT_SERVICE, EXPECT_VERSION):
        if fields.given(key):
            expect[key.name] = fields.get(key, "")
    if fields.given(EXPECT_STATUS):
        expect[EXPECT_STATUS.name] = fields.get(EXPECT_STATUS, 0)
    return expect


EXPECT_RECORD = Record("expectations", (EXPECT_ROUTE, EXPECT_SERVICE, EXPECT_VERSION, EXPECT_STATUS), _build_expect)

REQUEST = Key(
    "request", RequestRecord(), "METHOD URL, or a mapping with method, url, headers, client, listener", required=True
)
EXPECT = Key("expect", EXPECT_RECORD, "what must come of it; what is absent is not compared", required=True)


def _build_test(fields: Fields) -> RouteTest:
    return RouteTest(
        request=fields.get(REQUEST, RequestSample()),
        expect=fields.get(EXPECT, {}),
        position=fields.reading.position(fields.node),
    )


TEST = Record("a route test", (REQUEST, EXPECT), _build_test)
