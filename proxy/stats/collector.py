"""Prometheus families out of the statistics table.

`TableCollector` is a custom collector of prometheus-client over one `Reading`; `render` turns it into the text that a
scraper asked for, some thousand lines at a time, so that a scrape of 10,000 endpoints takes little more memory than
its text (compressed, if the scraper takes that). Both run in any thread: they touch nothing of the agent but the
reading.

A row that never counted anything has no samples in the families of endpoints: a proxy that knows 10,000 endpoints and
uses twenty exposes twenty. Listeners, routes and services are always there.
"""

from __future__ import annotations

import os
import platform
import zlib
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import partial
from itertools import islice
from typing import cast

from prometheus_client.exposition import choose_encoder
from prometheus_client.metrics_core import Metric
from prometheus_client.registry import Collector
from prometheus_client.samples import Sample

from discovery.health.numbers import Times
from discovery.model import EndpointState
from proxy import build
from proxy.admin.view import WORKER_STATES, WorkerStatus
from proxy.stats import families, slots
from proxy.stats.families import (
    ROW_FAMILIES,
    WORD_FAMILIES,
    Family,
    Kind,
    PlainFamily,
    RowFamily,
    Scope,
    Shape,
    WordFamily,
)
from proxy.stats.process import ProcessUse, read_process
from proxy.stats.reading import Reading, Row

AGENT_PROCESS = "agent"
RELOAD_RESULTS = ("success", "failure")

Encoder = Callable[[Collector], bytes]

_LE = (*(str(bound) for bound in slots.BUCKET_BOUNDS), "+Inf")
OPENMETRICS = "application/openmetrics-text"
_OPENMETRICS_END = b"# EOF\n"
# Samples that exist as objects at one time; each costs some 500 bytes until its line is compressed.
_CHUNK = 10_000
# Speed over size: the text is repetitive enough that level 1 already makes it twenty times smaller.
_GZIP_LEVEL = 1


def process_label(worker: int) -> str:
    return f"worker-{worker}"


