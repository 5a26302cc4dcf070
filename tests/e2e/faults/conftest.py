"""One hivemesh whose system calls fail when they are told to (benchmarks/faults), for all tests of this directory."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from benchmarks.faults import scripts
from benchmarks.faults.control import Control
from benchmarks.faults.stage import Stage
from benchmarks.proofs.evidence import MissingTool


@pytest.fixture(scope="session")
def control(tmp_path_factory: pytest.TempPathFactory) -> Control:
    try:
        return Control(tmp_path_factory.mktemp("control"))
    except MissingTool as problem:
        pytest.skip(str(problem))


@pytest.fixture(scope="session")
def stage(tmp_path_factory: pytest.TempPathFactory, control: Control) -> Iterator[Stage]:
    with Stage(tmp_path_factory.mktemp("stage"), control) as stage:
        for _ in range(2):
            for script in scripts.ALL:
                assert script(stage) == "right", script.__name__
        stage.settle()
        yield stage
