"""A part of a proof that runs in a process of its own: an origin, a crowd of clients.

Processes, because one interpreter can neither play both sides at once nor watch them meanwhile. A part is an
async function `part(cue, *arguments)` at the top of its module. It calls `cue.ready(value)` when it can be used, may
wait for `cue.stop`, and returns its result. The process ends with the proof, however that ends.
"""

from __future__ import annotations

import asyncio
import multiprocessing
import resource
import signal
import traceback
from collections.abc import Callable, Coroutine
from multiprocessing.connection import Connection
from types import TracebackType
from typing import Any, Final

from benchmarks.proofs.evidence import ProofError

START_LIMIT: Final = 60.0
FINISH_LIMIT: Final = 60.0
KILL_LIMIT: Final = 5.0

_processes = multiprocessing.get_context("spawn")


class Cue:
    """What a part sees of the proof that started it."""

    def __init__(self, link: Connection) -> None:
        self._link = link
        self.stop = asyncio.Event()
        asyncio.get_running_loop().add_reader(link.fileno(), self._told)

    def ready(self, value: object = None) -> None:
        self._link.send(("ready", value))

    def _told(self) -> None:
        # Anything, the end of the pipe included, means stop: a part never outlives its proof.
        asyncio.get_running_loop().remove_reader(self._link.fileno())
        self.stop.set()


class Part:
    """Use as a context manager. Entering waits until the part is ready; `value` is what it said then."""

    def __init__(self, function: Callable[..., Coroutine[Any, Any, Any]], *arguments: object) -> None:
        self._name = function.__name__
        self._link, theirs = _processes.Pipe()
        self._process = _processes.Process(target=_run, args=(function, theirs, arguments), daemon=True)
        self._process.start()
        theirs.close()
        self.pid: int = self._process.pid or 0
        self.value: Any = None

    def __enter__(self) -> Part:
        try:
            self.value = self._hear("ready", START_LIMIT)
        except BaseException:
            self.kill()
            raise
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.tell_to_stop()
        self._process.join(KILL_LIMIT)
        self.kill()

    def result(self, limit: float = FINISH_LIMIT) -> Any:
        """Wait until it is done by itself."""
        return self._hear("result", limit)

    def finish(self, limit: float = FINISH_LIMIT) -> Any:
        """Tell it to stop; its result."""
        self.tell_to_stop()
        return self._hear("result", limit)

    def kill(self) -> None:
        """At once, in the middle of whatever it does."""
        if self._process.is_alive():
            self._process.kill()
        self._process.join()

    def tell_to_stop(self) -> None:
        try:
            self._link.send("stop")
        except OSError:
            return

    def _hear(self, wanted: str, limit: float) -> Any:
        if not self._link.poll(limit):
            raise ProofError(f"{self._name} was not {wanted} within {limit:g} s")
        try:
            word, value = self._link.recv()
        except (EOFError, OSError):
            raise ProofError(f"{self._name} ended with {self._process.exitcode} before it was {wanted}") from None
        if word == "failed":
            raise ProofError(f"{self._name} failed:\n{value}")
        if word != wanted:
            raise ProofError(f"{self._name} said {word}, expected {wanted}")
        return value


def raise_descriptor_limit() -> None:
    """Thousands of sockets in one process need the hard limit."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


def _run(function: Callable[..., Coroutine[Any, Any, Any]], link: Connection, arguments: tuple[object, ...]) -> None:
    # An interrupt from the terminal reaches the proof, which ends its parts in order.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    raise_descriptor_limit()

    async def whole() -> Any:
        return await function(Cue(link), *arguments)

    try:
        message = ("result", asyncio.run(whole()))
    except BaseException:
        message = ("failed", traceback.format_exc())
    try:
        link.send(message)
    except OSError:
        return
