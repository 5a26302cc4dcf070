"""The keys of a health check, and which protocol each of them belongs to.

An endpoint may have a check of its own, which says only what differs from its service's: `written_over` puts the two
together. A key that means nothing to the protocol is an error, wherever it was written; what a service's check says
for its own protocol does not follow an endpoint to another one.
"""

from __future__ import annotations

from typing import Final

import msgspec

from discovery.checks import CheckProtocol, HealthCheck
from proxy.config.addresses import parse_host_name, parse_ip
from proxy.config.nodes import shown
from proxy.config.records import AnyKey, Fields, Key, Record
from proxy.config.scalars import format_duration
from proxy.config.shapes import (
    Choice,
    Duration,
    Flag,
    Integer,
    Json,
    ListOf,
    MapOf,
    OneOrMore,
    ScalarShape,
    Schema,
    Text,
    or_environment,
)
from proxy.config.statuses import HIGHEST, LOWEST, STATUS_PATTERN, Range, format_statuses, parse_statuses
from proxy.config.words import (
    HEADER_VALUE,
    MAX_CONDITIONS,
    MAX_HEADER_NAME,
    MAX_PATH,
    checked_header_name,
    method,
    path_and_query,
)

# Below this a check is a load test. The API has registry.min_interval.
SHORTEST_INTERVAL: Final = 0.05
MOST_IN_A_ROW = 1000
MAX_STATUSES = 16
MAX_ARGUMENTS = 64
MAX_ARGUMENT = 4096
MAX_BODY_TEXT = 1024
MAX_GRPC_SERVICE = 256

DEFAULTS = HealthCheck()


class Statuses(ScalarShape[Range]):
    expected = "a status such as 200, 2xx or 200-399"

    def parse(self, text: str) -> Range:
        return parse_statuses(text)

    def schema(self, defs: Schema) -> Schema:
        number: Schema = {"type": "integer", "minimum": LOWEST, "maximum": HIGHEST}
        return or_environment({"anyOf": [number, {"type": "string", "pattern": STATUS_PATTERN}]}, defs)

    def render(self, value: Range) -> Json:
        return format_statuses(value)


def _argument(text: str) -> str:
    if "\0" in text:
        raise ValueError(f"'{shown(text)}' has a NUL in it, expected an argument of a program")
    return text


def _file(text: str) -> str:
    if "\0" in text or text.endswith("/"):
        raise ValueError(f"'{shown(text)}' is not a file, expected the path of one in PEM format")
    return text


PROTOCOL = Key(
    "protocol",
    Choice(
        CheckProtocol,
        {
            "TCP": CheckProtocol.TCP,
            "HTTP": CheckProtocol.HTTP,
            "HTTPS": CheckProtocol.HTTPS,
            "Command": CheckProtocol.COMMAND,
            "COMMAND": CheckProtocol.COMMAND,
            "gRPC": CheckProtocol.GRPC,
            "GRPC": CheckProtocol.GRPC,
            "TTL": CheckProtocol.TTL,
        },
    ),
    "how an endpoint is asked; tcp by default",
)
PATH = Key(
    "path", Text("a path that starts with /", path_and_query, MAX_PATH, schema={"pattern": "^/"}), "what is asked for"
)
INTERVAL = Key("interval", Duration(least=SHORTEST_INTERVAL), "begin of a check to the begin of the next")
TIMEOUT = Key("timeout", Duration(), "of one check; default 5s, or the interval where that is shorter")
HEALTHY_THRESHOLD = Key("healthy_threshold", Integer(1, MOST_IN_A_ROW), "successes in a row after which it is healthy")
UNHEALTHY_THRESHOLD = Key(
    "unhealthy_threshold", Integer(1, MOST_IN_A_ROW), "failures in a row after which it is unhealthy"
)
TRANSITION_INTERVAL = Key(
    "transition_interval",
    Duration(zero="the interval", least=SHORTEST_INTERVAL),
    "in place of interval while it is being found out whether the state changes; 0, the default, is interval",
)
ADDRESS = Key("address", Text("an IP address", parse_ip), "asked instead of the endpoint's")
PORT = Key("port", Integer(1, 65535), "asked instead of the endpoint's")
METHOD = Key("method", Text("a method", method, 32), "GET by default")
HOST = Key("host", Text("a host name", parse_host_name), "Host and SNI; default: the service's domain, or the address")
HEADERS = Key(
    "headers",
    MapOf(HEADER_VALUE, Text("a header name", checked_header_name, MAX_HEADER_NAME), MAX_CONDITIONS, folded=True),
    "sent with the check",
)
EXPECTED_STATUS = Key("expected_status", OneOrMore(Statuses(), MAX_STATUSES), "what a healthy endpoint answers; 2xx")
EXPECTED_BODY = Key(
    "expected_body", Text(longest=MAX_BODY_TEXT), "text that must be contained in the first 64KiB of the body"
)
VERIFY = Key("verify", Flag(), "is the certificate checked? true by default")
CA_FILE = Key(
    "ca_file", Text("the path of a file", _file), "PEM file of the authorities trusted instead of the system's"
)
TLS = Key("tls", Flag(), "gRPC over TLS; false by default")
COMMAND = Key(
    "command",
    ListOf(Text("an argument", _argument, MAX_ARGUMENT, empty=True), MAX_ARGUMENTS, 1),
    "program and arguments, run without a shell; healthy if it exits with 0",
)
GRPC_SERVICE = Key("grpc_service", Text(longest=MAX_GRPC_SERVICE), "service asked about; default: the whole server")
TTL = Key("ttl", Duration(), "how long one report of the endpoint counts")

