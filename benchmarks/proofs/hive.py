"""The hivemesh of a proof: the real program with its processes, on ports of its own, in a folder of its own.

What the proof asks of it goes through its public surfaces: the file, signals, the admin API, /metrics, and the events
that it writes to standard error. Never kills a process that it did not start.
"""

from __future__ import annotations

import contextlib
import itertools
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from http.client import HTTPConnection
from pathlib import Path
from typing import Any, Final, TypeVar

from prometheus_client.parser import text_string_to_metric_families

from benchmarks.proofs.evidence import MissingTool, ProofError

CHECKOUT: Final = Path(__file__).resolve().parents[2]
HOST: Final = "127.0.0.1"

# For proofs whose endpoints fail all the time and are to be met all the same: no breaker, and no limits either.
NO_BREAKER: Final[dict[str, Any]] = {
    "consecutive_errors": 0,
    "success_rate": False,
    "max_connections": 0,
    "max_pending_requests": 0,
    "max_requests": 0,
    "max_retries": 0,
}

# Below the range that the kernel takes for outgoing connections.
FIRST_PORT: Final = 24_000
LAST_PORT: Final = 32_000

READY_LIMIT: Final = 120.0
STOP_LIMIT: Final = 20.0
API_LIMIT: Final = 120.0
POLL: Final = 0.02

T = TypeVar("T")
Json = dict[str, Any]

_ports = itertools.count(os.getpid() * 53)


def free_port() -> int:
    """A TCP port of loopback that nobody listens on; another one at each call."""
    for _ in range(LAST_PORT - FIRST_PORT):
        port = FIRST_PORT + next(_ports) % (LAST_PORT - FIRST_PORT)
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind((HOST, port))
            except OSError:
                continue
            return port
    raise ProofError(f"no free port between {FIRST_PORT} and {LAST_PORT}")


def eventually(condition: Callable[[], T | None], what: str, limit: float) -> T:
    """The first true value of `condition()`; ProofError naming `what` after `limit` seconds without one."""
    deadline = time.monotonic() + limit
    while not (value := condition()):
        if time.monotonic() > deadline:
            raise ProofError(f"not within {limit:g} s: {what} (last: {value!r})")
        time.sleep(POLL)
    return value


def tool(name: str, package: str) -> str:
    """The path of a program of the system. MissingTool says which Debian package brings it."""
    path = shutil.which(name, path=os.pathsep.join([os.environ.get("PATH", ""), "/usr/sbin", "/sbin"]))
    if path is None:
        raise MissingTool(f"{name} is not installed (on Debian: apt install {package})")
    return path


def endpoints(*ports: int) -> list[Json]:
    return [{"id": f"e{number}", "address": f"{HOST}:{port}"} for number, port in enumerate(ports, start=1)]


