"""docs/guide/limits.md: its configuration has no problem, and its table has the defaults of a circuit_breaker block."""

from __future__ import annotations

import re
from pathlib import Path

from discovery.policies import SOURCE_LIMITS
from proxy.config.load import load_text

GUIDE = (Path(__file__).parents[3] / "docs/guide/limits.md").read_text()


def test_the_configuration_that_is_shown_has_no_problem() -> None:
    blocks = re.findall(r"```yaml\n(.*?)```", GUIDE, re.DOTALL)
    assert len(blocks) == 1
    loaded = load_text(blocks[0], "guide.yaml")
    assert [str(problem) for problem in loaded.problems] == []


def test_the_table_has_the_defaults() -> None:
    told = {key: int(default) for key, default in re.findall(r"^\| `(max_\w+)` \| (\d+) \|", GUIDE, re.MULTILINE)}
    assert told == {key: getattr(SOURCE_LIMITS, key) for key in told}
    assert set(told) == {"max_connections", "max_pending_requests", "max_requests", "max_retries"}
