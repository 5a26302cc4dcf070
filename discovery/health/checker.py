"""The checker: carries out the checks of all endpoints, and tells the catalog when a state changes.

It looks at the services that a change has touched, keeps one `Watched` for each endpoint that has a check, and knows of
each when it is due: a heap and one timer, whatever their number. What is due goes through a lane (bounded; programs
have one of their own), from there to an attempt (attempts.py), whose result goes to the endpoint's hysteresis.

State hangs on the identity of the endpoint (service, id, address). A configuration that says the same of its check
changes nothing; one that says something else begins a new check, which keeps the state that is there. An endpoint that
is drained is still checked. Checks of protocol TTL are the registry's own: they need no more than a deadline.

No rules in here but their order: they are hysteresis.py's, schedule.py's and lanes.py's. A bug in one check ends that
check, as an error that says nothing about the endpoint.
"""

from __future__ import annotations

import asyncio
import heapq
import itertools
import time
import traceback
from collections.abc import Callable, Iterable, Sequence
from random import Random
from typing import Final, Protocol

import structlog

from discovery.changes import HealthReport
from discovery.checks import CheckProtocol, HealthCheck
from discovery.config import RegistrySettings
from discovery.health import schedule
from discovery.health.attempts import Attempt, Attempts, Begin
from discovery.health.dialogue import CannotAsk
from discovery.health.hysteresis import Hysteresis
from discovery.health.lanes import Lane
from discovery.health.numbers import HealthNumbers, HealthReading
from discovery.health.result import Outcome, Result, error, failure
from discovery.health.target import Target, target_of
from discovery.model import Endpoint, EndpointState, Service, Struct

# How long changes are collected before they are looked at: a thousand registrations are one look.
_COLLECT: Final = 0.02
# How long a check may hold its place while others wait for one (lanes.py).
_PATIENCE: Final = 0.5
# How often time lost by our own loop is looked for while checks are under way.
_PULSE: Final = 0.1
# How long programs that were killed may take to be gone when the checker closes.
_CLOSE_WITHIN: Final = 2.0


class Told(Protocol):
    @property
    def services(self) -> frozenset[str]: ...


class Services(Protocol):
    def services(self) -> Sequence[str]: ...

    def service(self, name: str) -> Service | None: ...


class Catalog(Protocol):
    """What the checker needs of discovery.catalog.Catalog."""

    @property
    def registry(self) -> Services: ...

    def subscribe(self, callback: Callable[[Told], None]) -> Callable[[], None]: ...

    def report(self, change: HealthReport) -> object: ...


class CheckStatus(Struct):
    """How the checks of an endpoint go. `last_at`: seconds since the epoch when the last one ended, None before it.
    `next_in`: seconds until the next is due; None while one is under way or waits for its turn. `successes` and
    `failures` are those in a row."""

    protocol: CheckProtocol
    state: EndpointState
    last_result: Outcome | None = None
    last_reason: str = ""
    last_duration: float = 0.0
    last_at: float | None = None
    next_in: float | None = None
    successes: int = 0
    failures: int = 0


class Watched:
    """An endpoint with a check. Times are seconds of the monotonic clock."""

    __slots__ = (
        *("attempt", "began", "deadline", "due", "endpoint", "granted", "has_hung", "hysteresis", "is_dropped", "last"),
        *("last_at", "last_duration", "lost_before", "target"),
    )

    def __init__(self, target: Target, endpoint: Endpoint, hysteresis: Hysteresis) -> None:
        self.target = target
        self.endpoint = endpoint  # as it was looked at last
        self.hysteresis = hysteresis
        self.is_dropped = False
        self.due = 0.0
        self.attempt: Attempt | None = None
        self.began = 0.0
        self.deadline: asyncio.TimerHandle | None = None
        self.lost_before = 0.0  # by our loop, when the attempt began
        self.granted = 0.0  # on top of the timeout
        self.has_hung = False  # until the end of its time
        self.last: Result | None = None
        self.last_at = 0.0
        self.last_duration = 0.0

    @property
    def is_known(self) -> bool:
        return self.hysteresis.state is not EndpointState.CHECKING


