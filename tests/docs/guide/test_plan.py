"""docs/guide/plan.md shows what `hivemesh plan` and `hivemesh simulate` print."""

from __future__ import annotations

import random
import re
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest
from admin_server import AdminServer
from fake_agent import FakeAgent

from mesh.capture import ALWAYS, CaptureEnd, CaptureStart
from mesh.decision import Question
from mesh.record import Record
from proxy.cli.main import cli
from proxy.config.load import load
from proxy.offline import Offline
from proxy.stats import slots

GUIDE = (Path(__file__).parents[3] / "docs/guide/plan.md").read_text()
RUNNING, WANTED = re.findall(r"^```yaml\n(.*?)^```$", GUIDE, re.MULTILINE | re.DOTALL)[:2]
(SHOWN,) = re.findall(r"asked of a hivemesh with traffic:\n\n```\n(.*?)^```$", GUIDE, re.MULTILINE | re.DOTALL)
(SIMULATED,) = re.findall(r"for the two files above:\n\n```\n(.*?)^```$", GUIDE, re.MULTILINE | re.DOTALL)

REQUESTS = 400


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


def traffic() -> Iterator[Question]:
    """Some seconds of a shop, always the same."""
    draw = random.Random(1)
    for number in range(REQUESTS):
        path = draw.choices(["/", "/api/cart", "/api/search?q=tea", "/old/page"], [60, 20, 15, 5])[0]
        headers = (("x-beta", "1"),) if draw.random() < 0.05 else ()
        yield Question(
            target=path,
            host="shop.local",
            listener="web",
            headers=headers,
            client=f"10.0.0.{draw.randrange(1, 3)}",
            request_id=f"{number:032x}",
        )


def recorded(number: int, question: Question, plane: Offline) -> Record:
    """What a hivemesh would write down of it."""
    decision = plane.ask(question)
    endpoint = next(each for each in plane.snapshot.services if each.name == decision.service).endpoints[0]
    return Record(
        ts=f"2026-11-30T12:00:{number // 200:02}.{number % 200 * 5:03}Z",
        duration_ms=2.0,
        request_id=question.request_id,
        method=question.method,
        host=question.host,
        path=question.target,
        status=200,
        route=decision.route,
        service=decision.service,
        version=decision.version,
        endpoint=decision.endpoint or endpoint.address,
        attempts=1,
        listener="web",
        peer=question.client,
        headers=question.headers,
    )


def test_the_simulation_is_the_one_shown(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    config = load("hivemesh.yaml", {}).config
    assert config is not None
    with Offline(config) as plane:
        records = [recorded(number, question, plane) for number, question in enumerate(traffic())]
    start = CaptureStart(capture=1, headers=(*ALWAYS, "x-beta"))
    lines = [start, *records, CaptureEnd(ended="2026-11-30T12:00:02Z", count=len(records))]
    (folder / "traffic.capture").write_bytes(b"".join(msgspec.json.encode(line) + b"\n" for line in lines))
    capsys.readouterr()
    assert cli(["simulate", "new.yaml", "--capture", "traffic.capture"]) == 0
    assert capsys.readouterr().out == SIMULATED
