"""Starting a process of ours, and how long to wait before starting it again.

A child is exec'd with its descriptors at 3, 4, ... and the signals we handle blocked, so that none of them can hit
it before it has said what it does with them; the child unblocks them when it is ready to hear. Nothing else is
inherited but standard input, output and error. Standard library only.
"""

from __future__ import annotations

import fcntl
import os
import signal
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Protocol

from proxy.control import privileges

FIRST_DESCRIPTOR = 3  # the supervisor's channel
TABLE_DESCRIPTOR = 4  # the statistics table

SIGNALS = (signal.SIGHUP, signal.SIGINT, signal.SIGQUIT, signal.SIGTERM, signal.SIGUSR1, signal.SIGUSR2)

_FIRST_DELAY = 0.1
_LONGEST_DELAY = 5.0
STABLE_AFTER = 10.0  # a child that lived this long starts over with no delay
_ROOT = str(Path(__file__).resolve().parents[2])


class Backoff:
    """Seconds until the next start: none the first time, then doubling, until a child has lived a while. `deaths`
    counts those in a row."""

    def __init__(self) -> None:
        self.deaths = 0
        self._delay = 0.0

    def after(self, lived: float) -> float:
        if lived >= STABLE_AFTER:
            self._delay = 0.0
            self.deaths = 0
        self.deaths += 1
        delay = self._delay
        self._delay = min(_LONGEST_DELAY, max(_FIRST_DELAY, delay * 2))
        return delay


class Spawner(Protocol):
    """`spawn` below, of some user."""

    def __call__(
        self, module: str, arguments: Sequence[str], descriptors: Sequence[int], *, output: int | None = None
    ) -> int: ...


def spawn(
    module: str,
    arguments: Sequence[str],
    descriptors: Sequence[int],
    *,
    output: int | None = None,
    user: privileges.User | None = None,
) -> int:
    """Start `python -m module arguments` and return its pid. The descriptors stay the caller's as well. `output` takes
    what goes to standard output and error; `user` is whom to become first. Raises OSError."""
    command = [sys.executable, "-P", "-m", module, *arguments]
    if user is not None:
        command = privileges.command(user, command)
    # Copies above every target, so that no dup2 overwrites the source of the next one.
    copies = [fcntl.fcntl(number, fcntl.F_DUPFD_CLOEXEC, FIRST_DESCRIPTOR + len(descriptors)) for number in descriptors]
    try:
        actions = [(os.POSIX_SPAWN_DUP2, copy, FIRST_DESCRIPTOR + at) for at, copy in enumerate(copies)]
        if output is not None:
            actions += [(os.POSIX_SPAWN_DUP2, output, standard) for standard in (1, 2)]
        return os.posix_spawn(
            sys.executable,
            command,
            environment(),
            file_actions=actions,
            setsigmask=SIGNALS,
            setsigdef=[*SIGNALS, signal.SIGCHLD, signal.SIGPIPE],
        )
    finally:
        for copy in copies:
            os.close(copy)


def unblock_signals() -> None:
    """The child's side: from here on the handlers it has installed are called."""
    signal.pthread_sigmask(signal.SIG_UNBLOCK, SIGNALS)


def environment() -> dict[str, str]:
    """Ours, plus the way to our packages where only the current directory led to them (a checkout). `-P` keeps a
    folder called proxy/ in the user's directory from being taken for ours."""
    environment = dict(os.environ)
    known = sys.path if sys.flags.safe_path else sys.path[1:]
    if _ROOT not in known:
        environment["PYTHONPATH"] = os.pathsep.join(filter(None, [_ROOT, environment.get("PYTHONPATH")]))
    return environment
