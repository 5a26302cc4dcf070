"""The keys that belong to no listener and no service: limits, timeouts, access log, records, admin API, metrics."""

from __future__ import annotations

import re

import msgspec

from discovery.config import AdminSettings
from discovery.model import AccessLog, Limits, LogFilter, LogFormat, RecordSettings, Struct, Timeouts
from proxy.config.addresses import is_loopback, parse_listen_address
from proxy.config.listeners import LARGEST_COUNT
from proxy.config.nodes import shown
from proxy.config.numbers import Number, Percent
from proxy.config.records import AnyKey, Fields, Key, Record, StructRecord
from proxy.config.shapes import (
    Choice,
    Duration,
    Flag,
    Integer,
    Json,
    ListOf,
    ScalarShape,
    Schema,
    Size,
    Text,
    or_environment,
)
from proxy.config.words import BoundAddress, secret
from proxy.http1.flags import ANY, FLAGS

KIB = 1024
MIB = 1024 * KIB

# A head below this refuses ordinary browsers. Envoy caps heads at 8 MiB; a head is kept in memory per request, so
# ours stays at what the largest cookies need.
SMALLEST_HEAD = KIB
LARGEST_HEAD = MIB

# A hello without extensions has some 50 bytes. What is looked at waits in the socket, whose buffer has 128 KiB.
SMALLEST_HELLO = 256
LARGEST_HELLO = 64 * KIB
# A worker gives two signs of life a second.
SHORTEST_HANG = 1.0
LARGEST_BODY = 1 << 50
# A record takes 1 KiB, so that the two rings of a worker stay below 128 MiB.
MOST_RECORDS = 65_536

LIMITS = StructRecord(
    "limits",
    Limits,
    (
        Key(
            "request_head", Size(SMALLEST_HEAD, LARGEST_HEAD), "request line and headers together; more is answered 431"
        ),
        Key("headers", Integer(1, 10_000), "headers of a request; more are answered 431"),
        Key("request_line", Size(64, LARGEST_HEAD), "the first line; more is answered 414"),
        Key("body", Size(0, LARGEST_BODY), "body of a request; more is answered 413; 0 = no limit"),
        Key("chunk_extension", Size(0, 64 * KIB), "extension of one chunk's head; more is answered 400"),
        Key("trailers", Size(0, LARGEST_HEAD), "headers after a chunked body"),
        Key("response_head", Size(SMALLEST_HEAD, LARGEST_HEAD), "head of an upstream's response; more is answered 502"),
        Key("interim_responses", Integer(0, 1000), "1xx responses before the final one; more are answered 502"),
        Key("connections", Integer(1, LARGEST_COUNT), "client connections of the whole instance"),
        Key(
            "connections_per_client",
            Integer(0, LARGEST_COUNT),
            "connections and sessions of datagrams of one client address at a time, per worker; 0 = no limit",
        ),
        Key(
            "connection_rate_per_client",
            Integer(0, LARGEST_COUNT),
            "of these, begun per second, all workers together; 0 = no limit",
        ),
        Key("replay_body", Size(0, 16 * MIB), "bytes of a request body kept so that it can be sent again"),
        Key("requests_per_connection", Integer(0, LARGEST_COUNT), "then the connection is closed; 0 = no limit"),
        Key("client_hello", Size(SMALLEST_HELLO, LARGEST_HELLO), "bytes looked at to find the SNI of a TLS connection"),
        Key("udp_sessions", Integer(1, LARGEST_COUNT), "datagram sessions of the whole instance"),
    ),
)

