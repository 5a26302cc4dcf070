"""The agent: knows the configuration, and makes the workers know it.

`python -m proxy.control.agent --config FILE`, started by the supervisor. It loads the configuration (in another
process), has sockets bound, asks for workers, gives statistics rows their names, sends the snapshot, answers the admin
API, and does it again for every reload (SIGHUP by way of the supervisor, a changed file, POST /v1/reload). No byte
of a request passes through it, except with `workers: 0`: then the same `Worker` runs here, over a channel that hands
messages over instead of sending them.

An agent that died has a successor: it gets the sockets again, hears from the workers what they have, and gets from the
supervisor the last configuration that was in force, so that a file that was broken meanwhile stops nothing.
The parts: fleet (workers), rollout (putting in force), reload, holder (the supervisor), watch (the file).
"""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import sys
import time
from collections.abc import Awaitable, Callable, Coroutine, Mapping, Sequence
from typing import Any, Protocol

import msgspec
import structlog

from discovery.catalog import Catalog
from discovery.config import Config
from discovery.health.checker import CheckStatus
from discovery.health.numbers import NO_CHECKS, HealthReading
from discovery.model import Endpoint, Snapshot
from discovery.registry import Registry
from discovery.store import CannotOpen
from mesh.decision import Question
from proxy.admin.connections import Numbers
from proxy.admin.view import AgentView, Asked, Recorded, ReloadResult, WorkerStatus
from proxy.config.problems import Loaded, Problem
from proxy.control import circuits, logs, startup
from proxy.control.channel import Channel
from proxy.control.children import FIRST_DESCRIPTOR, TABLE_DESCRIPTOR, unblock_signals
from proxy.control.discovery import Discovery, store_of
from proxy.control.fleet import Fleet, Place
from proxy.control.holder import Holder, Start
from proxy.control.kept import Kept
from proxy.control.local import connect_local
from proxy.control.messages import Seen, Tap
from proxy.control.reload import Load, Reloader
from proxy.control.rollout import Refused, Rollout, bind_places
from proxy.control.secret import new_secret, with_secret
from proxy.control.sockets import BindError
from proxy.control.watch import FileWatch
from proxy.control.worker import HEARTBEAT, PlaneFactory
from proxy.kernel.cells import Slot, Table
from proxy.stats.allocator import SlotAllocator
from proxy.stats.slots import AGENT_HEARTBEAT, WORKER_SLOT
from proxy.upstream.breakers import EVENT_NAMES

_IN_SERVICE_WITHIN = 30.0  # seconds for all workers to be in service after the start
_ADMIN_LEAVES = 1.0  # from the last accepted admin connection to closing those that are open, when retiring
_CONNECT_AGAIN = 1.0  # seconds after the system had no room for watching a channel
_TELL_MOVED = 0.05  # from the first change of a breaker to those who follow its service; many are one change
EXIT_FAILED = 1

CIRCUIT_EVENTS = frozenset(EVENT_NAMES.values())


class Closable(Protocol):
    async def stop_accepting(self) -> None: ...
    async def close(self) -> None: ...


BindAlone = Callable[[str, str], Awaitable[Place]]  # name and address; raises BindError
ServeAdmin = Callable[[AgentView, BindAlone], Awaitable[Sequence[Closable]]]


class CannotStart(Exception):
    """Message: what is wrong, for the user; several lines if several things are."""


