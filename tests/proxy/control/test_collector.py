"""A worker's garbage collector looks at an object once, so no pass has many before it (proxy/control/collector.py)."""

from __future__ import annotations

import gc
import os
from collections.abc import Iterator

import pytest

from proxy.control.collector import YOUNG, Collector
from proxy.kernel.cells import Slot, Table
from proxy.stats.slots import WORKER_GC_LONGEST, WORKER_GC_MICROSECONDS, WORKER_GC_PASSES, table_size

ROWS = 256


@pytest.fixture
def row() -> Slot:
    fd = os.memfd_create("statistics")
    os.ftruncate(fd, table_size(1, ROWS))
    return Table(fd, 1, ROWS).slot(0, 0)


@pytest.fixture
def collector(row: Slot) -> Iterator[Collector]:
    collector = Collector(row)
    collector.start()
    yield collector
    collector.close()


def passes(row: Slot) -> int:
    return row.get(WORKER_GC_PASSES)


def test_objects_that_stay_are_looked_at_once(collector: Collector, row: Slot) -> None:
    kept: list[list[object]] = []
    for _ in range(10 * YOUNG):
        kept.append([None])
    assert passes(row) >= 9
    assert gc.get_freeze_count() >= 9 * YOUNG
    assert len(gc.get_objects(1)) + len(gc.get_objects(2)) == 0, "older generations are empty: nobody looks at them"
    assert 0 < row.get(WORKER_GC_LONGEST) <= row.get(WORKER_GC_MICROSECONDS)


def test_where_the_old_are_replaced_a_pass_has_no_more_to_look_at(collector: Collector, row: Slot) -> None:
    """Python counts what is made less what is freed, so the young may be many more than it counts."""
    old: list[list[object]] = [[None] for _ in range(20 * YOUNG)]
    collector.settle()
    before = passes(row)
    for slice_of_work in range(20):
        for place in range(slice_of_work * YOUNG, (slice_of_work + 1) * YOUNG):
            old[place] = [None]
        collector.settle()
        assert len(gc.get_objects(0)) < YOUNG
    assert passes(row) <= before + 1


def test_while_it_rests_there_is_no_pass_and_what_was_made_meanwhile_is_not_looked_at(
    collector: Collector, row: Slot
) -> None:
    collector.rest()
    kept = [[None] for _ in range(10 * YOUNG)]
    assert passes(row) == 0
    collector.settle()
    assert gc.isenabled() and len(gc.get_objects(0)) < YOUNG
    del kept


def test_what_came_and_went_costs_no_pass(collector: Collector, row: Slot) -> None:
    for _ in range(10 * YOUNG):
        each: list[object] = [None]
        del each
    assert passes(row) == 0


def test_young_objects_that_refer_to_each_other_are_freed(collector: Collector, row: Slot) -> None:
    class Node:
        alive = 0

        def __init__(self) -> None:
            self.itself = self
            Node.alive += 1

        def __del__(self) -> None:
            Node.alive -= 1

    for _ in range(3 * YOUNG):
        Node()
    assert Node.alive <= YOUNG and passes(row) >= 2


def test_the_longest_is_that_of_this_process(row: Slot) -> None:
    row.add(WORKER_GC_LONGEST, 5_000_000)
    collector = Collector(row)
    assert row.get(WORKER_GC_LONGEST) == 0
    collector.start()
    collector.start()
    gc.collect()
    collector.close()
    assert passes(row) == 1, "told once, although it was started twice"


def test_closed_it_leaves_the_collector_as_it_was(row: Slot) -> None:
    before = gc.get_threshold(), len(gc.callbacks)
    collector = Collector(row)
    collector.start()
    collector.close()
    collector.close()
    assert (gc.get_threshold(), len(gc.callbacks), gc.get_freeze_count()) == (*before, 0)
