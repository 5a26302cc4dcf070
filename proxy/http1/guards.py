"""What a request has to pass: who asks, how much comes, how often, and how many at the same time.

Each guard is a phase of a route or a service (proxy/http1/phases.py has their order). What is counted is counted over
all workers: publish-sum-rollback for requests under way, a shared word or a table of shared words for rates.
"""

from __future__ import annotations

from discovery.policies import Access, KeyKind, RateLimit
from mesh import gcra
from mesh.decision import PhaseVerdict
from mesh.keys import key_of
from mesh.networks import Networks
from proxy.http1 import replies
from proxy.http1.parties import Exchange
from proxy.http1.phases import Phase, PhaseTools, Verdict
from proxy.kernel.cells import Shared, Slot
from proxy.kernel.limits import KeyedLimits
from proxy.stats.slots import ACTIVE
from proxy.stats.words import DENIED, RATE_LIMITED, RATE_WORD, REQUESTS_RESOURCE, TOO_LARGE, TOO_MANY_AT_ONCE
from proxy.upstream.endpoint import ServiceRuntime

NANOS = 1_000_000_000
NANOS_OF_MICRO = 1000


class AccessPhase(Phase):
    """Who may ask, by the client's address as trusted proxies say it. `deny` wins; with an `allow` everybody else is
    refused. A client on a unix socket has no address, and is in no network."""

    allow: Networks
    deny: Networks
    open: bool
    shared: Shared

    def __init__(self, access: Access, tools: PhaseTools) -> None:
        self.allow = Networks(access.allow)
        self.deny = Networks(access.deny)
        self.open = not access.allow
        self.shared = tools.shared

    def run(self, exchange: Exchange) -> Verdict | None:
        verdict = self.judge(exchange)
        if verdict is not None:
            self.shared.add(DENIED, 1)
        return verdict

    def judge(self, exchange: Exchange) -> Verdict | None:
        client = exchange.client
        if not self.deny.contains(client) and (self.open or self.allow.contains(client)):
            return None
        return Verdict.of(replies.ACCESS_DENIED, f"client {client.decode('latin-1')} is not allowed here")

    def preview(self, exchange: Exchange) -> tuple[PhaseVerdict, Verdict | None]:
        verdict = self.judge(exchange)
        client = exchange.client
        shown = client.decode("latin-1") or "a client without an address"
        denied, allowed = self.deny.network_of(client), self.allow.network_of(client)
        if denied:
            detail = f"{shown} is in deny {denied}"
        elif allowed:
            detail = f"{shown} is in allow {allowed}"
        elif self.open:
            detail = f"{shown} is in no network of deny"
        else:
            detail = f"{shown} is in no network of allow"
        return PhaseVerdict(name="access", result="pass" if verdict is None else "answer", detail=detail), verdict


class BodyLimitPhase(Phase):
    """How long a request body may be. One that says so is refused at once; any other when it has become too long."""

    most: int  # bytes
    shared: Shared

    def __init__(self, most: int, tools: PhaseTools) -> None:
        self.most = most
        self.shared = tools.shared

    def run(self, exchange: Exchange) -> Verdict | None:
        if exchange.request_done:
            return None
        if exchange.head.content_length > self.most:
            return Verdict.of(replies.BODY_OVER_POLICY, self.exceeded())
        if exchange.body_guard is None or self.most < exchange.most_body:
            exchange.most_body = self.most
            exchange.body_guard = self
        return None

    def exceeded(self) -> str:
        """Count one, and say what it was."""
        self.shared.add(TOO_LARGE, 1)
        return self.reason()

    def reason(self) -> str:
        return f"the body is larger than max_body ({self.most} bytes)"

    def preview(self, exchange: Exchange) -> tuple[PhaseVerdict, Verdict | None]:
        size = exchange.head.content_length
        verdict = Verdict.of(replies.BODY_OVER_POLICY, self.reason()) if size > self.most else None
        if exchange.request_done:
            detail = "no body"
        elif size < 0:
            detail = f"its length is unknown; it is refused when it has more than {self.most} bytes"
        else:
            detail = f"{size} bytes of {self.most}"
        result = "pass" if verdict is None else "answer"
        return PhaseVerdict(name="max_body", result=result, detail=detail, limit=self.most, used=max(size, 0)), verdict


