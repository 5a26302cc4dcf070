"""A sample of the fault loops: every kind of call, each with some error, for the first n. All of it: `make faults`."""

from __future__ import annotations

import pytest

from benchmarks.faults import scripts, table
from benchmarks.faults.control import Call
from benchmarks.faults.loop import Result, run
from benchmarks.faults.stage import Stage

LOOPS = 3  # of each kind
NUMBERS = (1, 2)


def sample(call: Call) -> list[table.Loop]:
    """Without what takes seconds: reloads, and the restart of a worker, of which a kind gets one if it has no other."""
    loops = [loop for loop in table.loops() if loop.fault.call is call]
    quick = [loop for loop in loops if not loop.may_die and loop.script is not scripts.reload]
    return quick[:: len(quick) // LOOPS + 1] or [loop for loop in loops if loop.may_die][:1]


@pytest.mark.parametrize("call", list(Call), ids=lambda call: call.name.lower())
def test_the_nth_call_fails_and_nothing_is_wrong(stage: Stage, call: Call) -> None:
    result = Result()
    for loop in sample(call):
        run(stage, loop, result, NUMBERS[:1] if loop.may_die else NUMBERS)
    assert not result.findings, result.findings[0]
