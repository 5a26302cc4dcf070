"""Who takes part in a request: the exchange, the client's side of it, the server's side, and the route it took.

`Exchange` is the record of one request and its answer; it decides nothing. `ClientSide` and `ServerSide` say what the
two drivers offer each other and the forwarder; Downstream and Upstream are the drivers. What both do alike, passing
bytes on after a protocol upgrade, is here in `RelayStream`.
"""

from __future__ import annotations

from mesh.request import RequestView
from mesh.router import Router
from proxy.kernel.buffer import Buffer
from proxy.kernel.cells import Slot
from proxy.kernel.netio import AGAIN
from proxy.kernel.scan import Head
from proxy.upstream.endpoint import PooledStream

# Reads of one relay event; then other connections get their turn.
RELAY_TURNS = 8


class RouteRuntime:
    """A route as the data plane uses it: what proxy/table.py made of a Route once, when it was configured."""


class ListenerRuntime:
    """A listener as the data plane uses it: its routes, compiled, and its row of statistics. Replaced parts take effect
    for the next request; connections stay. `port` is text, b"" for a unix socket."""

    def __init__(self, name: str, router: Router, slot: Slot) -> None:
        self.name = name
        self.router = router
        self.slot = slot
        self.port = b""


class Exchange(RequestView):
    """One request with its answer, from the complete head to the one and only `finish`.

    Times are microseconds of the monotonic clock, 0 while not reached: `started` first byte, `received` head
    complete, `assigned` connection wanted, `connected` connection there, `first_byte` response head complete.
    `authority` and `host_sent` are None while the Host field says it all: then X-Forwarded-Host and Host are that.
    `target` is None while the target goes on as it came. `flags` are response flags (docs/protocol.md), separated by commas; `detail` says more in words.
    """

    def start(
        self, downstream: ClientSide, listener: ListenerRuntime, head: Head, started: int, received: int
    ) -> None:
        """Begin the record. Not `__init__`: a call of it would build tuples that a request can do without."""
        self.downstream = downstream
        self.upstream = None
        self.listener = listener
        self.head = head
        self.route = None
        self.service = None
        self.endpoint = None
        self.tried = None
        self.version = ""
        self.target = None
        self.authority = None
        self.host_sent = None
        self.request_id = None
        self.traceparent = None
        self.trusted = False
        self.keep_tracestate = False
        self.upgrade = False
        self.idempotent = False
        self.request_done = False
        self.answered = False
        self.waiting = False
        self.fresh_only = False
        self.to_head = False
        self.done = False
        self.kept = None
        self.kept_all = True
        self.attempts = 0
        self.status = 0
        self.upstream_status = 0
        self.flags = ""
        self.detail = ""
        self.denied = ""
        self.started = started
        self.received = received
        self.assigned = 0
        self.connected = 0
        self.first_byte = 0
        self.finished = 0
        self.body_bytes = 0
        self.bytes_in = 0
        self.bytes_out = 0

    def header(self, name: bytes) -> bytes | None:
        return self.head.get(name)

    def add_flag(self, flag: str) -> None:
        if flag and flag not in self.flags.split(","):
            self.flags = f"{self.flags},{flag}" if self.flags else flag


class RelayStream(PooledStream):
    """A stream that can pass what it receives straight on to another, and be passed to.

    Both directions are independent: an end is passed on as an end, and when both have ended both are closed.
    """

    def __init__(self) -> None:
        super().__init__()
        self.exchange = None
        self.other = None
        self.relaying = False
        self.held = False
        self.ended = False

    def start_relay(self, other: RelayStream) -> None:
        self.other = other
        self.relaying = True
        self.held = False
        self.ended = False

    def relay(self) -> None:
        """Pass on what there is, as long as the other side takes it."""
        other = self.other
        turns = 0
        while self.fd >= 0 and not self.held and not self.ended:
            buffer = self.buffer()
            if self.rx is None or not self.rx.length():
                got = self.fill()
                if got == AGAIN:
                    return
                if got <= 0:
                    self.relay_end()
                    return
                buffer = self.buffer()
            count = buffer.length()
            self.count_relayed(count)
            result = other.send_range(buffer, buffer.start, count)
            buffer.consume(count)
            if self.rx is not None:
                self.keep()
            if result < 0:
                self.relay_over()
                return
            if result > 0:
                self.held = True
                return
            turns += 1
            if turns == RELAY_TURNS:
                self.reactor.wake(self)
                return

    def relay_end(self) -> None:
        """This side sends no more."""
        self.ended = True
        other = self.other
        if self.error or other.fd < 0:
            self.relay_over()
        elif other.pending() == 0:
            other.shut_write()
            if other.ended and self.pending() == 0:
                self.relay_over()

    def relay_drained(self) -> None:
        """All that was passed to this side is on its way; its source may go on."""
        other = self.other
        if other is None:
            return
        if other.ended:
            self.shut_write()
            if self.ended and other.pending() == 0:
                self.relay_over()
        elif other.held:
            other.held = False
            self.reactor.wake(other)

    def relay_over(self) -> None:
        """Both directions have ended, or one is broken."""

    def count_relayed(self, count: int) -> None:
        """So many bytes have been received from this side."""


class ClientSide(RelayStream):
    """What the client's driver offers."""

    def interim(self, head: Head) -> None:
        """Pass on a 1xx response."""

    def response_head(self, exchange: Exchange, head: Head, framing: int) -> None:
        """Start the response; it is sent with the first data, or by flush_response."""

    def response_data(self, source: Buffer, start: int, count: int) -> None:
        """A piece of the body: `count` bytes of `source` from absolute index `start`."""

    def response_end(self, trailers: Head | None) -> None:
        """The body is complete."""

    def flush_response(self) -> int:
        """Send what has been collected. 0: all is on its way; 1: wait for resume_response; -1: the client is gone."""
        return 0

    def respond(self, data: bytes, close: bool) -> None:
        """Send a complete answer of our own; `close`: the connection ends with it."""

    def finished(self) -> None:
        """The exchange is over: go on with the next request, or close."""

    def resume_request(self) -> None:
        """The server's side can take request bytes (again)."""


class ServerSide(RelayStream):
    """What the upstream's driver offers."""

    def send_request(self, exchange: Exchange) -> None:
        """Send the head; body bytes follow by request_data."""

    def request_data(self, source: Buffer, start: int, count: int) -> int:
        """A piece of the request body. Result as of Stream.send."""
        return 0

    def request_end(self, trailers: Head | None) -> None:
        """The request body is complete."""

    def resume_response(self) -> None:
        """The client can take response bytes again."""

    def drop(self) -> None:
        """Close the connection; the exchange has let go of it."""
