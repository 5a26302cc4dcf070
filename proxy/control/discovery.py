"""The agent's part of discovery: the catalog, what feeds it, health checks, and the way to the workers.

Two things lead to a new snapshot at the workers: another configuration, which may be refused and takes the time that
sockets take, and any other change of the catalog, which is published soon after. Both wait for the same lock, so the
workers are told of one thing after the other. Publications are led by the first change and then at most one every
`PUBLISH_EVERY`: a thousand registrations in a burst are a few publications, and a single one waits for nothing.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from random import Random

from discovery.catalog import Catalog
from discovery.changes import Base, ChangeError
from discovery.health.checker import Checker
from discovery.model import Config, RegistrySettings, Snapshot
from discovery.registry import Applied
from proxy.config.problems import Problem
from proxy.control.rollout import Refused, Rollout

PUBLISH_EVERY = 0.01  # seconds; the workers' share of a change costs them less than a tenth of that

_PUBLISHING = "publishing"  # source of problems


class Discovery:
    """What is in force. Made when the workers have said what they have, after `catalog.open`."""

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        catalog: Catalog,
        rollout: Rollout,
        on_published: Callable[[], None] = lambda: None,
    ) -> None:
        """`on_published` is called when the workers have been sent another snapshot."""
        self.catalog = catalog
        self.publications = 0
        self._loop = loop
        self._rollout = rollout
        self._on_published = on_published
        self._lock = asyncio.Lock()
        self._publishing: asyncio.Task[None] | None = None
        self._unsubscribe = catalog.subscribe(self._on_applied)
        self.checker = Checker(loop, catalog, RegistrySettings(), Random())
        self._is_checking = False

    @property
    def snapshot(self) -> Snapshot:
        """What the workers were sent last."""
        return self._rollout.snapshot

    @property
    def problems(self) -> tuple[Problem, ...]:
        """What is not as it should be although the configuration is in force."""
        return self._rollout.problems

    async def apply(self, config: Config, workers: int | None = None) -> None:
        """Put a configuration in force. Raises Refused, and then what was in force stays."""
        async with self._lock:
            registry = self.catalog.registry
            change = Base(snapshot=config.snapshot)
            (checked,) = registry.check([[change]])
            if isinstance(checked, ChangeError):
                raise Refused([Problem(message=str(checked))])
            tried = registry.preview(config.snapshot)
            await self._rollout.apply(tried, workers)
            applied = self.catalog.report(change)
            self.publications += 1
            if not applied.changed or applied.index != tried.version:  # something else changed meanwhile
                registry.advance(max(registry.index, tried.version) + 1)
            self.catalog.configure(config.registry)
            self.checker.configure(config.registry)
            if not self._is_checking:  # not earlier: what is known from before is in the catalog by now
                self._is_checking = True
                self.checker.start()
            self._on_published()
            self._publish_soon()

    async def close(self) -> None:
        await self.checker.close()
        self._unsubscribe()
        publishing, self._publishing = self._publishing, None
        if publishing is not None:
            publishing.cancel()
            await asyncio.wait((publishing,))
        await self.catalog.close()

    def _on_applied(self, applied: Applied) -> None:
        if applied.changed:
            self._publish_soon()

    def _publish_soon(self) -> None:
        if self._publishing is None:
            self._publishing = self._loop.create_task(self._publish())

    async def _publish(self) -> None:
        """Until the workers have been sent everything."""
        try:
            while True:
                async with self._lock:
                    snapshot = self.catalog.registry.snapshot
                    if snapshot.version == self._rollout.snapshot.version:
                        break
                    try:
                        if self._rollout.needs_sockets(snapshot):
                            await self._rollout.apply(snapshot)
                        else:
                            self._rollout.update(snapshot)
                    except Refused as refused:
                        self.catalog.problem(_PUBLISHING, str(refused))
                        break  # until something else changes
                    self.catalog.problem(_PUBLISHING, None)
                    self.publications += 1
                    self._on_published()
                await asyncio.sleep(PUBLISH_EVERY)
        finally:
            self._publishing = None
