"""Waking the other workers: each of them is told, and nobody else is harmed."""

from __future__ import annotations

import os
import signal

from proxy.kernel.cells import Table
from proxy.stats.slots import WORKER_PID, WORKER_SLOT, table_size
from proxy.upstream.bell import SIGNAL, Bell


def table_of(*pids: int) -> Table:
    fd = os.memfd_create("statistics")
    os.ftruncate(fd, table_size(len(pids), 4))
    table = Table(fd, len(pids), 4)
    os.close(fd)
    for worker, pid in enumerate(pids):
        table.slot(worker, WORKER_SLOT).add(WORKER_PID, pid)
    return table


def child(listens: bool) -> tuple[int, int]:
    """A process that waits for the bell, if it `listens`, and then ends with 7; pid, and a pipe that says "ready"."""
    reading, writing = os.pipe()
    pid = os.fork()
    if pid == 0:
        if listens:
            signal.pthread_sigmask(signal.SIG_BLOCK, [SIGNAL])
        os.write(writing, b".")
        if listens:
            signal.sigwait([SIGNAL])
            os._exit(7)
        signal.pause()
    os.close(writing)
    return pid, reading


def test_every_other_worker_is_woken() -> None:
    children = [child(listens=True) for _ in range(2)]
    for _, ready in children:
        assert os.read(ready, 1) == b"."
        os.close(ready)
    Bell(table_of(os.getpid(), *(pid for pid, _ in children))).ring()
    assert [os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) for pid, _ in children] == [7, 7]


def test_who_does_not_know_the_bell_goes_on() -> None:
    pid, ready = child(listens=False)
    os.read(ready, 1)
    os.close(ready)
    Bell(table_of(os.getpid(), pid)).ring()
    os.kill(pid, signal.SIGTERM)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == -signal.SIGTERM


def test_a_worker_that_is_gone_or_has_not_begun_is_passed_over() -> None:
    pid = os.fork()
    if pid == 0:
        os._exit(0)
    os.waitpid(pid, 0)
    Bell(table_of(os.getpid(), pid, 0)).ring()
