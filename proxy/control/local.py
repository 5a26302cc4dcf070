"""A worker in this very process: the same `Worker`, reached over a channel that hands messages over as they are.

Used for `workers: 0` and by `Embedded`.
"""

from __future__ import annotations

import asyncio
import os
import socket

from proxy.control.channel import Message, local_pair
from proxy.control.fleet import Fleet
from proxy.control.worker import PlaneFactory, Worker
from proxy.kernel.cells import Table


def connect_local(loop: asyncio.AbstractEventLoop, fleet: Fleet, plane: PlaneFactory, table: Table) -> Worker:
    """Make worker 0 here and connect it. It says `Drained` when it has ended, as every worker does."""
    worker = Worker(loop, plane, number=0, table=table, ended=lambda: None)

    def to_agent(message: Message, _: socket.socket | None) -> None:
        fleet.receive(0, message)

    agent_end, worker_end = local_pair(loop, to_agent, worker.receive)
    fleet.connect(0, os.getpid(), agent_end)
    worker.attach(worker_end)
    return worker
