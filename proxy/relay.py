"""Two sockets tied together: what one receives goes to the other.

A TCP connection through a listener, a TLS connection passed through and a WebSocket after its 101 are all a pair of
`RelayStream`. Each direction ends by itself: an end is passed on as an end, and when both have ended both sockets are
closed. A side that breaks (reset, refused write) breaks the other with a reset, because a direct connection would have
shown just that.

Small reads are copied through the worker's shared receive buffer. When a read comes near to filling it, the direction
turns to `splice`: no copy, but a call more. It turns back as soon as little comes. What the receiving socket does not
take waits in its `out`, or in the pipe; until that is gone nothing more is read (`held`).
"""

from __future__ import annotations

from proxy.kernel.netio import AGAIN
from proxy.kernel.splice import Pipe, give_pipe, take_pipe
from proxy.upstream.endpoint import PooledStream

# Reads of one event; then other connections get their turn.
RELAY_TURNS = 8

# A read of this many bytes turns a direction to splicing, one below the second back to copying.
BULK = 32 * 1024
SMALL = 8 * 1024


class RelayStream(PooledStream):
    """One of the two. Drivers call `relay` from on_readable and `relay_drained` from on_drained while `relaying`."""

    other: RelayStream | None  # None unless `relaying`, and when that is over
    relaying: bool
    held: bool  # nothing is read from here while the other side is full
    ended: bool  # this side sends no more
    bulk: bool  # bytes from here go through a pipe
    pipe: Pipe | None  # with bytes from here that the other side has not taken yet

    def __init__(self) -> None:
        super().__init__()
        self.other = None
        self.relaying = False
        self.held = False
        self.ended = False
        self.bulk = False
        self.pipe = None

    def start_relay(self, other: RelayStream) -> None:
        self.other = other
        self.relaying = True
        self.held = False
        self.ended = False

    def relay(self) -> None:
        """Pass on what there is, as long as the other side takes it."""
        other = self.other
        turns = 0
        if self.failed and other is not None and other.fd >= 0 and (self.held or (self.ended and other.pending() == 0)):
            # A reset after the end, when all that came before it has been passed on. Or one while the other side takes
            # nothing: waiting for it to read could last for ever, and a direct connection would not have waited.
            self.relay_over(True)
            return
        while other is not None and self.fd >= 0 and not self.held and not self.ended:
            # splice(2) does not get past the mark of urgent data.
            if self.bulk and not self.urgent and (self.rx is None or not self.rx.length()):
                if not self.relay_pipe(other):
                    return
            elif not self.relay_copy(other):
                return
            turns += 1
            if turns == RELAY_TURNS:
                self.reactor.wake(self)
                return

    def relay_copy(self, other: RelayStream) -> bool:
        """One read and one write. False when there is nothing more to do now."""
        buffer = self.buffer()
        if self.rx is None or not self.rx.length():
            got = self.fill()
            if got == AGAIN:
                return False
            if got <= 0:
                self.relay_end()
                return False
            buffer = self.buffer()
        count = buffer.length()
        if count >= BULK:
            self.bulk = True
        self.count_relayed(count)
        result = other.send_range(buffer, buffer.start, count)
        buffer.consume(count)
        if self.rx is not None:
            self.keep()
        if result < 0:
            self.relay_refused(other)
            return False
        self.held = result > 0
        return not self.held

    def relay_pipe(self, other: RelayStream) -> bool:
        """As much as a pipe holds, without a copy. False when there is nothing more to do now."""
        pipe = take_pipe()
        if pipe is None:
            self.bulk = False
            return True
        got = pipe.pull(self)
        if got <= 0:
            give_pipe(pipe)
            if got != AGAIN:
                self.relay_end()
            return False
        if got < SMALL:
            self.bulk = False
        self.count_relayed(got)
        sent = pipe.push(other)
        if sent < 0 and sent != AGAIN:
            self.relay_refused(other)
            return False
        if pipe.held:
            self.pipe = pipe
            self.held = True
            other.await_room()
            return False
        give_pipe(pipe)
        return True

    def on_room(self) -> None:
        """This socket takes bytes again: first those in the pipe."""
        other = self.other
        pipe = other.pipe if other is not None else None
        if other is None or pipe is None:
            self.awaits_room = False
            return
        sent = pipe.push(self)
        if sent < 0 and sent != AGAIN:
            other.relay_refused(self)
        elif not pipe.held:
            other.pipe = None
            give_pipe(pipe)
            self.awaits_room = False
            self.relay_drained()
        elif sent > 0:
            self.relay_moves()

    def relay_refused(self, other: RelayStream) -> None:
        """`other` takes nothing any more. What it has said before is still passed on: a server that refuses a client
        says why, and closes on what it has not read."""
        turns = 0
        other.readable = True
        while not other.held and turns < RELAY_TURNS and other.fill() > 0:
            buffer = other.buffer()
            other.count_relayed(buffer.length())
            result = self.send_range(buffer, buffer.start, buffer.length())
            buffer.clear()
            if result != 0:
                break
            turns += 1
        self.relay_over(True)

    def relay_end(self) -> None:
        """This side sends no more."""
        self.ended = True
        other = self.other
        if self.error or self.failed:
            # Read to the end, but a reset has come after it.
            self.relay_over(True)
        elif other is None or other.fd < 0:
            self.relay_over(False)
        elif other.pending() == 0:
            if other.ended and self.pending() == 0 and other.pipe is None:
                self.relay_over(False)
            else:
                other.shut_write()

    def relay_drained(self) -> None:
        """All that was passed to this side is on its way; its source may go on."""
        other = self.other
        if other is None:
            return
        if self.error:
            # It was not sent: there is nobody to take it.
            other.relay_refused(self)
            return
        self.relay_moves()
        if other.ended:
            if other.failed:
                self.relay_over(True)
            elif self.ended and other.pending() == 0 and self.pipe is None:
                self.relay_over(False)
            else:
                self.shut_write()
        elif other.held and other.pipe is None:
            other.held = False
            self.reactor.wake(other)

    def in_transit(self) -> bool:
        """Whether there are bytes that one side has sent and the other has not taken."""
        other = self.other
        return self.held or (other is not None and other.held)

    def relay_over(self, broken: bool) -> None:
        """Both directions have ended, or one is `broken`. The driver closes both sides, with a reset in that case."""

    def end_relay(self, broken: bool) -> None:
        """Close this side."""
        self.pipe = None
        if broken:
            self.abort()
        else:
            self.close()

    def count_relayed(self, count: int) -> None:
        """So many bytes have been received from this side."""

    def relay_moves(self) -> None:
        """Some of what had to wait for this side has been taken: it is slow, but not silent."""
