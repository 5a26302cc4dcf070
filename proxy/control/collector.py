"""The garbage collector of a worker: kept short, and counted.

While it looks, nothing is served, so a pass is a pause of every request of the worker. How long it takes goes by how
many objects it looks at, and the objects of a large configuration are many. So an object is looked at once at the most:
whatever has survived a pass is frozen (`gc.freeze`), which costs nothing, and no later pass sees it. While a slice of a
change is carried out there is none, because one new table of 10,000 entries is a millisecond by itself; what the slice
has made is frozen without being looked at. So is, twice a second, all that is there: Python begins a pass when YOUNG
more objects were made than freed, old ones included, so where the old are replaced it would come too late.

The price: of objects that refer to each other and outlive that nobody would free the memory. Neither requests,
connections nor changes of the configuration make any (tests/support/garbage.py watches for that in every playbook).
"""

from __future__ import annotations

import gc
import time

from proxy.kernel.cells import Slot
from proxy.stats.slots import WORKER_GC_LONGEST, WORKER_GC_MICROSECONDS, WORKER_GC_PASSES

YOUNG = 2_000  # objects, 0.1 to 0.2 microseconds each
_NEVER = 1 << 30  # older generations are empty


class Collector:
    """Begins with `start`, when what lives long is there; the time is that of the processor, so what else the machine
    does meanwhile is not counted."""

    def __init__(self, row: Slot) -> None:
        """`row`: the worker's own."""
        self._row = row
        self._began = 0
        self._is_started = False
        self._former = gc.get_threshold()
        row.add(WORKER_GC_LONGEST, -row.get(WORKER_GC_LONGEST))  # that of another process

    def start(self) -> None:
        """The one long pass, over all there is, and no other; called again it does nothing."""
        if self._is_started:
            return
        self._is_started = True
        gc.collect()
        gc.freeze()
        gc.set_threshold(YOUNG, _NEVER, _NEVER)
        gc.callbacks.append(self._told)

    def rest(self) -> None:
        """No pass until `settle`."""
        if self._is_started:
            gc.disable()

    def settle(self) -> None:
        """What is there by now stays: no pass looks at it."""
        if self._is_started:
            gc.freeze()
            gc.enable()

    def close(self) -> None:
        """As it was before."""
        if self._is_started:
            self._is_started = False
            gc.callbacks.remove(self._told)
            gc.set_threshold(*self._former)
            gc.unfreeze()
            gc.enable()

    def _told(self, phase: str, info: dict[str, int]) -> None:
        """Of the beginning and of the end of a pass."""
        if phase == "start":
            self._began = time.thread_time_ns()
            return
        gc.freeze()
        microseconds = (time.thread_time_ns() - self._began) // 1000
        self._row.add(WORKER_GC_PASSES, 1)
        self._row.add(WORKER_GC_MICROSECONDS, microseconds)
        longer = microseconds - self._row.get(WORKER_GC_LONGEST)
        if longer > 0:
            self._row.add(WORKER_GC_LONGEST, longer)
