"""The driver of checks that run a program: exit status 0 is healthy.

No shell: the program gets its arguments as they are, found in PATH, standard input from /dev/null, and a session (so
also a process group) of its own. What it writes to standard output and error is read, so that it never waits for us,
and the first KiB becomes part of the reason. It runs as the agent's user and in its folder, with PATH, HOME, LANG and
TZ of its environment and what is named below.

However it ends, its whole process group is killed before it is reaped: as long as it is a zombie its group cannot be
anybody else's. So nothing that it started stays, but for what has made a session of its own. posix_spawn, because a
fork would copy the page tables of a large agent; pidfd, because it tells of the end of this one process and of no
other.
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import os
import signal
from collections.abc import Callable, Mapping
from typing import Final

from discovery.exhaustion import OURS
from discovery.health.result import SUCCESS, Result, error, failure, no_answer, quoted
from discovery.health.target import Target

MAX_OUTPUT: Final = 1024  # bytes that are shown
MAX_READ: Final = 1024 * 1024  # bytes that are read; a program that writes more is stopped
_PIECE: Final = 64 * 1024
_INHERITED: Final = ("PATH", "HOME", "LANG", "TZ")
# The agent ignores some signals, and that would be inherited. Not those that nobody can handle.
_RESET: Final = sorted(set(signal.valid_signals()) - {signal.SIGKILL, signal.SIGSTOP})

Done = Callable[[Result], None]


class Command:
    """`done` is called once, unless `expire` or `cancel` came before. If the program was not gone by then, `gone` is
    called when it is: until then it holds its place among the programs that run."""

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        target: Target,
        environ: Mapping[str, str],
        done: Done,
        gone: Callable[[], None],
    ) -> None:
        self._loop = loop
        self._done: Done | None = done
        self._gone = gone
        self._output = b""
        self._count = 0
        self._pid = 0
        self._pidfd = self._pipe = -1
        try:
            self._start(target, environ)
        except OSError as problem:
            self._close_pipe()
            reason = (problem.strerror or str(problem)).lower()
            # EAGAIN: there are as many processes as this user may have.
            made = error if problem.errno in OURS or problem.errno == errno.EAGAIN else failure
            loop.call_soon(self._finish, made(f"cannot run {target.check.command[0]}: {reason}"))

    @property
    def is_gone(self) -> bool:
        return not self._pid

    def expire(self, seconds: float) -> Result:
        self.cancel()
        return no_answer("exit", seconds)

    def cancel(self) -> None:
        self._done = None
        self._kill()

    def _start(self, target: Target, environ: Mapping[str, str]) -> None:
        self._pipe, theirs = os.pipe2(os.O_CLOEXEC)
        try:
            os.set_blocking(self._pipe, False)
            command = target.check.command
            self._pid = os.posix_spawnp(
                command[0],
                command,
                environment(target, environ),
                file_actions=[
                    (os.POSIX_SPAWN_OPEN, 0, os.devnull, os.O_RDONLY, 0),
                    (os.POSIX_SPAWN_DUP2, theirs, 1),
                    (os.POSIX_SPAWN_DUP2, theirs, 2),
                ],
                setsid=True,
                setsigmask=(),
                setsigdef=_RESET,
            )
        finally:
            os.close(theirs)
        try:
            self._pidfd = os.pidfd_open(self._pid)
        except OSError:  # nobody would hear of its end, and its place would never be free again
            self._kill()
            os.waitpid(self._pid, 0)
            self._pid = 0
            raise
        self._loop.add_reader(self._pipe, self._readable)
        self._loop.add_reader(self._pidfd, self._exited)

    def _readable(self) -> None:
        if not self._read():
            self._close_pipe()
        elif self._count > MAX_READ:
            self._finish(failure(f"more than {MAX_READ // 1024 // 1024} MiB of output"))
            self._kill()

    def _read(self) -> bool:
        """Whether there may be more."""
        try:
            data = os.read(self._pipe, _PIECE)
        except BlockingIOError:
            return True
        except OSError:
            return False
        self._count += len(data)
        self._output += data[: MAX_OUTPUT - len(self._output)]
        return bool(data)

    def _exited(self) -> None:
        self._loop.remove_reader(self._pidfd)
        os.close(self._pidfd)
        self._kill()  # whatever else is in its group
        _, status = os.waitpid(self._pid, 0)
        self._pid = 0
        if self._pipe >= 0:
            self._read()  # what it wrote last
            self._close_pipe()
        if self._done is not None:
            self._finish(verdict(status, self._output))
        else:
            self._gone()

    def _kill(self) -> None:
        if self._pid:
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.killpg(self._pid, signal.SIGKILL)

    def _finish(self, result: Result) -> None:
        done, self._done = self._done, None
        if done is not None:
            done(result)

    def _close_pipe(self) -> None:
        if self._pipe >= 0:
            self._loop.remove_reader(self._pipe)
            os.close(self._pipe)
            self._pipe = -1


def environment(target: Target, environ: Mapping[str, str]) -> dict[str, str]:
    """What the program finds: little of ours, and what it is asked about."""
    inherited = {name: environ[name] for name in _INHERITED if name in environ}
    return {
        **inherited,
        "HIVEMESH_SERVICE": target.service,
        "HIVEMESH_ENDPOINT": target.id,
        "HIVEMESH_ADDRESS": target.address,
    }


def verdict(status: int, output: bytes) -> Result:
    """`status` as of waitpid."""
    code = os.waitstatus_to_exitcode(status)
    if code == 0:
        return SUCCESS
    said = quoted(output, MAX_OUTPUT)
    if code > 0:
        how = f"exit code {code}"
    else:
        try:
            how = f"ended by {signal.Signals(-code).name}"
        except ValueError:
            how = f"ended by signal {-code}"
    return failure(f"{how}: {said}" if said else how)
