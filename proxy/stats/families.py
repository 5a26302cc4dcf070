"""Every metric family that hivemesh exposes: name, type, labels, and which cells of the table it is made of.

A family has one set of labels. Label values come from the configuration (names, ids, states) or from closed sets in
this file; nothing that a client or an upstream sends becomes one. A status code is a label only from 100 to 599.
docs/metrics.md lists the same families; a test compares the two. Reading and rendering are proxy/stats/collector.py.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum, StrEnum

from discovery.model import Route, Service
from discovery.policies import RequestPolicies
from proxy.stats import slots, words


class Kind(StrEnum):
    COUNTER = "counter"
    GAUGE = "gauge"
    HISTOGRAM = "histogram"
    SUMMARY = "summary"  # count and sum only
    INFO = "info"


class Scope(Enum):
    """What a row of the table stands for. The value is the labels that name one."""

    LISTENER = ("listener",)
    ROUTE = ("listener", "route")
    SERVICE = ("service",)
    ENDPOINT = ("service", "endpoint")
    DNS = ("protocol",)  # udp and tcp, where there is a DNS server
    FORWARDING = ()  # one row, where it has resolvers to ask


class Shape(Enum):
    """How the samples of a family come out of a row. The value is the label that is added to those of the row."""

    CELL = ""  # one cell as it is
    CODES = "code"  # the code pairs
    DURATIONS = "le"  # the buckets, and the sum next to them
    BYTES = "direction"
    CONNECT_TIME = "-"  # count and sum, no label of its own
    POOL = "state"
    DROPS = "reason"  # why datagrams went nowhere
    TYPES = "type"  # of questions of DNS
    RCODES = "rcode"  # of answers of DNS
    OUTCOMES = "outcome"  # of questions that resolvers were asked
    CIRCUIT = "="  # state of the circuit breaker, in the shared words of the row; no label of its own


@dataclass(frozen=True, slots=True)
class RowFamily:
    """A family with one sample, or one group of samples, per row of `scope`."""

    name: str  # as it is exposed, `_total` included
    kind: Kind
    scope: Scope
    shape: Shape
    help: str
    cell: int = 0  # of Shape.CELL
    needs_ejection: bool = False  # nothing of an endpoint that was never ejected

    @property
    def labels(self) -> tuple[str, ...]:
        own = self.shape.value
        return (*self.scope.value, own) if own not in ("", "le", "-", "=") else self.scope.value


@dataclass(frozen=True, slots=True)
class WordFamily:
    """A family that is read from the shared words of the rows of `scope` (proxy/stats/words.py): one sample per row, or
    one for each value of `label`. While it is 0 it has samples only where `is_expected` of what the row stands for (a
    service, a route, an endpoint): where a policy says that it may happen. It is a counter."""

    name: str
    scope: Scope
    help: str
    words: tuple[tuple[str, int], ...]  # value of the label, word
    label: str = ""
    is_expected: Callable[[object], bool] = lambda subject: True

    @property
    def kind(self) -> Kind:
        return Kind.COUNTER

    @property
    def labels(self) -> tuple[str, ...]:
        return (*self.scope.value, self.label) if self.label else self.scope.value


@dataclass(frozen=True, slots=True)
class PlainFamily:
    """A family that is not read from rows of listeners, routes, services or endpoints."""

    name: str
    kind: Kind
    labels: tuple[str, ...]
    help: str


Family = RowFamily | WordFamily | PlainFamily

OTHER_CODE = "other"  # more than 15 different codes in a row, or no HTTP status at all
RECEIVED = "received"
SENT = "sent"
DROP_REASONS = (
    ("unrouted", slots.DATAGRAMS_UNROUTED),
    ("unsent", slots.DATAGRAMS_NOT_SENT),
    ("oversize", slots.DATAGRAMS_OVERSIZE),
)


DNS_TYPES = (*slots.DNS_TYPE_NUMBERS.values(), OTHER_CODE)
FORWARD_OUTCOMES = (
    ("answered", slots.DNS_FORWARD_ANSWERED),
    ("stale", slots.DNS_FORWARD_STALE),
    ("failed", slots.DNS_FORWARD_FAILED),
)
DNS_RCODES = (*slots.DNS_RCODE_NUMBERS.values(), OTHER_CODE)


def code_label(code: int) -> str:
    return str(code) if 100 <= code <= 599 else OTHER_CODE


def _cell(name: str, kind: Kind, scope: Scope, cell: int, help: str) -> RowFamily:
    return RowFamily(name, kind, scope, Shape.CELL, help, cell)


ROW_FAMILIES: tuple[RowFamily, ...] = (
    # Clients.
    RowFamily(
        "hivemesh_downstream_requests_total",
        Kind.COUNTER,
        Scope.LISTENER,
        Shape.CODES,
        "Requests answered or given up, by the status sent to the client (499: the client left first)",
    ),
    RowFamily(
        "hivemesh_downstream_request_duration_seconds",
        Kind.HISTOGRAM,
        Scope.LISTENER,
        Shape.DURATIONS,
        "First byte of a request to last byte of its response",
    ),
    RowFamily(
        "hivemesh_downstream_bytes_total",
        Kind.COUNTER,
        Scope.LISTENER,
        Shape.BYTES,
        "Bytes of finished requests: received from clients, sent to clients",
    ),
    _cell(
        "hivemesh_downstream_requests_active",
        Kind.GAUGE,
        Scope.LISTENER,
        slots.ACTIVE,
        "Requests in flight",
    ),
    _cell(
        "hivemesh_downstream_connections_total",
        Kind.COUNTER,
        Scope.LISTENER,
        slots.CONNECTIONS_TOTAL,
        "Client connections accepted, and sessions of UDP begun",
    ),
    _cell(
        "hivemesh_downstream_connections_active",
        Kind.GAUGE,
        Scope.LISTENER,
        slots.CONNECTIONS_ACTIVE,
        "Client connections and sessions of UDP open",
    ),
    _cell(
        "hivemesh_downstream_connections_refused_total",
        Kind.COUNTER,
        Scope.LISTENER,
        slots.OVERFLOWS,
        "Client connections closed at once because limits.connections was reached, idle ones closed to make room for "
        "others, and datagrams dropped because there was no room for a session",
    ),
    _cell(
        "hivemesh_downstream_datagrams_received_total",
        Kind.COUNTER,
        Scope.LISTENER,
        slots.DATAGRAMS_IN,
        "Datagrams from clients, the dropped ones included",
    ),
    _cell(
        "hivemesh_downstream_datagrams_sent_total",
        Kind.COUNTER,
        Scope.LISTENER,
        slots.DATAGRAMS_OUT,
        "Datagrams from endpoints that were passed on to clients",
    ),
    RowFamily(
        "hivemesh_downstream_datagrams_dropped_total",
        Kind.COUNTER,
        Scope.LISTENER,
        Shape.DROPS,
        "Datagrams of either direction that went nowhere: no route or endpoint (unrouted), not taken by the kernel "
        "(unsent), larger than a datagram can be (oversize)",
    ),
    _cell(
        "hivemesh_downstream_proxy_header_failures_total",
        Kind.COUNTER,
        Scope.LISTENER,
        slots.PROXY_HEADER_FAILURES,
        "Client connections of trusted proxies closed because no valid PROXY header came",
    ),
    # Routes.
    RowFamily(
        "hivemesh_route_requests_total",
        Kind.COUNTER,
        Scope.ROUTE,
        Shape.CODES,
        "Requests that the route took, by the status sent to the client",
    ),
    # Services.
    RowFamily(
        "hivemesh_service_requests_total",
        Kind.COUNTER,
        Scope.SERVICE,
        Shape.CODES,
        "Requests routed to the service, by the status sent to the client",
    ),
    RowFamily(
        "hivemesh_service_request_duration_seconds",
        Kind.HISTOGRAM,
        Scope.SERVICE,
        Shape.DURATIONS,
        "Whole request including waiting for a connection and replays",
    ),
    _cell(
        "hivemesh_service_requests_active",
        Kind.GAUGE,
        Scope.SERVICE,
        slots.ACTIVE,
        "Requests in flight for the service",
    ),
    _cell(
        "hivemesh_replays_total",
        Kind.COUNTER,
        Scope.SERVICE,
        slots.REPLAYS,
        "Requests sent again, to another endpoint or over another connection",
    ),
    _cell(
        "hivemesh_pending_requests",
        Kind.GAUGE,
        Scope.SERVICE,
        slots.PENDING,
        "Requests that wait for a connection",
    ),
    _cell(
        "hivemesh_service_overflows_total",
        Kind.COUNTER,
        Scope.SERVICE,
        slots.OVERFLOWS,
        "Requests answered 503 UO because a limit of the service was reached",
    ),
    _cell(
        "hivemesh_retries_active",
        Kind.GAUGE,
        Scope.SERVICE,
        slots.RETRIES_ACTIVE,
        "Requests that are being sent again because of a retry policy",
    ),
    # Endpoints.
    RowFamily(
        "hivemesh_upstream_requests_total",
        Kind.COUNTER,
        Scope.ENDPOINT,
        Shape.CODES,
        "Requests that the endpoint answered, by the status it sent; an attempt without an answer is not among them",
    ),
    RowFamily(
        "hivemesh_upstream_request_duration_seconds",
        Kind.HISTOGRAM,
        Scope.ENDPOINT,
        Shape.DURATIONS,
        "Answered requests: connection ready to last byte of the response",
    ),
    RowFamily(
        "hivemesh_upstream_bytes_total",
        Kind.COUNTER,
        Scope.ENDPOINT,
        Shape.BYTES,
        "Bytes of answered requests: received from the endpoint, sent to it",
    ),
    _cell(
        "hivemesh_upstream_requests_active",
        Kind.GAUGE,
        Scope.ENDPOINT,
        slots.ACTIVE,
        "Attempts in flight at the endpoint",
    ),
    _cell(
        "hivemesh_upstream_connections_total",
        Kind.COUNTER,
        Scope.ENDPOINT,
        slots.CONNECTIONS_TOTAL,
        "Connections to the endpoint that were begun, the failed ones included",
    ),
    _cell(
        "hivemesh_upstream_connect_failures_total",
        Kind.COUNTER,
        Scope.ENDPOINT,
        slots.CONNECT_FAILURES,
        "Connections that the endpoint refused or the network failed",
    ),
    _cell(
        "hivemesh_upstream_connect_timeouts_total",
        Kind.COUNTER,
        Scope.ENDPOINT,
        slots.CONNECT_TIMEOUTS,
        "Connections given up after timeouts.connect",
    ),
    RowFamily(
        "hivemesh_upstream_connect_duration_seconds",
        Kind.SUMMARY,
        Scope.ENDPOINT,
        Shape.CONNECT_TIME,
        "Connections established, and the time that took",
    ),
    RowFamily(
        "hivemesh_pool_connections",
        Kind.GAUGE,
        Scope.ENDPOINT,
        Shape.POOL,
        "Open connections to the endpoint: idle in the pool, or active",
    ),
    _cell(
        "hivemesh_upstream_attempts_total",
        Kind.COUNTER,
        Scope.ENDPOINT,
        slots.ATTEMPTS,
        "Attempts at the endpoint whose outcome is known; what its circuit breaker goes by",
    ),
    _cell(
        "hivemesh_upstream_attempt_failures_total",
        Kind.COUNTER,
        Scope.ENDPOINT,
        slots.ATTEMPT_FAILURES,
        "Attempts that count against the endpoint: no connection, a reset, a timeout, 502, 503, 504 (500 by count_500)",
    ),
    RowFamily(
        "hivemesh_upstream_probes_active",
        Kind.GAUGE,
        Scope.ENDPOINT,
        Shape.CELL,
        "Requests under way that a half-open endpoint is tried with; of endpoints that were ejected once",
        slots.PROBES,
        needs_ejection=True,
    ),
    RowFamily(
        "hivemesh_circuit_state",
        Kind.GAUGE,
        Scope.ENDPOINT,
        Shape.CIRCUIT,
        "Circuit breaker of the endpoint: 0 closed, 1 open (ejected), 2 half-open",
    ),
    # DNS. The names are those of CoreDNS.
    RowFamily(
        "hivemesh_dns_requests_total",
        Kind.COUNTER,
        Scope.DNS,
        Shape.TYPES,
        "Questions by type; malformed ones are among the others",
    ),
    RowFamily(
        "hivemesh_dns_responses_total",
        Kind.COUNTER,
        Scope.DNS,
        Shape.RCODES,
        "Answers by code, also of questions that were passed on to a resolver",
    ),
    RowFamily(
        "hivemesh_dns_request_duration_seconds",
        Kind.HISTOGRAM,
        Scope.DNS,
        Shape.DURATIONS,
        "Question received to answer sent; questions that are received together are answered together",
    ),
    RowFamily(
        "hivemesh_dns_bytes_total",
        Kind.COUNTER,
        Scope.DNS,
        Shape.BYTES,
        "Bytes of messages: received from clients, sent to clients",
    ),
    _cell(
        "hivemesh_dns_requests_active",
        Kind.GAUGE,
        Scope.DNS,
        slots.ACTIVE,
        "Questions that wait for the answer of a resolver",
    ),
    _cell(
        "hivemesh_dns_composed_total",
        Kind.COUNTER,
        Scope.DNS,
        slots.DNS_UNCACHED,
        "Questions whose answer was not kept ready: the first of each kind after a change, names that do not exist, "
        "and names that are not ours",
    ),
    _cell(
        "hivemesh_dns_truncated_total",
        Kind.COUNTER,
        Scope.DNS,
        slots.DNS_TRUNCATED,
        "Answers that were larger than the client takes, and sent empty with the bit TC",
    ),
    _cell(
        "hivemesh_dns_malformed_total",
        Kind.COUNTER,
        Scope.DNS,
        slots.DNS_MALFORMED,
        "Messages that are no question: not answered, or with FORMERR",
    ),
    _cell(
        "hivemesh_dns_rate_limited_total",
        Kind.COUNTER,
        Scope.DNS,
        slots.DNS_RATE_LIMITED,
        "Answers dropped, or cut to the bit TC, because of dns.rate_limit",
    ),
    _cell(
        "hivemesh_dns_unsent_total",
        Kind.COUNTER,
        Scope.DNS,
        slots.DNS_NOT_SENT,
        "Answers that the kernel did not take",
    ),
    RowFamily(
        "hivemesh_dns_forward_requests_total",
        Kind.COUNTER,
        Scope.FORWARDING,
        Shape.OUTCOMES,
        "Questions that resolvers were asked: answered, stale (none answered, and what was known before was given), or "
        "failed (SERVFAIL)",
    ),
    RowFamily(
        "hivemesh_dns_forward_duration_seconds",
        Kind.HISTOGRAM,
        Scope.FORWARDING,
        Shape.DURATIONS,
        "How long resolvers took, those that did not answer included",
    ),
    _cell(
        "hivemesh_dns_forward_active",
        Kind.GAUGE,
        Scope.FORWARDING,
        slots.ACTIVE,
        "Different questions under way to resolvers",
    ),
    _cell(
        "hivemesh_dns_forward_overflows_total",
        Kind.COUNTER,
        Scope.FORWARDING,
        slots.OVERFLOWS,
        "Questions answered SERVFAIL because dns.forward_pending was reached, or too many clients wait for one answer",
    ),
    _cell(
        "hivemesh_dns_forward_tcp_total",
        Kind.COUNTER,
        Scope.FORWARDING,
        slots.DNS_FORWARD_OVER_TCP,
        "Questions asked again over TCP because the answer was truncated",
    ),
    _cell(
        "hivemesh_dns_resolver_failures_total",
        Kind.COUNTER,
        Scope.FORWARDING,
        slots.DNS_RESOLVER_FAILURES,
        "Times that a resolver did not answer, could not be reached, or did not speak DNS",
    ),
    _cell(
        "hivemesh_dns_resolvers_down",
        Kind.GAUGE,
        Scope.FORWARDING,
        slots.DNS_RESOLVERS_DOWN,
        "Resolvers that failed lately and are asked last; each worker finds out for itself, and counts",
    ),
    _cell(
        "hivemesh_dns_cache_hits_total",
        Kind.COUNTER,
        Scope.FORWARDING,
        slots.DNS_CACHE_HITS,
        "Questions answered from the cache",
    ),
    _cell(
        "hivemesh_dns_cache_misses_total",
        Kind.COUNTER,
        Scope.FORWARDING,
        slots.DNS_CACHE_MISSES,
        "Questions that the cache could not answer, also those that waited for the answer to another client's",
    ),
    _cell(
        "hivemesh_dns_cache_stale_total",
        Kind.COUNTER,
        Scope.FORWARDING,
        slots.DNS_CACHE_STALE,
        "Answers given after their end because no resolver answered (dns.serve_stale)",
    ),
    _cell(
        "hivemesh_dns_cache_entries",
        Kind.GAUGE,
        Scope.FORWARDING,
        slots.DNS_CACHE_ENTRIES,
        "Answers in the caches of the workers",
    ),
    _cell(
        "hivemesh_dns_cache_size_bytes",
        Kind.GAUGE,
        Scope.FORWARDING,
        slots.DNS_CACHE_BYTES,
        "What they take",
    ),
)

# --- policies: counters in shared words -------------------------------------------------------------------------------


def _policies(subject: object) -> RequestPolicies | None:
    if isinstance(subject, Service):
        return subject.policies
    return subject.filters.policies if isinstance(subject, Route) else None


def _has_limits(subject: object) -> bool:
    limits = subject.circuit_breaker if isinstance(subject, Service) else None
    return limits is not None and any(
        (limits.max_connections, limits.max_pending_requests, limits.max_requests, limits.max_retries)
    )


def _has_retry(subject: object) -> bool:
    return isinstance(subject, Service) and subject.retry is not None


def _has_split(subject: object) -> bool:
    return isinstance(subject, Service) and bool(subject.traffic_split)


def _has_affinity(subject: object) -> bool:
    return isinstance(subject, Service) and (subject.affinity or subject.sticky_split) is not None


def _may_panic(subject: object) -> bool:
    return isinstance(subject, Service) and subject.balancing.panic_threshold_pct > 0


def _of_requests(
    name: str, help: str, found: tuple[tuple[str, int], ...], label: str, field: Callable[[RequestPolicies], object]
) -> tuple[WordFamily, WordFamily]:
    """What routes and services count alike. `field`: the policy that makes it happen."""

    def is_expected(subject: object) -> bool:
        policies = _policies(subject)
        return policies is not None and bool(field(policies))

    return (
        WordFamily(
            f"hivemesh_route_{name}", Scope.ROUTE, f"{help}, by policies of the route", found, label, is_expected
        ),
        WordFamily(
            f"hivemesh_service_{name}", Scope.SERVICE, f"{help}, by policies of the service", found, label, is_expected
        ),
    )


WORD_FAMILIES: tuple[WordFamily, ...] = (
    WordFamily(
        "hivemesh_downstream_connections_denied_total",
        Scope.LISTENER,
        "Client connections reset, and datagrams dropped, because the client has limits.connections_per_client "
        "(too_many), or begins more than limits.connection_rate_per_client (too_often)",
        (("too_many", words.TOO_MANY_OF_CLIENT), ("too_often", words.TOO_OFTEN_OF_CLIENT)),
        "reason",
    ),
    WordFamily(
        "hivemesh_retries_total",
        Scope.SERVICE,
        "Requests sent again because of a retry policy",
        (("", words.RETRIES),),
        is_expected=_has_retry,
    ),
    WordFamily(
        "hivemesh_retry_successes_total",
        Scope.SERVICE,
        "Requests that were answered well after they had been sent again because of a retry policy",
        (("", words.RETRY_SUCCESSES),),
        is_expected=_has_retry,
    ),
    WordFamily(
        "hivemesh_retries_denied_total",
        Scope.SERVICE,
        "Failed requests that were not sent again, by why (docs/guide/retries.md)",
        tuple((reason, words.RETRY_DENIALS + place) for place, reason in enumerate(words.RETRY_DENIAL_REASONS)),
        "reason",
        _has_retry,
    ),
    WordFamily(
        "hivemesh_circuit_rejections_total",
        Scope.SERVICE,
        "Requests, connections and retries refused because a limit of circuit_breaker was reached",
        tuple((resource, words.REJECTIONS + place) for place, resource in enumerate(words.LIMIT_RESOURCES)),
        "resource",
        _has_limits,
    ),
    WordFamily(
        "hivemesh_ejections_total",
        Scope.ENDPOINT,
        "Times that the endpoint's circuit breaker opened, by why; of endpoints that were ejected once",
        tuple((reason, words.EJECTIONS + place) for place, reason in enumerate(words.EJECTION_REASONS)),
        "reason",
        lambda subject: False,
    ),
    WordFamily(
        "hivemesh_service_ejections_total",
        Scope.SERVICE,
        "Times that the circuit breaker of an endpoint of the service opened, by why",
        tuple((reason, words.EJECTIONS + place) for place, reason in enumerate(words.EJECTION_REASONS)),
        "reason",
    ),
    WordFamily(
        "hivemesh_failovers_total",
        Scope.SERVICE,
        "Requests that went to another version or service than the one drawn, which had no usable endpoint",
        (("", words.FAILOVERS),),
        is_expected=_has_split,
    ),
    WordFamily(
        "hivemesh_affinity_broken_total",
        Scope.SERVICE,
        "Requests of a client whose endpoint could not be used",
        (("", words.AFFINITY_BROKEN),),
        is_expected=_has_affinity,
    ),
    WordFamily(
        "hivemesh_panic_picks_total",
        Scope.SERVICE,
        "Requests for which unhealthy and ejected endpoints were used as well, because too few others were left",
        (("", words.PANIC_PICKS),),
        is_expected=_may_panic,
    ),
    *_of_requests(
        "rate_limited_total",
        "Requests answered 429",
        (("", words.RATE_LIMITED),),
        "",
        lambda policies: policies.rate_limit,
    ),
    *_of_requests(
        "requests_denied_total",
        "Requests refused: the client's address (403), a body that is too large (413), too many at the same time (503)",
        (("address", words.DENIED), ("body_size", words.TOO_LARGE), ("concurrency", words.TOO_MANY_AT_ONCE)),
        "reason",
        lambda policies: policies.access or policies.max_body or policies.max_concurrent,
    ),
    *_of_requests(
        "faults_injected_total",
        "Requests delayed or aborted on purpose",
        (("delay", words.FAULT_DELAYS), ("abort", words.FAULT_ABORTS)),
        "kind",
        lambda policies: policies.fault,
    ),
    *_of_requests(
        "mirror_requests_total",
        "Copies of requests: sent, or dropped for want of room or an endpoint",
        (("sent", words.MIRRORED), ("dropped", words.MIRRORS_DROPPED)),
        "outcome",
        lambda policies: policies.mirror,
    ),
)

ENDPOINTS = PlainFamily("hivemesh_endpoints", Kind.GAUGE, ("service", "state"), "Endpoints of the service by state")
ENDPOINT_INFO = PlainFamily(
    "hivemesh_endpoint_info",
    Kind.INFO,
    ("service", "endpoint", "address", "version", "node"),
    "Where an endpoint is, to be joined with the other families by service and endpoint",
)
REGISTRY_SERVICES = PlainFamily("hivemesh_registry_services", Kind.GAUGE, (), "Services in force, whoever said them")
REGISTRY_INDEX = PlainFamily(
    "hivemesh_registry_index", Kind.GAUGE, (), "Index of the last change of anything about services, nodes or routes"
)
REGISTRY_CHANGES = PlainFamily(
    "hivemesh_registry_changes_total",
    Kind.COUNTER,
    ("source",),
    "Changes that had an effect, by where they came from: api, file, a directory, names, health, or time (a lease, a "
    "report or a tombstone was over)",
)
REGISTRY_SOURCE_UP = PlainFamily(
    "hivemesh_registry_source_up",
    Kind.GAUGE,
    ("source",),
    "1 while a directory, the store, or all followed names are as they should be, else 0",
)
REGISTRY_LEASES = PlainFamily(
    "hivemesh_registry_leases", Kind.GAUGE, (), "Endpoints and nodes that have to send heartbeats"
)
REGISTRY_EXPIRATIONS = PlainFamily(
    "hivemesh_registry_lease_expirations_total", Kind.COUNTER, (), "Leases that ended because no heartbeat came"
)
REGISTRY_PUBLICATIONS = PlainFamily(
    "hivemesh_registry_publications_total", Kind.COUNTER, (), "Snapshots sent to the workers"
)
REGISTRY_WRITES = PlainFamily(
    "hivemesh_registry_store_write_duration_seconds",
    Kind.SUMMARY,
    (),
    "Transactions of the store: a batch of changes handed over to safely written",
)
ADMIN_CONNECTIONS = PlainFamily(
    "hivemesh_admin_connections_active", Kind.GAUGE, (), "Connections open to the admin and the metrics address"
)
ADMIN_ENDED = PlainFamily(
    "hivemesh_admin_connections_ended_total",
    Kind.COUNTER,
    ("reason",),
    "Connections to the admin and the metrics address that were ended because admin.max_connections was reached "
    "(too_many), or by one of the timeouts of admin (timeout)",
)
HEALTH_CHECKS = PlainFamily(
    "hivemesh_health_checks_total",
    Kind.COUNTER,
    ("service", "protocol", "result"),
    "Health checks made, by what they found: success, failure, or error (it could not be made, which says nothing "
    "about the endpoint)",
)
HEALTH_CHECK_DURATION = PlainFamily(
    "hivemesh_health_check_duration_seconds",
    Kind.HISTOGRAM,
    ("protocol",),
    "Begin of a health check to its result",
)
HEALTH_CHECK_LATENESS = PlainFamily(
    "hivemesh_health_check_lateness_seconds",
    Kind.HISTOGRAM,
    (),
    "How long after its time a health check began: the agent was busy, or registry.check_concurrency reached",
)
HEALTH_CHECKS_IN_FLIGHT = PlainFamily(
    "hivemesh_health_checks_in_flight", Kind.GAUGE, (), "Health checks under way, the programs among them included"
)
HEALTH_CHECKS_WAITING = PlainFamily(
    "hivemesh_health_checks_waiting", Kind.GAUGE, (), "Health checks that are due and wait for their turn"
)
RELOADS = PlainFamily(
    "hivemesh_config_reloads_total", Kind.COUNTER, ("result",), "Times the configuration was read again"
)
LAST_RELOAD = PlainFamily(
    "hivemesh_config_last_reload_success_timestamp_seconds",
    Kind.GAUGE,
    (),
    "When the configuration in force was put in force",
)
PROBLEMS = PlainFamily("hivemesh_config_problems", Kind.GAUGE, (), "Entries of /v1/problems that are no warnings")
CONFIG_HASH = PlainFamily(
    "hivemesh_config_hash_info", Kind.INFO, ("hash",), "Digest of the configuration file in force"
)
SNAPSHOT_VERSION = PlainFamily(
    "hivemesh_snapshot_version", Kind.GAUGE, (), "Version of the snapshot that was sent to the workers last"
)
WORKERS = PlainFamily("hivemesh_workers", Kind.GAUGE, ("state",), "Workers by state")
WORKER_SNAPSHOT = PlainFamily(
    "hivemesh_worker_snapshot_version", Kind.GAUGE, ("process",), "Version of the snapshot that a worker decides by"
)
WORKER_HEARTBEAT = PlainFamily(
    "hivemesh_worker_heartbeat_age_seconds",
    Kind.GAUGE,
    ("process",),
    "Time since the worker's loop last came round",
)
WORKER_UP = PlainFamily("hivemesh_worker_up", Kind.GAUGE, ("process",), "1 while the worker is in service, else 0")
WORKER_RESTARTS = PlainFamily(
    "hivemesh_worker_restarts_total",
    Kind.COUNTER,
    ("process",),
    "Times the worker's process ended without being told to, and was started again",
)
WORKER_HANGS = PlainFamily(
    "hivemesh_worker_hangs_total",
    Kind.COUNTER,
    ("process",),
    "Restarts of the worker after timeouts.worker_hang without a sign of life",
)
WORKER_GC_PASSES = PlainFamily(
    "hivemesh_worker_gc_passes_total",
    Kind.COUNTER,
    ("process",),
    "Passes of the worker's garbage collector since it took up its configuration",
)
WORKER_GC_TIME = PlainFamily(
    "hivemesh_worker_gc_seconds_total",
    Kind.COUNTER,
    ("process",),
    "Processor time of these passes, in which the worker served nobody",
)
WORKER_GC_LONGEST = PlainFamily(
    "hivemesh_worker_gc_longest_seconds", Kind.GAUGE, ("process",), "The longest of them since the process started"
)
WORKER_CROWDED = PlainFamily(
    "hivemesh_worker_accept_pauses_total",
    Kind.COUNTER,
    ("process",),
    "Times the worker stopped accepting because descriptors or memory were short; clients then wait in the backlog",
)
AGENT_RESTARTS = PlainFamily(
    "hivemesh_agent_restarts_total", Kind.COUNTER, (), "Times the agent's process ended and was started again"
)
LOG_DROPPED = PlainFamily(
    "hivemesh_access_log_dropped_total",
    Kind.COUNTER,
    (),
    "Access log lines given up because their file or pipe was too slow or failed",
)
BUILD_INFO = PlainFamily(
    "hivemesh_build_info",
    Kind.INFO,
    ("version", "python", "request_path"),
    "The program that runs; request_path says whether its modules are compiled, interpreted or mixed",
)

# The names that dashboards for Prometheus clients know, hence without our prefix.
CPU_SECONDS = PlainFamily("process_cpu_seconds_total", Kind.COUNTER, ("process",), "User and system time")
RESIDENT_MEMORY = PlainFamily("process_resident_memory_bytes", Kind.GAUGE, ("process",), "Resident memory")
VIRTUAL_MEMORY = PlainFamily("process_virtual_memory_bytes", Kind.GAUGE, ("process",), "Address space in use")
START_TIME = PlainFamily(
    "process_start_time_seconds", Kind.GAUGE, ("process",), "When the process started, seconds since the epoch"
)
OPEN_FDS = PlainFamily("process_open_fds", Kind.GAUGE, ("process",), "Open file descriptors")
MAX_FDS = PlainFamily("process_max_fds", Kind.GAUGE, ("process",), "Limit of open file descriptors")

PROCESS_FAMILIES = (CPU_SECONDS, RESIDENT_MEMORY, VIRTUAL_MEMORY, START_TIME, OPEN_FDS, MAX_FDS)

FAMILIES: tuple[Family, ...] = (
    *ROW_FAMILIES,
    *WORD_FAMILIES,
    ENDPOINTS,
    ENDPOINT_INFO,
    REGISTRY_SERVICES,
    REGISTRY_INDEX,
    REGISTRY_CHANGES,
    REGISTRY_SOURCE_UP,
    REGISTRY_LEASES,
    REGISTRY_EXPIRATIONS,
    REGISTRY_PUBLICATIONS,
    REGISTRY_WRITES,
    ADMIN_CONNECTIONS,
    ADMIN_ENDED,
    HEALTH_CHECKS,
    HEALTH_CHECK_DURATION,
    HEALTH_CHECK_LATENESS,
    HEALTH_CHECKS_IN_FLIGHT,
    HEALTH_CHECKS_WAITING,
    RELOADS,
    LAST_RELOAD,
    PROBLEMS,
    CONFIG_HASH,
    SNAPSHOT_VERSION,
    WORKERS,
    WORKER_SNAPSHOT,
    WORKER_HEARTBEAT,
    WORKER_UP,
    WORKER_RESTARTS,
    WORKER_HANGS,
    WORKER_GC_PASSES,
    WORKER_GC_TIME,
    WORKER_GC_LONGEST,
    WORKER_CROWDED,
    AGENT_RESTARTS,
    LOG_DROPPED,
    BUILD_INFO,
    *PROCESS_FAMILIES,
)
