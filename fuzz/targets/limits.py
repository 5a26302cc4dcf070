"""proxy.kernel.limits: buckets by key of a small table, beside a model of sets of eight entries.

Two tables of the same memory take in turn, as two workers do. Tags are given as they are: digests are drawn anew in
every process, and what is fuzzed has to be the same each time.
"""

from __future__ import annotations

import os

from fuzz.support import expect
from proxy.kernel.cells import Table
from proxy.kernel.limits import WAYS, KeyedLimits
from proxy.stats import slots

ROWS = 2  # 16 sets, 128 entries
HOUR = 3_600 * 10**9

SEEDS = (
    b"\0\1\1\1\0\1\1\0\0\1\2\1\1\1\1\1",
    bytes(range(1, 17)) * 12,
    b"".join(bytes((0x10, 16 * number % 256, 1, number)) for number in range(24)),
    b"\xff\xff\xff\xff\0\0\0\0\x80\x80\x80\x80",
)
WORDS = (b"\x10\0\1\0", b"\0\0\1\1", b"\x01\x10\xff\xff", b"\x08\x01\x00\x01")


class Memory:
    """A table of two workers that can be as new."""

    def __init__(self) -> None:
        self.descriptor = os.memfd_create("statistics")
        self.zeros = bytes(slots.table_size(2, ROWS))
        os.ftruncate(self.descriptor, len(self.zeros))
        self.table = Table(self.descriptor, 2, ROWS)

    def fresh(self) -> Table:
        os.pwrite(self.descriptor, self.zeros, 0)
        self.table.grow(2)
        return self.table


MEMORY = Memory()


class Model:
    """Sets of [tag, arrival time]."""

    def __init__(self, sets: int) -> None:
        self.sets = [[[0, 0] for _ in range(WAYS)] for _ in range(sets)]

    def entry(self, tag: int) -> list[int]:
        entries = self.sets[tag % len(self.sets)]
        for entry in entries:
            if entry[0] == tag:
                return entry
        victim = min(entries, key=lambda entry: (entry[0] != 0, entry[1] if entry[0] else 0))
        victim[:] = [tag, 0]
        return victim

    def take(self, tag: int, interval: int, tolerance: int, now: int) -> int:
        entry = self.entry(tag)
        due = max(entry[1], now)
        if due - now > tolerance:
            return due - now - tolerance
        entry[1] = due + interval
        return 0

    def look(self, tag: int) -> int:
        return next((due for known, due in self.sets[tag % len(self.sets)] if known == tag), 0)


def check(data: bytes) -> None:
    table = MEMORY.fresh()
    workers = (KeyedLimits(table), KeyedLimits(table))
    model = Model(workers[0].sets)
    now = 1
    for at in range(0, len(data) - 3, 4):
        what, key, size, step = data[at : at + 4]
        # Sets are few, so that entries change hands.
        tag = key | (what & 0x10) << 59
        kept = tag or 1
        limits = workers[what & 1]
        now += step * (HOUR if what & 2 else 1000)
        if what & 4:
            expect(limits.look(tag) == model.look(kept), "another time", tag)
            continue
        interval = 1 + size * (HOUR if what & 8 else 1000)
        tolerance = interval * (what >> 5)
        taken, wanted = limits.take(tag, interval, tolerance, now), model.take(kept, interval, tolerance, now)
        expect(taken == wanted, "another wait", taken, wanted, tag, interval, tolerance, now)
    for entries in model.sets:
        for tag, due in entries:
            expect(tag == 0 or workers[0].look(tag) == due, "another time at the end", tag, due)
