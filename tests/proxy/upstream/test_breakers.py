"""Breakers as workers share them: who is admitted, what is counted and told, and nothing gets lost between workers."""

from __future__ import annotations

import threading
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any, cast

import pytest
from breakers import REQUEST, SERVICE_ROW, START, Instance
from hypothesis import given, settings
from hypothesis import strategies as st

from discovery.model import Endpoint
from discovery.policies import CircuitBreaker
from mesh.balance import Balancer
from mesh.breaker import (
    ADMITTED,
    CHECK_SUCCESS,
    CLOSED,
    FAILED,
    HALF_OPEN,
    OPEN,
    OUTLIER,
    PROBE,
    REFUSED,
    UNKNOWN,
    WORKED,
    pack,
    state_of,
    times_of,
)
from mesh.draws import Draws
from mesh.rotation import RoundRobin
from proxy.stats import slots, words
from proxy.upstream.breakers import Breakers
from proxy.upstream.endpoint import EndpointRuntime, is_breaker_open, pick_admitted


def test_errors_seen_by_different_workers_add_up_and_open_it_for_all() -> None:
    instance = Instance()
    instance.fail(3, worker=0)
    instance.fail(1, worker=1)
    assert instance.pick() == "a"
    instance.fail(1, worker=0)
    assert [instance.pick(worker=1) for _ in range(3)] == ["b", "b", "b"]
    assert instance.endpoint(1).admit(instance.now) == REFUSED


def test_a_success_of_any_worker_begins_the_row_anew() -> None:
    instance = Instance()
    instance.fail(4, worker=0)
    instance.endpoint(1).attempt_over(WORKED, False, instance.now)
    instance.fail(4, worker=0)
    assert instance.endpoint().is_closed()


def test_what_nobody_can_tell_changes_nothing() -> None:
    instance = Instance()
    instance.fail(4)
    for _ in range(10):
        instance.endpoint().attempt_over(UNKNOWN, False, instance.now)
    instance.fail(1)
    assert not instance.endpoint().is_closed()


def test_an_ejection_is_counted_told_and_moves_the_epochs_on() -> None:
    instance = Instance()
    instance.fail()
    assert instance.named("endpoint ejected") == [
        {
            "service": "app",
            "endpoint": "a",
            "address": "127.0.0.1:1",
            "reason": "consecutive_errors",
            "seconds": 30.0,
            "ejections": 1,
            "failures": 5,
        }
    ]
    assert instance.counted(SERVICE_ROW, 0) == instance.counted(SERVICE_ROW + 1, 0) == 1
    assert instance.counted(SERVICE_ROW + 2, 0) == 0
    assert instance.table.shared(SERVICE_ROW).load(words.EPOCH_WORD) == 1
    assert instance.table.shared(slots.WORKER_SLOT).load(words.BREAKERS_WORD) == 1


def test_the_last_endpoint_is_ejected_too() -> None:
    instance = Instance(endpoints=1)
    instance.fail()
    assert instance.pick() == "-"
    assert is_breaker_open(instance.services[0].balancer)


def test_without_a_breaker_nothing_is_open_where_nothing_is_usable() -> None:
    instance = Instance(endpoints=1)
    instance.endpoint().usable = False
    assert instance.pick() == "-"
    assert not is_breaker_open(instance.services[0].balancer)
    assert not is_breaker_open(None)


def test_at_most_five_probes_of_all_workers_and_the_rest_goes_elsewhere() -> None:
    instance = Instance()
    instance.fail()
    instance.pass_time(30)
    got = [instance.pick(worker) for worker in (0, 1) * 10]
    assert (got.count("a"), instance.probes()) == (5, 5)
    assert instance.endpoint(1).admit(instance.now) == REFUSED


