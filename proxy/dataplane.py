"""What a worker runs: listening sockets, the tables in force, and the HTTP path between them.

The event loop watches the reactor's descriptor and turns its wheel of deadlines; everything else happens inside
`Reactor.poll`. A new snapshot swaps references and touches no connection. Never talks to the agent itself: the worker
does that, and calls in here.
"""

from __future__ import annotations

import asyncio
import logging
import os
import resource
import socket
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import TYPE_CHECKING, Any

from discovery.delta import SnapshotChange
from discovery.model import AccessLog as LogSettings
from discovery.model import LogFormat, Protocol, Settings, Snapshot
from mesh.decision import Decision, Question
from mesh.record import Record
from proxy.accesslog import AccessLog
from proxy.clients import Clients
from proxy.control.messages import Seen, Tap
from proxy.http1 import replies
from proxy.http1.downstream import Downstream, HttpAcceptor
from proxy.http1.downstream import take_connection as take_http
from proxy.http1.forward import Forwarder
from proxy.http1.mirror import Mirrors
from proxy.http1.parties import LimitedAcceptor, ListenerRuntime, ServerSide
from proxy.http1.records import Records
from proxy.http1.rehearsal import Rehearsal
from proxy.http1.settings import HttpSettings
from proxy.http1.upstream import Upstream
from proxy.kernel.cells import Table
from proxy.kernel.netio import DRAIN_NOTHING, DRAIN_REQUEST, TICK, Reactor, Stream
from proxy.l4.ends import ClientEnd, ServerEnd
from proxy.l4.forward import TcpForwarder
from proxy.l4.tunnel import TcpAcceptor, TcpServer
from proxy.l4.tunnel import take_connection as take_tcp
from proxy.preface.driver import Found, Handlers, PrefaceAcceptor, PrefaceSettings, decides_by_bytes
from proxy.stats.rows import Rows
from proxy.stats.slots import OVERFLOWS, WORKER_CONNECTIONS, WORKER_CROWDED, WORKER_SLOT
from proxy.streamlog import TCP, UDP, StreamRecord
from proxy.table import Tables
from proxy.udp.forward import UdpForwarder
from proxy.udp.session import UdpServer, UdpSession
from proxy.upstream.bell import Bell
from proxy.upstream.endpoint import EndpointRuntime
from proxy.upstream.queue import make_way, serve

if TYPE_CHECKING:  # imported where DNS is configured, or somebody looks on: it is paid for once per worker
    from proxy.dns.server import DnsServer, DnsUdpServer
    from proxy.taps import Taps

bugs = logging.getLogger("hivemesh.bugs")

# A listening socket: name of its listener, and which of the listener's sockets it is.
Place = tuple[str, int]

# How often a draining data plane looks whether it is empty (seconds).
DRAIN_LOOK = 0.05

# More than any system allows, and so as many as it does.
LARGEST_BACKLOG = 65535

# Least time between two reports of bugs (milliseconds).
BUG_PAUSE_MS = 100

# Least time between two reports that accepting has paused (milliseconds).
CROWDED_TOLD_MS = 10_000

# Up to this size (Tables.size) a change is made in one piece, so that every request is decided by one configuration as
# a whole. What is larger is made in steps, and traffic goes on in between.
WHOLE = 64

# The part of a process's descriptors that clients may have. Each may need another towards its endpoint (HAProxy counts
# so too), and then there are sockets of DNS, logs, and whoever else lives in this process.
CLIENTS_SHARE = 2


def for_clients(limit: int) -> int:
    """The first descriptor number that is no client's, with `limit` open files allowed; 0 without a limit."""
    return 0 if limit == resource.RLIM_INFINITY else limit // CLIENTS_SHARE


