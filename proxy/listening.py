"""Listening sockets of a worker: who accepts on which, and where an accepted connection goes.

A socket waits until a snapshot knows its listener. What the listener does with connections may change; its socket
stays, and another acceptor takes it over. Connections that begin with something else than a request (proxy/preface)
come back to `take_connection` when that has been read.
"""

from __future__ import annotations

import os
import resource
import socket
from collections.abc import Callable
from typing import TYPE_CHECKING

from discovery.model import Protocol, Settings
from proxy.http1.downstream import Downstream, HttpAcceptor
from proxy.http1.downstream import take_connection as take_http
from proxy.http1.forward import Forwarder
from proxy.http1.parties import LimitedAcceptor, ListenerRuntime
from proxy.kernel.cells import Slot, Table
from proxy.kernel.netio import Reactor
from proxy.l4.forward import TcpForwarder
from proxy.l4.tunnel import TcpAcceptor
from proxy.l4.tunnel import take_connection as take_tcp
from proxy.preface.driver import Found, Handlers, PrefaceAcceptor, PrefaceSettings, decides_by_bytes
from proxy.stats.slots import OVERFLOWS, WORKER_CONNECTIONS, WORKER_SLOT
from proxy.table import Tables
from proxy.udp.forward import UdpForwarder
from proxy.udp.session import UdpServer

if TYPE_CHECKING:  # imported where DNS is configured
    from proxy.dns.server import DnsServer, DnsUdpServer

# A listening socket: name of its listener, and which of the listener's sockets it is.
Place = tuple[str, int]

# More than any system allows, and so as many as it does.
LARGEST_BACKLOG = 65535

# The part of a process's descriptors that clients may have. Each may need another towards its endpoint (HAProxy counts
# so too), and then there are sockets of DNS, logs, and whoever else lives in this process.
CLIENTS_SHARE = 2


def for_clients(limit: int) -> int:
    """The first descriptor number that is no client's, with `limit` open files allowed; 0 without a limit."""
    return 0 if limit == resource.RLIM_INFINITY else limit // CLIENTS_SHARE


