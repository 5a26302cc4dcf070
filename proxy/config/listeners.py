"""The keys of a listener; which ones there are and what a route may say depends on its protocol.

`service` is short for a last route, called default, that takes what no other does. HTTP listeners go by requests and
have no such thing: there a route without match takes the rest.
"""

from __future__ import annotations

from collections.abc import Callable
from enum import StrEnum

from discovery.model import Listener, Protocol, Route, StreamRoute
from proxy.config.addresses import parse_datagram_address, parse_listen_address
from proxy.config.nodes import Mapping, Node, Path, Scalar, child
from proxy.config.reading import Reading
from proxy.config.records import AnyKey, Distinct, Fields, Key, Record, RecordList, Variants
from proxy.config.routes import ROUTE, ROUTE_VERSION, SERVICE, AnyRoute, route_list
from proxy.config.shapes import Choice, Integer, Text
from proxy.config.streams import ANY_ROUTE, CONNECTION_ROUTE, SESSION_ROUTE, check_version, is_stream
from proxy.config.words import NAME, BoundAddress, BoundDatagrams

LARGEST_COUNT = 10_000_000  # connections: above what one machine has memory for

DEFAULT_ROUTE = "default"  # the name of what `service` makes


class Acceptance(StrEnum):
    """What a listener does about the PROXY protocol."""

    OFF = "off"
    RECEIVE = "receive"


class AcceptanceChoice(Choice[Acceptance]):
    """The end of reading checks that there is somebody to receive it from."""

    def read(self, node: Node, path: Path, reading: Reading) -> Acceptance | None:
        value = super().read(node, path, reading)
        if value is Acceptance.RECEIVE:
            reading.proxy_receivers.append((value, node, path))
        return value


class ProtocolChoice(Choice[Protocol]):
    """Without those of DNS, whose listeners are made of `dns.address`."""

    def __init__(self) -> None:
        super().__init__(Protocol)
        self.words = {word: protocol for word, protocol in self.words.items() if not protocol.is_dns}
        self.expected = " or ".join(self.words)


LISTENER_NAME = Key("name", NAME, "unique; in logs, metrics and tests", required=True)
LISTENER_ADDRESS = Key(
    "address",
    BoundAddress("host:port, :port, [v6]:port or unix:PATH", parse_listen_address),
    "where it accepts connections; :8080 is every IPv4 address of the machine, [::]:8080 every address",
    required=True,
)
_PROTOCOLS = ProtocolChoice()
PROTOCOL = Key("protocol", _PROTOCOLS, "what is spoken there; http by default")
PROXY_PROTOCOL = Key(
    "proxy_protocol",
    AcceptanceChoice(Acceptance),
    "receive: connections from trusted_proxies begin with a PROXY header (version 1 or 2); off by default",
)
MAX_CONNECTIONS = Key(
    "max_connections",
    Integer(0, LARGEST_COUNT),
    "open connections (udp: sessions) at a time, all workers together; 0, the default, is no limit",
)
# The kernel takes more for 65535 as well, and cuts both to net.core.somaxconn.
LARGEST_BACKLOG = 65535
BACKLOG = Key(
    "backlog",
    Integer(0, LARGEST_BACKLOG),
    "connections that may wait to be accepted, of each worker; 0, the default, is net.core.somaxconn, the most",
)
LISTENER_SERVICE = Key(SERVICE.name, SERVICE.shape, "where everything goes that no route takes (tcp, udp, auto)")
LISTENER_VERSION = Key(ROUTE_VERSION.name, ROUTE_VERSION.shape, "only endpoints of this version of `service`")
ABOUT_ROUTES = "which request or connection goes where; of http by default: every service by Host = its domain"


def _routes(route: Record[AnyRoute], rank: Callable[[Node], int] | None = None) -> Key[tuple[AnyRoute, ...]]:
    return Key("routes", route_list(route, rank), ABOUT_ROUTES)


LISTENER_ROUTES = _routes(ANY_ROUTE, is_stream)
_COMMON: tuple[AnyKey, ...] = (LISTENER_NAME, PROTOCOL, MAX_CONNECTIONS)
_TARGET: tuple[AnyKey, ...] = (LISTENER_SERVICE, LISTENER_VERSION)

# --- what is put together -----------------------------------------------------------------------------------------


def _build_listener(fields: Fields) -> Listener:
    routes = fields.get(LISTENER_ROUTES, ())
    return Listener(
        name=fields.get(LISTENER_NAME, ""),
        address=fields.get(LISTENER_ADDRESS, ""),
        protocol=fields.get(PROTOCOL, Protocol.HTTP),
        routes=tuple(route for route in routes if isinstance(route, Route)),
        streams=(*(route for route in routes if isinstance(route, StreamRoute)), *_default(fields, routes)),
        accept_proxy=fields.get(PROXY_PROTOCOL, Acceptance.OFF) is Acceptance.RECEIVE,
        max_connections=fields.get(MAX_CONNECTIONS, 0),
        backlog=fields.get(BACKLOG, 0),
        position=fields.reading.position(fields.node),
    )


