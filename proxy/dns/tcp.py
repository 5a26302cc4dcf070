"""DNS over TCP (RFC 7766): messages with their length in front, many of them on one connection.

A client may send further questions without waiting. Those whose answer is ours are answered in order; one that is
forwarded is answered when its answer is there, after others that came later (section 6.2.1.1).

 - With `tcp_pending` forwarded questions under way, or an answer that the client does not take, nothing more is read:
   the kernel's buffers hold the client back.
 - A connection ends after `tcp_idle` without a whole question, or in which nothing of an answer was taken.
 - At most `tcp_connections` are open, all workers together. When one more comes, that of this worker which has been
   idle for longest ends (section 6.2.3); if none is idle, the new one waits in the backlog.
 - A client that has finished sending gets all answers before the connection ends.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

from discovery.dns.forwarding import network_of
from discovery.model import DnsSettings
from proxy.http1.parties import FULL_PAUSE, LimitedAcceptor, ListenerRuntime
from proxy.kernel.cells import Slot
from proxy.kernel.dnswire import Answers
from proxy.kernel.netio import AGAIN, DRAIN_NOTHING, DRAIN_REQUEST, END, Stream
from proxy.stats.slots import ACTIVE, BYTES_IN, BYTES_OUT, CONNECTIONS_ACTIVE, CONNECTIONS_TOTAL, OVERFLOWS

LENGTH = 2  # bytes in front of a message

# Answers are collected up to this many bytes before they are sent.
COLLECTED = 64 * 1024

# What forwarded answers may pile up to, for a client that does not read (bytes).
MOST_WAITING = 256 * 1024

# Reads of one connection in a row; then others get their turn.
TURNS = 16

# Connections that are looked at to find an idle one.
LOOKS = 16


class Forwarding(Protocol):
    """Who answers questions that are not ours."""

    def ask(self, query: bytes, respond: Callable[[bytes], None], client: bytes = b"") -> None:
        """`respond` is called once, perhaps before this returns, with the answer to the message `query`: a message with
        its id and question, without EDNS and of any size. `client`: its network."""


class DnsConnections:
    """The connections of a worker and what they share."""

    def __init__(self, answers: Answers, forwarder: Forwarding, settings: DnsSettings, row: Slot) -> None:
        self.answers = answers
        self.forwarder = forwarder
        self.settings = settings
        self.row = row
        self.open: dict[DnsConnection, None] = {}  # the one that asked last comes last

    def claim(self) -> bool:
        """Count one more, if all workers together may have it: publish ours first, then add up."""
        self.row.add(CONNECTIONS_ACTIVE, 1)
        if self.row.total(CONNECTIONS_ACTIVE) <= self.settings.tcp_connections:
            return True
        self.row.add(CONNECTIONS_ACTIVE, -1)
        return False

    def unclaim(self) -> None:
        self.row.add(CONNECTIONS_ACTIVE, -1)

    def is_full(self) -> bool:
        return self.row.total(CONNECTIONS_ACTIVE) >= self.settings.tcp_connections

    def end_idle(self) -> bool:
        """End the connection that has been idle for longest. False: none is."""
        for connection, _ in zip(self.open, range(LOOKS), strict=False):
            if not connection.is_busy():
                connection.listener.slot.add(OVERFLOWS, 1)
                connection.close()
                return True
        return False

    def close(self) -> None:
        for connection in list(self.open):
            connection.abort()


class DnsConnection(Stream):
    """A client's connection."""

    connections: DnsConnections
    listener: ListenerRuntime
    peer: bytes  # text of the client's address
    waiting: int  # questions that were forwarded and have no answer yet
    ended: bool  # the client has finished sending
    leaving: bool  # nothing more is read

    def __init__(self, connections: DnsConnections, listener: ListenerRuntime, peer: bytes) -> None:
        self.connections = connections
        self.listener = listener
        self.peer = peer
        self.waiting = 0
        self.ended = False
        self.leaving = False

    def begin(self) -> None:
        self.connections.open[self] = None
        self.set_timeout(self.connections.settings.tcp_idle)
        self.watch()
        self.advance()

    def is_busy(self) -> bool:
        """Whether the client is owed something."""
        return self.waiting > 0 or self.pending() > 0

    def may_read(self) -> bool:
        return not self.pending() and self.waiting < self.connections.settings.tcp_pending

    # --- events -----------------------------------------------------------------------------------------------------

    def on_readable(self) -> None:
        if self.failed:
            self.abort()
        else:
            self.advance()

    def on_drained(self) -> None:
        if self.write_dead:
            self.abort()
            return
        self.on_progress()
        self.advance()

    def on_progress(self) -> None:
        self.set_timeout(self.connections.settings.tcp_idle)

    def on_timeout(self) -> None:
        if self.pending():
            self.abort()
        elif self.waiting:
            self.on_progress()  # the forwarder has a deadline of its own
        else:
            self.close()

    def drain(self) -> None:
        self.leaving = True
        self.leave_if_done()

    def drain_kind(self) -> int:
        return DRAIN_REQUEST if self.is_busy() else DRAIN_NOTHING

    def on_closed(self) -> None:
        self.connections.row.add(ACTIVE, -self.waiting)
        self.waiting = 0
        self.connections.open.pop(self, None)
        self.connections.unclaim()
        self.listener.left(self.peer)

    # --- questions ----------------------------------------------------------------------------------------------------

    def advance(self) -> None:
        """Answer what is there, and read on, as long as the client takes its answers."""
        for _ in range(TURNS):
            if self.fd < 0 or not self.answer_received() or self.ended or self.leaving:
                break
            got = self.fill()
            if got == END:
                self.ended = True
            elif got == AGAIN:
                break
            elif got < 0:
                self.abort()
        else:
            self.reactor.wake(self)
        self.leave_if_done()

    def leave_if_done(self) -> None:
        if self.fd >= 0 and (self.leaving or self.ended) and not self.is_busy():
            self.close()

    def answer_received(self) -> bool:
        """Answer the whole questions that have been received. False: there may be more of them, for later."""
        connections = self.connections
        received = self.buffer()
        out: list[bytes] = []
        collected = 0
        began = self.reactor.micros()
        while self.fd >= 0 and self.may_read():
            size = received.length()
            if size < LENGTH:
                break
            length = int.from_bytes(received.peek(received.start, LENGTH), "big")
            if size < LENGTH + length:
                break
            query = received.peek(received.start + LENGTH, length)
            received.consume(LENGTH + length)
            self.count_question(LENGTH + length)
            answer = connections.answers.answer(query, connections.row, True)
            if answer is None:
                self.forward(query)
            elif not answer:
                self.abort()  # who sends what is no question is no client of DNS
                return False
            else:
                out.append(framed(answer))
                collected += LENGTH + len(answer)
                if collected > COLLECTED:
                    self.send_answers(out, began)
                    out.clear()
                    collected = 0
        if self.fd < 0:
            return False
        self.keep()
        if out:
            self.send_answers(out, began)
        return self.may_read()

    def count_question(self, size: int) -> None:
        connections = self.connections
        connections.row.add(BYTES_IN, size)
        self.listener.slot.add(BYTES_IN, size)
        connections.open[self] = connections.open.pop(self)
        self.set_timeout(connections.settings.tcp_idle)

    def forward(self, query: bytes) -> None:
        received = self.reactor.micros()
        self.waiting += 1
        self.connections.row.add(ACTIVE, 1)
        client = network_of(self.peer)
        self.connections.forwarder.ask(query, lambda message: self.answered(query, message, received), client)

    def answered(self, query: bytes, message: bytes, received: int) -> None:
        """The answer to a forwarded question is there; the client may be gone meanwhile."""
        if self.fd < 0:
            return
        row = self.connections.row
        self.waiting -= 1
        row.add(ACTIVE, -1)
        self.send_answers([framed(self.connections.answers.finish(query, message, row, True))], received)
        if self.pending() > MOST_WAITING:
            self.abort()
        else:
            self.reactor.wake(self)  # there is room for a question that had to wait

    def send_answers(self, answers: list[bytes], received: int) -> None:
        data = b"".join(answers)
        row = self.connections.row
        row.add(BYTES_OUT, len(data))
        row.observe(self.reactor.micros() - received, len(answers))
        self.listener.slot.add(BYTES_OUT, len(data))
        if self.send_bytes(data) < 0:
            self.abort()


