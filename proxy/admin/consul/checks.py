"""A check as Consul's clients write it: `Check` of a service, and one element of `Checks`.

Exactly one of HTTP, TCP, GRPC, TTL and Args says how. Defaults are Consul's: the first result decides, a check may
take 10 s. What an HTTP check of Consul calls a warning (429) takes traffic. Pure.
"""

from __future__ import annotations

from dataclasses import dataclass

from discovery.checks import CheckProtocol, HealthCheck
from discovery.model import EndpointState
from proxy.admin.consul.words import FoldedRecord, GoDuration, Status, ignored, refused, split_place, split_url
from proxy.config.records import AnyKey, Fields, Key
from proxy.config.shapes import Flag, Integer, ListOf, MapOf, Text
from proxy.config.words import HEADER_NAME, HEADER_VALUE, NAME, method

EXPECTED_STATUS = ((200, 299), (429, 429))
DEFAULT_TIMEOUT = 10.0
LEAST = 0.001  # of an interval; what the instance asks for at least is the handler's business
MAX_THRESHOLD = 1000
MAX_URL = 1024
MAX_ARGS = 64


@dataclass(frozen=True, slots=True)
class Check:
    """`initial`: the state before the first result; None: as every endpoint begins. `id` "": it has none of its own."""

    check: HealthCheck
    id: str
    deregister_after: float
    initial: EndpointState | None


def _place(text: str) -> str:
    split_place(text)
    return text


def _grpc(text: str) -> str:
    split_place(text.partition("/")[0])
    return text


def _url(text: str) -> str:
    split_url(text)
    return text


HTTP = Key("HTTP", Text("a URL", _url, MAX_URL), "what answers 2xx or 429")
TCP = Key("TCP", Text("host:port", _place, 255), "what accepts connections")
GRPC = Key("GRPC", Text("host:port or host:port/service", _grpc, 512), "what serves grpc.health.v1")
TTL = Key("TTL", GoDuration(LEAST), "how long a report counts")
ARGS = Key("Args", ListOf(Text("an argument", longest=4096), MAX_ARGS, 1), "program", aliases=("ScriptArgs",))
INTERVAL = Key("Interval", GoDuration(LEAST), "from check to check")
TIMEOUT = Key("Timeout", GoDuration(), "of one check; 0 = 10s")
HEADER = Key("Header", MapOf(ListOf(HEADER_VALUE, 16), HEADER_NAME, 64, folded=True), "sent by HTTP checks")
METHOD = Key("Method", Text("a method", method, 32, empty=True), "of HTTP checks")
GRPC_TLS = Key("GRPCUseTLS", Flag(), "gRPC over TLS")
SKIP_VERIFY = Key("TLSSkipVerify", Flag(), "certificates are not checked")
PASSING_AFTER = Key("SuccessBeforePassing", Integer(0, MAX_THRESHOLD), "successes in a row")
CRITICAL_AFTER = Key("FailuresBeforeCritical", Integer(0, MAX_THRESHOLD), "failures in a row")
DEREGISTER_AFTER = Key("DeregisterCriticalServiceAfter", GoDuration(), "critical for so long: taken out")
STATUS = Key("Status", Status(), "before the first result")
CHECK_ID = Key("CheckID", NAME, "what /v1/agent/check/pass/{id} names", aliases=("ID",))

KINDS: tuple[AnyKey, ...] = (HTTP, TCP, GRPC, TTL, ARGS)

IGNORED = ("Name", "Notes", "OutputMaxSize", "ServiceID", "FailuresBeforeWarning", "DisableRedirects")
REFUSED = {
    "Script": "scripts are not run by a shell (Args are the words of a program)",
    "Shell": "checks inside containers are not supported",
    "DockerContainerID": "checks inside containers are not supported",
    "Body": "checks are sent without a body",
    "UDP": "UDP checks are not supported",
    "TCPUseTLS": "TCP checks over TLS are not supported",
    "TLSServerName": "another server name than Host's is not supported",
    "H2PING": "pings of HTTP/2 are not supported",
    "H2PingUseTLS": "pings of HTTP/2 are not supported",
    "OSService": "checks of system services are not supported",
    "AliasNode": "aliases are not supported",
    "AliasService": "aliases are not supported",
}


def _build(fields: Fields) -> Check | None:
    given = [key for key in KINDS if fields.given(key)]
    if len(given) != 1:
        names = ", ".join(key.name for key in KINDS)
        fields.problem(f"expected one of {names}, got {' and '.join(key.name for key in given) or 'none of them'}")
    elif given[0] is not TTL and not fields.given(INTERVAL):
        fields.problem(f"Interval is missing, expected {GoDuration.expected} beside {given[0].name}")
    if fields.failed:
        return None
    return Check(
        check=_health_check(fields),
        id=fields.get(CHECK_ID, ""),
        deregister_after=fields.get(DEREGISTER_AFTER, 0.0),
        initial=fields.get(STATUS, None),
    )


def _health_check(fields: Fields) -> HealthCheck:
    protocol, address, port, path, grpc_service = CheckProtocol.TTL, "", 0, HealthCheck().path, ""
    if fields.given(HTTP):
        is_https, address, port, path = split_url(fields.get(HTTP, ""))
        protocol = CheckProtocol.HTTPS if is_https else CheckProtocol.HTTP
    elif fields.given(TCP):
        address, port = split_place(fields.get(TCP, ""))
        protocol = CheckProtocol.TCP
    elif fields.given(GRPC):
        place, _, grpc_service = fields.get(GRPC, "").partition("/")
        address, port = split_place(place)
        protocol = CheckProtocol.GRPC
    elif fields.given(ARGS):
        protocol = CheckProtocol.COMMAND
    headers = {name: ", ".join(values) for name, values in fields.get(HEADER, {}).items()}
    host = next((headers.pop(name) for name in list(headers) if name.lower() == "host"), "")
    return HealthCheck(
        protocol=protocol,
        path=path,
        interval=fields.get(INTERVAL, HealthCheck().interval),
        timeout=fields.get(TIMEOUT, 0.0) or DEFAULT_TIMEOUT,
        # Consul counts from 0; 0 and 1 mean the same there: the first result decides.
        healthy_threshold=max(1, fields.get(PASSING_AFTER, 1)),
        unhealthy_threshold=max(1, fields.get(CRITICAL_AFTER, 1)),
        address=address,
        port=port,
        method=fields.get(METHOD, "") or "GET",
        host=host,
        headers=headers,
        expected_status=EXPECTED_STATUS,
        verify=not fields.get(SKIP_VERIFY, False),
        tls=fields.get(GRPC_TLS, False),
        command=fields.get(ARGS, ()),
        grpc_service=grpc_service,
        ttl=fields.get(TTL, 0.0),
    )


CHECK: FoldedRecord[Check] = FoldedRecord(
    "a check",
    (
        *KINDS,
        INTERVAL,
        TIMEOUT,
        HEADER,
        METHOD,
        GRPC_TLS,
        SKIP_VERIFY,
        PASSING_AFTER,
        CRITICAL_AFTER,
        DEREGISTER_AFTER,
        STATUS,
        CHECK_ID,
        *ignored(*IGNORED),
        *refused(REFUSED),
    ),
    _build,
)
