"""docs/guide/check.md shows what the commands print."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from click.testing import CliRunner

from proxy.cli.main import hivemesh

GUIDE = (Path(__file__).parents[3] / "docs/guide/check.md").read_text()
CONFIGURATIONS = re.findall(r"```yaml\n(.*?)```", GUIDE, re.DOTALL)
SHOWN = re.findall(r"```text\n(.*?)```", GUIDE, re.DOTALL)


def printed(*arguments: str, code: int = 0) -> str:
    done = CliRunner().invoke(hivemesh, ["check", *arguments, "shop.yaml"], standalone_mode=False)
    assert done.return_value == code, done.output
    return done.output


def test_warnings_are_printed_as_shown(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    Path("shop.yaml").write_text(CONFIGURATIONS[1])
    assert printed() == SHOWN[1]
    assert printed("--strict", code=1) == SHOWN[1]


def test_the_effective_configuration_is_printed_as_shown(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    Path("shop.yaml").write_text(CONFIGURATIONS[0])
    lines = iter(line.split() for line in printed("--effective").splitlines())
    for line in SHOWN[0].splitlines():
        assert line.split() in lines, f"{line} is not printed, or not there"
