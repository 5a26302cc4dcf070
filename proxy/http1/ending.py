"""How requests end, well or not: the answer of ours, the statistics, the line in the log.

`finish`, exactly once, is the end of every exchange. `fail` answers with a line of the table in proxy/http1/replies,
`answer` with anything else that is ours. Nothing here looks for an endpoint: that is proxy/http1/attempts.py, which
builds on this, and proxy/http1/forward.py builds on both.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from mesh.breaker import FAILED, UNKNOWN, WORKED
from mesh.draws import Draws
from mesh.sampling import penalty_us
from proxy.accesslog import AccessLog
from proxy.http1 import replies
from proxy.http1.intake import read_request
from proxy.http1.parties import ClientSide, Exchange, ListenerRuntime, ServerSide
from proxy.http1.ready import ReadyAnswers
from proxy.http1.records import Records
from proxy.http1.replies import Failure
from proxy.http1.settings import HttpSettings
from proxy.kernel.cells import Slot
from proxy.kernel.emit import ForwardAs
from proxy.kernel.entropy import new_request_id, random_unit
from proxy.kernel.netio import Reactor
from proxy.kernel.scan import Head
from proxy.stats.slots import ACTIVE
from proxy.upstream.queue import leave, serve

if TYPE_CHECKING:  # made while somebody looks on
    from proxy.taps import Taps

# Heads kept for reuse, and the largest worth keeping (bytes): one huge request must not occupy memory for ever.
SPARE_HEADS = 64
SPARE_SIZE = 4096

# What ends a response half-way and is the endpoint's doing.
ENDPOINT_FAILURES = (
    replies.UPSTREAM_CLOSED,
    replies.UPSTREAM_RESET,
    replies.UPSTREAM_PROTOCOL,
    replies.RESPONSE_TIMEOUT,
)


class Ending:
    """One per worker, as the lowest layer of its Forwarder. `connector(forwarder, endpoint)` makes an unconnected
    ServerSide; `log`, `records` and `taps` are None while there are none."""

    reactor: Reactor
    settings: HttpSettings
    connector: Callable[..., ServerSide]
    log: AccessLog | None
    records: Records | None
    taps: Taps | None  # of whoever looks on
    worker_slot: Slot
    draining: bool
    active: int  # exchanges begun and not finished
    draws: Draws  # the worker's
    forward_as: ForwardAs
    spare_heads: list[Head]
    ready: ReadyAnswers

    def __init__(
        self,
        reactor: Reactor,
        settings: HttpSettings,
        connector: Callable[..., ServerSide],
        worker_slot: Slot,
        log: AccessLog | None = None,
    ) -> None:
        self.reactor = reactor
        self.settings = settings
        self.connector = connector
        self.worker_slot = worker_slot
        self.log = log
        self.records = None
        self.taps = None
        self.draining = False
        self.active = 0
        self.draws = Draws(int(random_unit() * 2**53))
        self.forward_as = ForwardAs()
        self.spare_heads = []
        self.ready = ReadyAnswers()

    def take_head(self) -> Head:
        return self.spare_heads.pop() if self.spare_heads else Head()

    def give_head(self, head: Head) -> None:
        if head.capacity <= SPARE_SIZE and len(self.spare_heads) < SPARE_HEADS:
            self.spare_heads.append(head)

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
        if not exchange.is_copy:
            exchange.listener.slot.add(ACTIVE, -1)
            exchange.listener.slot.count_request(exchange.status, elapsed, exchange.bytes_in, exchange.bytes_out)
            if exchange.route is not None:
                exchange.route.slot.count_request(exchange.status, elapsed, exchange.bytes_in, exchange.bytes_out)
        service = exchange.service
        if service is not None:
            if exchange.entered:
                service.slot.add(ACTIVE, -1)
            if exchange.retrying:
                exchange.retrying = False
                service.end_retry()
            service.slot.count_request(exchange.status, elapsed, exchange.bytes_out, exchange.bytes_in)
        endpoint = exchange.endpoint
        if endpoint is not None:
            # Whoever left in the middle of a response had got that far.
            self.report(exchange, WORKED if exchange.answered else UNKNOWN)
            endpoint.slot.add(ACTIVE, -1)
            if exchange.upstream_status:
                elapsed = now - exchange.connected
                endpoint.slot.count_request(exchange.upstream_status, elapsed, exchange.bytes_out, exchange.bytes_in)
        if exchange.holds is not None:
            for phase in exchange.holds:
                phase.release(exchange)
        if not exchange.is_copy:
            try:
                if self.log is not None:
                    self.log.write(exchange)
                if self.records is not None:
                    self.records.keep(exchange)
                if self.taps is not None:
                    self.taps.saw(exchange)
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
        if exchange.tap is None:
            self.give_head(head)
        if service is not None and service.pending:
            serve(service)

    def report(self, exchange: Exchange, outcome: int) -> None:
        """Tell the endpoint how the present attempt went; the first word counts."""
        endpoint = exchange.endpoint
        if endpoint is not None and not exchange.reported:
            exchange.reported = True
            if outcome == FAILED and endpoint.measured and not exchange.answered:
                endpoint.observe(0, penalty_us(None), self.reactor.micros())
            endpoint.attempt_over(outcome, exchange.probing, self.reactor.now_ms)

    def stop_waiting(self, exchange: Exchange) -> None:
        waiter = exchange.waiting
        if waiter is not None:
            exchange.waiting = None
            leave(exchange.service, waiter)

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
            self.report(exchange, UNKNOWN)
            exchange.endpoint.slot.add(ACTIVE, -1)
            exchange.endpoint = None

    def response_broken(self, exchange: Exchange, failure: Failure, detail: str) -> None:
        """The response stopped half-way: nothing can be said any more, so the client is told by a broken connection."""
        if failure in ENDPOINT_FAILURES:
            self.report(exchange, FAILED)
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
        self.turn_back(exchange, failure)

    def turn_back(self, exchange: Exchange, failure: Failure) -> None:
        """Whose request it is goes into the answer and the log; what else may be wrong with it does not."""
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
        if failure is replies.RESPONSE_TIMEOUT:
            self.report(exchange, FAILED)
        self.let_go(exchange)
        self.fail(exchange, failure, detail)

    def fail(self, exchange: Exchange, failure: Failure, detail: str) -> None:
        """Answer with a failure of the table."""
        self.turn_away(exchange, failure, detail, [])

    def turn_away(self, exchange: Exchange, failure: Failure, detail: str, more: list[tuple[bytes, bytes]]) -> None:
        """The same with fields beside the failure's own."""
        if exchange.is_copy:
            exchange.status = failure.status
            self.finish(exchange)
            return
        exchange.add_flag(failure.flag)
        if detail:
            exchange.detail = detail
        elif not exchange.detail:
            exchange.detail = failure.detail
        bond = exchange.bond
        if exchange.attempts == 0 and bond is None and not more:
            # Nothing differs from the last one like it but the id and the time.
            data = self.ready_answer(exchange, failure)
            if data is not None:
                self.send_answer(exchange, failure.status, data)
                return
        fields, body = replies.render_failure(failure, self.about(exchange), exchange.head.get(b"accept"))
        if bond is not None and bond.is_strict and bond.is_lost:
            # The endpoint never comes back, so neither shall this answer.
            fields.append((b"Set-Cookie", bond.affinities.farewell(bond)))
        self.answer(exchange, failure.status, fields + more, body, failure.close)

    def ready_answer(self, exchange: Exchange, failure: Failure) -> bytes | None:
        about = (self.settings.name, exchange.detail, exchange.flags, exchange.request_id)
        connection = self.connection_after(exchange, failure.close)
        edits = exchange.route.response_edits if exchange.route is not None else None
        return self.ready.get(failure, about, exchange.head.get(b"accept"), exchange.to_head, connection, edits)

    def about(self, exchange: Exchange) -> replies.About:
        """What an answer of ours to this request says of it: the same that the log will."""
        endpoint = exchange.endpoint
        return replies.About(
            name=self.settings.name,
            detail=exchange.detail,
            flags=exchange.flags,
            request_id=exchange.request_id,
            attempts=exchange.attempts,
            next_hop=endpoint.address.text if endpoint is not None else "",
            received_status=exchange.discarded,
        )

    def answer(
        self, exchange: Exchange, status: int, fields: list[tuple[bytes, bytes]], body: bytes, close: bool
    ) -> None:
        """Send an answer of our own and end the exchange."""
        connection = self.connection_after(exchange, close)
        edits = exchange.route.response_edits if exchange.route is not None else None
        data = replies.render_answer(status, fields, body, exchange.to_head, connection, edits)
        self.send_answer(exchange, status, data)

    def connection_after(self, exchange: Exchange, close: bool) -> bytes:
        """What an answer of ours says of its connection, which is decided here; b"" for nothing."""
        client = exchange.downstream
        if close or not exchange.request_done or self.draining:
            client.closing = True
        if client.closing or not client.keep_alive:
            return b"close"
        return b"keep-alive" if exchange.head.minor == 0 else b""

    def send_answer(self, exchange: Exchange, status: int, data: bytes) -> None:
        client = exchange.downstream
        exchange.status = status
        exchange.bytes_out += len(data)
        client.respond(data, client.closing)
        self.finish(exchange)
        client.finished()
