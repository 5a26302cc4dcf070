"""Processes under measurement: started on a core, watched as a tree, ended by their ids.

A proxy is a whole tree: HAProxy is one process, nginx a master and a worker, hivemesh a supervisor, an agent and a
worker. CPU time comes from /proc/PID/task/*/schedstat, which counts nanoseconds of user and system together (the
utime + stime of /proc/PID/stat are the same sum cut to ticks of 10 ms); children that ended are added from the
cutime + cstime of their parent. Never signals a process that it did not start or that is not of such a tree.
"""

from __future__ import annotations

import os
import signal
import subprocess
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

PROC: Final = Path("/proc")
TICKS_PER_S: Final = os.sysconf("SC_CLK_TCK")

# A proxy that does not end within this after SIGTERM is killed; nothing of the measurement depends on how it ends.
END_TIMEOUT: Final = 5.0
POLL: Final = 0.02


@dataclass(frozen=True, slots=True)
class Stat:
    """Fields of /proc/PID/stat, times in seconds."""

    parent: int
    user: float
    system: float
    reaped: float  # user and system of children that ended and were waited for


@dataclass(frozen=True, slots=True)
class Memory:
    """Bytes, from smaps_rollup. `private` is what would be freed if the process ended."""

    pss: int
    rss: int
    private: int


def parse_stat(text: str) -> Stat:
    # The name of the program stands in parentheses and may itself hold spaces and parentheses.
    fields = text[text.rindex(")") + 2 :].split()
    user, system, reaped_user, reaped_system = (int(field) / TICKS_PER_S for field in fields[11:15])
    return Stat(int(fields[1]), user, system, reaped_user + reaped_system)


def parse_smaps_rollup(text: str) -> Memory:
    sizes: dict[str, int] = {}
    for line in text.splitlines():
        name, _, rest = line.partition(":")
        words = rest.split()
        if len(words) == 2 and words[1] == "kB":
            sizes[name] = int(words[0]) * 1024
    private = sizes["Private_Clean"] + sizes["Private_Dirty"]
    return Memory(sizes["Pss"], sizes["Rss"], private)


def descendants(root: int, parents: dict[int, int]) -> list[int]:
    """`root` and everything below it, from a table of parent by process."""
    children: dict[int, list[int]] = {}
    for pid, parent in parents.items():
        children.setdefault(parent, []).append(pid)
    found = [root]
    for pid in found:
        found.extend(children.get(pid, ()))
    return found


def _stats() -> dict[int, Stat]:
    stats = {}
    for entry in PROC.iterdir():
        if entry.name.isdigit():
            try:
                stats[int(entry.name)] = parse_stat((entry / "stat").read_text())
            except (FileNotFoundError, ProcessLookupError):
                continue
    return stats


def _on_cpu(pid: int) -> float:
    """Seconds that the threads of a process have run."""
    total = 0
    for task in (PROC / str(pid) / "task").iterdir():
        total += int((task / "schedstat").read_text().split()[0])
    return total / 1e9


def tree_cpu(root: int) -> float:
    """Seconds of user and system time that a whole tree has used, precise to the microsecond."""
    stats = _stats()
    total = 0.0
    for pid in descendants(root, {pid: stat.parent for pid, stat in stats.items()}):
        try:
            total += _on_cpu(pid) + stats[pid].reaped
        except (FileNotFoundError, ProcessLookupError, KeyError):
            continue
    return total


class Started:
    """A process tree that this program started. Use as a context manager; leaving it ends the tree."""

    def __init__(self, argv: Sequence[str], core: int, cwd: Path, output: Path) -> None:
        self.output = output
        with output.open("ab") as sink:
            self._process = subprocess.Popen(
                ("taskset", "-c", str(core), *argv),
                cwd=cwd,
                stdin=subprocess.DEVNULL,
                stdout=sink,
                stderr=subprocess.STDOUT,
                # An interrupt from the terminal reaches only us, and we end the tree in order.
                start_new_session=True,
            )
        self.pid = self._process.pid

    def __enter__(self) -> Started:
        return self

    def __exit__(self, *_: object) -> None:
        self.end()

    @property
    def has_ended(self) -> bool:
        return self._process.poll() is not None

    def last_words(self, lines: int = 8) -> str:
        text = self.output.read_text(errors="replace") if self.output.exists() else ""
        return "\n".join(text.splitlines()[-lines:])

    def pids(self) -> list[int]:
        return descendants(self.pid, {pid: stat.parent for pid, stat in _stats().items()})

    def cpu(self) -> float:
        return tree_cpu(self.pid)

    def user_and_system(self) -> tuple[float, float]:
        """The same split in two, in whole ticks."""
        stats = _stats()
        tree = descendants(self.pid, {pid: stat.parent for pid, stat in stats.items()})
        mine = [stats[pid] for pid in tree if pid in stats]
        return sum(stat.user for stat in mine), sum(stat.system for stat in mine)

    def memory(self) -> dict[int, Memory]:
        found = {}
        for pid in self.pids():
            try:
                found[pid] = parse_smaps_rollup((PROC / str(pid) / "smaps_rollup").read_text())
            except (FileNotFoundError, ProcessLookupError, KeyError):
                continue
        return found

    def data_process(self) -> int:
        """The process that holds the client connections: the one with the most descriptors."""
        return max(self.pids(), key=_descriptors)

    def end(self) -> None:
        """SIGTERM to the root, then SIGKILL to whatever of the tree is left."""
        tree = self.pids()
        if not self.has_ended:
            self._process.terminate()
            try:
                self._process.wait(END_TIMEOUT)
            except subprocess.TimeoutExpired:
                tree = self.pids()
        _kill(pid for pid in tree if pid != self.pid and _descends_from_session(pid, self.pid))
        if not self.has_ended:
            self._process.kill()
        self._process.wait()


def _descriptors(pid: int) -> int:
    try:
        return len(os.listdir(PROC / str(pid) / "fd"))
    except (FileNotFoundError, ProcessLookupError):
        return 0


def _descends_from_session(pid: int, session: int) -> bool:
    """An id may have been given to a stranger meanwhile; a stranger is not of our session."""
    try:
        return os.getsid(pid) == session
    except ProcessLookupError:
        return False


def _kill(pids: Iterable[int]) -> None:
    for pid in pids:
        try:
            os.kill(pid, signal.SIGKILL)
        except ProcessLookupError:
            continue


def core_busy(core: int) -> float:
    """Seconds that a core has been busy with anything since boot, in whole ticks."""
    for line in (PROC / "stat").read_text().splitlines():
        if line.startswith(f"cpu{core} "):
            fields = [int(field) for field in line.split()[1:9]]
            user, nice, system, _idle, _iowait, irq, softirq, steal = fields
            return (user + nice + system + irq + softirq + steal) / TICKS_PER_S
    raise ValueError(f"no core {core} in /proc/stat")


def wait_until(condition: Callable[[], bool], timeout: float) -> bool:
    """Poll `condition()` until it holds; False when `timeout` seconds went by first."""
    deadline = time.monotonic() + timeout
    while not condition():
        if time.monotonic() > deadline:
            return False
        time.sleep(POLL)
    return True
