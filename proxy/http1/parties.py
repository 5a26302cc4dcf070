"""Who takes part in a request: the exchange, the client's side of it, the server's side, and the route it took.

`Exchange` is the record of one request and its answer; it decides nothing. `ClientSide` and `ServerSide` say what the
two drivers offer each other and the forwarder; Downstream and Upstream are the drivers.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from discovery.model import Protocol, Route, UrlRewrite
from mesh.balance import Candidate
from mesh.bonds import Bond
from mesh.request import RequestView
from mesh.retry import RetryPlan
from mesh.router import Router
from mesh.streams import StreamRouter
from proxy.kernel.buffer import Buffer
from proxy.kernel.cells import Slot
from proxy.kernel.emit import FieldEdits
from proxy.kernel.netio import Acceptor, Stream
from proxy.kernel.scan import Head
from proxy.relay import RelayStream
from proxy.stats.slots import CONNECTIONS_ACTIVE
from proxy.upstream.endpoint import EndpointRuntime, ServiceRuntime

# How long an acceptor waits for a connection of another worker to end (seconds).
FULL_PAUSE = 0.05

# A request that crosses the close of its idle connection is lost to its client, so while the worker stops an idle
# connection may begin one more for so long (seconds), whose answer tells that it is the last.
DRAIN_IDLE = 0.25

NO_ROUTES = Router([])
NO_STREAMS = StreamRouter([])

if TYPE_CHECKING:  # what stands above this module, and is only pointed to from here
    from mesh.subsets import SubsetRule
    from proxy.clients import Clients
    from proxy.http1.guards import BodyLimitPhase
    from proxy.http1.phases import Phase
    from proxy.upstream.queue import Waiter
    from proxy.upstream.split import ServiceSplit


# What an exchange that pauses goes on with.
PAUSE_PHASE = 1
PAUSE_RETRY = 2


class RouteRuntime:
    """A route as the data plane uses it: what proxy/listeners.py made of a Route once, when it was configured."""

    route: Route
    listener: str
    slot: Slot
    service: ServiceRuntime | None  # None when the route names none that exists
    version: str  # "" for any
    split: ServiceSplit | None
    subset: SubsetRule | None
    phases: tuple[Phase, ...]
    request_edits: FieldEdits | None
    response_edits: FieldEdits | None
    rewrite: UrlRewrite | None
    matched_prefix: bytes
    log_part: bytes | None  # what the access log says of this route; None until it first does
    timeout: float  # of the whole request; 0 for none
    retry: RetryPlan | None  # None: the service's


class ListenerRuntime:
    """A listener as the data plane uses it: its routes, compiled, and its row of statistics. Replaced parts take effect
    for the next request; connections stay."""

    name: str
    protocol: Protocol
    router: Router  # of requests
    streams: StreamRouter  # of what is not taken apart as HTTP
    slot: Slot
    port: bytes  # in decimal, b"" for a unix socket
    accept_proxy: bool  # trusted peers begin with a PROXY header
    max_connections: int  # of all workers; 0 for no limit
    paused: list[LimitedAcceptor]  # those that accept nothing because of it
    clients: Clients | None  # who counts what each client has; None while nothing is limited

    def __init__(self, name: str, protocol: Protocol, slot: Slot) -> None:
        self.name = name
        self.protocol = protocol
        self.router = NO_ROUTES
        self.streams = NO_STREAMS
        self.slot = slot
        self.port = b""
        self.accept_proxy = False
        self.max_connections = 0
        self.paused = []
        self.clients = None

    def limit(self, max_connections: int) -> None:
        self.max_connections = max_connections
        self.resume()

    def claim(self) -> bool:
        """Count one more connection, if all workers together may have it: publish ours first, then add up."""
        slot = self.slot
        slot.add(CONNECTIONS_ACTIVE, 1)
        if self.max_connections == 0 or slot.total(CONNECTIONS_ACTIVE) <= self.max_connections:
            return True
        slot.add(CONNECTIONS_ACTIVE, -1)
        return False

    def unclaim(self) -> None:
        """A connection has ended, or there was none to accept."""
        self.slot.add(CONNECTIONS_ACTIVE, -1)
        if self.paused:
            self.resume()

    def left(self, peer: bytes) -> None:
        """A connection of this client, which was admitted, has ended."""
        self.unclaim()
        clients = self.clients
        if clients is not None:
            clients.leave(peer)

    def resume(self) -> None:
        """There may be room again."""
        paused = self.paused
        self.paused = []
        for acceptor in paused:
            acceptor.resume()


class LimitedAcceptor(Acceptor):
    """A listening socket that accepts as many connections as its listener may have. The rest waits in the backlog of
    the socket, until one of this worker's ends, or for a moment if another worker has them."""

    listener: ListenerRuntime

    def __init__(self, listener: ListenerRuntime) -> None:
        self.listener = listener

    def may_accept(self) -> bool:
        listener = self.listener
        if listener.claim():
            return True
        if self not in listener.paused:
            listener.paused.append(self)
        self.pause(FULL_PAUSE)
        return False

    def not_accepted(self) -> None:
        self.listener.unclaim()

    def admits(self, fd: int, host: bytes, port: int) -> bool:
        """Whether this client may have one more connection; if not, this one has been reset."""
        listener = self.listener
        clients = listener.clients
        if clients is None or clients.admit(listener, host, port, self.reactor.micros()):
            return True
        stream = Stream()
        stream.attach(self.reactor, fd)
        stream.abort()
        listener.unclaim()
        return False


