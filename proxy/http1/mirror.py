"""Copies of requests for a service that only watches: sent when the original is over, and forgotten.

    MirrorPhase.run (the body is tapped) -> original finished -> release: a copy -> after this batch of events -> send
    -> the answer is read and thrown away -> release of the copy: one less under way

A copy is an `Exchange` like any other, with a client's side that has no socket, so the limits, the breaker and the
pools of the shadow service apply to it, and its statistics show it. It is nobody's request: no listener and no route
counts it, it has no line in the access log, the retry policy does not repeat it, it waits in no queue, and a drain does
not wait for it. It is sent after the original's answer, so the original cannot be slowed down by anything that the
shadow does; what it costs is the processor's time for a second request.

Everything is bounded: copies under way and bytes kept for them, for each shadow service of a worker; the size of a
body, which is also what an original keeps that is not over; the time until the answer is complete. What does not fit is
dropped and counted.
"""

from __future__ import annotations

from collections.abc import Mapping

from discovery.policies import Mirror
from mesh.decision import PhaseVerdict
from mesh.draws import draws_of
from mesh.mirror import MARKER, may_copy, may_send
from proxy.http1 import replies
from proxy.http1.codes import IDEMPOTENT_METHODS
from proxy.http1.forward import Forwarder
from proxy.http1.parties import BodyTap, ClientSide, Exchange, RouteRuntime
from proxy.http1.phases import Phase, PhaseTools, Verdict
from proxy.kernel.cells import Shared
from proxy.kernel.emit import FieldEdits
from proxy.stats.words import MIRRORED, MIRRORS_DROPPED
from proxy.upstream.endpoint import ServiceRuntime
from proxy.upstream.split import count_failovers

# Copies under way in a worker for one service, and the bytes of bodies kept for them. One that hangs takes nothing from
# the others.
MOST_COPIES = 1000
MOST_BYTES = 64 * 1024 * 1024

MARK = b"X-Mirrored: 1\r\n"

# Edits of routes that a phase remembers.
MOST_EDITS = 1000

# A copy whose answer is not complete after so many microseconds is given up.
LONGEST_COPY = 15_000_000


class NoClient(ClientSide):
    """The client's side of a copy: takes whatever comes, and keeps none of it."""

    def __init__(self, peer: bytes, port: int, destination: tuple[bytes, int] | None) -> None:
        super().__init__()
        self.exchange = None
        self.peer = peer
        self.port = port
        self.destination = destination
        self.receiving = False
        self.keep_alive = True
        self.closing = False


class MirrorPhase(Phase):
    """Copies requests of a route or a service. The copy is made when the original is over (`release`)."""

    mirror: Mirror
    salt: int  # of its draw
    shared: Shared
    mirrors: Mirrors
    # What routes do to requests -> the same with the mark. Keeps no route alive: a route holds its phases.
    marked: dict[FieldEdits | None, FieldEdits]

    def __init__(self, mirror: Mirror, tools: PhaseTools) -> None:
        assert tools.mirrors is not None
        self.mirror = mirror
        self.salt = tools.salt("mirror")
        self.shared = tools.shared
        self.mirrors = tools.mirrors
        self.marked = {}

    def run(self, exchange: Exchange) -> Verdict | None:
        mirror = self.mirror
        if exchange.is_copy or not self.wants(exchange):
            return None
        if exchange.head.content_length > mirror.max_body:
            self.drop()
            return None
        if exchange.tap is None:
            exchange.tap = BodyTap(mirror.max_body)
        else:
            exchange.tap.most = max(exchange.tap.most, mirror.max_body)
        exchange.hold(self)
        return None

    def wants(self, exchange: Exchange) -> bool:
        return may_copy(
            self.mirror,
            draws_of(exchange.request_id, self.salt),
            marked=exchange.header(MARKER) is not None,
            upgrade=exchange.upgrade,
        )

    def preview(self, exchange: Exchange) -> tuple[PhaseVerdict, Verdict | None]:
        mirror = self.mirror
        number = draws_of(exchange.request_id, self.salt).unit() * 100.0
        to = f"{mirror.service} {mirror.version}".strip()
        wanted = self.wants(exchange)
        if exchange.header(MARKER) is not None:
            detail = "it is a copy itself"
        elif exchange.upgrade:
            detail = "an upgrade is not copied"
        elif wanted and exchange.head.content_length > mirror.max_body:
            wanted = False
            detail = f"its body is larger than {mirror.max_body} bytes, so the copy for {to} is dropped"
        else:
            detail = f"drew {number:.2f} of 100, {mirror.percent:g} % are copied to {to}"
        return PhaseVerdict(name="mirror", result="copy" if wanted else "pass", detail=detail), None

    def release(self, exchange: Exchange) -> None:
        if exchange.is_copy:
            self.mirrors.over(exchange)
        elif may_send(attempts=exchange.attempts, complete=exchange.request_done, status=exchange.status):
            tap = exchange.tap
            if tap is None or tap.total > self.mirror.max_body or not self.mirrors.add(exchange, self):
                self.drop()

    def drop(self) -> None:
        self.shared.add(MIRRORS_DROPPED, 1)

    def route_for(self, route: RouteRuntime) -> RouteRuntime:
        """The route of the original as its copy takes it: with the mark among the fields that it adds, and without
        what has been done already."""
        found = RouteRuntime()
        found.route = route.route
        found.listener = route.listener
        found.slot = route.slot
        found.service = None
        found.version = ""
        found.split = None
        found.subset = None
        found.phases = ()
        found.request_edits = self.edits_for(route.request_edits)
        found.response_edits = None
        found.rewrite = None
        found.matched_prefix = b""
        found.log_part = None
        found.timeout = 0.0
        return found

    def edits_for(self, edits: FieldEdits | None) -> FieldEdits:
        marked = self.marked.get(edits)
        if marked is None:
            if edits is None:
                marked = FieldEdits((MARKER,), MARK)
            else:
                marked = FieldEdits((*edits.drop, MARKER), edits.append + MARK)
            # Routes come and go; the phase of a service stays.
            if len(self.marked) >= MOST_EDITS:
                self.marked.clear()
            self.marked[edits] = marked
        return marked