class Checker:
    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        catalog: Catalog,
        settings: RegistrySettings,
        draw: Random,
        *,
        begin: Begin | None = None,
        succeeded: Callable[[str, Endpoint], None] = lambda service, endpoint: None,
        clock: Callable[[], float] = time.monotonic,
        wall: Callable[[], float] = time.time,
    ) -> None:
        """`succeeded` is told of every check that succeeds, whether it changes a state or not."""
        self._loop = loop
        self._catalog = catalog
        self._draw = draw.random
        self._begin_attempt = begin or Attempts(loop).begin
        self._succeeded = succeeded
        self._clock = clock
        self._wall = wall
        self._log = structlog.get_logger()
        self._numbers = HealthNumbers()
        self._lateness = schedule.Lateness()
        self._connections: Lane[Watched] = Lane(settings.check_concurrency, _PATIENCE)
        self._programs: Lane[Watched] = Lane(settings.command_concurrency)
        self._services: dict[str, dict[str, Watched]] = {}
        self._heads: dict[str, tuple[HealthCheck | None, str]] = {}  # what all targets of a service depend on
        self._lingering: set[Watched] = set()  # ended, but their attempt is not gone
        self._agenda: list[tuple[float, int, Watched]] = []  # an entry counts if it is when the endpoint is due
        self._order = itertools.count()
        self._timer: asyncio.TimerHandle | None = None
        self._timer_at = 0.0
        self._pulse: asyncio.TimerHandle | None = None
        # What the lanes take for the time, in seconds: it passes with the beats. Whoever began in a round of our loop
        # that took long has not had its turn yet, and must not make room for others that will have none either.
        self._beaten = 0.0
        self._touched: set[str] = set()
        self._look: asyncio.TimerHandle | None = None
        self._unsubscribe: Callable[[], None] = lambda: None
        self._closed: asyncio.Future[None] | None = None

    def start(self) -> None:
        self._unsubscribe = self._catalog.subscribe(self._on_applied)
        self.apply(self._catalog.registry.services())

    def configure(self, settings: RegistrySettings) -> None:
        """Take over other bounds."""
        self._connections.resize(settings.check_concurrency)
        self._programs.resize(settings.command_concurrency)
        self._go_on()

    async def close(self) -> None:
        """End everything; programs are killed, and waited for a moment."""
        self._unsubscribe()
        for timer in (self._timer, self._pulse, self._look):
            if timer is not None:
                timer.cancel()
        self._closed = self._loop.create_future()
        for watched in [watched for known in self._services.values() for watched in known.values()]:
            self._drop(watched)
        self._services.clear()
        if self._lingering:
            await asyncio.wait((self._closed,), timeout=_CLOSE_WITHIN)

    # --- asked by views -------------------------------------------------------------------------------------------

    def status(self, service: str, id: str) -> CheckStatus | None:
        """None: this endpoint is not checked by us."""
        watched = self._services.get(service, {}).get(id)
        if watched is None:
            return None
        now = self._clock()
        hysteresis, last = watched.hysteresis, watched.last
        is_waiting = watched.attempt is None and watched.due > now
        return CheckStatus(
            protocol=watched.target.check.protocol,
            state=hysteresis.state,
            last_result=None if last is None else last.outcome,
            last_reason="" if last is None else last.reason,
            last_duration=watched.last_duration,
            last_at=None if last is None else self._wall() - (now - watched.last_at),
            next_in=watched.due - now if is_waiting else None,
            successes=hysteresis.successes,
            failures=hysteresis.failures,
        )

    def numbers(self) -> HealthReading:
        lanes = (self._connections, self._programs)
        return self._numbers.taken(sum(lane.running for lane in lanes), sum(lane.waiting for lane in lanes))

    # --- what there is to check -----------------------------------------------------------------------------------

    def _on_applied(self, applied: Told) -> None:
        self._touched |= applied.services
        if self._touched and self._look is None and self._closed is None:
            self._look = self._loop.call_later(_COLLECT, self._look_at_touched)

    def _look_at_touched(self) -> None:
        self._look = None
        touched, self._touched = self._touched, set()
        self.apply(touched)

    def apply(self, names: Iterable[str]) -> None:
        """Look at these services: something about them may be different."""
        new: list[Watched] = []
        for name in names:
            service = self._catalog.registry.service(name)
            known = self._services.get(name, {})
            now_there = {} if service is None else self._watched_of(service, known, new)
            for gone in known.values():
                self._drop(gone)
            if now_there:
                self._services[name] = now_there
            elif self._services.pop(name, None) is not None:
                self._numbers.forget(name)
            if service is None:
                self._heads.pop(name, None)
        self._welcome(new)
        self._go_on()

    def _watched_of(self, service: Service, known: dict[str, Watched], new: list[Watched]) -> dict[str, Watched]:
        """By id. Those that are still there are taken out of `known`; those that begin are put into `new` as well."""
        head = (service.health_check, service.domain)
        is_same_head = self._heads.get(service.name) == head
        self._heads[service.name] = head
        now_there = {}
        for endpoint in service.endpoints:
            watched = known.pop(endpoint.id, None)
            # What did not change is the same object, and most do not.
            if watched is None or watched.endpoint is not endpoint or not is_same_head:
                watched = self._compared(service, endpoint, watched, new)
            if watched is not None:
                now_there[endpoint.id] = watched
        return now_there

    def _compared(
        self, service: Service, endpoint: Endpoint, watched: Watched | None, new: list[Watched]
    ) -> Watched | None:
        """What is to be watched of `endpoint` from now on."""
        target = target_of(service, endpoint)
        if target is not None and target.check.protocol is CheckProtocol.TTL:
            target = None
        if watched is not None and watched.target == target:
            watched.endpoint = endpoint
            self._remind(watched)
            return watched
        if watched is not None:
            self._drop(watched)
        if target is None:
            return None
        rise, fall = target.check.healthy_threshold, target.check.unhealthy_threshold
        if watched is not None and watched.target.address == target.address:
            hysteresis = watched.hysteresis.renewed(rise, fall)
        else:
            hysteresis = Hysteresis(endpoint.state, rise, fall)
        new.append(Watched(target, endpoint, hysteresis))
        return new[-1]

    def _remind(self, watched: Watched) -> None:
        """An endpoint that went and came back between two looks is new to the catalog, but not to us."""
        if watched.endpoint.state is not EndpointState.CHECKING or not watched.is_known:
            return
        if watched.last is not None:
            self._report(watched, watched.last.reason)
        else:  # its state was not ours either
            check = watched.target.check
            watched.hysteresis = Hysteresis(EndpointState.CHECKING, check.healthy_threshold, check.unhealthy_threshold)

    def _welcome(self, new: list[Watched]) -> None:
        now = self._clock()
        newcomers = sum(not watched.is_known for watched in new)
        for watched in new:
            delay = schedule.first_delay(watched.target.check, newcomers, watched.is_known, self._draw)
            self._schedule(watched, now + delay)

    def _drop(self, watched: Watched) -> None:
        watched.is_dropped = True
        attempt = watched.attempt
        if attempt is not None:
            self._stop(watched, attempt)
            if not attempt.is_gone:
                self._lingering.add(watched)
                return
        if watched not in self._lingering:
            self._lane(watched).leave(watched)

    # --- when -----------------------------------------------------------------------------------------------------

    def _schedule(self, watched: Watched, when: float) -> None:
        watched.due = when
        heapq.heappush(self._agenda, (when, next(self._order), watched))

    def _go_on(self) -> None:
        """Begin what may begin, and have the timer ring when there is more."""
        if self._closed is not None:
            return
        now = self._clock()
        while self._agenda and self._agenda[0][0] <= now:
            when, _, watched = heapq.heappop(self._agenda)
            if when == watched.due and not watched.is_dropped and watched.attempt is None:
                self._lane(watched).ask(watched)
        for lane in (self._connections, self._programs):
            orders = lane.orders(self._beaten)
            for watched in orders.stop:
                if watched.attempt is not None:
                    self._stop(watched, watched.attempt)
            for watched in orders.begin:
                self._begin(watched, now)
        self._set_timer(now)

    def _set_timer(self, now: float) -> None:
        if not self._agenda:
            return
        when = self._agenda[0][0]
        if self._timer is not None:
            if self._timer_at <= when:
                return
            self._timer.cancel()
        self._timer_at = when
        self._timer = self._loop.call_later(max(0.0, when - now), self._ring)

    def _ring(self) -> None:
        self._timer = None
        self._lateness.observe(self._timer_at, self._clock())
        self._go_on()

    def _beat(self, due: float) -> None:
        """While checks are under way: is our loop late? And has somebody to make room?"""
        now = self._clock()
        self._lateness.observe(due, now)
        self._beaten += _PULSE
        order = self._connections.next_order()
        if order is not None and order <= self._beaten:
            self._go_on()
        is_busy = self._connections.running or self._programs.running
        self._pulse = self._loop.call_later(_PULSE, self._beat, now + _PULSE) if is_busy else None

    # --- one check ------------------------------------------------------------------------------------------------

    def _begin(self, watched: Watched, now: float) -> None:
        self._numbers.began(now - watched.due)
        watched.began = now
        watched.lost_before = self._lateness.total
        watched.granted = 0.0
        watched.has_hung = False
        timeout = watched.target.check.timeout

        def done(result: Result) -> None:
            self._ended(watched, result)

        def gone() -> None:
            self._released(watched)

        try:
            watched.attempt = self._begin_attempt(watched.target, done, gone, self._bug)
        except CannotAsk as problem:
            self._loop.call_soon(self._ended, watched, failure(str(problem)))
        except Exception as bug:
            self._bug(bug)
            self._loop.call_soon(self._ended, watched, error(f"the check could not be made: {type(bug).__name__}"))
        else:
            watched.deadline = self._loop.call_later(timeout, self._expired, watched, now + timeout)
        if self._pulse is None:
            self._pulse = self._loop.call_later(_PULSE, self._beat, now + _PULSE)

    def _expired(self, watched: Watched, due: float) -> None:
        now = self._clock()
        self._lateness.observe(due, now)
        timeout = watched.target.check.timeout
        lost = self._lateness.total - watched.lost_before
        more = schedule.overtime(timeout, lost, watched.granted)
        if more:
            watched.granted += more
            watched.deadline = self._loop.call_later(more, self._expired, watched, now + more)
        elif watched.attempt is not None:
            watched.has_hung = True
            self._ended(watched, watched.attempt.expire(timeout))

    def _ended(self, watched: Watched, result: Result) -> None:
        """There is a result. The place in the lane is free once nothing is left of the attempt."""
        if watched.is_dropped:
            return
        now = self._clock()
        attempt, watched.attempt = watched.attempt, None
        if watched.deadline is not None:
            watched.deadline.cancel()
            watched.deadline = None
        target, hysteresis = watched.target, watched.hysteresis
        watched.last, watched.last_at, watched.last_duration = result, now, now - watched.began
        self._numbers.ended(target.service, target.check.protocol, result.outcome, watched.last_duration)
        has_changed = False
        if result.outcome is not Outcome.ERROR:
            is_success = result.outcome is Outcome.SUCCESS
            has_changed = hysteresis.success() if is_success else hysteresis.failure()
        if attempt is None or attempt.is_gone:
            self._released(watched)
        else:
            self._lingering.add(watched)
        if has_changed:
            self._report(watched, result.reason)
        if result.outcome is Outcome.SUCCESS:
            self._succeeded(target.service, watched.endpoint)

    def _released(self, watched: Watched) -> None:
        self._lingering.discard(watched)
        lane, now = self._lane(watched), self._clock()
        if watched.is_dropped:
            lane.leave(watched)
            if self._closed is not None and not self._lingering and not self._closed.done():
                self._closed.set_result(None)
        else:
            lane.ended(watched, watched.has_hung)
            is_between = watched.hysteresis.is_between
            self._schedule(
                watched, schedule.next_begin(watched.target.check, watched.began, now, is_between, self._draw)
            )
        self._go_on()

    def _stop(self, watched: Watched, attempt: Attempt) -> None:
        watched.attempt = None
        if watched.deadline is not None:
            watched.deadline.cancel()
            watched.deadline = None
        attempt.cancel()

    def _report(self, watched: Watched, reason: str) -> None:
        target = watched.target
        report = HealthReport(
            service=target.service,
            id=target.id,
            address=target.address,
            state=watched.hysteresis.state,
            reason=reason,
        )
        try:
            self._catalog.report(report)
        except Exception as bug:  # the other checks go on
            self._bug(bug)

    def _lane(self, watched: Watched) -> Lane[Watched]:
        return self._programs if watched.target.check.protocol is CheckProtocol.COMMAND else self._connections

    def _bug(self, bug: BaseException) -> None:
        trace = "".join(traceback.format_exception(bug))
        self._log.error("bug", where="health check", error=repr(bug), trace=trace)
