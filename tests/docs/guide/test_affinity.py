"""The examples of docs/guide/affinity.md load, and their tests hold."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from proxy.config.load import load_text
from proxy.config.route_tests import run
from proxy.stats.families import WORD_FAMILIES

GUIDE = (Path(__file__).parents[3] / "docs/guide/affinity.md").read_text()
EXAMPLES = re.findall(r"^```yaml\n(.*?)^```$", GUIDE, re.MULTILINE | re.DOTALL)


def test_the_guide_has_examples() -> None:
    assert len(EXAMPLES) == 4
    assert GUIDE.count("```") == 2 * len(EXAMPLES)


@pytest.mark.parametrize("text", EXAMPLES)
def test_an_example_loads_and_its_tests_hold(text: str) -> None:
    loaded = load_text(text, "guide.yaml", {})
    assert [str(problem) for problem in loaded.problems] == []
    assert loaded.config is not None
    assert [str(problem) for problem in run(loaded.config)] == []


def test_the_metrics_that_it_names_exist() -> None:
    known = {family.name for family in WORD_FAMILIES}
    named = set(re.findall(r"hivemesh_\w+", GUIDE))
    assert named and {name.removesuffix("_total") for name in named} <= {name.removesuffix("_total") for name in known}
