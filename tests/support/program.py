"""Programs that tests start: hivemesh itself, and real peers such as nginx.

A program's output goes to a file, so a full pipe never blocks it and a failing test can show it. Programs are ended
by their process id, never by name.
"""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from http.client import HTTPConnection, HTTPResponse
from pathlib import Path

from ports import split_address
from waiting import PATIENCE, eventually

ROOT = Path(__file__).resolve().parents[2]
STOP_TIMEOUT = 20 * PATIENCE


class Program:
    """A running process. `is_ready` is asked until it says yes; a process that ends first fails with its output."""

    def __init__(
        self,
        command: Sequence[str],
        directory: Path,
        is_ready: Callable[[], bool],
        name: str,
        env: dict[str, str] | None = None,
    ) -> None:
        self.name = name
        self.output = directory / f"{name}.output"
        with self.output.open("wb") as output:
            self.process = subprocess.Popen(
                command,
                cwd=ROOT,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                env={**os.environ, **(env or {})},
            )
        self.pid = self.process.pid
        try:
            eventually(lambda: self._has_ended() or is_ready(), f"{name} is ready")
        except AssertionError as error:
            self.kill()
            raise AssertionError(f"{error}\n{self.log()}") from None
        if self._has_ended():
            raise AssertionError(f"{name} ended with {self.process.returncode} before it was ready:\n{self.log()}")

    def __enter__(self) -> Program:
        return self

    def __exit__(self, *unused: object) -> None:
        self.stop()

    def log(self) -> str:
        return self.output.read_text(errors="replace")

    def signal(self, number: signal.Signals) -> None:
        self.process.send_signal(number)

    def wait(self, timeout: float = STOP_TIMEOUT) -> int:
        """The exit code."""
        return self.process.wait(timeout)

    def stop(self) -> int:
        """SIGTERM, and SIGKILL to what ignores it; the exit code."""
        if not self._has_ended():
            self.process.terminate()
            try:
                self.process.wait(STOP_TIMEOUT)
            except subprocess.TimeoutExpired:
                self.kill()
                raise AssertionError(
                    f"{self.name} did not end within {STOP_TIMEOUT} s of SIGTERM:\n{self.log()}"
                ) from None
        return self.process.returncode

    def kill(self) -> None:
        if not self._has_ended():
            self.process.kill()
            self.process.wait()

    def _has_ended(self) -> bool:
        return self.process.poll() is not None


class Hivemesh(Program):
    """The real program, `python -m proxy run -c FILE`, ready when its admin API says so."""

    def __init__(self, config_text: str, directory: Path, admin: str, arguments: Sequence[str] = ()) -> None:
        self.config_file = directory / "hivemesh.yaml"
        self.config_file.write_text(config_text)
        self.admin = admin
        command = [sys.executable, "-m", "proxy", "run", "-c", str(self.config_file), *arguments]
        super().__init__(command, directory, self.is_ready, "hivemesh")

    def is_ready(self) -> bool:
        try:
            return self.api("GET", "/readyz").status == 200
        except OSError:
            return False

    @contextmanager
    def paused(self) -> Iterator[None]:
        """The agent and the workers stand still inside the block."""
        children = self.children()
        for child in children:
            os.kill(child, signal.SIGSTOP)
        try:
            yield
        finally:
            for child in children:
                os.kill(child, signal.SIGCONT)

    def children(self) -> list[int]:
        """Process ids of the agent and the workers."""
        return [int(pid) for pid in Path(f"/proc/{self.pid}/task/{self.pid}/children").read_text().split()]

    def api(self, method: str, path: str, body: bytes | None = None) -> HTTPResponse:
        """A request to the admin API; the response is read whole."""
        connection = HTTPConnection(*split_address(self.admin), timeout=10 * PATIENCE)
        try:
            connection.request(method, path, body)
            response = connection.getresponse()
            response.text = response.read().decode()  # type: ignore[attr-defined]
            return response
        finally:
            connection.close()

    def command(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        """Run `hivemesh ARGUMENTS` against this instance."""
        return subprocess.run(
            [sys.executable, "-m", "proxy", "--admin", f"http://{self.admin}", *arguments],
            cwd=ROOT,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=30 * PATIENCE,
        )


def run_hivemesh(config_text: str, directory: Path, admin: str) -> Hivemesh:
    """Start hivemesh with `config_text`, whose admin address is `admin`, and wait until it is ready."""
    return Hivemesh(config_text, directory, admin)


def installed(program: str) -> str | None:
    """The path of a program of the system, also from the directories that only root has in PATH."""
    return shutil.which(program, path=os.pathsep.join([os.environ.get("PATH", ""), "/usr/sbin", "/sbin"]))
