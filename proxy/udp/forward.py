"""The way of a session of datagrams: from a client's first datagram to an endpoint, and to its end.

    begin -> limits -> route -> service, version -> pick an endpoint -> session
    no session -> the datagram is dropped and counted; nothing waits
    silence, refusal, drain -> finish

A session stays with its endpoint until it ends. An endpoint that is removed or drains keeps the sessions it has; one
that is found unhealthy or ejected loses each with the client's next datagram, if there is another endpoint for it.
`finish`, exactly once: statistics, access log. The drivers (proxy/udp/session.py) call in.
"""

from __future__ import annotations

import errno
from collections.abc import Iterable
from typing import TYPE_CHECKING

from discovery.exhaustion import OURS_BY_IP
from discovery.model import EndpointState, Listener, Protocol, Settings
from mesh.balance import Candidate
from mesh.breaker import FAILED, PROBE, UNKNOWN
from proxy.accesslog import AccessLog
from proxy.kernel.cells import Slot
from proxy.kernel.datagrams import Batch, client_of
from proxy.kernel.netio import Reactor
from proxy.l4.picking import pick_for
from proxy.l4.routes import StreamRouteRuntime
from proxy.stats.slots import (
    ACTIVE,
    CONNECT_FAILURES,
    CONNECTIONS_TOTAL,
    DATAGRAMS_UNROUTED,
    OVERFLOWS,
    WORKER_UDP_SESSIONS,
)
from proxy.stats.words import CONNECTIONS_RESOURCE, PANIC_PICKS, REQUESTS_RESOURCE
from proxy.streamlog import UDP, StreamRecord
from proxy.upstream.endpoint import EndpointRuntime, ServiceRuntime, is_breaker_open
from proxy.upstream.queue import serve

if TYPE_CHECKING:  # what stands above this module, and is only called from here
    from proxy.udp.session import UdpServer, UdpSession

# Endpoints that a session meets at most before it is given up.
MOST_ATTEMPTS = 5

# Of a listener's datagrams that get no session one has a line in the access log in this time (milliseconds): a flood
# must not become one of lines. All of them are counted.
REFUSAL_PAUSE_MS = 1000

# A session with an endpoint in one of these states goes elsewhere.
LOST_STATES = frozenset((EndpointState.UNHEALTHY, EndpointState.EJECTED))


def is_lost(endpoint: EndpointRuntime) -> bool:
    return endpoint.endpoint.state in LOST_STATES and not endpoint.removed


