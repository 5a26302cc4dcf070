"""The requests that ended last, kept for whoever asks why they went where they went.

Two rings per worker: one of sampled requests, and one of those in which something went wrong, so that successes never
push those out. An entry is filled where the request ends and filled again when the ring has come round: nothing is made
for a request but what is copied out of its head. It becomes a `Record` when somebody wants it.

An entry holds text and numbers, never an endpoint, a service or a route: those die when their last stream ends, and
release their row of statistics then. Text that a client chooses is cut, so that the ring is bounded in bytes too.
"""

from __future__ import annotations

import time

from discovery.model import Position, RecordSettings
from mesh.hashing import hash_bytes
from mesh.record import Record
from proxy.http1.codes import USER_AGENT
from proxy.http1.parties import Exchange

# What is kept of a text at most (bytes; characters of a detail), see docs/guide/api.md. Targets of 512 bytes are
# longer than nearly all; a name in DNS has 253.
MOST_METHOD = 32
MOST_TARGET = 512
MOST_HOST = 256
MOST_AGENT = 256
MOST_ADDRESS = 64
MOST_DETAIL = 256
MOST_TRIED = 8  # endpoints

# Why an entry is kept, as Record.kept has it.
SAMPLE = "sample"
ERROR = "error"

# Configurations that are remembered, for requests that began under one and ended under another.
MOST_VERSIONS = 64

HASHES = 2.0**64
MICROS = 1_000_000


def cut(text: bytes, most: int) -> bytes:
    return text if len(text) <= most else text[:most]


class Kept:
    """A request that is over. Times are microseconds of the monotonic clock, as the exchange has them."""

    started: int
    received: int
    assigned: int
    connected: int
    first_byte: int
    finished: int
    status: int
    upstream_status: int
    attempts: int
    retries: int
    minor: int
    probing: bool
    bytes_in: int
    bytes_out: int
    body_bytes: int
    config_version: int
    request_id: bytes
    traceparent: bytes
    method: bytes
    host: bytes
    target: bytes
    client: bytes
    peer: bytes
    user_agent: bytes | None
    flags: str
    detail: str
    denied: str
    wanted: str
    listener: str
    route: str
    position: Position | None  # of the route
    service: str
    version: str
    endpoint: str  # address
    tried: tuple[str, ...]

    def take(self, exchange: Exchange, config_version: int) -> None:
        """Take down an exchange that ends: it has its head, its client's side and all its times still.
        `config_version` is what it was decided by."""
        head = exchange.head
        self.started = exchange.started
        self.received = exchange.received
        self.assigned = exchange.assigned
        self.connected = exchange.connected
        self.first_byte = exchange.first_byte
        self.finished = exchange.finished
        self.status = exchange.status
        self.upstream_status = exchange.upstream_status or exchange.discarded
        self.attempts = exchange.attempts
        self.retries = exchange.retries
        self.minor = head.minor
        self.probing = exchange.probing
        self.bytes_in = exchange.bytes_in
        self.bytes_out = exchange.bytes_out
        self.body_bytes = exchange.body_bytes
        self.config_version = config_version
        self.request_id = exchange.request_id
        self.traceparent = exchange.traceparent
        self.method = cut(exchange.method, MOST_METHOD)
        self.host = cut(exchange.host, MOST_HOST)
        self.target = cut(head.target(), MOST_TARGET)
        self.client = cut(exchange.client, MOST_ADDRESS)
        self.peer = exchange.downstream.peer
        agent = head.get_id(USER_AGENT)
        self.user_agent = None if agent is None else cut(agent, MOST_AGENT)
        self.flags = exchange.flags
        self.detail = exchange.detail if len(exchange.detail) <= MOST_DETAIL else exchange.detail[:MOST_DETAIL]
        self.denied = exchange.denied
        self.wanted = exchange.wanted
        self.listener = exchange.listener.name
        route = exchange.route
        if route is not None:
            self.route = route.route.name
            self.position = route.route.position
        else:
            self.route = ""
            self.position = None
        service = exchange.service
        self.service = "" if service is None else service.name
        endpoint = exchange.endpoint
        if endpoint is not None:
            self.version = endpoint.endpoint.version
            self.endpoint = endpoint.address.text
        else:
            self.version = exchange.version
            self.endpoint = ""
        self.tried = () if exchange.tried is None else addresses_of(exchange)


