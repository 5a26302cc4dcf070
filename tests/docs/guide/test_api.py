"""docs/guide/api.md, consul.md and python.md: their examples are carried out, and every path that is served is told."""

from __future__ import annotations

import ast
import asyncio
import inspect
import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from admin_server import AdminServer
from fake_agent import FakeAgent

from proxy.admin import server as admin
from proxy.config.bodies import POLICIES

GUIDE = Path(__file__).parents[3] / "docs/guide"
BLOCK = re.compile(r"^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
ANY = "*"


class Example(NamedTuple):
    method: str
    path: str
    body: bytes | None
    status: int
    answer: Any  # ANY where nothing is said of it


def examples(name: str) -> list[Example]:
    found = []
    for language, text in BLOCK.findall((GUIDE / name).read_text()):
        if not language:
            found += [example(part) for part in text.strip().split("\n\n")]
    return found


def example(text: str) -> Example:
    request, _, answer = text.partition("-> ")
    line, _, body = request.partition("\n")
    method, path = line.split()
    status, _, expected = answer.partition(" ")
    body = body.strip()
    return Example(
        method, path, body.encode() if body else None, int(status), json.loads(expected) if expected.strip() else ANY
    )


def says(answer: Any, expected: Any) -> bool:
    """Everything that is expected, and lists exactly."""
    if expected == ANY:
        return True
    if isinstance(expected, dict):
        return isinstance(answer, dict) and all(
            key in answer and says(answer[key], value) for key, value in expected.items()
        )
    if isinstance(expected, list):
        return isinstance(answer, list) and len(answer) == len(expected) and all(map(says, answer, expected))
    return bool(answer == expected)


@pytest.fixture
def server() -> Iterator[AdminServer]:
    with AdminServer(FakeAgent()) as running:
        yield running


@pytest.mark.parametrize("name", ["api.md", "consul.md"])
def test_the_requests_are_answered_as_it_says(server: AdminServer, name: str) -> None:
    found = examples(name)
    assert len(found) > 4
    for each in found:
        reply = server.request(each.method, each.path, body=each.body)
        assert reply.status == each.status, (each, reply.body)
        assert says(json.loads(reply.body) if reply.body else None, each.answer), (each, reply.body)


def test_the_python_is_carried_out(server: AdminServer, capsys: pytest.CaptureFixture[str]) -> None:
    blocks = [text for language, text in BLOCK.findall((GUIDE / "python.md").read_text()) if language == "python"]

    async def carry_out() -> None:
        names: dict[str, Any] = {}
        for block in blocks:
            text = block.replace("http://127.0.0.1:9900", server.url)
            code = compile(text, "python.md", "exec", flags=ast.PyCF_ALLOW_TOP_LEVEL_AWAIT)
            value = eval(code, names)
            if inspect.isawaitable(value):
                await value

    asyncio.run(asyncio.wait_for(carry_out(), 20))
    assert len(blocks) == 6
    assert "10.0.0.1:8080" in capsys.readouterr().out


def test_every_path_that_is_served_is_told(server: AdminServer) -> None:
    told = " ".join((GUIDE / name).read_text() for name in ("api.md", "consul.md", "operations.md"))
    documented = set(re.findall(r"`(GET|PUT|POST|DELETE) (/[^` ?]*)`", told))
    assert server._server is not None
    app = server._server._runner.app
    assert app is not None
    served = set()
    for route in app.router.routes():
        path = route.resource.canonical if route.resource is not None else ""
        if route.method != "HEAD":
            served |= {(route.method, each) for each in spelled_out(path)}
    assert served - documented == set()
    assert documented - served == set()


def spelled_out(path: str) -> list[str]:
    """As the guides write a path: conditions left out, words told apart."""
    path = path.replace("{key:" + "|".join(POLICIES) + "}", "{key}")
    if "{verb}" in path:
        return [path.replace("{verb}", verb) for verb in ("pass", "warn", "fail")]
    return [path]


def test_the_keys_of_a_service_are_told() -> None:
    text = (GUIDE / "api.md").read_text()
    assert [key for key in POLICIES if not re.search(rf"\b{key}\b", text)] == []


def test_the_limits_are_told() -> None:
    assert admin.MAX_BODY == 1024 * 1024
    assert "1 MiB" in (GUIDE / "api.md").read_text()


def test_what_consul_says_and_we_do_not_is_told() -> None:
    from proxy.admin.consul import checks, registration

    text = (GUIDE / "consul.md").read_text()
    names = (*checks.IGNORED, *checks.REFUSED, *registration.IGNORED, *registration.REFUSED)
    assert [name for name in names if not re.search(rf"\b{name}\b", text)] == []
