"""The commands against the real admin server over a fake agent."""

from __future__ import annotations

import json
import re
import socket
import threading
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest
from admin_server import AdminServer
from fake_agent import FakeAgent, shop

from discovery.changes import Base
from discovery.model import Listener, Position, Protocol, StreamRoute, TrafficSplit
from mesh.breaker import CLOSED, HALF_OPEN, OPEN
from proxy.admin.view import ReloadResult
from proxy.cli.main import cli
from proxy.config.load import load_text
from proxy.config.problems import Problem
from proxy.stats import slots

ENDPOINT = slots.endpoint_key("api", "api-1", "127.0.0.1:9001")


@pytest.fixture
def agent() -> FakeAgent:
    return FakeAgent()


@pytest.fixture
def server(agent: FakeAgent) -> Iterator[AdminServer]:
    with AdminServer(agent) as running:
        yield running


class Cli:
    def __init__(self, capsys: pytest.CaptureFixture[str]) -> None:
        self._capsys = capsys

    def __call__(self, *arguments: str, code: int = 0) -> str:
        """Output of a command that ends with this exit code: standard output, or standard error if that is empty."""
        self._capsys.readouterr()
        assert cli(list(arguments)) == code
        captured = self._capsys.readouterr()
        self.errors = captured.err
        return captured.out or captured.err

    def rows(self, *arguments: str) -> list[dict[str, str]]:
        """The rows of the only table, by the names of their columns; no cell is empty or holds two spaces in a row."""
        names, *rows = (re.split(r"\s{2,}", line.strip()) for line in self(*arguments).splitlines())
        return [dict(zip(names, row, strict=True)) for row in rows]


