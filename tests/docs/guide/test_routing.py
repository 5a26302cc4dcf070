"""The examples of docs/guide/routing.md: its routes, as the configuration reads them, take the requests it says."""

from __future__ import annotations

import re
from pathlib import Path
from typing import NamedTuple

import pytest
import yaml

from discovery.model import EscapePolicy, Route
from mesh.paths import normalise, origin
from mesh.request import SampleRequest
from mesh.router import Router
from proxy.config.load import load_text

GUIDE = Path(__file__).parents[3] / "docs/guide/routing.md"

BLOCK = re.compile(r"^```(\w+)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
# METHOD URL, then a header or "from ADDRESS", then the route
LINE = re.compile(r"(\S+) (\S+)(?:\s+from (\S+)|\s+([\w-]+): ?(\S*))?\s+-> (\S+)")


class Example(NamedTuple):
    routes: str  # YAML
    line: str
    request: SampleRequest
    expected: str


def examples() -> list[Example]:
    found = []
    routes = ""
    for language, text in BLOCK.findall(GUIDE.read_text()):
        if language == "yaml":
            routes = text
        else:
            found += [example(routes, line) for line in text.splitlines()]
    return found


def example(routes: str, line: str) -> Example:
    matched = LINE.fullmatch(line)
    assert matched is not None, f"not an example: {line}"
    method, url, client, name, value, expected = matched.groups()
    target = origin(url.encode())
    request = SampleRequest(
        method=method.encode(),
        host=target.authority,
        path=normalise(target.path, EscapePolicy.REJECT, True),
        query=target.query,
        headers=[(name.encode(), value.encode())] if name else [],
        client=(client or "127.0.0.1").encode(),
    )
    return Example(routes, line, request, expected)


def read_routes(text: str) -> tuple[Route, ...]:
    """The routes of a fragment of the guide, as part of a whole configuration."""
    routes = yaml.safe_load(text)["routes"]
    endpoints = [{"id": "one", "address": "127.0.0.1:9001"}]
    document = {
        "listeners": [{"name": "web", "address": "127.0.0.1:8080", "protocol": "http", "routes": routes}],
        "services": {name: {"endpoints": endpoints} for name in sorted({route["service"] for route in routes})},
    }
    loaded = load_text(yaml.safe_dump(document), "routing.md", {})
    assert loaded.config is not None, loaded.problems
    return loaded.config.snapshot.listeners[0].routes


@pytest.mark.parametrize("example", examples(), ids=lambda example: re.sub(r"\s+", " ", example.line))
def test_the_guide_tells_the_truth(example: Example) -> None:
    router = Router([(route, route.name) for route in read_routes(example.routes)])
    assert router.match(example.request) == (None if example.expected == "404" else example.expected)


def test_every_example_of_the_guide_is_run() -> None:
    assert len(examples()) == GUIDE.read_text().count(" -> ") > 0
