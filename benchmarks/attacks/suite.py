"""The whole table against one proxy: lanes beside each other, and what they found."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from benchmarks.attacks.case import Case
from benchmarks.attacks.contenders import Contender, Place
from benchmarks.attacks.judge import Outcome, judge
from benchmarks.attacks.lane import Lane, Seen
from benchmarks.proofs.hive import free_port

LANES: Final = 8
# Nothing here is measured. A proxy that has to do something is given long; one that rightly does nothing is not.
PATIENCE: Final = 10.0
PATIENCE_IDLE: Final = 0.1

Result = tuple[Case, Seen, Outcome]


def run(
    contender: Contender, cases: Sequence[Case], folder: Path, patience: float = PATIENCE, lanes: int = LANES
) -> list[Result]:
    """Results in the order of `cases`. RuntimeError when the proxy does not start, or ends."""
    return asyncio.run(_run(contender, cases, folder, patience, lanes))


async def _run(contender: Contender, cases: Sequence[Case], folder: Path, patience: float, count: int) -> list[Result]:
    lanes = [Lane(patience, PATIENCE_IDLE) for _ in range(count)]
    for lane in lanes:
        await lane.open()
    places = [Place(free_port(), free_port(), lane.origin_port) for lane in lanes]
    for lane, place in zip(lanes, places, strict=True):
        lane.ports = place.ports
    queue = list(reversed(range(len(cases))))
    results: dict[int, Result] = {}

    async def work(lane: Lane) -> None:
        while queue:
            number = queue.pop()
            case = cases[number]
            seen = await lane.run(case)
            results[number] = (case, seen, judge(case, seen))

    with contender.serving(places, folder):
        await asyncio.gather(*map(work, lanes))
    for lane in lanes:
        await lane.close()
    return [results[number] for number in range(len(cases))]
