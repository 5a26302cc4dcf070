"""Attempts of a request: from "this service" to an endpoint and back, and what happens when that goes wrong.

    assign -> pick an endpoint -> idle connection | new connection | wait in the queue
    connected -> head and body go out (Upstream) -> response_started -> complete
    any failure -> may it be sent again? -> assign anew | answer ourselves

The drivers call in; every decision is a rule of mesh/. Nothing here reads or writes sockets except through the drivers,
and nothing waits: what is to go on later has a deadline on the client's side (`pause`, `queue`).
"""

from __future__ import annotations

import errno

from discovery.exhaustion import OURS
from mesh.balance import Balancer, Candidate
from mesh.bonds import Bond
from mesh.breaker import FAILED, PROBE, UNKNOWN, WORKED
from mesh.replay import Sent, may_repeat
from mesh.retry import ATTEMPTS, EXHAUSTED
from mesh.sampling import penalty_us
from proxy.http1 import replies
from proxy.http1.codes import CONTENT_TYPE
from proxy.http1.parties import PAUSE_PHASE, Exchange, ServerSide
from proxy.http1.replies import Failure
from proxy.http1.retries import FOREVER, SOON, Retries
from proxy.kernel.buffer import Buffer
from proxy.kernel.emit import write_request_head
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
from proxy.stats.words import AFFINITY_BROKEN, CONNECTIONS_RESOURCE, PANIC_PICKS, PENDING_RESOURCE, RETRY_SUCCESSES
from proxy.upstream.endpoint import EndpointRuntime, is_breaker_open, pick_admitted, pick_bound
from proxy.upstream.queue import Waiter, is_free, join, serve
from proxy.upstream.split import both

# Attempts of one request that fail before anything was sent, or on a stale connection. A request that has met this
# many dead endpoints is not helped by a further one.
MOST_ATTEMPTS = 5

# The network says that it does not lead there.
UNROUTABLE = (errno.ENETUNREACH, errno.EHOSTUNREACH)

# Microseconds of a second.
MICROS = 1_000_000


class WaitingExchange(Waiter):
    """A request in the queue of its service."""

    def __init__(self, forwarder: Attempts, exchange: Exchange) -> None:
        self.forwarder = forwarder
        self.exchange = exchange

    def kind(self) -> object:
        exchange = self.exchange
        if exchange.bond is None and exchange.tried is None and exchange.route.subset is None:
            return exchange.version
        return self

    def may_go(self) -> bool:
        exchange = self.exchange
        forwarder = self.forwarder
        balancer = forwarder.balancer_of(exchange)
        now_ms = forwarder.reactor.now_ms
        bond = exchange.bond
        if bond is not None and balancer is not None:
            target = bond.target(balancer, exchange.tried, now_ms)
            if target is not None:
                return not target.full and exchange.service.has_room()
            if bond.forbids(exchange.tried):
                return True
        return is_free(exchange.service, balancer, exchange.tried, now_ms)

    def go(self) -> bool:
        client = self.exchange.downstream
        try:
            return self.forwarder.leave_queue(self.exchange)
        except Exception as bug:
            # Whose connection became free, and so led here, has no part in it.
            self.forwarder.reactor.report(client, bug)
            return True


