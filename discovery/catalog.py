"""The registry in use: written down, told of, waited for.

    await catalog.open()
    index = await catalog.change(PutEndpoint(...))   # in the store, in force and told, in this order
    catalog.report(HealthReport(...))                # in force and told; never stored

Durable changes go through one writer: whatever waits when it is free is checked as one batch (each change on top of
those before it), written in one transaction, and put in force. So a change that was acknowledged is in the store, and
nothing that the store does not have is in force. Subscribers are told synchronously after everything that was applied.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

from discovery.changes import (
    Base,
    Change,
    ChangeError,
    HealthReport,
    Heartbeat,
    NodeHeartbeat,
    Replace,
    Resolved,
    StoreFailed,
)
from discovery.model import RegistrySettings
from discovery.overlay import Edit
from discovery.registry import Applied, Registry
from discovery.store import Store

Subscriber = Callable[[Applied], None]

STORE = "store"  # source of problems

NOT_DURABLE = Base | Replace | Heartbeat | NodeHeartbeat | HealthReport | Resolved


class _Request(NamedTuple):
    changes: Sequence[Change]
    done: asyncio.Future[int] | None  # None: what the registry itself decided; `edits` are to be written
    edits: tuple[Edit, ...] = ()


class Catalog:
    def __init__(
        self,
        registry: Registry,
        store: Store,
        *,
        clock: Callable[[], float] = time.monotonic,
        wall: Callable[[], float] = time.time,
    ) -> None:
        self.registry = registry
        self.clock = clock
        self._store = store
        self._wall = wall
        self._problems: dict[str, str] = {}
        self._subscribers: list[Subscriber] = []
        self._requests: list[_Request] = []
        self._has_requests = asyncio.Event()
        self._writer: asyncio.Task[None] | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._waiting: dict[str, set[asyncio.Future[None]]] = {}  # by service; "" = anything

    async def open(self) -> None:
        """Read what was kept. Raises discovery.store.CannotOpen."""
        stored = await self._store.load()
        self.registry.advance(stored.index)
        self._tell(self.registry.restore(stored.edits, self.clock()))
        self._writer = asyncio.get_running_loop().create_task(self._write())

    async def close(self) -> None:
        """What was asked for before is done first."""
        writer, self._writer = self._writer, None
        if writer is not None:
            while self._requests:
                await asyncio.sleep(0)
            writer.cancel()
            await asyncio.wait((writer,))
        if self._timer is not None:
            self._timer.cancel()
        await self._store.close()

    # --- changing -------------------------------------------------------------------------------------------------

    async def change(self, *changes: Change) -> int:
        """Put all of `changes` in force, or none: the index then. Raises ChangeError."""
        if all(isinstance(change, NOT_DURABLE) for change in changes):
            return self._apply(changes).index
        done: asyncio.Future[int] = asyncio.get_running_loop().create_future()
        self._ask(_Request(changes, done))
        return await asyncio.shield(done)  # who stops waiting does not stop the change

    def report(self, change: Change) -> Applied:
        """Put in force what is not stored. Raises ChangeError."""
        assert isinstance(change, NOT_DURABLE), "this has to be written down first"
        return self._apply((change,))

    def configure(self, settings: RegistrySettings) -> None:
        self._tell(self.registry.configure(settings, self.clock()))

    def expire(self) -> None:
        """Do what is due by now; a timer calls it."""
        applied = self.registry.expire(self.clock())
        if applied is not None:
            self._tell(applied)
        self._set_timer()

    # --- asking ---------------------------------------------------------------------------------------------------

    def subscribe(self, callback: Subscriber) -> Callable[[], None]:
        """`callback` is called after everything that is applied; the function returned ends that."""
        self._subscribers.append(callback)
        return lambda: self._subscribers.remove(callback)

    async def wait(self, index: int, service: str = "", timeout: float = 0.0) -> int:
        """Until `service`, or anything if "", has changed after `index`, or `timeout` is over: the index then."""
        until = asyncio.get_running_loop().time() + timeout
        while (current := self._index(service)) <= index:
            future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
            waiting = self._waiting.setdefault(service, set())
            waiting.add(future)
            try:
                async with asyncio.timeout_at(until):
                    await future
            except TimeoutError:
                return self._index(service)
            finally:
                waiting.discard(future)
                if not waiting and self._waiting.get(service) is waiting:
                    del self._waiting[service]
        return current

    def wall_time(self, at: float) -> float:
        """Seconds since the epoch, for a time that the registry tells."""
        return self._wall() - (self.clock() - at)

    def problem(self, source: str, message: str | None) -> None:
        """What is wrong with `source` now; None: nothing."""
        self._problems.pop(source, None)
        if message is not None:
            self._problems[source] = message

    def problems(self) -> Mapping[str, str]:
        """By source."""
        return self._problems

    # --- inside ---------------------------------------------------------------------------------------------------

    def _index(self, service: str) -> int:
        return self.registry.index_of(service) if service else self.registry.index

    def _apply(self, changes: Sequence[Change]) -> Applied:
        (result,) = self.registry.check([changes])
        if isinstance(result, ChangeError):
            raise result
        applied = self.registry.commit(changes, self.clock())
        self._tell(applied)
        return applied

    def _ask(self, request: _Request) -> None:
        assert self._writer is not None, "the catalog is not open"
        self._requests.append(request)
        self._has_requests.set()

    async def _write(self) -> None:
        while True:
            await self._has_requests.wait()
            requests = list(self._requests)
            try:
                await self._write_batch(requests)
            except Exception as error:  # ours; nobody may wait for ever
                for request in requests:
                    if request.done is not None and not request.done.done():
                        request.done.set_exception(error)
            del self._requests[: len(requests)]
            if not self._requests:
                self._has_requests.clear()

    async def _write_batch(self, requests: Sequence[_Request]) -> None:
        results = self.registry.check(request.changes for request in requests)
        edits: list[Edit] = []
        accepted = []
        for request, result in zip(requests, results, strict=True):
            if isinstance(result, ChangeError):
                if request.done is not None and not request.done.done():
                    request.done.set_exception(result)
                continue
            edits += result
            edits += request.edits
            accepted.append(request)
        if edits:
            try:
                await self._store.write(edits, self.registry.index + 1)
            except StoreFailed as error:
                self.problem(STORE, str(error))
                for request in accepted:
                    if request.done is not None and not request.done.done():
                        request.done.set_exception(StoreFailed(str(error)))
                return
            self.problem(STORE, None)
        applied = self.registry.commit([change for request in accepted for change in request.changes], self.clock())
        self._tell(applied)
        for request in accepted:
            if request.done is not None and not request.done.done():
                request.done.set_result(applied.index)

    def _tell(self, applied: Applied) -> None:
        if applied.edits:
            self._ask(_Request((), None, applied.edits))
        if applied.changed:
            for name in (*applied.services, ""):
                for future in self._waiting.pop(name, ()):
                    if not future.done():
                        future.set_result(None)
        for subscriber in tuple(self._subscribers):
            try:
                subscriber(applied)
            except Exception as error:  # a fault of one must not keep the others from knowing
                context = {"message": "a subscriber of the catalog failed", "exception": error}
                asyncio.get_running_loop().call_exception_handler(context)
        self._set_timer()

    def _set_timer(self) -> None:
        at = self.registry.next_expiry()
        if self._timer is not None:
            if at is not None and self._timer.when() <= asyncio.get_running_loop().time() + at - self.clock():
                return  # it comes early enough, and looks again then
            self._timer.cancel()
            self._timer = None
        if at is not None:
            delay = max(0.0, at - self.clock())
            self._timer = asyncio.get_running_loop().call_later(delay, self._on_timer)

    def _on_timer(self) -> None:
        self._timer = None
        self.expire()