class TableCollector(Collector):
    def __init__(self, reading: Reading) -> None:
        self.reading = reading

    def collect(self) -> Iterator[Metric]:
        reading = self.reading
        for scope in Scope:
            rows = reading.rows(scope)
            if scope is Scope.ENDPOINT:
                rows = _distinct([row for row in rows if row.used])
            for family in ROW_FAMILIES:
                if family.scope is scope:
                    yield _metric(family, _row_samples(family, rows, reading.now_ms))
            for counter in WORD_FAMILIES:
                if counter.scope is scope:
                    yield _metric(counter, _word_samples(counter, rows))
        yield from self._services()
        yield from self._registry()
        yield from self._health()
        active, refused, timed_out = self.reading.admin
        yield _plain(families.ADMIN_CONNECTIONS, [((), active)])
        yield _plain(families.ADMIN_ENDED, [(("too_many",), refused), (("timeout",), timed_out)])
        yield from self._configuration()
        yield from self._workers()
        yield _plain(
            families.BUILD_INFO,
            [((build.version(), platform.python_version(), build.request_path()), 1)],
        )
        yield from _process_metrics(reading.workers)

    def _services(self) -> Iterator[Metric]:
        def states() -> Iterator[tuple[tuple[str, ...], float]]:
            state_of = self.reading.state
            for service in self.reading.snapshot.services:
                count = Counter(state_of(service.name, endpoint) for endpoint in service.endpoints)
                for state in EndpointState:
                    yield (service.name, state.value), count[state]

        def places() -> Iterator[tuple[tuple[str, ...], float]]:
            for service in self.reading.snapshot.services:
                for endpoint in service.endpoints:
                    yield (service.name, endpoint.id, endpoint.address, endpoint.version, endpoint.node), 1

        yield _plain(families.ENDPOINTS, states())
        yield _plain(families.ENDPOINT_INFO, places())

    def _registry(self) -> Iterator[Metric]:
        registry = self.reading.registry
        yield _plain(families.REGISTRY_SERVICES, [((), registry.services)])
        yield _plain(families.REGISTRY_INDEX, [((), registry.last_index)])
        yield _plain(families.REGISTRY_CHANGES, [((name,), count) for name, count in registry.changes.items()])
        up = [((name,), float(is_up)) for name, is_up in registry.sources_up.items()]
        yield _plain(families.REGISTRY_SOURCE_UP, up)
        yield _plain(families.REGISTRY_LEASES, [((), registry.leases)])
        yield _plain(families.REGISTRY_EXPIRATIONS, [((), registry.expirations)])
        yield _plain(families.REGISTRY_PUBLICATIONS, [((), registry.publications)])
        name = families.REGISTRY_WRITES.name
        counts = (Sample(f"{name}_count", {}, registry.writes), Sample(f"{name}_sum", {}, registry.write_time))
        yield _metric(families.REGISTRY_WRITES, iter(counts))

    def _health(self) -> Iterator[Metric]:
        health = self.reading.health
        yield _plain(families.HEALTH_CHECKS, health.results.items())
        yield _times(families.HEALTH_CHECK_DURATION, [((name,), times) for name, times in health.durations.items()])
        yield _times(families.HEALTH_CHECK_LATENESS, [((), health.lateness)])
        yield _plain(families.HEALTH_CHECKS_IN_FLIGHT, [((), health.in_flight)])
        yield _plain(families.HEALTH_CHECKS_WAITING, [((), health.waiting)])

    def _configuration(self) -> Iterator[Metric]:
        reading = self.reading
        yield _plain(families.RELOADS, [((result,), reading.reloads.get(result, 0)) for result in RELOAD_RESULTS])
        yield _plain(families.LAST_RELOAD, [((), reading.last_reload)])
        yield _plain(families.PROBLEMS, [((), reading.problems)])
        yield _plain(families.CONFIG_HASH, [((reading.config.digest,), 1)])
        yield _plain(families.SNAPSHOT_VERSION, [((), reading.snapshot.version)])

    def _workers(self) -> Iterator[Metric]:
        reading = self.reading
        count = Counter(worker.state for worker in reading.workers)
        yield _plain(families.WORKERS, [((state,), count[state]) for state in WORKER_STATES])
        own = reading.worker_cells()
        known = [worker for worker in reading.workers if worker.worker < len(own)]
        yield _plain(families.WORKER_SNAPSHOT, [((process_label(worker.worker),), worker.version) for worker in known])
        ages = []
        for worker in known:
            heartbeat = own[worker.worker][slots.WORKER_HEARTBEAT]
            if heartbeat:
                ages.append(((process_label(worker.worker),), max(0.0, reading.now - heartbeat / 1000)))
        yield _plain(families.WORKER_HEARTBEAT, ages)
        up = [((process_label(worker.worker),), float(worker.state == "ready")) for worker in known]
        yield _plain(families.WORKER_UP, up)
        for family, cell in (
            (families.WORKER_RESTARTS, slots.WORKER_RESTARTS),
            (families.WORKER_HANGS, slots.WORKER_HANGS),
            (families.WORKER_CROWDED, slots.WORKER_CROWDED),
        ):
            # Of every block that was ever in use: a counter stays when its worker has left.
            yield _plain(family, [((process_label(number),), cells[cell]) for number, cells in enumerate(own)])
        for family, cell, unit in (
            (families.WORKER_GC_PASSES, slots.WORKER_GC_PASSES, 1.0),
            (families.WORKER_GC_TIME, slots.WORKER_GC_MICROSECONDS, 1e-6),
            (families.WORKER_GC_LONGEST, slots.WORKER_GC_LONGEST, 1e-6),
        ):
            yield _plain(family, [((process_label(number),), cells[cell] * unit) for number, cells in enumerate(own)])
        yield _plain(families.AGENT_RESTARTS, [((), own[0][slots.AGENT_RESTARTS])])
        yield _plain(families.LOG_DROPPED, [((), sum(cells[slots.WORKER_LOG_DROPPED] for cells in own))])


def content_type(accept: str) -> str:
    """What `render` will answer to this Accept header: OpenMetrics when it is asked for, else Prometheus text."""
    return _encoder(accept)[1]


