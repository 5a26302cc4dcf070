"""An endpoint and a service as a worker uses them: identity, idle connections, and what is counted.

An `EndpointRuntime` lives as long as its identity (service, id, address) is configured or a stream of it is open; a
reload hands it from one table of routes to the next, with its connections. The pool is a stack: the connection that
was used last is used next, so the others can grow old and be closed. All methods are synchronous; opening and closing
sockets is the driver's.
"""

from __future__ import annotations

import time
from collections import OrderedDict
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from discovery.model import Endpoint, EndpointState, PoolPolicy, ProxyHeader, Service
from discovery.policies import CircuitBreaker
from mesh.balance import Balancer, Candidate, Changes
from mesh.bonds import Bond
from mesh.breaker import ADMITTED, CLOSED, FAILED, FAILURE, REFUSED, STATE_MASK, SUCCESS, UNKNOWN, WORKED
from mesh.draws import Draws
from mesh.replay import may_use_idle
from mesh.request import RequestView
from mesh.retry import RetryPlan
from mesh.subsets import SubsetRule, Subsets
from proxy.kernel.cells import Shared, Slot
from proxy.kernel.netio import Address, Stream
from proxy.stats.slots import (
    ACTIVE,
    ATTEMPT_FAILURES,
    ATTEMPTS,
    CONNECTIONS_ACTIVE,
    CONNECTIONS_TOTAL,
    PENDING,
    POOL_IDLE,
    PROBES,
    RETRIES_ACTIVE,
)
from proxy.stats.words import (
    BREAKER_WORD,
    PENDING_RESOURCE,
    RECOVERED_WORD,
    REJECTIONS,
    REQUESTS_RESOURCE,
    RETRIES_RESOURCE,
)
from proxy.upstream.breakers import Breakers
from proxy.upstream.habits import IdleHabit

if TYPE_CHECKING:  # what stands above this module, or is imported where it is configured
    from mesh.affinity import Affinities
    from proxy.http1.phases import Phase
    from proxy.upstream.queue import Waiter
    from proxy.upstream.split import ServiceSplit


# How long a worker that gave up a connection for those who wait in others leaves it to them (seconds).
YIELD = 0.005


def nobody() -> None:
    """Whom a service wakes that has no other workers."""


def smaller(first: int, second: int) -> int:
    """The stricter of two limits, of which 0 is none."""
    return min(first or second, second or first)


# Endpoints that a request asks for admission; each refusal means that another request was faster by microseconds.
MOST_REFUSALS = 8

# A change of an endpoint's state is known to all workers within this time (milliseconds).
TOLD_WITHIN_MS = 2000


class PooledStream(Stream):
    """A connection that can wait in a pool."""

    idle_since: int  # microseconds of the monotonic clock
    uses: int

    def __init__(self) -> None:
        self.idle_since = 0
        self.uses = 0


