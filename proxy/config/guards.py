"""The keys of what a request has to pass: access, max_body, rate_limit, max_concurrent, fault, mirror.

They stand in `mesh` of a service, for every request to it, and each as a filter in a route. Their order in the file
means nothing: they apply in the order of proxy/http1/phases.py.
"""

from __future__ import annotations

import re
from collections.abc import Mapping as Table
from datetime import UTC, datetime

import msgspec

from discovery.policies import Abort, Access, Delay, Fault, KeyKind, Mirror, RateLimit, RequestPolicies
from proxy.config.addresses import parse_network
from proxy.config.balancing import RequestKeyShape
from proxy.config.nodes import shown
from proxy.config.numbers import Percent
from proxy.config.records import AnyKey, Fields, Key, Record, StructRecord
from proxy.config.shapes import Duration, Integer, Json, ListOf, ScalarShape, Schema, Size, Text, or_environment
from proxy.config.words import VERSION, ServiceReference

MAX_NETWORKS = 1024
MOST_REQUESTS = 1_000_000_000
LONGEST_PERIOD = 7 * 86_400.0
MOST_AT_A_TIME = 10_000_000
LARGEST_BODY = 1 << 50
LARGEST_COPY = 16 << 20  # a copy is kept in memory
LONGEST_DELAY = 3600.0

# --- access -------------------------------------------------------------------------------------------------------

_NETWORKS = ListOf(Text("a network", parse_network), MAX_NETWORKS, 1, unique=True)
ALLOW = Key("allow", _NETWORKS, "networks of clients that may pass, and nobody else; default: all")
DENY = Key("deny", _NETWORKS, "networks of clients that may not, even if allowed; default: none")


def _build_access(fields: Fields) -> Access:
    allow, deny = fields.get(ALLOW, ()), fields.get(DENY, ())
    if not fields.node.entries:
        fields.problem("empty, expected allow or deny")
    for network in allow:
        if network in deny:
            fields.problem(f"'{network}' is allowed and denied, expected one of them", DENY)
    return Access(allow=allow, deny=deny)


def _show_access(access: Access) -> Json:
    return {
        **({ALLOW.name: list(access.allow)} if access.allow else {}),
        **({DENY.name: list(access.deny)} if access.deny else {}),
    }


ACCESS = Key("access", Record("access", (ALLOW, DENY), _build_access, _show_access), "which clients may; others: 403")

# --- rates and sizes ----------------------------------------------------------------------------------------------

MAX_BODY = Key("max_body", Size(0, LARGEST_BODY), "bytes of a request body; more: 413; 0 = no limit")


class _Period(Duration):
    def checked(self, seconds: float, text: str) -> float:
        if seconds > LONGEST_PERIOD:
            raise ValueError(f"'{shown(text)}' is too long, expected at most {self.render(LONGEST_PERIOD)}")
        return super().checked(seconds, text)


RATE_LIMIT = Key(
    "rate_limit",
    StructRecord(
        "a rate limit",
        RateLimit,
        (
            Key("requests", Integer(1, MOST_REQUESTS), "so many within `per`; more: 429", required=True),
            Key("per", _Period(), "1s by default"),
            Key("burst", Integer(0, MOST_REQUESTS), "so many more at once; 0 by default"),
            Key(
                "key",
                RequestKeyShape(KeyKind.CLIENT_IP, KeyKind.HEADER, KeyKind.COOKIE, KeyKind.QUERY, KeyKind.ROUTE),
                "who has a limit of his own; route, the default, is one for all",
            ),
        ),
    ),
    "requests per time, all workers together",
)
MAX_CONCURRENT = Key(
    "max_concurrent", Integer(0, MOST_AT_A_TIME), "requests at the same time, all workers together; more: 503; 0 = any"
)

# --- trouble on purpose -------------------------------------------------------------------------------------------

_TIME = re.compile(
    r"[0-9]{4}-[0-9]{2}-[0-9]{2}[Tt ][0-9]{2}:[0-9]{2}:[0-9]{2}(\.[0-9]{1,6})?([Zz]|[+-][0-9]{2}:[0-9]{2})"
)
TIME_PATTERN = r"^[0-9]{4}-[0-9]{2}-[0-9]{2}[Tt ][0-9]{2}:[0-9]{2}:[0-9]{2}(\.[0-9]+)?([Zz]|[+-][0-9]{2}:[0-9]{2})$"