def render(reading: Reading, accept: str, compress: bool = False) -> bytes:
    """The whole exposition in the format that `accept` asks for, as a gzip stream if `compress`."""
    encode, kind = _encoder(accept)
    openmetrics = kind.startswith(OPENMETRICS)
    squeeze = zlib.compressobj(_GZIP_LEVEL, wbits=zlib.MAX_WBITS | 16) if compress else None
    parts = []
    for metric in TableCollector(reading).collect():
        for text in _encode_in_parts(metric, encode):
            parts.append(squeeze.compress(text) if squeeze else text)
    end = _OPENMETRICS_END if openmetrics else b""
    parts.append(squeeze.compress(end) + squeeze.flush() if squeeze else end)
    return b"".join(parts)


def _encode_in_parts(metric: Metric, encode: Encoder) -> Iterator[bytes]:
    """The text of one family, a limited number of samples at a time."""
    samples = iter(metric.samples)
    head = True
    while chunk := list(islice(samples, _CHUNK)):
        metric.samples = chunk
        text = encode(_OneMetric(metric)).removesuffix(_OPENMETRICS_END)  # the exposition must end once
        if not head:  # and a family must be introduced once
            while text.startswith(b"#"):
                text = text.partition(b"\n")[2]
        yield text
        head = False
    if head:
        metric.samples = []
        yield encode(_OneMetric(metric)).removesuffix(_OPENMETRICS_END)


class _OneMetric(Collector):
    def __init__(self, metric: Metric) -> None:
        self.metric = metric

    def collect(self) -> Iterable[Metric]:
        return (self.metric,)


def _encoder(accept: str) -> tuple[Encoder, str]:
    # Asked with one of two texts of our own: what a scraper may write in Accept includes versions that are none,
    # and names with other escapes than the ones dashboards are written for.
    if OPENMETRICS not in accept:
        return choose_encoder("text/plain")
    encode, kind = choose_encoder(f"{OPENMETRICS}; version=1.0.0")
    if isinstance(encode, partial):
        # Our names need no escaping; looking for what to escape, letter by letter, took most of a scrape's time.
        encode = partial(encode, escaping="allow-utf-8")
    return encode, kind


def _distinct(rows: list[Row]) -> list[Row]:
    """Two addresses may carry the same id while one replaces the other; a sample may appear once."""
    merged: dict[tuple[str, ...], Row] = {}
    for row in rows:
        same = merged.get(row.labels)
        if same is not None:
            cells = [mine + other for mine, other in zip(same.cells, row.cells, strict=True)]
            codes = dict(Counter(same.codes) + Counter(row.codes))
            row = Row(row.labels, cells, codes, same.shared + row.shared, row.subject)
        merged[row.labels] = row
    return list(merged.values())


# --- samples of a row -------------------------------------------------------------------------------------------


def _row_samples(family: RowFamily, rows: list[Row], now_ms: int) -> Iterator[Sample]:
    names = family.scope.value
    name = family.name
    for row in rows:
        if family.needs_ejection and not row.was_ejected:
            continue
        labels = dict(zip(names, row.labels, strict=True))
        if family.shape is Shape.CELL:
            yield Sample(name, labels, row.cells[family.cell])
        elif family.shape is Shape.CIRCUIT:
            yield Sample(name, labels, row.circuit(now_ms))
        elif family.shape is Shape.CODES:
            for label, count in row.code_counts.items():
                yield Sample(name, {**labels, "code": label}, count)
        elif family.shape is Shape.DURATIONS:
            yield from _histogram(name, labels, row.buckets, row.cells[slots.DURATION_MICROSECONDS] / 1e6)
        elif family.shape is Shape.BYTES:
            yield Sample(name, {**labels, "direction": families.RECEIVED}, row.cells[slots.BYTES_IN])
            yield Sample(name, {**labels, "direction": families.SENT}, row.cells[slots.BYTES_OUT])
        elif family.shape is Shape.CONNECT_TIME:
            yield Sample(f"{name}_count", labels, row.cells[slots.CONNECTS])
            yield Sample(f"{name}_sum", labels, row.cells[slots.CONNECT_MICROSECONDS] / 1e6)
        elif family.shape is Shape.DROPS:
            for reason, cell in families.DROP_REASONS:
                yield Sample(name, {**labels, "reason": reason}, row.cells[cell])
        elif family.shape is Shape.OUTCOMES:
            for outcome, code in families.FORWARD_OUTCOMES:
                yield Sample(name, {**labels, "outcome": outcome}, row.codes.get(code, 0))
        elif family.shape is Shape.TYPES:
            for cell, label in enumerate(families.DNS_TYPES, slots.DNS_TYPES):
                yield Sample(name, {**labels, "type": label}, row.cells[cell])
        elif family.shape is Shape.RCODES:
            for cell, label in enumerate(families.DNS_RCODES, slots.DNS_RCODES):
                yield Sample(name, {**labels, "rcode": label}, row.cells[cell])
        else:
            idle = row.cells[slots.POOL_IDLE]
            yield Sample(name, {**labels, "state": "idle"}, idle)
            # Two cells that a worker writes one after the other: never show less than nothing.
            yield Sample(name, {**labels, "state": "active"}, max(0, row.cells[slots.CONNECTIONS_ACTIVE] - idle))