class EndpointRuntime(Candidate):
    """One endpoint with its idle connections."""

    service: ServiceRuntime
    address: Address
    slot: Slot
    shared: Shared
    log_part: bytes | None  # what the access log says of this endpoint; None until it first does
    idle: list[PooledStream]
    open: int  # connections, idle ones included
    policy: PoolPolicy
    keep_for: float
    keep_until: float  # microseconds of the monotonic clock: `keep_for` holds until then
    habit: IdleHabit
    removed: bool
    admission: int  # what `admit` said last
    is_first: bool  # the next time that it may be used is no coming back

    limit: int  # of `open`; 0 for none
    max_idle: int

    def __init__(
        self, service: ServiceRuntime, endpoint: Endpoint, policy: PoolPolicy, slot: Slot, shared: Shared
    ) -> None:
        super().__init__(endpoint, service.changes)
        self.usable = False
        self.service = service
        self.address = Address(endpoint.address)
        self.slot = slot
        self.shared = shared
        self.idle = []
        self.open = 0
        self.habit = IdleHabit()
        self.removed = False
        self.admission = ADMITTED
        self.is_first = True
        self.update(endpoint, policy)

    def update(self, endpoint: Endpoint, policy: PoolPolicy) -> None:
        """Take over what a new configuration says of the same endpoint."""
        was = self.endpoint
        was_usable = self.usable
        self.endpoint = endpoint
        self.weight = endpoint.weight
        self.backup = endpoint.backup
        self.usable = endpoint.state == EndpointState.HEALTHY
        self.log_part = None
        self.policy = policy
        self.limit = policy.max_connections
        # A connection that begins with a PROXY header names one client, and serves no other.
        self.max_idle = 0 if self.service.proxy_header is not None else policy.max_idle
        if not self.usable:
            self.close_idle()
        while len(self.idle) > self.max_idle:
            self.idle[0].close()
        now = time.monotonic()
        self.learn(now)
        self.look_full()
        if was.weight != endpoint.weight or was.priority != endpoint.priority or was.backup != endpoint.backup:
            self.changes.note(self)
        elif was.metadata != endpoint.metadata:
            self.changes.note(self)  # its zone
        if self.usable and not was_usable:
            if not self.is_first:
                self.came_back(int(now * 1000))
            self.is_first = False

    def came_back(self, now_ms: int) -> None:
        """It may be used again, or for the first time while others are: its slow start begins, if there is one. All
        workers are told and the first one writes it down."""
        shared = self.shared
        before = shared.load(RECOVERED_WORD)
        if now_ms - before > TOLD_WITHIN_MS:
            shared.swap(RECOVERED_WORD, before, now_ms)

    def recovered_ms(self) -> int:
        return self.shared.load(RECOVERED_WORD)

    def is_draining(self) -> bool:
        return self.removed or self.endpoint.state is EndpointState.DRAINING

    def load(self) -> int:
        return self.slot.total(ACTIVE)

    def admit(self, now_ms: int) -> int:
        """A request has picked this endpoint: REFUSED, ADMITTED or PROBE (mesh/breaker.py). Whoever gets PROBE says so
        to `attempt_over`, which frees its place."""
        word = self.shared.load(BREAKER_WORD)
        if word & STATE_MASK == CLOSED:
            self.admission = ADMITTED
        else:
            self.admission = self.service.breakers.admit(self, now_ms)
        return self.admission

    def would_admit(self, now_ms: int) -> int:
        """What `admit` would say; nothing is claimed."""
        word = self.shared.load(BREAKER_WORD)
        return ADMITTED if word & STATE_MASK == CLOSED else self.service.breakers.would_admit(self, now_ms)

    def is_closed(self) -> bool:
        """Whether the breaker lets everybody through."""
        word = self.shared.load(BREAKER_WORD)
        return word & STATE_MASK == CLOSED

    def is_ejected(self, now_ms: int) -> bool:
        word = self.shared.load(BREAKER_WORD)
        return word & STATE_MASK != CLOSED and self.service.breakers.keeps_away(self, now_ms)

    def attempt_over(self, outcome: int, probing: bool, now_ms: int) -> None:
        """An attempt here went like this (mesh/breaker.py has the words); `probing`: it was a probe."""
        if outcome != UNKNOWN:
            self.slot.add(ATTEMPTS, 1)
            if outcome == FAILED:
                self.slot.add(ATTEMPT_FAILURES, 1)
        if probing:
            try:
                if outcome != UNKNOWN:
                    self.service.breakers.probe_over(self, outcome == WORKED, now_ms)
            finally:
                # After the success has been noted, or another worker could count neither.
                self.slot.add(PROBES, -1)
        elif outcome == FAILED:
            self.service.breakers.happened(self, FAILURE, now_ms)
        elif outcome == WORKED and self.shared.load(BREAKER_WORD) != 0:
            self.service.breakers.happened(self, SUCCESS, now_ms)

    def learn(self, now: float) -> None:
        """Keep `keep_for` true to what is known of the endpoint now."""
        self.keep_for = self.habit.keep_for(self.policy.idle_timeout, now)
        self.keep_until = self.habit.changes_at(now) * 1_000_000

    def look_full(self) -> None:
        """Keep `full` true to what is open and idle."""
        self.full = self.limit > 0 and self.open >= self.limit and not self.idle

    def take(self, replayable: bool, now_us: int) -> PooledStream | None:
        """An idle connection that the next request may use, or None.

        A request that could not be repeated gets one only if it is young and still open as far as we can see.
        """
        if now_us >= self.keep_until:
            self.learn(now_us / 1_000_000)
        while self.idle:
            stream = self.idle.pop()
            self.slot.add(POOL_IDLE, -1)
            age = now_us - stream.idle_since
            if stream.fd < 0:
                continue
            if age > self.keep_for * 1_000_000:
                stream.close()
                continue
            if not replayable:
                known = self.habit.known(now_us / 1_000_000)
                if not may_use_idle(False, age / 1_000_000, known) or not stream.is_quiet():
                    # Still good for a request that may be repeated; this one gets a new connection.
                    self.idle.append(stream)
                    self.slot.add(POOL_IDLE, 1)
                    return None
            self.look_full()
            return stream
        return None

    def give(self, stream: PooledStream, now_us: int) -> bool:
        """Keep a connection whose exchange is complete. False: it is not wanted, close it."""
        if now_us >= self.keep_until:
            self.learn(now_us / 1_000_000)
        if self.removed or not self.usable or len(self.idle) >= self.max_idle or self.keep_for <= 0:
            return False
        if self.service.max_total and self.service.owes():
            return False
        stream.idle_since = now_us
        self.idle.append(stream)
        self.slot.add(POOL_IDLE, 1)
        self.full = False
        stream.set_timeout(self.keep_for)
        return True

    def make_room(self) -> bool:
        """Whether another connection may be opened; it then counts for the service until `closed`, or `not_opened`.
        At a limit an idle one that was not good enough for a request gives way, the one that has waited longest."""
        if self.limit and self.open >= self.limit:
            if self.idle:
                self.idle[0].close()
            if self.open >= self.limit:
                return False
        return self.service.claim()

    def is_busy(self) -> bool:
        """Whether a request that comes now has to wait for a connection, as far as can be told without taking one."""
        if self.idle:
            return False
        return 0 < self.limit <= self.open or not self.service.has_room()

    def not_opened(self) -> None:
        """There was room for a connection, and it could not be had."""
        self.service.unclaim()

    def opened(self) -> None:
        self.open += 1
        self.look_full()
        self.slot.add(CONNECTIONS_TOTAL, 1)
        self.slot.add(CONNECTIONS_ACTIVE, 1)

    def closed(self, stream: PooledStream | None) -> None:
        """A connection of ours is gone, idle or not; None for one that is of no pool."""
        self.open -= 1
        self.slot.add(CONNECTIONS_ACTIVE, -1)
        self.service.unclaim()
        if stream in self.idle:
            self.idle.remove(stream)
            self.slot.add(POOL_IDLE, -1)
        self.look_full()

    def hear_keep_alive(self, value: bytes, now: float) -> None:
        self.habit.hear(value)
        self.learn(now)

    def see_idle_close(self, idle_for: float, now: float) -> None:
        self.habit.see_close(idle_for, now)
        self.learn(now)

    def retire(self) -> None:
        """The endpoint is configured no more: what is idle is closed, what is busy finishes."""
        self.removed = True
        self.usable = False
        self.close_idle()
        self.changes.forget(self)

    def close_idle(self) -> None:
        """Nobody is to use this endpoint now: a connection that waits for a request has nothing to wait for, and what
        it would be told by then nobody knows."""
        for stream in list(self.idle):
            stream.close()


