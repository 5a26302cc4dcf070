"""Reading the configuration again while everything runs.

A reload reads and checks the file in another process, runs its route tests there, and puts the result in force, or
keeps what is in force and reports why. Reloads never overlap: whoever asks while one is under way gets the answer of
the next one, which reads the file after the question was asked. What only a restart can change stays as it is and is
reported as a problem; everything else takes effect at once.
"""

from __future__ import annotations

import asyncio
import time
import traceback
from collections.abc import Awaitable, Callable, Mapping
from typing import Protocol

import msgspec
import structlog

from discovery.config import Config
from discovery.model import Snapshot
from proxy.admin.view import ReloadResult
from proxy.config.problems import Loaded, Problem
from proxy.control.rollout import Refused
from proxy.control.secret import with_secret

Load = Callable[[str], Awaitable[Loaded]]


class InForce(Protocol):
    """What is in force, and the way to replace it."""

    @property
    def snapshot(self) -> Snapshot: ...

    @property
    def problems(self) -> tuple[Problem, ...]: ...

    async def apply(self, config: Config, workers: int | None = None) -> None:
        """Raises Refused."""
        ...


_CONFIG = "config"  # sources of problems
_RESTART = "restart"
_SOCKETS = "sockets"
_WARNINGS = "warnings"


class Reloader:
    def __init__(self, path: str, load: Load, in_force: InForce, config: Config, loaded: Loaded | None = None) -> None:
        """`config` is in force. `loaded`: what it was read from, where that is known."""
        self.config = config
        self.text = b""  # what the configuration in force was read from, see Loaded; empty: not known
        self.counts = {"success": 0, "failure": 0}
        self.last_success = time.time()
        self._path = path
        self._load = load
        self._in_force = in_force
        self._problems: dict[str, tuple[Problem, ...]] = {}
        self._lock = asyncio.Lock()
        self._next: asyncio.Task[ReloadResult] | None = None
        self._log = structlog.get_logger()
        if loaded is not None:
            self._heard(loaded)

    def problems(self) -> tuple[Problem, ...]:
        return tuple(problem for source in self._problems.values() for problem in source)

    def report(self, source: str, problems: tuple[Problem, ...]) -> None:
        """These are the problems of `source` now, none if empty."""
        self._problems.pop(source, None)
        if problems:
            self._problems[source] = problems

    async def reload(self) -> ReloadResult:
        if self._next is None:
            self._next = asyncio.get_running_loop().create_task(self._in_turn())
        return await asyncio.shield(self._next)

    async def _in_turn(self) -> ReloadResult:
        async with self._lock:
            self._next = None  # who asks from here on wants the file read after this
            return await self._reload()

    async def _reload(self) -> ReloadResult:
        try:
            loaded = await self._load(self._path)
            if loaded.config is None:
                raise Refused(loaded.problems)
            changed = loaded.config.digest != self.config.digest
            if changed:
                await self._put_in_force(loaded.config)
            self._heard(loaded)
        except Refused as refused:
            return self._failed(refused.problems)
        except Exception as error:
            # Ours, not the user's; what runs goes on running.
            traceback.print_exc()
            return self._failed((Problem(message=f"the configuration could not be checked: {error!r}"),))
        version = self._in_force.snapshot.version
        self.report(_CONFIG, ())
        self.counts["success"] += 1
        self.last_success = time.time()
        self._log.info("reload succeeded", file=self._path, version=version, changed=changed)
        return ReloadResult(ok=True, changed=changed, version=version, problems=self.problems())

    async def _put_in_force(self, config: Config) -> None:
        in_force, problems = with_running(config, self.config)
        await self._in_force.apply(in_force, in_force.workers or None)
        self.config = in_force
        self.report(_RESTART, problems)
        self.report(_SOCKETS, self._in_force.problems)

    def _heard(self, loaded: Loaded) -> None:
        """What is in force was read as this. Each warning is logged when it is new."""
        self.text = loaded.text
        known = self._problems.get(_WARNINGS, ())
        for warning in loaded.warnings:
            if warning not in known:
                self._log.warning("configuration", problem=str(warning))
        self.report(_WARNINGS, loaded.warnings)

    def _failed(self, problems: tuple[Problem, ...]) -> ReloadResult:
        self.report(_CONFIG, problems)
        self.counts["failure"] += 1
        version = self._in_force.snapshot.version
        for problem in problems:
            self._log.error("reload failed", file=self._path, problem=str(problem), version_in_force=version)
        return ReloadResult(ok=False, changed=False, version=version, problems=problems)


def with_running(config: Config, running: Config) -> tuple[Config, tuple[Problem, ...]]:
    """`config` with what only a restart can change taken from `running`, and a problem for each difference."""
    # Between the agent's process and others, that is; how many others there are is no matter.
    is_moved = (config.workers == 0) != (running.workers == 0)
    workers = running.workers if is_moved else config.workers
    fixed: Mapping[str, tuple[object, object]] = {
        "workers": (config.workers, workers),
        "admin.address": (config.admin.address, running.admin.address),
        "metrics.address": (config.metrics_address, running.metrics_address),
        "registry.store": (config.registry.store, running.registry.store),
    }
    problems = tuple(
        Problem(
            message=f"{_shown(new)} takes effect after a restart, {_shown(old)} is in force until then",
            key=key,
            source=_RESTART,
        )
        for key, (new, old) in fixed.items()
        if new != old
    )
    in_force = msgspec.structs.replace(
        with_secret(config, running.snapshot.settings.secret),
        workers=workers,
        admin=msgspec.structs.replace(config.admin, address=running.admin.address),
        metrics_address=running.metrics_address,
        registry=msgspec.structs.replace(config.registry, store=running.registry.store),
    )
    return in_force, problems


def _shown(value: object) -> str:
    return str(value) if value != "" else "nothing"
