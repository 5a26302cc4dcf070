"""Checking in another process gives what checking here gives, and survives whatever becomes of that process."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from pathlib import Path

import pytest

from proxy.config import validate
from proxy.config.problems import Loaded
from proxy.config.validate import check, load_in_child

ROOT = Path(__file__).parents[3]
GOOD = "listeners: [ { name: web, address: ':1', routes: [ { name: r, service: a } ] } ]\nservices: { a: {} }\n"


def in_child(path: Path, deadline: float = 30.0) -> Loaded:
    return asyncio.run(load_in_child(str(path), deadline))


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "a.yaml"


def test_a_configuration_arrives_whole(file: Path) -> None:
    file.write_text(GOOD)
    loaded = in_child(file)
    assert loaded.config is not None
    assert loaded == check(str(file))


def test_problems_arrive_whole(file: Path) -> None:
    file.write_text(GOOD + "workers: x\nadmin: { addres: 1 }\n")
    loaded = in_child(file)
    assert len(loaded.problems) == 2
    assert loaded == check(str(file))


def test_a_failing_test_refuses_the_configuration(file: Path) -> None:
    file.write_text(GOOD + "tests: [ { request: GET /, expect: { route: other } } ]\n")
    loaded = in_child(file)
    assert loaded.config is None
    assert "expected route 'other'" in str(loaded.problems[0])


def test_the_environment_is_the_same(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file.write_text("instance: ${HIVEMESH_TEST_NAME}\n")
    monkeypatch.setenv("HIVEMESH_TEST_NAME", "n1")
    loaded = in_child(file)
    assert loaded.config is not None
    assert loaded.config.snapshot.settings.instance == "n1"


def test_a_check_that_takes_too_long_is_ended(file: Path) -> None:
    file.write_text(GOOD)
    [problem] = in_child(file, deadline=0.001).problems
    assert str(problem) == f"{file}: checking it took longer than 0.001 s"


class Ending:
    """Python programs that stand in for the process."""

    KILLED = "import os, signal; os.kill(os.getpid(), signal.SIGKILL)"
    FAILED = "raise RuntimeError('out of luck')"
    SILENT = "pass"
    CHATTY = "print('hello')"


@pytest.mark.parametrize(
    ("program", "message"),
    [
        (Ending.KILLED, "the process that checks it was ended by SIGKILL"),
        (Ending.FAILED, "the process that checks it ended with status 1 (RuntimeError: out of luck)"),
        (Ending.SILENT, "the process that checks it answered something else: Input data was truncated"),
        (Ending.CHATTY, "the process that checks it answered something else: "),
    ],
)
def test_a_process_that_dies_is_a_problem(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, program: str, message: str
) -> None:
    python = tmp_path / "python"
    python.write_text(f"#!{sys.executable}\n{program}\n")
    python.chmod(0o755)
    monkeypatch.setattr(sys, "executable", str(python))

    loaded = in_child(tmp_path / "a.yaml")

    assert loaded.config is None
    assert str(loaded.problems[0]).startswith(f"{tmp_path / 'a.yaml'}: {message}")


def test_a_process_that_cannot_start_is_a_problem(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "executable", str(tmp_path / "none"))
    [problem] = in_child(tmp_path / "a.yaml").problems
    assert "the process that checks it cannot be started" in str(problem)


def test_cancelling_ends_the_process(file: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    started = tmp_path / "pid"
    python = tmp_path / "python"
    python.write_text(f"#!/bin/sh\necho $$ > {started}.new; mv {started}.new {started}; exec sleep 1000\n")
    python.chmod(0o755)
    monkeypatch.setattr(sys, "executable", str(python))

    async def cancel() -> None:
        task = asyncio.create_task(load_in_child(str(file)))
        async with asyncio.timeout(10):
            while not started.exists():
                await asyncio.sleep(0.01)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    asyncio.run(cancel())
    assert not Path(f"/proc/{started.read_text().strip()}").exists()


def test_who_waits_loads_no_parser() -> None:
    program = (
        "import sys, proxy.config.validate, proxy.config.problems\n"
        "assert not {'yaml', 'pydantic', 're2', 'proxy.config.document'} & set(sys.modules), sorted(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", program], check=True, cwd=ROOT, timeout=30)


def test_the_command_says_how_it_is_used() -> None:
    done = subprocess.run(
        [sys.executable, "-m", validate.__name__], capture_output=True, text=True, cwd=ROOT, timeout=30, check=False
    )
    assert done.returncode == 2
    assert done.stderr == "usage: python -m proxy.config.validate FILE\n"
