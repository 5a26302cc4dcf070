"""Endpoints are compared once per interval, whoever looks, by what all workers have counted."""

from __future__ import annotations

from breakers import Instance

from discovery.policies import CircuitBreaker
from mesh.breaker import FAILED, WORKED
from proxy.stats import words

SERVICE_ROW = 1
POLICY = CircuitBreaker(consecutive_errors=0, ejection_jitter_pct=0.0)


class Swept(Instance):
    """Two workers; every request of the tests is counted by one of them."""

    def __init__(self, policy: CircuitBreaker = POLICY, endpoints: int = 3) -> None:
        super().__init__(policy, endpoints=endpoints)
        for service in self.services:
            service.breakers.sweeps.follow(service)
        self.tick(0)
        self.tick(1)

    def requests(self, number: int, count: int, failures: int) -> None:
        for each in range(count):
            endpoint = self.endpoint(each % 2, number)
            endpoint.attempt_over(FAILED if each < failures else WORKED, False, self.now)

    def interval(self) -> None:
        self.pass_time(10)
        self.tick(0)
        self.tick(1)

    def ejected(self) -> list[str]:
        return [str(each["endpoint"]) for each in self.named("endpoint ejected")]


def test_one_that_fails_more_often_is_ejected_at_the_next_sweep() -> None:
    instance = Swept()
    instance.requests(0, 100, 30)
    instance.requests(1, 100, 1)
    instance.requests(2, 100, 0)
    instance.tick(0)
    assert instance.ejected() == []
    instance.interval()
    told = instance.named("endpoint ejected")
    assert [(each["endpoint"], each["reason"]) for each in told] == [("a", "success_rate")]
    assert (told[0]["requests"], told[0]["failures"], told[0]["failed_pct"], told[0]["rest_pct"]) == (
        100,
        30,
        30.0,
        0.5,
    )
    assert instance.pick() != "a"


def test_what_was_compared_once_is_not_counted_again() -> None:
    instance = Swept()
    for number in range(3):
        instance.requests(number, 100, 30)
    instance.interval()
    instance.requests(0, 19, 19)
    for number in (1, 2):
        instance.requests(number, 100, 0)
    instance.interval()
    assert instance.ejected() == []


def test_one_worker_sweeps_and_the_other_does_not_do_it_again() -> None:
    instance = Swept()
    instance.requests(0, 100, 50)
    instance.requests(1, 100, 0)
    instance.pass_time(10)
    instance.tick(1)
    due = instance.table.shared(SERVICE_ROW).load(words.SWEEP_WORD)
    instance.tick(0)
    assert instance.ejected() == ["a"]
    assert due == instance.table.shared(SERVICE_ROW).load(words.SWEEP_WORD) == instance.now + 10_000


def test_an_hour_that_nobody_looked_at_is_not_judged() -> None:
    instance = Swept()
    instance.requests(0, 100, 50)
    instance.requests(1, 100, 0)
    instance.pass_time(3600)
    instance.tick(0)
    assert instance.ejected() == []
    instance.interval()
    assert instance.ejected() == []


def test_the_last_one_and_those_out_of_use_are_left_alone() -> None:
    instance = Swept(endpoints=2)
    for worker in (0, 1):
        instance.endpoint(worker, 1).usable = False
    instance.requests(0, 100, 90)
    instance.interval()
    assert instance.ejected() == []


def test_it_can_be_switched_off() -> None:
    instance = Swept(CircuitBreaker(consecutive_errors=0, success_rate=False))
    instance.requests(0, 100, 90)
    instance.requests(1, 100, 0)
    instance.interval()
    assert instance.ejected() == []


def test_a_service_that_is_gone_is_swept_no_more() -> None:
    instance = Swept()
    instance.pass_time(10)
    breakers = instance.services[0].breakers
    breakers.look({}, instance.now)
    assert breakers.sweeps.due == []
    # One of the same name may come.
    breakers.sweeps.follow(instance.services[0])
    breakers.sweeps.follow(instance.services[0])
    instance.tick(0)
    assert len(breakers.sweeps.due) == 1


def test_a_service_that_went_came_and_went_again_stops_no_sweep() -> None:
    """Each time that it came left an entry; the first one that is met forgets the name."""
    instance = Swept()
    sweeps = instance.services[0].breakers.sweeps
    service = instance.services[0]
    sweeps.look({service.name: service}, instance.now)
    sweeps.follow(service)
    sweeps.look({}, instance.now)
    assert sweeps.turns == {}
    sweeps.look({}, instance.now + 3_600_000)
    assert sweeps.due == []

    sweeps.follow(service)
    sweeps.follow(service)
    sweeps.look({service.name: service}, instance.now + 3_600_000)
    assert list(sweeps.turns) == [service.name]
    assert len(sweeps.due) == 1
