"""Who may run: the bound, the order, and that those who hang do not hold up those who answer."""

from __future__ import annotations

import heapq
from collections import defaultdict

from hypothesis import given
from hypothesis import strategies as st

from discovery.health.lanes import Lane


def asked(lane: Lane[str], *items: str, now: float = 0.0) -> list[str]:
    for item in items:
        lane.ask(item)
    orders = lane.orders(now)
    assert not orders.stop
    return orders.begin


def test_no_more_than_the_limit_run_and_the_others_follow_in_order() -> None:
    lane: Lane[str] = Lane(2)
    assert asked(lane, "a", "b", "c", "d") == ["a", "b"]
    assert (lane.running, lane.waiting) == (2, 2)
    lane.ended("b", False)
    assert lane.orders(1.0).begin == ["c"]
    lane.ended("a", False)
    lane.ended("c", False)
    assert lane.orders(1.0).begin == ["d"]


def test_one_that_is_gone_neither_runs_nor_holds_a_place() -> None:
    lane: Lane[str] = Lane(1)
    assert asked(lane, "a", "b", "c") == ["a"]
    lane.leave("b")
    lane.leave("a")
    assert lane.orders(0.0).begin == ["c"]


def test_the_slow_have_half_of_the_places() -> None:
    lane: Lane[str] = Lane(4, patience=1.0)
    assert asked(lane, "s1", "s2", "s3") == ["s1", "s2", "s3"]
    for item in ("s1", "s2", "s3"):
        lane.ended(item, True)
    assert asked(lane, "s1", "s2", "s3", now=10.0) == ["s1", "s2"]
    assert asked(lane, "q1", "q2", "q3", now=10.0) == ["q1", "q2"]
    lane.ended("s1", True)
    lane.ended("q1", False)
    assert lane.orders(15.0).begin == ["s3", "q3"]


def test_one_that_has_answered_is_quick_again() -> None:
    lane: Lane[str] = Lane(2, patience=1.0)
    asked(lane, "a", "b")
    lane.ended("a", True)
    lane.ended("b", True)
    assert asked(lane, "a", now=5.0) == ["a"]
    lane.ended("a", False)
    assert asked(lane, "b", now=6.0) == ["b"]
    assert asked(lane, "a", now=6.0) == ["a"], "the slow one holds one place, and this is no slow one any more"


def test_those_who_turn_out_slow_make_room_for_whoever_waits() -> None:
    lane: Lane[str] = Lane(4, patience=1.0)
    assert asked(lane, "h1", "h2", "h3", "h4") == ["h1", "h2", "h3", "h4"]
    assert asked(lane, "q") == []
    assert lane.next_order() == 1.0
    orders = lane.orders(1.0)
    assert (orders.stop, orders.begin) == (["h3"], ["q"]), "half of the places are theirs"
    assert lane.running == 4
    lane.ended("q", False)
    assert lane.orders(1.1).begin == [], "the slow have all they may have, and h4 besides"
    assert lane.running == 3


def test_nobody_makes_room_while_nobody_waits() -> None:
    lane: Lane[str] = Lane(2, patience=1.0)
    asked(lane, "h1", "h2")
    assert lane.next_order() is None
    assert lane.orders(50.0) == ([], [])


def test_programs_are_never_stopped_for_others() -> None:
    lane: Lane[str] = Lane(1)
    asked(lane, "p1", "p2")
    assert lane.next_order() is None
    assert lane.orders(100.0) == ([], [])
    lane.ended("p1", True)
    assert lane.orders(100.0).begin == ["p2"]


@given(st.integers(1, 6), st.sampled_from([0.0, 1.0]), st.data())
def test_whatever_happens_the_bound_holds_and_nobody_is_lost(limit: int, patience: float, data: st.DataObject) -> None:
    lane: Lane[int] = Lane(limit, patience)
    running: set[int] = set()
    waiting: set[int] = set()
    now = 0.0
    for _ in range(data.draw(st.integers(0, 60))):
        now += data.draw(st.sampled_from([0.0, 0.4, 1.1]))
        item = data.draw(st.integers(0, 12))
        act = data.draw(st.sampled_from(["ask", "end", "leave"]))
        if act == "ask" and item not in running | waiting:
            lane.ask(item)
            waiting.add(item)
        elif act == "end" and item in running:
            lane.ended(item, data.draw(st.booleans()))
            running.discard(item)
        elif act == "leave":
            lane.leave(item)
            running.discard(item)
            waiting.discard(item)
        orders = lane.orders(now)
        for stopped in orders.stop:
            running.remove(stopped)
            waiting.add(stopped)
        for begun in orders.begin:
            waiting.remove(begun)
            running.add(begun)
        assert lane.running == len(running) <= limit
        assert lane.waiting == len(waiting)
    for _ in range(100):
        now += 10.0
        for item in running:
            lane.ended(item, True)
        running = set(lane.orders(now).begin)
        waiting -= running
    assert not waiting


def test_a_thousand_hanging_ones_delay_no_other() -> None:
    """10,000 endpoints every 10 s, a tenth hang for 5 s: the worst wait of the others, from the first round on."""
    lane: Lane[int] = Lane(256, patience=1.0)
    total, hang, interval = 10_000, 5.0, 10.0
    due = [(number * interval / total, number) for number in range(total)]
    ends: list[tuple[float, int, int]] = []
    run = defaultdict(int)  # a stopped check ends no more
    came: dict[int, float] = {}
    worst = 0.0
    heapq.heapify(due)
    now = 0.0
    while now < 4 * interval:
        order = lane.next_order()
        now = max(now, min(due[0][0], ends[0][0] if ends else due[0][0], order if order is not None else due[0][0]))
        while due[0][0] <= now:
            when, number = heapq.heappop(due)
            came[number] = when
            lane.ask(number)
        while ends and ends[0][0] <= now:
            _, number, turn = heapq.heappop(ends)
            if turn == run[number]:
                lane.ended(number, number % 10 == 0)
                heapq.heappush(due, (came[number] + interval, number))
        orders = lane.orders(now)
        for number in orders.stop:
            run[number] += 1
        for number in orders.begin:
            hangs = number % 10 == 0
            if not hangs:
                worst = max(worst, now - came[number])
            run[number] += 1
            heapq.heappush(ends, (now + (hang if hangs else 0.002), number, run[number]))
    assert worst < 0.25
