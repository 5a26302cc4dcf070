"""The DNS server of a worker: what all its sockets share, and the sockets of UDP.

    datagram -> kernel (DnsSocket, Answers) -> answered, or Zone.answer -> answered, or the forwarder -> `reply`

`DnsServer` goes by the services as the proxy does: the tables tell it of each one in the step in which requests are
routed by it (proxy/table.py, Follower), so an answer of DNS and a routing decision cannot differ. An answer is kept
until the service that it belongs to changes, or the word moves that every change of its circuit breakers raises, in
whatever worker. The kernel does everything for a question whose answer is kept.

Imported only where DNS is configured: it is paid for once per worker.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable, Mapping

from discovery.dns.answer import Answer
from discovery.dns.forwarding import network_of
from discovery.dns.zone import Zone
from discovery.model import DnsSettings, Listener, Node, Protocol, Service, Snapshot
from proxy.dns.breakers import WordReader
from proxy.dns.forwarder import Forwarder
from proxy.dns.tcp import DnsAcceptor, DnsConnections
from proxy.http1.parties import ListenerRuntime
from proxy.kernel.cells import Shared, Slot
from proxy.kernel.datagrams import client_of
from proxy.kernel.dnsudp import DnsSocket, RateLimit
from proxy.kernel.dnswire import Answers
from proxy.kernel.netio import Reactor
from proxy.stats.slots import ACTIVE, dns_key
from proxy.stats.words import EPOCH_WORD
from proxy.upstream.endpoint import ServiceRuntime


def make_forwarder(loop: asyncio.AbstractEventLoop, settings: DnsSettings, row: Slot) -> Forwarder:
    return Forwarder(loop, settings, row)


class ZoneAnswers(Answers):
    """Answers of a zone, kept."""

    zone: Zone

    def __init__(self, zone: Zone) -> None:
        self.zone = zone

    def lookup(self, name: bytes, qtype: int) -> Answer | None:
        return self.zone.answer(name, qtype)


class DnsServer:
    """One per worker that serves DNS. `row` gives the worker's row of a key; `services` are those in force."""

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        reactor: Reactor,
        snapshot: Snapshot,
        row: Callable[[str], Slot],
        services: Mapping[str, ServiceRuntime],
    ) -> None:
        settings = snapshot.settings.dns
        self.loop = loop
        self.reactor = reactor
        self.settings = settings
        self.listeners: tuple[Listener, ...] = ()
        self.nodes: tuple[Node, ...] = ()
        self.udp_row = row(dns_key("udp"))
        self.services = services
        self.watched: dict[str, Shared] = {}  # by service
        # The generator is seeded by the system: workers must not begin alike.
        self.zone = Zone(settings, random.Random(), WordReader(services))
        self.answers = ZoneAnswers(self.zone)
        self.answers.on_bug = self.report_bug
        self.forwarder = make_forwarder(loop, settings, row(dns_key("forward")))
        self.connections = DnsConnections(self.answers, self.forwarder, settings, row(dns_key("tcp")))
        self.sockets: list[DnsUdpServer] = []
        self.limit: RateLimit | None = None
        self.take(settings)
        self.apply(snapshot)
        for service in snapshot.services:
            self.put(service)

    # --- what is in force -----------------------------------------------------------------------------------------

    def apply(self, snapshot: Snapshot) -> None:
        """What goes beyond services; those are told one by one."""
        settings = snapshot.settings.dns
        if settings != self.settings:
            self.zone.configure(settings, snapshot.version)
            self.answers.clear()
            self.forwarder.configure(settings)
            self.take(settings)
        self.zone.version(snapshot.version)
        if snapshot.listeners is not self.listeners:
            self.listeners = snapshot.listeners
            self.zone.listeners(snapshot.listeners)
            self.answers.clear()
        if snapshot.nodes is not self.nodes:
            self.nodes = snapshot.nodes
            self.zone.nodes(snapshot.nodes)

    def take(self, settings: DnsSettings) -> None:
        self.settings = settings
        self.answers.udp_size = settings.udp_size
        self.answers.forwarding = bool(settings.forward)
        self.connections.settings = settings
        rate = 0 if self.limit is None else self.limit.rate
        if settings.rate_limit != rate:
            self.limit = RateLimit(settings.rate_limit) if settings.rate_limit else None
            for each in self.sockets:
                each.limit = self.limit

    def put(self, service: Service) -> None:
        name = service.name
        shared = self.services[name].shared
        if self.watched.get(name) is not shared:
            self.watched[name] = shared
            self.answers.watch(name, shared, EPOCH_WORD)
        self.answers.forget(name)
        for other in self.zone.put(service):
            self.answers.forget(other)

    def remove(self, name: str) -> None:
        self.zone.remove(name)
        self.watched.pop(name, None)
        self.answers.watch(name, None)

    # --- sockets ----------------------------------------------------------------------------------------------------

    def acceptor_for(self, listener: ListenerRuntime) -> DnsAcceptor | DnsUdpServer:
        if listener.protocol is Protocol.DNS_UDP:
            return DnsUdpServer(self, listener)
        return DnsAcceptor(self.connections, listener)

    def is_busy(self) -> bool:
        """Whether answers of resolvers to questions over UDP are waited for."""
        return any(each.waiting for each in self.sockets)

    def close(self) -> None:
        """Stop at once."""
        for each in list(self.sockets):
            each.close()
        self.connections.close()
        self.closing = self.loop.create_task(self.forwarder.close())

    def report_bug(self, bug: BaseException) -> None:
        """The question was answered SERVFAIL."""
        if self.sockets:
            self.reactor.tell_bug(self.sockets[0], bug)


class DnsUdpServer(DnsSocket):
    """A socket of UDP. Once another worker reads it, it stays for the answers of resolvers that are still to come."""

    server: DnsServer
    listener: ListenerRuntime
    waiting: int  # questions that were forwarded and have no answer yet
    leaving: bool

    def __init__(self, server: DnsServer, listener: ListenerRuntime) -> None:
        self.server = server
        self.listener = listener
        self.waiting = 0
        self.leaving = False

    def listen(self, reactor: Reactor, fd: int) -> None:
        """Own a bound, non-blocking socket and answer whoever asks."""
        server = self.server
        self.serve(reactor, fd, server.answers, self.listener.slot, server.udp_row)
        self.limit = server.limit
        server.sockets.append(self)

    def forward(self, query: bytes, client: bytes) -> None:
        received = self.reactor.micros()
        self.waiting += 1
        self.row.add(ACTIVE, 1)
        network = network_of(client_of(client)[0])
        self.server.forwarder.ask(query, lambda message: self.answered(query, client, message, received), network)

    def answered(self, query: bytes, client: bytes, message: bytes, received: int) -> None:
        if self.fd < 0:
            return
        self.waiting -= 1
        self.row.add(ACTIVE, -1)
        self.reply(client, self.answers.finish(query, message, self.row), received)
        if self.leaving and not self.waiting:
            self.close()

    def hand_over(self) -> None:
        """Answer what has come, and leave the socket to whoever reads it from now on."""
        if self.fd >= 0:
            self.on_readable()
            self.stop_reading()
            self.leaving = True
            if not self.waiting:
                self.close()

    def on_closed(self) -> None:
        self.row.add(ACTIVE, -self.waiting)
        self.waiting = 0
        if self in self.server.sockets:
            self.server.sockets.remove(self)
