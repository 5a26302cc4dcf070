"""A connection on which something has to be looked at first, and the acceptor that has such connections.

    accepted -> PROXY header, if the peer is trusted to send one -> what decides the route -> handed on
                  taken off the socket, or closed                    looked at, left in the socket

What decides is the protocol on an auto listener, and the server name that TLS asks for where routes depend on it. When
there is nothing to look at a connection is handed on at once. It is handed on as a bare descriptor with what was
`Found`: whoever gets it counts its end, as for one that it accepted itself, because it has been counted here.

Which peers send a header is known and never guessed. Without a complete one in time the connection is closed; a
protocol or a server name that does not show itself in time is none. A connection over `limits.connections` is
looked at for a moment where that tells whether its client would understand an answer.
"""

from __future__ import annotations

from collections.abc import Callable

from discovery.model import Protocol, Settings
from mesh.networks import Networks
from proxy.http1.parties import DRAIN_IDLE, LimitedAcceptor, ListenerRuntime
from proxy.kernel.cells import Slot
from proxy.kernel.netio import DRAIN_REQUEST, Stream
from proxy.preface import client_hello, proxy_protocol
from proxy.preface.detect import Kind, detect
from proxy.stats.slots import CONNECTIONS_TOTAL, PROXY_HEADER_FAILURES, WORKER_CONNECTIONS

# How long a connection that is one too many is looked at (seconds).
REFUSED_LOOK = 0.25

# So many connections at a time that are too many are looked at by a worker, for an answer to HTTP. They count as long,
# so a flood of them must not take the place of those that may be served.
MOST_LOOKED = 64


class PrefaceSettings:
    """Seconds and bytes, as in discovery.model.Settings."""

    trusted: Networks
    header: float
    detect: float
    hello: int

    def __init__(self, settings: Settings) -> None:
        self.trusted = Networks(settings.trusted_proxies)
        self.header = settings.timeouts.proxy_protocol
        self.detect = settings.timeouts.detect
        self.hello = settings.limits.client_hello


class Found:
    """What is known of a connection before anything of it is taken.

    `peer` and `port` are the client's: of the PROXY header if there was one, else of the connection. `destination` is
    where the client wanted to, None where only the socket knows. `sni` is in lower case. `started` and `received`:
    microseconds of the monotonic clock, accepted and all of this known.
    """

    listener: ListenerRuntime
    peer: bytes
    port: int
    destination: tuple[bytes, int] | None
    is_http: bool
    sni: bytes
    started: int
    received: int

    def __init__(self, listener: ListenerRuntime, peer: bytes, port: int, started: int) -> None:
        self.listener = listener
        self.peer = peer
        self.port = port
        self.destination = None
        self.is_http = listener.protocol is Protocol.HTTP
        self.sni = b""
        self.started = started
        self.received = started


class Handlers:
    """Who takes connections on. Each owns the descriptor it is given."""

    worker_slot: Slot
    take: Callable[[int, Found], None]
    refuse: Callable[[int, Found], None]
    reject: Callable[[Found, str], None]
    gate: Callable[[], bool]
    looking: int  # connections that are too many and are looked at all the same
    settings: PrefaceSettings

    def __init__(
        self,
        worker_slot: Slot,
        take: Callable[[int, Found], None],
        refuse: Callable[[int, Found], None],
        reject: Callable[[Found, str], None],
        gate: Callable[[], bool],
    ) -> None:
        """`take`: serve it. `refuse`: the instance has as many as it may. `reject`: it was closed, for this reason.
        `gate`: may the instance have the one that was just counted?"""
        self.worker_slot = worker_slot
        self.take = take
        self.refuse = refuse
        self.reject = reject
        self.gate = gate
        self.looking = 0
        self.settings = PrefaceSettings(Settings())


def decides_by_bytes(listener: ListenerRuntime) -> bool:
    """Does it depend on its first bytes what becomes of a connection?"""
    protocol = listener.protocol
    return protocol is Protocol.AUTO or (protocol is Protocol.TCP and listener.streams.looks_at_sni)


