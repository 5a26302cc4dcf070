"""The queue of a service: who is served when, and who keeps whose place."""

from __future__ import annotations

import os
from collections.abc import Callable

import pytest

from discovery.model import Endpoint, EndpointState, PoolPolicy, Service
from mesh.strategies import make_balancer
from proxy.kernel.cells import Table
from proxy.stats.slots import CONNECTIONS_ACTIVE, OVERFLOWS, PENDING, table_size
from proxy.upstream.endpoint import EndpointRuntime, ServiceRuntime
from proxy.upstream.queue import Waiter, is_free, join, leave, serve


class Named(Waiter):
    """Goes when it `may`; joins again, as another, as often as it is told to be `unlucky`. `of`: its kind."""

    def __init__(self, queue: Queue, name: str, unlucky: int = 0, of: str = "") -> None:
        self.queue = queue
        self.name = name
        self.unlucky = unlucky
        self.of = of

    def kind(self) -> object:
        return self.of or self

    def may_go(self) -> bool:
        self.queue.asked.append(self.name)
        return (self.of or self.name) in self.queue.may

    def go(self) -> bool:
        if self.unlucky:
            join(self.queue.service, Named(self.queue, self.name, self.unlucky - 1))
            return False
        self.queue.gone.append(self.name)
        self.queue.then(self.name)
        return True


class Queue:
    def __init__(self, states: str = "hh", **pool: int) -> None:
        fd = os.memfd_create("statistics")
        os.ftruncate(fd, table_size(2, 16))
        self.table = Table(fd, 2, 16)
        os.close(fd)
        initials = {state.value[0]: state for state in EndpointState}
        self.policy = PoolPolicy(**pool)
        given = Service(name="db", pool=self.policy)
        self.crowded: set[ServiceRuntime] = set()
        self.service = ServiceRuntime(given, self.table.slot(0, 1), self.table.shared(1), self.crowded)
        self.endpoints = [
            EndpointRuntime(
                self.service,
                Endpoint(id=str(number), address=f"10.0.0.1:{number + 1}", state=initials[state]),
                self.policy,
                self.table.slot(0, 2 + number),
                self.table.shared(2 + number),
            )
            for number, state in enumerate(states)
        ]
        self.balancer = make_balancer(given.load_balancing, self.endpoints, 0)
        self.may: set[str] = set()
        self.asked: list[str] = []
        self.gone: list[str] = []
        self.then: Callable[[str], None] = lambda name: None

    def join(self, *names: str) -> None:
        for name in names:
            assert join(self.service, Named(self, name))

    def names(self) -> list[str]:
        return [waiter.name for waiter in self.service.pending if isinstance(waiter, Named)]

    def pending(self) -> int:
        return self.service.slot.get(PENDING)


def test_those_who_may_go_in_the_order_of_coming() -> None:
    queue = Queue()
    queue.join("a", "b", "c", "d")
    queue.may = {"b", "d"}
    serve(queue.service)
    assert queue.gone == ["b", "d"]
    assert queue.names() == ["a", "c"]
    assert queue.pending() == 2
    queue.may = {"a", "c"}
    serve(queue.service)
    assert queue.gone == ["b", "d", "a", "c"]
    assert queue.pending() == 0


def test_a_queue_that_is_full_takes_nobody_and_counts_that() -> None:
    queue = Queue(max_pending=2)
    queue.join("a", "b")
    assert not join(queue.service, Named(queue, "c"))
    assert (queue.pending(), queue.service.slot.get(OVERFLOWS)) == (2, 1)
    leave(queue.service, next(iter(queue.service.pending)))
    queue.join("c")
    assert queue.names() == ["b", "c"]


def test_who_was_too_slow_keeps_its_place_and_nobody_behind_goes_first() -> None:
    queue = Queue()
    assert join(queue.service, Named(queue, "a", unlucky=2))
    queue.join("b", "c")
    queue.may = {"a", "b", "c"}
    for _ in range(2):
        serve(queue.service)
        assert queue.gone == []
        assert queue.names() == ["a", "b", "c"]
        assert queue.pending() == 3
    serve(queue.service)
    assert queue.gone == ["a", "b", "c"]


