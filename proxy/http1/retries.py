"""Retries by policy: asks mesh/retry.py what follows a failed attempt, and does it.

    no answer -> Attempts.again_or_fail -> may_go_on -> try_again | the failure is answered
    an answer -> Upstream -> refused_answer -> it is thrown away -> try_again | it is passed on

Without a policy nothing here is called but `deny`, which counts why a request was not sent again.
"""

from __future__ import annotations

import time

from mesh.balance import Candidate
from mesh.replay import HARMLESS, NOTHING_SENT, Repeat, Sent, may_retry
from mesh.retry import (
    BUDGET,
    CIRCUIT_BREAKER,
    EXHAUSTED,
    FINAL,
    MAX_RETRIES,
    OVERLOADED,
    REFUSED,
    RetryPlan,
    asked_pause,
)
from proxy.http1.ending import Ending
from proxy.http1.parties import PAUSE_RETRY, Exchange
from proxy.kernel.scan import Head
from proxy.stats.words import RETRIES, RETRY_DENIAL_REASONS, RETRY_DENIALS

MICROS = 1_000_000
FOREVER = float("inf")

# A shorter pause (seconds) is none: the deadlines of streams are no finer.
SOON = 0.001

# What `may_go_on` says when the request is not sent again.
DENIED = -1.0

PLACES = {reason: place for place, reason in enumerate(RETRY_DENIAL_REASONS)}


class Retries(Ending):
    """The second layer of a worker's Forwarder."""

    def assign(self, exchange: Exchange) -> None:
        """Look for an endpoint; Attempts does."""
        raise NotImplementedError

    def pause(self, exchange: Exchange, seconds: float, kind: int) -> None:
        raise NotImplementedError

    def has_other(self, exchange: Exchange, tried: list[Candidate] | None) -> bool:
        """Whether a usable endpoint is not among `tried`; Attempts knows."""
        raise NotImplementedError

    def take_policy(self, exchange: Exchange) -> None:
        """The request begins: its policy is the route's, or the service's."""
        plan = exchange.route.retry
        if plan is None:
            plan = exchange.service.retry
            if plan is None:
                return
        exchange.plan = plan
        self.count_for(plan, exchange)
        if plan.keyed and not exchange.idempotent and exchange.head.get(b"idempotency-key"):
            exchange.idempotent = True

    def count_for(self, plan: RetryPlan, exchange: Exchange) -> None:
        """One more request for the budget of this policy."""
        plan.budget.request(exchange.received)

    def law(self, exchange: Exchange, sent: Sent) -> Repeat:
        return may_retry(
            exchange.method,
            sent,
            keyed=exchange.idempotent,
            response_started=exchange.answered,
            body_kept=exchange.kept_all or not exchange.body_bytes,
        )

    def may_go_on(self, exchange: Exchange, law: Repeat, asked: float) -> float:
        """Seconds after which the request is sent again, DENIED if it is not; that has been told and counted then."""
        plan = exchange.plan
        assert plan is not None
        service = exchange.service
        now = self.reactor.micros()
        left = FOREVER
        if exchange.timeout > 0.0:
            left = exchange.timeout - (now - exchange.received) / MICROS
        denied, wait = plan.decide(law, exchange.retries, left, asked, self.has_other(exchange, None))
        if not denied and law is not NOTHING_SENT:
            # What never reached an endpoint costs the service nothing.
            if not exchange.retrying and not service.begin_retry():
                denied = CIRCUIT_BREAKER
            else:
                exchange.retrying = True
                if not plan.budget.take(now):
                    denied = BUDGET
        if not denied:
            return float(wait)
        self.retry_over(exchange)
        self.deny(exchange, denied)
        exchange.add_flag("URX" if denied in EXHAUSTED or denied == MAX_RETRIES else "rd")
        return DENIED

    def deny(self, exchange: Exchange, reason: str) -> None:
        """The request is not sent again, and this is why."""
        exchange.denied = reason
        exchange.service.shared.add(RETRY_DENIALS + PLACES[reason], 1)

    def try_again(self, exchange: Exchange, wait: float) -> None:
        """Nothing of the last attempt is left: begin another one after `wait` seconds."""
        exchange.retries += 1
        exchange.waits_since = 0
        exchange.service.shared.add(RETRIES, 1)
        # Nothing more of a body is taken before the next connection has what was kept of it.
        exchange.downstream.held = True
        if wait < SOON:
            self.assign_again(exchange)
        else:
            self.pause(exchange, wait, PAUSE_RETRY)

    def assign_again(self, exchange: Exchange) -> None:
        """Another endpoint while there is one; else one that it has met, the last one only if there is nothing else."""
        tried = exchange.tried
        if tried is not None and not self.has_other(exchange, tried):
            last = tried[-1:]
            exchange.tried = last if self.has_other(exchange, last) else None
        self.assign(exchange)

    def refused_answer(self, exchange: Exchange, head: Head) -> float:
        """The final response of an attempt: seconds after which the request is sent again, and then the answer is
        nobody's; DENIED when it is the client's."""
        plan = exchange.plan
        assert plan is not None
        judged = plan.judge(head.status, head)
        if judged == FINAL:
            return DENIED
        law = self.law(exchange, Sent.BODY)
        if judged == REFUSED and law is HARMLESS:
            self.deny(exchange, OVERLOADED)
            exchange.add_flag("rd")
            return DENIED
        # The endpoint is left whatever comes, so it counts among those that were tried.
        if exchange.endpoint is not None:
            if exchange.tried is None:
                exchange.tried = []
            exchange.tried.append(exchange.endpoint)
        return self.may_go_on(exchange, law, asked_pause(head, time.time()))

    def retry_over(self, exchange: Exchange) -> None:
        """It does not count among the active retries of its service any more."""
        if exchange.retrying:
            exchange.retrying = False
            exchange.service.end_retry()
