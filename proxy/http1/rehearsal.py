"""A question led through everything that would decide about the request, up to where a connection would be taken.

The question is written as a request head and read by the scanner that reads heads; the exchange that comes of it goes
the way of all others, because a `Rehearsal` is a `Forwarder`. It replaces only what counts, takes or moves on: phases
are previewed, a split is drawn without counting, a service is not entered, and the pick is put back
(proxy/upstream/preview.py). What it hears on the way is the answer.

All that could change is looked at in the first step; the rest, which may be long, is done in further ones.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

from msgspec.structs import replace

from discovery.model import Settings
from mesh.decision import Decision, PhaseVerdict, Question, SplitView
from mesh.explanation import Explanation
from mesh.retry import RetryPlan
from proxy.http1 import replies
from proxy.http1.forward import Forwarder
from proxy.http1.guards import preview_of_service
from proxy.http1.inforce import owner_of_route, owner_of_service, retry_of, settings_of
from proxy.http1.intake import malformed, refused_body
from proxy.http1.mirror import NoClient
from proxy.http1.parties import Exchange, ListenerRuntime
from proxy.http1.phases import Phase, Verdict
from proxy.http1.replies import Failure
from proxy.kernel.buffer import Buffer
from proxy.kernel.scan import Head, scan_request
from proxy.stats.words import PENDING_RESOURCE
from proxy.upstream.preview import Preview, preview, split_views
from proxy.upstream.queue import is_crowded
from proxy.upstream.split import Drawn, ServiceSplit, both

MICROS = 1_000_000

FORWARD, WAIT, ANSWER = "forward", "wait", "answer"

# A piece of a chunked body is of any length.
UNKNOWN_SIZE = -1


class Notes:
    """What came of one question so far."""

    def __init__(self, question: Question) -> None:
        self.question = question
        self.phases: list[PhaseVerdict] = []
        self.splits: tuple[SplitView, ...] = ()
        self.preview: Preview | None = None
        self.outcome = ANSWER
        self.status = 0
        self.cookies: tuple[str, ...] = ()
        self.head: tuple[str, ...] = ()


class Rehearsal(Forwarder):
    """One per worker, beside the Forwarder whose requests it rehearses."""

    notes: Notes

    def __init__(self, forwarder: Forwarder) -> None:
        super().__init__(forwarder.reactor, forwarder.settings, forwarder.connector, forwarder.worker_slot)
        self.forwarder = forwarder

    def steps(
        self,
        question: Question,
        listener: ListenerRuntime,
        settings: Settings,
        answered: Callable[[Decision], None],
    ) -> Iterator[None]:
        """What becomes of the question at `listener`; `answered` gets it in the last step. `settings`: in force."""
        self.settings = self.forwarder.settings
        notes = self.notes = Notes(question)
        decision = Decision(listener=listener.name, question=question)
        explanation: Explanation | None = None
        try:
            exchange = self.exchange_for(question, listener)
            if isinstance(exchange, Failure):
                decision = replace(
                    decision,
                    method=question.method,
                    host=question.host,
                    path=question.target,
                    client=question.client,
                    outcome=ANSWER,
                    status=exchange.status,
                    flag=exchange.flag,
                    detail=exchange.detail,
                )
            else:
                if self.may_begin(exchange):
                    self.lead(exchange)
                decision = self.decided(decision, notes, exchange, settings)
                if exchange.route is not None or exchange.flags == replies.NO_ROUTE.flag:
                    explanation = Explanation(listener.router, exchange, question.most_routes)
        finally:
            # Neither this nor a cycle keeps an endpoint that leaves.
            del self.notes
        del notes, exchange
        yield
        if explanation is not None:
            yield from explanation.steps()
            routes, hidden = tuple(explanation.verdicts), tuple(sorted(explanation.hidden.items()))
            decision = replace(decision, routes=routes, hidden=hidden)
        answered(decision)

    # --- a request that nobody sent -------------------------------------------------------------------------------

    def exchange_for(self, question: Question, listener: ListenerRuntime) -> Exchange | Failure:
        """The exchange that Downstream would begin with, or what it would answer to such bytes."""
        source = Buffer()
        source.append(head_of(question))
        head = Head()
        taken = scan_request(source, head, self.settings.request_limits)
        if taken <= 0:
            return malformed(taken)
        now = self.reactor.micros()
        client = NoClient(question.client.encode(), 0, None)
        exchange = Exchange.__new__(Exchange)
        exchange.start(client, listener, head, now, now)
        exchange.bytes_in = taken
        exchange.request_id = question.request_id.encode()
        exchange.request_done = not head.chunked and head.content_length <= 0
        return exchange

    def may_begin(self, exchange: Exchange) -> bool:
        """Whether the body that is announced would be taken; if not, it has been answered."""
        refused = None if exchange.request_done else refused_body(exchange.head, self.settings)
        if refused is not None:
            self.turn_back(exchange, refused)
        return refused is None

    # --- what a request does, and this one does not ---------------------------------------------------------------

    def hear(self, phase: Phase, exchange: Exchange) -> Verdict | None:
        view, verdict = phase.preview(exchange)
        self.note(view, owner_of_route(exchange) if exchange.service is None else owner_of_service(exchange))
        return verdict

    def note(self, view: PhaseVerdict, owner: str) -> None:
        self.notes.phases.append(replace(view, owner=owner))

    def draw(self, split: ServiceSplit, exchange: Exchange) -> Drawn:
        drawn, self.notes.splits = split_views(split, exchange, exchange.request_id, self.reactor.now_ms)
        return drawn

    def admit(self, exchange: Exchange) -> bool:
        view, verdict = preview_of_service(exchange.service)
        self.note(view, owner_of_service(exchange))
        if verdict is not None:
            self.fail(exchange, replies.TOO_MANY_REQUESTS, verdict.detail)
        return verdict is None

    def count_for(self, plan: RetryPlan, exchange: Exchange) -> None:
        pass

    def pause(self, exchange: Exchange, seconds: float, kind: int) -> None:
        """A delay on purpose: as if the request had come that much earlier."""
        if 0.0 < exchange.timeout <= seconds:
            self.fail(exchange, replies.REQUEST_TIMEOUT, "")
            return
        exchange.paused_until = self.reactor.micros()
        exchange.received -= int(seconds * MICROS)
        self.proceed(exchange)

    def assign(self, exchange: Exchange) -> None:
        service, notes = exchange.service, self.notes
        now = exchange.assigned = self.reactor.micros()
        seen = notes.preview = preview(
            service,
            exchange.version,
            exchange.route.subset,
            exchange,
            exchange.bond,
            now,
            notes.question.most_endpoints,
        )
        if exchange.bond is not None and exchange.bond.is_broken:
            exchange.add_flag("ab")
        if seen.panicked:
            exchange.add_flag("pa")
        endpoint = seen.picked
        if endpoint is None:
            self.no_endpoint(exchange, seen.balancer)
            return
        exchange.endpoint = endpoint
        if endpoint.is_busy():
            if is_crowded(service):
                self.fail(exchange, replies.OVERFLOW, service.reason(PENDING_RESOURCE))
                return
            notes.outcome = WAIT
        else:
            notes.outcome = FORWARD
        line = exchange.bond.line_for(endpoint, now // 1000) if exchange.bond is not None else None
        cookies = both(exchange.cookies, line)
        notes.cookies = () if cookies is None else _lines(cookies)
        out = Buffer()
        self.write_head(exchange, out)
        notes.head = _lines(out.take())

    def ready_answer(self, exchange: Exchange, failure: Failure) -> bytes | None:
        # What is told of an answer are its parts, and nobody is sent its bytes.
        return None

    def answer(
        self, exchange: Exchange, status: int, fields: list[tuple[bytes, bytes]], body: bytes, close: bool
    ) -> None:
        notes = self.notes
        notes.outcome = ANSWER
        notes.status = status
        notes.cookies = tuple(
            f"Set-Cookie: {value.decode('latin-1')}" for name, value in fields if name.lower() == b"set-cookie"
        )

    # --- the answer -----------------------------------------------------------------------------------------------

    def decided(self, decision: Decision, notes: Notes, exchange: Exchange, settings: Settings) -> Decision:
        """All but the routes that lost."""
        is_answer = notes.outcome == ANSWER
        decision = replace(
            decision,
            request_id=exchange.request_id.decode("latin-1"),
            method=_text(exchange.method),
            host=_text(exchange.host),
            path=_text(exchange.path),
            query=_text(exchange.query),
            client=_text(exchange.client),
            outcome=notes.outcome,
            status=notes.status,
            flag=exchange.flags,
            detail=exchange.detail if is_answer else "",
            phases=tuple(notes.phases),
            splits=notes.splits,
            cookies=notes.cookies,
            head=notes.head,
        )
        if exchange.route is None:
            return decision
        route = exchange.route.route
        decision = replace(
            decision,
            route=route.name,
            rule_source="" if route.position is None else str(route.position),
            settings=settings_of(exchange, settings, self.worker_slot),
        )
        if exchange.service is None:
            return decision
        decision = replace(
            decision,
            service=exchange.service.name,
            version=exchange.version,
            retry=retry_of(exchange, settings, self.reactor.micros()),
        )
        seen = notes.preview
        if seen is None:
            return decision
        picked = seen.picked
        return replace(
            decision,
            version=decision.version if picked is None else picked.endpoint.version,
            affinity=seen.affinity,
            balance=seen.balance,
            endpoints=seen.endpoints,
            more_endpoints=seen.more,
            endpoint="" if picked is None else picked.endpoint.address,
            why=seen.why,
        )


def head_of(question: Question) -> bytes:
    """The bytes of a request that asks the question."""
    lines = [f"{question.method} {question.target} HTTP/1.1", f"Host: {question.host}"]
    lines += [f"{name}: {value}" for name, value in question.headers]
    if question.body_size > 0:
        lines.append(f"Content-Length: {question.body_size}")
    elif question.body_size == UNKNOWN_SIZE:
        lines.append("Transfer-Encoding: chunked")
    return "".join(f"{line}\r\n" for line in (*lines, "")).encode(errors="surrogateescape")


def _lines(data: bytes) -> tuple[str, ...]:
    return tuple(line.decode(errors="backslashreplace") for line in data.split(b"\r\n") if line)


def _text(value: bytes) -> str:
    return value.decode("latin-1")