class Mirrors:
    """The copies of a worker. `services`: those in force, by name, looked at when a copy is sent."""

    def __init__(self, forwarder: Forwarder, services: Mapping[str, ServiceRuntime]) -> None:
        self.forwarder = forwarder
        self.services = services
        self.due: list[tuple[Exchange, MirrorPhase]] = []
        self.copies: dict[Exchange, str] = {}  # under way, in the order in which they began; for which service
        self.loads: dict[str, tuple[int, int]] = {}  # by service: copies made and not over, and bytes kept for them
        self.bytes = 0

    def add(self, original: Exchange, phase: MirrorPhase) -> bool:
        """Make a copy of a request that is over, to be sent when the events that are here have been dealt with.
        False: there are too many."""
        tap = original.tap
        kept = tap.kept if tap is not None else None
        size = kept.length() if kept is not None else 0
        name = phase.mirror.service
        count, held = self.loads.get(name, (0, 0))
        if self.forwarder.draining or count >= MOST_COPIES or held + size > MOST_BYTES:
            return False
        service = self.services.get(name)
        if service is None:
            return False
        client = original.downstream
        destination = client.destination
        if destination is None and service.proxy_header is not None:
            destination = client.local_address()
        nobody = NoClient(client.peer, client.port, destination)
        copy = Exchange.__new__(Exchange)
        # The head is the copy's from here on (`finish` leaves one that was tapped alone): it is never written to.
        copy.start(nobody, original.listener, original.head, original.started, original.received)
        copy.is_copy = True
        copy.tap = tap
        nobody.exchange = copy
        copy.method = original.method
        copy.host = original.host
        copy.path = original.path
        copy.query = original.query
        copy.client = original.client
        copy.target = original.target
        copy.authority = original.authority
        copy.host_sent = original.host_sent
        copy.request_id = original.request_id
        copy.traceparent = original.traceparent
        copy.trusted = original.trusted
        copy.keep_tracestate = original.keep_tracestate
        copy.to_head = original.to_head
        copy.request_done = True
        copy.kept = kept
        copy.body_bytes = size
        copy.idempotent = (IDEMPOTENT_METHODS >> original.head.method_id & 1) != 0
        copy.route = phase.route_for(original.route)
        self.loads[name] = (count + 1, held + size)
        self.bytes += size
        if not self.due:
            self.forwarder.reactor.call_soon(self.send)
        self.due.append((copy, phase))
        return True

    def send(self) -> None:
        """Send what has been copied since the last time."""
        due, self.due = self.due, []
        for copy, phase in due:
            copy.started = copy.received = self.forwarder.reactor.micros()
            self.copies[copy] = phase.mirror.service
            copy.hold(phase)
            self.forwarder.active += 1
            try:
                self.begin(copy, phase.mirror)
            except Exception as bug:
                self.forwarder.reactor.tell_bug(copy.downstream, bug)
                self.forwarder.let_go(copy)
                self.forwarder.finish(copy)
            phase.shared.add(MIRRORED if copy.attempts else MIRRORS_DROPPED, 1)

    def begin(self, copy: Exchange, mirror: Mirror) -> None:
        """Send a copy, if the shadow service takes it at once."""
        forwarder = self.forwarder
        service = self.services.get(mirror.service)
        version = mirror.version
        if service is not None and not version and service.split is not None:
            split = service.split
            drawn = split.draw(copy, split.number_of(copy.request_id), forwarder.reactor.now_ms)
            count_failovers(drawn)
            service = drawn.service
            version = drawn.version
        if service is None or forwarder.draining:
            forwarder.finish(copy)
            return
        copy.service = service
        copy.version = version
        for phase in service.phases:
            if phase.run(copy) is not None:
                forwarder.finish(copy)
                return
        if not copy.entered and not service.enter():
            forwarder.finish(copy)
            return
        copy.entered = True
        forwarder.assign(copy)

    def over(self, copy: Exchange) -> None:
        """A copy has been answered, or was given up."""
        name = self.copies.pop(copy, None)
        if name is None:
            return
        count, held = self.loads[name]
        if count > 1:
            self.loads[name] = (count - 1, held - copy.body_bytes)
        else:
            del self.loads[name]
        self.bytes -= copy.body_bytes

    def turn(self) -> None:
        """Give up what takes too long; asked every moment."""
        now = self.forwarder.reactor.micros()
        while self.copies:
            oldest = next(iter(self.copies))
            if now - oldest.started < LONGEST_COPY:
                break
            self.forwarder.refuse(oldest, replies.RESPONSE_TIMEOUT, "")
            # Whatever came of it, it must not stay the oldest.
            self.over(oldest)
