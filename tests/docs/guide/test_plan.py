"""docs/guide/plan.md shows what `hivemesh plan` prints."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from admin_server import AdminServer
from fake_agent import FakeAgent

from proxy.cli.main import cli
from proxy.config.load import load
from proxy.stats import slots

GUIDE = (Path(__file__).parents[3] / "docs/guide/plan.md").read_text()
RUNNING, WANTED = re.findall(r"^```yaml\n(.*?)^```$", GUIDE, re.MULTILINE | re.DOTALL)[:2]
(SHOWN,) = re.findall(r"asked of a hivemesh with traffic:\n\n```\n(.*?)^```$", GUIDE, re.MULTILINE | re.DOTALL)


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    (tmp_path / "hivemesh.yaml").write_text(RUNNING)
    (tmp_path / "new.yaml").write_text(WANTED)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_the_plan_is_the_one_shown(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    config = load("hivemesh.yaml", {}).config
    assert config is not None
    agent = FakeAgent(config)
    agent.row("listener/web").add(slots.CONNECTIONS_ACTIVE, 143)
    agent.row("listener/web").add(slots.ACTIVE, 12)
    agent.row(slots.route_key("web", "old")).add(slots.ACTIVE, 1)
    endpoint = agent.row(slots.endpoint_key("api", "a3", "127.0.0.1:9103"))
    for cell, number in ((slots.ACTIVE, 3), (slots.CONNECTIONS_ACTIVE, 7), (slots.POOL_IDLE, 4)):
        endpoint.add(cell, number)
    with AdminServer(agent) as server:
        assert cli(["--admin", server.url, "plan", "new.yaml"]) == 0
    assert capsys.readouterr().out == SHOWN
