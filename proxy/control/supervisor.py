"""The supervisor: keeps what must outlive a process, and starts the processes.

What `hivemesh run -c FILE` becomes (proxy/control/program.py). It holds the listening sockets, the
memory of the statistics table and the agent's last state; it starts the agent, and as many workers as the agent asks
for; it connects the two, starts either again when it dies, on the same sockets and the same block of the table, and
turns signals into messages. So kill -9 of the agent stops no traffic, and kill -9 of a worker loses what that
worker had open and nothing that waits in the backlog of its socket.

One loop over a selector: signals through a wake-up descriptor, messages (proxy/control/lines.py), timers, and
children reaped with waitpid(-1), orphans included, because in a container this is process 1.

Standard library only, and small: it reads no configuration and nothing from the network, so that it has no reason to
fail. How it becomes another program is in proxy/control/upgrade.py.
"""

from __future__ import annotations

import contextlib
import os
import resource
import selectors
import signal
import socket
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial

from proxy.control import sockets
from proxy.control.children import SIGNALS, STABLE_AFTER, Backoff, Spawner, spawn
from proxy.control.events import EventLog
from proxy.control.handover import Child
from proxy.control.lines import Lines, Message
from proxy.control.notify import Notifier
from proxy.control.privileges import User
from proxy.control.vitals import Vitals
from proxy.control.watchdog import Signs, Watchdog, pause
from proxy.stats.slots import (
    AGENT_RESTARTS,
    MAX_WORKERS,
    WORKER_HANGS,
    WORKER_RESTARTS,
    table_size,
)

AGENT = "proxy.control.agent"
WORKER = "proxy.control.worker"
GRACE = 5.0  # what a process gets beyond the drain deadline before it is killed
_DEFAULT_DRAIN = 30.0  # until the agent says what the configuration says
_SPAWN_AGAIN = 1.0  # after the system refused to start a process
STOP_NOW = 2.0  # from "exit at once" to SIGKILL
_FAILING = 5  # deaths in a row, each soon after the start, that are worth telling as one problem
_AGENT_HANG = 5.0  # least limit of the agent, which a large change may keep busy for longer than a worker
_START_ATTEMPTS = 3  # a worker that dies this often before we were ever in service will not get better

EXIT_FAILED = 1
EXIT_INTERRUPTED = 130


@dataclass
class Place:
    """The number of a worker: outlives the process that fills it."""

    backoff: Backoff = field(default_factory=Backoff)
    child: Child | None = None
    status: int = 0  # of the process that ended last
    is_failing: bool = False  # it keeps ending, and that was told


