"""docs/guide/operations.md speaks of commands, paths and configurations that exist."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from admin_server import AdminServer
from fake_agent import FakeAgent

from proxy.cli.main import hivemesh
from proxy.config.load import load_text

GUIDE = (Path(__file__).parents[3] / "docs" / "guide" / "operations.md").read_text()


def test_its_commands_are_the_commands_there_are() -> None:
    assert set(re.findall(r"`hivemesh ([a-z]+)", GUIDE)) == set(hivemesh.commands)


def test_its_paths_are_served() -> None:
    # An {id} is that of a request, and none of those is over here.
    written = [path for path in re.findall(r"`GET (/[^`]+)`", GUIDE) if "{id}" not in path]
    paths = {path.replace("{service}", "api") for path in written}
    assert len(paths) > 10
    with AdminServer(FakeAgent()) as server:
        assert {path: server.get(path).status for path in paths} == dict.fromkeys(paths, 200)


@pytest.mark.parametrize("block", re.findall(r"```yaml\n(.*?)```", GUIDE, re.DOTALL))
def test_its_configurations_load(block: str) -> None:
    assert load_text(block, "guide.yaml").problems == ()
