"""From samples to a statement: medians, spread, and ratios of contenders that were measured in the same rounds.

A ratio is taken within each round, between samples that are seconds apart, and the median of those is quoted: what
slows the whole machine for a minute then slows both sides of the fraction. Holds no I/O.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from statistics import median


@dataclass(frozen=True, slots=True)
class Spread:
    """`spread_pct` is (max - min) / median: how far apart the rounds were."""

    median: float
    min: float
    max: float
    spread_pct: float


@dataclass(frozen=True, slots=True)
class Comparison:
    """ "`of` is to cost at most `goal` times `to`"; a goal of None only reports."""

    of: str
    to: str
    goal: float | None = None


@dataclass(frozen=True, slots=True)
class Ratio:
    of: str
    to: str
    median: float
    min: float
    max: float
    goal: float | None
    met: bool | None


def spread(values: Sequence[float]) -> Spread:
    if not values:
        raise ValueError("no samples to summarise")
    middle = median(values)
    width = max(values) - min(values)
    return Spread(middle, min(values), max(values), 100.0 * width / middle if middle else 0.0)


def ratio(comparison: Comparison, of: Sequence[float], to: Sequence[float]) -> Ratio:
    """Round by round; both sides must have been measured in the same rounds."""
    if len(of) != len(to):
        raise ValueError(f"{comparison.of} has {len(of)} samples and {comparison.to} has {len(to)}, expected as many")
    fractions = [mine / theirs for mine, theirs in zip(of, to, strict=True) if theirs]
    if not fractions:
        raise ValueError(f"{comparison.to} measured nothing but zero")
    middle = median(fractions)
    met = None if comparison.goal is None else middle <= comparison.goal
    return Ratio(comparison.of, comparison.to, middle, min(fractions), max(fractions), comparison.goal, met)


def summarise(
    samples: Mapping[str, Sequence[Mapping[str, float]]], metric: str, comparisons: Sequence[Comparison]
) -> dict[str, object]:
    """The `lanes` and `ratios` parts of a result file. Comparisons with a lane that was not measured are left out."""
    lanes = {
        label: {**asdict(spread([sample[metric] for sample in rows])), "samples": [dict(row) for row in rows]}
        for label, rows in samples.items()
        if rows
    }
    ratios = [
        asdict(
            ratio(
                comparison,
                [row[metric] for row in samples[comparison.of]],
                [row[metric] for row in samples[comparison.to]],
            )
        )
        for comparison in comparisons
        if comparison.of in lanes and comparison.to in lanes
    ]
    return {"lanes": lanes, "ratios": ratios}


def percentile(ordered: Sequence[float], share: float) -> float:
    """Nearest rank: the smallest value that at least `share` (0..1) of all values do not exceed."""
    if not ordered:
        raise ValueError("no samples to take a percentile of")
    if not 0.0 < share <= 1.0:
        raise ValueError(f"share {share}, expected above 0 and at most 1")
    rank = -int(-share * len(ordered) // 1)  # rounded up
    return ordered[max(rank, 1) - 1]


def rotated(labels: Sequence[str], turn: int) -> list[str]:
    """The order of round `turn`: each lane is first equally often, so that none always follows the same other."""
    start = turn % len(labels) if labels else 0
    return [*labels[start:], *labels[:start]]
