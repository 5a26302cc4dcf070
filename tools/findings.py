"""What the sanitizers found, and a plugin of pytest that fails the test under which it was found.

Every process writes its finding to a file of its own in the directory that HIVEMESH_FINDINGS names, whatever becomes of
its exit code. A process of a test may still be ending when the next one runs: the finding then shows one test late, but
it is never lost, because tools/sanitized.py looks once more when all is done.
"""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

DIRECTORY = "HIVEMESH_FINDINGS"

# Frames of what ends a process as it should: os.abort() where a test wants one that ends as by a bug, and libuv, which
# aborts when it gets no pipe for signals, where a test refuses it one (the supervisor starts another process).
ON_PURPOSE = ("in os_abort", "in uv__signal_global_reinit")

# What becomes, or starts, another program.
WRAPPERS = ("sh", "bash", "env", "nice", "unshare", "timeout", "taskset")

_seen: set[Path] = set()


def files_in(directory: Path) -> list[Path]:
    """Those of Python processes: peers (nginx, curl) inherit the runtime as well, and what they do is not ours."""
    files = sorted(path for path in directory.glob("finding*") if ".python" in path.name)
    return [path for path in files if not any(frame in path.read_text(errors="replace") for frame in ON_PURPOSE)]


def findings_in(directory: Path) -> list[str]:
    return [path.read_text(errors="replace") for path in files_in(directory)]


def is_ours(command: object) -> bool:
    """Whether a process that begins with this command has, or may start, what has modules of ours."""
    first = command if isinstance(command, str | bytes | os.PathLike) else next(iter(command), "")  # type: ignore[call-overload]
    name = os.path.basename(os.fsdecode(first))
    return name.startswith(("python", "hivemesh")) or name in WRAPPERS


def let_others_go() -> None:
    """Programs that others wrote are started without the runtime: it has nothing of ours to watch there, and some hang
    in it before they begin (curl, PostgreSQL, dnsmasq)."""
    start = subprocess.Popen.__init__

    def started(self: Any, args: Any, *rest: Any, **named: Any) -> None:
        if not is_ours(args):
            environment = os.environ if named.get("env") is None else named["env"]
            named["env"] = {name: value for name, value in environment.items() if name != "LD_PRELOAD"}
        start(self, args, *rest, **named)

    subprocess.Popen.__init__ = started  # type: ignore[method-assign]


def pytest_configure() -> None:
    """What was found before, under the tests of another process, is theirs."""
    _seen.update(files_in(Path(os.environ[DIRECTORY])))
    let_others_go()


@pytest.hookimpl(wrapper=True)
def pytest_runtest_teardown(item: pytest.Item) -> Iterator[None]:
    yield
    new = [path for path in files_in(Path(os.environ[DIRECTORY])) if path not in _seen]
    if new:
        _seen.update(new)
        pytest.fail("\n\n".join(path.read_text(errors="replace") for path in new), pytrace=False)