class DnsAcceptor(LimitedAcceptor):
    """A listening socket of DNS."""

    connections: DnsConnections

    def __init__(self, connections: DnsConnections, listener: ListenerRuntime) -> None:
        super().__init__(listener)
        self.connections = connections

    def on_readable(self) -> None:
        if self.connections.is_full() and not self.connections.end_idle():
            self.pause(FULL_PAUSE)
            return
        super().on_readable()

    def may_accept(self) -> bool:
        # Not paused where there is no room: the next event looks for an idle connection.
        if not self.connections.claim():
            return False
        if super().may_accept():
            return True
        self.connections.unclaim()
        return False

    def not_accepted(self) -> None:
        self.connections.unclaim()
        super().not_accepted()

    def accepted(self, fd: int, host: bytes, port: int) -> None:
        if not self.admits(fd, host, port):
            self.connections.unclaim()
            return
        connection = DnsConnection(self.connections, self.listener, host)
        connection.attach(self.reactor, fd)
        self.connections.row.add(CONNECTIONS_TOTAL, 1)
        self.listener.slot.add(CONNECTIONS_TOTAL, 1)
        try:
            connection.begin()
        except Exception as bug:
            # Nobody else knows this connection yet.
            self.reactor.report(connection, bug)


def framed(message: bytes) -> bytes:
    return len(message).to_bytes(LENGTH, "big") + message
