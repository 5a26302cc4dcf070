"""The two sides of a TCP connection that is passed through, and the socket that accepts it.

A client's bytes stay in its socket until the endpoint is connected: nothing is read, and the client is not even
watched, since a first read then finds what it has sent meanwhile. From there on both sides relay (proxy/relay.py).
What happens to a connection is the forwarder's business.
"""

from __future__ import annotations

import errno
from collections.abc import Callable

from proxy.http1.parties import LimitedAcceptor, ListenerRuntime
from proxy.kernel.netio import DRAIN_NOTHING, DRAIN_STREAM
from proxy.l4.ends import ClientEnd, ServerEnd
from proxy.l4.forward import TcpForwarder
from proxy.preface.driver import Found
from proxy.stats.slots import BYTES_IN, BYTES_OUT, CONNECTIONS_TOTAL, WORKER_CONNECTIONS
from proxy.upstream.endpoint import EndpointRuntime
from proxy.upstream.queue import serve


class TcpClient(ClientEnd):
    """A connection from a client, from accept to its end."""

    forwarder: TcpForwarder

    def __init__(
        self, forwarder: TcpForwarder, listener: ListenerRuntime, peer: bytes, port: int, started: int
    ) -> None:
        super().__init__(listener, peer, port, started)
        self.forwarder = forwarder

    def on_readable(self) -> None:
        if self.relaying:
            self.relay()
        elif self.failed:
            self.forwarder.client_gone(self)

    def on_drained(self) -> None:
        if self.relaying:
            self.relay_drained()

    def on_progress(self) -> None:
        self.relay_moves()

    def on_timeout(self) -> None:
        if self.relaying:
            self.record.add_flag("SI")
            # With bytes on their way an end could be taken for theirs.
            self.forwarder.end(self, self.in_transit())
        else:
            self.forwarder.waited_too_long(self)

    def count_relayed(self, count: int) -> None:
        self.record.bytes_in += count
        self.listener.slot.add(BYTES_IN, count)
        if self.route is not None:
            self.route.slot.add(BYTES_IN, count)
        server = self.server
        if server is not None:
            server.endpoint.slot.add(BYTES_OUT, count)
            server.endpoint.service.slot.add(BYTES_OUT, count)
        self.relay_moves()

    def relay_moves(self) -> None:
        self.set_timeout(self.forwarder.idle)

    def relay_over(self, broken: bool) -> None:
        if broken:
            self.record.add_flag("DC" if self.error or self.failed else "UR")
        self.forwarder.end(self, broken)

    def on_closed(self) -> None:
        self.listener.left(self.record.client)
        self.forwarder.worker_slot.add(WORKER_CONNECTIONS, -1)
        if not self.done:
            self.forwarder.cut_off(self)

    def drain_kind(self) -> int:
        return DRAIN_STREAM


class TcpServer(ServerEnd):
    """A connection to an endpoint."""

    forwarder: TcpForwarder

    def __init__(self, forwarder: TcpForwarder, endpoint: EndpointRuntime, client: ClientEnd) -> None:
        super().__init__(endpoint, client)
        self.forwarder = forwarder

    def on_connected(self, error: int) -> None:
        client = self.client
        if client is None:
            self.close()
        elif error:
            self.forwarder.connect_failed(client, self, error)
        else:
            self.forwarder.connected(client, self)

    def on_readable(self) -> None:
        if self.relaying:
            self.relay()

    def on_drained(self) -> None:
        if self.relaying:
            self.relay_drained()

    def on_timeout(self) -> None:
        client = self.client
        if client is not None:
            self.forwarder.connect_failed(client, self, errno.ETIMEDOUT)

    def on_progress(self) -> None:
        self.relay_moves()

    def count_relayed(self, count: int) -> None:
        endpoint = self.endpoint
        endpoint.slot.add(BYTES_IN, count)
        endpoint.service.slot.add(BYTES_IN, count)
        client = self.client
        if client is None:
            return
        client.record.bytes_out += count
        client.listener.slot.add(BYTES_OUT, count)
        if client.route is not None:
            client.route.slot.add(BYTES_OUT, count)
        self.relay_moves()

    def relay_moves(self) -> None:
        client = self.client
        if client is not None:
            client.set_timeout(self.forwarder.idle)

    def relay_over(self, broken: bool) -> None:
        client = self.client
        if client is not None:
            client.relay_over(broken)

    def on_closed(self) -> None:
        endpoint = self.endpoint
        endpoint.closed(self)
        client = self.client
        if client is not None:
            self.forwarder.cut_off(client)
        if endpoint.service.pending:
            serve(endpoint.service)

    def drain_kind(self) -> int:
        """Until it is connected nothing is watched of its client, which is then not looked at by itself."""
        return DRAIN_NOTHING if self.relaying else DRAIN_STREAM


class TcpAcceptor(LimitedAcceptor):
    """A listening socket whose connections are passed through. `gate()` says whether the instance may have one more."""

    forwarder: TcpForwarder
    gate: Callable[[], bool]

    def __init__(self, forwarder: TcpForwarder, listener: ListenerRuntime, gate: Callable[[], bool]) -> None:
        super().__init__(listener)
        self.forwarder = forwarder
        self.gate = gate

    def accepted(self, fd: int, host: bytes, port: int) -> None:
        if not self.admits(fd, host, port):
            return
        forwarder = self.forwarder
        client = TcpClient(forwarder, self.listener, host, port, self.reactor.micros())
        client.attach(self.reactor, fd)
        self.listener.slot.add(CONNECTIONS_TOTAL, 1)
        forwarder.worker_slot.add(WORKER_CONNECTIONS, 1)
        begin(forwarder, client, not self.gate())


def take_connection(forwarder: TcpForwarder, fd: int, found: Found, refused: bool) -> None:
    """Pass through a connection that was accepted elsewhere and is counted already, or reset one that is too many."""
    client = TcpClient(forwarder, found.listener, found.peer, found.port, found.started)
    client.destination = found.destination
    client.record.sni = found.sni
    client.record.received = found.received
    client.attach(forwarder.reactor, fd)
    begin(forwarder, client, refused)


def begin(forwarder: TcpForwarder, client: TcpClient, refused: bool) -> None:
    try:
        if refused:
            forwarder.refuse_new(client)
        else:
            forwarder.begin(client)
    except Exception as bug:
        # Nobody else knows this connection yet.
        forwarder.reactor.report(client, bug)
