from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from proxy.__main__ import DEFAULT_CONFIG, config_path

ROOT = Path(__file__).parents[2]


@pytest.mark.parametrize(
    ("arguments", "path"),
    [
        ([], DEFAULT_CONFIG),
        (["-c", "a.yaml"], "a.yaml"),
        (["-ca.yaml"], "a.yaml"),
        (["--config", "a.yaml"], "a.yaml"),
        (["--config=a.yaml"], "a.yaml"),
        (["a.yaml"], None),
        (["-c"], None),
        (["-c", "a", "-c", "b"], None),
        (["--config="], None),
        (["--bogus"], None),
    ],
)
def test_the_file_of_run(arguments: list[str], path: str | None) -> None:
    assert config_path(arguments) == path


def python(program: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", program, *arguments], cwd=ROOT, capture_output=True, text=True, timeout=60
    )


def test_running_imports_nothing_of_the_commands() -> None:
    program = (
        "import sys\n"
        "import proxy.__main__ as program\n"
        "import proxy.control.supervisor as supervisor\n"
        "supervisor.main = lambda arguments: print(*arguments, *sys.modules) or 0\n"
        "sys.exit(program.main(['run', '-c', 'file.yaml']))\n"
    )
    done = python(program)
    assert done.returncode == 0, done.stderr
    path, *modules = done.stdout.split()
    assert path == "file.yaml"
    heavy = {
        "click",
        "rich",
        "yaml",
        "msgspec",
        "aiohttp",
        "asyncio",
        "uvloop",
        "prometheus_client",
        "importlib.metadata",
    }
    assert not heavy & set(modules)


def test_wrong_usage_of_run_is_exit_code_2() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "proxy", "run", "--bogus"], cwd=ROOT, capture_output=True, text=True, timeout=60
    )
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith("usage: hivemesh run [-c FILE]")


def test_help_of_run_and_of_all() -> None:
    for arguments in (["--help"], ["run", "--help"], ["run", "-h"]):
        done = subprocess.run(
            [sys.executable, "-m", "proxy", *arguments], cwd=ROOT, capture_output=True, text=True, timeout=60
        )
        assert done.returncode == 0
        assert done.stdout.startswith("Usage: hivemesh")
