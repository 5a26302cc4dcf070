"""`hivemesh simulate`: what it prints, and what it says of input that is none."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import pytest

from mesh.capture import CaptureEnd, CaptureStart
from mesh.record import Record
from proxy.cli.main import cli
from proxy.cli.simulate import pages
from proxy.simulation.outcomes import Outcome
from proxy.simulation.report import Changed, Group, Report, Retried

FILE = """
instance: test
listeners:
  - name: web
    address: 127.0.0.1:8080
    routes:
      - { name: api, match: { path_prefix: /api }, service: api }
      - { name: admin, match: { path_prefix: /admin }, service: api, filters: [ { access: { deny: [ 10.0.0.0/8 ] } } ] }
      - { name: all, match: { path_prefix: / }, service: web }
services:
  api: { endpoints: [ { id: a1, address: 127.0.0.1:9001 } ] }
  web:
    endpoints:
      - { id: w1, address: 127.0.0.1:9003, version: v1 }
      - { id: w2, address: 127.0.0.1:9004, version: v1 }
"""
START = CaptureStart(capture=1, headers=("*",))

Run = Callable[..., tuple[str, str]]


def record(number: int, path: str, **fields: object) -> Record:
    return msgspec.convert(
        {
            "ts": f"2026-11-30T12:00:{number:02}Z",
            "duration_ms": 1.0,
            "request_id": f"id-{number}",
            "method": "GET",
            "host": "shop.local",
            "path": path,
            "status": 200,
            "route": "all",
            "service": "web",
            "version": "v1",
            "endpoint": "127.0.0.1:9003",
            "attempts": 1,
            "listener": "web",
            "peer": "10.0.0.1",
            **fields,
        },
        Record,
    )


RECORDS = (record(0, "/"), record(1, "/"), record(2, "/api/x"), record(3, "/api/y"), record(4, "/admin"))


@pytest.fixture
def run(tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Run:
    monkeypatch.chdir(tmp_path)

    def simulated(*options: str, file: str = FILE, records: tuple[Record, ...] = RECORDS, code: int = 0) -> Any:
        lines = [START, *records, CaptureEnd(ended="", count=len(records))]
        Path("new.yaml").write_text(file)
        Path("traffic").write_bytes(b"".join(msgspec.json.encode(line) + b"\n" for line in lines))
        capsys.readouterr()
        assert cli(["simulate", "new.yaml", "--capture", "traffic", *options]) == code
        captured = capsys.readouterr()
        return captured.out, captured.err

    return simulated


def test_changes_are_told_in_groups_with_the_load(run: Run) -> None:
    out, _ = run()
    lines = out.splitlines()
    assert lines[:6] == [
        "5 requests of 4s, decided again under new.yaml",
        "",
        "3 of 5 requests would be decided otherwise",
        "  2  route all -> api, service web v1 -> api   e.g. GET shop.local/api/x (id-2)",
        "  1  route all -> admin, forwarded to web v1 -> answered 403 UAEX   e.g. GET shop.local/admin (id-4)",
        "",
    ]
    assert [line.split() for line in lines[6:10]] == [
        ["SERVICE", "VERSION", "ENDPOINT", "WAS", "WOULD", "BE"],
        ["api", "-", "127.0.0.1:9001", "0", "0.0%", "2", "50.0%"],
        ["web", "v1", "127.0.0.1:9003", "5", "100.0%", "1", "25.0%"],
        ["web", "v1", "127.0.0.1:9004", "0", "0.0%", "1", "25.0%"],
    ]
    assert "assumed:" in lines and "  all endpoints of the file are healthy" in lines


def test_groups_that_read_alike_are_one() -> None:
    """What stays as it was is not told: here the version."""

    def outcome(route: str, version: str) -> Outcome:
        return Outcome(route=route, service="web", version=version)

    was = outcome("a", "v1")
    example = Changed(request_id="id-1", ts="", method="GET", host="a", path="/", was=was, now=was)
    groups = tuple(
        Group(count=count, was=outcome("a", version), now=outcome(now, version), example=example)
        for count, now, version in ((5, "c", "v1"), (4, "b", "v1"), (3, "b", "v2"))
    )
    report = Report(
        requests=12, compared=12, undecided=0, lost=0, seconds=1.0, seed=0, changed=(example,) * 12, groups=groups,
        shares=(), refused=(), retried=Retried(), missing=(), assumptions=(),
    )  # fmt: skip
    lines = [line.plain for line in pages(report, "new.yaml")]
    assert [line for line in lines if " e.g. " in line] == [
        "  7  route a -> b   e.g. GET a/ (id-1)",
        "  5  route a -> c   e.g. GET a/ (id-1)",
    ]


def test_json_has_every_change(run: Run) -> None:
    found = json.loads(run("--json", "--seed", "5")[0])
    assert [each["request_id"] for each in found["changed"]] == ["id-2", "id-3", "id-4"]
    assert found["changed"][0]["now"] == {
        "kind": "forward", "route": "api", "service": "api", "version": "", "status": 0, "flag": ""
    }  # fmt: skip
    assert (found["requests"], found["seed"]) == (5, 5)
    assert found == json.loads(run("--json", "--seed", "5")[0])


def test_nothing_changes(run: Run) -> None:
    out, _ = run(records=RECORDS[:2])
    assert "every request is decided as it was" in out.splitlines()


def test_a_draw_is_that_of_the_request(run: Run) -> None:
    """Whatever else is asked before."""
    split = FILE.replace("service: web }", "split: [ { service: web, weight: 1 }, { service: api, weight: 1 } ] }")
    records = tuple(record(number, "/") for number in range(40))
    changed = {each["request_id"] for each in json.loads(run("--json", file=split, records=records)[0])["changed"]}
    assert 0 < len(changed) < 40  # chance of the contrary: 2**-39
    some = {each["request_id"] for each in json.loads(run("--json", file=split, records=records[:20])[0])["changed"]}
    assert some == {f"id-{number}" for number in range(20)} & changed


def test_a_file_with_problems(run: Run) -> None:
    out, _ = run(file=FILE.replace("service: web }", "service: wbe }"), code=1)
    assert out.startswith("new.yaml:9:")
    assert json.loads(run("--json", file="", code=1)[0])["ok"] is False


def test_an_empty_capture_is_not_taken_for_an_unchanged_one(run: Run) -> None:
    out, _ = run(records=())
    assert "there is no request to decide again" in out
    assert "every request is decided as it was" not in out


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", "line 1: expected the first line of a capture"),
        (b'{"capture":9}\n', "line 1: format 9 of captures is not known"),
        (b'{"capture":1}\n{"status":', ""),
        (b'{"capture":1}\n{"status":"x"}\n', "line 2: it is no record"),
    ],
)
def test_what_is_no_capture(run: Run, capsys: pytest.CaptureFixture[str], content: bytes, words: str) -> None:
    run()
    Path("traffic").write_bytes(content)
    code = cli(["simulate", "new.yaml", "--capture", "traffic"])
    assert code == (1 if words else 0)
    assert words in capsys.readouterr().err


def test_a_capture_that_is_not_there(run: Run, capsys: pytest.CaptureFixture[str]) -> None:
    run()
    assert cli(["simulate", "new.yaml", "--capture", "none"]) == 1
    assert capsys.readouterr().err == "hivemesh: none cannot be read: no such file or directory\n"