def test_a_long_queue_of_a_kind_is_asked_once() -> None:
    """Else each connection that becomes free costs a look at everybody, and there are the more of both the busier the
    service is: 50 that waited took a core at 2,500 requests a second."""
    queue = Queue(max_pending=3000)
    for number in range(1000):
        assert join(queue.service, Named(queue, f"a{number}", of="v1"))
        assert join(queue.service, Named(queue, f"b{number}", of="v2"))
    serve(queue.service)
    assert queue.asked == ["a0", "b0"]
    queue.may = {"v2"}
    queue.then = lambda name: queue.may.clear()
    serve(queue.service)
    assert queue.gone == ["b0"]
    assert queue.asked[2:] == ["a0", "b0", "a0", "b1"]


def test_kinds_do_not_hold_up_each_other() -> None:
    queue = Queue()
    for name, kind in (("a", "v1"), ("b", "v1"), ("c", "v2"), ("d", ""), ("e", "v2"), ("f", "v1")):
        assert join(queue.service, Named(queue, name, of=kind))
    queue.may = {"v2", "d"}
    serve(queue.service)
    assert queue.gone == ["c", "d", "e"]
    # Nothing is left of those that went or were told to go away.
    for waiter in list(queue.service.pending):
        leave(queue.service, waiter)
    assert queue.service.waiting == {}
    assert queue.pending() == 0


def test_serving_from_within_serving_changes_no_order() -> None:
    queue = Queue()
    queue.join("a", "b", "c")
    queue.may = {"a", "b", "c"}
    queue.then = lambda name: serve(queue.service)
    serve(queue.service)
    assert queue.gone == ["a", "b", "c"]


def test_a_bug_of_one_leaves_the_queue_in_order() -> None:
    queue = Queue()
    queue.join("a", "b")
    queue.may = {"a", "b"}

    def fail(name: str) -> None:
        raise ZeroDivisionError

    queue.then = fail
    with pytest.raises(ZeroDivisionError):
        serve(queue.service)
    queue.then = lambda name: None
    serve(queue.service)
    assert queue.gone == ["a", "b"]


def test_only_a_service_with_a_total_is_looked_after() -> None:
    without, within = Queue(), Queue(max_total=1)
    without.join("a")
    within.join("a")
    assert without.crowded == set()
    assert within.crowded == {within.service}


# --- is there anything to wait for? -------------------------------------------------------------------------------


def fill(*endpoints: EndpointRuntime) -> None:
    for endpoint in endpoints:
        endpoint.full = True


def test_nothing_is_waited_for_where_nothing_can_come() -> None:
    queue = Queue(states="uu")
    assert is_free(queue.service, None, None, 0)
    assert is_free(queue.service, queue.balancer, None, 0)


def test_an_endpoint_with_room_is_free() -> None:
    queue = Queue()
    fill(queue.endpoints[0])
    assert is_free(queue.service, queue.balancer, None, 0)
    fill(queue.endpoints[1])
    assert not is_free(queue.service, queue.balancer, None, 0)


def test_one_that_was_tried_is_not_waited_for() -> None:
    """Whoever went because of it would be given the other one, wait again, and hold up those behind."""
    queue = Queue()
    full, free = queue.endpoints
    fill(full)
    assert not is_free(queue.service, queue.balancer, [free], 0)
    assert queue.balancer.pick(None, [free], 0) is full  # type: ignore[arg-type]
    assert is_free(queue.service, queue.balancer, [full], 0)
    # With all of them tried there is nothing left to wait for.
    assert is_free(queue.service, queue.balancer, [full, free], 0)


def test_a_backup_is_waited_for_only_where_there_is_nothing_else() -> None:
    queue = Queue()
    primary, backup = queue.endpoints
    backup.update(Endpoint(id="1", address="10.0.0.1:2", backup=True), queue.policy)
    fill(primary)
    assert not is_free(queue.service, queue.balancer, None, 0)
    assert queue.balancer.pick(None, None, 0) is primary  # type: ignore[arg-type]
    assert is_free(queue.service, queue.balancer, [primary], 0)
    fill(backup)
    assert not is_free(queue.service, queue.balancer, [primary], 0)


def test_a_total_that_is_reached_leaves_nothing_free() -> None:
    queue = Queue(max_total=2)
    other_worker = queue.table.slot(1, 1)
    other_worker.add(CONNECTIONS_ACTIVE, 1)
    assert is_free(queue.service, queue.balancer, None, 0)
    assert queue.service.claim()
    assert not is_free(queue.service, queue.balancer, None, 0)
    assert not queue.service.claim()
    assert queue.service.slot.get(CONNECTIONS_ACTIVE) == 1
    other_worker.add(CONNECTIONS_ACTIVE, -1)
    assert is_free(queue.service, queue.balancer, None, 0)
