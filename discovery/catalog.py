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
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import NamedTuple

from discovery.changes import (
    API,
    FILE,
    NAMES,
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
from discovery.config import RegistrySettings
from discovery.model import EndpointState
from discovery.overlay import Edit
from discovery.registry import Applied, Registry
from discovery.store import Store

Subscriber = Callable[[Applied], None]

# Sources of problems and, in numbers, of changes, beside those of discovery/changes.py.
STORE = "store"
HEALTH = "health"
TIME = "time"

NOT_DURABLE = Base | Replace | Heartbeat | NodeHeartbeat | HealthReport | Resolved


class CatalogReading(NamedTuple):
    """Numbers since the start, and as they are."""

    last_index: int
    services: int
    endpoints: int
    leases: int
    expirations: int
    publications: int
    changes: Mapping[str, int]  # that had an effect, by source
    writes: int
    write_time: float
    sources_up: Mapping[str, bool]


NOTHING_KNOWN = CatalogReading(0, 0, 0, 0, 0, 0, {}, 0, 0.0, {})


class _Request(NamedTuple):
    """`done` None: what the registry itself decided; `edits` are to be written."""

    changes: Sequence[Change]
    done: asyncio.Future[int] | None
    edits: tuple[Edit, ...] = ()

    def fail(self, error: Exception) -> None:
        if self.done is not None and not self.done.done():
            self.done.set_exception(error)

    def succeed(self, index: int) -> None:
        if self.done is not None and not self.done.done():
            self.done.set_result(index)


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
        self.publications = 0  # counted by whoever publishes
        self._store = store
        self._wall = wall
        self._problems: dict[str, str] = {}
        self._changes: Counter[str] = Counter()
        self._writes = 0
        self._write_time = 0.0
        self._subscribers: list[Subscriber] = []
        self._requests: list[_Request] = []
        self._has_requests = asyncio.Event()
        self._may_write = asyncio.Event()
        self._writing = asyncio.Lock()
        self._writer: asyncio.Task[None] | None = None
        self._refusal = "the program is stopping"  # while there is no writer
        self._timer: asyncio.TimerHandle | None = None
        self._waiting: dict[str, set[asyncio.Future[None]]] = {}  # by service; "" = anything

    # --- from start to end ----------------------------------------------------------------------------------------

    async def open(self, more: Iterable[Edit] = ()) -> None:
        """Read what was kept; `more` is what somebody else kept. Raises discovery.store.CannotOpen."""
        stored = await self._store.load()
        self._may_write.set()
        self._writer = asyncio.get_running_loop().create_task(self._write())
        self.registry.advance(stored.index)
        self._tell(self.registry.restore((*stored.edits, *more), self.clock()))

    async def pause(self) -> None:
        """Write nothing more until `resume`: another process may. Who asks for a change waits."""
        self._may_write.clear()
        async with self._writing:
            pass

    def resume(self) -> None:
        self._may_write.set()

    def refuse(self, reason: str) -> None:
        """No durable change is made any more, because of `reason`; who waits for one is told."""
        writer, self._writer, self._refusal = self._writer, None, reason
        if writer is not None:
            writer.cancel()
        requests, self._requests = self._requests, []
        for request in requests:
            request.fail(StoreFailed(reason))

    async def close(self) -> None:
        """What is being written is finished, and what waits is refused."""
        await self.pause()
        self.refuse(self._refusal)
        if self._timer is not None:
            self._timer.cancel()
        await self._store.close()

    # --- changing -------------------------------------------------------------------------------------------------

    async def change(self, *changes: Change) -> int:
        """Put all of `changes` in force, or none: the index then. Raises ChangeError."""
        if all(isinstance(change, NOT_DURABLE) for change in changes):
            return self._apply(changes).index
        if self._writer is None:
            raise StoreFailed(self._refusal)
        done: asyncio.Future[int] = asyncio.get_running_loop().create_future()
        self._ask(_Request(changes, done))
        return await asyncio.shield(done)  # who stops waiting does not stop the change

    def report(self, change: Change) -> Applied:
        """Put in force what is not stored. Raises ChangeError."""
        assert isinstance(change, NOT_DURABLE), "this has to be written down first"
        return self._apply((change,))

    def touch(self, services: Iterable[str]) -> None:
        """See Registry.touch."""
        self._tell(self.registry.touch(services))

    def configure(self, settings: RegistrySettings) -> None:
        self._tell(self.registry.configure(settings, self.clock()))

    def adopt(self, known: Callable[[str, str, str], EndpointState | None]) -> None:
        """See Registry.adopt."""
        self._tell(self.registry.adopt(known, self.clock()))

    def expire(self) -> None:
        """Do what is due by now; a timer calls it."""
        applied = self.registry.expire(self.clock())
        if applied is not None:
            self._changes[TIME] += applied.changed
            self._tell(applied)
        self._set_timer()

    # --- asking ---------------------------------------------------------------------------------------------------

    def subscribe(self, callback: Subscriber) -> Callable[[], None]:
        """`callback` is called after everything that is applied; the function returned ends that."""
        self._subscribers.append(callback)

        def unsubscribe() -> None:
            if callback in self._subscribers:
                self._subscribers.remove(callback)

        return unsubscribe

    async def wait(self, index: int, service: str = "", timeout: float = 0.0) -> int:
        """Until `service`, or anything if "", has changed after `index`, or `timeout` is over: the index then."""
        loop = asyncio.get_running_loop()
        until = loop.time() + timeout
        while (current := self._index(service)) <= index:
            future: asyncio.Future[None] = loop.create_future()
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

    def reading(self) -> CatalogReading:
        registry = self.registry
        said = [source for source in registry.sources() if source != FILE]
        # A name that cannot be looked up and a directory that was never read have said nothing yet.
        sources = dict.fromkeys([*said, STORE, *self._problems])
        return CatalogReading(
            last_index=registry.index,
            services=len(registry.services()),
            endpoints=registry.endpoints,
            leases=registry.leases,
            expirations=registry.expirations,
            publications=self.publications,
            changes=dict(self._changes),
            writes=self._writes,
            write_time=self._write_time,
            sources_up={
                **{source: source not in self._problems for source in sources},
                NAMES: not any(source.startswith(f"{NAMES}:") for source in self._problems),
            },
        )

    # --- inside ---------------------------------------------------------------------------------------------------

    def _index(self, service: str) -> int:
        return self.registry.index_of(service) if service else self.registry.index

    def _apply(self, changes: Sequence[Change]) -> Applied:
        (result,) = self.registry.check([changes])
        if isinstance(result, ChangeError):
            raise result
        applied = self.registry.commit(changes, self.clock())
        if applied.changed:
            self._changes.update(_source(change) for change in changes)
        self._tell(applied)
        return applied

    def _ask(self, request: _Request) -> None:
        self._requests.append(request)
        self._has_requests.set()

    async def _write(self) -> None:
        while True:
            await self._has_requests.wait()
            await self._may_write.wait()
            async with self._writing:
                requests, self._requests = self._requests, []
                self._has_requests.clear()
                try:
                    await self._write_batch(requests)
                except Exception as error:  # ours; nobody may wait for ever
                    _blame("a batch of changes failed", error)
                    for request in requests:
                        request.fail(StoreFailed(f"the change could not be made: {error!r}"))

    async def _write_batch(self, requests: Sequence[_Request]) -> None:
        edits: list[Edit] = []
        accepted = []
        results = self.registry.check(request.changes for request in requests)
        for request, result in zip(requests, results, strict=True):
            if isinstance(result, ChangeError):
                request.fail(result)
            else:
                edits += (*request.edits, *result)
                accepted.append(request)
        if edits:
            began = time.perf_counter()
            try:
                await self._store.write(edits, self.registry.index + len(edits))
            except StoreFailed as error:
                self.problem(STORE, str(error))
                for request in accepted:
                    request.fail(error)
                return
            finally:
                self._writes += 1
                self._write_time += time.perf_counter() - began
            self.problem(STORE, None)
        applied = self.registry.commit([change for request in accepted for change in request.changes], self.clock())
        if applied.changed:
            self._changes.update(_source(change) for request in accepted for change in request.changes)
        self._tell(applied)
        for request in accepted:
            request.succeed(applied.index)

    def _tell(self, applied: Applied) -> None:
        if applied.edits and self._writer is not None:
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
                _blame("a subscriber of the catalog failed", error)
        self._set_timer()

    def _set_timer(self) -> None:
        at = self.registry.next_expiry()
        if at is None and self._timer is None:
            return
        loop = asyncio.get_running_loop()
        if self._timer is not None:
            if at is not None and self._timer.when() <= loop.time() + at - self.clock():
                return  # it comes early enough, and looks again then
            self._timer.cancel()
            self._timer = None
        if at is not None and self._writer is not None:
            self._timer = loop.call_later(max(0.0, at - self.clock()), self._on_timer)

    def _on_timer(self) -> None:
        self._timer = None
        self.expire()


def _source(change: Change) -> str:
    match change:
        case Base():
            return FILE
        case Replace(source=source):
            return source
        case Resolved():
            return NAMES
        case HealthReport():
            return HEALTH
        case _:
            return API


def _blame(message: str, error: Exception) -> None:
    asyncio.get_running_loop().call_exception_handler({"message": message, "exception": error})
