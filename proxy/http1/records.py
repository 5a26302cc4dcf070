"""The requests that ended last, kept for whoever asks why they went where they went.

Two rings per worker: one of sampled requests, and one of those in which something went wrong, so that successes never
push those out. A ring is a ledger (proxy/kernel/ledger): where a request ends, what there is to say of it is written
over the oldest line, and nothing is made for it. A line becomes a `Record` when somebody wants it.

A line holds text and numbers, never an endpoint, a service or a route: those die when their last stream ends, and
release their row of statistics then. A line has 1 KiB; text that a client chooses is cut.
"""

from __future__ import annotations

import time
from collections.abc import Iterator

import msgspec

from discovery.model import RecordSettings
from mesh.hashing import hash_bytes
from mesh.record import Record
from proxy.accesslog import endpoint_part, route_part
from proxy.http1.codes import USER_AGENT
from proxy.http1.parties import Exchange
from proxy.kernel.ledger import Ledger
from proxy.wallclock import wall_offset

# What is kept of a text at most (bytes), see docs/guide/api.md. Targets of 512 bytes are longer than nearly all; a name
# in DNS has 253. A line has 814 for all of them, and what is written last makes do with what is left.
MOST_ID = 128
MOST_METHOD = 32
MOST_TARGET = 512
MOST_TEXT = 256
MOST_PART = 320

# Where things stand in a line: numbers ...
STARTED = 0  # times are microseconds of the monotonic clock, as the exchange has them
RECEIVED = 1
ASSIGNED = 2
CONNECTED = 3
FIRST_BYTE = 4
FINISHED = 5
STATUS = 6
UPSTREAM_STATUS = 7
ATTEMPTS = 8
RETRIES = 9
MINOR = 10  # of HTTP/1.x
PROBING = 11
BYTES_IN = 12
BYTES_OUT = 13
BODY_BYTES = 14
CONFIG_VERSION = 15
# ... and texts.
REQUEST_ID = 0
TRACEPARENT = 1
METHOD = 2
HOST = 3
TARGET = 4
CLIENT = 5
PEER = 6  # nothing where it is the client
AGENT = 7
FLAGS = 8
DETAIL = 9
DENIED = 10
WANTED = 11
LISTENER = 12
SERVICE = 13
VERSION = 14  # that was asked for, while there is no endpoint
TRIED = 15  # addresses, a line each
# What the access log says of route and endpoint has been formatted once; their names alone, where that is long.
ROUTE_PART = 16
ENDPOINT_PART = 17
ROUTE = 18
ENDPOINT = 19

# Why a request is kept, as Record.kept has it.
SAMPLE = "sample"
ERROR = "error"

# Records of one id that are told.
MOST_FOUND = 20

# Configurations that are remembered, for requests that began under one and ended under another.
MOST_VERSIONS = 64

HASHES = 2.0**64
MICROS = 1_000_000


def write(lines: Ledger, line: int, exchange: Exchange, config_version: int) -> None:
    """Take down an exchange that ends: it has its head, its client's side and all its times still. `config_version` is
    what it was decided by."""
    head = exchange.head
    lines.begin(line)
    lines.numbers(STARTED, exchange.started, exchange.received, exchange.assigned, exchange.connected)
    upstream_status = exchange.upstream_status or exchange.discarded
    lines.numbers(FIRST_BYTE, exchange.first_byte, exchange.finished, exchange.status, upstream_status)
    lines.numbers(ATTEMPTS, exchange.attempts, exchange.retries, head.minor, exchange.probing)
    lines.numbers(BYTES_IN, exchange.bytes_in, exchange.bytes_out, exchange.body_bytes, config_version)
    # What has to be whole goes first, what is long last.
    lines.text(REQUEST_ID, exchange.request_id, MOST_ID)
    route = exchange.route
    if route is not None:
        part = route.log_part
        if part is None:
            part = route.log_part = route_part(route)
        if len(part) <= MOST_PART:
            lines.text(ROUTE_PART, part, MOST_PART)
        else:
            lines.word(ROUTE, route.route.name, MOST_TEXT)
    endpoint = exchange.endpoint
    if endpoint is not None:
        part = endpoint.log_part
        if part is None:
            part = endpoint.log_part = endpoint_part(endpoint)
        if len(part) <= MOST_PART:
            lines.text(ENDPOINT_PART, part, MOST_PART)
        else:
            lines.word(ENDPOINT, endpoint.address.text, MOST_TEXT)
    elif exchange.version:
        lines.word(VERSION, exchange.version, MOST_TEXT)
    service = exchange.service
    if service is not None:
        lines.word(SERVICE, service.name, MOST_TEXT)
    lines.text(TRACEPARENT, exchange.traceparent, MOST_TEXT)
    lines.word(LISTENER, exchange.listener.name, MOST_TEXT)
    if exchange.flags:
        lines.word(FLAGS, exchange.flags, MOST_TEXT)
    if exchange.denied:
        lines.word(DENIED, exchange.denied, MOST_TEXT)
    if exchange.wanted:
        lines.word(WANTED, exchange.wanted, MOST_TEXT)
    lines.text(METHOD, exchange.method, MOST_METHOD)
    lines.text(CLIENT, exchange.client, MOST_TEXT)
    peer = exchange.downstream.peer
    if peer is not exchange.client:
        lines.text(PEER, peer, MOST_TEXT)
    lines.text(HOST, exchange.host, MOST_TEXT)
    lines.target(TARGET, head, MOST_TARGET)
    if exchange.tried is not None:
        lines.word(TRIED, "\n".join([candidate.endpoint.address for candidate in exchange.tried]), MOST_TEXT)
    if exchange.detail:
        lines.word(DETAIL, exchange.detail, MOST_TEXT)
    lines.field(AGENT, head, USER_AGENT, MOST_TEXT)


