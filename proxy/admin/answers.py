"""What the admin API says about routes, workers and traffic, as values that encode to JSON.

Services and endpoints are in described.py. Each function takes a `Reading` and gives the whole answer; it runs in any
thread and may take its time. Numbers count from the start of the program (they are the same cells that /metrics shows),
durations are seconds, sizes bytes.
"""

from __future__ import annotations

import platform

import msgspec

from discovery.model import Endpoint, Position, Protocol, Route, Service, StreamRoute
from mesh.domains import all_routes_of
from proxy import build
from proxy.admin import policies
from proxy.admin.view import WorkerStatus
from proxy.stats import slots
from proxy.stats.families import Scope
from proxy.stats.quantile import quantile
from proxy.stats.reading import Reading, Row

QUANTILES = (0.5, 0.95, 0.99)


class Answer(msgspec.Struct, frozen=True, kw_only=True):
    """Base of all answers. Every field is always there, so that a script need not guess."""


class Numbers(Answer, frozen=True):
    """What was counted in one row of the statistics table."""

    requests: int
    active_requests: int
    codes: dict[str, int]
    bytes_received: int
    bytes_sent: int
    connections: int  # open ones; of an endpoint the idle ones too
    connections_total: int
    overflows: int  # of listeners and services
    duration_sum: float
    duration_quantiles: dict[str, float | None]  # since the start, estimated from the buckets
    duration_buckets: list[int]  # per bucket, not cumulative; the last is above the highest bound


class ListenerStats(Answer, frozen=True):
    listener: str
    stats: Numbers


class RouteStats(Answer, frozen=True):
    listener: str
    route: str
    stats: Numbers


class ServiceStats(Answer, frozen=True):
    service: str
    stats: Numbers
    pending_requests: int
    replays: int


class EndpointStats(Answer, frozen=True):
    service: str
    endpoint: str
    address: str
    stats: Numbers
    pool_idle: int
    connect_failures: int
    connect_timeouts: int
    connects: int
    connect_sum: float
    attempts: int  # whose outcome is known
    attempt_failures: int  # that count against the endpoint
    probes: int  # under way, while it is half-open


class Stats(Answer, frozen=True):
    now: float  # monotonic; the difference between two answers is the time between them
    bucket_bounds: tuple[float, ...]
    listeners: list[ListenerStats]
    routes: list[RouteStats]
    services: list[ServiceStats]
    endpoints: list[EndpointStats]


class RouteDetail(Answer, frozen=True):
    """`order` is the place in the configuration, which decides only between routes that match equally well.
    `protocol` is that of what the route takes: http, tcp or udp."""

    listener: str
    protocol: str
    order: int
    route: Route | StreamRoute
    policies: list[str]  # in a few words each
    position: str
    requests: int


class Version(Answer, frozen=True):
    version: str
    python: str
    request_path: str
    modules: dict[str, str]
    config: str  # digest of the file in force
    snapshot: int


class Worker(Answer, frozen=True):
    worker: int
    pid: int
    state: str
    version: int  # of the snapshot in force there
    heartbeat_age: float | None
    connections: int  # of clients, open
    access_log_dropped: int


def stats(reading: Reading) -> Stats:
    return Stats(
        now=reading.now,
        bucket_bounds=slots.BUCKET_BOUNDS,
        listeners=[
            ListenerStats(listener=row.labels[0], stats=_numbers(row, row.cells[slots.OVERFLOWS]))
            for row in reading.rows(Scope.LISTENER)
        ],
        routes=[
            RouteStats(listener=row.labels[0], route=row.labels[1], stats=_numbers(row))
            for row in reading.rows(Scope.ROUTE)
        ],
        services=[service_stats(row) for row in reading.rows(Scope.SERVICE)],
        endpoints=[
            endpoint_stats(reading, service, endpoint)
            for service in sorted(reading.snapshot.services, key=lambda service: service.name)
            for endpoint in service.endpoints
        ],
    )


