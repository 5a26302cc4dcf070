"""docs/protocol.md lists every answer of our own and every field of the access log, and nothing else."""

from __future__ import annotations

import ast
import re
from pathlib import Path

from proxy.http1 import replies
from proxy.http1.flags import FLAGS
from proxy.http1.replies import Failure

ROOT = Path(__file__).parents[2]
TEXT = (ROOT / "docs/protocol.md").read_text()


def rows(heading: str) -> list[list[str]]:
    """The cells of the first table below `heading`, without its first two lines."""
    section = TEXT.split(f"## {heading}\n", 1)[1].split("\n## ", 1)[0]
    lines = [line for line in section.splitlines() if line.startswith("|")]
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in lines[2:]]


def test_every_answer_of_our_own_is_listed_with_its_flag_and_error() -> None:
    listed = {
        (int(status), flag, error, last == "closes") for status, flag, error, _, last in rows("Answers of its own")
    }
    failures = [value for value in vars(replies).values() if isinstance(value, Failure)]
    answered = {(failure.status, failure.flag, failure.error, failure.close) for failure in failures}
    # What the scanner refuses is made into a Failure where it happens, from the scanner's own statuses.
    scanner = (ROOT / "proxy/kernel/scan.pyx").read_text()
    refused = {int(status) for status in re.findall(r"^    E_\w+: \((\d+), ", scanner, re.MULTILINE)}
    answered |= {(status, "DPE", "http_request_error", True) for status in refused}
    assert listed == answered


def test_every_field_of_the_access_log_is_listed() -> None:
    listed = [name for names, _ in rows("Access log") for name in names.split(", ")]
    assert sorted(listed) == sorted(written_by("proxy/accesslog.py"))


def test_every_flag_of_a_request_is_listed() -> None:
    listed = [flag for flags, _ in rows("Flags of requests") for flag in flags.split(", ")]
    assert listed == list(FLAGS)


def test_every_field_of_a_streams_line_is_listed() -> None:
    listed = [name for names, _ in rows("Access log of streams") for name in names.split(", ")]
    assert sorted(listed) == sorted({"ts"} | written_by("proxy/streamlog.py"))


def written_by(module: str) -> set[str]:
    """The names that the module's literals put before a colon."""
    source = ast.parse((ROOT / module).read_text())
    literals = [node.value for node in ast.walk(source) if isinstance(node, ast.Constant)]
    return {name.decode() for text in literals if isinstance(text, bytes) for name in re.findall(rb'"(\w+)":', text)}


def test_every_flag_is_known() -> None:
    """Of answers, of requests and of streams: proxy/http1/flags.py has them all, and docs/protocol.md names them."""
    answered = {value.flag for value in vars(replies).values() if isinstance(value, Failure)} - {""}
    streams = {flag for flag, _ in rows("Flags of streams")}
    assert answered | streams <= set(FLAGS)
    assert all(re.search(rf"\b{flag}\b", TEXT) for flag in FLAGS)
    added = {
        flag
        for path in (ROOT / "proxy").rglob("*.py")
        for flag in re.findall(r'(?:add_flag|Verdict)\(.*?"(\w{2,4})"\)', path.read_text())
    }
    assert added <= set(FLAGS)
    assert {"pa", "fo", "DC"} <= added
