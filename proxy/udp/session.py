"""The socket of a UDP listener, and the sessions of its clients. What happens to them is the forwarder's business.

A server that is `leaving` begins no sessions. Its socket stays until the last one has ended, because answers must come
from there, and is read for the clients that have sessions; not so once another worker has it (`hand_over`): then all
that comes is the other's, which makes sessions of its own.
"""

from __future__ import annotations

from mesh.breaker import WORKED
from proxy.http1.parties import ListenerRuntime
from proxy.kernel.datagrams import DatagramServer, DatagramSession
from proxy.kernel.netio import DRAIN_STREAM, Reactor
from proxy.l4.routes import StreamRouteRuntime
from proxy.streamlog import StreamRecord
from proxy.udp.forward import UdpForwarder
from proxy.upstream.endpoint import EndpointRuntime, ServiceRuntime

# A session that was silent for this long (seconds) does not hold up a worker that is stopping. A datagram that was lost
# is mostly sent again after a second or two.
DRAIN_IDLE = 5.0


class UdpServer(DatagramServer):
    forwarder: UdpForwarder
    listener: ListenerRuntime
    address: str  # as configured: a listener that moves to another one leaves this socket for good
    leaving: bool
    refusal_logged: int  # when (milliseconds); 0 for never

    def __init__(self, forwarder: UdpForwarder, listener: ListenerRuntime, address: str) -> None:
        self.forwarder = forwarder
        self.listener = listener
        self.address = address
        self.leaving = False
        self.refusal_logged = 0

    def listen(self, reactor: Reactor, fd: int) -> None:
        """Own a bound, non-blocking socket and serve whoever sends to it."""
        self.serve(self.forwarder.batch, reactor, fd, self.listener.slot)
        self.forwarder.servers.append(self)

    def open_session(self, key: bytes) -> DatagramSession | None:
        return self.forwarder.begin(self, key)

    def leave(self) -> None:
        """Begin no more sessions; close when those there are have ended."""
        self.leaving = True
        self.session_ended()

    def hand_over(self) -> None:
        """Somebody else reads the socket from now on, or nobody."""
        self.stop_reading()
        self.leave()

    def session_ended(self) -> None:
        if self.leaving and not self.sessions:
            self.close()

    def end_all(self, flag: str, detail: str) -> None:
        for session in list(self.sessions.values()):
            session.end(flag, detail, False)  # type: ignore[attr-defined]  # the forwarder made it

    def on_closed(self) -> None:
        if self in self.forwarder.servers:
            self.forwarder.servers.remove(self)


class UdpSession(DatagramSession):
    server: UdpServer
    forwarder: UdpForwarder
    record: StreamRecord
    route: StreamRouteRuntime
    service: ServiceRuntime
    endpoint: EndpointRuntime
    ended: bool  # for a reason that its record tells
    probing: bool  # it is a probe of a half-open endpoint
    reported: bool  # the endpoint has been told how it went
    goes_on: bool  # with another endpoint: the client keeps its place within the limits

    def __init__(
        self,
        forwarder: UdpForwarder,
        server: UdpServer,
        record: StreamRecord,
        route: StreamRouteRuntime,
        service: ServiceRuntime,
        endpoint: EndpointRuntime,
    ) -> None:
        self.forwarder = forwarder
        self.server = server
        self.record = record
        self.route = route
        self.service = service
        self.endpoint = endpoint
        self.ended = False
        self.goes_on = False
        self.probing = False
        self.reported = False
        self.route_slot = route.slot
        self.service_slot = service.slot
        self.endpoint_slot = endpoint.slot

    def on_timeout(self) -> None:
        self.end("SI", "", False)

    def on_answered(self) -> None:
        self.forwarder.report(self, WORKED)

    def on_unreachable(self, error: int) -> None:
        self.forwarder.unreachable(self, error)

    def end(self, flag: str, detail: str, goes_on: bool) -> None:
        if self.fd < 0:
            return
        self.ended = True
        self.goes_on = goes_on
        if flag:
            self.record.add_flag(flag)
        self.record.detail = detail
        self.close()

    def drain(self) -> None:
        self.limit_idle(DRAIN_IDLE)

    def drain_kind(self) -> int:
        return DRAIN_STREAM

    def on_closed(self) -> None:
        if not self.ended and self.server.leaving:
            self.record.add_flag("dr")
        self.forwarder.finish(self)
