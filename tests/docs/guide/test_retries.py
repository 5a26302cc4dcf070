"""docs/guide/retries.md: its examples do what it says, and its words, names and numbers are those of the code."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
import yaml

from discovery.model import Timeouts
from discovery.policies import SOURCE_LIMITS, RetryPolicy
from discovery.retry_on import WORDS
from mesh.retry import DENIALS
from proxy.config.load import load_text
from proxy.stats.families import WORD_FAMILIES

GUIDE = Path(__file__).parents[3] / "docs/guide/retries.md"
TEXT = GUIDE.read_text()
EXAMPLES = re.findall(r"^```yaml\n(.*?)^```$", TEXT, re.MULTILINE | re.DOTALL)


def section(heading: str) -> str:
    return TEXT.split(f"## {heading}\n", 1)[1].split("\n## ", 1)[0]


def first_cells(heading: str) -> list[str]:
    return [line.split("|")[1].strip() for line in section(heading).splitlines() if line.startswith("| `")]


@pytest.mark.parametrize("example", EXAMPLES)
def test_every_example_is_valid(example: str) -> None:
    loaded = load_text(json.dumps(yaml.safe_load(example)), str(GUIDE))
    assert not loaded.problems
    assert loaded.config is not None
    (service,) = loaded.config.snapshot.services
    assert service.retry is not None


def test_the_words_of_retry_on_are_all_of_them_with_their_meaning() -> None:
    rows = re.findall(r"^\| `(.+)` \| (.+) \|$", section("retry_on"), re.MULTILINE)
    assert dict(rows) == WORDS


def test_the_reasons_are_all_of_them() -> None:
    family = next(each for each in WORD_FAMILIES if each.name in TEXT)
    assert {value for value, _ in family.words} == set(DENIALS)
    listed = [name for cell in first_cells("Why not") for name in re.findall(r"`(\w+)`", cell)]
    assert sorted(listed) == sorted(DENIALS)


def test_the_defaults_are_those_of_the_code() -> None:
    policy, timeouts = RetryPolicy(), Timeouts()
    assert f"backoff` ({policy.backoff * 1000:g} ms)" in TEXT
    assert f"`max_backoff` ({policy.max_backoff * 1000:g} ms)" in TEXT
    assert f"`max_retry_after` ({policy.max_retry_after / 60:g} minutes)" in TEXT
    assert f"`budget` ({policy.budget_pct:g}%)" in TEXT
    assert f"`interval` ({policy.budget_interval:g} s)" in TEXT
    assert f"`floor` ({policy.budget_floor:g})" in TEXT
    assert f"does not say it has {SOURCE_LIMITS.max_retries};" in TEXT
    for name in ("connect", "response_header", "stream_idle"):
        (said,) = re.findall(rf"^\| `timeouts\.{name}` \|.*\| ([0-9]+) s \|$", section("Timeouts"), re.MULTILINE)
        assert float(said) == getattr(timeouts, name)