class ListeningSockets:
    """`acceptors` are those that accept, `waiting` the sockets whose listener is not known yet.

    rejected(found, reason): a connection was closed because it did not begin as it has to.
    """

    def __init__(
        self,
        reactor: Reactor,
        table: Table,
        worker_slot: Slot,
        tables: Tables,
        forwarder: Forwarder,
        tcp: TcpForwarder,
        udp: UdpForwarder,
        rejected: Callable[[Found, str], None],
    ) -> None:
        self.reactor = reactor
        self.table = table
        self.tables = tables
        self.forwarder = forwarder
        self.tcp = tcp
        self.udp = udp
        self.dns: DnsServer | None = None
        self.limit = Settings().limits.connections
        self.handlers = Handlers(worker_slot, self.take_connection, self.refuse_connection, rejected, self.may_accept)
        self.acceptors: dict[Place, LimitedAcceptor | UdpServer | DnsUdpServer] = {}
        self.waiting: dict[Place, socket.socket] = {}
        reactor.descriptor_limit = for_clients(resource.getrlimit(resource.RLIMIT_NOFILE)[0])

    def apply(self, settings: Settings) -> None:
        self.limit = settings.limits.connections
        self.handlers.settings = PrefaceSettings(settings)

    def listen(self, name: str, sock: socket.socket, number: int = 0) -> None:
        """Own a listening socket, the one with this number of several, and accept for the listener `name`, as soon as
        a snapshot knows it."""
        self.unlisten(name, number)
        self.waiting[name, number] = sock
        self.open()

    def unlisten(self, name: str, number: int = 0) -> None:
        """Stop accepting on this socket; what is open stays open."""
        waiting = self.waiting.pop((name, number), None)
        if waiting is not None:
            waiting.close()
        acceptor = self.acceptors.pop((name, number), None)
        if isinstance(acceptor, LimitedAcceptor):
            acceptor.close()
        elif acceptor is not None:
            acceptor.hand_over()

    def leave(self) -> None:
        """Accept nothing more, since the program ends."""
        for server in list(self.udp.servers):
            server.leave()  # the clients of its sessions are heard until those end, or somebody else has the socket
        for place, acceptor in list(self.acceptors.items()):
            if not isinstance(acceptor, UdpServer):
                self.unlisten(*place)
        for place in list(self.waiting):
            self.unlisten(*place)

    def close(self) -> None:
        for name, number in [*self.acceptors, *self.waiting]:
            self.unlisten(name, number)

    def use_dns(self, dns: DnsServer | None) -> None:
        """None: nobody answers any more, and so nobody listens."""
        self.dns = dns
        if dns is None:
            for place, acceptor in list(self.acceptors.items()):
                if acceptor.listener.protocol.is_dns:
                    self.unlisten(*place)

    def open(self) -> None:
        """Accept on the sockets whose listeners the snapshot knows."""
        for place, sock in list(self.waiting.items()):
            listener = self.tables.listeners.get(place[0])
            if listener is None or listener.protocol.is_datagram is not (sock.type is socket.SOCK_DGRAM):
                continue
            del self.waiting[place]
            acceptor = self.acceptor_for(listener)
            sock.setblocking(False)
            if sock.family in (socket.AF_INET, socket.AF_INET6):
                listener.port = b"%d" % sock.getsockname()[1]
            acceptor.listen(self.reactor, sock.detach())
            self.acceptors[place] = acceptor
            self.take_backlog(acceptor, listener)

    def take_backlog(self, acceptor: LimitedAcceptor | UdpServer | DnsUdpServer, listener: ListenerRuntime) -> None:
        """Whoever has the socket says how many may wait in it: the supervisor, who made it, does not read the file."""
        if isinstance(acceptor, LimitedAcceptor):
            with socket.socket(fileno=os.dup(acceptor.fd)) as sock:
                sock.listen(self.tables.applied[listener.name].backlog or LARGEST_BACKLOG)

    def acceptor_for(self, listener: ListenerRuntime) -> LimitedAcceptor | UdpServer | DnsUdpServer:
        if listener.protocol.is_dns:
            assert self.dns is not None
            return self.dns.acceptor_for(listener)
        if listener.protocol is Protocol.UDP:
            return UdpServer(self.udp, listener, self.tables.applied[listener.name].address)
        if listener.accept_proxy or decides_by_bytes(listener):
            return PrefaceAcceptor(listener, self.handlers)
        if listener.protocol is Protocol.TCP:
            return TcpAcceptor(self.tcp, listener, self.may_accept)
        return HttpAcceptor(self.forwarder, listener, self.may_accept)

    def exchange(self) -> None:
        """What a listener does with its connections may have changed; its socket stays."""
        for place, acceptor in self.acceptors.items():
            listener = self.tables.listeners.get(place[0])
            if listener is None or listener.protocol.is_datagram or not isinstance(acceptor, LimitedAcceptor):
                continue
            wanted = self.acceptor_for(listener)
            assert isinstance(wanted, LimitedAcceptor)
            # Or it is a listener of the same name that came after another was gone.
            if type(wanted) is not type(acceptor) or acceptor.listener is not listener:
                wanted.listen(self.reactor, acceptor.detach())
                self.acceptors[place] = acceptor = wanted
            self.take_backlog(acceptor, listener)

    # --- connections ----------------------------------------------------------------------------------------------

    def may_accept(self) -> bool:
        """Whether the instance, all workers together, may have the connection that was just counted. One of this worker
        that waits for nothing makes room for it."""
        if self.table.total(WORKER_SLOT, WORKER_CONNECTIONS) <= self.limit:
            return True
        spare = self.reactor.spare()
        if not isinstance(spare, Downstream):
            return False
        spare.listener.slot.add(OVERFLOWS, 1)
        spare.close()
        return True

    def take_connection(self, fd: int, found: Found, refused: bool = False) -> None:
        if found.is_http:
            take_http(self.forwarder, found.listener, fd, found.peer, found.port, found.destination, refused)
        else:
            take_tcp(self.tcp, fd, found, refused)

    def refuse_connection(self, fd: int, found: Found) -> None:
        self.take_connection(fd, found, refused=True)
