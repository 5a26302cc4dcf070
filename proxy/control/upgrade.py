"""Becoming another program without leaving the sockets: what SIGUSR2 does to a supervisor.

    request   the program on disk is probed by a child, and the agent is told to change nothing (`hold`)
    become    with both done, exec in place: the pid stays, which containers and service managers go by
    take over the new program starts an agent and workers of its own, with a table of their own, on the same sockets;
              what it came with, its *former* children, goes on serving and is not touched
    promote   the new agent is in service: the former one is told to `retire`, its children end by a deadline
    step back the new agent does not come into service: its processes end, and the former ones are ours again

Everything that can be refused is refused before the exec. `_aside` is set from taking over to promoting or stepping
back. Children carry the epoch in which they were started; only those of `_epoch` are replaced when they end.

After stepping back, an agent or a worker that ends is replaced by the program that is now on disk, which may
understand the others no more. `handover.contract` tells; if so, a whole new set is started (`_renew`) in place of one.
"""

from __future__ import annotations

import os
import select
import signal
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial

from proxy.control import handover, sockets
from proxy.control.children import SIGNALS, Backoff, Spawner, environment
from proxy.control.handover import Child, Handover
from proxy.control.lines import Lines, Message
from proxy.control.privileges import User
from proxy.control.probe import LIMIT, PROGRAM, Probe
from proxy.control.supervisor import GRACE, STOP_NOW, Place, Supervisor, new_table

_WITHIN = 60.0  # seconds that new processes may take to come into service; the agent itself gives its workers 30
_WRITE_WITHIN = 1.0  # for what our children have not read yet
_AGAIN = 5.0  # until a whole set is tried again that did not come into service
_MOST_SETS = 8  # former sets of processes that may be ending at one time: each has the memory of a whole program
_HEARD = (*SIGNALS, signal.SIGCHLD)


@dataclass
class Aside:
    """The children in service, while new ones are being started."""

    epoch: int
    contract: str
    agent: Child | None
    places: list[Place] | None
    count: int
    table: int
    drain: float
    held: set[str]  # the keys of the sockets that they have
    since: float