def why(error: OSError) -> str:
    """Why a file could not be opened. Who may not needs to know as whom it was tried."""
    reason = error.strerror or str(error)
    return f"{reason} for user {os.geteuid()}" if isinstance(error, PermissionError) else reason


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
        self.reactor.on_bug = self.report_bug
        self.reactor.call_soon = loop.call_soon
        self.reactor.on_crowded = self.report_crowded
        self.reactor.descriptor_limit = for_clients(resource.getrlimit(resource.RLIMIT_NOFILE)[0])
        self.crowded_told = -CROWDED_TOLD_MS
        self.bug_reported = -BUG_PAUSE_MS
        self.worker_slot = table.slot(worker, WORKER_SLOT)
        self.settings = Settings()
        self.log: AccessLog | None = None
        self.log_settings = self.settings.access_log  # those of `log`
        self.rows = Rows(table, worker, lambda number: released((number,)))
        self.forwarder = Forwarder(self.reactor, HttpSettings(self.settings), connect_upstream, self.worker_slot)
        self.records = Records(self.settings.records, worker)
        self.forwarder.records = self.records
        self.tcp = TcpForwarder(self.reactor, self.settings, self.worker_slot, self.tcp_server)
        self.udp = UdpForwarder(self.reactor, self.settings, self.worker_slot, UdpSession)
        self.tables = Tables(self.rows, self.udp.review, Bell(table).ring)
        self.tables.service_table.breakers.emit = emit
        self.clients = Clients(table, self.deny_client)
        self.mirrors = self.tables.policies.mirrors = Mirrors(self.forwarder, self.tables.services)
        self.forwarder.draws = self.tables.draws
        # Of questions. Not made when the first one comes: traffic would wait for what has to be imported.
        self.rehearsal = Rehearsal(self.forwarder)
        self.handlers = Handlers(
            self.worker_slot, self.take_connection, self.refuse_connection, self.reject_connection, self.may_accept
        )
        self.worker = worker
        self.taps: Taps | None = None
        self.dns: DnsServer | None = None
        self.acceptors: dict[Place, LimitedAcceptor | UdpServer | DnsUdpServer] = {}
        self.waiting_sockets: dict[Place, socket.socket] = {}
        loop.add_reader(self.reactor.fileno(), self.reactor.poll)
        self.ticker: asyncio.TimerHandle | None = loop.call_later(TICK, self.tick)

    # --- what the worker asks for ---------------------------------------------------------------------------------

    def listen(self, name: str, sock: socket.socket, number: int = 0) -> None:
        """Own a listening socket, the one with this number of several, and accept for the listener `name`, as soon as
        a snapshot knows it."""
        self.unlisten(name, number)
        self.waiting_sockets[name, number] = sock
        self.open_listeners()

    def unlisten(self, name: str, number: int = 0) -> None:
        """Stop accepting on this socket; what is open stays open."""
        waiting = self.waiting_sockets.pop((name, number), None)
        if waiting is not None:
            waiting.close()
        acceptor = self.acceptors.pop((name, number), None)
        if isinstance(acceptor, LimitedAcceptor):
            acceptor.close()
        elif acceptor is not None:
            acceptor.hand_over()

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
        for server in list(self.udp.servers):
            server.leave()  # the clients of its sessions are heard until those end, or somebody else has the socket
        for place, acceptor in list(self.acceptors.items()):
            if not isinstance(acceptor, UdpServer):
                self.unlisten(*place)
        for place in list(self.waiting_sockets):
            self.unlisten(*place)
        self.forwarder.draining = True
        self.tcp.draining = True
        for stream in self.reactor.all_streams():
            stream.drain()
        now = self.loop.time()
        self.look_drained(now + deadline, now + streams, done)

    def reopen_logs(self) -> None:
        """Go on in the files that have our names now; where that fails, in those that we have."""
        if self.log is not None:
            try:
                self.log.reopen()
            except OSError as error:
                self.report_log_closed(self.log_settings.path, error)

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
        self.unlisten_all()
        if self.dns is not None:
            self.dns.close()
        self.loop.remove_reader(self.reactor.fileno())
        self.reactor.close()
        if self.log is not None:
            self.log.close()

    # --- inside ---------------------------------------------------------------------------------------------------

    def applied(self, before: Snapshot, now: Snapshot) -> None:
        """What goes beyond services and routes."""
        self.records.versions.put(now.version, self.reactor.micros())
        if now.settings != self.settings or now.settings.access_log != self.log_settings:
            self.apply_settings(now.settings)
        self.apply_dns(now)
        if now.listeners is not before.listeners:
            self.exchange_acceptors()
            self.udp.review_listeners(now.listeners)
        self.open_listeners()
        self.udp.retry()

    def apply_dns(self, now: Snapshot) -> None:
        """Services are told to the DNS server one by one; this is about all else, and whether there is one."""
        wanted = any(listener.protocol.is_dns for listener in now.listeners)
        if self.dns is None and wanted:
            from proxy.dns.server import DnsServer

            self.dns = DnsServer(self.loop, self.reactor, now, self.rows.row, self.tables.services)
            self.tables.followers.append(self.dns)
        elif self.dns is not None and wanted:
            self.dns.apply(now)
        elif self.dns is not None:
            self.tables.followers.remove(self.dns)
            self.dns.close()
            self.dns = None
            for place, acceptor in list(self.acceptors.items()):
                if acceptor.listener.protocol.is_dns:
                    self.unlisten(*place)

    def unlisten_all(self) -> None:
        for name, number in [*self.acceptors, *self.waiting_sockets]:
            self.unlisten(name, number)

    def open_listeners(self) -> None:
        for place, sock in list(self.waiting_sockets.items()):
            listener = self.tables.listeners.get(place[0])
            if listener is None or listener.protocol.is_datagram is not (sock.type is socket.SOCK_DGRAM):
                continue
            del self.waiting_sockets[place]
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

    def tcp_server(self, endpoint: EndpointRuntime, client: ClientEnd) -> ServerEnd:
        return TcpServer(self.tcp, endpoint, client)

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

    def exchange_acceptors(self) -> None:
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

    def take_connection(self, fd: int, found: Found, refused: bool = False) -> None:
        if found.is_http:
            take_http(self.forwarder, found.listener, fd, found.peer, found.port, found.destination, refused)
        else:
            take_tcp(self.tcp, fd, found, refused)

    def refuse_connection(self, fd: int, found: Found) -> None:
        self.take_connection(fd, found, refused=True)

    def reject_connection(self, found: Found, reason: str) -> None:
        """A connection was closed because it did not begin as it has to; it has a line in the log all the same."""
        if self.log is not None:
            record = StreamRecord(TCP, found.listener.name, found.peer, found.port, found.started)
            record.add_flag("DPE")
            record.detail = reason
            record.received = record.finished = self.reactor.micros()
            self.log.write_stream(record)

    def deny_client(self, listener: ListenerRuntime, client: bytes, port: int, why: str) -> None:
        """A client wants more connections or sessions than one may have; told of now and then."""
        if self.log is not None:
            protocol = UDP if listener.protocol.is_datagram else TCP
            record = StreamRecord(protocol, listener.name, client, port, self.reactor.micros())
            record.add_flag("UO")
            record.detail = why
            record.received = record.finished = record.started
            self.log.write_stream(record)

    def may_accept(self) -> bool:
        """Whether the instance, all workers together, may have the connection that was just counted. One of this worker
        that waits for nothing makes room for it."""
        if self.table.total(WORKER_SLOT, WORKER_CONNECTIONS) <= self.settings.limits.connections:
            return True
        spare = self.reactor.spare()
        if not isinstance(spare, Downstream):
            return False
        spare.listener.slot.add(OVERFLOWS, 1)
        spare.close()
        return True

    def apply_settings(self, settings: Settings) -> None:
        if settings.access_log != self.log_settings:
            self.open_log(settings.access_log)
        self.settings = settings
        self.records.apply(settings.records)
        self.forwarder.records = self.records if self.records.is_on else None
        self.forwarder.settings = HttpSettings(settings)
        self.tcp.apply(settings)
        self.udp.apply(settings)
        self.handlers.settings = PrefaceSettings(settings)
        self.clients.apply(settings)
        self.tables.listener_table.limit_clients(self.clients if self.clients.is_on else None)

    def open_log(self, wanted: LogSettings) -> None:
        """Log as `wanted`. A file that cannot be opened stops no traffic: the log stays what it was, and the next
        change of configuration tries again."""
        log = None
        if wanted.format is not LogFormat.OFF:
            try:
                log = AccessLog(wanted, self.worker_slot, self.report_log_loss)
            except OSError as error:
                self.report_log_closed(wanted.path, error)
                return
        if self.log is not None:
            self.log.close()
        self.log = log
        self.log_settings = wanted
        self.forwarder.log = log
        self.tcp.log = log
        self.udp.log = log

    def report_log_closed(self, path: str, error: OSError) -> None:
        self.emit("access log not opened", {"path": path, "reason": why(error)})

    def report_log_loss(self, reason: str) -> None:
        self.emit("access log lines lost", {"reason": reason})

    def report_crowded(self, error: int) -> None:
        """There is no room for further clients (`error` says why), or there is again (0). Under a load that is just too
        much this goes to and fro, so it is told now and then and counted always."""
        if error:
            self.worker_slot.add(WORKER_CROWDED, 1)
            if self.reactor.now_ms - self.crowded_told < CROWDED_TOLD_MS:
                return
            self.crowded_told = self.reactor.now_ms
            fields = {"reason": os.strerror(error), "descriptors": self.reactor.descriptor_limit}
            self.emit("accepting paused", fields)
        elif self.reactor.now_ms - self.crowded_told < CROWDED_TOLD_MS:
            self.emit("accepting again", {})

    def report_bug(self, stream: Stream, bug: BaseException) -> None:
        """A driver failed: its connection is gone, the rest goes on. A bug that every request meets must not fill
        the disk, so only some are reported."""
        if self.reactor.now_ms - self.bug_reported < BUG_PAUSE_MS:
            return
        self.bug_reported = self.reactor.now_ms
        if isinstance(bug, MemoryError):
            self.emit("out of memory", {"stream": repr(stream)})
            return
        bugs.error("a connection was ended by a bug: %r", stream, exc_info=bug)
        self.emit("bug", {"stream": repr(stream), "error": repr(bug)})

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
        if self.log is not None:
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

    def look_drained(self, deadline: float, streams_deadline: float, done: Callable[[], None]) -> None:
        now = self.loop.time()
        busy = False
        for stream in self.reactor.all_streams():
            kind = stream.drain_kind()
            if kind == DRAIN_NOTHING:
                continue
            if now < (deadline if kind == DRAIN_REQUEST else streams_deadline) or self.cut(stream):
                busy = True
        if self.dns is not None and self.dns.is_busy() and now < deadline:
            busy = True
        if busy:
            self.loop.call_later(DRAIN_LOOK, self.look_drained, deadline, streams_deadline, done)
            return
        if self.log is not None:
            self.log.flush()
        if self.taps is not None:
            self.taps.flush()
        done()

    def cut(self, stream: Stream) -> bool:
        """End what has had its time. True when a client has just been told so and gets a moment to hear it."""
        if not isinstance(stream, Downstream) or stream.exchange is None:
            stream.abort()
            return False
        exchange = stream.exchange
        if stream.relaying:
            exchange.add_flag(replies.DRAINING.flag)
            stream.relay_over(True)
            return False
        is_told = not exchange.answered
        self.forwarder.refuse(exchange, replies.DRAINING, "")
        return is_told
