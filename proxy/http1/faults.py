"""Trouble on purpose, as phases of a route or a service: a delay, and an error instead of an answer.

A delayed request holds no thread: its pause is a deadline on the client's connection, which ends with the client, or
with the time that the route gives the whole request. Copies of requests are left alone.
"""

from __future__ import annotations

import time
from collections.abc import Callable

from discovery.policies import Fault
from mesh.decision import PhaseVerdict
from mesh.draws import draws_of
from mesh.fault import abort_of, delay_of, is_over
from proxy.http1.parties import Exchange
from proxy.http1.phases import Phase, PhaseTools, Verdict
from proxy.http1.replies import Failure
from proxy.kernel.cells import Shared
from proxy.stats.words import FAULT_ABORTS, FAULT_DELAYS


class FaultPhase(Phase):
    """`clock`: seconds of the epoch. It is asked for each request, because the end of an experiment is a time of day,
    and the system's clock may be set."""

    purpose = ""  # of the draw
    fault: Fault
    salt: int
    shared: Shared
    clock: Callable[[], float]

    def __init__(self, fault: Fault, tools: PhaseTools, clock: Callable[[], float] = time.time) -> None:
        self.fault = fault
        self.salt = tools.salt(self.purpose)
        self.shared = tools.shared
        self.clock = clock

    def drawn(self, exchange: Exchange, percent: float) -> str:
        """What the request draws, in words."""
        if is_over(self.fault, self.clock()):
            return "the experiment is over"
        number = draws_of(exchange.request_id, self.salt).unit() * 100.0
        return f"drew {number:.2f} of 100, {percent:g} % are hit"


class DelayPhase(FaultPhase):
    purpose = "delay"

    def run(self, exchange: Exchange) -> Verdict | None:
        if exchange.is_copy:
            return None
        verdict = self.judge(exchange)
        if verdict is not None:
            self.shared.add(FAULT_DELAYS, 1)
        return verdict

    def judge(self, exchange: Exchange) -> Verdict | None:
        seconds = delay_of(self.fault, draws_of(exchange.request_id, self.salt), self.clock())
        if seconds <= 0.0:
            return None
        verdict = Verdict(0, [], b"", "DI")
        verdict.delay = seconds
        return verdict

    def preview(self, exchange: Exchange) -> tuple[PhaseVerdict, Verdict | None]:
        verdict = self.judge(exchange)
        delay = self.fault.delay
        assert delay is not None
        detail = f"{self.drawn(exchange, delay.percent)}: {delay.duration:g} s"
        return PhaseVerdict(name="fault", result="pass" if verdict is None else "delay", detail=detail), verdict


class AbortPhase(FaultPhase):
    purpose = "abort"

    def run(self, exchange: Exchange) -> Verdict | None:
        if exchange.is_copy:
            return None
        verdict = self.judge(exchange)
        if verdict is not None:
            self.shared.add(FAULT_ABORTS, 1)
        return verdict

    def judge(self, exchange: Exchange) -> Verdict | None:
        status = abort_of(self.fault, draws_of(exchange.request_id, self.salt), self.clock())
        if status == 0:
            return None
        failure = Failure(status, "FI", "", "aborted on purpose: fault injection is configured here")
        return Verdict.of(failure, "")

    def preview(self, exchange: Exchange) -> tuple[PhaseVerdict, Verdict | None]:
        verdict = self.judge(exchange)
        abort = self.fault.abort
        assert abort is not None
        detail = f"{self.drawn(exchange, abort.percent)}: status {abort.status}"
        return PhaseVerdict(name="fault", result="pass" if verdict is None else "answer", detail=detail), verdict


def fault_phases(fault: Fault, tools: PhaseTools) -> list[Phase]:
    phases: list[Phase] = []
    if fault.delay is not None:
        phases.append(DelayPhase(fault, tools))
    if fault.abort is not None:
        phases.append(AbortPhase(fault, tools))
    return phases