def routes(reading: Reading) -> list[RouteDetail]:
    found = []
    for listener in reading.snapshot.listeners:
        streams_of = Protocol.UDP if listener.protocol is Protocol.UDP else Protocol.TCP
        for order, route in enumerate(all_routes_of(listener, reading.snapshot.services)):
            key = slots.route_key(listener.name, route.name)
            row = reading.row(key, (listener.name, route.name))
            found.append(
                RouteDetail(
                    listener=listener.name,
                    protocol=(Protocol.HTTP if isinstance(route, Route) else streams_of).value,
                    order=order,
                    route=route,
                    policies=policies.of_route(route) if isinstance(route, Route) else [],
                    position=where(route.position),
                    requests=row.cells[slots.REQUESTS],
                )
            )
    return found


def workers(reading: Reading) -> list[Worker]:
    own = reading.worker_cells()
    return [_worker(reading, status, own) for status in reading.workers]


def version(reading: Reading) -> Version:
    return Version(
        version=build.version(),
        python=platform.python_version(),
        request_path=build.request_path(),
        modules=build.modules(),
        config=reading.config.digest,
        snapshot=reading.snapshot.version,
    )


def _numbers(row: Row, overflows: int = 0) -> Numbers:
    cells = row.cells
    buckets = row.buckets
    return Numbers(
        requests=cells[slots.REQUESTS],
        active_requests=cells[slots.ACTIVE],
        codes=row.code_counts,
        bytes_received=cells[slots.BYTES_IN],
        bytes_sent=cells[slots.BYTES_OUT],
        connections=cells[slots.CONNECTIONS_ACTIVE],
        connections_total=cells[slots.CONNECTIONS_TOTAL],
        overflows=overflows,
        duration_sum=cells[slots.DURATION_MICROSECONDS] / 1e6,
        duration_quantiles={f"p{share * 100:g}": quantile(share, slots.BUCKET_BOUNDS, buckets) for share in QUANTILES},
        duration_buckets=buckets,
    )


def service_stats(row: Row) -> ServiceStats:
    return ServiceStats(
        service=row.labels[0],
        stats=_numbers(row, row.cells[slots.OVERFLOWS]),
        pending_requests=row.cells[slots.PENDING],
        replays=row.cells[slots.REPLAYS],
    )


def endpoint_stats(reading: Reading, service: Service, endpoint: Endpoint) -> EndpointStats:
    key = slots.endpoint_key(service.name, endpoint.id, endpoint.address)
    row = reading.row(key, (service.name, endpoint.id))
    return EndpointStats(
        service=service.name,
        endpoint=endpoint.id,
        address=endpoint.address,
        stats=_numbers(row),
        pool_idle=row.cells[slots.POOL_IDLE],
        connect_failures=row.cells[slots.CONNECT_FAILURES],
        connect_timeouts=row.cells[slots.CONNECT_TIMEOUTS],
        connects=row.cells[slots.CONNECTS],
        connect_sum=row.cells[slots.CONNECT_MICROSECONDS] / 1e6,
        attempts=row.cells[slots.ATTEMPTS],
        attempt_failures=row.cells[slots.ATTEMPT_FAILURES],
        probes=row.cells[slots.PROBES],
    )


def _worker(reading: Reading, status: WorkerStatus, own: list[list[int]]) -> Worker:
    cells = own[status.worker] if status.worker < len(own) else [0] * slots.CELLS
    heartbeat = cells[slots.WORKER_HEARTBEAT]
    return Worker(
        worker=status.worker,
        pid=status.pid,
        state=status.state,
        version=status.version,
        heartbeat_age=max(0.0, reading.now - heartbeat / 1000) if heartbeat else None,
        connections=cells[slots.WORKER_CONNECTIONS],
        access_log_dropped=cells[slots.WORKER_LOG_DROPPED],
    )


def where(position: Position | None) -> str:
    return "" if position is None else str(position)
