"""The loop: the n-th call fails, for n = 1, 2, 3 ... until the script ends without having met the fault.

After each run the fault is off: the script has to work again, and everything has to be at rest. A finding is one
sentence with the loop, n, and who met the fault in which call.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field

from benchmarks.faults.asking import RIGHT, Wrong
from benchmarks.faults.control import Call, Seen
from benchmarks.faults.stage import Stage
from benchmarks.faults.table import Loop
from benchmarks.proofs.evidence import ProofError


@dataclass(slots=True)
class Result:
    """Of all loops so far. `outcomes` by kind of call, in words."""

    runs: int = 0
    met: int = 0
    outcomes: dict[str, Counter[str]] = field(default_factory=dict)
    slowest: float = 0.0
    findings: list[str] = field(default_factory=list)
    unmet: list[str] = field(default_factory=list)  # loops whose fault no run met

    def count(self, call: Call, outcome: str) -> None:
        self.outcomes.setdefault(call.name.lower(), Counter())[outcome] += 1

    def as_json(self) -> dict[str, object]:
        return {
            "runs": self.runs,
            "met": self.met,
            "outcomes": {call: dict(found.most_common()) for call, found in self.outcomes.items()},
            "slowest_seconds": round(self.slowest, 2),
            "never_met": self.unmet,
        }


def run(stage: Stage, loop: Loop, result: Result, numbers: Iterable[int] | None = None) -> None:
    """`numbers`: which n; None: all up to the first that is not met, or the last."""
    met = 0
    for n in numbers if numbers is not None else range(1, loop.last + 1):
        seen = once(stage, loop, n, result)
        if seen.failed:
            met += 1
        elif numbers is None:
            break
    else:
        if numbers is None and not loop.may_die:
            result.findings.append(f"{loop}: still met at n = {loop.last}")
    if not met:
        result.unmet.append(str(loop))


def once(stage: Stage, loop: Loop, n: int, result: Result) -> Seen:
    assert stage.control is not None
    result.runs += 1
    began = time.monotonic()
    wrong = ""
    stage.control.arm(loop.fault, n)
    try:
        outcome = loop.script(stage)
    except Wrong as found:
        outcome, wrong = "wrong", str(found)
    finally:
        stage.control.disarm()
    seen = stage.control.seen()
    taken = time.monotonic() - began
    result.slowest = max(result.slowest, taken)
    if seen.failed:
        result.met += 1
        result.count(loop.fault.call, outcome)
    elif outcome != RIGHT and not wrong:
        wrong = f"without a fault: {outcome}"
    try:
        again = loop.script(stage)
        if again != RIGHT:
            again = loop.script(stage)  # the connection that the fault broke may have been in a pool
        if again != RIGHT:
            wrong = wrong or f"and afterwards, without the fault: {again}"
        stage.rest(loop.may_die)
    except (Wrong, ProofError) as found:
        wrong = wrong or f"and afterwards, without the fault: {found}"
    bug = stage.traceback()
    if bug:
        wrong = f"{wrong or outcome}; in the log: {bug}"
    if wrong:
        result.findings.append(f"{loop}, n = {n}, {seen.call} of descriptor {seen.fd}: {wrong}")
        _recover(stage)
    return seen


def _recover(stage: Stage) -> None:
    """So that the next finding is one of its own."""
    stage.one.wrong.clear()
    stage.two.wrong.clear()
    try:
        stage.settle()
    except (Wrong, ProofError, KeyError, OSError) as problem:
        raise ProofError(f"it does not come back: {problem}\n{stage.hive.last_words()}") from None
