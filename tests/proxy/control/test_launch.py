"""Before the supervisor starts: is this installation ours?"""

from __future__ import annotations

import importlib.metadata

import pytest

from proxy.control.launch import name_conflict


def claimed(monkeypatch: pytest.MonkeyPatch, owners: dict[str, list[str]]) -> None:
    monkeypatch.setattr(importlib.metadata, "packages_distributions", lambda: owners)


def test_an_environment_of_our_own_is_fine(monkeypatch: pytest.MonkeyPatch) -> None:
    claimed(monkeypatch, {"proxy": ["hivemesh"], "mesh": ["hivemesh", "hivemesh"], "yaml": ["PyYAML"]})

    assert name_conflict() is None


def test_a_checkout_is_owned_by_nobody(monkeypatch: pytest.MonkeyPatch) -> None:
    claimed(monkeypatch, {})

    assert name_conflict() is None


@pytest.mark.parametrize("owners", [["proxy.py"], ["hivemesh", "proxy.py"]])
def test_another_distribution_with_our_name_is_one_sentence(monkeypatch: pytest.MonkeyPatch, owners: list[str]) -> None:
    claimed(monkeypatch, {"proxy": owners})

    sentence = name_conflict()

    assert sentence is not None
    assert "'proxy' is also installed by proxy.py" in sentence
    assert "\n" not in sentence
