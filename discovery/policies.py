"""The values of mesh policies: what a configuration, the API or a program says of balancing, retries, breakers, limits.

Services and routes hold them (discovery/model.py); their rules are in mesh/, and read nothing but these. Frozen structs
as all values; durations are seconds, shares are percent where a name ends in `_pct`, 0 means "off" or "no limit" where
a field says so. Defaults that the source document gives are its own.
"""

from __future__ import annotations

from enum import StrEnum

from discovery.values import Struct

# --- which endpoint -----------------------------------------------------------------------------------------------


class LoadBalancingStrategy(StrEnum):
    """How an endpoint is picked; docs/guide/load-balancing.md says when to use which."""

    ROUND_ROBIN = "round_robin"
    WEIGHTED_ROUND_ROBIN = "weighted_round_robin"
    LEAST_CONNECTIONS = "least_connections"
    RANDOM = "random"
    IP_HASH = "ip_hash"
    PEAK_EWMA = "peak_ewma"
    MAGLEV = "maglev"
    RING_HASH = "ring_hash"


class KeyKind(StrEnum):
    """A part of a request that something is told apart by."""

    CLIENT_IP = "client_ip"
    HEADER = "header"
    COOKIE = "cookie"
    QUERY = "query"
    ROUTE = "route"  # one for all


class RequestKey(Struct):
    """`name` of the header (lower case), cookie or query parameter; "" for the other kinds."""

    kind: KeyKind = KeyKind.CLIENT_IP
    name: str = ""


class Balancing(Struct):
    """Parameters of load balancing; each strategy looks at those that mean something to it."""

    hash_on: RequestKey = RequestKey()  # maglev, ring_hash; ip_hash always takes the client's address
    bounded_load: float = 0.0  # hashing: at most so many times the average load per endpoint (1.25 to 2); 0 = off
    choices: int = 2  # least_connections: endpoints compared among many
    decay: float = 10.0  # peak_ewma: after which a measured time counts for 1/e
    slow_start: float = 0.0  # an endpoint that comes (back) gets its share within this time; 0 = at once
    slow_start_aggression: float = 1.0  # 1 = linear; larger is faster at first (Envoy)
    slow_start_min_pct: float = 10.0  # share that it begins with
    panic_threshold_pct: float = 0.0  # with fewer usable: all that are not draining are used; 0 = never
    prefer_zone: bool = False  # endpoints whose metadata `zone_key` is the instance's zone first
    zone_key: str = "zone"
    zone_min_pct: float = 70.0  # share of the zone's endpoints that must be usable to keep all traffic in it


class BrokenAffinity(StrEnum):
    """What happens to a client whose endpoint cannot be used."""

    REPICK = "repick"  # it gets another one and stays there
    FAIL = "fail"  # 503 UH


class Affinity(Struct):
    """COOKIE: a cookie of ours, signed. HEADER and CLIENT_IP: by hash; requests without the header are spread."""

    kind: KeyKind = KeyKind.COOKIE
    name: str = ""
    ttl: float = 0.0  # Max-Age of the cookie; 0 = until the browser ends
    path: str = "/"
    secure: bool = False
    same_site: str = "Lax"  # Lax, Strict or None
    broken: BrokenAffinity = BrokenAffinity.REPICK


class SubsetFallback(StrEnum):
    """What is used when a subset has no endpoint at all, usable or not."""

    NONE = "none"  # 503 UH
    ANY = "any"  # every endpoint of the service (version)
    DEFAULT = "default"  # those with the metadata of `Subset.default`


class Subset(Struct):
    """Endpoints by their metadata (Envoy: subset load balancer). All of it must match."""

    metadata: dict[str, str] = {}
    headers: dict[str, str] = {}  # metadata key -> header whose value it must have; one that is absent asks nothing
    fallback: SubsetFallback = SubsetFallback.NONE
    default: dict[str, str] = {}


# --- what happens when it fails -----------------------------------------------------------------------------------


