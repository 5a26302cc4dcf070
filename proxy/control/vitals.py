"""The supervisor's view of the statistics table: the row that each worker keeps about itself, and nothing else.

It reads the signs of life, counts restarts, and takes back the connections of a worker that died, which the limits of
all others count. Standard library only; the layout is proxy/stats/slots.py.
"""

from __future__ import annotations

import mmap
import struct

from proxy.stats.slots import (
    AGENT_HEARTBEAT,
    CELL_SIZE,
    SLOT_SIZE,
    SLOTS_PER_WORKER,
    WORKER_GAUGES,
    WORKER_HEARTBEAT,
)

_CELL = struct.Struct("@q")
_BLOCK = SLOTS_PER_WORKER * SLOT_SIZE  # a multiple of the page size, so that a block can be mapped by itself


class Vitals:
    def __init__(self, table: int) -> None:
        """`table`: the descriptor, which stays the caller's."""
        self._table = table
        self._rows: dict[int, mmap.mmap] = {}

    def heartbeat(self, worker: int | None) -> float:
        """When the worker, or the agent if None, last gave a sign of life: seconds of the monotonic clock, 0.0 for
        never."""
        return (self._get(0, AGENT_HEARTBEAT) if worker is None else self._get(worker, WORKER_HEARTBEAT)) / 1000

    def count(self, worker: int, cell: int) -> None:
        """One more. Only for cells that nobody else writes to."""
        _CELL.pack_into(self._row(worker), cell * CELL_SIZE, self._get(worker, cell) + 1)

    def reset_gauges(self, worker: int) -> None:
        """The process has ended, and its connections and sessions with it."""
        for cell in WORKER_GAUGES:
            _CELL.pack_into(self._row(worker), cell * CELL_SIZE, 0)

    def _get(self, worker: int, cell: int) -> int:
        (value,) = _CELL.unpack_from(self._row(worker), cell * CELL_SIZE)
        return int(value)

    def _row(self, worker: int) -> mmap.mmap:
        row = self._rows.get(worker)
        if row is None:
            row = self._rows[worker] = mmap.mmap(self._table, mmap.PAGESIZE, offset=worker * _BLOCK)
        return row
