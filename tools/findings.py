"""What the sanitizers found, and a plugin of pytest that fails the test under which it was found.

Every process writes its finding to a file of its own in the directory that HIVEMESH_FINDINGS names, whatever becomes of
its exit code. A process of a test may still be ending when the next one runs: the finding then shows one test late, but
it is never lost, because tools/sanitized.py looks once more when all is done.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

DIRECTORY = "HIVEMESH_FINDINGS"

# A frame of os.abort(): a test ends a process that way, as it would end by a bug.
ON_PURPOSE = "in os_abort"

_seen: set[Path] = set()


def files_in(directory: Path) -> list[Path]:
    """Those of Python processes: peers (nginx, curl) inherit the runtime as well, and what they do is not ours."""
    files = sorted(path for path in directory.glob("finding*") if ".python" in path.name)
    return [path for path in files if ON_PURPOSE not in path.read_text(errors="replace")]


def findings_in(directory: Path) -> list[str]:
    return [path.read_text(errors="replace") for path in files_in(directory)]


def pytest_configure() -> None:
    """What was found before, under the tests of another process, is theirs."""
    _seen.update(files_in(Path(os.environ[DIRECTORY])))


@pytest.hookimpl(wrapper=True)
def pytest_runtest_teardown(item: pytest.Item) -> Iterator[None]:
    yield
    new = [path for path in files_in(Path(os.environ[DIRECTORY])) if path not in _seen]
    if new:
        _seen.update(new)
        pytest.fail("\n\n".join(path.read_text(errors="replace") for path in new), pytrace=False)
