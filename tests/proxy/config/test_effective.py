"""The effective configuration is the file's, with defaults and without secrets."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import msgspec
import pytest

from discovery.config import Config
from proxy.config.effective import HIDDEN, HIDDEN_SECRET, effective
from proxy.config.load import load, load_text

EXAMPLES = Path(__file__).parents[3] / "examples"


def comparable(config: Config) -> object:
    """Without what a file's text decides: positions, digest; and without the secret."""

    def strip(value: object) -> object:
        if isinstance(value, msgspec.Struct):
            names = [name for name in value.__struct_fields__ if name not in ("position", "digest", "token", "secret")]
            return {name: strip(getattr(value, name)) for name in names}
        return [strip(item) for item in value] if isinstance(value, tuple) else value

    return strip(config)


@pytest.mark.parametrize("name", ["quickstart.yaml", "reference.yaml", "tcp.yaml", "health.yaml"])
def test_loading_it_gives_the_same_configuration(name: str) -> None:
    config = load(EXAMPLES / name, {}).config
    assert config is not None

    again = load_text(json.dumps(effective(config)), "effective.json", {})

    assert [str(problem) for problem in again.problems] == []
    assert again.config is not None
    assert comparable(again.config) == comparable(config)


def test_secrets_are_hidden(config: Callable[..., Config]) -> None:
    shown = effective(config("admin: { address: ':1', token: s3cret }"))
    assert shown["admin"]["address"] == "0.0.0.0:1"  # type: ignore[index, call-overload]
    assert shown["admin"]["token"] == HIDDEN  # type: ignore[index, call-overload]
    assert "s3cret" not in json.dumps(shown)


def test_the_secret_of_cookies_is_hidden_too(config: Callable[..., Config]) -> None:
    shown = effective(config("secret: only-for-this-one-test"))
    assert shown["secret"] == HIDDEN_SECRET
    assert "only-for-this" not in json.dumps(shown)


@pytest.mark.parametrize("secret", ["too-short", "with spaces in it, but long"])
def test_a_bad_secret_is_not_repeated(problems: Callable[..., list[str]], secret: str) -> None:
    [problem] = problems(f"secret: {secret}")
    assert "expected" in problem
    assert secret not in problem


def test_it_speaks_the_words_of_the_file(config: Callable[..., Config]) -> None:
    shown = effective(config("limits: { body: 1048576 }\ntimeouts: { keep_alive_ms: 90000 }\nservices: { a: {} }"))
    assert shown["limits"]["body"] == "1MiB"  # type: ignore[index, call-overload]
    assert shown["timeouts"]["keep_alive"] == "1m30s"  # type: ignore[index, call-overload]
    assert shown["services"]["a"]["pool"]["idle_timeout"] == "1m"  # type: ignore[index, call-overload]
    assert shown["access_log"]["format"] == "off"  # type: ignore[index, call-overload]


def test_texts_that_look_like_variables_stay_texts(config: Callable[..., Config]) -> None:
    text = "services: { a: { endpoints: [ { address: '[::1]:1', metadata: { m: '$${HOME}' } } ] } }"
    loaded = config(text)
    assert loaded.snapshot.services[0].endpoints[0].metadata == {"m": "${HOME}"}
    again = load_text(json.dumps(effective(loaded)), "f", {})
    assert again.problems == ()
    assert again.config is not None
    assert comparable(again.config) == comparable(loaded)