def test_five_probes_that_work_close_it_and_say_when() -> None:
    instance = Instance()
    instance.fail()
    instance.pass_time(30)
    for _ in range(5):
        assert instance.endpoint(1).admit(instance.now) == PROBE
        instance.endpoint(1).attempt_over(WORKED, True, instance.now)
    assert instance.endpoint(0).is_closed()
    assert instance.probes() == 0
    assert instance.table.shared(SERVICE_ROW + 1).load(words.RECOVERED_WORD) == instance.now
    assert [name for name, _ in instance.events] == ["endpoint ejected", "endpoint half-open", "endpoint recovered"]
    assert instance.table.shared(SERVICE_ROW).load(words.EPOCH_WORD) == 3


def test_one_probe_that_fails_opens_it_for_longer_whatever_others_do() -> None:
    instance = Instance()
    instance.fail()
    instance.pass_time(30)
    for _ in range(5):
        assert instance.endpoint().admit(instance.now) == PROBE
    instance.endpoint().attempt_over(WORKED, True, instance.now)
    instance.endpoint().attempt_over(FAILED, True, instance.now)
    assert instance.named("endpoint ejected")[-1]["reason"] == "half_open_failure"
    assert instance.named("endpoint ejected")[-1]["seconds"] == 60.0
    for _ in range(3):
        instance.endpoint().attempt_over(WORKED, True, instance.now)
    assert (instance.probes(), instance.pick(), instance.counted(SERVICE_ROW, 2)) == (0, "b", 1)


def test_a_probe_whose_outcome_nobody_knows_gives_its_place_back() -> None:
    instance = Instance(CircuitBreaker(half_open_requests=1))
    instance.fail()
    instance.pass_time(40)
    for _ in range(3):
        assert instance.endpoint().admit(instance.now) == PROBE
        assert instance.endpoint(1).admit(instance.now) == REFUSED
        instance.endpoint().attempt_over(UNKNOWN, True, instance.now)
    assert state_of(instance.endpoint().shared.load(words.BREAKER_WORD), instance.now) == HALF_OPEN


def test_the_places_of_a_dead_worker_come_free_with_its_gauges() -> None:
    instance = Instance()
    instance.fail()
    instance.pass_time(30)
    while instance.endpoint(1).admit(instance.now) == PROBE:
        pass
    assert instance.endpoint(0).admit(instance.now) == REFUSED
    instance.table.zero(1, SERVICE_ROW + 1, slots.GAUGES)  # as the agent does
    assert instance.endpoint(0).admit(instance.now) == PROBE


def test_time_alone_makes_it_half_open_in_one_worker_and_the_others_hear_of_it() -> None:
    instance = Instance()
    instance.fail()
    assert instance.tick(1) == [instance.services[1]]
    assert instance.tick(1) == []
    instance.pass_time(30)
    instance.tick(0)
    assert instance.tick(1) == [instance.services[1]]
    assert instance.tick(0) == [instance.services[0]]
    assert len(instance.named("endpoint half-open")) == 1
    assert instance.endpoint().shared.load(words.BREAKER_WORD) & 3 == HALF_OPEN


def test_a_worker_that_comes_later_lets_an_ejection_end() -> None:
    instance = Instance()
    instance.fail()
    instance.pass_time(30)
    instance.tick(1)  # it had not looked before
    instance.tick(1)
    assert len(instance.named("endpoint half-open")) == 1


def test_a_removed_endpoint_is_waited_for_no_more() -> None:
    instance = Instance()
    instance.fail()
    instance.endpoint().retire()
    instance.pass_time(30)
    instance.tick()
    assert not instance.named("endpoint half-open")
    assert not instance.services[0].breakers.open


def test_a_check_that_succeeds_ends_an_ejection_early() -> None:
    instance = Instance()
    instance.fail()
    instance.services[1].breakers.happened(instance.endpoint(1), CHECK_SUCCESS, instance.now)
    assert instance.endpoint().admit(instance.now) == PROBE
    assert [name for name, _ in instance.events] == ["endpoint ejected", "endpoint half-open"]


def test_an_outlier_is_counted_as_one() -> None:
    instance = Instance()
    instance.services[0].breakers.happened(instance.endpoint(), OUTLIER, instance.now)
    assert instance.named("endpoint ejected")[0]["reason"] == "success_rate"
    assert instance.counted(SERVICE_ROW, 1) == 1


