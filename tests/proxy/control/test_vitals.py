"""The supervisor reads and writes the same cells as everyone else."""

from __future__ import annotations

import os

from proxy.control.vitals import Vitals
from proxy.kernel.cells import Table
from proxy.stats.slots import (
    AGENT_HEARTBEAT,
    WORKER_CONNECTIONS,
    WORKER_HEARTBEAT,
    WORKER_RESTARTS,
    WORKER_SLOT,
    table_size,
)


def test_it_shares_the_rows_of_the_table() -> None:
    fd = os.memfd_create("table")
    os.ftruncate(fd, table_size(2))
    table, vitals = Table(fd, 2), Vitals(fd)
    first, second = table.slot(0, WORKER_SLOT), table.slot(1, WORKER_SLOT)
    assert vitals.heartbeat(1) == 0.0

    first.add(AGENT_HEARTBEAT, 2500)
    second.add(WORKER_HEARTBEAT, 1500)
    second.add(WORKER_CONNECTIONS, 7)
    vitals.count(1, WORKER_RESTARTS)
    vitals.count(1, WORKER_RESTARTS)

    assert (vitals.heartbeat(None), vitals.heartbeat(0), vitals.heartbeat(1)) == (2.5, 0.0, 1.5)
    assert (first.get(WORKER_RESTARTS), second.get(WORKER_RESTARTS)) == (0, 2)
    vitals.reset_gauges(1)
    assert table.total(WORKER_SLOT, WORKER_CONNECTIONS) == 0
    os.close(fd)
