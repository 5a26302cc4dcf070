"""CPU time, memory and descriptors of a process, read from /proc.

A process that has ended, or whose files may not be read (it runs as another user), gives what can be had and no
error: a scrape must not fail because a worker was just replaced.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from functools import cache

PROC = "/proc"

# Fields of /proc/PID/stat after the name in parentheses (proc(5)), counted from 0.
_UTIME, _STIME, _START, _VSIZE, _RSS = 11, 12, 19, 20, 21


@dataclass(frozen=True, slots=True)
class ProcessUse:
    """Seconds, bytes and counts; None where it could not be read."""

    cpu: float
    resident: int
    virtual: int
    started_at: float  # seconds since the epoch
    open_fds: int | None
    max_fds: int | None


def read_process(pid: int) -> ProcessUse | None:
    fields = _stat(pid)
    if not fields:
        return None
    ticks = os.sysconf("SC_CLK_TCK")
    return ProcessUse(
        cpu=_cpu(fields),
        resident=int(fields[_RSS]) * os.sysconf("SC_PAGE_SIZE"),
        virtual=int(fields[_VSIZE]),
        started_at=_boot_time() + int(fields[_START]) / ticks,
        open_fds=_open_fds(pid),
        max_fds=_max_fds(pid),
    )


def read_cpu(pid: int) -> float | None:
    """Seconds of processor time, without the cost of the rest."""
    fields = _stat(pid)
    return _cpu(fields) if fields else None


def _stat(pid: int) -> list[bytes]:
    """Of /proc/PID/stat, behind the name; empty where there is no such process."""
    try:
        with open(f"{PROC}/{pid}/stat", "rb") as file:
            # The name may hold spaces and parentheses, so the fields begin after the last one.
            return file.read().rpartition(b")")[2].split()
    except OSError:
        return []


def _cpu(fields: list[bytes]) -> float:
    return (int(fields[_UTIME]) + int(fields[_STIME])) / os.sysconf("SC_CLK_TCK")


@cache
def _boot_time() -> float:
    with open(f"{PROC}/stat", "rb") as file:
        for line in file:
            if line.startswith(b"btime "):
                return float(line.split()[1])
    return 0.0


def _open_fds(pid: int) -> int | None:
    try:
        return len(os.listdir(f"{PROC}/{pid}/fd"))
    except OSError:
        return None


def _max_fds(pid: int) -> int | None:
    try:
        with open(f"{PROC}/{pid}/limits", "rb") as file:
            for line in file:
                if line.startswith(b"Max open files"):
                    soft = line.split()[3]
                    return int(soft) if soft.isdigit() else None
    except OSError:
        return None
    return None
