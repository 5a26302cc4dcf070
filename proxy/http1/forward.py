"""The way of a request: from a complete head to an endpoint and back, and what happens when that goes wrong.

    begin -> read_request (intake) -> route -> phases -> service, version -> assign
    assign -> pick an endpoint -> idle connection | new connection | wait in the queue
    connected -> head and body go out (Upstream) -> response_started -> complete
    any failure -> may it be sent again? -> assign anew | answer ourselves
    finish, exactly once: statistics, access log

The drivers call in; every decision is a rule of mesh/ or a table of replies. Nothing here reads or writes sockets
except through the drivers, and nothing waits.
"""

from __future__ import annotations

import errno
from collections.abc import Callable

from discovery.model import UrlRewrite
from mesh.balance import Balancer
from mesh.edits import rewrite_target
from mesh.replay import Sent, may_repeat
from proxy.accesslog import AccessLog
from proxy.http1 import replies
from proxy.http1.codes import CONTENT_TYPE, IDEMPOTENT_METHODS
from proxy.http1.intake import read_request
from proxy.http1.parties import ClientSide, Exchange, ListenerRuntime, RouteRuntime, ServerSide
from proxy.http1.replies import Failure
from proxy.http1.settings import HttpSettings
from proxy.kernel.buffer import Buffer
from proxy.kernel.cells import Slot
from proxy.kernel.emit import ForwardAs, write_request_head
from proxy.kernel.entropy import new_request_id, random_unit
from proxy.kernel.netio import Reactor
from proxy.kernel.scan import Head
from proxy.stats.slots import (
    ACTIVE,
    CONNECT_FAILURES,
    CONNECT_MICROSECONDS,
    CONNECT_TIMEOUTS,
    CONNECTS,
    OVERFLOWS,
    REPLAYS,
)
from proxy.upstream.endpoint import EndpointRuntime
from proxy.upstream.queue import Waiter, is_free, join, leave, serve

# Attempts of one request that fail before anything was sent, or on a stale connection. A request that has met this
# many dead endpoints is not helped by a further one.
MOST_ATTEMPTS = 5

# Microseconds of a second, and the shortest time for which a deadline is set (seconds).
MICROS = 1_000_000
SOON = 0.001

# Heads kept for reuse, and the largest worth keeping (bytes): one huge request must not occupy memory for ever.
SPARE_HEADS = 64
SPARE_SIZE = 4096


class WaitingExchange(Waiter):
    """A request in the queue of its service."""

    def __init__(self, forwarder: Forwarder, exchange: Exchange) -> None:
        self.forwarder = forwarder
        self.exchange = exchange

    def may_go(self) -> bool:
        exchange = self.exchange
        return is_free(exchange.service, self.forwarder.balancer_of(exchange), exchange.tried)

    def go(self) -> bool:
        client = self.exchange.downstream
        try:
            return self.forwarder.leave_queue(self.exchange)
        except Exception as bug:
            # Whose connection became free, and so led here, has no part in it.
            self.forwarder.reactor.report(client, bug)
            return True


