"""What the soak reads of hivemesh: its events as they are written, and its processes by their command lines."""

from __future__ import annotations

import json
import os
import time
from datetime import UTC, datetime
from pathlib import Path

import pytest

from benchmarks.soak.__main__ import parse
from benchmarks.soak.journal import Journal
from benchmarks.soak.processes import Sampler, of_session, role_of
from benchmarks.soak.rules import RULES
from benchmarks.soak.run import REPLACING, plan_for, short_plan


def event(name: str, level: str = "info") -> str:
    stamp = datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
    return json.dumps({"ts": stamp, "level": level, "event": name}) + "\n"


def test_events_are_counted_once_and_lines_may_come_in_pieces(tmp_path: Path) -> None:
    path = tmp_path / "output"
    whole = event("started")
    path.write_text(whole + whole[:20])
    journal = Journal(path)

    assert journal.count("started") == 1
    with path.open("a") as file:
        file.write(whole[20:] + event("stopped"))
    assert (journal.count("started"), journal.count("stopped"), journal.bugs) == (2, 1, [])


def test_bugs_tracebacks_and_errors_are_kept(tmp_path: Path) -> None:
    path = tmp_path / "output"
    path.write_text(
        event("bug", "error")
        + event("worker exited", "error")
        + "Traceback (most recent call last):\n  File x\nKeyError: 1\n"
    )
    journal = Journal(path)
    journal.read()

    assert len(journal.bugs) == 4
    assert [error["event"] for error in journal.errors] == ["worker exited"]
    assert journal.errors[0]["at"] == pytest.approx(time.monotonic(), abs=5.0)


def test_processes_are_told_apart() -> None:
    assert role_of(["python", "-m", "proxy.control.worker", "--worker", "1", ""]) == "worker 1"
    assert role_of(["python", "-m", "proxy.control.agent", "--config", "x", ""]) == "agent"
    assert role_of(["sleep", "1"]) == "other"


def test_we_are_found_in_our_session_with_our_size() -> None:
    session = os.getsid(0)
    assert os.getpid() in {process.pid for process in of_session(session)}

    (mine,) = (sample for sample in Sampler(session, 1.0).look(5.0) if sample.pid == os.getpid())
    assert mine.private > 1_000_000
    assert mine.descriptors + mine.pipes >= 3


def test_an_hour_is_six_phases_and_the_short_form_none_by_time() -> None:
    assert (plan_for(60, 1).phases, plan_for(60, 1).seconds) == (6, 600.0)
    assert (plan_for(5, 1).phases, plan_for(5, 1).seconds) == (1, 300.0)
    assert short_plan(1).seconds == 0
    assert set(RULES) > REPLACING


@pytest.mark.parametrize("minutes", ["0", "-1", "nan", "100000"])
def test_times_that_make_no_sense_are_refused(minutes: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        parse(["--minutes", minutes])

    assert "expected 0.1 to 1440" in capsys.readouterr().err