def test_fewer_probes_by_a_new_configuration_do_not_leave_it_half_open_for_ever() -> None:
    instance = Instance()
    instance.fail()
    instance.pass_time(30)
    for _ in range(2):
        instance.endpoint().admit(instance.now)
        instance.endpoint().attempt_over(WORKED, True, instance.now)
    instance.services[0].breaker = CircuitBreaker(half_open_requests=2)
    assert not instance.endpoint().is_ejected(instance.now)
    assert instance.endpoint().admit(instance.now) == ADMITTED


def test_a_refusal_after_the_pick_leads_to_another_endpoint() -> None:
    instance = Instance(CircuitBreaker(half_open_requests=1, ejection_jitter_pct=0.0))
    instance.fail()
    instance.pass_time(30)

    class Faster(Balancer):
        """Another worker takes the last place between pick and admission."""

        def pick(self, request: Any, tried: Any, now: int) -> Any:
            found = super().pick(request, tried, now)
            if found is instance.endpoint(0):
                instance.endpoint(1).admit(instance.now)
            return found

    balancer = Faster(list(instance.services[0].endpoints.values()), RoundRobin)
    found = pick_admitted(balancer, REQUEST, None, instance.now * 1000)
    assert found is instance.endpoint(0, 1)
    assert instance.probes() == 1


def test_a_healthy_endpoint_writes_nothing_to_its_word(monkeypatch: pytest.MonkeyPatch) -> None:
    instance = Instance()
    monkeypatch.setattr(Breakers, "happened", lambda *given: pytest.fail("an event of a healthy endpoint"))
    for _ in range(3):
        assert instance.endpoint().admit(instance.now) == ADMITTED
        instance.endpoint().attempt_over(WORKED, False, instance.now)
    assert instance.endpoint().slot.total(slots.ATTEMPTS) == 3


# --- any interleaving of workers ----------------------------------------------------------------------------------


class Memory:
    """Cells and words whose every access is a step that the script of the test puts in order.

    One thread per worker, and exactly one of them runs at any time: the one whose number comes next in the script."""

    def __init__(self, workers: int, script: list[int], word: int) -> None:
        self.words = {words.BREAKER_WORD: word}
        self.cells = [0] * workers
        self.script = iter(script)
        self.turns = [threading.Semaphore(0) for _ in range(workers)]
        self.idle = threading.Semaphore(0)
        self.alive = set(range(workers))
        self.failure: BaseException | None = None

    def step(self, worker: int) -> None:
        self.idle.release()
        self.turns[worker].acquire()

    def run(self, works: list[Callable[[], None]]) -> None:
        def body(worker: int) -> None:
            self.turns[worker].acquire()
            try:
                works[worker]()
            except BaseException as failure:
                self.failure = failure
            self.alive.discard(worker)
            self.idle.release()

        threads = [threading.Thread(target=body, args=(worker,), daemon=True) for worker in range(len(works))]
        for thread in threads:
            thread.start()
        while self.alive:
            choice = next(self.script, 0)
            turn = sorted(self.alive)[choice % len(self.alive)]
            self.turns[turn].release()
            self.idle.acquire()
        for thread in threads:
            thread.join()
        if self.failure is not None:
            raise self.failure


class StepSlot:
    def __init__(self, memory: Memory, worker: int) -> None:
        self.memory = memory
        self.worker = worker

    def add(self, cell: int, by: int) -> None:
        self.memory.step(self.worker)
        if cell == slots.PROBES:
            self.memory.cells[self.worker] += by

    def total(self, cell: int) -> int:
        total = 0
        for each in range(len(self.memory.cells)):
            self.memory.step(self.worker)
            total += self.memory.cells[each]
        return total


class StepShared:
    def __init__(self, memory: Memory, worker: int) -> None:
        self.memory = memory
        self.worker = worker

    def load(self, word: int) -> int:
        self.memory.step(self.worker)
        return self.memory.words.get(word, 0)

    def swap(self, word: int, expected: int, wanted: int) -> bool:
        self.memory.step(self.worker)
        if self.memory.words.get(word, 0) != expected:
            return False
        self.memory.words[word] = wanted
        return True

    def add(self, word: int, by: int) -> int:
        return 0


