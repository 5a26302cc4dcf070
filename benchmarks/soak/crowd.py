"""A crowd: clients of several kinds in one process, until they are told to stop; what they saw."""

from __future__ import annotations

import asyncio
import random
from typing import Any

from benchmarks.proofs.part import Cue
from benchmarks.soak.scene import Scene
from benchmarks.soak.tally import Tally, Walk


async def walk_all(cue: Cue, scene: Scene, seed: str, kinds: dict[str, tuple[int, Any]]) -> Tally:
    """`kinds`: by name, how many clients there are and what each does: kind(walk, scene). Names and draws follow from
    `seed`, which must be another one for each crowd."""
    tally = Tally()
    clients = []
    for kind, (count, run) in kinds.items():
        for number in range(count):
            name = f"{seed}.{kind}{number}"
            clients.append(run(Walk(cue, name, tally, random.Random(name)), scene))
    cue.ready()
    await asyncio.gather(*clients)
    return tally