@pytest.fixture
def hivemesh(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Cli:
    monkeypatch.delenv("HIVEMESH_ADMIN", raising=False)
    monkeypatch.delenv("HIVEMESH_TOKEN", raising=False)
    return Cli(capsys)


# --- what is shown ----------------------------------------------------------------------------------------------


def test_services(hivemesh: Cli, server: AdminServer, agent: FakeAgent) -> None:
    agent.row("service/api").count_request(200, 1_000, 0, 0)
    api, web = hivemesh.rows("--admin", server.url, "services")
    assert (api["SERVICE"], api["HEALTHY"], api["ENDPOINTS"], api["REQUESTS"]) == ("api", "1", "2", "1")
    assert api["WRITTEN AT"] == "shop.yaml:20"
    assert (web["SERVICE"], web["DOMAIN"]) == ("web", "web.local")
    assert (web["BALANCING"], web["POLICIES"]) == ("round_robin", "-")
    server.put("/v1/services/web/load_balancing", {"strategy": "maglev", "hash_on": "cookie:user"})
    server.put("/v1/services/web/mesh", {"retry": {"max_retries": 2}, "rate_limit": {"requests": 5}})
    _, web = hivemesh.rows("--admin", server.url, "services")
    assert (web["BALANCING"], web["POLICIES"]) == ("maglev", "retry 2, rate 5 per 1s")


def test_endpoints_of_all_services_or_of_one(hivemesh: Cli, server: AdminServer, agent: FakeAgent) -> None:
    agent.row(ENDPOINT).count_request(200, 1_000, 0, 0)
    agent.row(ENDPOINT).add(slots.ACTIVE, 3)
    every = hivemesh.rows("--admin", server.url, "endpoints")
    assert [(row["SERVICE"], row["ENDPOINT"]) for row in every] == [
        ("api", "api-1"),
        ("api", "api-2"),
        ("web", "web-1"),
    ]
    first, second = hivemesh.rows("--admin", server.url, "endpoints", "api")
    assert (first["ADDRESS"], first["STATE"], first["ACTIVE"], first["REQUESTS"]) == (
        "127.0.0.1:9001",
        "healthy",
        "3",
        "1",
    )
    assert (second["STATE"], second["VERSION"]) == ("draining", "v2")


def test_endpoints_that_a_breaker_keeps_requests_from(hivemesh: Cli, server: AdminServer, agent: FakeAgent) -> None:
    agent.put_breaker(ENDPOINT, OPEN, until=100.0, times=3)
    first, _ = hivemesh.rows("--admin", server.url, "endpoints", "api")
    assert (first["STATE"], first["FOR"]) == ("ejected", "-")
    assert "ejected 3 times in a row" in hivemesh("--admin", server.url, "endpoints", "api")
    api, _ = hivemesh.rows("--admin", server.url, "services")
    assert (api["HEALTHY"], api["EJECTED"], api["ENDPOINTS"]) == ("0", "1", "2")
    agent.put_breaker(ENDPOINT, HALF_OPEN)
    first, _ = hivemesh.rows("--admin", server.url, "endpoints", "api")
    assert first["STATE"] == "half-open"
    agent.put_breaker(ENDPOINT, CLOSED, count=4)
    first, _ = hivemesh.rows("--admin", server.url, "endpoints", "api")
    assert (first["STATE"], first["ERRORS"]) == ("healthy", "4")


def test_a_service_that_does_not_exist(hivemesh: Cli, server: AdminServer) -> None:
    assert hivemesh("--admin", server.url, "endpoints", "nope", code=1) == "hivemesh: there is no service called nope\n"
    assert "there is no service called a/../b" in hivemesh("--admin", server.url, "endpoints", "a/../b", code=1)


def test_routes(hivemesh: Cli, server: AdminServer) -> None:
    out = hivemesh("--admin", server.url, "routes")
    assert "GET POST *.shop.local/api[/*]" in out
    assert "shop.yaml:7" in out
    server.post("/v1/routes", {"name": "new", "service": "web", "timeout": "2s", "filters": [{"max_concurrent": 3}]})
    [new] = [row for row in hivemesh.rows("--admin", server.url, "routes") if row["ROUTE"] == "new"]
    assert (new["TO"], new["POLICIES"]) == ("web", "timeout 2s, concurrent 3")


def test_routes_of_connections_and_datagrams(hivemesh: Cli) -> None:
    streams = (
        StreamRoute(name="named", sni=("a.local", "*.a.local"), service="api"),
        StreamRoute(name="rest", clients=("10.0.0.0/8",), split=(TrafficSplit(service="api"),)),
    )
    config = shop()
    [front] = config.snapshot.listeners
    both = msgspec.structs.replace(front, protocol=Protocol.AUTO, streams=streams[:1])
    packets = Listener(name="packets", address="127.0.0.1:53", protocol=Protocol.UDP, streams=streams[1:])
    snapshot = msgspec.structs.replace(config.snapshot, listeners=(both, packets))
    with AdminServer(FakeAgent(config=msgspec.structs.replace(config, snapshot=snapshot))) as server:
        rows = hivemesh.rows("--admin", server.url, "routes")
    assert [(row["LISTENER"], row["ROUTE"], row["MATCH"], row["TO"]) for row in rows[2:]] == [
        ("front", "named", "tcp a.local, *.a.local", "api"),
        ("packets", "rest", "udp any session from 10.0.0.0/8", "api 100%"),
    ]


def test_workers(hivemesh: Cli, server: AdminServer) -> None:
    first, second = hivemesh.rows("--admin", server.url, "workers")
    assert (first["WORKER"], first["STATE"], first["SNAPSHOT"]) == ("0", "ready", "7")
    assert second["WORKER"] == "1"


def test_problems(hivemesh: Cli, server: AdminServer, agent: FakeAgent) -> None:
    assert hivemesh("--admin", server.url, "problems") == "no problems\n"
    agent.known_problems = (
        Problem(message="unknown key", position=Position(file="a.yaml", line=3, column=5), key="listners"),
    )
    assert hivemesh("--admin", server.url, "problems") == "a.yaml:3:5: listners: unknown key\n"


def test_the_configuration_in_force_is_yaml_that_loads(hivemesh: Cli, server: AdminServer) -> None:
    text = hivemesh("--admin", server.url, "config").replace("127.0.0.1:0", "127.0.0.1:9900")
    loaded = load_text(text, "effective.yaml")
    assert loaded.problems == ()
    assert loaded.config is not None
    assert [service.name for service in loaded.config.snapshot.services] == ["api", "web"]


def test_the_configuration_in_force_says_where_it_is_from(hivemesh: Cli) -> None:
    config = load_text(GOOD, "good.yaml", {}).config
    assert config is not None
    with AdminServer(FakeAgent(config=config, config_text=zlib.compress(GOOD.encode()))) as server:
        text = hivemesh("--admin", server.url, "config", "--origins")
        answer = json.loads(hivemesh("--admin", server.url, "config", "--origins", "--json"))
    assert re.search(r"^  - name: web +# shop.yaml:3$", text, re.MULTILINE)
    assert answer["origins"]["workers"] == {"origin": "default"}


def test_totals_of_traffic(hivemesh: Cli, server: AdminServer, agent: FakeAgent) -> None:
    for code in (200, 204, 404, 503):
        agent.row("listener/front").count_request(code, 2_000, 1024, 2048)
    out = hivemesh("--admin", server.url, "stats")
    header, front = out.splitlines()[:2]
    assert header.split() == [
        *("LISTENER", "REQUESTS", "ACTIVE", "CONNS", "2XX", "3XX", "4XX", "5XX", "OTHER", "IN", "OUT", "P50", "P99")
    ]
    assert front.split() == ["front", "4", "0", "0", "2", "-", "1", "1", "-", "4.0KiB", "8.0KiB", "1.75ms", "2.49ms"]


def test_watching_shows_what_happens_between_two_looks(hivemesh: Cli, server: AdminServer, agent: FakeAgent) -> None:
    stop = threading.Event()

    def traffic() -> None:
        row = agent.row("listener/front")
        while not stop.wait(0.001):
            row.count_request(200, 1_000, 10, 10)

    thread = threading.Thread(target=traffic)
    thread.start()
    try:
        out = hivemesh("--admin", server.url, "--json", "stats", "--watch", "--interval", "0.1", "--count", "2")
    finally:
        stop.set()
        thread.join()
    looks = [json.loads(line) for line in out.splitlines()]
    assert len(looks) == 2
    for look in looks:
        front = next(line for line in look if line["kind"] == "listener")
        assert 10 < front["requests_per_s"] < 1_100
        assert front["p99"] <= 0.001


def test_watching_without_a_terminal_prints_one_table_after_the_other(hivemesh: Cli, server: AdminServer) -> None:
    out = hivemesh("--admin", server.url, "stats", "--watch", "--interval", "0.01", "--count", "2")
    assert out.count("LISTENER") == 2
    assert "\x1b" not in out


@pytest.mark.parametrize("command", ["services", "endpoints", "routes", "workers", "problems", "stats", "config"])
def test_json_is_what_the_api_says(hivemesh: Cli, server: AdminServer, command: str) -> None:
    def without_time(value: Any) -> Any:
        if isinstance(value, dict):
            value.pop("now", None)
            for worker in value["workers"] if command == "stats" else ():
                worker.pop("cpu")
        for entry in value if command in ("workers", "endpoints") else ():
            entry.pop("heartbeat_age", None)
            entry.pop("since", None)
        return value

    expected = without_time(server.get(f"/v1/{command}").json)
    assert without_time(json.loads(hivemesh("--admin", server.url, "--json", command))) == expected
    assert without_time(json.loads(hivemesh(command, "--json", "--admin", server.url))) == expected


def test_names_are_neither_markup_nor_terminal_commands(hivemesh: Cli, agent: FakeAgent) -> None:
    import msgspec

    odd = msgspec.structs.replace(agent.snapshot.services[1], name="[red]web\x1b[31m")
    agent.catalog.report(Base(snapshot=msgspec.structs.replace(agent.snapshot, services=(odd,))))
    with AdminServer(agent) as server:
        out = hivemesh("--admin", server.url, "services")
    assert "[red]web\\x1b[31m" in out
    assert "\x1b" not in out


# --- reload -----------------------------------------------------------------------------------------------------


def test_reload_says_what_happened(hivemesh: Cli, server: AdminServer, agent: FakeAgent) -> None:
    assert hivemesh("--admin", server.url, "reload") == "reloaded: version 8 is in force\n"
    agent.reload_answer = ReloadResult(ok=True, changed=False, version=7)
    assert hivemesh("--admin", server.url, "reload") == "nothing has changed: version 7 stays in force\n"


def test_a_refused_reload_prints_every_problem_and_fails(hivemesh: Cli, server: AdminServer, agent: FakeAgent) -> None:
    agent.reload_answer = ReloadResult(
        ok=False,
        changed=False,
        version=7,
        problems=(
            Problem(message="unknown key", position=Position(file="a.yaml", line=2, column=1), key="listners"),
            Problem(message="expected a duration", position=Position(file="a.yaml", line=9, column=4), key="timeout"),
        ),
    )
    out = hivemesh("--admin", server.url, "reload", code=1)
    assert out == "a.yaml:2:1: listners: unknown key\na.yaml:9:4: timeout: expected a duration\n"
    assert "stays in force" in hivemesh.errors


# --- reaching the agent -----------------------------------------------------------------------------------------


def free_port() -> int:
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        return int(sock.getsockname()[1])


def test_an_agent_that_is_not_there_is_one_sentence_and_exit_code_3(hivemesh: Cli) -> None:
    url = f"http://127.0.0.1:{free_port()}"
    out = hivemesh("--admin", url, "routes", code=3)
    assert out.startswith(f"hivemesh: cannot reach the agent at {url}: connection refused")
    assert out.count("\n") == 1
    assert "no such file" in hivemesh("--admin", "unix:/nonexistent/admin.sock", "routes", code=3)


def test_a_question_that_the_agent_cannot_read_is_not_asked(hivemesh: Cli) -> None:
    """It would answer 400 in words that are not its own, as if it were no agent."""
    assert "bytes once it is escaped, and the agent reads 8190 at most" in hivemesh("explain", "/" * 8000, code=1)


@pytest.mark.parametrize(
    "answer",
    [
        b"SSH-2.0-OpenSSH_9.2\r\n",
        b"",
        b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello",
        b"HTTP/1.1 404 Not Found\r\nContent-Length: 2\r\n\r\n{}",
        b"HTTP/1.1 200 OK\r\nContent-Length: 500\r\n\r\n[",
    ],
)
def test_something_else_at_the_address_is_not_an_agent(hivemesh: Cli, answer: bytes) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def serve() -> None:
            sock, _ = listener.accept()
            with sock:
                sock.recv(65536)
                sock.sendall(answer)

        thread = threading.Thread(target=serve)
        thread.start()
        url = "http://{}:{}".format(*listener.getsockname())
        out = hivemesh("--admin", url, "routes", code=3)
        thread.join()
    assert out.startswith("hivemesh: ")
    assert out.count("\n") == 1


def test_the_address_can_come_from_the_environment(
    hivemesh: Cli, agent: FakeAgent, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    with AdminServer(agent, address=f"unix:{tmp_path}/admin.sock", token="s3cret") as server:
        monkeypatch.setenv("HIVEMESH_ADMIN", server.url)
        assert "needs the configured token" in hivemesh("routes", code=1)
        monkeypatch.setenv("HIVEMESH_TOKEN", "s3cret")
        assert "shop.yaml:7" in hivemesh("routes")
        assert "needs the configured token" in hivemesh("routes", "--token", "wrong", code=1)


@pytest.mark.parametrize("admin", ["https://127.0.0.1:1", "unix:", "http://", "ftp://x", "http://h:1/path"])
def test_an_address_that_is_none_is_wrong_usage(hivemesh: Cli, admin: str) -> None:
    assert "expected" in hivemesh("--admin", admin, "routes", code=2)


def test_wrong_usage_is_exit_code_2(hivemesh: Cli) -> None:
    assert "No such command" in hivemesh("rutes", code=2)
    assert "No such option" in hivemesh("routes", "--bogus", code=2)
    assert "unexpected extra argument" in hivemesh("routes", "extra", code=2)


# --- check and version ------------------------------------------------------------------------------------------

GOOD = """
listeners:
  - name: web
    address: 127.0.0.1:8080
    routes:
      - { name: all, match: { path_prefix: / }, service: web }
services:
  web: { endpoints: [ { id: w1, address: "127.0.0.1:9001" } ] }
tests:
  - { request: "GET http://x/", expect: { service: web } }
"""


def test_check_of_a_good_file_counts_what_is_in_it(hivemesh: Cli, tmp_path: Path) -> None:
    path = tmp_path / "good.yaml"
    path.write_text(GOOD)
    assert hivemesh("check", str(path)) == (f"{path}: ok: 1 listener, 1 route, 1 service, 1 endpoint, 1 test passed\n")
    assert json.loads(hivemesh("check", str(path), "--json")) == {"ok": True, "problems": [], "warnings": []}


def test_check_prints_every_problem_with_its_place(hivemesh: Cli, tmp_path: Path) -> None:
    path = tmp_path / "bad.yaml"
    path.write_text(GOOD.replace("address: 127.0.0.1:8080", "addres: 127.0.0.1:8080").replace("w1,", "w1, wight: 2,"))
    lines = hivemesh("check", str(path), code=1).splitlines()
    assert any(line.startswith(f"{path}:4:5: ") and "addres" in line for line in lines)
    assert any(line.startswith(f"{path}:8:") and "wight" in line for line in lines)
    assert json.loads(hivemesh("--json", "check", str(path), code=1))["ok"] is False


def test_check_runs_the_tests_of_the_file(hivemesh: Cli, tmp_path: Path) -> None:
    path = tmp_path / "tests.yaml"
    path.write_text(GOOD.replace("expect: { service: web }", "expect: { status: 404 }"))
    assert f"{path}:10:" in hivemesh("check", str(path), code=1)


def test_check_of_a_file_that_is_not_there(hivemesh: Cli, tmp_path: Path) -> None:
    assert "no such file" in hivemesh("check", str(tmp_path / "none.yaml"), code=1)
    assert "needs a FILE" in hivemesh("check", code=2)


def test_check_prints_warnings_and_goes_on(hivemesh: Cli, tmp_path: Path) -> None:
    path = tmp_path / "odd.yaml"
    path.write_text(GOOD.replace("services:", "      - { name: more, service: web }\nservices:"))
    warning, summary = hivemesh("check", str(path)).splitlines()
    assert warning.startswith(f"warning: {path}:7:9: listeners[0].routes[1]: no request comes here")
    assert summary.endswith("1 test passed, 1 warning")
    assert hivemesh("check", "--strict", str(path), code=1).startswith(warning)

    answer = json.loads(hivemesh("check", "--json", str(path)))
    assert (answer["ok"], answer["problems"]) == (True, [])
    [told] = answer["warnings"]
    assert told["severity"] == "warning"
    assert told["position"] == {"file": str(path), "line": 7, "column": 9}
    assert json.loads(hivemesh("check", "--json", "--strict", str(path), code=1))["ok"] is False


def test_check_tells_where_every_value_is_from(hivemesh: Cli, tmp_path: Path) -> None:
    path = tmp_path / "good.yaml"
    path.write_text(GOOD)
    lines = hivemesh("check", "--effective", str(path)).splitlines()
    assert re.fullmatch(rf"  - name: web +# {path}:3", next(line for line in lines if "name: web" in line))
    assert re.fullmatch(r"workers: 1 +# default", next(line for line in lines if line.startswith("workers")))

    answer = json.loads(hivemesh("check", "--effective", str(path), "--json"))
    assert answer["ok"] is True
    assert answer["config"]["listeners"][0]["name"] == "web"
    assert answer["origins"]["listeners[0].name"] == {"origin": "file", "file": str(path), "line": 3, "column": 11}
    assert answer["origins"]["workers"] == {"origin": "default"}


def test_check_of_a_bad_file_shows_no_effective_configuration(hivemesh: Cli, tmp_path: Path) -> None:
    path = tmp_path / "bad.yaml"
    path.write_text(GOOD.replace("tests:", "tets:"))
    assert hivemesh("check", "--effective", str(path), code=1).startswith(f"{path}:9:1: tets: unknown key")


def test_the_schema_is_json_schema(hivemesh: Cli) -> None:
    schema = json.loads(hivemesh("check", "--schema"))
    assert schema["$schema"].startswith("https://json-schema.org/")


def test_version_says_which_modules_are_compiled(hivemesh: Cli) -> None:
    out = hivemesh("version")
    assert out.startswith("hivemesh ")
    assert "  proxy.kernel.scan: compiled\n" in out
    assert hivemesh("--version") == out
    assert json.loads(hivemesh("version", "--json"))["modules"]["proxy.kernel.scan"] == "compiled"
