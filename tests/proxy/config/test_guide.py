"""Every example of the configuration guide is what it says."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from proxy.config.load import load_text
from proxy.config.route_tests import run

GUIDE = (Path(__file__).parents[3] / "docs/guide/configuration.md").read_text()
BLOCKS = re.findall(r"^```(yaml|yaml problems|text)\n(.*?)^```$", GUIDE, re.MULTILINE | re.DOTALL)
EXAMPLES = [text for kind, text in BLOCKS if kind == "yaml"]


def test_the_guide_has_examples() -> None:
    assert len(EXAMPLES) >= 7
    assert GUIDE.count("```") == 2 * len(BLOCKS)


@pytest.mark.parametrize("text", EXAMPLES)
def test_an_example_loads_and_its_tests_hold(text: str) -> None:
    loaded = load_text(text, "guide.yaml", {})
    assert [str(problem) for problem in loaded.problems] == []
    assert loaded.config is not None
    assert [str(problem) for problem in run(loaded.config)] == []


def test_the_mistakes_are_reported_as_shown() -> None:
    [wrong] = [text for kind, text in BLOCKS if kind == "yaml problems"]
    [shown] = [text for kind, text in BLOCKS if kind == "text"]
    problems = load_text(wrong, "shop.yaml", {}).problems
    assert "".join(f"{problem}\n" for problem in problems) == shown
