"""The processes of a hivemesh, found by their session: sizes by a thread, now and then; who is left at the end."""

from __future__ import annotations

import os
import threading
import time
from pathlib import Path
from typing import Final, NamedTuple

from benchmarks.compare.processes import parse_smaps_rollup
from benchmarks.soak.slope import Sample


class Process(NamedTuple):
    pid: int
    parent: int
    born: int
    state: str
    role: str


def of_session(session: int) -> list[Process]:
    """All processes of the session, zombies too."""
    found = []
    for name in os.listdir("/proc"):
        if not name.isdigit():
            continue
        try:
            stat = Path(f"/proc/{name}/stat").read_text()
            # The name of the program is in parentheses and may hold anything.
            fields = stat.rpartition(")")[2].split()
            if int(fields[3]) != session:
                continue
            command = Path(f"/proc/{name}/cmdline").read_bytes().decode(errors="replace").split("\0")
        except (OSError, IndexError):
            continue
        # After an upgrade the command line of the supervisor is another one.
        role = "supervisor" if int(name) == session else role_of(command)
        found.append(Process(int(name), int(fields[1]), int(fields[19]), fields[0], role))
    return found


def role_of(command: list[str]) -> str:
    if "--worker" in command:
        return f"worker {command[command.index('--worker') + 1]}"
    if any("proxy.control.agent" in word for word in command):
        return "agent"
    return "other"


class Sampler:
    """Samples of all processes of the session, every `every` seconds. Use as a context manager."""

    def __init__(self, session: int, every: float) -> None:
        self._session = session
        self._every = every
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._look_often, daemon=True)
        self.samples: list[Sample] = []
        self.cpu: dict[tuple[int, int], float] = {}  # seconds used, by process

    def __enter__(self) -> Sampler:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._thread.join()

    def look(self, now: float) -> list[Sample]:
        """Samples of this moment, which are not kept."""
        found = []
        for process in of_session(self._session):
            try:
                memory = parse_smaps_rollup(Path(f"/proc/{process.pid}/smaps_rollup").read_text())
                pipes, descriptors = descriptors_of(process.pid)
                ran = Path(f"/proc/{process.pid}/stat").read_text().rpartition(")")[2].split()
            except (OSError, KeyError, ValueError):
                continue  # it has ended meanwhile
            found.append(Sample(now, process.pid, process.born, process.role, memory.private, descriptors, pipes))
            self.cpu[(process.pid, process.born)] = (int(ran[11]) + int(ran[12])) / TICKS
        return found

    def _look_often(self) -> None:
        while not self._over.wait(self._every):
            self.samples += self.look(time.monotonic())


def descriptors_of(pid: int) -> tuple[int, int]:
    """How many are pipes, and how many are not. Raises OSError."""
    pipes = others = 0
    with os.scandir(f"/proc/{pid}/fd") as found:
        for entry in found:
            try:
                is_pipe = os.readlink(entry.path).startswith("pipe:")
            except FileNotFoundError:
                continue  # closed meanwhile
            pipes += is_pipe
            others += not is_pipe
    return pipes, others


TICKS: Final = os.sysconf("SC_CLK_TCK")