TIMEOUTS = StructRecord(
    "timeouts",
    Timeouts,
    (
        Key("request_head", Duration(), "first byte of a request to the end of its head; then 408"),
        Key("keep_alive", Duration(), "between the requests of a client connection"),
        Key("stream_idle", Duration(), "no byte in either direction while a body or an upgraded stream is open"),
        Key("connect", Duration(), "to open a connection to an endpoint; then 504"),
        Key("response_header", Duration(), "request sent to response head complete; then 504"),
        Key("upstream_idle", Duration(), "how long an idle connection to an endpoint is kept"),
        Key("proxy_protocol", Duration(), "connection accepted to PROXY header complete; then it is closed"),
        Key("detect", Duration(), "how long the first bytes are waited for that tell the protocol or the SNI"),
        Key("tcp_idle", Duration(), "no byte in either direction of a TCP connection"),
        Key("udp_idle", Duration(), "no datagram in either direction of a session"),
        Key("drain", Duration(zero="at once"), "how long open requests may take when the program stops"),
        Key("drain_streams", Duration(zero="at once"), "the same for TCP connections, UDP sessions and upgrades"),
        Key(
            "worker_hang",
            Duration(zero="never", least=SHORTEST_HANG),
            "no sign of life from a worker; then it is replaced; 0 = never",
        ),
        Key("linger", Duration(zero="not at all"), "how long a refused body is read and thrown away"),
    ),
)


def _log_path(text: str) -> str:
    if "\0" in text or text.endswith("/"):
        raise ValueError(f"'{shown(text)}' is not a file, expected stdout, stderr or the path of a file")
    return text


LOG_PATH = Key("path", Text("stdout, stderr or the path of a file", _log_path), "where lines go")
LOG_FORMAT = Key("format", Choice(LogFormat), "json or text lines, or off; json where access_log is written without it")

# More filters than this are a mistake; each costs every request some time.
MOST_LOG_FILTERS = 16


class StatusRange(ScalarShape[tuple[int, int]]):
    """First and last: 500-599, or one status."""

    expected = "a status, or a range such as 500-599"
    pattern = r"^[1-5][0-9]{2}(-[1-5][0-9]{2})?$"

    def parse(self, text: str) -> tuple[int, int]:
        if not re.fullmatch(self.pattern[1:-1], text):
            raise ValueError(f"'{shown(text)}' is no status, expected one from 100 to 599, or a range such as 500-599")
        first, _, last = text.partition("-")
        if last and last < first:
            raise ValueError(f"{text} ends before it begins, expected the smaller status first")
        return int(first), int(last or first)

    def schema(self, defs: Schema) -> Schema:
        status: Schema = {"type": "integer", "minimum": 100, "maximum": 599}
        return or_environment({"anyOf": [status, {"type": "string", "pattern": self.pattern}]}, defs)

    def render(self, value: tuple[int, int]) -> Json:
        first, last = value
        return f"{first}-{last}" if last != first else first


def _flag(text: str) -> str:
    if text in (*FLAGS, ANY):
        return text
    meant = next((flag for flag in FLAGS if flag.lower() == text.lower()), "")
    hint = f"did you mean {meant}?" if meant else f"expected {ANY} or one of {', '.join(FLAGS)}"
    raise ValueError(f"'{shown(text)}' is no response flag, {hint}")


CONDITIONS: tuple[AnyKey, ...] = (
    Key("min_status", Integer(0, 599), "only answers with this status or a higher one"),
    Key("status", ListOf(StatusRange(), most=32), "only answers with one of these, as 404 or 500-599"),
    Key("min_duration", Duration(zero="all"), "only requests that took this long"),
    Key("retried", Flag(), "only requests that were sent more than once"),
    Key("flags", ListOf(Text("a response flag", _flag), most=32), "only what has one of these response flags, or any"),
    Key("sample", Percent(), "only so many, drawn by request id; 100% by default", field="sample_pct"),
)
LOG_FILTER = StructRecord("a filter of the access log", LogFilter, CONDITIONS)
LOG_FILTERS = Key(
    "filters",
    ListOf(LOG_FILTER, most=MOST_LOG_FILTERS),
    "lines that pass one of these are written, beside those that pass the conditions above",
)


