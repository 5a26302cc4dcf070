"""Configurations as text, and what came of them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from textwrap import dedent

import pytest

from discovery.config import Config
from proxy.config.load import load_text

# Not os.environ: no test depends on where it runs.
ENVIRONMENT = {"HOST": "127.0.0.1", "PORT": "8080", "EMPTY": "", "WEIGHT": "7"}


@pytest.fixture
def problems() -> Callable[..., list[str]]:
    """Every problem of a text, as `line:col: key: message`."""

    def find(text: str, environment: Mapping[str, str] = ENVIRONMENT) -> list[str]:
        loaded = load_text(dedent(text), "f", environment)
        assert (loaded.config is None) == bool(loaded.problems)
        return [str(problem).removeprefix("f:").strip() for problem in loaded.problems]

    return find


@pytest.fixture
def config() -> Callable[..., Config]:
    """The configuration that a text without problems gives."""

    def read(text: str, environment: Mapping[str, str] = ENVIRONMENT) -> Config:
        loaded = load_text(dedent(text), "f", environment)
        assert loaded.config is not None, "\n".join(map(str, loaded.problems))
        return loaded.config

    return read


@pytest.fixture
def route_problems(problems: Callable[..., list[str]]) -> Callable[[str], list[str]]:
    """The problems of one route `r`, whose keys are `text` in flow style; a service `web` exists. Keys are told
    relative to the route, without positions."""

    def find(text: str) -> list[str]:
        whole = f"""\
            listeners:
              - name: l
                address: 127.0.0.1:1
                routes:
                  - {{ name: r, {text} }}
            services: {{ web: {{}} }}
            """
        return [line.split(": ", 1)[1].replace("listeners[0].routes[0]", "r") for line in problems(whole)]

    return find
