"""What every test run does first: it makes sure that the tests test the code that is there.

A compiled module silently wins over the source beside it, so a run with a source newer than its binary would test
yesterday's code: such a run is refused. The first lines say which modules are compiled. A test that hangs is ended.
"""

from __future__ import annotations

import ast
import gc
import os
import signal
import sys
from collections.abc import Iterator
from importlib.machinery import EXTENSION_SUFFIXES
from pathlib import Path

import pytest
from hypothesis import settings

ROOT = Path(__file__).resolve().parent
PACKAGES = ("discovery", "mesh", "proxy")
SOURCE_SUFFIXES = (".py", ".pyx", ".pxd")

# How long one example takes says more about the machine than about the code.
settings.register_profile("hivemesh", deadline=None)
settings.load_profile("hivemesh")

# Far above the slowest test; a hang must end with the name of the test, not with the CI's own limit.
TEST_TIMEOUT = round(300 * float(os.environ.get("HIVEMESH_PATIENCE", "1")))


def listed_modules() -> tuple[list[Path], list[Path]]:
    """The kernels and the other compiled modules, as setup.py lists them."""
    lists: dict[str, list[Path]] = {"KERNELS": [], "COMPILED": []}
    for statement in ast.parse((ROOT / "setup.py").read_text()).body:
        if isinstance(statement, ast.Assign) and isinstance(statement.targets[0], ast.Name):
            name = statement.targets[0].id
            if name in lists:
                lists[name] = [ROOT / path for path in ast.literal_eval(statement.value) if (ROOT / path).exists()]
    return lists["KERNELS"], lists["COMPILED"]


def binary_of(source: Path) -> Path | None:
    for suffix in EXTENSION_SUFFIXES:
        binary = source.with_name(source.stem + suffix)
        if binary.exists():
            return binary
    return None


def problems_of_build() -> list[str]:
    """One sentence for each module whose binary is not what its source says."""
    kernels, _ = listed_modules()
    problems = [f"{kernel.relative_to(ROOT)} is not compiled" for kernel in kernels if binary_of(kernel) is None]
    for package in PACKAGES:
        for binary in sorted((ROOT / package).rglob("*.so")):
            module = binary.with_name(binary.name.split(".", 1)[0])
            sources = [module.with_suffix(suffix) for suffix in SOURCE_SUFFIXES if module.with_suffix(suffix).exists()]
            if not any(source.suffix != ".pxd" for source in sources):
                problems.append(f"{binary.relative_to(ROOT)} has no source any more")
            problems += [
                f"{source.relative_to(ROOT)} is newer than its compiled form"
                for source in sources
                if source.stat().st_mtime_ns > binary.stat().st_mtime_ns
            ]
    return problems


def pytest_configure(config: pytest.Config) -> None:
    problems = problems_of_build()
    if problems:
        raise pytest.UsageError("\n".join([*problems, "run `make build` first (`make clean build` starts over)"]))
    # A transport of the event loop that is still open when its loop ends belonged to nobody.
    config.addinivalue_line("filterwarnings", "error:unclosed (resource|transport):ResourceWarning")


def pytest_sessionstart(session: pytest.Session) -> None:
    kernels, others = listed_modules()
    names = {source: ".".join(source.relative_to(ROOT).with_suffix("").parts) for source in kernels + others}
    compiled = [name for source, name in names.items() if binary_of(source) is not None]
    interpreted = [name for source, name in names.items() if binary_of(source) is None]
    terminal = session.config.pluginmanager.get_plugin("terminalreporter")
    if terminal is not None:
        terminal.write_line(f"compiled: {' '.join(compiled) or 'nothing'}")
        terminal.write_line(f"interpreted: {' '.join(interpreted) or 'nothing'}")


@pytest.hookimpl(trylast=True)
def pytest_sessionfinish(session: pytest.Session) -> None:
    """A stream that is forgotten before it is closed is a connection whose end nobody was told of."""
    netio = sys.modules.get("proxy.kernel.netio")
    if netio is None:
        return
    gc.collect()
    streams = sys.modules.get("streams")
    lost = netio.streams_lost() - (0 if streams is None else streams.lost_on_purpose)
    if lost:
        terminal = session.config.pluginmanager.get_plugin("terminalreporter")
        if terminal is not None:
            terminal.write_line(f"\n{lost} streams were collected while their descriptors were open", red=True)
        session.exitstatus = pytest.ExitCode.TESTS_FAILED


@pytest.hookimpl(wrapper=True)
def pytest_runtest_protocol(item: pytest.Item) -> Iterator[None]:
    """Ends a test that hangs, and says where it hung."""

    def hung(signum: int, frame: object) -> None:
        raise TimeoutError(f"the test took longer than {TEST_TIMEOUT} s")

    if os.environ.get("HIVEMESH_TEST_TIMEOUT") == "0":
        return (yield)
    previous = signal.signal(signal.SIGALRM, hung)
    signal.alarm(TEST_TIMEOUT)
    try:
        return (yield)
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, previous)