def read(
    lines: Ledger, line: int, wall_offset: int, worker: int, why: str = "", headers: tuple[tuple[str, str], ...] = ()
) -> Record:
    """`wall_offset`: from the monotonic clock to the wall clock (microseconds). Rules and names: the access log."""
    numbers = [lines.number_at(line, place) for place in range(CONFIG_VERSION + 1)]
    texts = [lines.text_at(line, place) for place in range(ENDPOINT + 1)]
    started, received, assigned = numbers[STARTED], numbers[RECEIVED], numbers[ASSIGNED]
    connected, first_byte, finished = numbers[CONNECTED], numbers[FIRST_BYTE], numbers[FINISHED]
    tried = word(texts[TRIED])
    route = said(b'{"":0' + texts[ROUTE_PART] + b"}")
    endpoint = said(b'{"":"' + texts[ENDPOINT_PART] + b'"}')
    return Record(
        ts=time_text(started + wall_offset),
        duration_ms=millis(finished - started),
        request_id=text(texts[REQUEST_ID]),
        trace_id=text(texts[TRACEPARENT][3:35]),
        method=text(texts[METHOD]),
        host=text(texts[HOST]),
        path=text(texts[TARGET]),
        protocol="HTTP/1.1" if numbers[MINOR] else "HTTP/1.0",
        status=numbers[STATUS],
        upstream_status=numbers[UPSTREAM_STATUS],
        flags=word(texts[FLAGS]),
        flag_details=word(texts[DETAIL]),
        route=route.route or word(texts[ROUTE]),
        rule_source=route.rule_source,
        service=word(texts[SERVICE]),
        version=endpoint.version or word(texts[VERSION]),
        endpoint=endpoint.endpoint or word(texts[ENDPOINT]),
        drawn=word(texts[WANTED]),
        attempts=numbers[ATTEMPTS],
        retries=numbers[RETRIES],
        retry_denied=word(texts[DENIED]),
        probe=bool(numbers[PROBING]),
        bytes_in=numbers[BYTES_IN],
        bytes_out=numbers[BYTES_OUT],
        body_bytes=numbers[BODY_BYTES],
        client=text(texts[CLIENT]),
        user_agent=text(texts[AGENT]),
        t_recv=millis(received - started),
        t_queue=millis(assigned - received) if assigned else 0.0,
        t_connect=millis(connected - assigned) if assigned else 0.0,
        t_first_byte=millis(first_byte - connected) if assigned and first_byte else 0.0,
        t_total=millis(finished - started),
        listener=word(texts[LISTENER]),
        peer=text(texts[PEER] or texts[CLIENT]),
        worker=worker,
        config_version=numbers[CONFIG_VERSION],
        tried=tuple(tried.split("\n")) if tried else (),
        headers=headers,
        kept=why,
    )


class Parts(msgspec.Struct):
    """What route_part and endpoint_part say, see proxy/accesslog.py."""

    route: str = ""
    rule_source: str = ""
    version: str = ""
    endpoint: str = ""


def said(parts: bytes) -> Parts:
    return msgspec.json.decode(parts, type=Parts)


