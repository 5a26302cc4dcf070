"""The client's side of an HTTP/1.1 connection: reads requests, writes answers.

One connection serves one exchange at a time. Requests that arrive while an answer is on its way (pipelining) stay in
the socket, or in `rx` if they were read already, and are taken up in order when the answer is complete.

States, told by attributes rather than by a name: no exchange (idle, or part of a head is here); an exchange whose body
is still being `receiving`; an exchange that waits for its answer; `relaying` after an upgrade; `lingering` while a
refused body is read and thrown away, because closing on unread bytes would reset the connection under our answer
(RFC 9112 section 9.6).

There are no rules here: heads and bodies are understood by proxy/kernel/scan and proxy/http1/body, and what happens
with a request is the forwarder's.
"""

from __future__ import annotations

from collections.abc import Callable

from proxy.http1 import replies
from proxy.http1.body import BodyReader
from proxy.http1.codes import CHUNKED, DATA, DONE, FAILED, LENGTH
from proxy.http1.forward import Forwarder
from proxy.http1.intake import malformed, refused_body
from proxy.http1.parties import DRAIN_IDLE, ClientSide, Exchange, LimitedAcceptor, ListenerRuntime, ServerSide
from proxy.http1.replies import Failure
from proxy.kernel.buffer import Buffer
from proxy.kernel.emit import (
    FRAMING_CHUNKED,
    FRAMING_CLOSE,
    FRAMING_NONE,
    write_chunk,
    write_response_head,
    write_trailers,
)
from proxy.kernel.netio import AGAIN, DRAIN_REQUEST, DRAIN_STREAM
from proxy.kernel.scan import Head, may_end, scan_request, skip_blank_lines
from proxy.stats.slots import CONNECTIONS_TOTAL, OVERFLOWS, WORKER_CONNECTIONS

# Reads of one event, and requests of one read; then other connections get their turn.
READ_TURNS = 8
HEAD_TURNS = 16

# A response piece at least this large is sent from where it was received; smaller ones are collected.
DIRECT_SIZE = 4096

# A head that takes longer is more likely held back on purpose than cut in pieces on its way (microseconds).
LONG_HEAD_US = 1_000_000

CLOSE = b"close"
KEEP_ALIVE = b"keep-alive"


