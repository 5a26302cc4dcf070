"""The phases of a request: what happens between "this route" and "this endpoint", in order.

A phase looks at the exchange and answers None (go on) or a `Verdict` (this is the answer, ask no further); `preview`
says what it would answer, in words as well, and counts and takes nothing. The tuple
of a route's phases is built once, when the route is configured, by `request_phases`, and that of a service by
`service_phases`: what is not used costs nothing. Phases are synchronous and do no I/O.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from discovery.model import DirectResponse, Redirect, Route, Service
from discovery.policies import RequestPolicies
from mesh.decision import PhaseVerdict
from mesh.draws import salt_of
from mesh.edits import location
from proxy.http1.parties import Exchange
from proxy.http1.replies import Failure
from proxy.kernel.cells import Shared, Slot, Table

if TYPE_CHECKING:  # what stands above this module, and is only pointed to from here
    from proxy.http1.mirror import Mirrors


class Verdict:
    """An answer of ours: status, fields without framing, body. Or, with a `delay` (seconds), a pause after which the
    next phase has its turn. Or, with a `failure` of the table in proxy/http1/replies, that one, with these fields
    beside its own. `detail` is for the access log; `close`: the client's connection is not used again."""

    status: int
    flag: str
    fields: list[tuple[bytes, bytes]]
    body: bytes
    detail: str
    close: bool
    delay: float
    failure: Failure | None

    def __init__(self, status: int, fields: list[tuple[bytes, bytes]], body: bytes, flag: str = "") -> None:
        self.status = status
        self.fields = fields
        self.body = body
        self.flag = flag
        self.detail = ""
        self.close = False
        self.delay = 0.0
        self.failure = None

    @classmethod
    def of(cls, failure: Failure, detail: str) -> Verdict:
        verdict = cls(failure.status, [], b"", failure.flag)
        verdict.failure = failure
        verdict.detail = detail
        return verdict


class Phase:
    """One step of a route or a service."""

    def run(self, exchange: Exchange) -> Verdict | None:
        return None

    def preview(self, exchange: Exchange) -> tuple[PhaseVerdict, Verdict | None]:
        """What `run` would say at this moment, for people and for whoever goes on from there. `owner` is left out."""
        raise NotImplementedError

    def release(self, exchange: Exchange) -> None:
        """The exchange has ended; asked of a phase that is among `exchange.holds`."""


class RedirectAnswer(Phase):
    """Sends the client elsewhere (Gateway API RequestRedirect)."""

    redirect: Redirect
    matched: bytes
    detail: str

    def __init__(self, redirect: Redirect, matched: bytes, route: str = "") -> None:
        self.redirect = redirect
        self.matched = matched
        self.detail = f"redirect of route {route}"

    def run(self, exchange: Exchange) -> Verdict | None:
        where = location(
            self.redirect,
            self.matched,
            b"http",
            exchange.authority or exchange.head.raw_host(),
            exchange.path,
            exchange.query,
        )
        verdict = Verdict(self.redirect.status, [(b"Location", where)], b"")
        verdict.detail = self.detail
        return verdict

    def preview(self, exchange: Exchange) -> tuple[PhaseVerdict, Verdict | None]:
        verdict = self.run(exchange)
        assert verdict is not None
        where = verdict.fields[0][1].decode("latin-1")
        return PhaseVerdict(name="redirect", result="answer", detail=f"{verdict.status} to {where}"), verdict


class DirectAnswer(Phase):
    """A fixed answer from the configuration."""

    verdict: Verdict

    def __init__(self, direct: DirectResponse, route: str = "") -> None:
        fields = [(name.encode(), value.encode()) for name, value in direct.headers.items()]
        if direct.body:
            fields.insert(0, (b"Content-Type", direct.content_type.encode()))
        self.verdict = Verdict(direct.status, fields, direct.body.encode())
        self.verdict.detail = f"direct_response of route {route}"

    def run(self, exchange: Exchange) -> Verdict | None:
        return self.verdict

    def preview(self, exchange: Exchange) -> tuple[PhaseVerdict, Verdict | None]:
        detail = f"{self.verdict.status} with {len(self.verdict.body)} bytes"
        return PhaseVerdict(name="direct_response", result="answer", detail=detail), self.verdict


class PhaseTools:
    """What phases are made with: the worker's row of the route or service, the shared words of that row, where they
    count what they refuse, the table itself, whose they are ("route api", "service web"), in which instance, and the
    worker's copies (None: nothing is mirrored)."""

    slot: Slot
    shared: Shared
    table: Table
    owner: str
    instance: str
    mirrors: Mirrors | None

    def __init__(
        self, slot: Slot, shared: Shared, table: Table, owner: str, instance: str, mirrors: Mirrors | None = None
    ) -> None:
        self.slot = slot
        self.shared = shared
        self.table = table
        self.owner = owner
        self.instance = instance
        self.mirrors = mirrors

    def salt(self, purpose: str) -> int:
        """Whose draw it is, for `draws_of`."""
        return salt_of(purpose, self.owner, self.instance)


def policy_phases(policies: RequestPolicies, tools: PhaseTools, of_service: bool = False) -> list[Phase]:
    """What a request has to pass, in this order: what is cheap and refuses comes first, and what takes something away
    only when nothing behind it refuses.

    1. who asks (access)  2. how much comes (max_body)  3. how often (rate_limit)  4. how many at the same time
    (max_concurrent)  5. trouble on purpose (fault): a delayed request holds its place  6. a copy (mirror)"""
    # Those build on the classes above.
    from proxy.http1 import faults, guards, mirror

    phases: list[Phase] = []
    if policies.access is not None:
        phases.append(guards.AccessPhase(policies.access, tools))
    if policies.max_body:
        phases.append(guards.BodyLimitPhase(policies.max_body, tools))
    if policies.rate_limit is not None:
        phases.append(guards.RateLimitPhase(policies.rate_limit, tools))
    if policies.max_concurrent:
        concurrency = guards.ServiceConcurrencyPhase if of_service else guards.ConcurrencyPhase
        phases.append(concurrency(policies.max_concurrent, tools))
    if policies.fault is not None:
        phases.extend(faults.fault_phases(policies.fault, tools))
    if policies.mirror is not None and tools.mirrors is not None:
        phases.append(mirror.MirrorPhase(policies.mirror, tools))
    return phases


def request_phases(route: Route, tools: PhaseTools) -> tuple[Phase, ...]:
    """The phases of a route, in the order in which they run."""
    filters = route.filters
    phases = policy_phases(filters.policies, tools)
    # Answers that need no endpoint. Configuration allows one of the two.
    if filters.redirect is not None:
        phases.append(RedirectAnswer(filters.redirect, route.match.path.encode(), route.name))
    if filters.direct_response is not None:
        phases.append(DirectAnswer(filters.direct_response, route.name))
    return tuple(phases)


def service_phases(service: Service, tools: PhaseTools) -> tuple[Phase, ...]:
    """The phases of a service, which run when the route has chosen it."""
    return tuple(policy_phases(service.policies, tools, of_service=True))
