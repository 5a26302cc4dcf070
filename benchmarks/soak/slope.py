"""Do processes keep their size? A robust line through the samples of each process, from its start to its end. Pure.

The slope is Theil and Sen's: the median of the slopes between all pairs of samples, which a quarter of wild samples
cannot move. A replaced process begins a line of its own. What a process takes at its start is not growth: pools fill
and the allocator finds its size while the first traffic arrives, so the first samples are left out.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import median
from typing import Final, NamedTuple

MIB: Final = 1024 * 1024

# Seconds after the start of a process that are left out, and how long a line must be after that.
WARM: Final = 60.0
SHORTEST: Final = 120.0
FEWEST: Final = 30

# How much the line may rise from its first sample to its last, as noise: pages that the allocator holds and gives back.
# Traffic of ten minutes is about 100,000 exchanges: 16 bytes kept of each are seen.
MEMORY_BOUND: Final = 1.5 * MIB
# Connections under way are as many as the machine lets wait: a line through them rises or falls by up to 9 in ten
# minutes when something else begins or ends on the same cores. The extra listener of every second generation has a
# socket for each worker, in each of its processes. What is left open for good is seen at rest, where none may differ.
DESCRIPTOR_BOUND: Final = 16.0

# Pairs grow with the square; more samples than this are thinned out evenly.
MOST: Final = 300


class Sample(NamedTuple):
    """born: what tells a process from a later one with its id. role: supervisor, agent, worker N. private: bytes.
    descriptors: but for those of pipes, which workers keep for the next stream (proxy/kernel/splice)."""

    at: float
    pid: int
    born: int
    role: str
    private: int
    descriptors: int
    pipes: int


@dataclass(frozen=True, slots=True)
class Line:
    """rise: of the fitted line from the first sample to the last, in bytes and in descriptors."""

    role: str
    pid: int
    seconds: float
    samples: int
    memory: float
    descriptors: float
    start: int

    @property
    def is_flat(self) -> bool:
        return self.memory <= MEMORY_BOUND and self.descriptors <= DESCRIPTOR_BOUND

    def __str__(self) -> str:
        return (
            f"{self.role} ({self.seconds / 60:.1f} min, {self.start / MIB:.1f} MiB): {self.memory / MIB:+.2f} MiB, "
            f"{self.descriptors:+.1f} descriptors"
        )


def theil_sen(points: Sequence[tuple[float, float]]) -> float:
    """The slope; 0 for fewer than two points."""
    step = -(-len(points) // MOST) or 1
    chosen = points[::step]
    slopes = [
        (value - before) / (at - earlier)
        for number, (earlier, before) in enumerate(chosen)
        for at, value in chosen[number + 1 :]
        if at > earlier
    ]
    return median(slopes) if slopes else 0.0


def lines(samples: Sequence[Sample]) -> list[Line]:
    """One for each process that lived long enough."""
    lives: dict[tuple[int, int], list[Sample]] = defaultdict(list)
    for sample in samples:
        lives[(sample.pid, sample.born)].append(sample)
    found = []
    for life in lives.values():
        warm = [sample for sample in life if sample.at >= life[0].at + WARM]
        if len(warm) < FEWEST or warm[-1].at - warm[0].at < SHORTEST:
            continue
        seconds = warm[-1].at - warm[0].at
        found.append(
            Line(
                warm[-1].role,
                warm[-1].pid,
                seconds,
                len(warm),
                seconds * theil_sen([(sample.at, sample.private) for sample in warm]),
                seconds * theil_sen([(sample.at, sample.descriptors) for sample in warm]),
                warm[0].private,
            )
        )
    return found