class UpgradingSupervisor(Supervisor):
    def __init__(self, config: str, spawner: Spawner, arguments: Sequence[str], user: User | None = None) -> None:
        """`arguments` are what the next program is to be started with; `user` is whom `spawner` starts processes as."""
        super().__init__(config, spawner, user)
        self._arguments = arguments
        self._contract = handover.contract()
        self._running_contract = self._contract  # of the children of this epoch
        self._latest = 0  # epoch
        self._probe: Probe | None = None
        self._is_probed = False
        self._is_held = False
        self._aside: Aside | None = None
        self._asked: set[str] = set()  # keys of sockets that the agent of this epoch has asked for
        self._must_reopen = False
        self._deadlines: dict[int, float] = {}  # of former epochs that were told to end

    # --- the old program ------------------------------------------------------------------------------------------

    def _on_signal(self, number: int) -> None:
        if number == signal.SIGUSR2:
            self._request()
        else:
            super()._on_signal(number)

    def _request(self) -> None:
        agent = self.agent
        reason = self._why_not()
        if reason or agent is None:
            self.log.write("upgrade refused", "warning", reason=reason)
            return
        try:
            self._probe = Probe(self.config, self._spawner)
        except OSError as error:
            self.log.write("upgrade refused", "error", reason=f"{sys.executable} cannot be started: {error}")
            return
        self._is_probed = self._is_held = False
        self.log.write("upgrade requested", pid=os.getpid(), probe=self._probe.pid)
        self._manager.upgrading()
        agent.lines.send("hold")
        self._after(LIMIT, partial(self._probe_is_late, self._probe))

    def _why_not(self) -> str:
        if self._stopping:
            return "the program is stopping"
        if self._probe is not None or self._aside is not None:
            return "an upgrade is going on already"
        if self.agent is None or not self._in_service:
            return "the agent is not in service: try again when it is"
        if len({child.epoch for child in self._children.values()} - {self._epoch}) >= _MOST_SETS:
            return f"the processes of {_MOST_SETS} former programs have not ended yet"
        return ""

    def _stranger_gone(self, pid: int, code: int) -> None:
        probe = self._probe
        if probe is None or pid != probe.pid or self._is_probed:
            return
        reason = probe.reason(code)
        self._is_probed = True
        if reason:
            self._give_up(reason)
        else:
            self._become_soon()

    def _probe_is_late(self, probe: Probe) -> None:
        if self._probe is probe:
            if not self._is_probed:
                os.kill(probe.pid, signal.SIGKILL)
                probe.reason(1)
            what = (
                "the agent did not finish a reload" if self._is_probed else "the probe of the new program did not end"
            )
            self._give_up(f"{what} within {LIMIT:g} s")

    def _give_up(self, reason: str) -> None:
        """Before the exec: nothing has happened but a `hold`."""
        self._probe = None
        self._manager.ready()
        self.log.write("upgrade failed", "error", reason=reason)
        if self.agent is not None:
            self.agent.lines.send("resume")

    def _become_soon(self) -> None:
        if self._is_probed and self._is_held:
            self._after(0.0, self._become)  # not from inside of reading messages, of which there may be more

    def _become(self) -> None:
        """Does not return when it succeeds. Signals that come from here on are the new program's."""
        signal.pthread_sigmask(signal.SIG_BLOCK, _HEARD)
        try:
            self._hear_signals()
            if self._probe is None or self.agent is None or self._stopping:
                return  # one of the last signals has changed everything
            try:
                self._write_out()
                self._exec()
            except OSError as error:
                self._give_up(f"{sys.executable} cannot take over: {error}")
        finally:
            signal.pthread_sigmask(signal.SIG_UNBLOCK, _HEARD)

    def _write_out(self) -> None:
        """Until our children have been sent all that waits for them. Raises TimeoutError."""
        until = time.monotonic() + _WRITE_WITHIN
        for child in self._children.values():
            while not child.lines.stream.flush():
                left = until - time.monotonic()
                if left <= 0:
                    raise TimeoutError(f"process {child.pid} does not read")
                select.select((), (child.lines,), (), left)

    def _exec(self) -> None:
        """Raises OSError, and then everything is as before."""
        handed = Handover(
            epoch=self._epoch,
            contract=self._running_contract,
            count=self.count,
            table=self._table,
            state=self.state,
            drain=self._drain,
            bound=self.bound,
            bound_alone=self.bound_alone,
            children=list(self._children.values()),
            deadlines=self._deadlines,
        )
        document = handover.write(handed)
        numbers = [document, *handover.descriptors(handed)]
        arguments = [sys.executable, "-P", "-m", PROGRAM, "--resume", str(document), *self._arguments]
        try:
            handover.set_inheritable(numbers, True)
            os.execve(sys.executable, arguments, environment())
        finally:
            handover.set_inheritable(numbers, False)
            os.close(document)

    # --- the new program ------------------------------------------------------------------------------------------

    def take_over(self, handed: Handover) -> None:
        """Before `run`: go on with what another program has handed over."""
        self.bound, self.bound_alone, self.state = handed.bound, handed.bound_alone, handed.state
        for child in handed.children:
            self._watch(child)
        self._deadlines = dict(handed.deadlines)
        for epoch, when in self._deadlines.items():
            self._after(max(0.0, when - time.monotonic()), partial(self._end_epoch, epoch))
        self._latest = max((handed.epoch, *(child.epoch for child in handed.children)))
        mine = [child for child in handed.children if child.epoch == handed.epoch]
        agent = next((child for child in mine if child.worker is None), None)
        workers = {child.worker: child for child in mine if child.worker is not None}
        many = max(handed.count, max(workers, default=-1) + 1)  # those beyond the count are leaving
        places = [Place(child=workers.get(number)) for number in range(many)] if many else None
        self._stand(
            Aside(
                epoch=handed.epoch,
                contract=handed.contract,
                agent=agent,
                places=places,
                count=handed.count,
                table=handed.table,
                drain=handed.drain,
                held={*self.bound, *self.bound_alone},
                since=time.monotonic(),
            )
        )

    def _renew(self) -> None:
        """Start a whole set of processes beside those that are left, as after an exec."""
        table = self._table
        self._use_table(new_table())
        aside = Aside(
            epoch=self._epoch,
            contract=self._running_contract,
            agent=self.agent,
            places=self.places,
            count=self.count,
            table=table,
            drain=self._drain,
            held={*self.bound, *self.bound_alone},
            since=time.monotonic(),
        )
        if self.agent is not None:
            self.agent.lines.send("hold")
        self._stand(aside)
        self._start_agent()

    def _stand(self, aside: Aside) -> None:
        """From here on the children are to be started that take the place of those aside."""
        self._aside = aside
        self._is_upgrade = True
        self._latest += 1
        self._epoch = self._latest
        self._running_contract = self._contract
        self._asked = set()
        self.agent = self.places = None
        self.count = self._generation = self._failures = 0
        self._agent_backoff = Backoff()
        self._in_service = self._is_connected = False
        self._after(_WITHIN, partial(self._is_late, aside))

    def _is_late(self, aside: Aside) -> None:
        if self._aside is aside and not self._stopping:
            self._step_back(f"its processes are not in service after {_WITHIN:g} s")

    def _promote(self) -> None:
        aside = self._aside
        assert aside is not None
        self._aside = None
        self._is_upgrade = False
        for held in (self.bound, self.bound_alone):
            for key in [key for key in held if key not in self._asked]:
                sockets.release(held.pop(key))
        os.close(aside.table)
        self.log.write("upgraded", pid=os.getpid(), after=round(time.monotonic() - aside.since, 3), drain=aside.drain)
        self._deadlines[aside.epoch] = time.monotonic() + aside.drain + GRACE
        if aside.agent is not None:
            aside.agent.lines.send("retire")
        else:
            self._drain_workers(aside.epoch)
        self._after(aside.drain + GRACE, partial(self._end_epoch, aside.epoch))
        if self._must_reopen:
            self._must_reopen = False
            self._tell_agent("reopen_logs")

    def _step_back(self, reason: str) -> None:
        """Those aside are ours again, and what was begun ends."""
        aside = self._aside
        assert aside is not None
        self._aside = None
        self._is_upgrade = False
        self._manager.ready()
        self.log.write("upgrade failed", "error", reason=reason)
        self._end_epoch(self._epoch)
        for held in (self.bound, self.bound_alone):
            for key in [key for key in held if key not in aside.held]:
                sockets.release(held.pop(key))
        os.close(self._table)
        self._use_table(aside.table)
        self._epoch, self._running_contract = aside.epoch, aside.contract
        self.agent, self.places, self.count, self._drain = aside.agent, aside.places, aside.count, aside.drain
        self._in_service = self._is_connected = True
        self._generation = 1  # there has been an agent: whoever is next is a successor
        if self.agent is not None:
            self.agent.lines.send("resume")
        else:
            self._after(_AGAIN, self._start_agent)
        for number, place in enumerate(self.places or ()):
            if place.child is None:
                self._after(_AGAIN, partial(self._start_worker, number))

    # --- what differs while there are former children ---------------------------------------------------------------

    def _start_agent(self) -> None:
        if self._is_foreign():
            self._renew_once()
        else:
            super()._start_agent()

    def _start_worker(self, worker: int) -> None:
        if self._is_foreign():
            self._renew_once()
        else:
            super()._start_worker(worker)

    def _is_foreign(self) -> bool:
        """Whether what we would start cannot work with what runs."""
        return self._running_contract != self._contract

    def _renew_once(self) -> None:
        if self._aside is None and not self._stopping:
            self._renew()

    def _bind(self, lines: Lines, message: Message) -> None:
        super()._bind(lines, message)
        self._asked.add(sockets.socket_key(message["name"], message["address"]))

    def _bind_alone(self, lines: Lines, message: Message) -> None:
        super()._bind_alone(lines, message)
        self._asked.add(sockets.socket_key(message["name"], message["address"]))

    def _on_agent_message(self, lines: Lines, message: Message, descriptors: list[int]) -> None:
        if message["op"] == "held":
            self._is_held = True
            self._become_soon()
            return
        super()._on_agent_message(lines, message, descriptors)
        if message["op"] == "ready" and self._aside is not None:
            self._promote()

    def _cannot_start(self, code: int, reason: str) -> None:
        if self._aside is not None:
            self._step_back(reason)
        else:
            super()._cannot_start(code, reason)

    def _agent_gone(self, child: Child, code: int) -> None:
        if self._probe is not None and not self._stopping:
            self._drop_probe()
            self.agent = None
            self._give_up("the agent has ended meanwhile")
        if self._stopping and self._aside is not None:
            code = 0  # that it was kept from starting is no failure
        super()._agent_gone(child, code)

    def _former_gone(self, child: Child, code: int) -> None:
        aside = self._aside
        is_aside = aside is not None and aside.epoch == child.epoch
        what = "agent" if child.worker is None else "worker"
        self.log.write(f"former {what} exited", pid=child.pid, status=code)
        if aside is not None and is_aside:
            if child.worker is None:
                aside.agent = None
            elif aside.places is not None and aside.places[child.worker].child is child:
                aside.places[child.worker].child = None
        left = [other for other in self._children.values() if other.epoch == child.epoch]
        if not left:
            self._deadlines.pop(child.epoch, None)
        elif child.worker is None and not is_aside:
            self._drain_workers(child.epoch)
        elif child.worker is not None:
            for other in left:
                if other.worker is None:
                    other.lines.send("gone", worker=child.worker, pid=child.pid, status=code)

    def _drain_workers(self, epoch: int) -> None:
        """For workers whose agent cannot tell them."""
        for child in self._children.values():
            if child.epoch == epoch and child.worker is not None:
                os.kill(child.pid, signal.SIGTERM)

    def _end_epoch(self, epoch: int) -> None:
        """At once."""
        left = [child.pid for child in self._children.values() if child.epoch == epoch]
        for pid in left:
            os.kill(pid, signal.SIGQUIT)
        if left:
            self._after(STOP_NOW, partial(self._kill_epoch, epoch))

    def _kill_epoch(self, epoch: int) -> None:
        for child in self._children.values():
            if child.epoch == epoch:
                os.kill(child.pid, signal.SIGKILL)

    def _tell_agent(self, op: str) -> None:
        if op == "reopen_logs":
            self._must_reopen = self._aside is not None
            for child in self._children.values():
                if child.worker is None and child.epoch != self._epoch:
                    child.lines.send(op)
        super()._tell_agent(op)

    def _start_draining(self, reason: str) -> None:
        if self._stopping:
            return
        if self._probe is not None:
            self._drop_probe()
            self.log.write("upgrade failed", "error", reason="the program is stopping")
        former = [child for child in self._children.values() if child.epoch != self._epoch]
        if self._aside is not None:
            self._drain = max(self._drain, self._aside.drain)
        super()._start_draining(reason)
        agents = {child.epoch for child in former if child.worker is None}
        for child in former:
            if child.worker is None:
                child.lines.send("drain")
            elif child.epoch not in agents:
                os.kill(child.pid, signal.SIGTERM)

    def _drop_probe(self) -> None:
        assert self._probe is not None
        if not self._is_probed:
            os.kill(self._probe.pid, signal.SIGKILL)
            self._probe.reason(1)
        self._probe = None