class Hive:
    """`config` needs neither admin nor access_log: these are filled in. Use as a context manager."""

    def __init__(self, config: Mapping[str, Any], folder: Path, env: Mapping[str, str] | None = None) -> None:
        """`env`: variables that its processes have besides ours."""
        self.admin = free_port()
        self.file = folder / "hivemesh.yaml"
        self.error_log = folder / "errors.log"
        self.output = folder / "hivemesh.output"
        self.write(self.complete(config))
        with self.output.open("wb") as output:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "proxy", "run", "-c", str(self.file)],
                cwd=CHECKOUT,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,  # a group of its own, see stop
                env={**os.environ, **(env or {})},
            )
        try:
            eventually(self._is_ready, "hivemesh is ready", READY_LIMIT)
        except BaseException as error:
            self.stop()
            raise ProofError(f"{error}\n{self.last_words()}") from None

    def __enter__(self) -> Hive:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: object) -> None:
        self.stop()
        if isinstance(error, ProofError):
            error.add_note(f"hivemesh's log: {self.bugs()[:3] or 'no bug'}\n{self.last_words()}")

    @property
    def pid(self) -> int:
        """Of the supervisor, the root of all its processes."""
        return self._process.pid

    def complete(self, config: Mapping[str, Any]) -> Json:
        """With the admin address, and a log of the requests that went wrong."""
        return {
            "workers": 1,
            "admin": {"address": f"{HOST}:{self.admin}"},
            "access_log": {"path": str(self.error_log), "format": "json", "min_status": 400},
            **config,
        }

    def write(self, config: Mapping[str, Any] | str) -> None:
        """Replace the file in one step, as editors and configuration tools do."""
        text = config if isinstance(config, str) else json.dumps(config, indent=1)  # JSON is YAML
        fresh = self.file.with_suffix(".new")
        fresh.write_text(text)
        fresh.replace(self.file)

    def hang_up(self) -> None:
        self._process.send_signal(signal.SIGHUP)

    def upgrade(self) -> None:
        self._process.send_signal(signal.SIGUSR2)

    def api(self, method: str, path: str) -> tuple[int, str]:
        connection = HTTPConnection(HOST, self.admin, timeout=API_LIMIT)
        try:
            connection.request(method, path)
            response = connection.getresponse()
            return response.status, response.read().decode()
        finally:
            connection.close()

    def problems(self) -> list[Json]:
        found: list[Json] = json.loads(self.api("GET", "/v1/problems")[1])
        return found

    def worker(self) -> int:
        """The process id of the one worker."""
        return self.workers()[0]

    def workers(self) -> list[int]:
        """The process ids of all."""
        return [int(worker["pid"]) for worker in json.loads(self.api("GET", "/v1/workers")[1])]

    def metric(self, name: str, **labels: str) -> float:
        """The sum of all samples of `name` whose labels include `labels`."""
        return sum(
            value for found, having, value in self.metrics() if found == name and labels.items() <= having.items()
        )

    def metrics(self) -> Iterator[tuple[str, dict[str, str], float]]:
        for family in text_string_to_metric_families(self.api("GET", "/metrics")[1]):
            for sample in family.samples:
                yield sample.name, sample.labels, sample.value

    def events(self) -> list[Json]:
        found = []
        for line in self.output.read_text(errors="replace").splitlines():
            with contextlib.suppress(ValueError):
                event = json.loads(line)
                if isinstance(event, dict) and "event" in event:
                    found.append(event)
        return found

    def count(self, name: str) -> int:
        """How many events of that name there are."""
        return sum(event["event"] == name for event in self.events())

    def bugs(self) -> list[str]:
        """Events and tracebacks that only a bug of hivemesh leaves."""
        text = self.output.read_text(errors="replace")
        found = [json.dumps(event) for event in self.events() if event["event"] == "bug"]
        found += [f"worker exited with {event['status']}" for event in self._ends() if event.get("status")]
        return found + ["a traceback in the log"] * text.count("Traceback (most recent call last)")

    def last_words(self, lines: int = 15) -> str:
        return "\n".join(self.output.read_text(errors="replace").splitlines()[-lines:])

    def logged(self) -> list[Json]:
        """The access log: requests that were answered 400 or higher. Workers write it several times a second."""
        if not self.error_log.exists():
            return []
        return [json.loads(line) for line in self.error_log.read_text().split("\n")[:-1]]

    def errors(self, most: int = 5) -> list[str]:
        """Why the first few of them were."""
        wanted = ("method", "path", "status", "flags", "flag_details", "endpoint", "attempts", "retry_denied")
        return [" ".join(str(entry[key]) for key in wanted if entry.get(key)) for entry in self.logged()[:most]]

    def has_ended(self) -> bool:
        return self._process.poll() is not None

    def stop(self) -> int:
        """SIGTERM, and SIGKILL to all that is left; the exit code."""
        if self._process.poll() is None:
            self._process.terminate()
            with contextlib.suppress(subprocess.TimeoutExpired):
                self._process.wait(STOP_LIMIT)
        # A worker that spins would outlive its supervisor.
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self._process.pid, signal.SIGKILL)
        return self._process.wait()

    def _ends(self) -> Sequence[Json]:
        return [event for event in self.events() if event["event"] in ("worker exited", "former worker exited")]

    def _is_ready(self) -> bool:
        if self._process.poll() is not None:
            raise ProofError(f"hivemesh ended with {self._process.returncode} before it was ready")
        try:
            return self.api("GET", "/readyz")[0] == 200
        except OSError:
            return False