def text(value: bytes) -> str:
    """Bytes beyond ASCII are taken as Latin-1, as in the access log: any input has a text."""
    return value.decode("latin-1")


def word(value: bytes) -> str:
    """What was text of ours; a character that was cut is lost."""
    return value.decode("utf-8", "ignore")


def millis(micros: int) -> float:
    return max(0, micros) / 1000


def time_text(wall: int) -> str:
    """Microseconds since the epoch as RFC 3339, UTC with milliseconds."""
    moment = time.gmtime(wall // MICROS)
    return f"{time.strftime('%Y-%m-%dT%H:%M:%S', moment)}.{wall % MICROS // 1000:03}Z"


class Kept:
    """One request that is over, for whoever has no ring; it can be filled again and again."""

    line: Ledger

    def __init__(self) -> None:
        self.line = Ledger(1)

    def take(self, exchange: Exchange, config_version: int) -> None:
        write(self.line, 0, exchange, config_version)


def record_of(
    kept: Kept, wall_offset: int, worker: int, why: str = "", headers: tuple[tuple[str, str], ...] = ()
) -> Record:
    return read(kept.line, 0, wall_offset, worker, why, headers)


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
    """The last `size` requests: `used` lines are written, from the line `oldest` on."""

    size: int
    used: int
    oldest: int
    lines: Ledger

    def __init__(self, size: int) -> None:
        self.size = size
        self.used = 0
        self.oldest = 0
        self.lines = Ledger(size)

    def put(self, exchange: Exchange, config_version: int) -> None:
        """Over the oldest, once there are `size`; there must be room for one."""
        line = self.used
        if line < self.size:
            self.used += 1
        else:
            line = self.oldest
            self.oldest += 1
            if self.oldest == self.size:
                self.oldest = 0
        write(self.lines, line, exchange, config_version)

    def newest(self, most: int) -> list[int]:
        """Lines, the newest first."""
        return [(self.oldest - 1 - back) % self.used for back in range(min(most, self.used))]

    def named(self, request_id: bytes) -> list[int]:
        return [line for line in range(self.used) if self.lines.is_text(line, REQUEST_ID, request_id)]

    def finished(self, line: int) -> int:
        return self.lines.number_at(line, FINISHED)

    def resize(self, size: int) -> None:
        """The newest of what there is stay, as many as fit."""
        if size != self.size:
            lines = Ledger(size)
            kept = self.newest(size)
            for line, was in enumerate(reversed(kept)):
                lines.copy(line, self.lines, was)
            self.lines = lines
            self.used = len(kept)
            self.oldest = 0
            self.size = size


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
        self.wall_offset = wall_offset()
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
            ring.put(exchange, self.versions.at(exchange.received))

    # --- for whoever asks -----------------------------------------------------------------------------------------

    def find(self, request_id: str) -> list[Record]:
        """Those of this request, the newest first. An id that was given twice has two; of one that a
        trusted peer gives to all its requests the last MOST_FOUND are found."""
        try:
            name = request_id.encode("latin-1")
        except UnicodeEncodeError:
            return []
        found = [(ring, line) for ring in (self.sampled, self.failed) for line in ring.named(name)]
        return list(self.listed(found, MOST_FOUND))

    def newest(self, most: int, only_errors: bool = False) -> Iterator[Record]:
        """The last ones to end, the newest first, as of the first step. Each step takes some 15 microseconds."""
        rings = (self.failed,) if only_errors else (self.failed, self.sampled)
        yield from self.listed([(ring, line) for ring in rings for line in ring.newest(most)], most)

    def listed(self, found: list[tuple[Ring, int]], most: int) -> Iterator[Record]:
        """Copied first: the rings go on between two steps."""
        found.sort(key=lambda each: each[0].finished(each[1]), reverse=True)
        found = found[:most]
        lines = Ledger(len(found))
        reasons = [SAMPLE if ring is self.sampled else ERROR for ring, _ in found]
        for line, (ring, was) in enumerate(found):
            lines.copy(line, ring.lines, was)
        for line, why in enumerate(reasons):
            yield read(lines, line, self.wall_offset, self.worker, why)

    def count(self) -> int:
        return self.sampled.used + self.failed.used

    def since(self) -> str:
        """When the oldest of the sampled ended, or of all, if nothing is sampled; "" when there is none."""
        for ring in (self.sampled, self.failed):
            if ring.used:
                return time_text(ring.finished(ring.oldest) + self.wall_offset)
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
