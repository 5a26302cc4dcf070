"""Every kind of traffic while everything happens once (benchmarks/soak)."""

from __future__ import annotations

from pathlib import Path

import pytest

from benchmarks.proofs.evidence import Evidence
from benchmarks.soak.run import PROMISE, short_plan, soak


@pytest.mark.parametrize("seed", [7])
def test_every_failure_is_explained_while_everything_happens_once(tmp_path: Path, seed: int) -> None:
    evidence = Evidence("soak", PROMISE, short=True)

    soak(evidence, tmp_path, short_plan(seed), print)

    assert not evidence.failures()
