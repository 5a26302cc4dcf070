"""What the admin API says about routes, workers and traffic, as values that encode to JSON.

Services and endpoints are in described.py. Each function takes a `Reading` and gives the whole answer; it runs in any
thread and may take its time. Numbers count from the start of the program (they are the same cells that /metrics shows),
durations are seconds, sizes bytes.
"""

from __future__ import annotations

import platform

import msgspec

from discovery.model import Endpoint, Position, Protocol, Route, Service, StreamRoute
from mesh import breaker
from mesh.domains import all_routes_of
from proxy import build
from proxy.admin import policies
from proxy.admin.view import WorkerStatus
from proxy.stats import slots, words
from proxy.stats.families import Scope
from proxy.stats.process import read_cpu
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


class BreakerDetail(Answer, frozen=True):
    """The circuit breaker of an endpoint at this moment. `left`: until an ejection ends; `ejections` and `errors`: in a
    row; `worked`: requests that a half-open endpoint was tried with."""

    state: str  # closed, open or half-open
    left: float
    ejections: int
    errors: int
    worked: int


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
    retries: int  # requests sent again by policy
    retries_active: int
    ejections: int  # of its endpoints, since the start


class EndpointStats(Answer, frozen=True):
    """`state` is ejected while the endpoint is healthy and its circuit breaker is open."""

    service: str
    endpoint: str
    address: str
    version: str
    weight: int
    state: str
    breaker: BreakerDetail
    ejections: int  # since the start
    stats: Numbers
    pool_idle: int
    connect_failures: int
    connect_timeouts: int
    connects: int
    connect_sum: float
    attempts: int  # whose outcome is known
    attempt_failures: int  # that count against the endpoint
    probes: int  # under way, while it is half-open


class WorkerStats(Answer, frozen=True):
    worker: int
    pid: int
    state: str
    connections: int  # of clients, open
    cpu: float | None  # seconds since its process began; null where that cannot be read


class Stats(Answer, frozen=True):
    now: float  # monotonic; the difference between two answers is the time between them
    instance: str
    snapshot: int
    bucket_bounds: tuple[float, ...]
    listeners: list[ListenerStats]
    routes: list[RouteStats]
    services: list[ServiceStats]
    endpoints: list[EndpointStats]
    workers: list[WorkerStats]


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
        instance=reading.snapshot.settings.instance,
        snapshot=reading.snapshot.version,
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
        workers=[
            WorkerStats(
                worker=worker.worker,
                pid=worker.pid,
                state=worker.state,
                connections=worker.connections,
                cpu=read_cpu(worker.pid),
            )
            for worker in workers(reading)
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
        retries=row.word(words.RETRIES),
        retries_active=row.cells[slots.RETRIES_ACTIVE],
        ejections=row.ejections,
    )


def endpoint_stats(reading: Reading, service: Service, endpoint: Endpoint) -> EndpointStats:
    key = slots.endpoint_key(service.name, endpoint.id, endpoint.address)
    row = reading.row(key, (service.name, endpoint.id))
    seen = breaker.view(reading.breaker(service.name, endpoint), reading.now_ms)
    return EndpointStats(
        service=service.name,
        endpoint=endpoint.id,
        address=endpoint.address,
        version=endpoint.version,
        weight=endpoint.weight,
        state=reading.state(service.name, endpoint).value,
        breaker=BreakerDetail(
            state=seen.state,
            left=round(seen.left, 3),
            ejections=seen.ejections,
            errors=seen.errors,
            worked=seen.worked,
        ),
        ejections=row.ejections,
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
