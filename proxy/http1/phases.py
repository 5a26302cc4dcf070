"""The phases of a request: what a route does between "this route" and "this endpoint", in order.

A phase looks at the exchange and answers None (go on) or a `Verdict` (this is the answer, ask no further). The tuple
of a route's phases is built once, when the route is configured, by `request_phases`: what a route does not use costs
its requests nothing. Phases are synchronous and do no I/O.
"""

from __future__ import annotations

from discovery.model import DirectResponse, Redirect, Route
from mesh.edits import location
from proxy.http1.parties import Exchange


class Verdict:
    """An answer of ours that is not a failure: status, fields without framing, body."""

    status: int
    flag: str
    fields: list[tuple[bytes, bytes]]
    body: bytes

    def __init__(self, status: int, fields: list[tuple[bytes, bytes]], body: bytes, flag: str = "") -> None:
        self.status = status
        self.fields = fields
        self.body = body
        self.flag = flag


class Phase:
    """One step of a route."""

    def run(self, exchange: Exchange) -> Verdict | None:
        return None


class RedirectAnswer(Phase):
    """Sends the client elsewhere (Gateway API RequestRedirect)."""

    redirect: Redirect
    matched: bytes

    def __init__(self, redirect: Redirect, matched: bytes) -> None:
        self.redirect = redirect
        self.matched = matched

    def run(self, exchange: Exchange) -> Verdict | None:
        where = location(
            self.redirect,
            self.matched,
            b"http",
            exchange.authority or exchange.head.raw_host(),
            exchange.path,
            exchange.query,
        )
        return Verdict(self.redirect.status, [(b"Location", where)], b"")


class DirectAnswer(Phase):
    """A fixed answer from the configuration."""

    verdict: Verdict

    def __init__(self, direct: DirectResponse) -> None:
        fields = [(name.encode(), value.encode()) for name, value in direct.headers.items()]
        if direct.body:
            fields.insert(0, (b"Content-Type", direct.content_type.encode()))
        self.verdict = Verdict(direct.status, fields, direct.body.encode())

    def run(self, exchange: Exchange) -> Verdict | None:
        return self.verdict


def request_phases(route: Route) -> tuple[Phase, ...]:
    """The phases of a route, in the order in which they run."""
    phases: list[Phase] = []
    filters = route.filters
    # 1. Answers that need no endpoint. Configuration allows one of the two.
    if filters.redirect is not None:
        phases.append(RedirectAnswer(filters.redirect, route.match.path.encode()))
    if filters.direct_response is not None:
        phases.append(DirectAnswer(filters.direct_response))
    return tuple(phases)
