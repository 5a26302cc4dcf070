"""The way of a request: from a complete head to the service that gets it.

    begin -> read_request (intake) -> route -> its phases -> service, version -> the service's phases -> enter -> assign

The layers below know the rest: proxy/http1/attempts.py how an endpoint is found and what happens when it fails,
proxy/http1/ending.py how requests end. Every decision is a rule of mesh/; nothing here waits.
"""

from __future__ import annotations

from discovery.model import UrlRewrite
from mesh.edits import rewrite_target
from proxy.http1 import replies
from proxy.http1.attempts import Attempts
from proxy.http1.codes import IDEMPOTENT_METHODS
from proxy.http1.intake import read_request
from proxy.http1.parties import PAUSE_PHASE, Exchange, RouteRuntime
from proxy.http1.phases import Phase, Verdict
from proxy.http1.replies import Failure
from proxy.stats.slots import ACTIVE
from proxy.stats.words import REQUESTS_RESOURCE
from proxy.upstream.queue import serve
from proxy.upstream.split import Drawn, ServiceSplit, count_failovers


class Forwarder(Attempts):
    """One per worker."""

    def begin(self, exchange: Exchange) -> None:
        """A request head is complete and its framing known."""
        self.active += 1
        exchange.listener.slot.add(ACTIVE, 1)
        self.lead(exchange)

    def lead(self, exchange: Exchange) -> None:
        """From what the request says to where it ends up. A rehearsal (proxy/http1/rehearsal.py) is led the same way:
        what counts, takes or moves on is in methods of its own, which it replaces."""
        failure = read_request(exchange, self.settings)
        if failure is not None:
            self.fail(exchange, failure, "")
            return
        # The route. Its phases may answer; otherwise a service does.
        # What a listener's router matches with is what proxy/listeners.py gave it.
        route: RouteRuntime | None = exchange.listener.router.match(exchange)  # type: ignore[assignment]
        if route is None:
            self.fail(exchange, replies.NO_ROUTE, "")
            return
        exchange.route = route
        exchange.phases = route.phases
        self.proceed(exchange)

    def proceed(self, exchange: Exchange) -> None:
        """The phases of the route, the choice of a service, the phases of the service; each of them may answer."""
        while True:
            phases = exchange.phases
            while exchange.at < len(phases):
                phase = phases[exchange.at]
                exchange.at += 1
                verdict = self.hear(phase, exchange)
                if verdict is not None:
                    exchange.add_flag(verdict.flag)
                    if verdict.delay > 0.0:
                        exchange.timeout = self.time_for(exchange)
                        self.pause(exchange, verdict.delay, PAUSE_PHASE)
                    else:
                        if verdict.detail:
                            exchange.detail = verdict.detail
                        if verdict.failure is not None:
                            self.turn_away(exchange, verdict.failure, verdict.detail, verdict.fields)
                            return
                        fields = replies.signed(verdict.fields, self.about(exchange))
                        self.answer(exchange, verdict.status, fields, verdict.body, verdict.close)
                    return
            if exchange.service is not None:
                break
            failure = self.choose(exchange)
            if failure is not None:
                self.fail(exchange, failure, "")
                return
            exchange.phases = exchange.service.phases
            exchange.at = 0
        self.enter(exchange)

    def enter(self, exchange: Exchange) -> None:
        """The request is the service's from here on, if that may have one more."""
        service = exchange.service
        route = exchange.route
        if not self.admit(exchange):
            return
        if route.rewrite is not None:
            self.rewrite(exchange, route.rewrite)
        exchange.idempotent = (IDEMPOTENT_METHODS >> exchange.head.method_id & 1) != 0
        if route.retry is not None or service.retry is not None:
            self.take_policy(exchange)
        exchange.timeout = route.timeout if route.timeout >= 0.0 else service.timeout
        if exchange.timeout > 0.0:
            left = exchange.timeout if exchange.paused_until == 0 else self.total_left(exchange, self.reactor.micros())
            exchange.downstream.set_timeout(left)
        self.assign(exchange)

    def hear(self, phase: Phase, exchange: Exchange) -> Verdict | None:
        """The phase has its say."""
        return phase.run(exchange)

    def admit(self, exchange: Exchange) -> bool:
        """Count the request as its service's. False: that has as many as it may, and the request has been answered."""
        service = exchange.service
        if not exchange.entered and not service.enter():
            self.fail(exchange, replies.TOO_MANY_REQUESTS, service.refused(REQUESTS_RESOURCE))
            return False
        exchange.entered = True
        if service.max_total and service.pending:
            # Another worker may have made room, and those who wait come first.
            serve(service)
        return True

    def draw(self, split: ServiceSplit, exchange: Exchange) -> Drawn:
        """Where the split sends the request, which is counted if that is not what was drawn at first."""
        drawn = split.draw_for(exchange, split.number_of(exchange.request_id), self.reactor.now_ms)
        if drawn.failed_over:
            count_failovers(drawn)
        return drawn

    def time_for(self, exchange: Exchange) -> float:
        """Seconds that the whole request may take: what its route says, or the service as far as that is known."""
        route = exchange.route
        if route.timeout >= 0.0:
            return route.timeout
        service = exchange.service if exchange.service is not None else route.service
        return service.timeout if service is not None else 0.0

    def choose(self, exchange: Exchange) -> Failure | None:
        """Service and version: the route's, or drawn."""
        route = exchange.route
        split = route.split
        service = route.service
        version = route.version
        if split is None and service is not None and not version:
            split = service.split
        if split is not None:
            drawn = self.draw(split, exchange)
            service = drawn.service
            version = drawn.version
            exchange.bond = drawn.bond
            exchange.cookies = drawn.line
            if drawn.failed_over:
                exchange.add_flag("fo")
                exchange.wanted = drawn.wanted
        elif service is not None and service.affinities is not None:
            bond = exchange.bond = service.affinities.bond(exchange)
            if bond is not None and bond.candidate is not None:
                bound = bond.candidate.endpoint
                if version and bound.version != version:
                    bond.exclude()
        if service is None:
            return replies.BAD_BACKEND
        exchange.service = service
        exchange.version = version
        return None

    def rewrite(self, exchange: Exchange, rewrite: UrlRewrite) -> None:
        path = exchange.path
        if path != b"*":
            path = rewrite_target(rewrite, exchange.route.matched_prefix, path)
        question = b"?" in (exchange.target if exchange.target is not None else exchange.head.target())
        exchange.target = path + b"?" + exchange.query if question else path
        if rewrite.host is not None:
            exchange.host_sent = rewrite.host.encode()