class Downstream(ClientSide):
    """A connection from a client."""

    forwarder: Forwarder
    listener: ListenerRuntime
    body: BodyReader  # None until the first request that has a body
    served: int  # requests
    head_began: int  # microseconds of the monotonic clock; 0 unless part of a head is here
    searched: int  # bytes of that part which do not hold its end
    again: bool  # `rx` holds what has not been looked at
    lingering: bool
    framing: int  # of the response, one of proxy.kernel.emit's

    def __init__(self, forwarder: Forwarder, listener: ListenerRuntime, peer: bytes, port: int) -> None:
        super().__init__()
        self.exchange = None
        self.forwarder = forwarder
        self.listener = listener
        self.peer = peer
        self.port = port
        self.destination = None
        self.receiving = False
        self.closing = False
        self.keep_alive = False
        self.body = None  # type: ignore[assignment]
        self.served = 0
        self.head_began = 0
        self.searched = 0
        self.again = False
        self.lingering = False
        self.framing = 0

    # --- what the client sends ------------------------------------------------------------------------------------

    def on_readable(self) -> None:
        if self.relaying:
            self.relay()
            return
        if self.lingering:
            self.discard()
            return
        turns = 0
        while self.fd >= 0 and not self.relaying:
            if self.exchange is not None and not self.receiving:
                # The answer is due; whatever comes now is a further request, or the client's end.
                if self.peer_closed:
                    self.leave()
                    return
                break
            exchange = self.exchange
            if exchange is not None and self.held and self.peer_closed and (exchange.pause or exchange.waiting):
                # Its request waits for something and its body has not been asked for, so nothing will read the end.
                self.leave()
                return
            if self.held or (self.exchange is None and self.pending()):
                # Upstream or client first has to take what it was sent.
                break
            if self.again:
                self.again = False
                self.advance()
            else:
                got = self.fill()
                if got == AGAIN:
                    break
                if got <= 0:
                    self.leave()
                    return
                self.advance()
            if self.again:
                # Whoever set it has asked for another turn as well.
                break
            turns += 1
            if turns == READ_TURNS:
                self.reactor.wake(self)
                break
        if self.watch() and self.exchange is None and self.head_began == 0:
            # A new connection on which nothing complete has come yet.
            self.set_timeout(DRAIN_IDLE if self.forwarder.draining else self.forwarder.settings.keep_alive)

    def advance(self) -> None:
        """Understand what has been received as far as it goes, and a few requests at most: others have a turn too."""
        buffer = self.buffer()
        heads = 0
        while buffer.start < buffer.end and self.fd >= 0 and not self.lingering and not self.relaying:
            # Held here: what an attribute alone holds can be gone before a call with it returns (docs/design/0005).
            exchange = self.exchange
            if exchange is None:
                if heads == HEAD_TURNS:
                    self.again = True
                    self.reactor.wake(self)
                    break
                if self.closing or self.pending() or not self.take_head(buffer):
                    break
                heads += 1
            elif self.receiving:
                if self.held or not self.take_body(exchange, buffer):
                    break
            else:
                break
        if self.lingering:
            buffer.clear()
        elif self.fd >= 0:
            self.keep()

    def may_scan(self, buffer: Buffer) -> bool:
        """A head that came in part is scanned again only when its end has come, a line of it is none, or it is too
        large to be one: otherwise a client that sends single bytes would make us read the same bytes over and over."""
        if self.head_began == 0 or buffer.length() >= self.forwarder.settings.request_limits.head:
            return True
        found = may_end(buffer, self.searched)
        self.searched = buffer.length()
        return found

    def take_head(self, buffer: Buffer) -> bool:
        """Take a request head, and begin its exchange. False: more bytes are needed, or it was refused."""
        if self.head_began == 0:
            skip_blank_lines(buffer)
            if buffer.start == buffer.end:
                return False
        if not self.may_scan(buffer):
            return False
        forwarder = self.forwarder
        settings = forwarder.settings
        head = forwarder.take_head()
        taken = scan_request(buffer, head, settings.request_limits)
        now = self.reactor.micros()
        if taken <= 0:
            forwarder.give_head(head)
            if taken == 0:
                if self.head_began == 0:
                    self.head_began = now
                    self.searched = buffer.length()
                    self.set_timeout(settings.request_head)
                return False
            self.refuse(malformed(taken))
            return False
        buffer.consume(taken)
        exchange = Exchange.__new__(Exchange)
        exchange.start(self, self.listener, head, self.head_began or now, now)
        exchange.bytes_in = taken
        self.head_began = 0
        self.searched = 0
        self.served += 1
        self.keep_alive = head.wants_keep_alive if head.minor == 0 else not head.wants_close
        if head.wants_close or forwarder.draining or self.served == settings.requests_per_connection:
            self.keep_alive = False
        self.exchange = exchange
        self.clear_timeout()
        if head.chunked or head.content_length > 0:
            refused = refused_body(head, settings)
            if refused is not None:
                self.refuse_exchange(exchange, refused)
                return False
            if self.body is None:
                self.body = BodyReader(settings.trailer_limits, settings.chunk_extension)
            self.body.begin(CHUNKED if head.chunked else LENGTH, head.content_length)
            self.receiving = True
            # Nothing is read of the body until the upstream can take it.
            self.held = True
        else:
            exchange.request_done = True
        exchange.kept_all = True
        forwarder.begin(exchange)
        return True

    def refuse_exchange(self, exchange: Exchange, failure: Failure) -> None:
        """Refuse a request whose head was good and whose body is not wanted."""
        self.closing = True
        # There is a body on its way, which has to be read before the connection is closed.
        self.receiving = True
        self.forwarder.refuse_new(exchange, failure)

    def take_body(self, exchange: Exchange, buffer: Buffer) -> bool:
        """Pass on body bytes. False: more are needed, the upstream is full, or the body is bad."""
        # Nothing is taken of a body before an upstream has asked for it.
        server: ServerSide = exchange.upstream  # type: ignore[assignment]
        body = self.body
        found = body.next(buffer)
        if found == DATA:
            exchange.bytes_in += body.count
            limit = self.forwarder.settings.body
            if limit and body.total > limit:
                self.forwarder.refuse(exchange, replies.BODY_TOO_LARGE, "")
                return False
            guard = exchange.body_guard
            if guard is not None and body.total > exchange.most_body:
                self.forwarder.refuse(exchange, replies.BODY_OVER_POLICY, guard.exceeded())
                return False
            self.forwarder.keep_body(exchange, buffer, body.at, body.count)
            result = server.request_data(buffer, body.at, body.count)
            if body.is_done():
                self.body_done(exchange, server, None)
                return True
            if result > 0:
                self.held = True
                return False
            return True
        if found == DONE:
            self.body_done(exchange, server, body.trailers)
            return True
        if found == FAILED:
            self.closing = True
            self.forwarder.refuse(exchange, malformed(body.error), "")
        return False

    def body_done(self, exchange: Exchange, server: ServerSide, trailers: Head | None) -> None:
        self.receiving = False
        exchange.request_done = True
        if trailers is not None:
            # Trailers are not kept, so a request with some cannot be sent twice.
            exchange.kept_all = False
        server.request_end(exchange, trailers)

    def resume_request(self) -> None:
        if self.held:
            self.held = False
            if self.receiving:
                self.again = self.rx is not None
                self.reactor.wake(self)

    def refuse(self, failure: Failure) -> None:
        """Answer bytes that are no request, and close (RFC 9112 section 9.6 asks for no more)."""
        self.closing = True
        # Whatever it was, more of it may be on its way.
        self.receiving = True
        self.forwarder.refuse_bytes(self, self.listener, failure)

    # --- what the client gets -------------------------------------------------------------------------------------

    def interim(self, exchange: Exchange, head: Head) -> None:
        if exchange.head.minor == 0:
            return
        tx = self.reactor.tx
        tx.clear()
        write_response_head(tx, head, None, FRAMING_NONE, None, False)
        exchange.bytes_out += tx.length()
        self.send(tx)

    def response_head(self, exchange: Exchange, head: Head, framing: int) -> None:
        connection = None
        # An answer that comes before the end of its request is the last: what is left of the body is not worth
        # waiting for, and must not be taken for a request.
        if framing == FRAMING_CLOSE or not self.keep_alive or self.receiving or self.forwarder.draining:
            self.closing = True
        if self.closing:
            connection = CLOSE
        elif exchange.head.minor == 0:
            connection = KEEP_ALIVE
        self.framing = framing
        edits = exchange.route.response_edits
        tx = self.reactor.tx
        tx.clear()
        is_upgrade = head.status == 101 or head.status == 426
        write_response_head(tx, head, edits, framing, connection, is_upgrade, exchange.cookies)

    def response_data(self, exchange: Exchange, source: Buffer, start: int, count: int) -> None:
        tx = self.reactor.tx
        if self.framing == FRAMING_CHUNKED:
            write_chunk(tx, source, start, count)
        elif count >= DIRECT_SIZE:
            exchange.bytes_out += tx.length() + count
            self.send_with(tx, source, start, count)
        else:
            tx.append_range(source, start, count)

    def response_end(self, exchange: Exchange, trailers: Head | None) -> None:
        if self.framing == FRAMING_CHUNKED:
            write_trailers(self.reactor.tx, trailers, exchange.route.response_edits)

    def flush_response(self, exchange: Exchange) -> int:
        tx = self.reactor.tx
        count = tx.length()
        if count:
            exchange.bytes_out += count
            self.send(tx)
        if self.write_dead:
            return -1
        return 1 if self.pending() else 0

    def respond(self, data: bytes, close: bool) -> None:
        if close:
            self.closing = True
        self.send_bytes(data)

    def finished(self) -> None:
        if self.fd < 0:
            return
        self.held = False
        if not self.keep_alive or self.receiving:
            self.closing = True
        if self.pending():
            # on_drained goes on from here; a client that does not read is given the idle time.
            self.set_timeout(self.forwarder.settings.stream_idle)
        elif self.closing:
            self.end()
        else:
            self.next_request()

    def next_request(self) -> None:
        self.set_timeout(self.forwarder.settings.keep_alive)
        if self.rx is not None:
            self.again = True
            self.reactor.wake(self)
        elif self.readable:
            self.reactor.wake(self)

    def on_drained(self) -> None:
        if self.relaying:
            self.relay_drained()
            return
        exchange = self.exchange
        if exchange is not None:
            if exchange.upstream is not None:
                exchange.upstream.resume_response()
        elif self.closing:
            if not self.lingering:
                self.end()
        else:
            self.next_request()

    def on_progress(self) -> None:
        if self.relaying:
            self.relay_moves()
        elif self.exchange is None:
            self.set_timeout(self.forwarder.settings.stream_idle)

    # --- ending ---------------------------------------------------------------------------------------------------

    def end(self) -> None:
        """Close once the client can have everything we said."""
        if self.receiving or self.readable or self.rx is not None:
            self.lingering = True
            self.receiving = False
            self.rx = None
            self.shut_write()
            self.set_timeout(self.forwarder.settings.linger)
            self.watch()
            self.reactor.wake(self)
        else:
            self.close()

    def discard(self) -> None:
        """Throw away what a refused client still sends, until it stops or the time is up."""
        turns = 0
        while self.fd >= 0:
            got = self.fill()
            if got == AGAIN:
                return
            if got <= 0:
                self.close()
                return
            self.buffer().clear()
            turns += 1
            if turns == READ_TURNS:
                self.reactor.wake(self)
                return

    def leave(self) -> None:
        """The client has closed."""
        exchange = self.exchange
        if exchange is None:
            self.close()
            return
        answered = exchange.answered
        self.forwarder.client_gone(exchange)
        if answered:
            # One that has only ended its own direction could take an end for that of the answer.
            self.abort()
        else:
            self.close()

    def on_timeout(self) -> None:
        exchange = self.exchange
        if exchange is not None:
            self.forwarder.total_timeout(exchange)
        elif self.pending():
            # A reset: an end could be taken for the end of a body that is delimited by it.
            self.abort()
        elif self.lingering or self.closing or self.head_began == 0:
            self.close()
        else:
            self.refuse(replies.SLOW_HEAD)

    def drain(self) -> None:
        """The worker is stopping: idle connections go soon, busy ones after their answer."""
        self.keep_alive = False
        if self.exchange is None and self.head_began == 0 and not self.lingering and not self.pending():
            self.set_timeout(DRAIN_IDLE)

    def drain_kind(self) -> int:
        return DRAIN_STREAM if self.relaying else DRAIN_REQUEST

    def spare_rank(self) -> int:
        """Whose head has been on its way for long makes room first, then who waits for nothing, then other heads."""
        if self.exchange is not None or self.relaying or self.lingering or self.closing or self.pending():
            return 0
        if self.head_began:
            return 3 if self.reactor.micros() - self.head_began > LONG_HEAD_US else 1
        return 2 if self.is_quiet() else 0

    def relay_over(self, broken: bool) -> None:
        exchange = self.exchange
        other = self.other
        self.other = None
        if other is not None:
            other.other = None
        if exchange is not None:
            self.forwarder.relay_finished(exchange)
        if other is not None:
            other.end_relay(broken)
        self.end_relay(broken)

    def count_relayed(self, count: int) -> None:
        exchange = self.exchange
        if exchange is not None:
            exchange.bytes_in += count
        self.relay_moves()

    def relay_moves(self) -> None:
        # The upstream's side has the idle time of both.
        if self.other is not None:
            self.other.set_timeout(self.forwarder.settings.stream_idle)

    def on_closed(self) -> None:
        self.listener.left(self.peer)
        self.forwarder.worker_slot.add(WORKER_CONNECTIONS, -1)
        exchange = self.exchange
        if exchange is not None:
            # Whoever closes a connection with an exchange on it has ended the exchange, or a bug of ours just did.
            self.forwarder.client_gone(exchange)