def _default(fields: Fields, routes: tuple[AnyRoute, ...]) -> tuple[StreamRoute, ...]:
    """The route that `service` is short for."""
    check_version(fields)
    if not fields.given(LISTENER_SERVICE):
        return ()
    if any(route.name == DEFAULT_ROUTE for route in routes):
        fields.problem(
            f"is a route called '{DEFAULT_ROUTE}', and there is one already, expected another name there",
            LISTENER_SERVICE,
        )
    return (
        StreamRoute(
            name=DEFAULT_ROUTE,
            service=fields.get(LISTENER_SERVICE, ""),
            version=fields.get(LISTENER_VERSION, ""),
            position=fields.reading.position(fields.node),
        ),
    )


def _build_streams(fields: Fields) -> Listener:
    listener = _build_listener(fields)
    if not listener.streams and _is_readable(fields):
        fields.problem("nothing to go to, expected service or routes")
    return listener


def _build_auto(fields: Fields) -> Listener:
    listener = _build_listener(fields)
    if _is_readable(fields):
        if not listener.routes:
            fields.problem("no route takes HTTP requests, expected one without sni, or protocol: tcp")
        if not listener.streams:
            fields.problem("nothing takes what is not HTTP, expected service or a route with sni, or protocol: http")
    return listener


def _is_readable(fields: Fields) -> bool:
    """Were the routes understood, if there are any?"""
    return not fields.given(LISTENER_ROUTES) or LISTENER_ROUTES.name in fields.values


# --- by protocol --------------------------------------------------------------------------------------------------

_LATER = {"tls": "TLS is"}
_NO_SERVICE = "an http listener goes by routes, expected routes, or protocol: tcp, udp or auto"

_BY_PROTOCOL: dict[Protocol | None, Record[Listener]] = {
    Protocol.HTTP: Record(
        "a listener",
        (*_COMMON, LISTENER_ADDRESS, BACKLOG, PROXY_PROTOCOL, _routes(ROUTE)),
        _build_listener,
        later=_LATER,
        refused={key.name: _NO_SERVICE for key in _TARGET},
    ),
    Protocol.TCP: Record(
        "a listener",
        (*_COMMON, LISTENER_ADDRESS, BACKLOG, PROXY_PROTOCOL, *_TARGET, _routes(CONNECTION_ROUTE)),
        _build_streams,
        later=_LATER,
    ),
    Protocol.UDP: Record(
        "a listener",
        (
            *_COMMON,
            Key(
                LISTENER_ADDRESS.name,
                BoundDatagrams("host:port, :port or [v6]:port", parse_datagram_address),
                LISTENER_ADDRESS.about,
                required=True,
            ),
            *_TARGET,
            _routes(SESSION_ROUTE),
        ),
        _build_streams,
        later=_LATER,
        refused={
            "proxy_protocol": "a PROXY header begins a connection, and datagrams have none, expected no such key",
            "backlog": "datagrams are not accepted, expected no such key",
        },
    ),
    Protocol.AUTO: Record(
        "a listener",
        (*_COMMON, LISTENER_ADDRESS, BACKLOG, PROXY_PROTOCOL, *_TARGET, LISTENER_ROUTES),
        _build_auto,
        later=_LATER,
    ),
    # A protocol that could not be read is one problem: no key is wrong because of it.
    None: Record(
        "a listener",
        (*_COMMON, Key("address", Text("an address"), ""), BACKLOG, PROXY_PROTOCOL, *_TARGET, LISTENER_ROUTES),
        lambda fields: None,
        later=_LATER,
    ),
}


def _written_protocol(listener: Mapping) -> Protocol | None:
    written = child(listener, PROTOCOL.name)
    if written is None:
        return Protocol.HTTP
    return _PROTOCOLS.words.get(written.text) if isinstance(written, Scalar) else None


LISTENER: Record[Listener] = Variants(
    "a listener",
    (LISTENER_NAME, LISTENER_ADDRESS, PROTOCOL, PROXY_PROTOCOL, MAX_CONNECTIONS, BACKLOG, *_TARGET, LISTENER_ROUTES),
    lambda listener: _BY_PROTOCOL[_written_protocol(listener)],
)
LISTENERS = Key(
    "listeners",
    RecordList(LISTENER, (Distinct(LISTENER_NAME, lambda fields: fields.get(LISTENER_NAME, None), "name"),)),
    "addresses, and what is served there",
)
