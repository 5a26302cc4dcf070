"""None where an object was expected raises; it never ends the process (docs/design/0011-traps.md).

In a process of its own, because what this is about has no exception: it is a segmentation fault.
"""

from __future__ import annotations

import ast
import importlib
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[3]
LISTS = ("KERNELS", "COMPILED")
DIRECTIVES = ("KERNEL_DIRECTIVES", "PYTHON_DIRECTIVES")


def assigned(names: tuple[str, ...]) -> dict[str, object]:
    """Values of setup.py."""
    found = {}
    for statement in ast.parse((ROOT / "setup.py").read_text()).body:
        target = statement.targets[0] if isinstance(statement, ast.Assign) else None
        if isinstance(target, ast.Name) and target.id in names:
            found[target.id] = ast.literal_eval(statement.value)  # type: ignore[attr-defined]
    assert set(found) == set(names)
    return found


def compiled_modules() -> list[str]:
    lists = assigned(LISTS)
    paths = [path for name in LISTS for path in lists[name]]  # type: ignore[attr-defined]
    names = [path.rsplit(".", 1)[0].replace("/", ".") for path in paths]
    return [name for name in names if str(importlib.import_module(name).__file__).endswith(".so")]


@pytest.mark.parametrize("name", DIRECTIVES)
def test_every_module_is_built_with_checks_for_none(name: str) -> None:
    directives = assigned(DIRECTIVES)[name]
    assert isinstance(directives, dict)
    assert directives["nonecheck"] is True


def test_modules_that_are_python_keep_its_checks() -> None:
    directives = assigned(DIRECTIVES)["PYTHON_DIRECTIVES"]
    assert isinstance(directives, dict)
    assert [directives[name] for name in ("boundscheck", "wraparound", "overflowcheck")] == [True] * 3


def test_no_source_takes_them_back() -> None:
    for path in (ROOT / package for package in ("discovery", "mesh", "proxy")):
        for source in (each for suffix in ("*.py", "*.pyx", "*.pxd") for each in path.rglob(suffix)):
            assert not re.search(r"nonecheck\s*[=(]\s*\(?False", source.read_text()), source


def test_no_kernel_reads_bytes_without_looking_what_it_was_given() -> None:
    """Of None these macros return what lies behind it in memory; proxy/kernel/octets looks first."""
    for source in (ROOT / "proxy" / "kernel").glob("*.p*"):
        assert not re.search(r"PyBytes_(AS_STRING|GET_SIZE)|PyByteArray_AS|Py(List|Tuple)_GET", source.read_text()), (
            source
        )


def test_none_ends_no_process() -> None:
    modules = compiled_modules()
    assert modules
    script = ROOT / "tests" / "support" / "nothing.py"
    done = subprocess.run(
        [sys.executable, str(script), *modules],
        cwd=ROOT,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    )
    assert done.returncode == 0, f"ended with {done.returncode} in {done.stderr.splitlines()[-1]}"
    calls = int(done.stdout.split()[0])
    assert calls > 100 * len(modules), done.stdout