class RetryPolicy(Struct):
    """When a failed request is sent again. Never beyond what mesh/replay.py allows: not after the first byte of an
    answer has gone to the client, and not with a method that is not idempotent once its bytes have left."""

    max_retries: int = 1
    retry_on: tuple[str, ...] = ("5xx", "connect-failure")  # Envoy's words and status codes
    per_try_timeout: float = 0.0  # of one attempt, until its response head; 0 = none
    backoff: float = 0.025  # before retry n a random time up to (2^n - 1) times this ...
    max_backoff: float = 0.25  # ... and never more than this
    max_retry_after: float = 300.0  # longest Retry-After that is waited for; a longer one is passed on
    budget_pct: float = 20.0  # retries may add so much to the requests of the last `budget_interval`
    budget_interval: float = 10.0
    budget_floor: float = 10.0  # and so many per second in any case
    idempotency_key: bool = False  # a request with Idempotency-Key counts as idempotent
    retriable_headers: tuple[str, ...] = ()  # response headers meant by retriable-headers, lower case


class CircuitBreaker(Struct):
    """Limits of the service, exact over all workers, and when an endpoint is taken out.

    The limits of a value made by hand are off (0); a `circuit_breaker` block that leaves them out gets those of the
    source document (SOURCE_LIMITS). The breaker of each endpoint is on unless `consecutive_errors` is 0."""

    max_connections: int = 0
    max_pending_requests: int = 0
    max_requests: int = 0
    max_retries: int = 0  # at the same time
    consecutive_errors: int = 5  # errors in a row that open an endpoint's breaker; 0 = never
    interval: float = 10.0  # how often endpoints are compared; without an error for so long, `times ejected` falls by 1
    base_ejection_time: float = 30.0  # times the number of ejections in a row
    max_ejection_time: float = 300.0
    ejection_jitter_pct: float = 10.0  # added at random, so that endpoints do not return together
    half_open_requests: int = 5  # real requests that an endpoint is tried with before it is closed again
    count_500: bool = False  # 500 counts as an error as 502, 503 and 504 do
    success_rate: bool = True  # also take out endpoints that fail more often than the rest of the group
    success_rate_min_requests: int = 20  # of an endpoint within `interval`
    max_ejection_pct: float = 50.0  # of a group by success rate; at least one, never the last


# max_connections, max_pending_requests, max_requests, max_retries of a block that does not say them.
SOURCE_LIMITS = CircuitBreaker(max_connections=100, max_pending_requests=10, max_requests=1000, max_retries=3)


# --- what a request has to pass -----------------------------------------------------------------------------------


class RateLimit(Struct):
    """`requests` per `per` seconds, and up to `burst` more at once. Exact over all workers. More: 429 RL."""

    requests: int
    per: float = 1.0
    burst: int = 0
    key: RequestKey = RequestKey(kind=KeyKind.ROUTE)


class Access(Struct):
    """Client addresses. `deny` wins; with an `allow` everybody else is refused (403)."""

    allow: tuple[str, ...] = ()  # CIDRs
    deny: tuple[str, ...] = ()


class Mirror(Struct):
    """A copy of requests for another service, whose answers nobody sees. Never delays the original."""

    service: str
    version: str = ""
    percent: float = 100.0
    max_body: int = 64 * 1024  # bytes; a request with more is not mirrored


class Delay(Struct):
    duration: float
    percent: float = 100.0


class Abort(Struct):
    status: int = 503
    percent: float = 100.0


class Fault(Struct):
    """Trouble on purpose. `until`: end of the experiment in seconds of the epoch; 0 = it has none."""

    delay: Delay | None = None
    abort: Abort | None = None
    until: float = 0.0


class RequestPolicies(Struct):
    """What a request has to pass, of a route or a service; in this order."""

    access: Access | None = None
    max_body: int = 0  # bytes of a request body; more: 413
    rate_limit: RateLimit | None = None
    max_concurrent: int = 0  # requests at the same time, all workers together; more: 503 UO
    fault: Fault | None = None
    mirror: Mirror | None = None