class HttpAcceptor(LimitedAcceptor):
    """A listening socket whose connections speak HTTP. `gate()` says whether the instance may have one more."""

    forwarder: Forwarder
    gate: Callable[[], bool]

    def __init__(self, forwarder: Forwarder, listener: ListenerRuntime, gate: Callable[[], bool]) -> None:
        super().__init__(listener)
        self.forwarder = forwarder
        self.gate = gate

    def accepted(self, fd: int, host: bytes, port: int) -> None:
        if not self.admits(fd, host, port):
            return
        stream = Downstream(self.forwarder, self.listener, host, port)
        stream.attach(self.reactor, fd)
        slot = self.listener.slot
        slot.add(CONNECTIONS_TOTAL, 1)
        self.forwarder.worker_slot.add(WORKER_CONNECTIONS, 1)
        if not self.gate():
            slot.add(OVERFLOWS, 1)
            stream.refuse(replies.CONNECTIONS)
            return
        # Read first: a request is usually there already, and then needs no event to be told of.
        self.reactor.wake(stream)


def take_connection(
    forwarder: Forwarder,
    listener: ListenerRuntime,
    fd: int,
    peer: bytes,
    port: int,
    destination: tuple[bytes, int] | None,
    refused: bool,
) -> None:
    """Serve a connection that was accepted elsewhere and is counted already, or tell it that it is one too many."""
    stream = Downstream(forwarder, listener, peer, port)
    stream.destination = destination
    stream.attach(forwarder.reactor, fd)
    if refused:
        listener.slot.add(OVERFLOWS, 1)
        stream.refuse(replies.CONNECTIONS)
        return
    forwarder.reactor.wake(stream)
