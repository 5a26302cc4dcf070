"""The configuration that README.md shows is one that hivemesh takes, and the files that it points to exist."""

from __future__ import annotations

import re
from pathlib import Path

from proxy.config.load import load_text

ROOT = Path(__file__).parents[1]
TEXT = (ROOT / "README.md").read_text()


def test_configuration_is_valid() -> None:
    blocks = re.findall(r"^```yaml\n(.*?)^```$", TEXT, re.MULTILINE | re.DOTALL)
    assert blocks
    for block in blocks:
        assert load_text(block, "README.md").problems == ()


def test_files_exist() -> None:
    named = set(re.findall(r"\b(?:examples|docs|benchmarks)/[\w./-]*\w|\b[A-Z]+\.md\b", TEXT))
    assert {name for name in named if not (ROOT / name).exists()} == set()
