"""Quantiles out of duration buckets, the way Prometheus does it: linear inside the bucket that holds the rank.

Pure. What lies above the highest bound is reported as that bound, because nothing more is known about it.
"""

from __future__ import annotations

from collections.abc import Sequence


def quantile(share: float, bounds: Sequence[float], counts: Sequence[int]) -> float | None:
    """The value below which `share` (0 to 1) of the durations lie; None when there are none.

    `counts` are per bucket, not cumulative, and one longer than `bounds`."""
    total = sum(counts)
    if total <= 0:
        return None
    rank = share * total
    below = 0
    lower = 0.0
    for bound, count in zip(bounds, counts, strict=False):
        if count and below + count >= rank:
            return lower + (bound - lower) * (rank - below) / count
        below += count
        lower = bound
    return bounds[-1]
