"""Waking the other workers when one of them has what we wait for, or waits for what we have.

A signal to each of them, because it needs nothing that would have to be handed from process to process, and is rare:
only a service whose connections are limited over all workers rings, when a request has to wait while others hold idle
connections, and when a connection ends for which others wait. SIGURG, because a process that knows nothing of it, such
as one that has got the number of a worker that ended, ignores it (signal(7)). Whoever misses the bell looks within
a tick.
"""

from __future__ import annotations

import contextlib
import os
import signal

from proxy.kernel.cells import Table
from proxy.stats.slots import WORKER_PID, WORKER_SLOT

SIGNAL = signal.SIGURG


class Bell:
    def __init__(self, table: Table) -> None:
        self.table = table

    def ring(self) -> None:
        ours = os.getpid()
        for worker in range(self.table.workers):
            pid = self.table.slot(worker, WORKER_SLOT).get(WORKER_PID)
            if pid > 1 and pid != ours:
                with contextlib.suppress(OSError):
                    os.kill(pid, SIGNAL)