def _word_samples(family: WordFamily, rows: list[Row]) -> Iterator[Sample]:
    names = family.labels
    for row in rows:
        counts = [row.word(word) for _, word in family.words]
        if any(counts) or family.is_expected(row.subject):
            for (value, _), count in zip(family.words, counts, strict=True):
                labels = (*row.labels, value) if family.label else row.labels
                yield Sample(family.name, dict(zip(names, labels, strict=True)), count)


def _histogram(name: str, labels: dict[str, str], buckets: Sequence[int], sum: float) -> Iterator[Sample]:
    below = 0
    for bound, count in zip(_LE, buckets, strict=True):
        below += count
        yield Sample(f"{name}_bucket", {**labels, "le": bound}, below)
    yield Sample(f"{name}_count", labels, below)
    yield Sample(f"{name}_sum", labels, sum)


# --- samples of everything else ---------------------------------------------------------------------------------


def _process_metrics(workers: tuple[WorkerStatus, ...]) -> Iterator[Metric]:
    uses: list[tuple[str, ProcessUse]] = []
    agent_pid = os.getpid()
    own = read_process(agent_pid)
    if own is not None:
        uses.append((AGENT_PROCESS, own))
    for worker in workers:
        # With `workers: 0` the agent is the worker, and one process has one name.
        use = read_process(worker.pid) if worker.pid and worker.pid != agent_pid else None
        if use is not None:
            uses.append((process_label(worker.worker), use))
    yield _plain(families.CPU_SECONDS, [((name,), use.cpu) for name, use in uses])
    yield _plain(families.RESIDENT_MEMORY, [((name,), use.resident) for name, use in uses])
    yield _plain(families.VIRTUAL_MEMORY, [((name,), use.virtual) for name, use in uses])
    yield _plain(families.START_TIME, [((name,), use.started_at) for name, use in uses])
    yield _plain(families.OPEN_FDS, [((name,), use.open_fds) for name, use in uses if use.open_fds is not None])
    yield _plain(families.MAX_FDS, [((name,), use.max_fds) for name, use in uses if use.max_fds is not None])


def _plain(family: PlainFamily, values: Iterable[tuple[tuple[str, ...], float]]) -> Metric:
    return _metric(
        family,
        (Sample(family.name, dict(zip(family.labels, labels, strict=True)), value) for labels, value in values),
    )


def _times(family: PlainFamily, values: Iterable[tuple[tuple[str, ...], Times]]) -> Metric:
    return _metric(
        family,
        (
            sample
            for labels, times in values
            for sample in _histogram(
                family.name, dict(zip(family.labels, labels, strict=True)), times.buckets, times.sum
            )
        ),
    )


def _metric(family: Family, samples: Iterator[Sample]) -> Metric:
    name = family.name
    if family.kind is Kind.COUNTER:  # prometheus-client adds these endings itself
        name = name.removesuffix("_total")
    elif family.kind is Kind.INFO:
        name = name.removesuffix("_info")
    metric = Metric(name, family.help, family.kind.value)
    # The encoders only iterate; a list would cost some 400 bytes for each line of the text.
    metric.samples = cast(list[Sample], samples)
    return metric
