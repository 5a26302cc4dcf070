"""The examples of docs/guide/faults-and-mirroring.md: its configurations in force, with the requests that it says."""

from __future__ import annotations

import re
from pathlib import Path
from typing import NamedTuple

import pytest
from playbook import Origin, Playbook

from discovery.model import AccessLog, LogFormat, Settings
from proxy.config.load import load_text

GUIDE = Path(__file__).parents[3] / "docs/guide/faults-and-mirroring.md"

BLOCK = re.compile(r"^```(\w+)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
# METHOD path -> status, then flags, and whether a copy was sent
LINE = re.compile(r"(\w+) (\S+)\s+-> (\d+)(?: ([A-Z,]+))?(, copied)?")

APP = "127.0.0.1:9001"
SHADOW = "127.0.0.1:9002"


class Example(NamedTuple):
    configuration: str
    method: str
    path: str
    status: int
    flags: str
    copied: bool


def examples() -> list[Example]:
    found = []
    configuration = ""
    for language, text in BLOCK.findall(GUIDE.read_text()):
        if language == "yaml":
            configuration = text
            continue
        for line in text.splitlines():
            matched = LINE.fullmatch(line)
            assert matched is not None, f"not an example: {line}"
            method, path, status, flags, copied = matched.groups()
            found.append(Example(configuration, method, path, int(status), flags or "", copied is not None))
    return found


@pytest.mark.parametrize("example", examples(), ids=lambda example: f"{example.method} {example.path}")
def test_the_guide_tells_the_truth(example: Example, tmp_path: Path) -> None:
    app, shadow = Origin(), Origin()
    text = example.configuration.replace(APP, app.address).replace(SHADOW, shadow.address)
    loaded = load_text(text, "guide.yaml", {})
    assert loaded.config is not None, loaded.problems
    snapshot = loaded.config.snapshot
    log = tmp_path / "log"
    settings = Settings(access_log=AccessLog(path=str(log), format=LogFormat.JSON))
    routes = snapshot.listeners[0].routes
    with Playbook(*snapshot.services, origins=(app, shadow), routes=routes, settings=settings, log=log) as book:
        client = book.client()
        client.ask(example.method, example.path, body=b"body" if example.method == "POST" else b"")
        if example.status == 200:
            app.accept().answer()
        assert client.response().status == example.status
        assert book.log_entries()[-1]["flags"] == example.flags
        if example.copied:
            assert shadow.accept().answer().target == example.path
            book.until(lambda: not book.plane.mirrors.copies, "the copy over")
        else:
            assert not shadow.has_connection_waiting()


def test_every_example_of_the_guide_is_run() -> None:
    assert len(examples()) == GUIDE.read_text().count(" -> ") > 0