class SteppedEndpoint:
    endpoint = Endpoint(id="a", address="127.0.0.1:1")

    def __init__(self, slot: StepSlot, shared: StepShared, service: SimpleNamespace) -> None:
        self.slot = slot
        self.shared = shared
        self.service = service


class Race:
    """Workers that send requests to one half-open endpoint; what the endpoint sees is counted here."""

    def __init__(self, workers: int, limit: int, outcomes: list[list[int]], script: list[int]) -> None:
        self.limit = limit
        self.memory = Memory(workers, script, pack(OPEN, 0, 1, 0, START))
        self.under_way = self.most = self.probes = self.unknown = 0
        policy = CircuitBreaker(half_open_requests=limit, base_ejection_time=1.0, ejection_jitter_pct=0.0)
        # What EndpointRuntime.attempt_over does, over memory that can be stepped through.
        self.memory.run([self.work(worker, policy, outcomes[worker]) for worker in range(workers)])

    def work(self, worker: int, policy: CircuitBreaker, outcomes: list[int]) -> Callable[[], None]:
        slot = StepSlot(self.memory, worker)
        shared = StepShared(self.memory, worker)
        endpoint = cast(
            EndpointRuntime,
            SteppedEndpoint(slot, shared, SimpleNamespace(name="app", breaker=policy, shared=shared)),
        )
        breakers = Breakers(None, Draws(worker))

        def run() -> None:
            now = START
            for outcome in outcomes:
                if breakers.admit(endpoint, now) == PROBE:
                    self.probes += 1
                    self.under_way += 1
                    self.most = max(self.most, self.under_way)
                    self.memory.step(worker)
                    self.under_way -= 1
                    if outcome == UNKNOWN:
                        self.unknown += 1
                    else:
                        breakers.probe_over(endpoint, outcome == WORKED, now)
                    slot.add(slots.PROBES, -1)
                if outcome == FAILED:
                    now += 10_000  # for this worker the next ejection is over already

        return run


def races(*outcomes: int) -> st.SearchStrategy[Race]:
    return st.integers(2, 3).flatmap(
        lambda workers: st.builds(
            Race,
            st.just(workers),
            st.integers(1, 3),
            st.lists(st.lists(st.sampled_from(outcomes), min_size=1, max_size=4), min_size=workers, max_size=workers),
            st.lists(st.integers(0, workers - 1), max_size=150),
        )
    )


@settings(max_examples=60, deadline=None)
@given(races(WORKED, UNKNOWN))
def test_no_order_of_workers_admits_more_probes_than_the_limit(race: Race) -> None:
    """Those that worked and those under way together: who gave a place back is not counted."""
    assert race.most <= race.limit
    assert race.probes - race.unknown <= race.limit
    word = race.memory.words[words.BREAKER_WORD]
    assert (word & 3 == CLOSED) == (race.probes - race.unknown == race.limit)
    assert race.memory.cells == [0] * len(race.memory.cells)


@settings(max_examples=60, deadline=None)
@given(races(WORKED, FAILED, UNKNOWN))
def test_no_order_of_workers_and_outcomes_has_more_probes_under_way_than_the_limit(race: Race) -> None:
    assert race.most <= race.limit
    assert race.memory.cells == [0] * len(race.memory.cells)
    assert times_of(race.memory.words[words.BREAKER_WORD]) >= 1


@pytest.mark.parametrize("limit", [1, 2])
def test_a_worker_held_up_anywhere_on_its_way_to_a_probe_is_not_one_too_many(limit: int) -> None:
    """Wherever it stands still while the other one goes on to its end, and whenever that began."""
    for before in range(45):
        for steps in range(1, 14):
            race = Race(2, limit, [[WORKED], [WORKED] * 3], [1] * before + [0] * steps + [1] * 200)
            assert race.probes <= limit, (before, steps)
            assert race.memory.cells == [0, 0]
