"""docs/guide/circuit-breaker.md: its example has the defaults that it says, and its states are the code's."""

from __future__ import annotations

import json
import re
from pathlib import Path

import yaml

from discovery.policies import SOURCE_LIMITS, CircuitBreaker
from mesh.breaker import STATE_NAMES
from mesh.outlier import CHANCE, FACTOR, MORE
from proxy.config.load import load_text
from proxy.http1.replies import BREAKER_OPEN, NO_ENDPOINT

GUIDE = Path(__file__).parents[3] / "docs/guide/circuit-breaker.md"
TEXT = GUIDE.read_text()


def section(heading: str) -> str:
    return TEXT.split(f"## {heading}\n", 1)[1].split("\n## ", 1)[0]


def test_the_example_is_the_default_with_the_limits_of_a_block() -> None:
    (example,) = re.findall(r"^```yaml\n(.*?)^```$", TEXT, re.MULTILINE | re.DOTALL)
    loaded = load_text(json.dumps(yaml.safe_load(example)), str(GUIDE))
    assert not loaded.problems
    assert loaded.config is not None
    (service,) = loaded.config.snapshot.services
    assert service.circuit_breaker == SOURCE_LIMITS


def test_the_defaults_in_the_text_are_those_of_the_code() -> None:
    policy = CircuitBreaker()
    assert f"{SOURCE_LIMITS.max_connections} connections, {SOURCE_LIMITS.max_pending_requests} waiting requests" in TEXT
    assert f"`success_rate_min_requests` ({policy.success_rate_min_requests})" in TEXT
    assert f"`max_ejection` ({policy.max_ejection_pct:g}%)" in TEXT
    assert f"{MORE * 100:g} of\n100 requests more" in TEXT
    assert FACTOR == 2.0
    assert f"one in {round(1 / CHANCE):,}" in TEXT


def test_the_table_has_the_states_in_their_order() -> None:
    assert tuple(re.findall(r"^\| ([a-z-]+) \| .+ \| .+ \|$", section("Three states"), re.MULTILINE)[1:]) == STATE_NAMES


def test_the_answers_are_those_that_are_given() -> None:
    rows = re.findall(r"^\| (\d+) `(\w+)` \|", section("Three states"), re.MULTILINE)
    assert rows == [(str(each.status), each.flag) for each in (BREAKER_OPEN, NO_ENDPOINT)]
    assert f"{BREAKER_OPEN.detail} ({BREAKER_OPEN.flag})" in TEXT
