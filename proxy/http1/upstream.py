"""The upstream's side of an HTTP/1.1 connection: writes requests, reads responses.

A connection serves one exchange at a time and rests in its endpoint's pool in between. While it rests, anything it
sends, an end included, retires it. A response may start before its request is complete; the connection is reused only
when both are complete and nothing follows.

Response bytes go to the client as they come. When the client cannot take more, this side stops reading (`held`) until
`resume_response`; when the upstream cannot take more of a request, the client's side stops.

There are no rules here: framing is proxy/http1/framing and body, and what happens to a failure is the forwarder's.
"""

from __future__ import annotations

import errno

from proxy.http1 import replies
from proxy.http1.body import BodyReader
from proxy.http1.codes import DATA, DONE, FAILED, KEEP_ALIVE, UNTIL_CLOSE
from proxy.http1.forward import Forwarder
from proxy.http1.framing import frame_response
from proxy.http1.parties import Exchange, ServerSide
from proxy.kernel.buffer import Buffer
from proxy.kernel.emit import FRAMING_AS_RECEIVED, write_chunk, write_trailers
from proxy.kernel.netio import AGAIN, BROKEN
from proxy.kernel.scan import ERRORS, Head, scan_response
from proxy.preface.proxy_protocol import write
from proxy.upstream.endpoint import EndpointRuntime
from proxy.upstream.queue import serve

# Reads of one event; then other connections get their turn.
READ_TURNS = 8


