"""The same cases with what the client sends cut at random places: no verdict may depend on how bytes arrive."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import replace
from typing import Final

from benchmarks.attacks.case import Case, Step, Until

MOST_CUTS: Final = 4


def in_pieces(cases: Sequence[Case], seed: int) -> list[Case]:
    """Each with up to MOST_CUTS cuts in each of its sends, and a pause at every cut."""
    draws = random.Random(seed)
    return [replace(case, sends=tuple(piece for step in case.sends for piece in _cut(step, draws))) for case in cases]


def _cut(step: Step, draws: random.Random) -> list[Step]:
    if isinstance(step, Until) or len(step) < 2:
        return [step]
    pieces: list[Step] = []
    last = 0
    for at in sorted(draws.sample(range(1, len(step)), min(len(step) - 1, MOST_CUTS))):
        pieces += [step[last:at], Until.READ]
        last = at
    return [*pieces, step[last:]]