class Agent:
    """The AgentView of the admin API, complete once `run` serves it."""

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        path: str,
        holder: Holder,
        *,
        load: Load,
        plane: PlaneFactory,
        serve_admin: ServeAdmin,
    ) -> None:
        self.config = Config(snapshot=Snapshot())
        self.config_file = path
        self.config_text = b""
        self.snapshot = Snapshot()
        self.slot_numbers: Mapping[str, int] = {}
        self.table: Table
        self.catalog: Catalog
        self.started_at = self.last_reload = time.time()
        self.ready = False
        self.draining = False
        self.reloads: Mapping[str, int] = {"success": 0, "failure": 0}
        self.admin = Numbers()
        self._loop = loop
        self._path = path
        self._holder = holder
        self._load = load
        self._plane = plane
        self._serve_admin = serve_admin
        self._log = structlog.get_logger()
        self._stop: asyncio.Future[int] = loop.create_future()
        self._tasks: set[asyncio.Task[Any]] = set()
        self._fleet: Fleet
        self._rollout: Rollout
        self._discovery: Discovery
        self._loaded: Loaded | None = None  # what the first configuration was read from, unless it was handed over
        self._reloader: Reloader | None = None
        self._reloading: set[asyncio.Task[ReloadResult]] = set()
        self._admin: Sequence[Closable] = ()
        self._is_held = False  # another program may take our place: nothing is to change
        self._is_retiring = False  # it has
        self._told: list[str] = []  # concerns about this machine, see proxy/control/startup.py
        self._failing: dict[int, Problem] = {}  # workers that keep ending
        self._moved: set[str] = set()  # services with a breaker that has another state
        holder.news = self

    # --- what the admin API asks ----------------------------------------------------------------------------------

    def problems(self) -> tuple[Problem, ...]:
        own = self._reloader.problems() if self._reloader is not None else ()
        found = self._discovery.reported() if self._reloader is not None else ()
        return (*own, *self._failing.values(), *found)

    def workers(self) -> tuple[WorkerStatus, ...]:
        return self._fleet.statuses()

    def health(self) -> HealthReading:
        return self._discovery.checker.numbers() if self._reloader is not None else NO_CHECKS

    def check_status(self, service: str, endpoint: str) -> CheckStatus | None:
        return self._discovery.checker.status(service, endpoint) if self._reloader is not None else None

    async def ask(self, question: Question) -> Asked:
        return await self._fleet.ask(question)

    async def find(self, request_id: str) -> Recorded:
        return await self._fleet.find(request_id)

    async def newest(self, most: int, only_errors: bool = False) -> Recorded:
        return await self._fleet.find(most=most, only_errors=only_errors)

    async def tap(self, wanted: Tap, seen: Callable[[Seen], None]) -> Callable[[], None]:
        return await self._fleet.tap(wanted, seen)

    async def reload(self) -> ReloadResult:
        if self._reloader is None or self.draining or self._is_held or self._is_retiring:
            reason = "stopping" if self.draining else "starting" if self._reloader is None else "being replaced"
            problem = Problem(message=f"the program is {reason}: nothing was reloaded")
            return ReloadResult(ok=False, changed=False, version=self.snapshot.version, problems=(problem,))
        task = self._loop.create_task(self._reload(self._reloader))
        self._reloading.add(task)
        task.add_done_callback(self._reloading.discard)
        return await asyncio.shield(task)

    async def _reload(self, reloader: Reloader) -> ReloadResult:
        result = await reloader.reload()
        is_new = self.config is not reloader.config
        self._took_effect(reloader)
        if is_new:
            self._tell_supervisor()
        return result

    # --- from start to end ----------------------------------------------------------------------------------------

    async def run(self) -> int:
        """Until the supervisor says stop and everything has drained. The exit code. Raises CannotStart."""
        serving = self._loop.create_task(self._run())
        await asyncio.wait((serving, self._stop), return_when=asyncio.FIRST_COMPLETED)
        if self._reloader is None and not serving.done():
            serving.cancel()  # stopped before it was in service: there is nothing to drain
            await asyncio.wait((serving,))
            return self._stop.result()
        return await serving

    async def _run(self) -> int:
        start = await self._holder.started
        kept = self._kept(start)
        self.config = with_secret(kept.config or await self._first_config(), new_secret())
        count = max(1, self.config.workers)
        self.table = Table(TABLE_DESCRIPTOR, count)
        self._beat(self.table.slot(0, WORKER_SLOT))
        is_successor = start.generation > 0
        self.catalog = Catalog(Registry(settings=self.config.registry), store_of(self.config.registry))
        try:
            await self.catalog.open(kept.edits())
        except CannotOpen as error:
            raise CannotStart(error) from None
        allocator = SlotAllocator(self.table.slots, self.table.clear, is_fresh=not is_successor)
        fleet = Fleet(count, allocator, self.table, self._on_worker_event, self._on_progress, is_successor)
        self._fleet = fleet
        try:
            places = await bind_places(self._holder, self.config.snapshot.listeners, count, {})
        except Refused as refused:
            raise CannotStart(refused) from None
        if not is_successor and not start.is_upgrade:  # /readyz says no until it is in service
            self._admin = await self._serve_admin(self, self._holder.bind_alone)
        if self.config.workers:
            await self._holder.want_workers(count)
        else:
            connect_local(self._loop, self._fleet, self._plane, self.table)
        await self._within(fleet.greeted())
        self._rollout = Rollout(self._fleet, self._holder, places)
        # Counting does not begin anew: readers that wait and resume go by it.
        self.catalog.registry.advance(max(kept.version, self._fleet.known_version))
        self._discovery = Discovery(
            self._loop,
            self.catalog,
            self._rollout,
            published=self._on_published,
            keep=lambda state: self._holder.keep(msgspec.msgpack.encode(state)),
            succeeded=self._on_check_succeeded,
        )
        try:
            await self._discovery.start(self.config, kept, self._fleet.known_states or kept.states)
        except Refused as refused:
            raise CannotStart(refused) from None
        if not is_successor:  # for a successor those that are in service are enough
            await self._within(self._fleet.ready())
        elif not start.is_upgrade:
            # Whoever asked its predecessor waits until now: an answer from an empty registry would be taken for true.
            self._admin = await self._serve_admin(self, self._holder.bind_alone)
        await self._serve_until_stopped(start)
        for server in self._admin:
            await server.close()
        await self._end_reloads()
        await self._discovery.close()
        return self._stop.result()

    async def _end_reloads(self) -> None:
        """Those that are under way come too late; the process that reads the file goes with them."""
        for task in self._reloading:
            task.cancel()
        if self._reloading:
            await asyncio.wait(self._reloading)

    def _beat(self, row: Slot) -> None:
        """Tell the supervisor that this loop comes round."""
        row.add(AGENT_HEARTBEAT, int(time.monotonic() * 1000) - row.get(AGENT_HEARTBEAT))
        self._loop.call_later(HEARTBEAT, self._beat, row)

    def _kept(self, start: Start) -> Kept:
        """What a predecessor left; nothing, if there is none or it was another program that we do not understand."""
        if start.state is not None:
            try:
                return msgspec.msgpack.decode(start.state, type=Kept)
            except msgspec.DecodeError:
                if not start.is_upgrade:
                    raise
        return Kept()

    async def _first_config(self) -> Config:
        loaded = await self._load(self._path)
        if loaded.config is None:
            raise CannotStart("\n".join(str(problem) for problem in loaded.problems))
        self._loaded = loaded
        return loaded.config

    async def _serve_until_stopped(self, start: Start) -> None:
        reloader = self._reloader = Reloader(self._path, self._load, self._discovery, self.config, self._loaded)
        watch = FileWatch(self._path, self._reload_soon)
        self._took_effect(reloader)
        self.ready = True
        self._on_progress()
        if start.is_upgrade:
            self._admin = await self._serve_admin(self, self._holder.bind_alone)
        self._tell_supervisor()
        for name, place in self._rollout.places.items():
            self._log.info("listening", listener=name, address=place.actual)
        self._log.info("started", pid=os.getpid(), config=self._path, workers=self.config.workers)
        if start.state is not None:
            self._reload_soon()  # the file may have changed while nobody looked
        watch.start(self._loop)
        await asyncio.shield(self._stop)
        watch.stop()

    def _took_effect(self, reloader: Reloader) -> None:
        self.config = reloader.config
        self.config_text = reloader.text
        self.reloads = reloader.counts
        self.last_reload = reloader.last_success

    def _on_published(self) -> None:
        self.snapshot = self._rollout.snapshot
        self.slot_numbers = self._rollout.slots

    def _on_check_succeeded(self, name: str, endpoint: Endpoint) -> None:
        service = self.catalog.registry.service(name)
        now_ms = int(time.monotonic() * 1000)
        if service is not None and circuits.check_succeeded(self.table, self.slot_numbers, service, endpoint, now_ms):
            fields = {"service": name, "endpoint": endpoint.id, "address": endpoint.address}
            self._log.info("endpoint half-open", **fields, reason="health check succeeded")
            self.circuit_moved(name)

    def _tell_supervisor(self) -> None:
        timeouts = self.snapshot.settings.timeouts
        self._discovery.keep(self.config)
        self._holder.ready(max(timeouts.drain, timeouts.drain_streams), timeouts.worker_hang)
        concerns = startup.concerns(self.snapshot.settings.limits.connections, self.config.workers, startup.machine())
        for reason in concerns:
            if reason not in self._told:
                self._log.warning("limit is low", reason=reason)
        self._told = concerns

    async def _within(self, condition: Coroutine[Any, Any, None]) -> None:
        try:
            async with asyncio.timeout(_IN_SERVICE_WITHIN):
                await condition
        except TimeoutError:
            states = ", ".join(f"worker {status.worker} {status.state}" for status in self.workers())
            raise CannotStart(f"not in service after {_IN_SERVICE_WITHIN:g} s: {states}") from None

    async def _drain(self) -> None:
        self._rollout.close_sockets()
        timeouts = self.snapshot.settings.timeouts
        self._fleet.drain(timeouts.drain, timeouts.drain_streams)
        await self._fleet.ended()
        self._end(0)

    async def _reload_and_tell(self) -> None:
        await self.reload()
        self._holder.reloaded()

    async def _hold(self) -> None:
        if self._reloading:
            await asyncio.wait(self._reloading)
        if self._reloader is not None:
            await self._discovery.hold()
        self._holder.held()

    async def _leave_admin(self) -> None:
        """Requests that have come in over our connections are answered, and not with 503: nobody is to notice."""
        for server in self._admin:
            await server.stop_accepting()
        await asyncio.sleep(_ADMIN_LEAVES)
        admin, self._admin = self._admin, ()
        for server in admin:
            await server.close()

    # --- what happens to it ---------------------------------------------------------------------------------------

    def worker_started(self, worker: int, pid: int, sock: socket.socket) -> None:
        fleet = self._fleet
        try:
            channel = Channel(self._loop, sock, lambda message, _: fleet.receive(worker, message), lambda: None)
        except OSError as error:
            self._log.error("not connected", worker=worker, pid=pid, reason=str(error), again_in=_CONNECT_AGAIN)
            self._loop.call_later(_CONNECT_AGAIN, self._connect_again, worker, pid, sock)
            return
        fleet.connect(worker, pid, channel)

    def _connect_again(self, worker: int, pid: int, sock: socket.socket) -> None:
        try:
            os.kill(pid, 0)
        except ProcessLookupError:
            sock.close()  # the next one has a channel of its own
        else:
            self.worker_started(worker, pid, sock)

    def worker_gone(self, worker: int, pid: int, status: int) -> None:
        self._fleet.gone(worker, pid)

    def worker_failing(self, worker: int, deaths: int, status: int) -> None:
        self._failing.pop(worker, None)
        if deaths:
            message = f"worker {worker} keeps ending soon after its start ({deaths} times in a row, status {status})"
            self._failing[worker] = Problem(message=message, key="workers", source=f"worker {worker}")

    def on_reload(self) -> None:
        self._spawn(self._reload_and_tell())

    def on_reopen_logs(self) -> None:
        if self._reloader is not None:
            self._fleet.reopen_logs()

    def on_drain(self) -> None:
        if self._reloader is None:
            self._end(0)
        elif not self.draining:
            self.draining = True
            if not self._is_retiring:
                self._spawn(self._drain())

    def on_hold(self) -> None:
        self._is_held = True
        self._spawn(self._hold())

    def on_resume(self) -> None:
        self._is_held = False
        if self._reloader is not None:
            self._discovery.resume()
            self._tell_supervisor()  # it may be another program, which knows nothing of us
        self._reload_soon()  # the file may have changed meanwhile

    def on_retire(self) -> None:
        if not self.draining and not self._is_retiring:
            self._is_retiring = True
            if self._reloader is not None:
                self._spawn(self._discovery.retire())
            self._spawn(self._leave_admin())
            self._spawn(self._drain())

    def on_terminate(self) -> None:
        """A service manager signals every process at once: in service, the supervisor's word is waited for."""
        if self._reloader is None:
            self._end(0)

    def on_lost(self) -> None:
        """The supervisor is gone, and with it whoever would start anything again. The workers drain by themselves."""
        self._log.error("supervisor lost", pid=os.getpid())
        if self.config.workers:
            self._end(EXIT_FAILED)
        else:
            self.on_drain()

    def _end(self, code: int) -> None:
        if not self._stop.done():
            self._stop.set_result(code)

    def _reload_soon(self) -> None:
        self._spawn(self.reload())

    def _spawn(self, work: Coroutine[Any, Any, Any]) -> None:
        task = self._loop.create_task(work)
        self._tasks.add(task)  # the loop itself holds tasks only weakly
        task.add_done_callback(self._tasks.discard)

    def _on_worker_event(self, worker: int, name: str, fields: Mapping[str, Any]) -> None:
        self._log.info(name, worker=worker, **fields)
        if name in CIRCUIT_EVENTS:
            self.circuit_moved(str(fields["service"]))

    def circuit_moved(self, service: str) -> None:
        """A circuit breaker of the service has another state: whoever follows the service is told, soon."""
        if not self._moved:
            self._loop.call_later(_TELL_MOVED, self._tell_moved)
        self._moved.add(service)

    def _tell_moved(self) -> None:
        moved, self._moved = self._moved, set()
        self.catalog.touch(moved)

    def _on_progress(self) -> None:
        """With no worker in service, new traffic should go elsewhere until one is."""
        if self._reloader is not None and not self._is_retiring:
            self.ready = any(status.state in ("ready", "draining") for status in self.workers())


