"""docs/guide/health.md: its examples are valid, and its numbers are those of the code."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
import yaml

from discovery.checks import HealthCheck
from discovery.config import RegistrySettings
from proxy.config.load import load_text

GUIDE = Path(__file__).parents[3] / "docs/guide/health.md"
TEXT = GUIDE.read_text()
EXAMPLES = re.findall(r"^```yaml\n(.*?)^```$", TEXT, re.MULTILINE | re.DOTALL)


@pytest.mark.parametrize("example", EXAMPLES)
def test_every_example_is_valid(example: str) -> None:
    written = yaml.safe_load(example)
    if "health_check" in written:
        written = {"services": {"s": {**written, "endpoints": [{"address": "127.0.0.1:9001"}]}}}
    loaded = load_text(json.dumps(written), str(GUIDE))
    assert not loaded.problems
    assert loaded.config is not None
    for service in loaded.config.snapshot.services:
        assert service.health_check is not None


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("unhealthy_threshold", HealthCheck().unhealthy_threshold),
        ("healthy_threshold", HealthCheck().healthy_threshold),
        ("interval", f"{HealthCheck().interval:g} s"),
        ("timeout", f"{HealthCheck().timeout:g} s"),
        ("registry.check_concurrency", RegistrySettings().check_concurrency),
        ("registry.command_concurrency", RegistrySettings().command_concurrency),
    ],
)
def test_the_defaults_are_those_of_the_code(name: str, value: object) -> None:
    assert set(re.findall(rf"`{re.escape(name)}` \((.*?)\)", TEXT)) == {str(value)}
