"""A past request as a line of time: how long each of its phases took, drawn to scale.

The five parts follow each other and sum up to the whole: until its head was complete, until it had an endpoint, until
that was connected, until the answer began, and the rest of the answer. Pure.
"""

from __future__ import annotations

from typing import NamedTuple

from mesh.record import Record


class Part(NamedTuple):
    """A phase of a request: `took` milliseconds."""

    name: str
    took: float


NAMES = ("head", "queue", "connect", "first byte", "rest")


def parts_of(record: Record) -> list[Part]:
    """Those that were begun, in order. What came after an attempt that failed is in the phase in which it ended."""
    known = (record.t_recv, record.t_queue, record.t_connect, record.t_first_byte)
    total = record.t_total or record.duration_ms
    parts = [Part(name, took) for name, took in zip(NAMES, known, strict=False)]
    return [*parts, Part(NAMES[-1], max(0.0, total - sum(known)))]


def cells_of(sizes: list[float], width: int) -> list[int]:
    """How many of `width` cells each size gets: to scale, and at least one for whatever is above nothing, as long as
    there are enough cells for that. Their sum is `width`, unless there is nothing to draw."""
    total = sum(sizes)
    if total <= 0 or width <= 0:
        return [0 for _ in sizes]
    cells = [0 if size <= 0 else max(1, int(size * width / total)) for size in sizes]
    # What rounding leaves over, or takes too much of, is the largest one's: there it shows least.
    cells[sizes.index(max(sizes))] += max(0, width - sum(cells))
    while sum(cells) > width:
        cells[cells.index(max(cells))] -= 1
    return cells


def milliseconds(value: float) -> str:
    """Three digits are what one looks at."""
    if value >= 10_000:
        return f"{value / 1000:.3g} s" if value < 1_000_000 else f"{value / 1000:,.0f} s"
    return f"{value:.0f} ms" if value >= 100 else f"{value:.3g} ms"
