"""The agent's part of discovery: the catalog, what feeds it, and its way to the workers.

Two things lead to a new snapshot at the workers: another configuration, which may be refused and takes the time that
sockets take, and any other change of the catalog, which is published soon after. Both wait for the same lock, so the
workers are told of one thing after the other. Publications are led by the first change and then at most one every
`PUBLISH_EVERY`: a thousand registrations in a burst are a few publications, and a single one waits for nothing.

What a successor needs and cannot find out for itself is kept by the supervisor (`kept.py`).
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Mapping

import structlog

from discovery.catalog import Catalog
from discovery.changes import FILE, Base, ChangeError, Resolved
from discovery.config import Config, RegistrySettings
from discovery.health.checker import Checker
from discovery.model import Endpoint, EndpointState, Snapshot
from discovery.records import EndpointEvent
from discovery.registry import Applied
from discovery.store import Store
from proxy.config.problems import Problem
from proxy.control.feeds import Feeds
from proxy.control.kept import Kept, states_of
from proxy.control.rollout import Refused, Rollout
from proxy.stats.slots import endpoint_key

PUBLISH_EVERY = 0.01  # seconds; the workers' share of a change costs them less than a tenth of that

# What is kept for a successor is written at most so often, and takes no larger share of the agent's time.
_KEEP_EVERY = 1.0
_KEEP_SHARE = 0.02

_SHOWN_NOTICES = 20
_PUBLISHING = "publishing"  # sources of problems
_REGISTRY = "registry"
_KEEPING = "keeping"


def store_of(settings: RegistrySettings) -> Store:
    kind, _, path = settings.store.partition(":")
    if kind == "sqlite":
        from discovery.store.sqlite import SqliteStore

        return SqliteStore(path)
    from discovery.store.memory import MemoryStore

    return MemoryStore()


class Discovery:
    """What is in force. Made when the workers have said what they have; `catalog` is open."""

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        catalog: Catalog,
        rollout: Rollout,
        *,
        published: Callable[[], None] = lambda: None,
        keep: Callable[[Kept], None] | None = None,
        succeeded: Callable[[str, Endpoint], None] = lambda service, endpoint: None,
    ) -> None:
        """`published` is called when the workers were sent something; `keep` takes what a successor needs; `succeeded`
        is told of every health check that succeeds."""
        self.catalog = catalog
        self.checker: Checker
        self._feeds: Feeds | None = None
        self._loop = loop
        self._rollout = rollout
        self._published = published
        self._keep = keep
        self._succeeded = succeeded
        self._config = Config(snapshot=Snapshot())
        # Around what is decided and sent, in order: it takes no longer than to bind a socket.
        self._lock = asyncio.Lock()
        # Around all of a configuration, until the workers decide by it: that takes as long as to start one, and changes
        # of endpoints do not wait for it. Taken before the other.
        self._applying = asyncio.Lock()
        self._publishing: asyncio.Task[None] | None = None
        self._keeping: asyncio.TimerHandle | None = None
        self._keep_next = 0.0
        self._is_held = False
        self._notices: tuple[Problem, ...] | None = None  # None: something has changed
        self._log = structlog.get_logger()
        self._unsubscribe = catalog.subscribe(self._on_applied)

    # --- from start to end ----------------------------------------------------------------------------------------

    async def start(self, config: Config, kept: Kept, states: Mapping[str, EndpointState]) -> None:
        """Put the first configuration in force, with what a predecessor kept, and with endpoints in the `states` (by
        the keys of their rows) that they had. Raises Refused."""
        async with self._lock:
            try:
                self.catalog.report(Base(snapshot=config.snapshot))
            except ChangeError as error:
                raise Refused([Problem(message=str(error))]) from None
            said = list(kept.still_said(config))
            for change in said:
                self.catalog.report(change)
            self.catalog.adopt(lambda service, id, address: states.get(endpoint_key(service, id, address)))
            self._feeds = feeds = Feeds(self._loop, self.catalog, config, self._succeeded)
            self.checker = feeds.checker
            names = [change for change in said if isinstance(change, Resolved)]
            await feeds.start(config, names, is_fresh=kept.config is None)
            await self._rollout.apply(self.catalog.registry.snapshot)
            self._config = config
            self._was_published()
        self._publish_soon()

    async def close(self) -> None:
        self._unsubscribe()
        if self._keeping is not None:
            self._keeping.cancel()
        await self._end_feeds()
        publishing, self._publishing = self._publishing, None
        if publishing is not None:
            publishing.cancel()
            await asyncio.wait((publishing,))
        await self.catalog.close()

    async def hold(self) -> None:
        """Another program is about to take over: it shall find all that this one knows."""
        await self.catalog.pause()
        self._is_held = True
        self._keep_now()

    def resume(self) -> None:
        self._is_held = False
        self.catalog.resume()

    async def retire(self) -> None:
        """Another program has taken over."""
        self.catalog.refuse("the program has been replaced by another one, try again")
        await self._end_feeds()

    async def _end_feeds(self) -> None:
        feeds, self._feeds = self._feeds, None
        if feeds is not None:
            await feeds.close()

    # --- what is in force -------------------------------------------------------------------------------------------

    @property
    def snapshot(self) -> Snapshot:
        """What the workers were sent last."""
        return self._rollout.snapshot

    @property
    def problems(self) -> tuple[Problem, ...]:
        """What is not as it should be although the configuration is in force."""
        return self._rollout.problems

    def reported(self) -> tuple[Problem, ...]:
        """Problems of sources, and what one of them says that is not in force because another says otherwise."""
        found = [Problem(message=text, key=name, source=name) for name, text in self.catalog.problems().items()]
        if self._notices is None:
            notices = self.catalog.registry.notices()
            if len(notices) > _SHOWN_NOTICES:
                notices[_SHOWN_NOTICES:] = [f"and {len(notices) - _SHOWN_NOTICES} more of this kind"]
            self._notices = tuple(Problem(message=text, source=_REGISTRY) for text in notices)
        return (*found, *self._notices)

    async def apply(self, config: Config, workers: int | None = None) -> None:
        """Put a configuration in force. Returns when the workers decide by it; what the registry is told meanwhile goes
        on to them. Raises Refused, and then what was in force stays."""
        async with self._applying:
            async with self._lock:
                registry = self.catalog.registry
                change = Base(snapshot=config.snapshot)
                (checked,) = registry.check([[change]], config.registry)
                if isinstance(checked, ChangeError):
                    raise Refused([Problem(message=str(checked))])
                tried = registry.preview(config.snapshot)
                former = await self._rollout.put(tried, workers)
                self.catalog.configure(config.registry)
                applied = self.catalog.report(change)
                if applied.index != tried.version:  # something else changed meanwhile
                    registry.advance(max(registry.index, tried.version) + 1)
                self._config = config
                self._was_published()
            self._publish_soon()
            await self._rollout.settle(former)
        if self._feeds is not None:
            await self._feeds.configure(config)

    # --- to the workers ---------------------------------------------------------------------------------------------

    def _on_applied(self, applied: Applied) -> None:
        self._notices = None
        if applied.changed:
            self._publish_soon()
            self._keep_soon()
        for event in applied.events:
            self._tell(event)

    def _publish_soon(self) -> None:
        if self._publishing is None and self._rollout.snapshot.version:
            self._publishing = self._loop.create_task(self._publish())

    async def _publish(self) -> None:
        """Until the workers have been sent everything."""
        try:
            while await self._publish_once():
                await asyncio.sleep(PUBLISH_EVERY)
        finally:
            self._publishing = None

    async def _publish_once(self) -> bool:
        """False when there is nothing to send, or nothing that can be."""
        try:
            async with self._lock:
                snapshot = self.catalog.registry.snapshot
                if snapshot.version == self._rollout.snapshot.version:
                    return False
                needs_sockets = self._rollout.needs_sockets(snapshot)
                if not needs_sockets:
                    self._rollout.update(snapshot)
                    self._was_sent()
            if needs_sockets:
                await self._put()
        except Refused as refused:
            self.catalog.problem(_PUBLISHING, str(refused))
            return False  # until something else changes
        return True

    async def _put(self) -> None:
        """What is in force by now, with its sockets. Raises Refused."""
        async with self._applying:
            async with self._lock:
                snapshot = self.catalog.registry.snapshot
                if snapshot.version == self._rollout.snapshot.version:
                    return
                former = await self._rollout.put(snapshot)
                self._was_sent()
            await self._rollout.settle(former)

    def _was_sent(self) -> None:
        self.catalog.problem(_PUBLISHING, None)
        self._was_published()

    def _was_published(self) -> None:
        self.catalog.publications += 1
        self._published()

    def _tell(self, event: EndpointEvent) -> None:
        """What the file lists is told by the file; its endpoints are news when their state changes."""
        fields = {"service": event.service, "endpoint": event.endpoint}
        more = {"reason": event.reason, "origin": event.origin}
        if event.before is not None and event.after is not None:
            before, after = event.before.value, event.after.value
            self._log.info("endpoint changed state", **fields, **{"from": before, "to": after}, **more)
        elif event.origin != FILE:
            what = "endpoint registered" if event.before is None else "endpoint removed"
            state = event.after or event.before
            self._log.info(what, **fields, state=state.value if state is not None else "", **more)

    # --- for a successor --------------------------------------------------------------------------------------------

    def keep(self, config: Config) -> None:
        """Give away now what a successor needs; `config` is in force."""
        self._config = config
        self._keep_now()

    def _keep_soon(self) -> None:
        if self._keep is not None and self._keeping is None:
            delay = max(_KEEP_EVERY, self._keep_next - self._loop.time())
            self._keeping = self._loop.call_later(delay, self._keep_or_try_again)

    def _keep_or_try_again(self) -> None:
        try:
            self._keep_now()
        except OSError as error:  # descriptors or memory are short
            self.catalog.problem(_KEEPING, f"what is known could not be kept for a successor: {error.strerror}")
            self._keep_soon()
        else:
            self.catalog.problem(_KEEPING, None)

    def _keep_now(self) -> None:
        if self._keeping is not None:
            self._keeping.cancel()
            self._keeping = None
        if self._keep is None:
            return
        registry = self.catalog.registry
        is_stored = not self._config.registry.store.startswith("memory:")
        began = time.perf_counter()
        self._keep(
            Kept(
                config=self._config,
                said=tuple(registry.statements()),
                records=() if is_stored else tuple(edit.record for edit in registry.records() if edit.record),
                version=registry.index,
                states=states_of(registry.snapshot) if self._is_held else {},
            )
        )
        self._keep_next = self._loop.time() + (time.perf_counter() - began) / _KEEP_SHARE
