"""The way of a TCP connection: from accept to an endpoint and back.

    begin -> route -> service, version -> assign
    assign -> pick an endpoint -> connect | wait in the queue | refuse
    connected -> both sides relay -> finish
    no connection -> another endpoint

`finish`, exactly once: statistics, access log. A client that cannot be served is reset: an end could be taken for an
empty answer. The flags are Envoy's words, as in docs/protocol.md. The drivers (proxy/l4/tunnel.py) call in.
"""

from __future__ import annotations

import errno
from collections.abc import Callable

from discovery.exhaustion import OURS
from discovery.model import Settings
from mesh.balance import Balancer
from mesh.breaker import FAILED, PROBE, UNKNOWN, WORKED
from mesh.sampling import penalty_us
from proxy.accesslog import AccessLog
from proxy.kernel.cells import Slot
from proxy.kernel.netio import Reactor
from proxy.l4.ends import ClientEnd, ServerEnd
from proxy.l4.picking import may_go, pick_for
from proxy.l4.routes import StreamRouteRuntime
from proxy.preface.proxy_protocol import write
from proxy.stats.slots import (
    ACTIVE,
    CONNECT_FAILURES,
    CONNECT_MICROSECONDS,
    CONNECT_TIMEOUTS,
    CONNECTS,
    OVERFLOWS,
    REPLAYS,
)
from proxy.stats.words import CONNECTIONS_RESOURCE, PANIC_PICKS, PENDING_RESOURCE, REQUESTS_RESOURCE
from proxy.upstream.endpoint import EndpointRuntime, ServiceRuntime, is_breaker_open
from proxy.upstream.queue import Waiter, join, leave, serve

# Endpoints that a connection meets at most. One that has met so many dead ones is not helped by a further one.
MOST_ATTEMPTS = 5

# Microseconds of a second, and the shortest time for which a deadline is set (seconds).
MICROS = 1_000_000
SOON = 0.001


class WaitingClient(Waiter):
    """A connection in the queue of its service."""

    def __init__(self, forwarder: TcpForwarder, client: ClientEnd, service: ServiceRuntime) -> None:
        self.forwarder = forwarder
        self.client = client
        self.service = service

    def kind(self) -> object:
        client = self.client
        if self.service.affinities is None and client.tried is None:
            return client.record.version
        return self

    def may_go(self) -> bool:
        forwarder = self.forwarder
        client = self.client
        now_ms = forwarder.reactor.now_ms
        return may_go(self.service, forwarder.balancer_of(client), client.record, client.tried, now_ms)

    def go(self) -> bool:
        client = self.client
        client.waiting = None
        client.clear_timeout()
        try:
            self.forwarder.assign(client)
        except Exception as bug:
            # Whose connection became free, and so led here, has no part in it.
            self.forwarder.reactor.report(client, bug)
        return client.waiting is None