class ServiceRuntime:
    """A service: its endpoints by identity, a balancer per version, and who waits for a connection."""

    name: str
    service: Service
    slot: Slot
    shared: Shared
    phases: tuple[Phase, ...]  # of requests
    breaker: CircuitBreaker
    retry: RetryPlan | None
    deadline_header: bool
    breakers: Breakers  # of the worker
    epoch: int  # EPOCH_WORD, as far as this worker has seen it
    max_requests: int  # under way, of all workers; 0 for no limit
    max_waiting: int  # for a connection, of all workers; 0 for no limit
    balancer: Balancer | None  # of all versions together; None until the first endpoints are there
    versions: dict[str, Balancer]
    split: ServiceSplit | None
    affinities: Affinities | None  # which endpoint a client belongs to
    subsets: Subsets  # of its endpoints by metadata, for routes that ask
    make_balancer: Callable[[Sequence[Candidate]], Balancer]  # for some of the endpoints
    proxy_header: ProxyHeader | None  # what a connection to its endpoints begins with
    endpoints: dict[tuple[str, str], EndpointRuntime]  # by id and address
    pending: OrderedDict[Waiter, object]  # and of which kind each is: proxy/upstream/queue.py
    waiting: dict[object, int]  # how many of each kind are in it
    max_total: int  # connections of all workers; 0 for no limit
    timeout: float
    max_pending: int  # waiting for a connection, of this worker
    yields_until: float  # seconds of the monotonic clock: until then a free place is left to other workers
    ring: Callable[[], None]  # wakes the other workers, so that they look at what they and we wait for
    changes: Changes  # of its endpoints, for its balancers
    serving: bool  # the queue is being looked through
    # Services of this worker that wait within `max_total`, itself included: nobody tells when another worker's
    # connection ends, so their queues are looked at again and again.
    crowded: set[ServiceRuntime]

    def __init__(
        self,
        service: Service,
        slot: Slot,
        shared: Shared,
        crowded: set[ServiceRuntime] | None = None,
        breakers: Breakers | None = None,
    ) -> None:
        self.name = service.name
        self.balancer = None
        self.slot = slot
        self.shared = shared
        self.phases = ()
        self.retry = None
        self.deadline_header = service.deadline_header
        self.breakers = Breakers(None, Draws(0)) if breakers is None else breakers
        self.epoch = 0
        self.ring = nobody
        self.yields_until = 0.0
        self.endpoints = {}
        self.changes = Changes()
        self.versions = {}
        self.pending = OrderedDict()
        self.waiting = {}
        self.serving = False
        self.crowded = set() if crowded is None else crowded
        self.service = service
        self.timeout = service.timeout
        self.limit(service)
        self.split = None
        self.affinities = None
        self.subsets = Subsets()
        self.make_balancer = Balancer
        self.proxy_header = None

    def limit(self, service: Service) -> None:
        """Take over the limits of `service`."""
        breaker = self.breaker = service.circuit_breaker
        self.max_requests = breaker.max_requests
        self.max_waiting = breaker.max_pending_requests
        self.max_pending = service.pool.max_pending
        self.max_total = smaller(service.pool.max_total, breaker.max_connections)

    def retire(self) -> None:
        """The service is configured no more and has no endpoints. What is under way goes on with those that it has;
        letting go of all others here also ends every cycle of references, so what is done is freed at once."""
        self.endpoints = {}
        self.balancer = None
        self.versions = {}
        self.split = None
        self.affinities = None
        self.subsets = Subsets()
        self.changes.notes = []

    def balancer_of(
        self, version: str, subset: SubsetRule | None, request: RequestView, asking: bool = False
    ) -> Balancer | None:
        """The balancer of the endpoints that the request may go to; None when there are none. `asking`: nothing is
        kept for the next one."""
        balancer = self.versions.get(version) if version else self.balancer
        if subset is None or self.balancer is None:
            return balancer
        return self.subsets.balancer(
            subset, request, version, self.balancer, balancer, self.make_balancer, asking=asking
        )

    def enter(self) -> bool:
        """Count one more request under way, if all workers together may have it: ours is published first, then all are
        added up, so that the limit is never exceeded."""
        slot = self.slot
        slot.add(ACTIVE, 1)
        if self.max_requests == 0 or slot.total(ACTIVE) <= self.max_requests:
            return True
        slot.add(ACTIVE, -1)
        return False

    def is_full(self) -> bool:
        """Whether `enter` would say no."""
        return self.max_requests > 0 and self.slot.total(ACTIVE) >= self.max_requests

    def begin_retry(self) -> bool:
        """Count one more request that is being sent again, if all workers together may have it, as `enter` does."""
        slot = self.slot
        slot.add(RETRIES_ACTIVE, 1)
        limit = self.breaker.max_retries
        if limit == 0 or slot.total(RETRIES_ACTIVE) <= limit:
            return True
        slot.add(RETRIES_ACTIVE, -1)
        self.shared.add(REJECTIONS + RETRIES_RESOURCE, 1)
        return False

    def end_retry(self) -> None:
        self.slot.add(RETRIES_ACTIVE, -1)

    def outcome_of(self, status: int) -> int:
        """Whether an answer with this status speaks for the endpoint or against it."""
        if 502 <= status <= 504 or (status == 500 and self.breaker.count_500):
            return FAILED
        return WORKED

    def refused(self, resource: int) -> str:
        """Count that a limit of this resource turned somebody away, and say which it was."""
        self.shared.add(REJECTIONS + resource, 1)
        return self.reason(resource)

    def reason(self, resource: int) -> str:
        """Which limit of this resource would turn somebody away."""
        breaker, pool = self.breaker, self.service.pool
        if resource == REQUESTS_RESOURCE:
            return f"circuit_breaker.max_requests ({breaker.max_requests}) of service {self.name} is reached"
        if resource == PENDING_RESOURCE:
            if len(self.pending) >= self.max_pending:
                return f"pool.max_pending ({self.max_pending}) of service {self.name} is reached in this worker"
            return f"circuit_breaker.max_pending_requests ({self.max_waiting}) of service {self.name} is reached"
        if not self.max_total:
            return f"pool.max_connections ({pool.max_connections}) of each endpoint of service {self.name} is reached"
        which = "pool.max_total" if self.max_total == pool.max_total else "circuit_breaker.max_connections"
        return f"{which} ({self.max_total}) of service {self.name} is reached"

    def has_room(self) -> bool:
        """Whether all workers together may open one more, as far as can be told without taking it."""
        if self.is_below_total() and not (self.yields_until and self.yields()):
            return True
        return any(endpoint.idle for endpoint in self.endpoints.values())

    def others_wait(self) -> int:
        """How many wait for a connection in other workers."""
        return self.slot.total(PENDING) - self.slot.get(PENDING)

    def yields(self) -> bool:
        """Whether a free place is left to those who wait in other workers."""
        if self.yields_until and time.monotonic() < self.yields_until and self.others_wait():
            return True
        self.yields_until = 0.0
        return False

    def owes(self) -> bool:
        """Whether a connection whose request is complete is due to somebody who waits in another worker: we have more
        than our share of `max_total`, which is in proportion to the requests under way. It is then closed, and its
        place left to the others for a moment, so that whoever waits is served in turn wherever it waits."""
        slot = self.slot
        if not self.others_wait() or self.is_below_total():
            return False
        return slot.get(CONNECTIONS_ACTIVE) * slot.total(ACTIVE) > self.max_total * slot.get(ACTIVE)

    def unclaim(self) -> None:
        """A connection is gone. Who waits for its place in another worker is told, and has it if we owe it."""
        owed = self.max_total > 0 and self.owes()
        self.slot.add(CONNECTIONS_ACTIVE, -1)
        if owed:
            self.yields_until = time.monotonic() + YIELD
        if self.max_total and self.others_wait():
            self.ring()

    def is_below_total(self) -> bool:
        return self.max_total == 0 or self.slot.total(CONNECTIONS_ACTIVE) < self.max_total

    def claim(self) -> bool:
        """Count one more connection, if all workers together may have it. Each publishes its own first and then adds
        up, so two that ask for the last one may both be refused, and never both get it."""
        slot = self.slot
        if self.yields_until and self.yields():
            return False
        slot.add(CONNECTIONS_ACTIVE, 1)
        if self.max_total == 0 or slot.total(CONNECTIONS_ACTIVE) <= self.max_total:
            return True
        for endpoint in self.endpoints.values():
            if endpoint.idle:
                endpoint.idle[0].close()
                if slot.total(CONNECTIONS_ACTIVE) <= self.max_total:
                    return True
                break
        slot.add(CONNECTIONS_ACTIVE, -1)
        return False