class BodyTap:
    """Keeps a request body, as long as it has at most `most` bytes, for the copies that are made of the request."""

    most: int
    total: int
    kept: Buffer | None

    def __init__(self, most: int) -> None:
        self.most = most
        self.total = 0
        self.kept = None

    def take(self, source: Buffer, start: int, count: int) -> None:
        self.total += count
        if self.total > self.most:
            self.kept = None
            return
        if self.kept is None:
            self.kept = Buffer(count)
        self.kept.append_range(source, start, count)


class Exchange(RequestView):
    """One request with its answer, from the complete head to the one and only `finish`.

    Times are microseconds of the monotonic clock, 0 while not reached.
    """

    downstream: ClientSide  # None when finished
    upstream: ServerSide | None
    head: Head  # None when finished
    route: RouteRuntime  # None until one matched, and ever after when none did
    listener: ListenerRuntime
    service: ServiceRuntime  # None until the route or a split gave one
    endpoint: EndpointRuntime | None  # of the present attempt, or the last
    tried: list[Candidate] | None  # endpoints that failed this request
    bond: Bond | None  # what it says of the endpoint that it belongs to; None without affinity
    version: str
    wanted: str  # what was drawn of a split, in words, when it had no usable endpoint
    cookies: bytes | None  # complete Set-Cookie lines for the answer of an endpoint
    target: bytes | None  # None while the target goes on as it came
    # None while the Host field says it all: what X-Forwarded-Host and Host are to be instead.
    authority: bytes | None
    host_sent: bytes | None
    request_id: bytes  # b"" until the request has been read, as `traceparent`
    traceparent: bytes
    trusted: bool  # the peer is a trusted proxy
    keep_tracestate: bool
    upgrade: bool  # asked for, and may be passed on
    idempotent: bool
    request_done: bool  # nothing more of the request is to come
    answered: bool  # the head of a response is on its way to the client
    waiting: Waiter | None  # its place in the queue of the service
    fresh_only: bool  # an idle connection turned out to be closed: take no other
    to_head: bool
    done: bool
    kept: Buffer | None  # the body so far, in case the request is sent again
    kept_all: bool
    attempts: int
    status: int
    upstream_status: int
    discarded: int  # status that the last attempt's endpoint answered and the client does not get; 0 for none
    flags: str  # response flags (docs/protocol.md), separated by commas
    detail: str  # more of it in words
    denied: str  # why the request was not sent again
    started: int  # first byte
    received: int  # head complete
    assigned: int  # connection wanted
    connected: int  # connection there
    first_byte: int  # response head complete
    finished: int
    timeout: float  # total, 0 for none
    phases: tuple[Phase, ...]  # of the route, later of the service
    at: int  # the phase that is next
    holds: list[Phase] | None  # those that are told when it ends
    entered: bool  # it is counted as active by its service
    pause: int  # PAUSE_..., 0 while it goes on
    paused_until: int  # microseconds, 0 when it never was
    reported: bool  # the endpoint has been told how the present attempt went
    probing: bool  # the present attempt is a probe of a half-open endpoint
    plan: RetryPlan | None  # the retry policy, if it has one
    retries: int  # sent again by the retry policy
    retrying: bool  # it is counted among the service's active retries
    waits_since: int  # when it was first put in the queue
    most_body: int  # bytes of the request's body; with `body_guard`, which says no
    body_guard: BodyLimitPhase | None
    is_copy: bool  # of another request, for a service that mirrors it: nobody waits for its answer
    tap: BodyTap | None  # takes the body for copies; the head is then shared with them
    body_bytes: int  # of the request, without framing
    bytes_in: int  # from the client, with framing
    bytes_out: int  # to the client, with framing

    def start(self, downstream: ClientSide, listener: ListenerRuntime, head: Head, started: int, received: int) -> None:
        """Begin the record. Not `__init__`: a call of it would build tuples that a request can do without."""
        self.downstream = downstream
        self.upstream = None
        self.listener = listener
        self.head = head
        self.route = None  # type: ignore[assignment]
        self.service = None  # type: ignore[assignment]
        self.endpoint = None
        self.tried = None
        self.bond = None
        self.version = ""
        self.wanted = ""
        self.cookies = None
        self.target = None
        self.authority = None
        self.host_sent = None
        self.request_id = b""
        self.traceparent = b""
        self.trusted = False
        self.keep_tracestate = False
        self.upgrade = False
        self.idempotent = False
        self.request_done = False
        self.answered = False
        self.waiting = None
        self.fresh_only = False
        self.to_head = False
        self.done = False
        self.kept = None
        self.kept_all = True
        self.attempts = 0
        self.status = 0
        self.upstream_status = 0
        self.discarded = 0
        self.flags = ""
        self.detail = ""
        self.denied = ""
        self.started = started
        self.received = received
        self.assigned = 0
        self.connected = 0
        self.first_byte = 0
        self.finished = 0
        self.timeout = 0.0
        self.phases = ()
        self.at = 0
        self.holds = None
        self.entered = False
        self.pause = 0
        self.paused_until = 0
        self.reported = False
        self.probing = False
        self.plan = None
        self.retries = 0
        self.retrying = False
        self.waits_since = 0
        self.most_body = 0
        self.body_guard = None
        self.is_copy = False
        self.tap = None
        self.body_bytes = 0
        self.bytes_in = 0
        self.bytes_out = 0

    def header(self, name: bytes) -> bytes | None:
        return self.head.get(name)

    def hold(self, phase: Phase) -> None:
        """`phase` is to be told when the exchange ends."""
        if self.holds is None:
            self.holds = []
        self.holds.append(phase)

    def add_flag(self, flag: str) -> None:
        if flag and flag not in self.flags.split(","):
            self.flags = f"{self.flags},{flag}" if self.flags else flag