def addresses_of(exchange: Exchange) -> tuple[str, ...]:
    tried = exchange.tried or ()
    return tuple(candidate.endpoint.address for candidate in tried[-MOST_TRIED:])


class Versions:
    """Since when which configuration is in force, so that a request is told the one that decided it."""

    version: int
    since: int  # microseconds of the monotonic clock
    before: list[tuple[int, int]]  # since and version of those before, the oldest first

    def __init__(self) -> None:
        self.version = 0
        self.since = 0
        self.before = []

    def put(self, version: int, now: int) -> None:
        self.before = [*self.before[1 - MOST_VERSIONS :], (self.since, self.version)]
        self.version = version
        self.since = now

    def at(self, moment: int) -> int:
        """What was in force at that moment, 0 when that is forgotten."""
        if moment >= self.since:
            return self.version
        return self.earlier(moment)

    def earlier(self, moment: int) -> int:
        for since, version in reversed(self.before):
            if moment >= since:
                return version
        return 0


class Ring:
    """The last `size` entries. One is made when it is first needed, so an idle worker keeps nothing."""

    size: int
    entries: list[Kept]
    oldest: int  # index of the entry that is filled next, once there are `size`

    def __init__(self, size: int) -> None:
        self.size = size
        self.entries = []
        self.oldest = 0

    def next(self) -> Kept:
        """The entry that is to be filled now; there must be room for one."""
        if len(self.entries) < self.size:
            kept = Kept()
            self.entries.append(kept)
            return kept
        kept = self.entries[self.oldest]
        self.oldest += 1
        if self.oldest == self.size:
            self.oldest = 0
        return kept

    def in_order(self) -> list[Kept]:
        """The oldest first."""
        return self.entries[self.oldest :] + self.entries[: self.oldest]

    def resize(self, size: int) -> None:
        """The newest of what there is stay, as many as fit."""
        if size != self.size:
            self.entries = self.in_order()[-size:] if size else []
            self.oldest = 0
            self.size = size

    def named(self, request_id: bytes) -> list[Kept]:
        return [kept for kept in self.entries if kept.request_id == request_id]


class Records:
    """The two rings of a worker. `wall_offset` is what `record_of` wants."""

    versions: Versions
    sampled: Ring
    failed: Ring
    takes_all: bool
    below: int  # of the hash of a request id, 64 bits: those below are kept
    worker: int
    wall_offset: int

    def __init__(self, settings: RecordSettings, worker: int = 0) -> None:
        self.versions = Versions()
        self.sampled = Ring(settings.size)
        self.failed = Ring(settings.errors)
        self.worker = worker
        self.wall_offset = time.time_ns() // 1000 - time.monotonic_ns() // 1000
        self.apply(settings)

    def apply(self, settings: RecordSettings) -> None:
        self.sampled.resize(settings.size)
        self.failed.resize(settings.errors)
        self.takes_all = settings.sample >= 1.0
        self.below = 0 if self.takes_all else int(settings.sample * HASHES)

    @property
    def is_on(self) -> bool:
        return self.sampled.size > 0 or self.failed.size > 0

    def keep(self, exchange: Exchange) -> None:
        """An exchange ends. Which of the unremarkable ones are sampled follows from the request's id, so that all
        proxies on its way keep the same requests."""
        if is_error(exchange):
            ring = self.failed
        elif self.takes_all or hash_bytes(exchange.request_id) < self.below:
            ring = self.sampled
        else:
            return
        if ring.size:
            ring.next().take(exchange, self.versions.at(exchange.received))

    # --- for whoever asks -----------------------------------------------------------------------------------------

    def find(self, request_id: str) -> list[Record]:
        """Those of this request, the newest first. An id that was given twice has two."""
        try:
            name = request_id.encode("latin-1")
        except UnicodeEncodeError:
            return []
        found = [(kept, SAMPLE) for kept in self.sampled.named(name)]
        found += [(kept, ERROR) for kept in self.failed.named(name)]
        return self.listed(found)

    def newest(self, most: int, only_errors: bool = False) -> list[Record]:
        """The last ones to end, the newest first."""
        found = [(kept, ERROR) for kept in self.failed.in_order()[-most:]]
        if not only_errors:
            found += [(kept, SAMPLE) for kept in self.sampled.in_order()[-most:]]
        return self.listed(found)[:most]

    def listed(self, found: list[tuple[Kept, str]]) -> list[Record]:
        found.sort(key=lambda each: each[0].finished, reverse=True)
        return [record_of(kept, self.wall_offset, self.worker, why) for kept, why in found]

    def count(self) -> int:
        return len(self.sampled.entries) + len(self.failed.entries)

    def since(self) -> str:
        """When the oldest of the sampled ended, or of all, if nothing is sampled; "" when there is none."""
        for ring in (self.sampled, self.failed):
            if ring.entries:
                return time_text(ring.entries[ring.oldest].finished + self.wall_offset)
        return ""