class Forwarder:
    """One per worker. `connector(endpoint)` makes an unconnected ServerSide; `log` is None while there is none."""

    reactor: Reactor
    settings: HttpSettings
    connector: Callable[[Forwarder, EndpointRuntime], ServerSide]
    log: AccessLog | None
    worker_slot: Slot
    draining: bool
    active: int  # exchanges begun and not finished
    forward_as: ForwardAs
    spare_heads: list[Head]

    def __init__(
        self,
        reactor: Reactor,
        settings: HttpSettings,
        connector: Callable[[Forwarder, EndpointRuntime], ServerSide],
        worker_slot: Slot,
        log: AccessLog | None = None,
    ) -> None:
        self.reactor = reactor
        self.settings = settings
        self.connector = connector
        self.worker_slot = worker_slot
        self.log = log
        self.draining = False
        self.active = 0
        self.forward_as = ForwardAs()
        self.spare_heads = []

    def take_head(self) -> Head:
        return self.spare_heads.pop() if self.spare_heads else Head()

    def give_head(self, head: Head) -> None:
        if head.capacity <= SPARE_SIZE and len(self.spare_heads) < SPARE_HEADS:
            self.spare_heads.append(head)

    def keep_body(self, exchange: Exchange, source: Buffer, start: int, count: int) -> None:
        """Keep a piece of a request body as long as the request could be sent again and the limit allows."""
        exchange.body_bytes += count
        if not exchange.kept_all:
            return
        if not exchange.idempotent or exchange.body_bytes > self.settings.replay_body:
            exchange.kept_all = False
            exchange.kept = None
            return
        if exchange.kept is None:
            exchange.kept = Buffer(count)
        exchange.kept.append_range(source, start, count)

    # --- from a head to an endpoint -----------------------------------------------------------------------------

    def begin(self, exchange: Exchange) -> None:
        """A request head is complete and its framing known."""
        head = exchange.head
        self.active += 1
        exchange.listener.slot.add(ACTIVE, 1)
        failure = read_request(exchange, self.settings)
        if failure is not None:
            self.fail(exchange, failure, "")
            return
        # The route. Its phases may answer; otherwise a service does.
        # What a listener's router matches with is what proxy/table.py gave it.
        route: RouteRuntime | None = exchange.listener.router.match(exchange)  # type: ignore[assignment]
        if route is None:
            self.fail(exchange, replies.NO_ROUTE, "")
            return
        exchange.route = route
        for phase in route.phases:
            verdict = phase.run(exchange)
            if verdict is not None:
                exchange.add_flag(verdict.flag)
                self.answer(exchange, verdict.status, verdict.fields, verdict.body, False)
                return
        failure = self.choose(exchange)
        if failure is not None:
            self.fail(exchange, failure, "")
            return
        if route.rewrite is not None:
            self.rewrite(exchange, route.rewrite)
        exchange.idempotent = (IDEMPOTENT_METHODS >> head.method_id & 1) != 0
        exchange.timeout = route.timeout if route.timeout >= 0.0 else exchange.service.timeout
        if exchange.timeout > 0.0:
            exchange.downstream.set_timeout(exchange.timeout)
        self.assign(exchange)

    def choose(self, exchange: Exchange) -> Failure | None:
        """Service and version: the route's, or drawn."""
        route = exchange.route
        split = route.split
        service = route.service
        version = route.version
        if split is None and service is not None and not version:
            split = service.split
        if split is not None:
            drawn = split.draw_usable(random_unit())
            service = drawn.service
            version = drawn.version
            if drawn.failed_over:
                exchange.add_flag("fo")
        if service is None:
            return replies.BAD_BACKEND
        exchange.service = service
        exchange.version = version
        service.slot.add(ACTIVE, 1)
        if service.max_total and service.pending:
            # Another worker may have made room, and those who wait come first.
            serve(service)
        return None

    def rewrite(self, exchange: Exchange, rewrite: UrlRewrite) -> None:
        path = exchange.path
        if path != b"*":
            path = rewrite_target(rewrite, exchange.route.matched_prefix, path)
        question = b"?" in (exchange.target if exchange.target is not None else exchange.head.target())
        exchange.target = path + b"?" + exchange.query if question else path
        if rewrite.host is not None:
            exchange.host_sent = rewrite.host.encode()

    def balancer_of(self, exchange: Exchange) -> Balancer | None:
        service = exchange.service
        if exchange.version:
            return service.versions.get(exchange.version)
        return service.balancer

    def replayable(self, exchange: Exchange) -> bool:
        """Whether the request may go on a connection that could turn out to be closed."""
        return exchange.idempotent and (exchange.request_done or exchange.kept_all)

    def assign(self, exchange: Exchange) -> None:
        """Give the exchange an endpoint and a connection."""
        balancer = self.balancer_of(exchange)
        endpoint: EndpointRuntime | None = None
        if balancer is not None:
            # The candidates of a service's balancers are its endpoints.
            endpoint = balancer.pick(exchange, exchange.tried)  # type: ignore[assignment]
        if endpoint is None or (exchange.tried is not None and endpoint in exchange.tried):
            self.fail(exchange, replies.NO_ENDPOINT, "")
            return
        exchange.assigned = (
            exchange.received if exchange.attempts == 0 and not exchange.fresh_only else self.reactor.micros()
        )
        stream = None
        if not exchange.fresh_only:
            stream = endpoint.take(self.replayable(exchange), exchange.assigned)
        if stream is not None:
            exchange.attempts += 1
            server: ServerSide = stream  # type: ignore[assignment]  # the pool keeps what the connector made
            exchange.endpoint = endpoint
            endpoint.slot.add(ACTIVE, 1)
            exchange.connected = exchange.assigned
            self.attach(exchange, server)
            server.send_request(exchange)
            return
        if not endpoint.make_room():
            self.queue(exchange)
            return
        exchange.attempts += 1
        exchange.endpoint = endpoint
        endpoint.slot.add(ACTIVE, 1)
        server = self.connector(self, endpoint)
        self.attach(exchange, server)
        error = server.connect(self.reactor, endpoint.address)
        if error:
            endpoint.not_opened()
            self.connect_failed(exchange, server, error)
            return
        endpoint.opened()
        server.set_timeout(self.settings.connect)

    def attach(self, exchange: Exchange, server: ServerSide) -> None:
        exchange.upstream = server
        server.exchange = exchange

    def queue(self, exchange: Exchange) -> None:
        """All connections the service may have are busy: wait, up to the limit and not longer than a connect may."""
        waiter = WaitingExchange(self, exchange)
        if not join(exchange.service, waiter):
            self.fail(exchange, replies.OVERFLOW, "")
            return
        now = self.reactor.micros()
        if exchange.waits_since == 0:
            exchange.waits_since = now
        exchange.waiting = waiter
        left = self.settings.connect - (now - exchange.waits_since) / MICROS
        if exchange.timeout > 0.0:
            left = min(left, self.total_left(exchange, now))
        exchange.downstream.set_timeout(max(left, SOON))

    def total_left(self, exchange: Exchange, now: int) -> float:
        """Seconds that a request with a total timeout still has."""
        return max(exchange.timeout - (now - exchange.received) / MICROS, SOON)

    def stop_waiting(self, exchange: Exchange) -> None:
        waiter = exchange.waiting
        if waiter is not None:
            exchange.waiting = None
            leave(exchange.service, waiter)

    def leave_queue(self, exchange: Exchange) -> bool:
        """The turn of an exchange that waited has come. False: it waits again: only what it has tried was free."""
        exchange.waiting = None
        if exchange.timeout > 0.0:
            exchange.downstream.set_timeout(self.total_left(exchange, self.reactor.micros()))
        else:
            exchange.downstream.clear_timeout()
        self.assign(exchange)
        return exchange.waiting is None

    def write_head(self, exchange: Exchange, out: Buffer) -> None:
        """The request head as the upstream gets it."""
        forward_as = self.forward_as
        route = exchange.route
        forward_as.peer = exchange.downstream.peer
        forward_as.host = exchange.authority
        forward_as.port = exchange.listener.port
        forward_as.trusted = exchange.trusted
        forward_as.request_id = exchange.request_id
        forward_as.traceparent = exchange.traceparent
        forward_as.keep_tracestate = exchange.keep_tracestate
        forward_as.via = self.settings.via
        write_request_head(
            out, exchange.head, exchange.target, exchange.host_sent, forward_as, route.request_edits, exchange.upgrade
        )

    def connected(self, exchange: Exchange, server: ServerSide) -> None:
        """The connection that was opened for this exchange is there."""
        now = self.reactor.micros()
        slot = server.endpoint.slot
        slot.add(CONNECTS, 1)
        slot.add(CONNECT_MICROSECONDS, now - exchange.assigned)
        exchange.connected = now
        server.send_request(exchange)

    # --- the answer -----------------------------------------------------------------------------------------------

    def response_started(self, exchange: Exchange, head: Head) -> None:
        """The head of the final response is here, and goes to the client."""
        exchange.first_byte = self.reactor.micros()
        exchange.status = head.status
        exchange.upstream_status = head.status
        exchange.answered = True
        exchange.kept = None
        if exchange.timeout > 0.0 and (head.status == 101 or self.is_event_stream(head)):
            # A total would cut what is meant to stay open.
            exchange.downstream.clear_timeout()

    def is_event_stream(self, head: Head) -> bool:
        kind = head.get_id(CONTENT_TYPE)
        return kind is not None and kind.lower().startswith(b"text/event-stream")

    def complete(self, exchange: Exchange, server: ServerSide, reusable: bool) -> None:
        """The response has been passed on completely."""
        client = exchange.downstream
        exchange.upstream = None
        server.exchange = None
        exchange.finished = self.reactor.micros()
        # Back to the pool, or closed; either may serve a request that waits.
        reusable = reusable and exchange.request_done and not self.draining and not server.personal
        if not (reusable and server.endpoint.give(server, exchange.finished)):
            server.drop()
        self.finish(exchange)
        client.finished()

    def finish(self, exchange: Exchange) -> None:
        """The one end of every exchange: count it, log it, let go of everything."""
        if exchange.done:
            return
        exchange.done = True
        # Everything below lets go of the exchange; a caller may have held it by one of those references only.
        self.reactor.hold(exchange)
        self.active -= 1
        if exchange.finished == 0:
            exchange.finished = self.reactor.micros()
        now = exchange.finished
        elapsed = now - exchange.started
        exchange.listener.slot.add(ACTIVE, -1)
        exchange.listener.slot.count_request(exchange.status, elapsed, exchange.bytes_in, exchange.bytes_out)
        if exchange.route is not None:
            exchange.route.slot.count_request(exchange.status, elapsed, exchange.bytes_in, exchange.bytes_out)
        service = exchange.service
        if service is not None:
            service.slot.add(ACTIVE, -1)
            service.slot.count_request(exchange.status, elapsed, exchange.bytes_out, exchange.bytes_in)
        endpoint = exchange.endpoint
        if endpoint is not None:
            endpoint.slot.add(ACTIVE, -1)
            if exchange.upstream_status:
                elapsed = now - exchange.connected
                endpoint.slot.count_request(exchange.upstream_status, elapsed, exchange.bytes_out, exchange.bytes_in)
        if self.log is not None:
            try:
                self.log.write(exchange)
            except Exception as bug:
                # All else about the exchange is done: nobody would ever end the client's wait.
                self.reactor.tell_bug(exchange.downstream, bug)
        head = exchange.head
        exchange.head = None  # type: ignore[assignment]
        exchange.upstream = None
        exchange.kept = None
        if exchange.downstream.exchange is exchange:
            exchange.downstream.exchange = None
        exchange.downstream = None  # type: ignore[assignment]
        self.give_head(head)
        if service is not None and service.pending:
            serve(service)

    # --- when it goes wrong ---------------------------------------------------------------------------------------

    def let_go(self, exchange: Exchange) -> None:
        """Part with the server's side; its connection is closed."""
        server = exchange.upstream
        if server is not None:
            exchange.upstream = None
            server.exchange = None
            server.drop()

    def leave_endpoint(self, exchange: Exchange) -> None:
        """The attempt at this endpoint is over and another may follow."""
        if exchange.endpoint is not None:
            exchange.endpoint.slot.add(ACTIVE, -1)
            exchange.endpoint = None

    def connect_failed(self, exchange: Exchange, server: ServerSide, error: int) -> None:
        """No connection (`error` is an errno, ETIMEDOUT for our own deadline): nothing was sent, so try another."""
        endpoint = server.endpoint
        timed_out = error == errno.ETIMEDOUT
        endpoint.slot.add(CONNECT_TIMEOUTS if timed_out else CONNECT_FAILURES, 1)
        failure = replies.CONNECT_TIMEOUT if timed_out else replies.CONNECT_REFUSED
        self.let_go(exchange)
        if exchange.tried is None:
            exchange.tried = []
        exchange.tried.append(endpoint)
        detail = f"{endpoint.endpoint.address}: {errno.errorcode.get(error, str(error))}"
        self.again_or_fail(exchange, Sent.NOTHING, False, failure, detail)

    def server_failed(self, exchange: Exchange, server: ServerSide, failure: Failure, detail: str) -> None:
        """The connection ended, or what it sent was no response, before a response head was complete."""
        silent = server.rx is None and server.interim_count == 0
        reused = silent and server.uses > 1 and failure in (replies.UPSTREAM_CLOSED, replies.UPSTREAM_RESET)
        self.let_go(exchange)
        sent = Sent.BODY if exchange.body_bytes else Sent.HEAD
        if reused:
            exchange.fresh_only = True
        elif exchange.endpoint is not None:
            if exchange.tried is None:
                exchange.tried = []
            exchange.tried.append(exchange.endpoint)
        self.again_or_fail(exchange, sent, reused, failure, detail)

    def again_or_fail(self, exchange: Exchange, sent: Sent, reused: bool, failure: Failure, detail: str) -> None:
        repeat = may_repeat(
            exchange.method,
            sent,
            reused=reused,
            response_started=exchange.answered,
            body_kept=exchange.kept_all or not exchange.body_bytes,
            endpoint_left=self.has_untried(exchange),
        )
        if not repeat.allowed or exchange.attempts >= MOST_ATTEMPTS:
            exchange.denied = repeat.reason if not repeat.allowed else "attempts"
            self.fail(exchange, failure, detail)
            return
        self.leave_endpoint(exchange)
        exchange.service.slot.add(REPLAYS, 1)
        exchange.downstream.held = True
        self.assign(exchange)

    def has_untried(self, exchange: Exchange) -> bool:
        """Whether there is a usable endpoint that this request has not met. Asking moves no rotation on."""
        balancer = self.balancer_of(exchange)
        tried = exchange.tried
        return balancer is not None and any(
            candidate.usable and candidate.weight > 0 and (tried is None or candidate not in tried)
            for candidate in balancer.candidates
        )

    def response_broken(self, exchange: Exchange, failure: Failure, detail: str) -> None:
        """The response stopped half-way: nothing can be said any more, so the client is told by a broken connection."""
        exchange.add_flag(failure.flag)
        exchange.detail = detail
        client = exchange.downstream
        self.let_go(exchange)
        self.finish(exchange)
        client.abort()

    def client_gone(self, exchange: Exchange) -> None:
        """The client closed before its answer was complete."""
        exchange.add_flag("DC")
        if not exchange.answered:
            exchange.status = 499
        self.stop_waiting(exchange)
        self.let_go(exchange)
        self.finish(exchange)

    def refuse_bytes(self, downstream: ClientSide, listener: ListenerRuntime, failure: Failure) -> None:
        """Answer what is no request. It is counted and logged like one."""
        now = self.reactor.micros()
        exchange = Exchange.__new__(Exchange)
        exchange.start(downstream, listener, Head(), now, now)
        exchange.method = exchange.path = b"-"
        exchange.host = exchange.query = b""
        exchange.client = downstream.peer
        exchange.request_id = new_request_id()
        exchange.request_done = True
        self.active += 1
        listener.slot.add(ACTIVE, 1)
        self.fail(exchange, failure, "")

    def refuse_new(self, exchange: Exchange, failure: Failure) -> None:
        """Answer a request whose head is good but that is not begun."""
        self.active += 1
        exchange.listener.slot.add(ACTIVE, 1)
        read_request(exchange, self.settings)
        exchange.detail = ""
        self.fail(exchange, failure, "")

    def relay_finished(self, exchange: Exchange) -> None:
        """An upgraded connection has ended; the drivers close both sides."""
        upstream = exchange.upstream
        exchange.upstream = None
        if upstream is not None:
            upstream.exchange = None
        self.finish(exchange)

    def refuse(self, exchange: Exchange, failure: Failure, detail: str) -> None:
        """Answer a request that goes no further, wherever it is."""
        if exchange.answered:
            self.response_broken(exchange, failure, detail)
            return
        self.stop_waiting(exchange)
        self.let_go(exchange)
        self.fail(exchange, failure, detail)

    def total_timeout(self, exchange: Exchange) -> None:
        """The client side's deadline: the route's total, or the longest wait for a connection."""
        if exchange.waiting is not None:
            exchange.service.slot.add(OVERFLOWS, 1)
            self.refuse(exchange, replies.PENDING_TIMEOUT, "")
        else:
            self.refuse(exchange, replies.REQUEST_TIMEOUT, "")

    def fail(self, exchange: Exchange, failure: Failure, detail: str) -> None:
        """Answer with a failure of the table."""
        exchange.add_flag(failure.flag)
        if detail:
            exchange.detail = detail
        elif not exchange.detail:
            exchange.detail = failure.detail
        accept = exchange.head.get(b"accept")
        fields, body = replies.render_failure(
            failure, self.settings.name, exchange.detail, exchange.request_id, accept, exchange.attempts
        )
        self.answer(exchange, failure.status, fields, body, failure.close)

    def answer(
        self, exchange: Exchange, status: int, fields: list[tuple[bytes, bytes]], body: bytes, close: bool
    ) -> None:
        """Send an answer of our own and end the exchange."""
        client = exchange.downstream
        exchange.status = status
        if close or not exchange.request_done or self.draining:
            client.closing = True
        connection = b""
        if client.closing or not client.keep_alive:
            connection = b"close"
        elif exchange.head.minor == 0:
            connection = b"keep-alive"
        edits = exchange.route.response_edits if exchange.route is not None else None
        data = replies.render_answer(status, fields, body, exchange.to_head, connection, edits)
        exchange.bytes_out += len(data)
        client.respond(data, client.closing)
        self.finish(exchange)
        client.finished()
