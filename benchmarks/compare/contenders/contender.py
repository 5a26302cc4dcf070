"""What the harness needs of a proxy: is it here, which version, and how it is started for a given setup.

A contender turns a `Setup` into files and one command line that stays in the foreground. Rendering is a pure function
beside each contender; only `command` writes. It never starts anything itself.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Final, Protocol

from benchmarks.compare.traffic import Scenario

# The same for every proxy. The client side is long enough that no idle connection is closed within a work.
CONNECT_TIMEOUT: Final = 5
REQUEST_HEAD_TIMEOUT: Final = 10
REQUEST_TIMEOUT: Final = 15
CLIENT_KEEP_ALIVE: Final = 600
UPSTREAM_IDLE: Final = 60
STREAM_IDLE: Final = 3600
SESSION_IDLE: Final = 60

# More than one endpoint can ever hold here, so that no pool closes a connection that is about to be used again.
POOLED_PER_ENDPOINT: Final = 128

# HAProxy refuses more than about half of the descriptor limit, which is often 20,000; everyone gets the same.
MAX_CONNECTIONS: Final = 8000


@dataclass(frozen=True, slots=True)
class Setup:
    """One start of one proxy. `folder` is empty and its own; `access_log` is a file or None for no log."""

    scenario: Scenario
    port: int
    admin_port: int
    folder: Path
    access_log: Path | None = None


@dataclass(frozen=True, slots=True)
class Command:
    argv: tuple[str, ...]
    cwd: Path
    output: Path  # standard output and error; some proxies write their access log here


class Contender(Protocol):
    @property
    def name(self) -> str: ...

    def missing(self) -> str:
        """One sentence saying what is not installed and where it comes from, or ""."""

    def version(self) -> str: ...

    def command(self, setup: Setup) -> Command: ...
