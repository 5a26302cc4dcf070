from __future__ import annotations

import asyncio
import json
import stat
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from admin_server import AdminServer
from fake_agent import FakeAgent
from waiting import eventually

from mesh.capture import read_capture
from mesh.record import Record
from proxy.cli.layout import ASCII, Marks
from proxy.cli.main import cli
from proxy.cli.tap import line_of
from proxy.control.messages import Seen

FAILED = Record(
    ts="2026-03-01T10:00:00.123Z",
    duration_ms=1600.0,
    t_total=1600.0,
    method="GET",
    host="shop.local",
    path="/api?id=(redacted)",
    status=504,
    flags="UT",
    route="api",
    endpoint="10.0.0.1:80",
    t_recv=1.0,
    t_queue=99.0,
    t_connect=500.0,
    headers=(("x-a", "1\x1b[31m"),),
)


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[AdminServer]:
    monkeypatch.delenv("HIVEMESH_TOKEN", raising=False)
    with AdminServer(FakeAgent()) as running:
        monkeypatch.setenv("HIVEMESH_ADMIN", running.url)
        yield running


def shows(server: AdminServer, *seen: Seen, then: Callable[[], None] = lambda: None) -> threading.Thread:
    """As soon as there is a tap, it is shown this."""

    async def show() -> None:
        for each in seen:
            server.agent.taps[0][1](each)
            await asyncio.sleep(0)

    def wait() -> None:
        eventually(lambda: server.agent.taps, "a tap")
        server.run(show())
        then()

    thread = threading.Thread(target=wait)
    thread.start()
    return thread


def test_a_line_tells_where_it_went_and_where_its_time_went() -> None:
    line, header = line_of(FAILED, ASCII).plain.splitlines()
    assert line == (
        "10:00:00.123  504  GET  shop.local/api?id=(redacted)  api > 10.0.0.1:80  UT  "
        "1600 ms #=%%%%%+++++++++ # head 1 = queue 99 % connect 500 + rest 1e+03"
    )
    assert header == "    x-a: 1\\x1b[31m"


def test_a_line_of_a_request_without_a_route() -> None:
    record = Record(ts="2026-03-01T10:00:00.123Z", method="GET", path="/", status=404, flags="NR")
    assert line_of(record, Marks()).plain == "10:00:00.123  404  GET  /  no route  NR  0 ms"


def test_tap_shows_lines_until_there_are_enough(server: AdminServer, capsys: pytest.CaptureFixture[str]) -> None:
    thread = shows(server, Seen(number=1, records=(FAILED,), lost=2), Seen(number=1, records=(FAILED,)))
    assert cli(["tap", "status >= 500", "--header", "x-a", "--show-secrets", "--count", "2", "--rate", "9"]) == 0
    thread.join()
    captured = capsys.readouterr()
    assert captured.out.count("  504  GET  shop.local/api") == 2
    assert captured.err == "hivemesh: 2 requests more than could be shown\n"


def test_tap_as_json_is_what_the_agent_sends(server: AdminServer, capsys: pytest.CaptureFixture[str]) -> None:
    thread = shows(server, Seen(number=1, records=(FAILED,), lost=2), Seen(number=1, records=(Record(path="/"),)))
    assert cli(["tap", "--json", "--count", "2"]) == 0
    thread.join()
    lines = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert sorted(next(iter(line)) for line in lines) == ["lost", "path", "ts"]


def test_a_filter_that_is_none_is_told_with_its_column(server: AdminServer, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli(["tap", "status > 1 && rout"]) == 1
    assert "column 15: 'rout' is no field, did you mean route" in capsys.readouterr().err


@pytest.mark.parametrize("arguments", [["tap"], ["tap", "--count", "2"]])
def test_an_agent_that_leaves_is_told(
    server: AdminServer, capsys: pytest.CaptureFixture[str], arguments: list[str]
) -> None:
    assert server._server is not None
    leave = server._server.stop_accepting
    thread = shows(server, Seen(number=1, records=(FAILED,)), then=lambda: server.run(leave()))
    assert cli(arguments) == 3
    thread.join()
    assert "the agent has ended the tap" in capsys.readouterr().err


def test_capture_writes_what_simulate_reads(
    server: AdminServer, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "capture.ndjson"
    path.write_text("of before")
    path.chmod(0o644)
    server.put("/v1/services/web/load_balancing", {"strategy": "maglev", "hash_on": "header:x-user"})
    thread = shows(server, Seen(number=1, records=(FAILED, Record(path="/")), lost=3), Seen(number=1, lost=1))
    assert cli(["capture", "-o", str(path), "--for", "500ms", "--header", "X-More"]) == 0
    thread.join()
    with path.open("rb") as file:
        capture = read_capture(file)
        assert {"x-user", "x-more"} <= set(capture.start.headers)
        assert list(capture) == [FAILED, Record(path="/")]
    assert capture.end is not None
    assert (capture.end.count, capture.end.lost, capture.lost) == (2, 4, 4)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert capsys.readouterr().err == f"2 requests in {path}, 4 are missing\n"


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (["-o", "/nowhere/x"], 1, "/nowhere/x"),
        (["-o", "x", "--for", "soon"], 2, "'soon' is not a duration, expected one such as 5s"),
        ([], 2, "Missing option '-o' / '--output'"),
    ],
)
def test_captures_that_cannot_be(
    server: AdminServer, capsys: pytest.CaptureFixture[str], arguments: list[str], code: int, message: str
) -> None:
    assert cli(["capture", *arguments]) == code
    assert message in capsys.readouterr().err


def test_a_capture_that_the_agent_ends_is_whole_and_told(
    server: AdminServer, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "capture.ndjson"
    assert server._server is not None
    leave = server._server.stop_accepting
    thread = shows(server, Seen(number=1, records=(FAILED,)), then=lambda: server.run(leave()))
    assert cli(["capture", "-o", str(path), "--for", "1h"]) == 3
    thread.join()
    with path.open("rb") as file:
        capture = read_capture(file)
        assert list(capture) == [FAILED]
    assert capture.is_whole
    assert "the agent has ended the capture" in capsys.readouterr().err