class ClientSide(RelayStream):
    """What the client's driver offers."""

    exchange: Exchange | None  # None while idle
    peer: bytes  # text of the IP address, b"" on a unix socket
    port: int
    destination: tuple[bytes, int] | None  # where the client wanted to; None: to the socket's own address
    receiving: bool  # the body of the request is still coming
    keep_alive: bool
    closing: bool  # the connection ends with this answer

    def interim(self, exchange: Exchange, head: Head) -> None:
        """Pass on a 1xx response."""

    def response_head(self, exchange: Exchange, head: Head, framing: int) -> None:
        """Start the response; it is sent with the first data, or by flush_response."""

    def response_data(self, exchange: Exchange, source: Buffer, start: int, count: int) -> None:
        """A piece of the body: `count` bytes of `source` from absolute index `start`."""

    def response_end(self, exchange: Exchange, trailers: Head | None) -> None:
        """The body is complete."""

    def flush_response(self, exchange: Exchange) -> int:
        """Send what has been collected. 0: all is on its way; 1: wait for resume_response; -1: the client is gone."""
        return 0

    def respond(self, data: bytes, close: bool) -> None:
        """Send a complete answer of our own; `close`: the connection ends with it."""

    def finished(self) -> None:
        """The exchange is over: go on with the next request, or close."""

    def resume_request(self) -> None:
        """The server's side can take request bytes (again)."""

    def leave(self) -> None:
        """The client is gone: end the exchange and close."""


class ServerSide(RelayStream):
    """What the upstream's driver offers."""

    exchange: Exchange | None  # None while idle
    endpoint: EndpointRuntime
    personal: bool  # it has told the endpoint who the client is, and so serves nobody else
    interim_count: int  # 1xx responses to the present request

    def send_request(self, exchange: Exchange) -> None:
        """Send the head; body bytes follow by request_data."""

    def request_data(self, source: Buffer, start: int, count: int) -> int:
        """A piece of the request body. Result as of Stream.send."""
        return 0

    def request_end(self, exchange: Exchange, trailers: Head | None) -> None:
        """The request body is complete."""

    def resume_response(self) -> None:
        """The client can take response bytes again."""

    def drop(self) -> None:
        """Close the connection; the exchange has let go of it."""
