"""The values that every part of hivemesh speaks about.

A `Snapshot` is one immutable view of everything the data plane needs: listeners with their routes, services with
their endpoints and their state, and the settings that are not tied to either. The agent makes one for each change
and sends it to the workers; nothing in it is ever edited. All values are frozen structs that encode to msgpack and
JSON as they are, so the same types serve the wire, the HTTP API and the tests.

Units: durations are seconds (float), sizes are bytes (int). 0 means "no limit" or "off" where a field says so.
The values of policies are in discovery/policies.py, those of health checks in discovery/checks.py, and what a
configuration file says besides the snapshot in discovery/config.py. Never holds a rule: what a policy *means* lives in
mesh/.
"""

from __future__ import annotations

from enum import StrEnum
from typing import Final

from discovery.checks import HealthCheck
from discovery.policies import (
    Affinity,
    Balancing,
    CircuitBreaker,
    LoadBalancingStrategy,
    RequestPolicies,
    RetryPolicy,
    Subset,
)
from discovery.values import Struct as Struct

DEFAULT_WEIGHT: Final = 1


class Position(Struct):
    """Where a value was written: 1-based line and column of a file, or "api" for what came in by HTTP."""

    file: str
    line: int = 0
    column: int = 0

    def __str__(self) -> str:
        return f"{self.file}:{self.line}" if self.line else self.file


# --- who is where -----------------------------------------------------------------------------------------------


class EndpointState(StrEnum):
    """What an endpoint may be used for. Only HEALTHY takes new requests."""

    HEALTHY = "healthy"
    CHECKING = "checking"
    UNHEALTHY = "unhealthy"
    EJECTED = "ejected"
    DRAINING = "draining"


class Endpoint(Struct):
    """One place that serves a service. Its identity is (service, id, address); everything that lives longer than
    a configuration (pools, statistics, streams, health) hangs on that identity."""

    id: str
    address: str  # host:port, [v6]:port or unix:PATH
    version: str = ""
    weight: int = DEFAULT_WEIGHT  # 0 takes no new requests
    node: str = ""
    backup: bool = False
    metadata: dict[str, str] = {}
    state: EndpointState = EndpointState.HEALTHY
    priority: int = 0  # of SRV: lower is asked first; 0 and 1 are made from `backup` where nobody says otherwise
    health_check: HealthCheck | None = None  # instead of the service's; only the agent looks at it


class TrafficSplit(Struct):
    """One share of a split: `weight` out of the sum of all weights goes to `version` of `service` ("" = the
    service the split belongs to)."""

    version: str = ""
    weight: int = 1
    service: str = ""


class PoolPolicy(Struct):
    """Keep-alive connections to the endpoints of a service, per worker."""

    max_idle: int = 128  # idle connections kept per endpoint
    idle_timeout: float = 60.0  # an endpoint that is seen to close earlier shortens this for itself
    max_connections: int = 0  # open connections per endpoint; 0 = no limit
    max_total: int = 0  # open connections of the whole service, all workers together; 0 = no limit
    max_pending: int = 1024  # requests of the service that wait for a connection; more are answered 503 UO


class ProxyHeader(StrEnum):
    """The PROXY protocol header that a connection to an endpoint begins with."""

    OFF = "off"
    V1 = "v1"
    V2 = "v2"


class DnsAnswer(StrEnum):
    """What DNS answers for a service's names."""

    ENDPOINTS = "endpoints"
    PROXY = "proxy"  # the proxy's own addresses, so that L7 policy applies


class DnsOrder(StrEnum):
    """In which order an answer lists addresses; clients mostly take the first."""

    SHUFFLE = "shuffle"  # each is first equally often
    WEIGHTED = "weighted"  # each is first as often as its weight says


class DnsPolicy(Struct):
    """How a service appears in DNS; None: as `DnsSettings` says."""

    answer: DnsAnswer = DnsAnswer.ENDPOINTS
    ttl: float | None = None  # whole seconds on the wire, rounded down
    order: DnsOrder | None = None
    fail_open: bool | None = None  # with no usable endpoint: all of them instead of an empty answer
    protocols: tuple[str, ...] = ("tcp",)  # of `_<service>._<protocol>`