class Preface(Stream):
    """A connection that is being looked at."""

    handlers: Handlers
    found: Found
    settings: PrefaceSettings
    awaits_header: bool
    waits: bool  # for more of what decides
    drains: bool  # the worker is stopping
    refused: bool  # the instance has as many as it may
    is_counted: bool  # among what its client has; not before it is known who that is

    def __init__(self, handlers: Handlers, found: Found, refused: bool = False) -> None:
        self.handlers = handlers
        self.found = found
        self.settings = handlers.settings
        self.awaits_header = found.listener.accept_proxy and self.settings.trusted.contains(found.peer)
        self.is_counted = not self.awaits_header
        self.waits = False
        self.drains = False
        self.refused = refused

    def on_readable(self) -> None:
        if self.awaits_header and not self.take_header():
            return
        if self.fd >= 0:
            self.look()

    # --- the PROXY header -----------------------------------------------------------------------------------------

    def take_header(self) -> bool:
        """True when it is complete and off the socket."""
        data = self.peek(proxy_protocol.MAX_HEADER)
        parsed = proxy_protocol.parse(data)
        if parsed is proxy_protocol.NEED_MORE:
            if self.error or (self.peer_closed and not data):
                # Whoever says nothing at all only wanted to see whether we listen.
                self.close()
            elif self.peer_closed:
                self.reject("the connection ended before its PROXY header")
            elif self.watch():
                self.wait(self.settings.header)
            return False
        if isinstance(parsed, proxy_protocol.Invalid):
            self.reject(f"no PROXY header: {parsed.reason}")
            return False
        assert isinstance(parsed, proxy_protocol.Complete)
        if not self.skip(parsed.length):
            self.reject("the connection ended before its PROXY header")
            return False
        found = self.found
        if parsed.source is not None:
            found.peer, found.port = parsed.source
            found.destination = parsed.destination
        self.awaits_header = False
        self.clear_timeout()
        clients = found.listener.clients
        if clients is not None and not clients.admit(found.listener, found.peer, found.port, self.reactor.micros()):
            self.abort()
            return False
        self.is_counted = True
        return True

    def reject(self, reason: str) -> None:
        self.found.listener.slot.add(PROXY_HEADER_FAILURES, 1)
        self.handlers.reject(self.found, reason)
        self.close()

    # --- what decides the route -----------------------------------------------------------------------------------

    def look(self) -> None:
        """Hand the connection on, or wait for more of it."""
        found = self.found
        if not decides_by_bytes(found.listener):
            self.hand_on()
            return
        data = self.peek(self.settings.hello)
        if self.error:
            self.close()
            return
        kind = detect(data) if found.listener.protocol is Protocol.AUTO else Kind.TLS
        if kind is Kind.HTTP:
            found.is_http = True
        elif kind is Kind.TLS and found.listener.streams.looks_at_sni:
            hello = client_hello.parse(data, self.settings.hello)
            if hello is client_hello.NEED_MORE:
                kind = Kind.NEED_MORE
            elif isinstance(hello, client_hello.Complete):
                found.sni = hello.sni
        # Of a client that has finished sending, no more will come.
        if kind is not Kind.NEED_MORE or self.peer_closed:
            self.hand_on()
        elif not self.waits:
            self.waits = True
            self.watch()
            self.wait(self.settings.detect)

    def wait(self, longest: float) -> None:
        """For at most so many seconds."""
        self.set_timeout(min(longest, REFUSED_LOOK) if self.refused else longest)

    def hand_on(self) -> None:
        handlers, found = self.handlers, self.found
        found.received = self.reactor.micros()
        if self.refused:
            handlers.looking -= 1
        (handlers.refuse if self.refused else handlers.take)(self.detach(), found)

    # --- ending ---------------------------------------------------------------------------------------------------

    def on_timeout(self) -> None:
        if not self.awaits_header or self.refused:
            self.hand_on()
        elif self.drains:
            self.close()
        else:
            self.reject("no complete PROXY header in time")

    def drain(self) -> None:
        """What the client is just sending would be lost with the connection, so it has a moment more."""
        self.drains = True
        self.set_timeout(DRAIN_IDLE)

    def drain_kind(self) -> int:
        return DRAIN_REQUEST

    def on_closed(self) -> None:
        if self.refused:
            self.handlers.looking -= 1
        found = self.found
        if self.is_counted:
            found.listener.left(found.peer)
        else:
            found.listener.unclaim()
        self.handlers.worker_slot.add(WORKER_CONNECTIONS, -1)


class PrefaceAcceptor(LimitedAcceptor):
    """A listening socket with connections that have to be looked at."""

    handlers: Handlers

    def __init__(self, listener: ListenerRuntime, handlers: Handlers) -> None:
        super().__init__(listener)
        self.handlers = handlers

    def accepted(self, fd: int, host: bytes, port: int) -> None:
        handlers = self.handlers
        listener = self.listener
        # Who sends PROXY headers is trusted and so not counted here, but each client that they name.
        if not self.admits(fd, host, port):
            return
        found = Found(listener, host, port, self.reactor.micros())
        listener.slot.add(CONNECTIONS_TOTAL, 1)
        handlers.worker_slot.add(WORKER_CONNECTIONS, 1)
        refused = not handlers.gate()
        if refused:
            if listener.protocol is not Protocol.AUTO or handlers.looking >= MOST_LOOKED:
                handlers.refuse(fd, found)
                return
            handlers.looking += 1
        stream = Preface(handlers, found, refused)
        stream.attach(self.reactor, fd)
        # Look first: the client has usually sent something already, and then no event is needed to be told.
        self.reactor.wake(stream)
