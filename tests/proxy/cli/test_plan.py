"""`hivemesh plan` against the real admin server over a fake agent, and between two files."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest
from admin_server import AdminServer
from fake_agent import FakeAgent

from discovery.config import Config
from proxy.cli.main import cli
from proxy.config.effective import effective
from proxy.config.load import load_text
from proxy.stats import slots

SHOP = """
listeners:
  - name: front
    address: 127.0.0.1:8080
    routes:
      - { name: api, match: { host: "*.shop.local", path_prefix: /api, methods: [ GET, POST ] }, service: api }
      - { name: default, service: web }
services:
  api:
    endpoints: [ { id: api-1, address: 127.0.0.1:9001 }, { id: api-2, address: 127.0.0.1:9002 } ]
  web: { domain: web.local, endpoints: [ { id: web-1, address: 127.0.0.1:9003 } ] }
"""


def config(text: str) -> Config:
    loaded = load_text(text, "shop.yaml", {})
    assert loaded.config is not None, loaded.problems
    return loaded.config


@pytest.fixture
def agent() -> FakeAgent:
    return FakeAgent(config("secret: " + "s" * 32 + "\n" + SHOP))


@pytest.fixture
def server(agent: FakeAgent) -> Iterator[AdminServer]:
    with AdminServer(agent) as running:
        yield running


@pytest.fixture
def run(server: AdminServer, capsys: pytest.CaptureFixture[str], tmp_path: Path):  # type: ignore[no-untyped-def]
    def ask(text: str, *options: str, code: int = 0) -> str:
        path = tmp_path / "new.yaml"
        path.write_text(text)
        capsys.readouterr()
        assert cli(["--admin", server.url, "plan", str(path), *options]) == code
        return capsys.readouterr().out.replace(str(path), "new.yaml")

    return ask


def test_the_file_that_is_in_force_changes_nothing(run, agent: FakeAgent) -> None:  # type: ignore[no-untyped-def]
    assert run(SHOP, "--exit-code") == "no change\n"


def test_changes_come_as_a_diff_with_what_is_under_way(run, agent: FakeAgent) -> None:  # type: ignore[no-untyped-def]
    agent.row("listener/front").add(slots.CONNECTIONS_ACTIVE, 143)
    agent.row("listener/front").add(slots.ACTIVE, 9)
    endpoint = agent.row(slots.endpoint_key("api", "api-2", "127.0.0.1:9002"))
    endpoint.add(slots.ACTIVE, 2)
    endpoint.add(slots.CONNECTIONS_ACTIVE, 5)
    endpoint.add(slots.POOL_IDLE, 3)
    wanted = SHOP.replace(", { id: api-2, address: 127.0.0.1:9002 }", "")
    wanted = wanted.replace("service: web }", "service: web, timeout: 2s }")
    wanted = wanted.replace(
        "      - { name: d", "      - { name: beta, match: { path: /beta }, service: api }\n      - { name: d"
    )
    assert run(wanted).splitlines() == [
        "listener front",
        "  + route beta  /beta -> api  (new.yaml:7)",
        "      no. 2 of 3 in order of precedence",
        "  ~ route default  /* -> web  (shop.yaml:8 -> new.yaml:8)",
        "      timeout: not set -> 2s",
        "",
        "service api",
        "  - endpoint api-2  127.0.0.1:9002",
        "      drains: 2 requests and 2 connections finish there",
        "",
        "+1 route, ~1 route, -1 endpoint, 1 endpoint drains, 143 live connections stay open, "
        "9 requests or streams under way on the old policy, 0 cut",
    ]


def test_what_the_api_has_added_is_no_difference(run, server: AdminServer) -> None:  # type: ignore[no-untyped-def]
    server.put("/v1/services/web/endpoints/web-2", {"address": "127.0.0.1:9009"})
    server.put("/v1/services/cart", {"load_balancing": "random"})
    assert run(SHOP) == "no change\n"


def test_asking_changes_nothing(run, agent: FakeAgent) -> None:  # type: ignore[no-untyped-def]
    before = agent.snapshot
    run(SHOP.replace("9003", "9004"))
    assert agent.snapshot is before
    assert agent.reload_calls == 0


def test_exit_code_and_json(run) -> None:  # type: ignore[no-untyped-def]
    wanted = SHOP.replace("9003", "9004")
    assert run(wanted)
    found = json.loads(run(wanted, "--exit-code", "--json", code=4))
    assert found["summary"].startswith("~1 endpoint, 1 endpoint drains, 0 live connections stay open")
    (change,) = found["changes"]
    assert change["values"] == [{"key": "address", "was": "127.0.0.1:9003", "now": "127.0.0.1:9004"}]


def test_what_only_a_restart_changes_says_so(run) -> None:  # type: ignore[no-untyped-def]
    found = run("metrics: { address: 127.0.0.1:9901 }\n" + SHOP)
    assert "~ metrics" in found and "takes effect after a restart" in found


def test_secrets_stay_where_they_are(run) -> None:  # type: ignore[no-untyped-def]
    found = run("secret: " + "t" * 32 + "\n" + SHOP, "--json")
    assert [change["name"] for change in json.loads(found)["changes"]] == ["secret"]
    assert "tttt" not in found and "ssss" not in found


def test_a_file_with_problems_is_not_planned(run) -> None:  # type: ignore[no-untyped-def]
    assert run(SHOP.replace("service: web", "service: wbe"), code=1).startswith("new.yaml:7:")
    found = json.loads(run("listeners: 1", "--json", code=1))
    assert found["ok"] is False and found["problems"]


def test_what_the_registry_would_refuse_is_told(run) -> None:  # type: ignore[no-untyped-def]
    wanted = "registry: { max_endpoints: 3 }\n" + SHOP + "  more: { endpoints: [ { id: m, address: 127.0.0.1:9 } ] }\n"
    assert run(wanted, code=1).startswith("a reload would refuse it:\n")


def test_between_two_files_nothing_needs_to_run(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "a").write_text(SHOP)
    (tmp_path / "b").write_text(SHOP.replace("9003", "9004"))
    arguments = ["--admin", "http://127.0.0.1:1", "plan", str(tmp_path / "b"), "--from", str(tmp_path / "a")]
    assert cli(arguments) == 0
    assert capsys.readouterr().out.splitlines()[-1] == "~1 endpoint, 1 endpoint drains"


@pytest.mark.parametrize("body", [b"", b"{", b"[]", b'{"snapshot": 1}', b'{"snapshot": {}, "x": 1}', b"\xff"])
def test_a_body_that_is_no_configuration(server: AdminServer, body: bytes) -> None:
    reply = server.post("/v1/plan", body)
    assert reply.status == 422
    assert reply.json["detail"].startswith("body: no configuration of this version of hivemesh")


def test_the_effective_configuration_of_a_plan_is_its_own(agent: FakeAgent) -> None:
    """What the command sends is what `GET /v1/config` would show afterwards."""
    sent = msgspec.json.decode(msgspec.json.encode(config(SHOP)), type=Config)
    assert effective(sent) == effective(config(SHOP))
