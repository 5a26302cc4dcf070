"""docs/guide/discovery.md: what it shows is a configuration or a file of services, without a problem."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from discovery.sources.folder import MAX_FILE_BYTES, MAX_FILES
from proxy.config.load import load_text
from proxy.config.service_files import Context, read_file

GUIDE = (Path(__file__).parents[3] / "docs/guide/discovery.md").read_text()
BLOCKS = re.findall(r"^```yaml\n(.*?)^```$", GUIDE, re.MULTILINE | re.DOTALL)
FILES = [text for text in BLOCKS if text.startswith("name:")]


def test_there_are_both() -> None:
    assert 0 < len(FILES) < len(BLOCKS)


@pytest.mark.parametrize("text", [text for text in BLOCKS if text not in FILES])
def test_its_configurations_are_right(text: str) -> None:
    assert [str(problem) for problem in load_text(text, "guide.yaml", {}).problems] == []


@pytest.mark.parametrize("text", FILES)
def test_its_files_are_right(text: str, tmp_path: Path) -> None:
    (tmp_path / "a.yaml").write_text(text)
    assert read_file(str(tmp_path / "a.yaml"), Context(), {}).problems == ()


def test_its_limits_are_the_codes() -> None:
    assert f"may hold {MAX_FILES} files of at most {MAX_FILE_BYTES // 1024**2} MiB" in GUIDE
