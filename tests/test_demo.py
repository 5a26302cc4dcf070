"""`make demo` without a terminal: every scene goes as it says."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
COMMAND = [sys.executable, str(ROOT / "examples" / "demo" / "demo.py")]


def isolated() -> list[str]:
    """The demo's ports are those of the examples, so it gets a network of its own where that is allowed."""
    if shutil.which("unshare") and subprocess.run(["unshare", "-n", "true"], capture_output=True).returncode == 0:
        return ["unshare", "-n", "sh", "-c", 'ip link set lo up && exec "$@"', "sh"]
    return []


def test_the_demo_goes_well() -> None:
    environment = os.environ | {"ONCE": "1", "COLUMNS": "200"}
    demo = subprocess.run([*isolated(), *COMMAND], env=environment, capture_output=True, text=True, timeout=100)
    if "something listens there already" in demo.stderr:
        pytest.skip(demo.stderr.strip())
    assert demo.returncode == 0, demo.stdout + demo.stderr
    assert "DNS says 127.0.0.1; all.api.test still 127.0.0.1, 127.0.0.2" in demo.stdout
