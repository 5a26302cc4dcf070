"""A small agent for tests: real configuration values and a real statistics table, and nothing that runs."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from dataclasses import dataclass, field

import msgspec

from discovery.catalog import Catalog
from discovery.changes import Base
from discovery.config import AdminSettings, Config
from discovery.health.checker import CheckStatus
from discovery.health.numbers import HealthNumbers, HealthReading
from discovery.model import (
    Endpoint,
    EndpointState,
    Listener,
    Position,
    Route,
    RouteMatch,
    Service,
    Snapshot,
    TrafficSplit,
)
from discovery.registry import Registry
from discovery.store.memory import MemoryStore
from mesh.breaker import pack
from mesh.decision import Question
from proxy.admin.connections import Numbers
from proxy.admin.view import Asked, Recorded, ReloadResult, TooManyTaps, WorkerStatus
from proxy.config.problems import Problem
from proxy.control.messages import Seen, Tap
from proxy.kernel.cells import Shared, Slot, Table
from proxy.stats import slots
from proxy.stats.allocator import keys_of
from proxy.stats.words import BREAKER_WORD

SLOTS = 256


def shop(workers: int = 2) -> Config:
    """Two services behind one listener, as a checked configuration file would give them."""
    services = (
        Service(
            name="api",
            endpoints=(
                Endpoint(id="api-1", address="127.0.0.1:9001", version="v1", node="n1"),
                Endpoint(id="api-2", address="127.0.0.1:9002", version="v2", state=EndpointState.DRAINING),
            ),
            traffic_split=(TrafficSplit(version="v1", weight=80), TrafficSplit(version="v2", weight=20)),
            position=Position(file="shop.yaml", line=20, column=3),
        ),
        Service(name="web", domain="web.local", endpoints=(Endpoint(id="web-1", address="127.0.0.1:9003"),)),
    )
    routes = (
        Route(
            name="api",
            match=RouteMatch(host="*.shop.local", path="/api", methods=("GET", "POST")),
            service="api",
            position=Position(file="shop.yaml", line=7, column=9),
        ),
        Route(name="default", service="web", position=Position(file="shop.yaml", line=11, column=9)),
    )
    listener = Listener(
        name="front",
        address="127.0.0.1:8080",
        routes=routes,
        position=Position(file="shop.yaml", line=5, column=5),
    )
    return Config(
        snapshot=Snapshot(version=7, listeners=(listener,), services=services),
        workers=workers,
        admin=AdminSettings(address="127.0.0.1:0"),
        digest="0123456789ab",
    )


@dataclass
class FakeAgent:
    """What the admin API and the metrics see of an agent. `count` writes like a worker would."""

    config: Config = field(default_factory=shop)
    config_file: str = "shop.yaml"
    config_text: bytes = b""
    ready: bool = True
    draining: bool = False
    started_at: float = 1_700_000_000.0
    last_reload: float = 1_700_000_100.0
    reloads: dict[str, int] = field(default_factory=lambda: {"success": 2, "failure": 1})
    known_problems: tuple[Problem, ...] = ()
    states: tuple[WorkerStatus, ...] | None = None
    reload_answer: ReloadResult = ReloadResult(ok=True, changed=True, version=8)  # noqa: RUF009 - a frozen value
    reload_calls: int = 0
    questions: list[Question] = field(default_factory=list)
    said: Asked = Asked()  # noqa: RUF009 - a frozen value
    recorded: Recorded = Recorded()  # noqa: RUF009 - the same
    searches: list[str] = field(default_factory=list)
    taps: list[tuple[Tap, Callable[[Seen], None]]] = field(default_factory=list)
    is_crowded: bool = False
    slots: int = SLOTS
    checks: HealthNumbers = field(default_factory=HealthNumbers)
    admin: Numbers = field(default_factory=Numbers)

    def __post_init__(self) -> None:
        # The snapshot's version is the registry's index after it.
        self.catalog = Catalog(Registry(max(1, self.config.snapshot.version - 1), self.config.registry), MemoryStore())
        self.catalog.report(Base(snapshot=self.config.snapshot))
        blocks = max(1, self.config.workers)
        self._fd = os.memfd_create("test-statistics")
        os.ftruncate(self._fd, slots.table_size(blocks, self.slots))
        self.table = Table(self._fd, blocks, self.slots)
        os.close(self._fd)  # the mapping keeps the memory
        self.slot_numbers = {key: number for number, key in enumerate(keys_of(self.snapshot), start=1)}
        for worker in range(blocks):
            own = self.table.slot(worker, slots.WORKER_SLOT)
            own.add(slots.WORKER_PID, os.getpid())
            own.add(slots.WORKER_HEARTBEAT, int(time.monotonic() * 1000))
            own.add(slots.WORKER_VERSION, self.snapshot.version)

    @property
    def snapshot(self) -> Snapshot:
        return self.catalog.registry.snapshot

    def problems(self) -> tuple[Problem, ...]:
        return self.known_problems

    def workers(self) -> tuple[WorkerStatus, ...]:
        if self.states is not None:
            return self.states
        return tuple(
            WorkerStatus(worker=worker, pid=os.getpid(), version=self.snapshot.version, state="ready")
            for worker in range(self.config.workers)
        )

    def health(self) -> HealthReading:
        return self.checks.taken(in_flight=3, waiting=1)

    def check_status(self, service: str, endpoint: str) -> CheckStatus | None:
        return None

    def circuit_moved(self, service: str) -> None:
        self.catalog.touch((service,))

    async def ask(self, question: Question) -> Asked:
        self.questions.append(question)
        return self.said

    async def find(self, request_id: str) -> Recorded:
        self.searches.append(request_id)
        return self.recorded

    async def newest(self, most: int, only_errors: bool = False) -> Recorded:
        self.searches.append(f"newest {most}{' errors' if only_errors else ''}")
        return self.recorded

    async def tap(self, wanted: Tap, seen: Callable[[Seen], None]) -> Callable[[], None]:
        """`self.taps` has who is to be told, by call of `show`."""
        if self.is_crowded:
            raise TooManyTaps("16 taps are running, which is the most; one must end first")
        wanted = msgspec.structs.replace(wanted, number=len(self.taps) + 1)
        self.taps.append((wanted, seen))
        return lambda: self.taps.remove((wanted, seen))

    async def reload(self) -> ReloadResult:
        self.reload_calls += 1
        return self.reload_answer

    def words(self, key: str) -> Shared:
        """What any process may change of a row."""
        return self.table.shared(self.slot_numbers[key])

    def put_breaker(self, key: str, state: int, *, until: float = 0.0, times: int = 1, count: int = 0) -> None:
        """What a worker makes of the circuit breaker of an endpoint; `until`: seconds from now."""
        shared = self.words(key)
        word = pack(state, 0, times, count, int((time.monotonic() + until) * 1000))
        assert shared.swap(BREAKER_WORD, shared.load(BREAKER_WORD), word)

    def row(self, key: str, worker: int = 0) -> Slot:
        return self.table.slot(worker, self.slot_numbers[key])