class Service(Struct):
    name: str
    domain: str = ""
    metadata: dict[str, str] = {}
    load_balancing: LoadBalancingStrategy = LoadBalancingStrategy.ROUND_ROBIN
    balancing: Balancing = Balancing()
    affinity: Affinity | None = None  # requests of one client go to one endpoint
    endpoints: tuple[Endpoint, ...] = ()
    traffic_split: tuple[TrafficSplit, ...] = ()
    sticky_split: Affinity | None = None  # requests of one client are drawn alike by `traffic_split`
    timeout: float = 0.0  # whole request including retries; 0 = none. A route's own timeout wins
    deadline_header: bool = False  # say to the endpoint how long it has: x-envoy-expected-rq-timeout-ms
    retry: RetryPolicy | None = None  # None: only what never reached an endpoint is sent again (mesh/replay.py)
    circuit_breaker: CircuitBreaker = CircuitBreaker()
    policies: RequestPolicies = RequestPolicies()  # of every request to it, after those of the route
    pool: PoolPolicy = PoolPolicy()
    proxy_protocol: ProxyHeader = ProxyHeader.OFF
    dns: DnsPolicy = DnsPolicy()
    health_check: HealthCheck | None = None  # None: endpoints are taken to be healthy; only the agent looks at it
    position: Position | None = None


class Node(Struct):
    """A machine that endpoints run on (their `node`). One that leaves or is silent takes its endpoints out."""

    name: str
    address: str = ""  # IP address that DNS answers for it; "" = those of its endpoints
    metadata: dict[str, str] = {}


# --- how a request is routed ------------------------------------------------------------------------------------


class MatchKind(StrEnum):
    EXACT = "exact"
    REGEX = "regex"  # whole-string match, RE2 syntax
    PRESENT = "present"


class NameMatch(Struct):
    """A condition on a header or a query parameter. Header names are lower case here."""

    name: str
    kind: MatchKind = MatchKind.EXACT
    value: str = ""


class PathKind(StrEnum):
    EXACT = "exact"
    PREFIX = "prefix"  # by path element: /abc matches /abc and /abc/d, not /abcd
    REGEX = "regex"  # whole path, RE2 syntax


class RouteMatch(Struct):
    """All conditions must hold. Empty means any. Semantics and precedence of Gateway API HTTPRouteMatch."""

    host: str = ""  # lower case; "*.x" matches one or more labels before x
    path_kind: PathKind = PathKind.PREFIX
    path: str = "/"
    methods: tuple[str, ...] = ()
    headers: tuple[NameMatch, ...] = ()
    query: tuple[NameMatch, ...] = ()
    clients: tuple[str, ...] = ()  # CIDR of the client address (as 30 4.10 determines it)


class HeaderEdit(Struct):
    """Applied in the order remove, set, add. Names keep the case they were written in."""

    set: dict[str, str] = {}
    add: dict[str, str] = {}
    remove: tuple[str, ...] = ()


class UrlRewrite(Struct):
    """Gateway API HTTPURLRewriteFilter: at most one of path and path_prefix."""

    host: str | None = None
    path: str | None = None  # replaces the full path
    path_prefix: str | None = None  # replaces the prefix that matched


class Redirect(Struct):
    """Gateway API HTTPRequestRedirectFilter; the query is kept."""

    scheme: str | None = None
    host: str | None = None
    port: int | None = None
    path: str | None = None
    path_prefix: str | None = None
    status: int = 302


class DirectResponse(Struct):
    status: int = 200
    body: str = ""
    content_type: str = "text/plain; charset=utf-8"
    headers: dict[str, str] = {}


class Filters(Struct):
    request_headers: HeaderEdit | None = None
    response_headers: HeaderEdit | None = None
    url_rewrite: UrlRewrite | None = None
    redirect: Redirect | None = None
    direct_response: DirectResponse | None = None
    policies: RequestPolicies = RequestPolicies()


class Route(Struct):
    """Where a request goes. Exactly one of service, split, redirect and direct_response decides."""

    name: str
    match: RouteMatch = RouteMatch()
    service: str = ""
    version: str = ""  # pins a version; otherwise the service's traffic_split applies
    split: tuple[TrafficSplit, ...] = ()
    sticky_split: Affinity | None = None  # requests of one client are drawn alike by `split`
    subset: Subset | None = None  # only endpoints with this metadata
    filters: Filters = Filters()
    timeout: float | None = None  # None: the service's; 0: none
    retry: RetryPolicy | None = None  # None: the service's
    position: Position | None = None


