"""What a process has while a proof runs: memory and descriptors, looked at five times a second by a thread.

Memory is from /proc/PID/smaps_rollup: PSS, and what is private to the process (USS). Both are what users see as "the
memory of the worker"; bytes in the kernel's socket buffers are in neither.
"""

from __future__ import annotations

import os
import threading
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from benchmarks.compare.processes import Memory, parse_smaps_rollup
from benchmarks.proofs.evidence import ProofError

EVERY: Final = 0.2  # seconds
MIB: Final = 1024 * 1024


def memory_of(pid: int) -> Memory:
    """Raises ProofError when the process is gone: hivemesh's events say why."""
    try:
        return parse_smaps_rollup(Path(f"/proc/{pid}/smaps_rollup").read_text())
    except (FileNotFoundError, ProcessLookupError):
        raise ProofError(f"process {pid} is gone") from None


def descriptors_of(pid: int) -> int:
    """Raises ProofError when the process is gone."""
    try:
        return len(os.listdir(f"/proc/{pid}/fd"))
    except (FileNotFoundError, ProcessLookupError):
        raise ProofError(f"process {pid} is gone") from None


@dataclass(frozen=True, slots=True)
class Growth:
    """Bytes; growth is the largest sample less the first one."""

    start: int
    growth: int
    end: int

    def __str__(self) -> str:
        return f"{self.start / MIB:.2f} MiB at the start, at most {self.growth / MIB:+.2f} MiB"


class Watch:
    """Samples from `with` to its end. The first and the last sample are taken there and then."""

    def __init__(self, pid: int) -> None:
        self._pid = pid
        self._samples: list[tuple[Memory, int]] = []
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._look_often, daemon=True)

    def __enter__(self) -> Watch:
        self._look()
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._thread.join()
        self._look()

    @property
    def samples(self) -> int:
        return len(self._samples)

    @property
    def pss(self) -> Growth:
        return _growth([memory.pss for memory, _ in self._samples])

    @property
    def private(self) -> Growth:
        return _growth([memory.private for memory, _ in self._samples])

    @property
    def most_descriptors(self) -> int:
        return max(descriptors for _, descriptors in self._samples)

    def _look(self) -> None:
        try:
            self._samples.append((memory_of(self._pid), descriptors_of(self._pid)))
        except ProofError:
            return  # a finding of its own: the events of hivemesh have it

    def _look_often(self) -> None:
        while not self._over.wait(EVERY):
            self._look()


def _growth(values: list[int]) -> Growth:
    return Growth(values[0], max(values) - values[0], values[-1])