def pick_bound(
    balancer: Balancer,
    bond: Bond,
    request: RequestView,
    tried: list[Candidate] | None,
    now_us: int,
    in_subset: bool,
    asking: bool = False,
) -> EndpointRuntime | None:
    """The endpoint that the client belongs to, or else one that the balancer picks; None when it has to be the first
    and that takes no requests. `in_subset`: the balancer may lack endpoints of the service. `asking`: as below."""
    if in_subset and bond.candidate not in balancer.candidates:
        bond.exclude()
    now_ms = now_us // 1000
    # The candidates of a service's balancers are its endpoints.
    target: EndpointRuntime | None = bond.target(balancer, tried, now_ms)  # type: ignore[assignment]
    if target is not None:
        if (target.would_admit(now_ms) if asking else target.admit(now_ms)) != REFUSED:
            return target
        # It has no place for a probe after all.
        tried = [target] if tried is None else [*tried, target]
    if bond.forbids(tried):
        return None
    return pick_admitted(balancer, request, tried, now_us, asking)


def pick_admitted(
    balancer: Balancer, request: RequestView, tried: list[Candidate] | None, now_us: int, asking: bool = False
) -> EndpointRuntime | None:
    """An endpoint that admits the request (`admission` says as what), and that it has not `tried`; None when there is
    none. One that has no place for a probe after all is passed over. `asking`: no place is claimed, and whoever asks
    puts the balancer back."""
    now_ms = now_us // 1000
    for _ in range(MOST_REFUSALS):
        # The candidates of a service's balancers are its endpoints.
        endpoint: EndpointRuntime | None = balancer.pick(request, tried, now_us)  # type: ignore[assignment]
        if endpoint is None or (tried is not None and endpoint in tried):
            return None
        if balancer.panicked:
            if not asking:
                endpoint.admission = ADMITTED  # breakers are not asked then
            return endpoint
        if (endpoint.would_admit(now_ms) if asking else endpoint.admit(now_ms)) != REFUSED:
            return endpoint
        tried = [endpoint] if tried is None else [*tried, endpoint]
    return None


def is_breaker_open(balancer: Balancer | None) -> bool:
    """Whether there is an endpoint that could be used if its breaker let it: why nothing was picked."""
    # The candidates are endpoints, as above.
    return balancer is not None and any(
        candidate.usable and candidate.weight > 0 and not candidate.is_closed()  # type: ignore[attr-defined]
        for candidate in balancer.candidates
    )