class RateLimitPhase(Phase):
    """How often: GCRA (mesh/gcra.py), with one bucket for all or one for each key. Requests that lack what the key is
    made of share one bucket."""

    limit: RateLimit
    interval: int  # nanoseconds between two requests, rounded up: never more than the limit says
    tolerance: int
    shared: Shared
    keyed: KeyedLimits | None  # None: one bucket for all
    scope: int

    def __init__(self, limit: RateLimit, tools: PhaseTools) -> None:
        self.limit = limit
        self.interval, self.tolerance = gcra.measures(limit.requests, limit.per, limit.burst)
        self.shared = tools.shared
        # A limit that was changed begins anew: what another rate has left says nothing of this one.
        policy = hash((limit.requests, limit.per, limit.burst)) & 0x7FFF_FFFF
        self.scope = policy << 16 | tools.slot.number
        self.keyed = None if limit.key.kind is KeyKind.ROUTE else KeyedLimits(tools.table)

    def run(self, exchange: Exchange) -> Verdict | None:
        now = self.time_of(exchange)
        keyed = self.keyed
        if keyed is None:
            wait = self.take(now)
        else:
            digest = keyed.digest(self.scope, key_of(exchange, self.limit.key))
            wait = keyed.take(digest, self.interval, self.tolerance, now)
        if wait == 0:
            return None
        self.shared.add(RATE_LIMITED, 1)
        return self.refusal(wait)

    def time_of(self, exchange: Exchange) -> int:
        """Nanoseconds. A request that was delayed on purpose came when the delay was over."""
        return max(exchange.received, exchange.paused_until) * NANOS_OF_MICRO

    def burst(self) -> int:
        """Not the policy's own: a long interval times a large burst is beyond any time that a word can hold."""
        return self.tolerance // self.interval

    def preview(self, exchange: Exchange) -> tuple[PhaseVerdict, Verdict | None]:
        now, burst, limit = self.time_of(exchange), self.burst(), self.limit
        keyed = self.keyed
        if keyed is None:
            due = gcra.known(self.shared.load(RATE_WORD), now, self.interval, burst, NANOS)
            whose = ""
        else:
            key = key_of(exchange, limit.key)
            due = keyed.look(keyed.digest(self.scope, key))
            what = f"{limit.key.kind.value} {limit.key.name}".strip()
            shown = key.decode("latin-1").encode("unicode_escape").decode("ascii")
            whose = f" for {what} {shown}" if key else f" for requests without {what}"
        left = gcra.left(due, now, self.interval, burst)
        wait = gcra.wait(due, now, self.interval, burst)
        detail = f"{self.quota()}: {left} of {burst + 1} at once left{whose}"
        if due > now:
            # Those that are left are older than the one that comes next.
            more = (due - now) % self.interval or self.interval
            detail += f", the next in {(wait or more) / NANOS:.3f} s"
        verdict = None if wait == 0 else self.refusal(wait)
        result = "pass" if verdict is None else "answer"
        view = PhaseVerdict(name="rate_limit", result=result, detail=detail, limit=burst + 1, used=burst + 1 - left)
        return view, verdict

    def take(self, now: int) -> int:
        """From the one bucket. 0, or how long until there will be one."""
        shared = self.shared
        burst = self.burst()
        while True:
            word = shared.load(RATE_WORD)
            due = gcra.known(word, now, self.interval, burst, NANOS)
            taken = gcra.take(due, now, self.interval, burst)
            if taken is None:
                return gcra.wait(due, now, self.interval, burst)
            if shared.swap(RATE_WORD, word, taken):
                return 0

    def quota(self) -> str:
        limit = self.limit
        said = f"{limit.requests} requests per {limit.per:g} s"
        return f"{said} and a burst of {limit.burst}" if limit.burst else said

    def refusal(self, wait: int) -> Verdict:
        """RateLimit fields as of draft-ietf-httpapi-ratelimit-headers-10: a quota of q per window of w seconds, and
        none remaining (r) for t seconds."""
        limit = self.limit
        seconds = -(-wait // NANOS)
        name = limit.key.kind.value
        window = f";w={int(limit.per)}" if limit.per >= 1.0 and limit.per == int(limit.per) else ""
        verdict = Verdict.of(replies.RATE_LIMITED, f"more than {self.quota()} by {name}")
        verdict.fields = [
            (b"Retry-After", b"%d" % seconds),
            (b"RateLimit-Policy", f'"{name}";q={limit.requests}{window}'.encode()),
            (b"RateLimit", f'"{name}";r=0;t={seconds}'.encode()),
        ]
        return verdict


class ConcurrencyPhase(Phase):
    """How many requests of a route at the same time, all workers together: ours is published first, then all are added
    up, so that the limit is never exceeded, and two that ask for the last place may both be refused."""

    most: int
    slot: Slot
    shared: Shared

    def __init__(self, most: int, tools: PhaseTools) -> None:
        self.most = most
        self.slot = tools.slot
        self.shared = tools.shared

    def run(self, exchange: Exchange) -> Verdict | None:
        slot = self.slot
        slot.add(ACTIVE, 1)
        if slot.total(ACTIVE) <= self.most:
            exchange.hold(self)
            return None
        slot.add(ACTIVE, -1)
        return self.refusal()

    def refusal(self) -> Verdict:
        self.shared.add(TOO_MANY_AT_ONCE, 1)
        return self.verdict()

    def verdict(self) -> Verdict:
        return Verdict.of(replies.TOO_MANY_AT_ONCE, f"max_concurrent ({self.most}) is reached")

    def preview(self, exchange: Exchange) -> tuple[PhaseVerdict, Verdict | None]:
        used = self.slot.total(ACTIVE)
        verdict = self.verdict() if used >= self.most else None
        return PhaseVerdict(
            name="max_concurrent",
            result="pass" if verdict is None else "answer",
            detail=f"{used} of {self.most} under way",
            limit=self.most,
            used=used,
        ), verdict

    def release(self, exchange: Exchange) -> None:
        self.slot.add(ACTIVE, -1)


class ServiceConcurrencyPhase(ConcurrencyPhase):
    """The same for a service, whose requests under way are counted already when one enters: it enters here."""

    def run(self, exchange: Exchange) -> Verdict | None:
        service = exchange.service
        if not service.enter():
            return Verdict.of(replies.TOO_MANY_REQUESTS, service.refused(REQUESTS_RESOURCE))
        exchange.entered = True  # `finish` takes it back
        if self.slot.total(ACTIVE) <= self.most:
            return None
        return self.refusal()

    def preview(self, exchange: Exchange) -> tuple[PhaseVerdict, Verdict | None]:
        if exchange.service.is_full():
            return preview_of_service(exchange.service)
        return ConcurrencyPhase.preview(self, exchange)  # super() is none in a compiled method


def preview_of_service(service: ServiceRuntime) -> tuple[PhaseVerdict, Verdict | None]:
    """What the service's own limit (circuit_breaker.max_requests) would say."""
    used, most = service.slot.total(ACTIVE), service.max_requests
    verdict = Verdict.of(replies.TOO_MANY_REQUESTS, service.reason(REQUESTS_RESOURCE)) if service.is_full() else None
    return PhaseVerdict(
        name="max_requests",
        result="pass" if verdict is None else "answer",
        detail=f"{used} of {most} under way" if most else f"{used} under way, no limit",
        limit=most or -1,
        used=used,
    ), verdict