class UdpForwarder:
    """One per worker. `log` is None while there is none."""

    reactor: Reactor
    batch: Batch
    worker_slot: Slot
    log: AccessLog | None
    idle: float  # seconds
    limit: int  # sessions of the instance
    servers: list[UdpServer]  # those that have a socket
    sessions: dict[EndpointRuntime, set[UdpSession]]  # by endpoint
    stranded: set[UdpSession]  # their endpoint is lost, and there was no better one
    make_session: type[UdpSession]

    def __init__(self, reactor: Reactor, settings: Settings, worker_slot: Slot, make_session: type[UdpSession]) -> None:
        self.reactor = reactor
        self.batch = Batch()
        self.worker_slot = worker_slot
        self.make_session = make_session
        self.log = None
        self.servers = []
        self.sessions = {}
        self.stranded = set()
        self.idle = 0.0
        self.limit = 0
        self.apply(settings)

    def apply(self, settings: Settings) -> None:
        """Takes effect for new sessions."""
        self.idle = settings.timeouts.udp_idle
        self.limit = settings.limits.udp_sessions

    def review_listeners(self, listeners: Iterable[Listener]) -> None:
        """These listeners are in force."""
        known = {(each.name, each.address) for each in listeners if each.protocol is Protocol.UDP}
        for server in list(self.servers):
            if server.leaving and (server.listener.name, server.address) not in known:
                server.end_all("", "the listener is gone")

    def review(self, endpoint: EndpointRuntime) -> None:
        """It is in another state, or gone."""
        for session in self.sessions.get(endpoint, ()):
            session.misplaced = is_lost(endpoint)
            self.stranded.discard(session)

    def retry(self) -> None:
        """There may be better endpoints for those that found none."""
        stranded, self.stranded = self.stranded, set()
        for session in stranded:
            session.misplaced = is_lost(session.endpoint)

    # --- from a datagram to a session ---------------------------------------------------------------------------

    def begin(self, server: UdpServer, key: bytes) -> UdpSession | None:
        """A session for the client that `key` names, which has none or whose endpoint is lost. None: there is none."""
        lost: UdpSession | None = server.sessions.get(key)  # type: ignore[assignment]  # begin made it
        if lost is not None:
            # It stays where it is unless there is something better.
            lost.misplaced = False
            self.stranded.add(lost)
        elif server.leaving:
            server.slot.add(DATAGRAMS_UNROUTED, 1)
            return None
        client, port = client_of(key)
        record = StreamRecord(UDP, server.listener.name, client, port, self.reactor.micros())
        # What proxy/listeners.py gave the router.
        route: StreamRouteRuntime | None = server.listener.streams.match(b"", client)  # type: ignore[assignment]
        if route is None:
            return self.refuse(server, record, lost, "NR", "no route matches")
        record.route = route.route
        drawn = route.choose(record, self.reactor.now_ms)
        service = drawn.service
        if drawn.failed_over:
            record.add_flag("fo")
        if service is None:
            return self.refuse(server, record, lost, "NC", "the route names no service that exists")
        record.service = service.name
        record.version = drawn.version
        if lost is None:
            if not self.claim(server):
                return self.refuse(server, record, lost, "UO", "limits.udp_sessions or max_connections of the listener")
            clients = server.listener.clients
            if clients is not None and not clients.admit(server.listener, client, port, record.started):
                self.unclaim(server)
                return None
        session = self.enter(server, key, record, route, service, lost)
        if lost is None and session is None:
            self.left(server, client)
        return session

    def enter(
        self,
        server: UdpServer,
        key: bytes,
        record: StreamRecord,
        route: StreamRouteRuntime,
        service: ServiceRuntime,
        lost: UdpSession | None,
    ) -> UdpSession | None:
        """A session of the service, if that may have one more; one that only changes its endpoint is none."""
        if lost is not None and lost.service is service:
            service.slot.add(ACTIVE, 1)
        elif not service.enter():
            return self.refuse(server, record, lost, "UO", service.refused(REQUESTS_RESOURCE))
        session = self.connect(server, key, record, route, service, lost)
        if session is None or session is lost:
            service.slot.add(ACTIVE, -1)
        return session

    def claim(self, server: UdpServer) -> bool:
        """Count one more session of the listener and of the instance, if all workers together may have it: each
        publishes its own first, then adds up."""
        if not server.listener.claim():
            return False
        slot = self.worker_slot
        slot.add(WORKER_UDP_SESSIONS, 1)
        if self.limit == 0 or slot.total(WORKER_UDP_SESSIONS) <= self.limit:
            return True
        self.unclaim(server)
        return False

    def unclaim(self, server: UdpServer) -> None:
        self.worker_slot.add(WORKER_UDP_SESSIONS, -1)
        server.listener.unclaim()

    def left(self, server: UdpServer, client: bytes) -> None:
        """A session of this client, which was admitted, has ended, or there is none after all."""
        self.worker_slot.add(WORKER_UDP_SESSIONS, -1)
        server.listener.left(client)

    def connect(
        self,
        server: UdpServer,
        key: bytes,
        record: StreamRecord,
        route: StreamRouteRuntime,
        service: ServiceRuntime,
        lost: UdpSession | None,
    ) -> UdpSession | None:
        """Pick an endpoint and open a socket to it; to the next one if that cannot be had."""
        balancer = service.versions.get(record.version) if record.version else service.balancer
        tried: list[Candidate] = []
        while balancer is not None and record.attempts < MOST_ATTEMPTS:
            balancer.panicked = False
            endpoint = pick_for(service, balancer, record, tried, self.reactor.micros())
            if endpoint is None:
                break
            if balancer.panicked:
                record.add_flag("pa")
                service.shared.add(PANIC_PICKS, 1)
            probing = endpoint.admission == PROBE
            if not endpoint.make_room():
                if probing:
                    endpoint.attempt_over(UNKNOWN, True, self.reactor.now_ms)
                service.slot.add(OVERFLOWS, 1)
                return self.refuse(server, record, lost, "UO", service.refused(CONNECTIONS_RESOURCE))
            record.attempts += 1
            record.assigned = self.reactor.micros()
            record.endpoint = endpoint
            session = self.make_session(self, server, record, route, service, endpoint)
            session.probing = probing
            error = session.open(server, key, endpoint.address, self.idle)
            if error == 0:
                endpoint.opened()
                self.opened(session, lost)
                return session
            endpoint.not_opened()
            record.detail = f"{endpoint.address.text}: {errno.errorcode.get(error, str(error))}"
            self.report(session, UNKNOWN if error in OURS_BY_IP else FAILED)
            if error in OURS_BY_IP:
                return self.refuse(server, record, lost, "UO", record.detail)
            endpoint.slot.add(CONNECT_FAILURES, 1)
            tried.append(endpoint)
        if tried:
            return self.refuse(server, record, lost, "UF", record.detail)
        if is_breaker_open(balancer):
            return self.refuse(server, record, lost, "UO", "the circuit breaker of every healthy endpoint is open")
        return self.refuse(server, record, lost, "UH", "the service has no usable endpoint")

    def opened(self, session: UdpSession, lost: UdpSession | None) -> None:
        session.route.slot.add(CONNECTIONS_TOTAL, 1)
        session.endpoint.slot.add(ACTIVE, 1)
        self.sessions.setdefault(session.endpoint, set()).add(session)
        if lost is None:
            session.server.slot.add(CONNECTIONS_TOTAL, 1)
            session.server.slot.add(ACTIVE, 1)
        else:
            lost.end("UH", "its endpoint is not healthy any more", True)

    def refuse(
        self, server: UdpServer, record: StreamRecord, lost: UdpSession | None, flag: str, detail: str
    ) -> UdpSession | None:
        """There is no new session: the one whose endpoint is lost goes on, or else the datagram is dropped."""
        if lost is not None:
            return lost
        server.slot.add(OVERFLOWS if flag == "UO" else DATAGRAMS_UNROUTED, 1)
        now_ms = self.reactor.now_ms
        if self.log is not None and (not server.refusal_logged or now_ms - server.refusal_logged >= REFUSAL_PAUSE_MS):
            server.refusal_logged = now_ms
            record.add_flag(flag)
            record.detail = detail
            record.finished = self.reactor.micros()
            self.log.write_stream(record)
        return None

    # --- the end ------------------------------------------------------------------------------------------------

    def unreachable(self, session: UdpSession, error: int) -> None:
        """The endpoint's machine, or the way there, refuses what was sent."""
        if error == errno.EMSGSIZE or error in OURS_BY_IP:
            return  # that datagram is too large for the way, or we are short of something; others may pass
        session.endpoint.slot.add(CONNECT_FAILURES, 1)
        if session.reported:
            session.endpoint.attempt_over(FAILED, False, self.reactor.now_ms)  # it has worked until now
        else:
            self.report(session, FAILED)
        session.end("UF", f"{session.endpoint.address.text}: {errno.errorcode.get(error, str(error))}", False)

    def report(self, session: UdpSession, outcome: int) -> None:
        """Tell the endpoint whether the session reached it; the first word counts."""
        if not session.reported:
            session.reported = True
            session.endpoint.attempt_over(outcome, session.probing, self.reactor.now_ms)

    def finish(self, session: UdpSession) -> None:
        """The one end of every session: count it and log it."""
        self.report(session, UNKNOWN)
        service, endpoint, server = session.service, session.endpoint, session.server
        self.stranded.discard(session)
        siblings = self.sessions[endpoint]
        siblings.discard(session)
        if not siblings:
            del self.sessions[endpoint]
        endpoint.slot.add(ACTIVE, -1)
        endpoint.closed(None)
        service.slot.add(ACTIVE, -1)
        if not session.goes_on:
            server.slot.add(ACTIVE, -1)
            self.left(server, session.record.client)
        record = session.record
        record.finished = self.reactor.micros()
        record.bytes_in = session.bytes_in
        record.bytes_out = session.bytes_out
        record.datagrams_in = session.datagrams_in
        record.datagrams_out = session.datagrams_out
        if self.log is not None:
            try:
                self.log.write_stream(record)
            except Exception as bug:
                # All else about the session is done.
                self.reactor.tell_bug(session, bug)
        if service.pending:
            serve(service)
        server.session_ended()
