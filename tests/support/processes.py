"""hivemesh as the processes it is: a program whose file, signals, events and children a test has in its hand."""

from __future__ import annotations

import json
import socket
import subprocess
import sys
import threading
from collections.abc import Mapping, Sequence
from http.client import HTTPConnection, RemoteDisconnected
from pathlib import Path
from typing import Any

from ports import free_address, split_address
from program import ROOT, Program
from waiting import eventually


class Hive(Program):
    """hivemesh with a configuration that tests edit in place; `write` saves it."""

    def __init__(
        self,
        directory: Path,
        config: dict[str, Any],
        start: Sequence[str] = (sys.executable, "-m", "proxy"),
        options: Sequence[str] = (),
        env: dict[str, str] | None = None,
    ) -> None:
        """`start` is how the program is started, up to its arguments; `options` are more for `run`."""
        self.config = config
        self.file = directory / "hivemesh.yaml"
        self.write()
        arguments = [*start, "run", "-c", str(self.file), *options]
        super().__init__(arguments, directory, lambda: "started" in self.events(), "hivemesh", env)

    def write(self, text: str | None = None) -> None:
        """Save the configuration, or `text`, as careful programs do: a new file renamed over the old one."""
        fresh = self.file.with_suffix(".new")
        fresh.write_text(json.dumps(self.config) if text is None else text)
        fresh.rename(self.file)

    def entries(self) -> list[dict[str, Any]]:
        return [json.loads(line) for line in self.log().splitlines() if line.startswith("{") and line.endswith("}")]

    def events(self) -> list[str]:
        return [entry["event"] for entry in self.entries()]

    def await_event(self, event: str, count: int = 1) -> dict[str, Any]:
        """The `count`-th entry of that name, waited for."""

        def found() -> dict[str, Any] | None:
            entries = [entry for entry in self.entries() if entry["event"] == event]
            return entries[count - 1] if len(entries) >= count else None

        # An upgrade starts half a dozen interpreters, which on a busy machine takes a while.
        return eventually(found, f"event {event!r} number {count}", 40.0)

    def children(self) -> dict[str, int]:
        """The pids of the agent and of the workers by number."""
        found = {}
        for pid in children_of(self.pid):
            try:
                line = Path(f"/proc/{pid}/cmdline").read_text().split("\0")
            except OSError:
                continue  # it has ended meanwhile
            if "proxy.control.agent" in line:
                found["agent"] = pid
            elif "--worker" in line:
                found[f"worker {line[line.index('--worker') + 1]}"] = pid
        return found

    def get(self, address: str | None = None) -> str:
        """The body of an answer on a new connection."""
        return http("GET", address or self.config["listeners"][0]["address"], "/")[1]

    def admin(self, method: str, path: str, body: object = None) -> tuple[int, str]:
        return http(method, self.config["admin"]["address"], path, body)

    def problems(self) -> list[str]:
        """Their messages; warnings apart."""
        found = json.loads(self.admin("GET", "/v1/problems")[1])
        return [problem["message"] for problem in found if problem.get("severity") != "warning"]

    def answers(self, body: str, address: str | None = None) -> None:
        eventually(lambda: self.get(address) == body, f"the answer is {body!r}")


def http(method: str, address: str, path: str, body: object = None) -> tuple[int, str]:
    connection = HTTPConnection(*split_address(address), timeout=10)
    try:
        connection.request(method, path, None if body is None else json.dumps(body))
        response = connection.getresponse()
        return response.status, response.read().decode()
    finally:
        connection.close()


def command(file: Path) -> list[str]:
    return [sys.executable, "-m", "proxy", "run", "-c", str(file)]


def answering(body: str) -> dict[str, Any]:
    return {"name": body, "filters": [{"direct_response": {"status": 200, "body": body}}]}


def listener(name: str, *routes: Mapping[str, Any]) -> dict[str, Any]:
    return {"name": name, "address": free_address(), "routes": list(routes)}


def fail_to_start(tmp_path: Path, config: Mapping[str, Any] | str, *options: str) -> subprocess.CompletedProcess[str]:
    file = tmp_path / "hivemesh.yaml"
    file.write_text(config if isinstance(config, str) else json.dumps(config))
    return subprocess.run(
        [*command(file), *options],
        cwd=ROOT,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )


def children_of(pid: int) -> list[int]:
    return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def name_of(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/comm").read_text().strip()
    except OSError:
        return ""


class Load:
    """Requests on new and on kept connections, without a pause, from threads of its own."""

    def __init__(self, address: str, threads: int = 4, path: str = "/") -> None:
        self.failures: list[str] = []
        self.answered = 0
        self._address = address
        self._path = path
        self._stop = threading.Event()
        self._lock = threading.Lock()
        self._threads = [threading.Thread(target=self._run, args=(number,)) for number in range(threads)]

    def __enter__(self) -> Load:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        for thread in self._threads:
            thread.join()

    def goes_on(self, count: int = 100) -> None:
        """Wait until so many more requests have been answered."""
        wanted = self.answered + count
        eventually(lambda: self.answered >= wanted, f"{count} more answers")

    def _run(self, number: int) -> None:
        per_connection = 1 + 9 * (number % 2)
        while not self._stop.is_set():
            connection = HTTPConnection(*split_address(self._address), timeout=10)
            answered = 0
            try:
                for _ in range(per_connection):
                    connection.request("GET", self._path)
                    response = connection.getresponse()
                    response.read()
                    answered += 1
                    with self._lock:
                        self.answered += 1
                    if response.status != 200:
                        self.failures.append(f"status {response.status}")
                    if response.will_close:
                        break
            except RemoteDisconnected:
                # A connection that was idle may be closed: a client asks again on another.
                if answered == 0:
                    self.failures.append("closed without an answer")
            except OSError as error:
                self.failures.append(repr(error))
            finally:
                connection.close()


def is_refused(address: str) -> bool:
    try:
        socket.create_connection(split_address(address), timeout=1).close()
    except OSError:
        return True
    return False


def is_alive(pid: int) -> bool:
    return state_of(pid) not in ("Z", "")


def state_of(pid: int) -> str:
    """The letter of proc(5), "" for a process that is gone."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except OSError:
        return ""
