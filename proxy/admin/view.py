"""What the admin API needs of the agent. The agent is one; tests make small ones."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Protocol

from discovery.catalog import Catalog
from discovery.config import Config
from discovery.health.checker import CheckStatus
from discovery.health.numbers import HealthReading
from discovery.model import Snapshot, Struct
from mesh.decision import Decision, Question
from mesh.record import Record
from proxy.admin.connections import Numbers
from proxy.config.problems import Problem
from proxy.control.messages import Seen, Tap
from proxy.kernel.cells import Table


class ReloadResult(Struct, frozen=True):
    """`changed` is False when the file says what is already in force."""

    ok: bool
    changed: bool
    version: int
    problems: tuple[Problem, ...] = ()


WORKER_STATES = ("starting", "ready", "draining", "gone")


class WorkerStatus(Struct, frozen=True):
    worker: int
    pid: int  # 0 while there is no process
    version: int  # snapshot version in force
    state: str  # one of WORKER_STATES


class Asked(Struct, frozen=True):
    """What the workers said to a question, by number; `problems`: who said nothing, or could not be asked."""

    decisions: tuple[Decision, ...] = ()
    problems: tuple[str, ...] = ()


class Recorded(Struct, frozen=True):
    """Records of requests that are over, the newest first. The workers keep `kept` in all, of requests that ended
    `since` (RFC 3339, "" without any); `problems`: who said nothing."""

    records: tuple[Record, ...] = ()
    problems: tuple[str, ...] = ()
    kept: int = 0
    since: str = ""


class TooManyQuestions(Exception):
    """Message: how many are being answered."""


class TooManyTaps(Exception):
    """Message: how many there may be."""


class AgentView(Protocol):
    config: Config
    config_file: str  # its name
    config_text: bytes  # what it was read from, see Loaded; empty: not known
    catalog: Catalog
    snapshot: Snapshot  # what the workers were sent last
    table: Table
    slot_numbers: Mapping[str, int]  # statistics row by key, see proxy/stats/slots.py
    started_at: float  # seconds since the epoch
    ready: bool
    draining: bool
    reloads: Mapping[str, int]  # result (success | failure) -> count
    last_reload: float  # seconds since the epoch of the last successful one
    admin: Numbers  # of the connections of its admin addresses

    def problems(self) -> tuple[Problem, ...]: ...

    def workers(self) -> tuple[WorkerStatus, ...]: ...

    def health(self) -> HealthReading:
        """What is counted about health checks, as of now."""
        ...

    def check_status(self, service: str, endpoint: str) -> CheckStatus | None:
        """How the health checks of an endpoint go; None: it has none, or reports itself (TTL)."""
        ...

    def circuit_moved(self, service: str) -> None:
        """A circuit breaker of the service was moved by us: whoever follows the service is to be told."""
        ...

    async def ask(self, question: Question) -> Asked:
        """What each worker would do with this request. Nothing is sent, counted or moved on."""
        ...

    async def find(self, request_id: str) -> Recorded:
        """What the workers have kept of this request."""
        ...

    async def newest(self, most: int, only_errors: bool = False) -> Recorded:
        """The requests that ended last, or the last in which something went wrong."""
        ...

    async def tap(self, wanted: Tap, seen: Callable[[Seen], None]) -> Callable[[], None]:
        """From now on `seen` gets requests that end, as `wanted` says (its number is given here); the workers have
        begun when it returns. The result ends it. Raises TooManyTaps."""
        ...

    async def reload(self) -> ReloadResult:
        """Read the file again, check it, run its tests, and put it in force if all of that succeeded."""
        ...