class TcpForwarder:
    """One per worker. `log` is None while there is none."""

    reactor: Reactor
    worker_slot: Slot
    log: AccessLog | None
    connect: float  # seconds
    idle: float
    draining: bool
    connector: Callable[[EndpointRuntime, ClientEnd], ServerEnd]

    def __init__(
        self,
        reactor: Reactor,
        settings: Settings,
        worker_slot: Slot,
        connector: Callable[[EndpointRuntime, ClientEnd], ServerEnd],
    ) -> None:
        """`connector` makes an unconnected driver of the endpoint's side."""
        self.reactor = reactor
        self.worker_slot = worker_slot
        self.connector = connector
        self.log = None
        self.connect = 0.0
        self.idle = 0.0
        self.draining = False
        self.apply(settings)

    def apply(self, settings: Settings) -> None:
        self.connect = settings.timeouts.connect
        self.idle = settings.timeouts.tcp_idle

    # --- from a connection to an endpoint -----------------------------------------------------------------------

    def begin(self, client: ClientEnd) -> None:
        """All that is to be known of the connection is known."""
        record = client.record
        client.listener.slot.add(ACTIVE, 1)
        # What a listener's router matches with is what proxy/listeners.py gave it.
        route: StreamRouteRuntime | None = client.listener.streams.match(record.sni, record.client)  # type: ignore[assignment]
        if route is None:
            self.fail(client, "NR", "no route matches")
            return
        client.route = route
        record.route = route.route
        drawn = route.choose(record, self.reactor.now_ms)
        service = drawn.service
        if drawn.failed_over:
            record.add_flag("fo")
        if service is None:
            self.fail(client, "NC", "the route names no service that exists")
            return
        record.service = service.name
        record.version = drawn.version
        if not service.enter():
            self.fail(client, "UO", service.refused(REQUESTS_RESOURCE))
            return
        client.service = service
        if service.max_total and service.pending:
            # Another worker may have made room, and those who wait come first.
            serve(service)
        self.assign(client)

    def balancer_of(self, client: ClientEnd) -> Balancer | None:
        service = client.service
        if service is None:
            return None
        version = client.record.version
        return service.versions.get(version) if version else service.balancer

    def assign(self, client: ClientEnd) -> None:
        """Give the connection an endpoint, and connect to it."""
        record = client.record
        record.assigned = self.reactor.micros()
        balancer = self.balancer_of(client)
        endpoint: EndpointRuntime | None = None
        service = client.service
        if balancer is not None and service is not None:
            balancer.panicked = False
            endpoint = pick_for(service, balancer, record, client.tried, record.assigned)
            if balancer.panicked:
                record.add_flag("pa")
                service.shared.add(PANIC_PICKS, 1)
        if endpoint is None:
            if client.tried is not None:
                self.fail(client, "UF", record.detail)
            elif is_breaker_open(balancer):
                self.fail(client, "UO", "the circuit breaker of every healthy endpoint is open")
            else:
                self.fail(client, "UH", "the service has no usable endpoint")
            return
        probing = endpoint.admission == PROBE
        if not endpoint.make_room():
            if probing:
                endpoint.attempt_over(UNKNOWN, True, self.reactor.now_ms)
            self.queue(client)
            return
        if record.attempts:
            endpoint.service.slot.add(REPLAYS, 1)
        record.attempts += 1
        record.endpoint = endpoint
        endpoint.slot.add(ACTIVE, 1)
        client.probing = probing
        client.reported = False
        server = self.connector(endpoint, client)
        client.server = server
        error = server.connect(self.reactor, endpoint.address)
        if error:
            endpoint.not_opened()
            self.connect_failed(client, server, error)
            return
        endpoint.opened()
        server.set_timeout(self.connect)

    def queue(self, client: ClientEnd) -> None:
        """All connections the service may have are taken: wait, up to the limit and not longer than a connect may."""
        service = client.service
        assert service is not None
        waiter = WaitingClient(self, client, service)
        if not join(service, waiter):
            self.fail(client, "UO", service.refused(PENDING_RESOURCE))
            return
        client.waiting = waiter
        now = self.reactor.micros()
        if client.waits_since == 0:
            client.waits_since = now
        client.set_timeout(max(self.connect - (now - client.waits_since) / MICROS, SOON))

    def connected(self, client: ClientEnd, server: ServerEnd) -> None:
        record = client.record
        record.connected = self.reactor.micros()
        slot = server.endpoint.slot
        slot.add(CONNECTS, 1)
        slot.add(CONNECT_MICROSECONDS, record.connected - record.assigned)
        if server.endpoint.measured:
            server.endpoint.observe(record.connected - record.assigned, 0, record.connected)
        server.clear_timeout()
        self.report(client, server.endpoint, WORKED)
        header = server.endpoint.service.proxy_header
        if header is not None:
            server.send_bytes(
                write(header, (record.client, record.client_port), client.destination or client.local_address())
            )
        server.start_relay(client)
        client.start_relay(server)
        # The idle time of both directions is the client's; it is watched from here on, after its first read.
        client.relay()
        if client.fd >= 0:
            client.set_timeout(self.idle)
            client.watch()

    # --- when it goes wrong -------------------------------------------------------------------------------------

    def connect_failed(self, client: ClientEnd, server: ServerEnd, error: int) -> None:
        """No connection (`error` is an errno, ETIMEDOUT for our own deadline): try another endpoint."""
        record = client.record
        endpoint = server.endpoint
        ours = error in OURS
        if not ours:
            endpoint.slot.add(CONNECT_TIMEOUTS if error == errno.ETIMEDOUT else CONNECT_FAILURES, 1)
            if endpoint.measured:
                endpoint.observe(0, penalty_us(None), self.reactor.micros())
        self.report(client, endpoint, UNKNOWN if ours else FAILED)
        self.part(client)
        server.close()
        record.detail = f"{endpoint.endpoint.address}: {errno.errorcode.get(error, str(error))}"
        if client.tried is None:
            client.tried = []
        client.tried.append(endpoint)
        if record.attempts >= MOST_ATTEMPTS:
            self.fail(client, "UO" if ours else "UF", record.detail)
            return
        self.assign(client)

    def part(self, client: ClientEnd) -> ServerEnd | None:
        """Separate the two sides; who called has the endpoint's side to close."""
        server = client.server
        if server is not None:
            client.server = None
            client.other = None
            server.client = None
            server.other = None
            self.report(client, server.endpoint, UNKNOWN)
            server.endpoint.slot.add(ACTIVE, -1)
        return server

    def report(self, client: ClientEnd, endpoint: EndpointRuntime, outcome: int) -> None:
        """Tell the endpoint whether it could be connected to; the first word counts."""
        if not client.reported:
            client.reported = True
            endpoint.attempt_over(outcome, client.probing, self.reactor.now_ms)

    def fail(self, client: ClientEnd, flag: str, detail: str) -> None:
        client.record.add_flag(flag)
        client.record.detail = detail
        self.end(client, True)

    def end(self, client: ClientEnd, broken: bool) -> None:
        """Close both sides; with a reset if one is `broken`."""
        self.finish(client)
        server = self.part(client)
        if server is not None:
            server.end_relay(broken)
        client.end_relay(broken)

    def refuse_new(self, client: ClientEnd) -> None:
        """The instance has as many connections as it may."""
        client.listener.slot.add(ACTIVE, 1)
        client.listener.slot.add(OVERFLOWS, 1)
        self.fail(client, "UO", "limits.connections is reached")

    def waited_too_long(self, client: ClientEnd) -> None:
        detail = "no connection became free in time"
        if client.waiting is not None:
            assert client.service is not None
            client.service.slot.add(OVERFLOWS, 1)
            detail = f"{detail}: {client.service.refused(CONNECTIONS_RESOURCE)}"
        self.fail(client, "UO", detail)

    def client_gone(self, client: ClientEnd) -> None:
        """The client has reset the connection before it was connected to an endpoint."""
        self.fail(client, "DC", "")

    def cut_off(self, client: ClientEnd) -> None:
        """One of the two has been closed over our heads: at the end of a drain, or by a bug of ours."""
        if self.draining:
            client.record.add_flag("dr")
        else:
            client.record.detail = "the proxy failed at this connection"
        self.end(client, True)

    # --- the end ------------------------------------------------------------------------------------------------

    def finish(self, client: ClientEnd) -> None:
        """The one end of every connection: count it and log it."""
        if client.done:
            return
        client.done = True
        record = client.record
        record.finished = self.reactor.micros()
        client.listener.slot.add(ACTIVE, -1)
        service = client.service
        if service is not None:
            service.slot.add(ACTIVE, -1)
            if client.waiting is not None:
                leave(service, client.waiting)
                client.waiting = None
        if self.log is not None:
            try:
                self.log.write_stream(record)
            except Exception as bug:
                # All else about the connection is done.
                self.reactor.tell_bug(client, bug)
