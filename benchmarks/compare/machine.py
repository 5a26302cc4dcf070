"""Where and with what a measurement was made, written into every result so that numbers can be compared at all."""

from __future__ import annotations

import os
import platform
import subprocess
import time
from pathlib import Path

from benchmarks.compare.contenders.hivemesh import CHECKOUT
from benchmarks.compare.processes import core_busy

# What decides how fast hivemesh is; a change elsewhere does not make a result's commit doubtful.
MEASURED_PATHS = ("discovery", "mesh", "proxy", "setup.py", "benchmarks/compare")


def describe() -> dict[str, object]:
    return {
        "cpu": _first_value("/proc/cpuinfo", "model name"),
        "cores": os.cpu_count(),
        "memory": _first_value("/proc/meminfo", "MemTotal"),
        "kernel": platform.release(),
        "system": _system(),
        "python": platform.python_version(),
    }


def commit() -> dict[str, object]:
    """The commit that the checkout is at, and whether what is measured differs from it."""
    head = _output("git", "rev-parse", "HEAD").strip()
    changed = _output("git", "status", "--porcelain", "--", *MEASURED_PATHS).strip()
    return {"commit": head or "unknown", "changed": bool(changed)}


def tool_versions() -> dict[str, str]:
    wrk = _output("wrk", "-v").split()
    h2load = _output("h2load", "--version").split()
    return {"wrk": wrk[1] if len(wrk) > 1 else "", "h2load": h2load[-1].rpartition("/")[2] if h2load else ""}


def busy_share(cores: tuple[int, ...], seconds: float) -> dict[int, float]:
    """How busy each core is with what others do, 0..1; takes `seconds`."""
    before = {core: core_busy(core) for core in cores}
    begun = time.monotonic()
    time.sleep(seconds)
    passed = time.monotonic() - begun
    return {core: (core_busy(core) - before[core]) / passed for core in cores}


def _first_value(path: str, key: str) -> str:
    for line in Path(path).read_text().splitlines():
        name, _, value = line.partition(":")
        if name.strip() == key:
            return value.strip()
    return "unknown"


def _system() -> str:
    try:
        return platform.freedesktop_os_release().get("PRETTY_NAME", "unknown")
    except OSError:
        return "unknown"


def _output(*argv: str) -> str:
    """What a program prints, or "" when it is not there. Some print their version and still end with an error."""
    try:
        return subprocess.run(argv, cwd=CHECKOUT, capture_output=True, text=True, timeout=20).stdout
    except (OSError, subprocess.TimeoutExpired):
        return ""