class StreamRoute(Struct):
    """Where a connection goes that is not taken apart as HTTP, or a session of datagrams. All conditions must hold;
    empty means any. Precedence: exact SNI, wildcard SNI (longer first), with clients, the rest; then list order.
    Exactly one of service and split decides."""

    name: str
    sni: tuple[str, ...] = ()  # lower case, any of them; "*.x" matches one or more labels before x
    clients: tuple[str, ...] = ()  # CIDRs
    service: str = ""
    version: str = ""  # pins a version; otherwise the service's traffic_split applies
    split: tuple[TrafficSplit, ...] = ()
    position: Position | None = None


class Protocol(StrEnum):
    HTTP = "http"
    TCP = "tcp"
    UDP = "udp"
    AUTO = "auto"  # HTTP/1 by `routes`, TLS and everything else by `streams`, told apart by the first bytes
    DNS_UDP = "dns_udp"  # these two nobody writes: they are made from `dns.address`
    DNS_TCP = "dns_tcp"

    @property
    def is_datagram(self) -> bool:
        return self in (Protocol.UDP, Protocol.DNS_UDP)

    @property
    def is_dns(self) -> bool:
        return self in (Protocol.DNS_UDP, Protocol.DNS_TCP)


class Listener(Struct):
    """An address and what is served there. An HTTP listener without routes serves every service by its domain."""

    name: str
    address: str
    protocol: Protocol = Protocol.HTTP
    routes: tuple[Route, ...] = ()  # of HTTP and AUTO
    streams: tuple[StreamRoute, ...] = ()  # of TCP, UDP and AUTO
    accept_proxy: bool = False  # connections from trusted_proxies begin with a PROXY protocol header
    max_connections: int = 0  # open connections (UDP: sessions), all workers together; 0 = no limit
    backlog: int = 0  # connections that wait to be accepted, of each worker's socket; 0 = as many as the system allows
    by_domain: bool = False  # every service with a domain is served under it as well: mesh/domains.py
    position: Position | None = None

    @property
    def all_routes(self) -> tuple[Route | StreamRoute, ...]:
        """Those that are written; not those by domain."""
        return self.routes + self.streams


# --- what is not tied to a listener or a service ----------------------------------------------------------------


class EscapePolicy(StrEnum):
    """What is done with %2F, %5C and %00 in a path."""

    REJECT = "reject"  # 400
    KEEP = "keep"  # left as it is (never decoded)


class Limits(Struct):
    request_head: int = 60 * 1024
    headers: int = 100
    request_line: int = 8 * 1024
    body: int = 0  # 0 = no limit
    chunk_extension: int = 256  # bytes of extension per chunk head
    trailers: int = 8 * 1024
    response_head: int = 60 * 1024
    interim_responses: int = 16  # 1xx answers before the final one
    connections: int = 10_000  # client connections of the whole instance
    connections_per_client: int = 0  # and sessions of datagrams, of one address (/64 of IPv6) and worker; 0 = no limit
    connection_rate_per_client: int = 0  # of these, begun per second, all workers together; 0 = no limit
    replay_body: int = 64 * 1024  # bytes of a request body kept so that it can be sent again
    requests_per_connection: int = 0  # 0 = no limit
    client_hello: int = 16 * 1024  # bytes looked at to find the SNI of a TLS connection
    udp_sessions: int = 10_000  # datagram sessions of the whole instance


class Timeouts(Struct):
    request_head: float = 10.0  # first byte of a request to the end of its head
    keep_alive: float = 75.0  # between requests of a client connection
    stream_idle: float = 300.0  # no byte in either direction while a body or an upgraded stream is open
    connect: float = 5.0
    response_header: float = 60.0  # request sent to response head complete
    upstream_idle: float = 60.0  # default of PoolPolicy.idle_timeout
    proxy_protocol: float = 5.0  # connection accepted to PROXY header complete
    detect: float = 1.0  # how long the first bytes are waited for that tell the protocol or the SNI
    tcp_idle: float = 3600.0  # no byte in either direction of a TCP connection
    udp_idle: float = 60.0  # no datagram in either direction of a session
    drain: float = 30.0
    drain_streams: float = 30.0  # the same for TCP connections, UDP sessions and upgraded HTTP connections
    worker_hang: float = 10.0  # without a sign of life from a worker; then it is replaced; 0 = never
    linger: float = 2.0  # how long a refused body is read and thrown away before the connection is closed


