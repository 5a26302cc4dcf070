"""The connections of an admin address: how many there may be, and how long each may take for what.

`Connections` makes a `Connection` for each that is accepted: it stands between the transport and the protocol that
understands HTTP, passes everything on, and knows in which of three states it is:

    receiving  a request, or the first one is waited for     at most `admin.request_timeout`
    busy       its handler is at work                        as long as that takes
    idle       since the last answer                         at most `admin.idle_timeout`

In any of them an answer of which the client takes nothing ends after `admin.write_timeout`. One timer looks at all
connections; nothing is set per connection or byte.

At most `admin.max_connections` are open. When one more comes, that which has been at rest for longest ends, so that
clients who hold connections cannot keep an operator out; if all are busy, the new one is answered 503.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from itertools import islice
from typing import Any, Protocol

from discovery.config import AdminSettings

# Connections that are looked at to find one at rest: such a one may still have some of its answer to send.
MOST_LOOKED_AT = 16

# How often connections are looked at, in parts of the shortest timeout, and at most in seconds.
LOOKS = 4
MOST_SECONDS = 1.0

RECEIVING = "receiving"
BUSY = "busy"
IDLE = "idle"

TOO_MANY = b"HTTP/1.1 503 Service Unavailable\r\nConnection: close\r\nRetry-After: 1\r\nContent-Length: 0\r\n\r\n"
TOO_SLOW = b"HTTP/1.1 408 Request Timeout\r\nConnection: close\r\nContent-Length: 0\r\n\r\n"


class Body(Protocol):
    def is_eof(self) -> bool:
        """All of it has been received."""


class Numbers:
    """Of all admin addresses of a program."""

    def __init__(self) -> None:
        self.open = 0
        self.refused = 0  # by max_connections, the new one or the one that was at rest
        self.timed_out = 0


class Connections:
    """Of one address. `understand()` makes what understands HTTP; it is set before the first is accepted."""

    understand: Callable[[], asyncio.Protocol]

    def __init__(self, settings: AdminSettings, numbers: Numbers) -> None:
        self.settings = settings
        self.numbers = numbers
        self._open: dict[asyncio.BaseTransport, Connection] = {}
        self._at_rest: dict[asyncio.BaseTransport, Connection] = {}  # those without a handler; the longest comes first
        self._loop = asyncio.get_running_loop()
        shortest = min(settings.request_timeout, settings.idle_timeout, settings.write_timeout)
        self._pause = min(MOST_SECONDS, shortest / LOOKS)
        self._timer: asyncio.TimerHandle | None = None

    def accept(self) -> Connection:
        """The protocol of a connection that was just made."""
        return Connection(self, self.understand())

    def opened(self, connection: Connection, transport: asyncio.Transport) -> bool:
        """False: it is one too many, and has been told so."""
        if len(self._open) >= self.settings.max_connections:
            self.numbers.refused += 1
            if not self._end_one_at_rest():
                transport.write(TOO_MANY)
                transport.close()
                return False
        self._open[transport] = self._at_rest[transport] = connection
        self.numbers.open += 1
        if self._timer is None:
            self._timer = self._loop.call_later(self._pause, self._look)
        return True

    def closed(self, transport: asyncio.BaseTransport) -> None:
        self._at_rest.pop(transport, None)
        if self._open.pop(transport, None) is not None:
            self.numbers.open -= 1

    def began(self, transport: asyncio.BaseTransport | None, body: Body) -> Connection | None:
        """A request of this connection has its handler; `body` is still to come in part."""
        connection = self._open.get(transport) if transport is not None else None
        if connection is not None and transport is not None:
            self._at_rest.pop(transport, None)
            connection.state = BUSY
            connection.body = body
        return connection

    def answered(self, transport: asyncio.BaseTransport, connection: Connection) -> None:
        if transport in self._open:
            self._at_rest[transport] = connection

    def now(self) -> float:
        return self._loop.time()

    def close(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _end_one_at_rest(self) -> bool:
        for transport, connection in islice(self._at_rest.items(), MOST_LOOKED_AT):
            if not connection.unsent():
                self.closed(transport)  # its end is told to us later, and others may come before
                connection.abort()
                return True
        return False

    def _look(self) -> None:
        now = self.now()
        for connection in list(self._open.values()):
            if connection.is_late(now):
                self.numbers.timed_out += 1
                connection.give_up()
        self._timer = self._loop.call_later(self._pause, self._look) if self._open else None


class Connection(asyncio.Protocol):
    """See the top of this file. `since`: when its state began."""

    def __init__(self, connections: Connections, inner: asyncio.Protocol) -> None:
        self.state = RECEIVING
        self.since = connections.now()
        self.body: Body | None = None
        self._connections = connections
        self._inner = inner
        self._transport: asyncio.Transport
        self._is_one = False  # of those that count
        self._unsent = 0  # bytes, when they were last looked at
        self._stuck_since = 0.0

    # --- what the request passes through ----------------------------------------------------------------------------

    def connection_made(self, transport: Any) -> None:
        self._transport = transport
        self._is_one = self._connections.opened(self, transport)
        if self._is_one:
            self._inner.connection_made(transport)

    def data_received(self, data: bytes) -> None:
        if self.state == IDLE:
            self.state = RECEIVING
            self.since = self._connections.now()
        if self._is_one:
            self._inner.data_received(data)

    def eof_received(self) -> bool | None:
        return self._inner.eof_received() if self._is_one else None

    def pause_writing(self) -> None:
        if self._is_one:
            self._inner.pause_writing()

    def resume_writing(self) -> None:
        if self._is_one:
            self._inner.resume_writing()

    def connection_lost(self, error: Exception | None) -> None:
        if self._is_one:
            self._connections.closed(self._transport)
            self._inner.connection_lost(error)

    # --- how long it takes ----------------------------------------------------------------------------------------

    def answered(self) -> None:
        """The handler is done; what it answered may still be on its way."""
        self.state = IDLE
        self.since = self._connections.now()
        self.body = None
        self._connections.answered(self._transport, self)

    def unsent(self) -> int:
        return self._transport.get_write_buffer_size()

    def is_late(self, now: float) -> bool:
        settings = self._connections.settings
        unsent = self.unsent()
        if unsent:
            if not self._unsent or unsent < self._unsent:
                self._stuck_since = now
            self._unsent = unsent
            return now - self._stuck_since > settings.write_timeout
        if self._unsent:
            self._unsent = 0
            if self.state == IDLE:
                self.since = now  # the answer has just been taken
        if self.state == IDLE:
            return now - self.since > settings.idle_timeout
        if self.state == BUSY and (self.body is None or self.body.is_eof()):
            return False
        return now - self.since > settings.request_timeout

    def give_up(self) -> None:
        """It has taken too long. A request whose handler waits for the rest of it ends with the connection."""
        if self.state == RECEIVING and not self.unsent():
            self._transport.write(TOO_SLOW)
            self._transport.close()
        else:
            self.abort()

    def abort(self) -> None:
        self._transport.abort()