class Moment(ScalarShape[float]):
    """Seconds of the epoch, written as a time of RFC 3339."""

    expected = "a time such as 2027-01-01T00:00:00Z"

    def parse(self, text: str) -> float:
        if _TIME.fullmatch(text):
            try:
                seconds = datetime.fromisoformat(text.upper().replace(" ", "T")).timestamp()
            except (ValueError, OverflowError):
                seconds = 0.0
            if seconds > 0:
                return seconds
        raise ValueError(f"'{shown(text)}' is not a time, expected one such as 2027-01-01T00:00:00Z (RFC 3339)")

    def schema(self, defs: Schema) -> Schema:
        return or_environment({"type": "string", "pattern": TIME_PATTERN}, defs)

    def render(self, value: float) -> Json:
        return datetime.fromtimestamp(value, UTC).isoformat().replace("+00:00", "Z")


class _DelayTime(Duration):
    def checked(self, seconds: float, text: str) -> float:
        if seconds > LONGEST_DELAY:
            raise ValueError(f"'{shown(text)}' is too long, expected at most {self.render(LONGEST_DELAY)}")
        return super().checked(seconds, text)


_SHARE = Key("percent", Percent(), "of the requests; 100% by default")
DELAY = Key(
    "delay",
    StructRecord("a delay", Delay, (Key("duration", _DelayTime(), "how long they wait", required=True), _SHARE)),
    "requests wait before they go on",
)
ABORT = Key(
    "abort",
    StructRecord("an abort", Abort, (Key("status", Integer(200, 599), "of the answer; 503 by default"), _SHARE)),
    "requests are answered without a service",
)
UNTIL = Key("until", Moment(), "when it ends by itself; default: when it is taken out")


def _build_fault(fields: Fields) -> Fault:
    if not fields.given(DELAY) and not fields.given(ABORT):
        fields.problem("no trouble at all, expected delay or abort")
    return Fault(delay=fields.get(DELAY, None), abort=fields.get(ABORT, None), until=fields.get(UNTIL, 0.0))


def _show_fault(fault: Fault) -> Json:
    return {
        **({DELAY.name: DELAY.shape.render(fault.delay)} if fault.delay is not None else {}),
        **({ABORT.name: ABORT.shape.render(fault.abort)} if fault.abort is not None else {}),
        **({UNTIL.name: UNTIL.shape.render(fault.until)} if fault.until else {}),
    }


FAULT = Key("fault", Record("a fault", (DELAY, ABORT, UNTIL), _build_fault, _show_fault), "trouble on purpose")

# --- copies -------------------------------------------------------------------------------------------------------

MIRROR_SERVICE = Key("service", ServiceReference(), "where the copies go", required=True)
MIRROR_VERSION = Key("version", VERSION, "only endpoints of this version")
MIRROR_PERCENT = Key("percent", Percent(), "of the requests; 100% by default")
MIRROR_BODY = Key("max_body", Size(0, LARGEST_COPY), "a request with a longer body is not copied; 64KiB by default")


def _build_mirror(fields: Fields) -> Mirror:
    plain = Mirror(service="")
    return Mirror(
        service=fields.get(MIRROR_SERVICE, ""),
        version=fields.get(MIRROR_VERSION, ""),
        percent=fields.get(MIRROR_PERCENT, plain.percent),
        max_body=fields.get(MIRROR_BODY, plain.max_body),
    )


def _show_mirror(mirror: Mirror) -> Json:
    return {
        MIRROR_SERVICE.name: mirror.service,
        **({MIRROR_VERSION.name: mirror.version} if mirror.version else {}),
        MIRROR_PERCENT.name: MIRROR_PERCENT.shape.render(mirror.percent),
        MIRROR_BODY.name: MIRROR_BODY.shape.render(mirror.max_body),
    }


MIRROR = Key(
    "mirror",
    Record("a mirror", (MIRROR_SERVICE, MIRROR_VERSION, MIRROR_PERCENT, MIRROR_BODY), _build_mirror, _show_mirror),
    "copies of requests for another service, whose answers nobody sees",
)


def check_mirror(fields: Fields, mirror: Mirror | None, service: str, version: str, key: AnyKey) -> None:
    """A copy for the same endpoints would be the same request twice."""
    if mirror is not None and service and mirror.service == service and mirror.version in ("", version):
        fields.problem(f"'{shown(service)}' would get its own requests twice, expected another service or version", key)


# --- all of them --------------------------------------------------------------------------------------------------

# In the order in which they apply. Their names are fields of RequestPolicies.
GUARDS: tuple[AnyKey, ...] = (ACCESS, MAX_BODY, RATE_LIMIT, MAX_CONCURRENT, FAULT, MIRROR)


def build_policies(values: Table[str, object]) -> RequestPolicies:
    """`values` by the names of GUARDS; those that are missing or None are off."""
    found = {key.name: values[key.name] for key in GUARDS if values.get(key.name) is not None}
    return msgspec.structs.replace(RequestPolicies(), **found)


def show_policies(policies: RequestPolicies) -> dict[str, Json]:
    """Those that are in force."""
    return {
        key.name: key.shape.render(value) for key in GUARDS if (value := getattr(policies, key.name)) not in (None, 0)
    }
