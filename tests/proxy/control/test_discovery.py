"""What an agent has kept for a successor when the machine is short of something."""

from __future__ import annotations

import asyncio
import errno
import os
from types import SimpleNamespace
from typing import Any, cast

import pytest

from discovery.catalog import Catalog
from discovery.changes import PutNode
from discovery.model import Node, Snapshot
from discovery.registry import Registry
from discovery.store.memory import MemoryStore
from proxy.control import discovery
from proxy.control.kept import Kept


def test_what_could_not_be_kept_is_kept_later_and_told_until_then(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(discovery, "_KEEP_EVERY", 0.0)

    async def scenario() -> None:
        catalog = Catalog(Registry(), MemoryStore())
        await catalog.open()
        kept: asyncio.Future[Kept] = asyncio.get_running_loop().create_future()
        told: list[dict[str, str]] = []

        def keep(state: Kept) -> None:
            told.append(dict(catalog.problems()))
            if len(told) == 1:
                raise OSError(errno.EMFILE, os.strerror(errno.EMFILE))
            kept.set_result(state)

        not_started = cast(Any, SimpleNamespace(snapshot=Snapshot()))
        discovery.Discovery(asyncio.get_running_loop(), catalog, not_started, keep=keep)
        await catalog.change(PutNode(node=Node(name="n1")))
        async with asyncio.timeout(10):
            state = await kept
        assert [record.node.name for record in state.records if isinstance(record, PutNode)] == ["n1"]
        sentence = "what is known could not be kept for a successor: Too many open files"
        assert told == [{}, {"keeping": sentence}]
        assert not catalog.problems()
        await catalog.close()

    asyncio.run(scenario())
