"""What `make test` runs: each test file in one job of the compiled form, and those that differ in the other as well."""

from __future__ import annotations

import importlib.util
import re
import signal
import sys
from pathlib import Path
from types import ModuleType

import pytest

ROOT = Path(__file__).resolve().parent.parent


@pytest.fixture(scope="module")
def suite() -> ModuleType:
    spec = importlib.util.spec_from_file_location("suite", ROOT / "tools" / "suite.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules["suite"] = module
    spec.loader.exec_module(module)
    return module


def same_in_both() -> list[str]:
    found = re.search(r"^SAME_IN_BOTH := ((?:.*\\\n)*.*)$", (ROOT / "Makefile").read_text(), re.MULTILINE)
    assert found is not None
    return found[1].replace("\\", " ").split()


def selects(command: tuple[str, ...], file: str) -> bool:
    """Whether pytest, run so, takes the file: from its directories (tests, if none is named), less what it ignores."""
    arguments = command[3:]
    ignored = [word.removeprefix("--ignore=") for word in arguments if word.startswith("--ignore=")]
    wanted = [word for word in arguments if not word.startswith("--")] or ["tests"]

    def is_in(directories: list[str]) -> bool:
        return any(file == directory or file.startswith(f"{directory}/") for directory in directories)

    return is_in(wanted) and not is_in(ignored)


def test_each_file_is_in_one_compiled_job_and_its_interpreted_form_is_left_out_only_where_that_is_said(
    suite: ModuleType,
) -> None:
    jobs = [job for job in suite.jobs(same_in_both()) if "pytest" in job.command]
    files = [str(path.relative_to(ROOT)) for path in (ROOT / "tests").rglob("test_*.py")]
    assert len(files) > 200

    for file in files:
        taking = [job.name for job in jobs if selects(job.command, file)]
        compiled = [name for name in taking if name != "interpreted"]
        once = any(file.startswith(f"tests/{directory}") for directory in same_in_both())
        assert len(compiled) == 1, (file, taking)
        assert ("interpreted" in taking) != once, (file, taking)


def test_a_job_that_fails_fails_the_whole_and_shows_why(
    suite: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def two(_: list[str]) -> list[object]:
        fails = "print('what led to it'); raise SystemExit(3)"
        return [suite.Job("good", (sys.executable, "-c", "")), suite.Job("bad", (sys.executable, "-c", fails))]

    monkeypatch.setattr(suite, "LOGS", tmp_path)
    monkeypatch.setattr(suite, "jobs", two)

    assert suite.main([]) == 1
    assert "== bad: failed" in capsys.readouterr().out.split("what led to it")[-2]

    monkeypatch.setattr(suite, "jobs", lambda _: two([])[:1])
    assert suite.main([]) == 0


def test_an_interrupt_begins_no_other_job(suite: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def two(_: list[str]) -> list[object]:
        interrupts = "import os, signal; os.kill(os.getppid(), signal.SIGINT)"
        return [
            suite.Job("first", (sys.executable, "-c", f"{interrupts}; import time; time.sleep(0.5)")),
            suite.Job("second", (sys.executable, "-c", "")),
        ]

    monkeypatch.setattr(suite, "LOGS", tmp_path)
    monkeypatch.setattr(suite, "jobs", two)
    monkeypatch.setenv("JOBS", "1")
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        with pytest.raises(KeyboardInterrupt):
            suite.main([])
    finally:
        signal.signal(signal.SIGINT, before)
    assert [log.name for log in tmp_path.iterdir()] == ["first.log"]


def test_a_directory_that_is_not_there_is_a_mistake(suite: ModuleType, capsys: pytest.CaptureFixture[str]) -> None:
    assert suite.main(["e2e/nothing"]) == 2
    assert "e2e/nothing" in capsys.readouterr().err
