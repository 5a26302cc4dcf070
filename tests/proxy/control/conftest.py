"""`start` starts the real program, and ends it after the test."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest
from ports import free_address
from processes import Hive, answering, listener

Start = Callable[..., Hive]


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Start]:
    """start(workers=1, routes=[...], how={...}, **other keys of the configuration); `how` is for Hive"""
    started: list[Hive] = []

    def start(
        workers: int = 1,
        routes: Sequence[Mapping[str, Any]] = (answering("one"),),
        how: Mapping[str, Any] | None = None,
        **keys: Any,
    ) -> Hive:
        config = {
            "admin": {"address": free_address()},
            "workers": workers,
            "listeners": [listener("web", *routes)],
            **keys,
        }
        started.append(Hive(tmp_path, config, **(how or {})))
        return started[-1]

    yield start
    for hive in started:
        hive.stop()
