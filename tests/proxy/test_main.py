from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from proxy.__main__ import DEFAULT_CONFIG, run_options

ROOT = Path(__file__).parents[2]


@pytest.mark.parametrize(
    ("arguments", "options"),
    [
        ([], (DEFAULT_CONFIG, None)),
        (["-c", "a.yaml"], ("a.yaml", None)),
        (["-ca.yaml"], ("a.yaml", None)),
        (["--config", "a.yaml"], ("a.yaml", None)),
        (["--config=a.yaml"], ("a.yaml", None)),
        (["--user", "nobody"], (DEFAULT_CONFIG, "nobody")),
        (["--user=nobody:nogroup", "-c", "a.yaml"], ("a.yaml", "nobody:nogroup")),
        (["a.yaml"], None),
        (["-c"], None),
        (["-c", "a", "-c", "b"], None),
        (["--config="], None),
        (["--user"], None),
        (["--user="], None),
        (["--user", "a", "--user", "b"], None),
        (["--bogus"], None),
    ],
)
def test_the_options_of_run(arguments: list[str], options: tuple[str, str | None] | None) -> None:
    assert run_options(arguments) == options


def python(program: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", program, *arguments], cwd=ROOT, capture_output=True, text=True, timeout=60
    )


def test_running_imports_nothing_of_the_commands() -> None:
    program = (
        "import sys\n"
        "import proxy.__main__ as program\n"
        "import proxy.control.program as running\n"
        "running.run = lambda config, user: print(config, *sys.modules) or 0\n"
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
