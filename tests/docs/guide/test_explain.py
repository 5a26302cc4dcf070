"""docs/guide/explain.md is what happens: its file is run, and its commands print what stands there.

The commands run in the order of the page against one real program, at the addresses that the page says: hashes of keys
depend on them. What differs from run to run (times, ids that were made, dates) is compared by its shape only.
UPDATE_DOCS=1 writes what the commands print into the page.
"""

from __future__ import annotations

import difflib
import os
import re
import shlex
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import yaml
from http_origin import HttpOrigin
from program import ROOT, Hivemesh, Program
from waiting import eventually

GUIDE = ROOT / "docs/guide/explain.md"
BLOCK = re.compile(r"^```(\w+)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
COMMAND = re.compile(r"^\$ (.+)\n", re.MULTILINE)
WIDTH = 100

# What is another thing at every run, and what it looks like.
VOLATILE = (
    (re.compile(r"\d{4}-\d\d-\d\dT[\d:.]+Z"), "DATE"),
    (re.compile(r"\b[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}\b"), "ID"),
    (re.compile(r"\b[0-9a-f]{2}-[0-9a-f]{32}-[0-9a-f]{16}-[0-9a-f]{2}\b"), "TRACE"),
    (re.compile(r"\b\d+(\.\d+)?\s?(us|ms|s|min)\b"), "TIME"),
    (re.compile(r"\b[0-9a-f]{32}\b"), "TRACE"),
    (re.compile(r"curl/[\d.]+"), "CURL"),
    (re.compile(r"[─━█▇▆▅▄▃▂▁▏▎▍▌▋▊▉░▒▓]+"), "BAR"),
    (re.compile(r"\s+"), " "),
    (re.compile(r"TIME \d+ %"), "TIME"),
)


class Beside(Hivemesh):
    """The program, started beside its file, which it therefore knows by its name alone."""

    def __init__(self, directory: Path, admin: str) -> None:
        self.admin = admin
        start = f"cd {shlex.quote(str(directory))} && exec {shlex.quote(sys.executable)} -m proxy run -c shop.yaml"
        Program.__init__(self, ["sh", "-c", start], directory, self.is_ready, "hivemesh", env={"PYTHONPATH": str(ROOT)})


class Page:
    """The program of the page, with its endpoints."""

    def __init__(self, directory: Path) -> None:
        self.text = GUIDE.read_text()
        self.directory = directory
        config = next(body for language, body in BLOCK.findall(self.text) if language == "yaml")
        (directory / "shop.yaml").write_text(config)
        # Another run of the tests on this machine may be at this page.
        ports = sorted({int(port) for port in re.findall(r"127\.0\.0\.1:(\d+)", config)})
        eventually(lambda: all(is_free(port) for port in ports), f"nobody listens on {ports}", 60)
        self.origins = [
            HttpOrigin(endpoint["id"], int(endpoint["address"].rpartition(":")[2]))
            for service in yaml.safe_load(config)["services"].values()
            for endpoint in service["endpoints"]
        ]
        self.hive = Beside(directory, yaml.safe_load(config)["admin"]["address"])

    def close(self) -> None:
        self.hive.stop()
        for origin in self.origins:
            origin.close()

    def run(self, command: str) -> str:
        """What it prints."""
        words = shlex.split(command)
        if words[0] == "hivemesh":
            words[:1] = [sys.executable, "-m", "proxy", "--admin", f"http://{self.hive.admin}"]
        environment = {**os.environ, "COLUMNS": str(WIDTH), "NO_COLOR": "1", "PYTHONPATH": str(ROOT)}
        done = subprocess.run(
            words, cwd=self.directory, env=environment, capture_output=True, text=True, timeout=30, check=False
        )
        return done.stdout + done.stderr


def is_free(port: int) -> bool:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
    return True


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Page]:
    page = Page(tmp_path_factory.mktemp("explain"))
    try:
        yield page
    finally:
        page.close()


def shape(text: str) -> list[str]:
    lines = []
    for line in text.strip().splitlines():
        for pattern, word in VOLATILE:
            line = pattern.sub(word, line)
        lines.append(line.strip())
    return lines


def each_command(body: str, run: Callable[[str], str]) -> str:
    """The block with what its commands print now."""
    return "".join(f"$ {command}\n{run(command).rstrip()}\n" for command in COMMAND.findall(body))


def test_the_commands_print_what_the_page_says(page: Page) -> None:
    def rewritten(found: re.Match[str]) -> str:
        language, body = found[1], found[2]
        return f"```{language}\n{each_command(body, page.run)}```" if language == "console" else found[0]

    text = BLOCK.sub(rewritten, page.text)
    if os.environ.get("UPDATE_DOCS"):
        GUIDE.write_text("\n".join(line.rstrip() for line in text.split("\n")))
        return
    difference = list(difflib.unified_diff(shape(page.text), shape(text), "the page", "what is printed", lineterm=""))
    assert not difference, "\n".join(difference)


def test_the_page_has_real_output() -> None:
    blocks = [body for language, body in BLOCK.findall(GUIDE.read_text()) if language == "console"]
    assert len(blocks) >= 6
    assert all(len(body.splitlines()) > len(COMMAND.findall(body)) for body in blocks)