_SCHEDULE: tuple[AnyKey, ...] = (INTERVAL, TIMEOUT, HEALTHY_THRESHOLD, UNHEALTHY_THRESHOLD, TRANSITION_INTERVAL)
_PLACE: tuple[AnyKey, ...] = (ADDRESS, PORT)
_HTTP: tuple[AnyKey, ...] = (PATH, METHOD, HOST, HEADERS, EXPECTED_STATUS, EXPECTED_BODY)
_CERTIFICATE: tuple[AnyKey, ...] = (VERIFY, CA_FILE)

KEYS: dict[CheckProtocol, tuple[AnyKey, ...]] = {
    CheckProtocol.TCP: (*_SCHEDULE, *_PLACE),
    CheckProtocol.HTTP: (*_SCHEDULE, *_PLACE, *_HTTP),
    CheckProtocol.HTTPS: (*_SCHEDULE, *_PLACE, *_HTTP, *_CERTIFICATE),
    CheckProtocol.COMMAND: (*_SCHEDULE, COMMAND),
    CheckProtocol.GRPC: (*_SCHEDULE, *_PLACE, HOST, GRPC_SERVICE, TLS, *_CERTIFICATE),
    CheckProtocol.TTL: (TTL,),
}
_NEEDED: dict[CheckProtocol, Key[tuple[str, ...]] | Key[float]] = {
    CheckProtocol.COMMAND: COMMAND,
    CheckProtocol.TTL: TTL,
}
_ALL: tuple[AnyKey, ...] = (
    PROTOCOL, PATH, INTERVAL, TIMEOUT, HEALTHY_THRESHOLD, UNHEALTHY_THRESHOLD, TRANSITION_INTERVAL, ADDRESS, PORT,
    METHOD, HOST, HEADERS, EXPECTED_STATUS, EXPECTED_BODY, VERIFY, CA_FILE, TLS, COMMAND, GRPC_SERVICE, TTL,
)  # fmt: skip

# A check as it was written. Its value follows when the service's is known.
CHECK: Record[Fields] = Record("a health check", _ALL, lambda fields: fields)


def written_over(fields: Fields, service: HealthCheck | None = None) -> HealthCheck | None:
    """The check that `fields` say, where they are silent `service`, and where that does not fit the defaults. None
    when a problem was reported."""
    base = service or DEFAULTS
    protocol = fields.get(PROTOCOL, base.protocol)
    if fields.given(PROTOCOL) and PROTOCOL.name not in fields.values:
        return None  # which keys are right cannot be told
    mine = KEYS[protocol]
    for key in _ALL:
        if fields.given(key) and key is not PROTOCOL and key not in mine:
            others = " or ".join(each for each, keys in KEYS.items() if key in keys)
            fields.problem(f"means nothing to a {protocol} check, expected 'protocol: {others}' or no such key", key)
    needed = _NEEDED.get(protocol)
    kept = {key.name: getattr(base, key.name) for key in mine if service is not None and key in KEYS[base.protocol]}
    if needed is not None and not fields.given(needed) and needed.name not in kept:
        fields.problem(f"a {protocol} check needs '{needed.name}', expected {needed.shape.expected}")
    if fields.failed:
        return None
    values = {**kept, **fields.values, "protocol": protocol}
    # Who asks often, and says no more, does not want checks that overlap.
    interval = values.get(INTERVAL.name, DEFAULTS.interval)
    if not fields.given(TIMEOUT):
        values[TIMEOUT.name] = min(values.get(TIMEOUT.name, DEFAULTS.timeout), interval)
    check = msgspec.convert(values, HealthCheck)
    if check.timeout > check.interval:
        longest = format_duration(check.interval)
        fields.problem(
            f"{format_duration(check.timeout)} is longer than the interval, expected at most {longest}", TIMEOUT
        )
    if protocol is CheckProtocol.GRPC and not check.tls:
        for key in (VERIFY, CA_FILE):
            if fields.given(key):
                fields.problem("is about TLS, which is off here, expected 'tls: true' beside it", key)
    return None if fields.failed else check


def show_check(check: HealthCheck | None) -> dict[str, Json]:
    """In the words of the file, with every key that its protocol has and that has a value."""
    if check is None:
        return {}
    shown: dict[str, Json] = {PROTOCOL.name: check.protocol.value}
    for key in KEYS[check.protocol]:
        value = getattr(check, key.name)
        if value in ("", 0, (), {}) and key not in (TLS, VERIFY, TRANSITION_INTERVAL):
            continue
        if key in _CERTIFICATE and check.protocol is CheckProtocol.GRPC and not check.tls:
            continue
        shown[key.name] = key.shape.render(value)
    return shown