class Upstream(ServerSide):
    """A connection to an endpoint."""

    forwarder: Forwarder
    body: BodyReader
    head: Head  # of the response that is coming in
    in_body: bool
    reusable: bool
    answering: bool  # the head of the final response has been passed on, its end has not
    again: bool  # `rx` holds what has not been looked at
    chunked_request: bool

    def __init__(self, forwarder: Forwarder, endpoint: EndpointRuntime) -> None:
        super().__init__()
        self.exchange = None
        self.forwarder = forwarder
        self.endpoint = endpoint
        settings = forwarder.settings
        self.body = BodyReader(settings.trailer_limits, settings.chunk_extension)
        self.head = Head()
        self.in_body = False
        self.reusable = False
        self.answering = False
        self.again = False
        self.chunked_request = False
        self.interim_count = 0
        self.personal = False

    # --- towards the upstream -------------------------------------------------------------------------------------

    def on_connected(self, error: int) -> None:
        exchange = self.exchange
        if exchange is None:
            self.close()
        elif error:
            self.forwarder.connect_failed(exchange, self, error)
        else:
            self.forwarder.connected(exchange, self)

    def send_request(self, exchange: Exchange) -> None:
        self.uses += 1
        self.in_body = False
        self.answering = False
        self.held = False
        self.interim_count = 0
        self.chunked_request = exchange.head.chunked
        forwarder = self.forwarder
        tx = self.reactor.tx
        tx.clear()
        if self.uses == 1 and self.endpoint.service.proxy_header is not None:
            self.introduce(exchange, tx)
        forwarder.write_head(exchange, tx)
        if exchange.kept is not None:
            # The request is sent again, with what had been read of its body.
            self.append_piece(tx, exchange.kept, exchange.kept.start, exchange.kept.length())
        if exchange.request_done:
            if self.chunked_request:
                write_trailers(tx, None, None)
            self.send(tx)
            self.set_timeout(forwarder.head_timeout(exchange, exchange.assigned))
        else:
            self.send(tx)
            self.set_timeout(forwarder.settings.stream_idle)
            if not self.pending():
                exchange.downstream.resume_request()

    def introduce(self, exchange: Exchange, tx: Buffer) -> None:
        """Begin the connection with a PROXY header."""
        header = self.endpoint.service.proxy_header
        assert header is not None
        client = exchange.downstream
        tx.append(write(header, (client.peer, client.port), client.destination or client.local_address()))
        self.personal = True

    def append_piece(self, tx: Buffer, source: Buffer, start: int, count: int) -> None:
        if self.chunked_request:
            write_chunk(tx, source, start, count)
        else:
            tx.append_range(source, start, count)

    def request_data(self, source: Buffer, start: int, count: int) -> int:
        self.set_timeout(self.forwarder.settings.stream_idle)
        if self.chunked_request:
            tx = self.reactor.tx
            tx.clear()
            write_chunk(tx, source, start, count)
            return self.send(tx)
        return self.send_range(source, start, count)

    def request_end(self, exchange: Exchange, trailers: Head | None) -> None:
        if self.chunked_request:
            tx = self.reactor.tx
            tx.clear()
            write_trailers(tx, trailers, exchange.route.request_edits)
            self.send(tx)
        if not self.answering:
            self.set_timeout(self.forwarder.head_timeout(exchange, self.reactor.micros()))

    def on_progress(self) -> None:
        if self.relaying:
            self.relay_moves()

    def on_drained(self) -> None:
        if self.relaying:
            self.relay_drained()
        else:
            exchange = self.exchange
            if exchange is not None:
                exchange.downstream.resume_request()

    # --- from the upstream ----------------------------------------------------------------------------------------

    def on_readable(self) -> None:
        if self.relaying:
            self.relay()
            return
        turns = 0
        while self.fd >= 0 and not self.held and not self.relaying:
            # Held here: what an attribute alone holds can be gone before a call with it returns (docs/design/0005).
            exchange = self.exchange
            if exchange is None:
                self.retire()
                return
            if self.again:
                self.again = False
                self.advance(exchange)
                continue
            got = self.fill()
            if got == AGAIN:
                return
            if got <= 0:
                self.broken_off(exchange, got)
                return
            self.advance(exchange)
            turns += 1
            if turns == READ_TURNS:
                self.reactor.wake(self)
                return

    def advance(self, exchange: Exchange) -> None:
        """Pass on what has been received as far as it goes, in one write where that is possible."""
        buffer = self.buffer()
        while self.exchange is exchange and self.fd >= 0 and not self.relaying:
            if self.in_body:
                if not self.take_body(exchange, buffer):
                    break
            elif buffer.start == buffer.end or not self.take_head(exchange, buffer):
                break
        if self.fd < 0:
            return
        self.keep()
        if self.answering and self.exchange is exchange:
            result = exchange.downstream.flush_response(exchange)
            if result > 0:
                self.held = True
            elif result < 0:
                exchange.downstream.leave()

    def take_head(self, exchange: Exchange, buffer: Buffer) -> bool:
        settings = self.forwarder.settings
        head = self.head
        taken = scan_response(buffer, head, settings.response_limits)
        if taken == 0:
            return False
        if taken < 0:
            self.forwarder.server_failed(exchange, self, replies.UPSTREAM_PROTOCOL, ERRORS[taken][1])
            return False
        buffer.consume(taken)
        if head.status >= 200 or head.status == 101:
            return self.start_response(exchange, head)
        self.interim_count += 1
        if self.interim_count > settings.interim_responses:
            exchange.discarded = head.status
            self.forwarder.server_failed(exchange, self, replies.UPSTREAM_PROTOCOL, "too many 1xx responses")
            return False
        exchange.downstream.interim(exchange, head)
        return True

    def start_response(self, exchange: Exchange, head: Head) -> bool:
        """A final response begins. False when its bytes are nobody's here any more."""
        forwarder = self.forwarder
        downstream = exchange.downstream
        if head.status == 101:
            return self.upgrade(exchange, head)
        framing = frame_response(head.status, head.content_length, head.chunked, exchange.to_head, exchange.head.minor)
        self.reusable = framing.body != UNTIL_CLOSE and (
            head.wants_keep_alive if head.minor == 0 else not head.wants_close
        )
        if head.has(KEEP_ALIVE):
            value = head.get_id(KEEP_ALIVE)
            if value is not None:
                self.endpoint.hear_keep_alive(value, self.reactor.micros() / 1_000_000)
        plan = exchange.plan
        if plan is not None and head.status >= plan.least_status:
            wait = forwarder.refused_answer(exchange, head)
            if wait >= 0.0:
                self.throw_away(exchange, head, framing.body, wait)
                return False
        self.answering = True
        self.in_body = True
        self.set_timeout(forwarder.settings.stream_idle)
        forwarder.response_started(exchange, head)
        downstream.response_head(exchange, head, framing.towards_client)
        self.body.begin(framing.body, head.content_length)
        return True

    def throw_away(self, exchange: Exchange, head: Head, framing: int, wait: float) -> None:
        """The request is sent again after `wait` seconds, and this response is nobody's. The connection serves on when
        all of the response is here already; what is still to come of it is not waited for."""
        buffer = self.buffer()
        body = self.body
        body.begin(framing, head.content_length)
        while not body.is_done():
            if framing == UNTIL_CLOSE or body.next(buffer) not in (DATA, DONE):
                break
        clean = buffer.start == buffer.end and not self.readable and not self.peer_closed
        self.clear_timeout()
        reusable = self.reusable and body.is_done() and clean and not self.pending()
        self.forwarder.answer_thrown_away(exchange, self, head.status, reusable, wait)

    def upgrade(self, exchange: Exchange, head: Head) -> bool:
        """101: from now on the bytes are not HTTP (RFC 9110 section 15.2.2)."""
        forwarder = self.forwarder
        downstream = exchange.downstream
        if not exchange.upgrade:
            exchange.discarded = head.status
            forwarder.server_failed(exchange, self, replies.UPSTREAM_PROTOCOL, "101 to a request without Upgrade")
            return False
        forwarder.response_started(exchange, head)
        downstream.response_head(exchange, head, FRAMING_AS_RECEIVED)
        downstream.flush_response(exchange)
        downstream.clear_timeout()
        self.set_timeout(forwarder.settings.stream_idle)
        self.start_relay(downstream)
        downstream.start_relay(self)
        # Either side may have sent more already.
        self.reactor.wake(self)
        self.reactor.wake(downstream)
        return False

    def take_body(self, exchange: Exchange, buffer: Buffer) -> bool:
        downstream = exchange.downstream
        body = self.body
        found = body.next(buffer)
        if found == DATA:
            self.set_timeout(self.forwarder.settings.stream_idle)
            downstream.response_data(exchange, buffer, body.at, body.count)
            if body.is_done():
                self.finish_response(exchange)
                return False
            return not downstream.pending()
        if found == DONE:
            self.finish_response(exchange)
            return False
        if found == FAILED:
            self.flush_then_break(exchange, replies.UPSTREAM_PROTOCOL, ERRORS[body.error][1])
        return False

    def finish_response(self, exchange: Exchange) -> None:
        """The response is complete: end it for the client, and let the forwarder have the connection."""
        downstream = exchange.downstream
        downstream.response_end(exchange, self.body.trailers)
        downstream.flush_response(exchange)
        buffer = self.buffer()
        # Bytes after a response are nobody's: whoever sent them cannot be trusted with a further request. `readable`
        # says that there may be some which were not read yet.
        clean = buffer.start == buffer.end and not self.readable and not self.peer_closed
        reusable = self.reusable and clean and not self.pending()
        self.in_body = False
        self.answering = False
        self.clear_timeout()
        self.forwarder.complete(exchange, self, reusable)

    def flush_then_break(self, exchange: Exchange, failure: replies.Failure, detail: str) -> None:
        exchange.downstream.flush_response(exchange)
        self.forwarder.response_broken(exchange, failure, detail)

    def resume_response(self) -> None:
        if self.held:
            self.held = False
            self.again = self.rx is not None
            self.set_timeout(self.forwarder.settings.stream_idle)
            self.reactor.wake(self)

    # --- ending ---------------------------------------------------------------------------------------------------

    def broken_off(self, exchange: Exchange, got: int) -> None:
        """The upstream has closed or reset a connection that an exchange was using."""
        body = self.body
        reset = got == BROKEN
        if not self.in_body:
            failure = replies.UPSTREAM_RESET if reset else replies.UPSTREAM_CLOSED
            detail = errno.errorcode.get(self.error, "") if reset else ""
            self.forwarder.server_failed(exchange, self, failure, detail)
        elif body.framing == UNTIL_CLOSE and not reset:
            self.finish_response(exchange)
        else:
            failure = replies.UPSTREAM_RESET if reset else replies.UPSTREAM_CLOSED
            self.flush_then_break(exchange, failure, "the response is incomplete")

    def retire(self) -> None:
        """An idle connection became readable: its end, or bytes that answer nothing."""
        got = self.fill()
        if got == AGAIN:
            return
        if got == 0:
            now = self.reactor.micros()
            self.endpoint.see_idle_close((now - self.idle_since) / 1_000_000, now / 1_000_000)
        self.close()

    def on_timeout(self) -> None:
        exchange = self.exchange
        if exchange is None:
            # Idle for as long as it may be.
            self.close()
        elif self.relaying:
            exchange.add_flag("SI")
            self.relay_over(self.in_transit())
        elif self.connecting:
            self.forwarder.connect_failed(exchange, self, errno.ETIMEDOUT)
        elif self.answering:
            failure = replies.SLOW_READER if self.held else replies.RESPONSE_TIMEOUT
            self.forwarder.refuse(
                exchange, failure, "the client stopped reading" if self.held else "the response stopped coming"
            )
        elif not exchange.request_done and not self.pending():
            exchange.downstream.closing = True
            self.forwarder.refuse(exchange, replies.SLOW_BODY, "")
        else:
            self.forwarder.response_timed_out(exchange, self)

    def drop(self) -> None:
        self.close()

    def relay_over(self, broken: bool) -> None:
        other = self.other
        if other is not None:
            other.relay_over(broken)

    def count_relayed(self, count: int) -> None:
        exchange = self.exchange
        if exchange is not None:
            exchange.bytes_out += count
        self.relay_moves()

    def relay_moves(self) -> None:
        self.set_timeout(self.forwarder.settings.stream_idle)

    def on_closed(self) -> None:
        endpoint = self.endpoint
        endpoint.closed(self)
        exchange = self.exchange
        if exchange is not None:
            # Closed by a bug of ours in the middle of an exchange: the client must not be left waiting.
            self.exchange = None
            exchange.upstream = None
            self.forwarder.refuse(exchange, replies.INTERNAL, "")
        if endpoint.service.pending:
            serve(endpoint.service)
