"""Where registrations of the API are kept.

A store holds the records of discovery/overlay.py by key. `memory:` forgets them with the agent; `sqlite:PATH` has them
on disk before they are acknowledged. Another engine implements `Store`: a few records by key, written together or not
at all, are all that is asked of it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Protocol

from discovery.overlay import Edit


@dataclass(slots=True)
class Stored:
    """What was kept: records in the order in which their keys came up first, and the index when they were written."""

    edits: Sequence[Edit] = field(default_factory=list)
    index: int = 0


class CannotOpen(Exception):
    """The store cannot be used. Message: one sentence for the user."""


class Store(Protocol):
    async def load(self) -> Stored:
        """Open it and read everything. Raises CannotOpen."""
        ...

    async def write(self, edits: Sequence[Edit], index: int) -> None:
        """Returns when all of `edits` would survive a crash. Raises StoreFailed; then none of them is there."""
        ...

    async def close(self) -> None: ...