class LogFormat(StrEnum):
    JSON = "json"
    TEXT = "text"
    OFF = "off"


class LogFilter(Struct):
    """Conditions for a line of the access log: all of them hold. By default there are none."""

    min_status: int = 0
    status: tuple[tuple[int, int], ...] = ()  # ranges, first and last; one of them has it
    min_duration: float = 0.0
    retried: bool = False  # sent more than once
    flags: tuple[str, ...] = ()  # one of them is there (docs/protocol.md); "any" for whichever
    sample_pct: float = 100.0  # drawn by the request id


class AccessLog(LogFilter):
    """A line is written if it passes these conditions or one of `filters`; without both, always."""

    path: str = "stdout"  # stdout, stderr or a file
    format: LogFormat = LogFormat.OFF
    filters: tuple[LogFilter, ...] = ()


class RecordSettings(Struct):
    """What every worker keeps of requests that are over (proxy/http1/records.py)."""

    size: int = 4096  # the last requests; 0 = none
    errors: int = 1024  # the last in which something went wrong; they are not among the others
    sample: float = 1.0  # share of the others that are kept


class DnsSettings(Struct):
    """The DNS server. Off without addresses."""

    addresses: tuple[str, ...] = ()  # host:port; each is served over UDP and TCP
    zone: str = "hivemesh"  # <service>.service.<zone>, <node>.node.<zone>; beside the services' own domains
    ttl: float = 5.0
    negative_ttl: float = 5.0  # MINIMUM of SOA: how long "no such name" may be kept (RFC 2308)
    order: DnsOrder = DnsOrder.SHUFFLE
    fail_open: bool = False
    nameserver: str = ""  # MNAME of SOA and target of NS; "" = ns.<zone>
    hostmaster: str = ""  # RNAME of SOA as a domain name; "" = hostmaster.<zone>
    proxy_addresses: tuple[str, ...] = ()  # IP addresses of `dns.answer: proxy`
    udp_size: int = 1232  # largest answer over UDP, whatever the client's EDNS says (DNS flag day 2020)
    max_answers: int = 0  # records of one answer; 0 = as many as fit
    tcp_connections: int = 1000  # open at a time, all workers together
    tcp_idle: float = 10.0  # without a query (RFC 7766 section 6.2.3)
    tcp_pending: int = 100  # queries of one connection under way
    rate_limit: int = 0  # answers over UDP per second to one client network (/24, /56) and worker; 0 = no limit
    forward: tuple[str, ...] = ()  # host:port of resolvers asked for names that are not ours; none: REFUSED
    forward_timeout: float = 2.0  # for one resolver; then the next is asked
    forward_pending: int = 1000  # different questions under way per worker; more are answered SERVFAIL
    forward_pending_per_client: int = 500  # of these, begun by one client network (/24, /56); 0 = no limit
    cache_size: int = 10_000  # answers of resolvers kept per worker; 0 = none
    cache_ttl: float = 3600.0  # longest that one is kept
    cache_negative_ttl: float = 300.0
    serve_stale: float = 3600.0  # how long after its end one is served while no resolver answers (RFC 8767); 0 = never


class Settings(Struct):
    """What every worker needs beside listeners and services."""

    instance: str = "hivemesh"  # pseudonym in Via, unique per instance
    limits: Limits = Limits()
    timeouts: Timeouts = Timeouts()
    access_log: AccessLog = AccessLog()
    records: RecordSettings = RecordSettings()
    trusted_proxies: tuple[str, ...] = ()  # CIDRs
    path_escapes: EscapePolicy = EscapePolicy.REJECT
    merge_slashes: bool = True
    zone: str = ""  # where this instance runs, for services that prefer endpoints nearby
    secret: str = ""  # affinity cookies are signed with it
    pin_workers: bool = False  # worker n runs on the n-th of the processor's cores that the program may use
    dns: DnsSettings = DnsSettings()


class Snapshot(Struct):
    version: int = 0
    settings: Settings = Settings()
    listeners: tuple[Listener, ...] = ()
    services: tuple[Service, ...] = ()
    nodes: tuple[Node, ...] = ()
