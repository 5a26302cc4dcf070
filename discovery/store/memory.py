"""The store that keeps nothing: what the API registered is gone with the agent."""

from __future__ import annotations

from collections.abc import Sequence

from discovery.overlay import Edit
from discovery.store import Stored


class MemoryStore:
    async def load(self) -> Stored:
        return Stored()

    async def write(self, edits: Sequence[Edit], index: int) -> None:
        pass

    async def close(self) -> None:
        pass
