"""What a worker runs: listening sockets, the tables in force, and the ways of requests and connections between them.

Listening sockets, the access log, what is reported and draining have files of their own; here they are put together,
and asked by the worker. The event loop watches the reactor's descriptor and turns its wheel of deadlines; everything
else happens inside `Reactor.poll`. A new snapshot swaps references and touches no connection. Never talks to the agent
itself: the worker does that, and calls in here.
"""

from __future__ import annotations

import asyncio
import logging
import socket
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import TYPE_CHECKING, Any

from discovery.delta import SnapshotChange
from discovery.model import Protocol, Settings, Snapshot
from mesh.decision import Decision, Question
from mesh.record import Record
from proxy.clients import Clients
from proxy.control.messages import Seen, Tap
from proxy.currentlog import CurrentLog
from proxy.draining import Draining
from proxy.http1.forward import Forwarder
from proxy.http1.mirror import Mirrors
from proxy.http1.parties import ServerSide
from proxy.http1.records import Records
from proxy.http1.rehearsal import Rehearsal
from proxy.http1.settings import HttpSettings
from proxy.http1.upstream import Upstream
from proxy.kernel.cells import Table
from proxy.kernel.netio import TICK, Reactor
from proxy.l4.ends import ClientEnd, ServerEnd
from proxy.l4.forward import TcpForwarder
from proxy.l4.tunnel import TcpServer
from proxy.listening import ListeningSockets
from proxy.reports import Reports
from proxy.stats.rows import Rows
from proxy.stats.slots import WORKER_SLOT
from proxy.table import Tables
from proxy.udp.forward import UdpForwarder
from proxy.udp.session import UdpSession
from proxy.upstream.bell import Bell
from proxy.upstream.endpoint import EndpointRuntime
from proxy.upstream.queue import make_way, serve

if TYPE_CHECKING:  # imported where DNS is configured, or somebody looks on: it is paid for once per worker
    from proxy.dns.server import DnsServer
    from proxy.taps import Taps

bugs = logging.getLogger("hivemesh.bugs")

# Up to this size (Tables.size) a change is made in one piece, so that every request is decided by one configuration as
# a whole. What is larger is made in steps, and traffic goes on in between.
WHOLE = 64


def connect_upstream(forwarder: Forwarder, endpoint: EndpointRuntime) -> ServerSide:
    return Upstream(forwarder, endpoint)


