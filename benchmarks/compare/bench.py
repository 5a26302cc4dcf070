"""The bench: one origin of a kind, and proxies in front of it, one at a time.

The origin and the load generator share a core (so does this program); the proxy has the other core alone. Every
start gets a new port and a new folder, so that nothing of an earlier start is met again. Everything listens on
loopback and is ended when the bench is left.
"""

from __future__ import annotations

import os
import random
import shutil
import socket
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from benchmarks.compare import origins
from benchmarks.compare.contenders.contender import Contender, Setup
from benchmarks.compare.load import LoadFailed
from benchmarks.compare.origins import Origin
from benchmarks.compare.processes import Started, wait_until
from benchmarks.compare.traffic import Request, Scenario, fifty_routes

PROXY_CORE: Final = 0
LOAD_CORE: Final = 1

# Below the range that the kernel takes client ports from, so that no connection of ours occupies one.
PORTS: Final = range(20100, 32000)

# Ten thousand routes take a proxy a while to read.
READY_TIMEOUT: Final = 30.0


class StartFailed(Exception):
    """A proxy ended or did not answer in time after it was started."""


@dataclass(frozen=True, slots=True)
class Lane:
    """One row of a work: a contender in one way of being configured."""

    label: str
    contender: Contender
    scenario: Callable[[Sequence[int]], Scenario] = fifty_routes
    access_log: bool = False
    origin: Origin = origins.WEB


@dataclass(slots=True)
class Running:
    lane: Lane
    setup: Setup
    process: Started
    # Requests that the load generators had answered; what the access log must account for.
    answered: int = field(default=0)

    @property
    def requests(self) -> tuple[Request, ...]:
        return self.setup.scenario.requests


class Bench:
    """Use as a context manager. `seconds` is how long one sample takes."""

    def __init__(self, seconds: float, smoke: bool) -> None:
        self.seconds = seconds
        self.smoke = smoke
        self.notes: dict[str, float] = {}
        self._folder = Path(tempfile.mkdtemp(prefix="hivemesh-compare-"))
        self._folder.chmod(0o755)  # nginx's worker gives up root and still wants its temporary folders
        self._starts = 0
        self._origins: dict[str, tuple[Started, list[int]]] = {}

    def __enter__(self) -> Bench:
        os.sched_setaffinity(0, {LOAD_CORE})
        try:
            self._origin_ports(origins.WEB)
        except StartFailed:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        for started, _ports in self._origins.values():
            started.end()
        shutil.rmtree(self._folder, ignore_errors=True)

    def start(self, lane: Lane) -> Running:
        """Start the lane's proxy and wait for its first good answer. The caller ends `.process`."""
        origin_ports = self._origin_ports(lane.origin)
        folder = self._new_folder(lane.label)
        port, admin_port = free_ports(2)
        setup = Setup(
            scenario=lane.scenario(origin_ports),
            port=port,
            admin_port=admin_port,
            folder=folder,
            access_log=folder / "access.log" if lane.access_log else None,
        )
        command = lane.contender.command(setup)
        process = Started(command.argv, PROXY_CORE, command.cwd, command.output)
        try:
            self._await_answer(process, lane.origin, port, setup.scenario)
        except BaseException:
            process.end()
            raise
        return Running(lane, setup, process)

    def forget(self, running: Running) -> None:
        """Remove the files of a start; access logs are large."""
        shutil.rmtree(running.setup.folder, ignore_errors=True)

    def scratch(self) -> Path:
        """A folder for the files of a load generator."""
        return self._new_folder("load")

    def _new_folder(self, name: str) -> Path:
        self._starts += 1
        folder = self._folder / f"{self._starts}-{name.replace(' ', '-')}"
        folder.mkdir(mode=0o755)
        return folder

    def _origin_ports(self, origin: Origin) -> list[int]:
        """Where the origin listens; it is started when it is first wanted, and stays."""
        if not origin.ports:
            return []
        if origin.name not in self._origins:
            folder = self._new_folder(origin.name)
            ports = free_ports(origin.ports)
            try:
                argv = origin.command(ports, folder)
            except LoadFailed as problem:
                raise StartFailed(f"no {origin.name}: {problem}") from None
            started = Started(argv, LOAD_CORE, folder, folder / "output")
            self._origins[origin.name] = started, ports
            self._await_answer(started, origin, ports[0], None)
        return self._origins[origin.name][1]

    @staticmethod
    def _await_answer(process: Started, origin: Origin, port: int, scenario: Scenario | None) -> None:
        problem = ""

        def is_ready() -> bool:
            nonlocal problem
            if process.has_ended:
                return True
            problem = origin.probe(port, scenario)
            return not problem

        if not wait_until(is_ready, READY_TIMEOUT):
            raise StartFailed(f"no good answer within {READY_TIMEOUT:.0f} s (last: {problem}); {process.last_words()}")
        if process.has_ended:
            raise StartFailed(f"it ended: {process.last_words()}")


def free_ports(count: int) -> list[int]:
    """Ports that nobody listens on now. Drawn at random, so that a new start rarely meets an old one's remains."""
    found: list[int] = []
    for port in random.sample(PORTS, len(PORTS)):
        try:
            for kind in (socket.SOCK_STREAM, socket.SOCK_DGRAM):
                with socket.socket(socket.AF_INET, kind) as attempt:
                    attempt.bind(("127.0.0.1", port))
        except OSError:
            continue
        found.append(port)
        if len(found) == count:
            return found
    raise StartFailed(f"no {count} free ports between {PORTS.start} and {PORTS.stop}")
