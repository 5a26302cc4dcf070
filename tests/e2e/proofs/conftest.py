"""`holds(name)`: carry out the short form of a proof of benchmarks/proofs; fails with the claims that do not hold."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from benchmarks.proofs.__main__ import carry_out, load
from benchmarks.proofs.evidence import Evidence, MissingTool

Holds = Callable[[str], Evidence]


@pytest.fixture
def holds(tmp_path: Path) -> Holds:
    def carried_out(name: str) -> Evidence:
        # nginx's worker may run as another user, and pytest's folders are closed to all others.
        folder = tmp_path / name
        folder.mkdir()
        try:
            evidence = carry_out(load(name), folder, short=True)
        except MissingTool as problem:
            pytest.skip(str(problem))
        assert not evidence.failures()
        assert evidence.claims
        return evidence

    return carried_out