class Supervisor:
    def __init__(self, config: str, spawner: Spawner = spawn, user: User | None = None) -> None:
        """`user` is whom `spawner` starts processes as, if that is not who we are."""
        self.config = config
        self._spawner = spawner
        self._user = user
        self._manager = Notifier()
        self.log = EventLog()
        self.bound: dict[str, sockets.Bound] = {}
        self.bound_alone: dict[str, sockets.Bound] = {}  # of the admin API, by address; until the end
        self.state: int | None = None  # descriptor of what the agent wants its successor to have
        self.agent: Child | None = None
        self.places: list[Place] | None = None  # never fewer than there once were
        self.count = 0  # workers that are to run; those in places beyond are leaving
        self._children: dict[int, Child] = {}
        self._epoch = 0  # of the children that we replace; those of others were here before, and only end
        self._is_upgrade = False  # another program's children are in service until ours are
        self._agent_backoff = Backoff()
        self._generation = 0
        self._in_service = False
        self._is_connected = False  # this agent has been connected to the workers that ran before it
        self._drain = _DEFAULT_DRAIN
        self._stopping = False
        self._exit_code = 0
        self._failures = 0
        self._timers: list[tuple[float, Callable[[], None]]] = []
        self._selector = selectors.DefaultSelector()
        self._wakeup: socket.socket
        self._table: int
        self._vitals: Vitals
        self._use_table(new_table())
        self._hang = 0.0  # timeouts.worker_hang; 0 = nobody hangs
        self._watchdog: Watchdog | None = None  # while somebody is watched

    def run(self) -> int:
        """Until everything has ended. The exit code of the program."""
        raise_descriptor_limit()
        try:
            self._listen_to_signals()
        except OSError as error:
            self.log.write("start failed", "error", reason=f"signals cannot be heard: {error}")
            return EXIT_FAILED
        self._reap()  # what ended before we could hear of it
        self._start_agent()
        while self._children or not self._stopping:
            self._flush()
            for key, _ in self._selector.select(self._next_timer()):
                if key.data is None:
                    self._hear_signals()
                else:
                    self._serve(key.data)
            self._fire_timers()
        for bound in (*self.bound.values(), *self.bound_alone.values()):
            sockets.release(bound)
        self.log.write("stopped", code=self._exit_code)
        return self._exit_code

    # --- signals ------------------------------------------------------------------------------------------------

    def _listen_to_signals(self) -> None:
        reader, writer = socket.socketpair()
        reader.setblocking(False)
        writer.setblocking(False)
        for number in (*SIGNALS, signal.SIGCHLD):
            signal.signal(number, lambda *_: None)
        signal.set_wakeup_fd(writer.detach(), warn_on_full_buffer=False)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, (*SIGNALS, signal.SIGCHLD))
        self._selector.register(reader, selectors.EVENT_READ, None)
        self._wakeup = reader

    def _hear_signals(self) -> None:
        with contextlib.suppress(BlockingIOError):
            for number in self._wakeup.recv(4096):
                self._on_signal(number)

    def _on_signal(self, number: int) -> None:
        if number == signal.SIGCHLD:
            self._reap()
        elif number == signal.SIGINT and self._stopping:
            self._stop_now(EXIT_INTERRUPTED)
        elif number in (signal.SIGTERM, signal.SIGINT):
            self._start_draining(signal.Signals(number).name)
        elif number == signal.SIGQUIT:
            self._stop_now(EXIT_INTERRUPTED)
        elif number == signal.SIGHUP:
            if self.agent is not None:
                self._manager.reloading()
            self._tell_agent("reload")
        elif number == signal.SIGUSR1:
            self._tell_agent("reopen_logs")

    def _tell_agent(self, op: str) -> None:
        if self.agent is not None:
            self.agent.lines.send(op)
        else:
            self.log.write("signal ignored", "warning", op=op, reason="the agent is being restarted")

    # --- stopping -----------------------------------------------------------------------------------------------

    def _start_draining(self, reason: str) -> None:
        if self._stopping:
            return
        self._stopping = True
        self._manager.stopping()
        self.log.write("draining", reason=reason, deadline=self._drain)
        self._timers.clear()
        # Only the workers hold the sockets now: what a worker stops accepting is refused and does not hang.
        for bound in self.bound.values():
            sockets.release(bound)
        self.bound.clear()
        if self.agent is not None:
            self.agent.lines.send("drain")
        if self.agent is None or not self._in_service:
            self._signal_all(signal.SIGTERM)
        self._after(self._drain + GRACE, lambda: self._stop_now(EXIT_FAILED))

    def _stop_now(self, code: int) -> None:
        self._stopping = True
        self._exit_code = self._exit_code or code
        self._timers.clear()
        self._signal_all(signal.SIGQUIT)
        self._after(STOP_NOW, lambda: self._signal_all(signal.SIGKILL))

    def _signal_all(self, number: signal.Signals) -> None:
        for pid in self._children:
            os.kill(pid, number)

    # --- children -----------------------------------------------------------------------------------------------

    def _start_agent(self) -> None:
        if self.agent is not None:
            return  # it was to be started again when the timer was set
        descriptors = [] if self.state is None else [self.state]
        self.agent = self._spawn(AGENT, ["--config", self.config], None)
        if self.agent is None:
            self._after(_SPAWN_AGAIN, self._start_agent)
            return
        self._is_connected = False
        self.agent.lines.send(
            "start", descriptors, generation=self._generation, state=len(descriptors), upgrade=self._is_upgrade
        )
        self._generation += 1

    def _start_worker(self, worker: int) -> None:
        if self.places is None or worker >= self.count or self.places[worker].child is not None:
            return  # it was wanted when the timer was set
        child = self._spawn(WORKER, ["--worker", str(worker)], worker)
        if child is None:
            self._after(_SPAWN_AGAIN, lambda: self._start_worker(worker))
            return
        self.places[worker].child = child
        self.log.write("worker started", worker=worker, pid=child.pid)
        if self.places[worker].is_failing:
            self._after(STABLE_AFTER, partial(self._look_stable, child, worker, self.places[worker]))
        if self.agent is not None and self._is_connected:
            self._connect(child)

    def _spawn(self, module: str, arguments: list[str], worker: int | None) -> Child | None:
        """None when the system cannot start a process now: a limit was reached, or memory is short."""
        try:
            ours, theirs = socket.socketpair()
            with theirs:
                pid = self._spawner(module, arguments, [theirs.fileno(), self._table])
        except OSError as error:
            self.log.write("start failed", "error", module=module, reason=str(error), again_in=_SPAWN_AGAIN)
            return None
        child = Child(pid, Lines(ours), time.monotonic(), worker, self._epoch)
        try:
            self._watch(child)
        except OSError as error:
            # It could not be heard. Its end is then that of a stranger.
            self._children.pop(pid, None)
            child.lines.close()
            os.kill(pid, signal.SIGKILL)
            self.log.write("start failed", "error", module=module, reason=str(error), again_in=_SPAWN_AGAIN)
            return None
        return child

    def _use_table(self, table: int) -> None:
        """Of the children that are started from here on."""
        self._table = table
        self._vitals = Vitals(table)

    def _watch(self, child: Child) -> None:
        self._children[child.pid] = child
        self._selector.register(child.lines, selectors.EVENT_READ, child)

    def _connect(self, child: Child) -> None:
        """A new channel between the agent and a worker."""
        assert self.agent is not None
        try:
            agent_end, worker_end = socket.socketpair()
        except OSError as error:
            self.log.write("not connected", "error", worker=child.worker, reason=str(error), again_in=_SPAWN_AGAIN)
            self._after(_SPAWN_AGAIN, partial(self._connect_again, child, self.agent))
            return
        with agent_end, worker_end:
            child.lines.send("channel", [worker_end.fileno()])
            self.agent.lines.send("worker", [agent_end.fileno()], worker=child.worker, pid=child.pid)

    def _connect_again(self, child: Child, agent: Child) -> None:
        """Unless one of the two is another by now: then that one has been connected."""
        if self.agent is agent and self._is_connected and self._children.get(child.pid) is child:
            self._connect(child)

    def _reap(self) -> None:
        while True:
            try:
                pid, status = os.waitpid(-1, os.WNOHANG)
            except ChildProcessError:
                return
            if pid == 0:
                return
            child = self._children.pop(pid, None)
            code = os.waitstatus_to_exitcode(status)
            if child is None:
                self._stranger_gone(pid, code)
                continue
            self._hang_up(child)
            if child.epoch != self._epoch:
                self._former_gone(child, code)
            elif child.worker is None:
                self._agent_gone(child, code)
            else:
                self._worker_gone(child, child.worker, code)

    def _stranger_gone(self, pid: int, code: int) -> None:
        """A child that is no agent and no worker: left to process 1, or started by whoever became us."""

    def _former_gone(self, child: Child, code: int) -> None:
        """A child of another epoch has ended."""

    def _cannot_start(self, code: int, reason: str) -> None:
        """We have never been in service, and will not be."""
        self._stop_now(code)

    def _agent_gone(self, child: Child, code: int) -> None:
        self.agent = None
        if not self._in_service and not self._stopping:
            self._cannot_start(code if code > 0 else EXIT_FAILED, "its agent has ended")  # it has said why
        elif self._stopping:
            self._exit_code = self._exit_code or max(code, 0)
            self._signal_all(signal.SIGTERM)
        else:
            delay = self._agent_backoff.after(time.monotonic() - child.started)
            self._vitals.count(0, AGENT_RESTARTS)
            self.log.write("agent exited", "error", pid=child.pid, status=code, restart_in=delay)
            self._after(delay, self._start_agent)

    def _worker_gone(self, child: Child, worker: int, code: int) -> None:
        assert self.places is not None
        place = self.places[worker]
        place.child = None
        place.status = code
        self._vitals.reset_gauges(worker)
        if self.agent is not None and self._is_connected:
            self.agent.lines.send("gone", worker=worker, pid=child.pid, status=code)
        if self._stopping or worker >= self.count:
            self.log.write("worker exited", worker=worker, pid=child.pid, status=code)
            return
        delay = place.backoff.after(time.monotonic() - child.started)
        self._vitals.count(worker, WORKER_RESTARTS)
        self.log.write("worker exited", "error", worker=worker, pid=child.pid, status=code, restart_in=delay)
        self._failures += not self._in_service
        if self._failures >= _START_ATTEMPTS:
            reason = f"worker {worker} exits before it is ready"
            self.log.write("start failed", "error", reason=reason)
            self._cannot_start(EXIT_FAILED, reason)
            return
        self._after(delay, lambda: self._start_worker(worker))
        if place.backoff.deaths >= _FAILING:
            if not place.is_failing:
                self.log.write("worker failing", "error", worker=worker, deaths=place.backoff.deaths, status=code)
            place.is_failing = True
            self._tell_failing(worker, place)

    def _tell_failing(self, worker: int, place: Place) -> None:
        if self.agent is not None and self._is_connected:
            deaths = place.backoff.deaths if place.is_failing else 0
            self.agent.lines.send("failing", worker=worker, deaths=deaths, status=place.status)

    def _look_stable(self, child: Child, worker: int, place: Place) -> None:
        if place.is_failing and place.child is child:
            place.is_failing = False
            self.log.write("worker stays", worker=worker, pid=child.pid)
            self._tell_failing(worker, place)

    # --- hanging ------------------------------------------------------------------------------------------------

    def _look_for_hangs(self) -> None:
        """Kill who gives no sign of life; what follows is that of any death. Ends while nobody is to be watched."""
        if not self._hang or self._stopping or not self._in_service:
            self._watchdog = None
            return
        if self._watchdog is None:
            self._watchdog = Watchdog()
        now = time.monotonic()
        signs, limits = {}, {}
        for child in self._children.values():
            if child.epoch != self._epoch or child.is_killed:
                continue
            if child.worker is None or child.worker < self.count:
                signs[child.pid] = Signs(child.started, self._vitals.heartbeat(child.worker))
                limits[child.pid] = self._hang if child.worker is not None else max(self._hang, _AGENT_HANG)
        for pid, silence in self._watchdog.look(now, limits, signs).items():
            child = self._children[pid]
            child.is_killed = True
            who = "agent" if child.worker is None else f"worker {child.worker}"
            self.log.write("process hangs", "error", process=who, pid=pid, silent_for=round(silence, 3))
            if child.worker is not None:
                self._vitals.count(child.worker, WORKER_HANGS)
            os.kill(pid, signal.SIGKILL)
        self._after(pause(self._hang), self._look_for_hangs)

    # --- messages -----------------------------------------------------------------------------------------------

    def _serve(self, child: Child) -> None:
        if child.pid not in self._children:
            return
        child.lines.stream.flush()
        try:
            messages = child.lines.receive()
        except EOFError:
            self._selector.unregister(child.lines)  # SIGCHLD follows
            return
        for message, descriptors in messages:
            if child.epoch == self._epoch:
                self._on_agent_message(child.lines, message, descriptors)
            else:
                self._on_former_message(child.lines, message, descriptors)

    def _on_former_message(self, lines: Lines, message: Message, descriptors: list[int]) -> None:
        """An agent of another epoch has been told to ask for nothing; who asks must not wait for ever."""
        for descriptor in descriptors:
            os.close(descriptor)
        if message["op"] in ("bind", "bind_alone"):
            error = f"cannot listen on {message['address']}: the program is being replaced"
            lines.send("bound", id=message["id"], address=message["address"], error=error)
        elif message["op"] == "workers":
            lines.send("announced", id=message["id"])

    def _on_agent_message(self, lines: Lines, message: Message, descriptors: list[int]) -> None:
        match message["op"]:
            case "bind":
                self._bind(lines, message)
            case "bind_alone":
                self._bind_alone(lines, message)
            case "close":
                bound = self.bound.pop(sockets.socket_key(message["name"], message["address"]), None)
                if bound is not None:
                    sockets.release(bound)
            case "workers":
                self._want_workers(message["count"])
                lines.send("announced", id=message["id"])
            case "ready":
                self._drain = message["drain"]
                self._hang = message["hang"]
                self._in_service = True
                self._manager.ready()
                if self._watchdog is None:
                    self._look_for_hangs()
            case "reloaded":
                self._manager.ready()
            case "keep":
                if self.state is not None:
                    os.close(self.state)
                (self.state,) = descriptors
            case unknown:
                raise ValueError(f"the agent sent {unknown!r}, which is no message")

    def _bind(self, lines: Lines, message: Message) -> None:
        address, count, number = message["address"], message["count"], message["id"]
        key = sockets.socket_key(message["name"], address)
        bound = self.bound.get(key)
        try:
            if bound is not None:
                sockets.widen(bound, count)
            elif self._stopping:
                raise sockets.BindError(f"cannot listen on {address}: the program is stopping")
            else:
                bound = self.bound[key] = self._give(sockets.bind(address, count))
        except sockets.BindError as error:
            lines.send("bound", id=number, address=address, error=str(error))
            return
        lines.send("bound", [sock.fileno() for sock in bound.sockets], id=number, address=bound.address, error="")

    def _give(self, bound: sockets.Bound) -> sockets.Bound:
        if self._user is not None:
            sockets.give(bound, self._user.uid, self._user.gid)
        return bound

    def _bind_alone(self, lines: Lines, message: Message) -> None:
        address, number = message["address"], message["id"]
        key = sockets.socket_key(message["name"], address)
        bound = self.bound_alone.get(key)
        if bound is None:
            try:
                bound = self.bound_alone[key] = self._give(sockets.bind_alone(address))
            except sockets.BindError as error:
                lines.send("bound", id=number, address=address, error=str(error))
                return
        lines.send("bound", [bound.sockets[0].fileno()], id=number, address=bound.address, error="")

    def _want_workers(self, count: int) -> None:
        """Connect a new agent to those that run, the leaving ones included; start what is missing; see to it that
        who is to leave does."""
        if self._stopping:
            return
        if self.places is None:
            self.places = []
        if not self._is_connected:
            self._is_connected = True
            for worker, place in enumerate(self.places):
                if place.child is not None:
                    self._connect(place.child)
                if place.is_failing:
                    self._tell_failing(worker, place)
        before, self.count = self.count, count
        self.places += [Place() for _ in range(count - len(self.places))]
        for worker in range(before, count):
            self._start_worker(worker)  # unless the one that was leaving is still there: then after it
        for place in self.places[count:before]:
            if place.child is not None:
                child = place.child
                self.log.write("worker leaving", worker=child.worker, pid=child.pid, deadline=self._drain)
                self._after(self._drain + GRACE, partial(self._kill_if_leaving, child))

    def _kill_if_leaving(self, child: Child) -> None:
        if self._children.get(child.pid) is child and child.worker is not None and child.worker >= self.count:
            self.log.write("worker killed", "warning", worker=child.worker, pid=child.pid, reason="it did not drain")
            os.kill(child.pid, signal.SIGKILL)

    # --- the loop's own ------------------------------------------------------------------------------------------

    def _hang_up(self, child: Child) -> None:
        with contextlib.suppress(KeyError):
            self._selector.unregister(child.lines)
        child.lines.close()

    def _flush(self) -> None:
        """Ask to be woken for writing exactly while something waits to be written."""
        for child in self._children.values():
            waiting = child.lines.stream.backlog > 0 and not child.lines.stream.flush()
            events = selectors.EVENT_READ | (selectors.EVENT_WRITE if waiting else 0)
            try:
                self._selector.modify(child.lines, events, child)
            except KeyError:
                continue  # it hung up and is not reaped yet
            except OSError as error:
                # A selector that fails has forgotten it: nobody would hear it any more.
                self.log.write("process killed", "error", pid=child.pid, reason=f"it cannot be heard: {error}")
                os.kill(child.pid, signal.SIGKILL)

    def _after(self, delay: float, act: Callable[[], None]) -> None:
        self._timers.append((time.monotonic() + delay, act))

    def _next_timer(self) -> float | None:
        if not self._timers:
            return None
        return max(0.0, min(when for when, _ in self._timers) - time.monotonic())

    def _fire_timers(self) -> None:
        now = time.monotonic()
        due = [act for when, act in self._timers if when <= now]
        self._timers = [(when, act) for when, act in self._timers if when > now]
        for act in due:
            act()


def new_table() -> int:
    """Memory for the statistics of all workers that there may be; pages never written cost nothing."""
    descriptor = os.memfd_create("hivemesh-statistics", os.MFD_CLOEXEC)
    os.ftruncate(descriptor, table_size(MAX_WORKERS))
    return descriptor


def raise_descriptor_limit() -> None:
    """A proxy needs two descriptors per request; the soft limit is 1024 on most systems, for the sake of select()."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft != hard:
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
