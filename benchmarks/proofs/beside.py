"""hivemesh and HAProxy side by side, each a TCP proxy in front of the same two servers.

What a real client does through hivemesh it does through HAProxy in the same minutes, so that the CPU of both can be
told in the same unit. That number is a note, not a claim: nothing has a core of its own here (benchmarks/compare has).
"""

from __future__ import annotations

import contextlib
import subprocess
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Final

from benchmarks.compare.contenders import haproxy
from benchmarks.compare.contenders.contender import Setup
from benchmarks.compare.processes import tree_cpu
from benchmarks.compare.traffic import Protocol, one_service
from benchmarks.proofs.evidence import Evidence, ProofError
from benchmarks.proofs.hive import HOST, READY_LIMIT, Hive, endpoints, eventually, free_port, tool
from benchmarks.proofs.peers import is_listening

STOP_LIMIT: Final = 5.0
QUIET_LIMIT: Final = 15.0

LISTENER: Final = "store"


class HAProxy:
    """One thread, mode tcp, in front of `ports`; or what `render(port, ports)` configures. Use as a context manager."""

    def __init__(
        self, folder: Path, ports: Sequence[int], render: Callable[[int, Sequence[int]], str] | None = None
    ) -> None:
        tool("haproxy", "haproxy")
        self.port = free_port()
        folder = folder / "haproxy"
        folder.mkdir()
        setup = Setup(one_service(Protocol.TCP, ports), self.port, free_port(), folder)
        command = haproxy.HAProxy().command(setup)
        if render is not None:
            (folder / "haproxy.cfg").write_text(render(self.port, ports))
        self._output = command.output
        with command.output.open("wb") as output:
            self._process = subprocess.Popen(
                command.argv, cwd=command.cwd, stdin=subprocess.DEVNULL, stdout=output, stderr=subprocess.STDOUT
            )
        self.pid = self._process.pid

    def __enter__(self) -> HAProxy:
        try:
            eventually(self._is_ready, "haproxy is ready", READY_LIMIT)
        except BaseException:
            self.stop()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def stop(self) -> None:
        if self._process.poll() is None:
            self._process.terminate()
            try:
                self._process.wait(STOP_LIMIT)
            except subprocess.TimeoutExpired:
                self._process.kill()
        self._process.wait()

    def _is_ready(self) -> bool:
        if self._process.poll() is not None:
            raise ProofError(f"haproxy ended: {self._output.read_text(errors='replace')[-500:]}")
        return is_listening(self.port)


def config(port: int, *servers: int) -> dict[str, Any]:
    """Of a hivemesh that is a TCP proxy on `port`."""
    listener = {"name": LISTENER, "address": f"{HOST}:{port}", "protocol": "tcp", "service": "store"}
    return {"listeners": [listener], "services": {"store": {"endpoints": endpoints(*servers)}}}


class Bill:
    """CPU by proxy and kind of work, over what was done of it."""

    def __init__(self) -> None:
        self._cpu: dict[tuple[str, str], float] = {}
        self._done: dict[tuple[str, str], int] = {}

    def add(self, kind: str, proxy: str, cpu: float, done: int) -> None:
        key = kind, proxy
        self._cpu[key] = self._cpu.get(key, 0.0) + cpu
        self._done[key] = self._done.get(key, 0) + done

    def note(self, evidence: Evidence) -> None:
        for kind in dict.fromkeys(kind for kind, _ in self._cpu):
            costs = {
                proxy: 1e6 * self._cpu[kind, proxy] / max(1, self._done[kind, proxy])
                for proxy in ("hivemesh", "haproxy")
            }
            words = ", ".join(f"{proxy} {cost:.1f}" for proxy, cost in costs.items())
            evidence.note(f"CPU µs, {kind}", f"{words}, ratio {costs['hivemesh'] / costs['haproxy']:.2f}")


class Spent:
    """CPU of a tree from its making to `so_far`."""

    def __init__(self, pid: int) -> None:
        self._pid = pid
        self._before = tree_cpu(pid)

    def so_far(self) -> float:
        return tree_cpu(self._pid) - self._before


def open_connections(hive: Hive) -> float:
    return hive.metric("hivemesh_downstream_connections_active", listener=LISTENER)


def judge_the_end(evidence: Evidence, hive: Hive, worker: int) -> None:
    """What is to be said of every hivemesh after its clients have gone."""

    with contextlib.suppress(ProofError):  # the claim says how many
        eventually(lambda: open_connections(hive) == 0, "no connection is open", QUIET_LIMIT)
    left = open_connections(hive)
    evidence.claim("afterwards no connection is open", left == 0, f"{left:.0f} open")
    evidence.claim("it is the same worker process", hive.worker() == worker, f"{worker}, then {hive.worker()}")
    evidence.claim("the log has no bug", not hive.bugs(), hive.bugs()[:3] or "none")
