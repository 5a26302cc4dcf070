"""The example files load without problems and their own tests hold."""

from __future__ import annotations

from pathlib import Path

import pytest

from proxy.config.load import load
from proxy.config.validate import check

EXAMPLES = Path(__file__).parents[3] / "examples"


@pytest.mark.parametrize("name", ["quickstart.yaml", "reference.yaml", "tcp.yaml", "health.yaml"])
def test_it_is_accepted(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("HIVEMESH_TOKEN", raising=False)
    loaded = check(str(EXAMPLES / name))
    assert [str(problem) for problem in loaded.problems] == []
    assert loaded.config is not None
    assert loaded.config.tests


def test_the_quickstart_is_for_this_machine_only() -> None:
    config = load(EXAMPLES / "quickstart.yaml").config
    assert config is not None
    services = config.snapshot.services
    addresses = [listener.address for listener in config.snapshot.listeners] + [config.admin.address]
    addresses += [endpoint.address for service in services for endpoint in service.endpoints]
    assert all(address.startswith("127.") for address in addresses)


def test_every_key_of_the_reference_stands_below_a_comment() -> None:
    """Whoever adds a key writes down what it means: no run of more than a few lines is without a comment."""
    run = longest = 0
    for line in (EXAMPLES / "reference.yaml").read_text().splitlines():
        run = 0 if "#" in line or not line.strip() else run + 1
        longest = max(longest, run)
    assert longest <= 5