def _build_log(fields: Fields) -> AccessLog:
    conditions = {key.field: fields.values[key.name] for key in CONDITIONS if key.name in fields.values}
    return msgspec.convert(
        {
            **conditions,
            "path": fields.get(LOG_PATH, "stdout"),
            "format": fields.get(LOG_FORMAT, LogFormat.JSON),
            "filters": fields.get(LOG_FILTERS, ()),
        },
        AccessLog,
    )


def _show_log(log: AccessLog) -> Json:
    keys: tuple[AnyKey, ...] = (LOG_PATH, LOG_FORMAT, *CONDITIONS, LOG_FILTERS)
    return {key.name: key.shape.render(getattr(log, key.field)) for key in keys}


ACCESS_LOG = Record(
    "an access log",
    (LOG_PATH, LOG_FORMAT, *CONDITIONS, LOG_FILTERS),
    _build_log,
    _show_log,
    elsewhere={"retries": "retried", "max_status": "status"},
)

RECORDS = StructRecord(
    "records",
    RecordSettings,
    (
        Key("size", Integer(0, MOST_RECORDS), "requests that each worker remembers; 0 = none"),
        Key("errors", Integer(0, MOST_RECORDS), "those in which something went wrong, kept beside them; 0 = none"),
        Key("sample", Number(0, 1), "share of the others that is kept"),
    ),
)

ADMIN_ADDRESS = Key(
    "address", BoundAddress("host:port or unix:PATH", parse_listen_address), "where the HTTP API listens"
)
TOKEN = Key("token", Text("a text", secret, 4096), "bearer token of every request; needed beyond loopback")


ALLOW_COMMAND_CHECKS = Key(
    "allow_command_checks", Flag(), "may the API set health checks that run programs? false by default"
)

ADMIN_LIMITS: tuple[AnyKey, ...] = (
    Key("max_connections", Integer(1, LARGEST_COUNT), "open at a time, of each admin address"),
    Key("max_waiting", Integer(1, LARGEST_COUNT), "readers that wait for news, and streams that are open"),
    Key(
        "request_timeout",
        Duration(),
        "connection made, or first byte of a further request, to all of it received; then it is closed",
    ),
    Key("idle_timeout", Duration(), "between two requests of a connection"),
    Key("write_timeout", Duration(), "an answer of which nothing is taken; then the connection is closed"),
)


def _build_admin(fields: Fields) -> AdminSettings:
    address, token = fields.get(ADMIN_ADDRESS, AdminSettings().address), fields.get(TOKEN, "")
    if not fields.given(TOKEN) and not is_loopback(address):
        fields.problem(
            f"others can reach '{address}', expected a token beside it, or a loopback address", ADMIN_ADDRESS
        )
    limits = {key.name: fields.values[key.name] for key in ADMIN_LIMITS if key.name in fields.values}
    return msgspec.convert(
        {
            "address": address,
            "token": token,
            "allow_command_checks": fields.get(ALLOW_COMMAND_CHECKS, False),
            **limits,
        },
        AdminSettings,
    )


def show_admin(admin: AdminSettings) -> dict[str, Json]:
    """But for the token."""
    keys: tuple[AnyKey, ...] = (ADMIN_ADDRESS, ALLOW_COMMAND_CHECKS, *ADMIN_LIMITS)
    return {key.name: key.shape.render(getattr(admin, key.field)) for key in keys}


ADMIN = Record("admin settings", (ADMIN_ADDRESS, TOKEN, ALLOW_COMMAND_CHECKS, *ADMIN_LIMITS), _build_admin)


class MetricsSettings(Struct):
    address: str = ""


METRICS = StructRecord(
    "metrics settings",
    MetricsSettings,
    (
        Key(
            "address",
            BoundAddress("host:port or unix:PATH", parse_listen_address),
            "where /metrics, /livez and /readyz are served without the rest of the API",
            required=True,
        ),
    ),
)