def is_error(exchange: Exchange) -> bool:
    """Whether something went wrong on its way, though the client may not have noticed."""
    return (
        exchange.status >= 500
        or exchange.retries > 0
        or exchange.flags != ""
        or exchange.denied != ""
        or exchange.tried is not None
    )


def record_of(
    kept: Kept, wall_offset: int, worker: int, why: str = "", headers: tuple[tuple[str, str], ...] = ()
) -> Record:
    """`wall_offset`: from the monotonic clock to the wall clock (microseconds). Rules and names: the access log."""
    is_assigned = kept.assigned != 0
    return Record(
        ts=time_text(kept.started + wall_offset),
        duration_ms=millis(kept.finished - kept.started),
        request_id=text(kept.request_id),
        trace_id=text(kept.traceparent[3:35]),
        method=text(kept.method),
        host=text(kept.host),
        path=text(kept.target),
        protocol="HTTP/1.1" if kept.minor else "HTTP/1.0",
        status=kept.status,
        upstream_status=kept.upstream_status,
        flags=kept.flags,
        flag_details=kept.detail,
        route=kept.route,
        rule_source="" if kept.position is None else str(kept.position),
        service=kept.service,
        version=kept.version,
        endpoint=kept.endpoint,
        drawn=kept.wanted,
        attempts=kept.attempts,
        retries=kept.retries,
        retry_denied=kept.denied,
        probe=bool(kept.probing),
        bytes_in=kept.bytes_in,
        bytes_out=kept.bytes_out,
        body_bytes=kept.body_bytes,
        client=text(kept.client),
        user_agent="" if kept.user_agent is None else text(kept.user_agent),
        t_recv=millis(kept.received - kept.started),
        t_queue=millis(kept.assigned - kept.received) if is_assigned else 0.0,
        t_connect=millis(kept.connected - kept.assigned) if is_assigned else 0.0,
        t_first_byte=millis(kept.first_byte - kept.connected) if is_assigned and kept.first_byte else 0.0,
        t_total=millis(kept.finished - kept.started),
        listener=kept.listener,
        peer=text(kept.peer),
        worker=worker,
        config_version=kept.config_version,
        tried=kept.tried,
        headers=headers,
        kept=why,
    )


def text(value: bytes) -> str:
    """Bytes beyond ASCII are taken as Latin-1, as in the access log: any input has a text."""
    return value.decode("latin-1")


def millis(micros: int) -> float:
    return max(0, micros) / 1000


def time_text(wall: int) -> str:
    """Microseconds since the epoch as RFC 3339, UTC with milliseconds."""
    moment = time.gmtime(wall // MICROS)
    return f"{time.strftime('%Y-%m-%dT%H:%M:%S', moment)}.{wall % MICROS // 1000:03}Z"