async def serve_admin(view: AgentView, bind_alone: BindAlone) -> Sequence[Closable]:
    """The addresses of the configuration. Raises CannotStart."""
    from proxy.admin import server

    config = view.config
    try:
        places = [await bind_alone("admin", config.admin.address)]
        if config.metrics_address:
            places.append(await bind_alone("metrics", config.metrics_address))
    except BindError as error:
        raise CannotStart(f"admin: {error}") from None
    servers = [await server.serve(view, config.admin, places[0].sockets[0], places[0].actual)]
    for place in places[1:]:
        sock, actual = place.sockets[0], place.actual
        servers.append(await server.serve_metrics(view, config.admin, config.metrics_address, sock, actual))
    return servers


async def run(loop: asyncio.AbstractEventLoop, path: str) -> int:
    from proxy.config.validate import load_in_child
    from proxy.dataplane import DataPlane

    try:
        holder = Holder(loop, socket.socket(fileno=FIRST_DESCRIPTOR))
    except OSError as error:
        raise CannotStart(f"the agent cannot hear the supervisor: {error}") from None
    agent = Agent(loop, path, holder, load=load_in_child, plane=DataPlane, serve_admin=serve_admin)
    for descriptor in (FIRST_DESCRIPTOR, TABLE_DESCRIPTOR):
        os.set_inheritable(descriptor, False)  # programs that check an endpoint have no business with them
    loop.add_signal_handler(signal.SIGTERM, agent.on_terminate)
    unblock_signals()  # not earlier: uvloop loses what comes before it runs
    return await agent.run()


def main(arguments: list[str]) -> int:
    import uvloop

    path = arguments[arguments.index("--config") + 1]
    for ignored in (signal.SIGINT, signal.SIGHUP, signal.SIGUSR1, signal.SIGUSR2):
        signal.signal(ignored, signal.SIG_IGN)  # the supervisor hears these and says what to do
    signal.signal(signal.SIGQUIT, signal.SIG_DFL)
    logs.configure()
    has_begun = False

    async def begin() -> int:
        nonlocal has_begun
        has_begun = True
        return await run(loop, path)

    beginning = begin()
    try:
        loop = uvloop.new_event_loop()
        asyncio.set_event_loop(loop)
        return loop.run_until_complete(beginning)
    except CannotStart as error:
        print("\n".join(f"hivemesh: {line}" for line in str(error).splitlines()), file=sys.stderr)
        return EXIT_FAILED
    except OSError as error:
        if has_begun:
            raise
        beginning.close()
        print(f"hivemesh: the agent has no event loop: {error}", file=sys.stderr)
        return EXIT_FAILED


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