class DataPlane:
    """All of a worker's traffic.

    emit(name, fields): an event worth the event log. released(numbers): statistics rows that are written to no more.
    """

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        *,
        table: Table,
        worker: int,
        emit: Callable[[str, Mapping[str, Any]], None],
        released: Callable[[tuple[int, ...]], None],
    ) -> None:
        self.loop = loop
        self.table = table
        self.emit = emit
        self.reactor = Reactor()
        self.reactor.call_soon = loop.call_soon
        self.worker_slot = table.slot(worker, WORKER_SLOT)
        self.reports = Reports(self.reactor, self.worker_slot, emit)
        self.settings = Settings()
        self.log = CurrentLog(self.reactor, self.worker_slot, emit)
        self.rows = Rows(table, worker, lambda number: released((number,)))
        self.forwarder = Forwarder(self.reactor, HttpSettings(self.settings), connect_upstream, self.worker_slot)
        self.records = Records(self.settings.records, worker)
        self.forwarder.records = self.records
        self.tcp = TcpForwarder(self.reactor, self.settings, self.worker_slot, self.tcp_server)
        self.udp = UdpForwarder(self.reactor, self.settings, self.worker_slot, UdpSession)
        self.tables = Tables(self.rows, self.udp.review, Bell(table).ring)
        self.tables.service_table.breakers.emit = emit
        self.clients = Clients(table, self.log.denied)
        self.mirrors = self.tables.policies.mirrors = Mirrors(self.forwarder, self.tables.services)
        self.forwarder.draws = self.tables.draws
        # Of questions. Not made when the first one comes: traffic would wait for what has to be imported.
        self.rehearsal = Rehearsal(self.forwarder)
        self.sockets = ListeningSockets(
            self.reactor,
            table,
            self.worker_slot,
            self.tables,
            self.forwarder,
            self.tcp,
            self.udp,
            self.log.rejected,
        )
        self.draining = Draining(loop, self.reactor, self.sockets, self.forwarder, self.tcp)
        self.worker = worker
        self.taps: Taps | None = None
        self.dns: DnsServer | None = None
        loop.add_reader(self.reactor.fileno(), self.reactor.poll)
        self.ticker: asyncio.TimerHandle | None = loop.call_later(TICK, self.tick)

    # --- what the worker asks for ---------------------------------------------------------------------------------

    def listen(self, name: str, sock: socket.socket, number: int = 0) -> None:
        """Own a listening socket, the one with this number of several, and accept for the listener `name`, as soon as
        a snapshot knows it."""
        self.sockets.listen(name, sock, number)

    def unlisten(self, name: str, number: int = 0) -> None:
        """Stop accepting on this socket; what is open stays open."""
        self.sockets.unlisten(name, number)

    def apply(self, snapshot: Snapshot, slots: Mapping[str, int]) -> None:
        """Decide by this snapshot at once."""
        before = self.tables.snapshot
        self.tables.apply(snapshot, slots)
        self.applied(before, self.tables.snapshot)

    def steps(self, change: SnapshotChange, slots: Mapping[str, int]) -> Iterator[None]:
        """Decide by the snapshot of `change` from the end of the iterator on. A change that is not small takes several
        steps, each a fraction of a millisecond, and traffic may go on in between. `slots` has the rows of all keys,
        also of those that are no longer needed; it stays the caller's, who `forget`s these afterwards."""
        before = self.tables.snapshot
        self.rows.numbers = slots
        steps = self.tables.steps(change)
        if self.tables.size(change) > WHOLE:
            yield from steps
        else:
            for _ in steps:
                pass
        self.applied(before, change.snapshot)

    def forget(self, numbers: Iterable[tuple[str, int]]) -> None:
        """These keys have these rows no more: each is released when nobody writes to it."""
        self.rows.forget(numbers)

    def drain(self, deadline: float, streams: float, done: Callable[[], None]) -> None:
        """Accept nothing more, finish requests within `deadline` seconds and streams within `streams`, then call
        `done`."""

        def drained() -> None:
            self.log.flush()
            if self.taps is not None:
                self.taps.flush()
            done()

        self.draining.begin(deadline, streams, drained)

    def reopen_logs(self) -> None:
        """Go on in the files that have our names now; where that fails, in those that we have."""
        self.log.reopen()

    def ask(self, question: Question, answered: Callable[[Decision | None, str], None]) -> Iterator[None]:
        """What would become of this request; `answered` gets it, or None and why there is no answer. Nothing is
        counted, taken or moved on by it."""
        listener = self.tables.listeners.get(question.listener)
        if listener is None or listener.protocol not in (Protocol.HTTP, Protocol.AUTO):
            answered(None, f"no listener called '{question.listener}' takes HTTP requests")
            return
        told: list[Decision] = []
        try:
            yield from self.rehearsal.steps(question, listener, self.tables.snapshot.settings, told.append)
        except Exception as bug:
            # Whoever asks must not be able to end a worker.
            asked = f"{question.method} at {question.listener}"  # not its fields: they may carry credentials
            bugs.error("a question was ended by a bug: %s", asked, exc_info=bug)
            answered(None, f"the question was ended by a bug: {bug!r}")
            return
        answered(told[0], "")

    def find(self, request_id: str) -> tuple[Record, ...]:
        """What is kept of the requests with this id, the newest first."""
        return tuple(self.records.find(request_id))

    def newest(self, most: int, only_errors: bool) -> Iterator[Record]:
        """The last requests to end, the newest first, a small step each."""
        return self.records.newest(most, only_errors)

    def kept(self) -> tuple[int, str]:
        """How many records there are, and when the oldest of them ended."""
        return self.records.count(), self.records.since()

    def tap(self, wanted: Tap, send: Callable[[Seen], bool]) -> None:
        """Show requests that end, until `untap` is said; `send` tells whether there was room for what it got."""
        if self.taps is None:
            from proxy.taps import Taps

            self.taps = Taps(
                self.loop,
                worker=self.worker,
                wall_offset=self.records.wall_offset,
                version_at=self.records.versions.at,
                secret=self.settings.secret,
                send=send,
            )
            self.forwarder.taps = self.taps
        try:
            self.taps.put(wanted)
        except ValueError as error:  # the agent has compiled it before
            self.emit("tap refused", {"filter": wanted.filter, "reason": str(error)})
            self.untap(wanted.number)

    def untap(self, number: int | None = None) -> None:
        """None: nobody looks on any more."""
        if self.taps is None:
            return
        if number is not None:
            self.taps.drop(number)
        if number is None or not self.taps:
            self.taps.close()
            self.taps = self.forwarder.taps = None

    def close(self) -> None:
        """Stop at once; open connections are reset."""
        self.untap()
        if self.ticker is not None:
            self.ticker.cancel()
            self.ticker = None
        self.sockets.close()
        if self.dns is not None:
            self.dns.close()
        self.loop.remove_reader(self.reactor.fileno())
        self.reactor.close()
        self.log.close()

    # --- inside ---------------------------------------------------------------------------------------------------

    def applied(self, before: Snapshot, now: Snapshot) -> None:
        """What goes beyond services and routes."""
        self.records.versions.put(now.version, self.reactor.micros())
        if now.settings != self.settings or now.settings.access_log != self.log.settings:
            self.apply_settings(now.settings)
        self.apply_dns(now)
        if now.listeners is not before.listeners:
            self.sockets.exchange()
            self.udp.review_listeners(now.listeners)
        self.sockets.open()
        self.udp.retry()

    def apply_dns(self, now: Snapshot) -> None:
        """Services are told to the DNS server one by one; this is about all else, and whether there is one."""
        wanted = any(listener.protocol.is_dns for listener in now.listeners)
        if self.dns is None and wanted:
            from proxy.dns.server import DnsServer

            self.dns = DnsServer(self.loop, self.reactor, now, self.rows.row, self.tables.services)
            self.tables.followers.append(self.dns)
            self.sockets.use_dns(self.dns)
        elif self.dns is not None and wanted:
            self.dns.apply(now)
        elif self.dns is not None:
            self.tables.followers.remove(self.dns)
            self.dns.close()
            self.dns = None
            self.sockets.use_dns(None)

    def tcp_server(self, endpoint: EndpointRuntime, client: ClientEnd) -> ServerEnd:
        return TcpServer(self.tcp, endpoint, client)

    def apply_settings(self, settings: Settings) -> None:
        self.log.apply(settings.access_log)
        self.forwarder.log = self.tcp.log = self.udp.log = self.log.file
        self.settings = settings
        self.records.apply(settings.records)
        self.forwarder.records = self.records if self.records.is_on else None
        self.forwarder.settings = HttpSettings(settings)
        self.tcp.apply(settings)
        self.udp.apply(settings)
        self.sockets.apply(settings)
        self.clients.apply(settings)
        self.tables.listener_table.limit_clients(self.clients if self.clients.is_on else None)

    def tick(self) -> None:
        # First, so that a bug in one of these does not stop the others for good.
        self.ticker = self.loop.call_later(TICK, self.tick)
        self.reactor.turn()
        for service in self.tables.service_table.breakers.look(self.tables.services, self.reactor.now_ms):
            if service.pending:
                serve(service)
        self.wake()
        if self.mirrors.copies:
            self.mirrors.turn()
        self.log.flush()

    def wake(self) -> None:
        """Another worker has connections to give, or wants one."""
        if self.tables.service_table.crowded:
            self.serve_crowded()
        for service in self.tables.service_table.shared:
            make_way(service)

    def serve_crowded(self) -> None:
        """Connections of other workers may have ended."""
        crowded = self.tables.service_table.crowded
        for service in list(crowded):
            if service.pending:
                serve(service)
            if not service.pending:
                crowded.discard(service)
