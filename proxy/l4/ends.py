"""The two ends of a TCP connection that is passed through: what the forwarder knows of them.

The drivers (proxy/l4/tunnel.py) are these; nothing here does anything.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from mesh.balance import Candidate
from proxy.http1.parties import ListenerRuntime
from proxy.l4.routes import StreamRouteRuntime
from proxy.relay import RelayStream
from proxy.streamlog import TCP, StreamRecord
from proxy.upstream.endpoint import EndpointRuntime, ServiceRuntime

if TYPE_CHECKING:  # what stands above this module, and is only pointed to from here
    from proxy.upstream.queue import Waiter


class ClientEnd(RelayStream):
    """The client's connection."""

    listener: ListenerRuntime
    record: StreamRecord
    destination: tuple[bytes, int] | None  # where the client wanted to; None: to the socket's own address
    route: StreamRouteRuntime | None
    service: ServiceRuntime | None
    server: ServerEnd | None
    tried: list[Candidate] | None  # endpoints that could not be connected to
    waiting: Waiter | None  # its place in the queue of the service
    waits_since: int  # microseconds of the monotonic clock when it was first put there, 0 for never
    probing: bool  # it is a probe of a half-open endpoint
    reported: bool  # the endpoint has been told whether it could be connected to
    done: bool

    def __init__(self, listener: ListenerRuntime, peer: bytes, port: int, started: int) -> None:
        super().__init__()
        self.listener = listener
        self.record = StreamRecord(TCP, listener.name, peer, port, started)
        self.destination = None
        self.route = None
        self.service = None
        self.server = None
        self.tried = None
        self.waiting = None
        self.waits_since = 0
        self.probing = False
        self.reported = True
        self.done = False


class ServerEnd(RelayStream):
    """The connection to an endpoint that belongs to it."""

    endpoint: EndpointRuntime
    client: ClientEnd | None  # None when it is on its own: about to be closed

    def __init__(self, endpoint: EndpointRuntime, client: ClientEnd) -> None:
        super().__init__()
        self.endpoint = endpoint
        self.client = client
