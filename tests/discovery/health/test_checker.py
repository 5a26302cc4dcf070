"""The checker on a fake clock: which checks it carries out and when, and what it tells the catalog."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from dataclasses import dataclass
from random import Random
from typing import Any

import msgspec
import pytest
from fake_loop import FakeLoop

from discovery.changes import HealthReport
from discovery.checks import CheckProtocol, HealthCheck
from discovery.config import RegistrySettings
from discovery.health.checker import Checker
from discovery.health.dialogue import CannotAsk
from discovery.health.result import SUCCESS, Outcome, Result, error, failure, no_answer
from discovery.health.target import Target
from discovery.model import Endpoint, EndpointState, Service

CHECKING, HEALTHY, UNHEALTHY = EndpointState.CHECKING, EndpointState.HEALTHY, EndpointState.UNHEALTHY
CHECK = HealthCheck(interval=10.0, timeout=2.0)
REFUSED = failure("connection refused")


@dataclass(frozen=True)
class Applied:
    services: frozenset[str]


class Catalog:
    """Services, and the reports that came; states are as last reported, as the registry has them."""

    def __init__(self) -> None:
        self.registry = self
        self.all: dict[str, Service] = {}
        self.reports: list[HealthReport] = []
        self.subscribers: list[Callable[[Any], None]] = []
        self.fails = False

    def services(self) -> list[str]:
        return list(self.all)

    def service(self, name: str) -> Service | None:
        return self.all.get(name)

    def subscribe(self, callback: Callable[[Any], None]) -> Callable[[], None]:
        self.subscribers.append(callback)
        return lambda: self.subscribers.remove(callback)

    def report(self, change: HealthReport) -> None:
        if self.fails:
            raise RuntimeError("broken")
        self.reports.append(change)

    def put(self, name: str, *endpoints: Endpoint, check: HealthCheck | None = CHECK, domain: str = "") -> None:
        self.all[name] = Service(name=name, endpoints=endpoints, health_check=check, domain=domain)
        self.tell(name)

    def remove(self, name: str) -> None:
        del self.all[name]
        self.tell(name)

    def tell(self, *names: str) -> None:
        for subscriber in self.subscribers:
            subscriber(Applied(frozenset(names)))


class Attempt:
    """A check under way, ended by the test."""

    def __init__(self, target: Target, done: Callable[[Result], None], gone: Callable[[], None]) -> None:
        self.target = target
        self.done = done
        self.gone = gone
        self.is_gone = True
        self.is_cancelled = False
        self.is_expired = False

    def expire(self, seconds: float) -> Result:
        self.is_expired = True
        return no_answer("answer", seconds)

    def cancel(self) -> None:
        self.is_cancelled = True


class Bench:
    """A checker whose checks are answered by `answers` (by endpoint id) after `takes` seconds; those that are not in
    there hang."""

    def __init__(self, settings: RegistrySettings | None = None, seed: int = 1) -> None:
        self.loop = FakeLoop()
        self.catalog = Catalog()
        self.answers: dict[str, Result | Exception] = {}
        self.takes = 0.01
        self.lingers = False  # attempts are not gone when they end
        self.attempts: list[Attempt] = []
        self.begun: list[tuple[float, str]] = []
        self.succeeded: list[tuple[str, str]] = []
        self.checker = Checker(
            self.loop,  # type: ignore[arg-type]
            self.catalog,
            settings or RegistrySettings(),
            Random(seed),
            begin=self.begin,
            succeeded=lambda service, endpoint: self.succeeded.append((service, endpoint.id)),
            clock=self.loop.time,
            wall=lambda: self.loop.now + 1_000_000.0,
        )

    def begin(
        self, target: Target, done: Callable[[Result], None], gone: Callable[[], None], on_bug: Callable[..., None]
    ) -> Attempt:
        self.begun.append((self.loop.now, target.id))
        answer = self.answers.get(target.id)
        if isinstance(answer, Exception):
            raise answer
        attempt = Attempt(target, done, gone)
        attempt.is_gone = not self.lingers
        self.attempts.append(attempt)
        if answer is not None:
            self.loop.call_later(
                self.takes, lambda: None if attempt.is_cancelled or attempt.is_expired else done(answer)
            )
        return attempt

    def run(self, seconds: float) -> None:
        self.loop.advance(seconds)

    def begins_of(self, id: str) -> list[float]:
        return [when for when, who in self.begun if who == id]

    def states(self) -> list[tuple[str, EndpointState, str]]:
        return [(report.id, report.state, report.reason) for report in self.catalog.reports]


def endpoint(id: str = "a", state: EndpointState = CHECKING, **more: Any) -> Endpoint:
    return Endpoint(id=id, address=more.pop("address", f"10.0.0.1:{1000 + len(id)}"), state=state, **more)


def started(*endpoints: Endpoint, check: HealthCheck | None = CHECK, **answers: Result | Exception) -> Bench:
    bench = Bench()
    bench.answers.update(answers)
    bench.catalog.put("web", *(endpoints or (endpoint(),)), check=check)
    bench.checker.start()
    return bench


# --- states -------------------------------------------------------------------------------------------------------


def test_a_new_endpoint_is_healthy_after_one_success() -> None:
    bench = started(a=SUCCESS)
    bench.run(1.0)
    assert bench.states() == [("a", HEALTHY, "")]


def test_every_success_is_told_whether_it_changes_a_state_or_not() -> None:
    bench = started(endpoint("a"), endpoint("bb"), a=SUCCESS, bb=REFUSED)
    bench.run(1.0)
    assert bench.succeeded == [("web", "a")]
    bench.run(20.0)
    assert bench.succeeded == [("web", "a")] * 3
    bench.answers["a"] = REFUSED
    bench.run(10.0)
    assert len(bench.succeeded) == 3


def test_it_takes_three_failures_to_lose_an_endpoint_and_two_successes_to_have_it_back() -> None:
    bench = started(a=SUCCESS)
    bench.run(1.0)
    bench.answers["a"] = REFUSED
    bench.run(25.0)
    assert len(bench.states()) == 1
    bench.run(10.0)
    assert bench.states()[1:] == [("a", UNHEALTHY, "connection refused")]
    bench.answers["a"] = SUCCESS
    bench.run(10.0)
    assert len(bench.states()) == 2
    bench.run(10.0)
    assert bench.states()[2:] == [("a", HEALTHY, "")]


def test_a_new_endpoint_that_fails_gets_no_traffic_and_is_unhealthy_in_the_end() -> None:
    bench = started(a=REFUSED)
    bench.run(15.0)
    assert bench.states() == []
    bench.run(10.0)
    assert bench.states() == [("a", UNHEALTHY, "connection refused")]


def test_only_changes_are_reported() -> None:
    bench = started(a=SUCCESS)
    bench.run(100.0)
    assert len(bench.begun) > 8
    assert len(bench.states()) == 1


def test_an_endpoint_that_workers_already_know_begins_as_they_have_it() -> None:
    bench = started(endpoint("up", HEALTHY), endpoint("down", UNHEALTHY), up=REFUSED, down=SUCCESS)
    bench.run(10.1)
    assert {id for _, id in bench.begun} == {"up", "down"}
    assert bench.states() == []
    bench.run(30.0)
    assert sorted(bench.states()) == [("down", HEALTHY, ""), ("up", UNHEALTHY, "connection refused")]


def test_what_is_no_fault_of_the_endpoint_changes_nothing() -> None:
    bench = started(endpoint(state=HEALTHY), a=error("too many open files"))
    bench.run(100.0)
    assert bench.states() == []
    status = bench.checker.status("web", "a")
    assert status is not None
    assert (status.last_result, status.failures) == (Outcome.ERROR, 0)


def test_an_endpoint_without_a_check_and_one_that_reports_itself_are_left_alone() -> None:
    bench = started(
        endpoint("n"), endpoint("t", health_check=HealthCheck(protocol=CheckProtocol.TTL, ttl=5.0)), check=None
    )
    bench.run(60.0)
    assert bench.begun == []
    assert bench.checker.status("web", "t") is None


def test_an_endpoints_own_check_goes_before_its_services() -> None:
    own = HealthCheck(port=81)
    bench = started(endpoint(health_check=own, address="10.0.0.1:80"))
    bench.run(1.0)
    assert bench.attempts[0].target.place == "10.0.0.1:81"


def test_a_draining_endpoint_is_checked_too() -> None:
    bench = started(endpoint(state=EndpointState.DRAINING), a=SUCCESS)
    bench.run(1.0)
    assert bench.states() == [("a", HEALTHY, "")]


# --- when ---------------------------------------------------------------------------------------------------------


def test_checks_begin_an_interval_apart() -> None:
    bench = started(a=SUCCESS)
    bench.run(200.0)
    begins = bench.begins_of("a")
    gaps = [after - before for before, after in itertools.pairwise(begins)]
    assert len(gaps) >= 18
    assert all(9.4 < gap < 10.6 for gap in gaps)
    assert len({round(gap, 3) for gap in gaps}) > 10, "they drift"


def test_between_two_thresholds_they_come_sooner() -> None:
    check = msgspec.structs.replace(CHECK, transition_interval=1.0)
    bench = started(endpoint(state=HEALTHY), check=check, a=REFUSED)
    bench.run(5.0)
    (first,) = bench.begins_of("a")[:1]
    bench.run(3.0)
    assert [report.state for report in bench.catalog.reports] == [UNHEALTHY]
    assert bench.begins_of("a")[2] - first < 2.3


def test_many_new_endpoints_are_not_checked_all_at_once() -> None:
    many = [endpoint(f"e{number}") for number in range(1000)]
    bench = started(*many, **{one.id: SUCCESS for one in many})
    bench.run(2.1)
    assert len(bench.begun) == 1000
    busiest = max(sum(1000.0 + at <= when < 1000.1 + at for when, _ in bench.begun) for at in (0.0, 0.5, 1.0, 1.5))
    assert busiest < 100


def test_a_check_ends_with_its_time_and_the_next_is_due_as_ever() -> None:
    bench = started()
    bench.run(2.1)
    assert bench.attempts[0].is_expired
    status = bench.checker.status("web", "a")
    assert status is not None
    assert status.last_reason == "no answer within 2 s"
    assert status.last_duration == pytest.approx(2.0)
    assert status.next_in == pytest.approx(8.0, abs=0.7)


def test_time_that_our_own_loop_lost_is_not_the_endpoints() -> None:
    bench = started()
    bench.run(0.5)
    bench.loop.hold_up(5.0)
    assert not bench.attempts[0].is_expired, "its answer may be there, unread"
    bench.attempts[0].done(SUCCESS)
    assert bench.states() == [("a", HEALTHY, "")]


def test_a_loop_that_is_always_late_does_not_keep_a_check_for_ever() -> None:
    bench = started()
    bench.run(0.5)
    for _ in range(6):
        bench.loop.hold_up(1.0)
    assert bench.attempts[0].is_expired


def test_a_check_is_repeated_at_the_end_of_one_that_took_longer_than_the_interval() -> None:
    bench = started(check=HealthCheck(interval=1.0, timeout=5.0))
    bench.run(7.0)
    first, second = bench.begins_of("a")
    assert second - first == pytest.approx(5.0, abs=0.01)


# --- changes of the configuration -----------------------------------------------------------------------------------


def test_what_says_the_same_of_a_check_changes_nothing() -> None:
    bench = started(a=SUCCESS)
    bench.run(1.0)
    bench.answers["a"] = REFUSED
    bench.run(25.0)
    bench.catalog.put("web", endpoint(state=HEALTHY, weight=7, metadata={"zone": "b"}))
    bench.run(10.0)
    assert bench.states()[-1] == ("a", UNHEALTHY, "connection refused"), "two failures from before count"


def test_another_check_begins_anew_and_keeps_the_state_until_it_has_a_result() -> None:
    bench = started(a=SUCCESS)
    bench.run(1.0)
    bench.answers["a"] = REFUSED
    bench.run(25.0)
    bench.catalog.put("web", endpoint(state=HEALTHY), check=msgspec.structs.replace(CHECK, port=99))
    bench.run(20.0)
    assert len(bench.states()) == 1, "the failures of the former check are forgotten"
    bench.run(15.0)
    assert bench.states()[-1][1] is UNHEALTHY
    bench.answers["a"] = SUCCESS
    bench.catalog.put("web", endpoint(state=UNHEALTHY), check=CHECK)
    bench.run(10.1)
    assert bench.states()[-1] == ("a", HEALTHY, ""), "a new check's first success is enough"


def test_another_domain_is_another_check_only_where_it_is_asked_for() -> None:
    bench = started(a=SUCCESS)
    bench.run(1.0)
    bench.catalog.put("web", endpoint(state=HEALTHY), domain="web.local")
    bench.run(10.1)
    assert bench.attempts[-1].target.host == "web.local"


def test_an_endpoint_that_has_moved_is_another_one() -> None:
    bench = started(endpoint(state=HEALTHY), check=msgspec.structs.replace(CHECK, timeout=9.0))
    bench.run(5.1)
    bench.catalog.put("web", endpoint(address="10.0.0.9:1"))
    bench.answers["a"] = SUCCESS
    bench.run(0.1)
    assert bench.attempts[0].is_cancelled
    assert [(report.address, report.state) for report in bench.catalog.reports] == [("10.0.0.9:1", HEALTHY)]


def test_what_is_gone_is_checked_no_more() -> None:
    bench = started(endpoint("a"), endpoint("bb"), a=SUCCESS, bb=SUCCESS)
    bench.run(1.0)
    bench.catalog.put("web", endpoint("a", HEALTHY))
    bench.run(30.0)
    assert len(bench.begins_of("bb")) == 1
    bench.catalog.remove("web")
    count = len(bench.begun)
    bench.run(60.0)
    assert len(bench.begun) == count
    assert bench.checker.status("web", "a") is None
    assert bench.checker.numbers().results == {}
    assert bench.loop.pending == 0


def test_an_endpoint_that_came_back_between_two_looks_is_told_of_again() -> None:
    bench = started(a=SUCCESS)
    bench.run(1.0)
    bench.catalog.put("web", endpoint(state=CHECKING, metadata={"started": "again"}))
    bench.run(0.1)
    assert bench.states() == [("a", HEALTHY, ""), ("a", HEALTHY, "")]


def test_many_changes_are_one_look() -> None:
    bench = started(a=SUCCESS)
    asked = 0
    service = bench.catalog.service

    def counted(name: str) -> Service | None:
        nonlocal asked
        asked += 1
        return service(name)

    bench.catalog.service = counted  # type: ignore[method-assign]
    for _ in range(1000):
        bench.catalog.tell("web")
    bench.run(0.1)
    assert asked == 1


# --- bounds -------------------------------------------------------------------------------------------------------


def crowd(count: int, prefix: str, **more: Any) -> list[Endpoint]:
    return [endpoint(f"{prefix}{number}", **more) for number in range(count)]


def test_no_more_checks_are_under_way_than_allowed() -> None:
    bench = Bench(RegistrySettings(check_concurrency=5))
    bench.catalog.put("web", *crowd(50, "e"))
    bench.checker.start()
    bench.run(0.2)
    assert bench.checker.numbers().in_flight == 5
    assert bench.checker.numbers().waiting == 45
    bench.checker.configure(RegistrySettings(check_concurrency=9))
    assert bench.checker.numbers().in_flight == 9


def test_checks_that_hang_do_not_delay_the_others() -> None:
    bench = Bench(RegistrySettings(check_concurrency=8))
    quick, hanging = crowd(20, "q"), crowd(40, "h")
    bench.answers.update({one.id: SUCCESS for one in quick})
    bench.catalog.put("web", *quick, *hanging, check=HealthCheck(interval=5.0, timeout=4.0))
    bench.checker.start()
    bench.run(60.0)
    for one in quick:
        begins = bench.begins_of(one.id)[1:]  # in the first round nobody knows who hangs
        assert all(after - before < 7.0 for before, after in itertools.pairwise(begins))
        assert len(begins) >= 9
    assert all(bench.begins_of(one.id) for one in hanging), "and they have their turn themselves"
    assert {id for id, state, _ in bench.states() if state is HEALTHY} == {one.id for one in quick}


def test_checks_that_our_own_slowness_holds_up_are_not_put_back_for_others() -> None:
    """To begin as many as may run at once takes our loop longer than a check may hold its place: none of them has had
    its turn by then. Whoever would be put back for it would be begun again, and that takes as long, and so on."""
    bench = Bench(RegistrySettings(check_concurrency=20))
    begin = bench.begin

    def slowly(*arguments: Any) -> Attempt:
        bench.loop.now += 0.05
        return begin(*arguments)

    bench.checker._begin_attempt = slowly  # type: ignore[assignment]
    ids = [each.id for each in crowd(100, "e")]
    bench.answers = dict.fromkeys(ids, SUCCESS)
    bench.takes = 0.0
    bench.catalog.put("s", *crowd(100, "e"))
    bench.checker.start()
    bench.run(8.0)
    assert not [attempt.target.id for attempt in bench.attempts if attempt.is_cancelled]
    assert sorted(id for _, id in bench.succeeded) == sorted(ids)


def test_programs_have_a_bound_of_their_own() -> None:
    bench = Bench(RegistrySettings(check_concurrency=4, command_concurrency=2))
    program = HealthCheck(protocol=CheckProtocol.COMMAND, command=("x",), interval=10.0, timeout=9.0)
    bench.catalog.put("jobs", *crowd(10, "p"), check=program)
    bench.catalog.put("web", endpoint("a"))
    bench.answers["a"] = SUCCESS
    bench.checker.start()
    bench.run(1.0)
    assert len([id for _, id in bench.begun if id.startswith("p")]) == 2
    assert bench.states() == [("a", HEALTHY, "")]


def test_a_program_that_was_killed_holds_its_place_until_it_is_gone() -> None:
    bench = Bench(RegistrySettings(command_concurrency=1))
    program = HealthCheck(protocol=CheckProtocol.COMMAND, command=("x",), interval=1.0, timeout=0.5)
    bench.lingers = True
    bench.catalog.put("jobs", endpoint("a"), endpoint("bb"), check=program)
    bench.checker.start()
    bench.run(5.0)
    (attempt,) = bench.attempts
    assert attempt.is_expired
    status = bench.checker.status("jobs", attempt.target.id)
    assert status is not None
    assert status.last_reason == "no answer within 0.5 s", "what it says is known at once"
    bench.lingers = False
    attempt.gone()
    bench.run(0.1)
    assert [one.target.id for one in bench.attempts] == [attempt.target.id, "bb" if attempt.target.id == "a" else "a"]
    bench.run(20.0)
    assert len(bench.attempts) > 10


# --- faults -------------------------------------------------------------------------------------------------------


def test_a_bug_in_one_check_stops_no_other(capsys: pytest.CaptureFixture[str]) -> None:
    bench = started(endpoint("a"), endpoint("bb"), a=ZeroDivisionError("oops"), bb=SUCCESS)
    bench.run(40.0)
    assert bench.states() == [("bb", HEALTHY, "")]
    assert len(bench.begins_of("a")) >= 3
    status = bench.checker.status("web", "a")
    assert status is not None
    assert status.last_result is Outcome.ERROR
    assert "ZeroDivisionError" in status.last_reason
    assert "oops" in capsys.readouterr().out


def test_a_question_that_cannot_be_asked_is_a_failure_that_says_why() -> None:
    bench = started(a=CannotAsk("cannot read ca_file /x: no such file"))
    bench.run(30.0)
    assert bench.states() == [("a", UNHEALTHY, "cannot read ca_file /x: no such file")]


def test_a_catalog_that_fails_stops_no_check(capsys: pytest.CaptureFixture[str]) -> None:
    bench = started(a=SUCCESS)
    bench.catalog.fails = True
    bench.run(35.0)
    assert len(bench.begun) >= 3
    assert "broken" in capsys.readouterr().out


def test_closing_ends_everything() -> None:
    bench = started(endpoint("a"), endpoint("bb"), bb=SUCCESS)
    bench.run(0.5)
    close = bench.checker.close()
    bench.loop.create_future = lambda: None  # type: ignore[attr-defined]
    with pytest.raises(StopIteration):
        close.send(None)
    assert all(attempt.is_cancelled for attempt in bench.attempts if attempt.target.id == "a")
    count = len(bench.begun)
    bench.catalog.tell("web")
    bench.run(60.0)
    assert len(bench.begun) == count
    assert bench.loop.pending == 0
    assert bench.catalog.subscribers == []


# --- numbers ------------------------------------------------------------------------------------------------------


def test_checks_are_counted_by_service_protocol_and_result() -> None:
    bench = started(endpoint("a"), endpoint("bb"), a=SUCCESS, bb=REFUSED)
    bench.run(25.0)
    numbers = bench.checker.numbers()
    assert numbers.results == {("web", "tcp", "success"): 3, ("web", "tcp", "failure"): 3}
    assert sum(numbers.durations["tcp"].buckets) == 6
    assert numbers.durations["tcp"].sum == pytest.approx(0.06)
    assert sum(numbers.lateness.buckets) == 6
    assert numbers.lateness.sum == pytest.approx(0.0, abs=1e-6)
    assert numbers.in_flight == 0


def test_lateness_is_how_long_after_its_time_a_check_began() -> None:
    bench = started(endpoint(state=HEALTHY))
    bench.loop.hold_up(7.0)
    assert 1.9 < bench.checker.numbers().lateness.sum < 7.1


def test_the_status_of_an_endpoint_says_how_its_checks_go() -> None:
    bench = started(a=SUCCESS)
    bench.run(1.0)
    status = bench.checker.status("web", "a")
    assert status is not None
    assert (status.protocol, status.state, status.last_result) == (CheckProtocol.TCP, HEALTHY, Outcome.SUCCESS)
    assert status.last_at == pytest.approx(1_001_000.0, abs=0.1)
    assert status.last_duration == pytest.approx(0.01)
    assert status.next_in == pytest.approx(9.0, abs=0.6)
    assert (status.successes, status.failures) == (1, 0)
    bench.answers.clear()
    bench.run(10.0)
    status = bench.checker.status("web", "a")
    assert status is not None
    assert status.next_in is None, "one is under way"