class Attempts(Retries):
    """The third layer of a worker's Forwarder."""

    def keep_body(self, exchange: Exchange, source: Buffer, start: int, count: int) -> None:
        """Keep a piece of a request body as long as the request could be sent again and the limit allows."""
        exchange.body_bytes += count
        if exchange.tap is not None:
            exchange.tap.take(source, start, count)
        if not exchange.kept_all:
            return
        if not exchange.idempotent or exchange.body_bytes > self.settings.replay_body:
            exchange.kept_all = False
            exchange.kept = None
            return
        if exchange.kept is None:
            exchange.kept = Buffer(count)
        exchange.kept.append_range(source, start, count)

    def balancer_of(self, exchange: Exchange) -> Balancer | None:
        """The balancer of the endpoints that the request may go to; None when there are none."""
        return exchange.service.balancer_of(exchange.version, exchange.route.subset, exchange)

    def pick_bound(self, exchange: Exchange, balancer: Balancer, bond: Bond, now: int) -> EndpointRuntime | None:
        """The endpoint for a client that belongs to one. A bond that could not be kept is told once."""
        endpoint = pick_bound(balancer, bond, exchange, exchange.tried, now, exchange.route.subset is not None)
        if bond.is_broken and not bond.is_told:
            bond.is_told = True
            exchange.add_flag("ab")
            exchange.service.shared.add(AFFINITY_BROKEN, 1)
        return endpoint

    def replayable(self, exchange: Exchange) -> bool:
        """Whether the request may go on a connection that could turn out to be closed."""
        return exchange.idempotent and (exchange.request_done or exchange.kept_all)

    def assign(self, exchange: Exchange) -> None:
        """Give the exchange an endpoint and a connection."""
        # A first attempt that had not to wait begins when the request was received, and needs no look at the clock.
        waited = exchange.waits_since != 0 or exchange.paused_until != 0
        at_once = exchange.attempts == 0 and not exchange.fresh_only and not waited
        exchange.assigned = exchange.received if at_once else self.reactor.micros()
        balancer = self.balancer_of(exchange)
        bond = exchange.bond
        endpoint: EndpointRuntime | None = None
        if balancer is not None:
            now = exchange.assigned
            balancer.panicked = False
            if bond is None:
                endpoint = pick_admitted(balancer, exchange, exchange.tried, now)
            else:
                endpoint = self.pick_bound(exchange, balancer, bond, now)
            if balancer.panicked:
                exchange.add_flag("pa")
                exchange.service.shared.add(PANIC_PICKS, 1)
        if endpoint is None:
            self.no_endpoint(exchange, balancer)
            return
        probing = endpoint.admission == PROBE
        stream = None
        if not exchange.fresh_only:
            stream = endpoint.take(self.replayable(exchange), exchange.assigned)
        if stream is not None:
            self.begin_attempt(exchange, endpoint, probing)
            server: ServerSide = stream  # type: ignore[assignment]  # the pool keeps what the connector made
            exchange.connected = exchange.assigned
            self.attach(exchange, server)
            server.send_request(exchange)
            return
        if not endpoint.make_room():
            if probing:
                endpoint.attempt_over(UNKNOWN, True, self.reactor.now_ms)
            self.queue(exchange)
            return
        self.begin_attempt(exchange, endpoint, probing)
        server = self.connector(self, endpoint)
        self.attach(exchange, server)
        error = server.connect(self.reactor, endpoint.address)
        if error:
            endpoint.not_opened()
            self.connect_failed(exchange, server, error)
            return
        endpoint.opened()
        connect = self.settings.connect
        plan = exchange.plan
        if plan is not None and 0.0 < plan.per_try < connect:
            connect = plan.per_try
        server.set_timeout(connect)

    def no_endpoint(self, exchange: Exchange, balancer: Balancer | None) -> None:
        """Nothing was picked."""
        bond = exchange.bond
        if bond is not None and bond.forbids(exchange.tried):
            self.fail(exchange, replies.NO_ENDPOINT, "the endpoint that the client belongs to takes no requests")
        else:
            self.fail(exchange, replies.BREAKER_OPEN if is_breaker_open(balancer) else replies.NO_ENDPOINT, "")

    def begin_attempt(self, exchange: Exchange, endpoint: EndpointRuntime, probing: bool) -> None:
        exchange.attempts += 1
        exchange.discarded = 0
        exchange.endpoint = endpoint
        exchange.reported = False
        exchange.probing = probing
        endpoint.slot.add(ACTIVE, 1)

    def attach(self, exchange: Exchange, server: ServerSide) -> None:
        exchange.upstream = server
        server.exchange = exchange

    def queue(self, exchange: Exchange) -> None:
        """All connections the service may have are busy: wait, up to the limit and not longer than a connect may."""
        if exchange.is_copy:
            self.fail(exchange, replies.OVERFLOW, "")
            return
        waiter = WaitingExchange(self, exchange)
        if not join(exchange.service, waiter):
            self.fail(exchange, replies.OVERFLOW, exchange.service.refused(PENDING_RESOURCE))
            return
        now = self.reactor.micros()
        if exchange.waits_since == 0:
            exchange.waits_since = now
        exchange.waiting = waiter
        left = self.settings.connect - (now - exchange.waits_since) / MICROS
        if exchange.timeout > 0.0:
            left = min(left, self.total_left(exchange, now))
        exchange.downstream.set_timeout(max(left, SOON))

    def pause(self, exchange: Exchange, seconds: float, kind: int) -> None:
        """Do nothing for a while, then go on: with the phases (PAUSE_PHASE) or another attempt (PAUSE_RETRY)."""
        now = self.reactor.micros()
        exchange.pause = kind
        exchange.paused_until = now + int(seconds * MICROS)
        left = seconds
        if exchange.timeout > 0.0:
            left = min(left, self.total_left(exchange, now))
        exchange.downstream.set_timeout(max(left, SOON))

    def pause_over(self, exchange: Exchange) -> None:
        """A pause has ended, or the time of the whole request has while it lasted."""
        now = self.reactor.micros()
        kind = exchange.pause
        exchange.pause = 0
        if exchange.timeout > 0.0:
            if now < exchange.paused_until and self.total_left(exchange, now) <= SOON:
                self.refuse(exchange, replies.REQUEST_TIMEOUT, "")
                return
            exchange.downstream.set_timeout(self.total_left(exchange, now))
        else:
            exchange.downstream.clear_timeout()
        if kind == PAUSE_PHASE:
            self.proceed(exchange)
        else:
            self.assign_again(exchange)

    def proceed(self, exchange: Exchange) -> None:
        """Go on with the phases; the Forwarder does."""
        raise NotImplementedError

    def total_left(self, exchange: Exchange, now: int) -> float:
        """Seconds that a request with a total timeout still has."""
        return max(exchange.timeout - (now - exchange.received) / MICROS, SOON)

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
        forward_as.deadline = self.deadline(exchange) if exchange.service.deadline_header else -1
        write_request_head(
            out, exchange.head, exchange.target, exchange.host_sent, forward_as, route.request_edits, exchange.upgrade
        )

    def deadline(self, exchange: Exchange) -> int:
        """Milliseconds that the endpoint has for this attempt, -1 for no limit: what is left of the request's time and
        of the attempt's, or less where a trusted proxy in front of us says so."""
        now = self.reactor.micros()
        left = FOREVER
        if exchange.timeout > 0.0:
            left = self.total_left(exchange, now)
        plan = exchange.plan
        if plan is not None and plan.per_try > 0.0:
            left = min(left, max(plan.per_try - (now - exchange.assigned) / MICROS, SOON))
        if exchange.trusted:
            theirs = exchange.head.get(b"x-envoy-expected-rq-timeout-ms")
            if theirs is not None and theirs.isdigit():
                left = min(left, int(theirs[:9]) / 1000)
        return -1 if left == FOREVER else int(left * 1000)

    def head_timeout(self, exchange: Exchange, since: int) -> float:
        """Seconds for which an endpoint that has all of a request may take until the head of its response is here.
        `since`: when the attempt began, or its request became complete, in microseconds."""
        left = self.settings.response_header
        plan = exchange.plan
        if plan is not None and plan.per_try > 0.0:
            left = min(left, max(plan.per_try - (self.reactor.micros() - since) / MICROS, SOON))
        return left

    def connected(self, exchange: Exchange, server: ServerSide) -> None:
        """The connection that was opened for this exchange is there."""
        now = self.reactor.micros()
        slot = server.endpoint.slot
        slot.add(CONNECTS, 1)
        slot.add(CONNECT_MICROSECONDS, now - exchange.assigned)
        exchange.connected = now
        server.send_request(exchange)

    def response_started(self, exchange: Exchange, head: Head) -> None:
        """The head of the final response is here, and goes to the client."""
        exchange.first_byte = self.reactor.micros()
        exchange.status = head.status
        exchange.upstream_status = head.status
        exchange.answered = True
        exchange.kept = None
        # One with a length has an end.
        stays_open = head.status == 101 or (head.content_length < 0 and self.is_event_stream(head))
        outcome = exchange.service.outcome_of(head.status)
        endpoint = exchange.endpoint
        if endpoint is not None and endpoint.measured:
            penalty = penalty_us(head.get(b"retry-after")) if outcome == FAILED or head.status == 429 else 0
            endpoint.observe(exchange.first_byte - exchange.assigned, penalty, exchange.first_byte)
        # A response that breaks off is an error of its endpoint, so that one has worked is known at its end. What is
        # meant to stay open does not keep the news back that long, and a probe its place.
        if outcome == FAILED or exchange.probing or stays_open:
            self.report(exchange, outcome)
        bond = exchange.bond
        if bond is not None:
            answering: EndpointRuntime = exchange.endpoint  # type: ignore[assignment]  # it is, or there was no head
            line = bond.line_for(answering, exchange.first_byte // 1000)
            if line is not None:
                exchange.cookies = both(exchange.cookies, line)
        if exchange.retries:
            self.retry_over(exchange)
            if not exchange.denied:
                exchange.service.shared.add(RETRY_SUCCESSES, 1)
        if stays_open and exchange.timeout > 0.0:
            # A total would cut it.
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
        self.report(exchange, WORKED)
        # Back to the pool, or closed; either may serve a request that waits.
        reusable = reusable and exchange.request_done and not self.draining and not server.personal
        if not (reusable and server.endpoint.give(server, exchange.finished)):
            server.drop()
        self.finish(exchange)
        client.finished()

    def answer_thrown_away(
        self, exchange: Exchange, server: ServerSide, status: int, reusable: bool, wait: float
    ) -> None:
        """The policy did not want the response, and it is gone; the request is sent again after `wait` seconds."""
        now = self.reactor.micros()
        service = exchange.service
        exchange.upstream = None
        exchange.discarded = status
        server.exchange = None
        server.endpoint.slot.count_request(status, now - exchange.connected, 0, 0)
        self.report(exchange, service.outcome_of(status))
        if not (reusable and exchange.request_done and not server.personal and server.endpoint.give(server, now)):
            server.drop()
        self.leave_endpoint(exchange)
        if service.pending:
            serve(service)
        self.try_again(exchange, wait)

    def response_timed_out(self, exchange: Exchange, server: ServerSide) -> None:
        """No response head within the time of the attempt."""
        if exchange.plan is None:
            self.refuse(exchange, replies.RESPONSE_TIMEOUT, "")
        else:
            self.server_failed(exchange, server, replies.RESPONSE_TIMEOUT, "")

    def connect_failed(self, exchange: Exchange, server: ServerSide, error: int) -> None:
        """No connection (`error` is an errno, ETIMEDOUT for our own deadline): nothing was sent, so try another."""
        endpoint = server.endpoint
        timed_out = error == errno.ETIMEDOUT
        ours = error in OURS
        if not ours:
            endpoint.slot.add(CONNECT_TIMEOUTS if timed_out else CONNECT_FAILURES, 1)
        failure = replies.CONNECT_TIMEOUT if timed_out else replies.CONNECT_REFUSED
        if error in UNROUTABLE:
            failure = replies.CONNECT_UNROUTABLE
        elif ours:
            failure = replies.CONNECT_EXHAUSTED
        self.report(exchange, UNKNOWN if ours else FAILED)
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
        self.report(exchange, UNKNOWN if reused else FAILED)
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
            keyed=exchange.idempotent,
        )
        if repeat.allowed and exchange.attempts - exchange.retries < MOST_ATTEMPTS:
            self.leave_endpoint(exchange)
            exchange.service.slot.add(REPLAYS, 1)
            exchange.downstream.held = True
            self.assign(exchange)
            return
        plan = exchange.plan
        if plan is not None and plan.wants_failure(sent != Sent.NOTHING):
            wait = self.may_go_on(exchange, self.law(exchange, sent), -1.0)
            if wait >= 0.0:
                self.leave_endpoint(exchange)
                self.try_again(exchange, wait)
                return
            if exchange.denied in EXHAUSTED:
                exchange.add_flag(failure.flag)
                exchange.detail = detail
                self.fail(exchange, replies.RETRIES_EXHAUSTED, "")
                return
        else:
            self.deny(exchange, ATTEMPTS if repeat.allowed else repeat.reason)
        self.fail(exchange, failure, detail)

    def has_untried(self, exchange: Exchange) -> bool:
        """Whether there is a usable endpoint that this request has not met. Asking moves no rotation on."""
        return self.has_other(exchange, exchange.tried)

    def has_other(self, exchange: Exchange, tried: list[Candidate] | None) -> bool:
        balancer = self.balancer_of(exchange)
        if balancer is None:
            return False
        bond = exchange.bond
        now_ms = self.reactor.now_ms
        if bond is not None and bond.target(balancer, tried, now_ms) is None and bond.forbids(tried):
            return False
        return balancer.has_usable(tried, now_ms)

    def total_timeout(self, exchange: Exchange) -> None:
        """The client side's deadline: the route's total, the longest wait for a connection, or the end of a pause."""
        if exchange.waiting is not None:
            exchange.service.slot.add(OVERFLOWS, 1)
            reason = exchange.service.refused(CONNECTIONS_RESOURCE)
            self.refuse(exchange, replies.PENDING_TIMEOUT, f"{replies.PENDING_TIMEOUT.detail}: {reason}")
        elif exchange.pause:
            self.pause_over(exchange)
        else:
            if exchange.upstream is not None and exchange.request_done and exchange.attempts == 1:
                # It had all of the request and all of the time. Another attempt had less, and is not blamed.
                self.report(exchange, FAILED)
            self.refuse(exchange, replies.REQUEST_TIMEOUT, "")
