"""`pin_workers`: which core a worker runs on."""

from __future__ import annotations

from collections.abc import Collection


def core_of(worker: int, cores: Collection[int]) -> int:
    """The n-th of the `cores` that the program may use, for worker n; more workers than cores begin again."""
    ordered = sorted(cores)
    return ordered[worker % len(ordered)]
