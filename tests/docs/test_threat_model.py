"""docs/threat-model.md: the settings that it names exist and have the defaults that it says, every limit of the file is
in it, and so do its fixed limits and the tests."""

from __future__ import annotations

import ast
from functools import cache
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest

from proxy.config.effective import effective
from proxy.config.load import load_text

ROOT = Path(__file__).parents[2]
TEXT = (ROOT / "docs/threat-model.md").read_text()

# One of everything that has a default of its own where it is written.
CONFIG = """
listeners: [ { name: web, address: ":8080" } ]
dns: { address: 127.0.0.1:8600 }
services: { web: { domain: web.test, mesh: { circuit_breaker: {}, retry: {} } } }
"""

# Keys of `limits` and `timeouts` that defend against nobody.
OTHERS = {
    "limits.replay_body",
    "timeouts.connect",
    "timeouts.upstream_idle",
    "timeouts.drain",
    "timeouts.drain_streams",
    "timeouts.worker_hang",
}


def rows() -> list[list[str]]:
    """The cells of tables with a setting, a default and a test."""
    found = []
    for line in TEXT.splitlines():
        cells = [cell.strip() for cell in line.strip("|").split("|")] if line.startswith("|") else []
        if len(cells) == 5 and cells[0] != "what is tried" and not cells[0].startswith("---"):
            found.append(cells)
    return found


def in_force() -> dict[str, Any]:
    loaded = load_text(CONFIG, "threats.yaml")
    assert loaded.config is not None, loaded.problems
    return effective(loaded.config)


def default_of(path: str, shown: Any) -> str:
    """As GET /v1/config says it; "none" where there is nothing."""
    for step in path.split("."):
        name = step.removesuffix("[]")
        shown = next(iter(shown.values()), {}) if name == "*" else shown.get(name, {})
        if step.endswith("[]"):
            shown = shown[0]
    if shown in ({}, [], ""):
        return "none"
    return str(shown).lower() if isinstance(shown, bool) else str(shown)


def settings() -> dict[str, set[str]]:
    """What the page says of each setting."""
    found: dict[str, set[str]] = {}
    for _, _, setting, default, _ in rows():
        if setting.startswith("`"):
            found.setdefault(setting.strip("`"), set()).add(default)
    return found


@cache
def functions_of(file: str) -> frozenset[str]:
    path = ROOT / "tests" / file
    tree = ast.parse(path.read_text() if path.is_file() else "")
    return frozenset(node.name for node in ast.walk(tree) if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef))


def test_there_are_tables() -> None:
    assert len(rows()) > 60
    assert len(settings()) > 40


def test_settings_have_the_defaults_that_the_page_says() -> None:
    shown = in_force()
    assert {path: {default_of(path, shown)} for path in settings()} == settings()


def test_every_limit_is_on_the_page() -> None:
    shown = in_force()
    keys = {f"{group}.{name}" for group in ("limits", "timeouts") for name in shown[group]}
    keys |= {f"admin.{name}" for name in shown["admin"] if name.startswith("max_") or name.endswith("_timeout")}
    assert keys - OTHERS - set(settings()) == set()
    assert keys >= OTHERS


@pytest.mark.parametrize(("name", "default"), [(row[2], row[3]) for row in rows() if row[2].startswith("fixed `")])
def test_fixed_limits_are_what_the_page_says(name: str, default: str) -> None:
    module, _, constant = name.removeprefix("fixed ").strip("`").rpartition(".")
    assert getattr(import_module(module), constant) == int(default)


def test_every_threat_has_a_test_that_exists() -> None:
    missing = []
    for what, *_, shown in rows():
        file, _, name = shown.partition("::")
        if name not in functions_of(file):
            missing.append(f"{what}: {shown or 'no test'}")
    assert missing == []
