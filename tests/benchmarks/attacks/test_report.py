"""docs/attacks.md shows what the result file holds."""

from __future__ import annotations

from benchmarks.attacks.case import EITHER, Case, Verdict
from benchmarks.attacks.judge import Outcome
from benchmarks.attacks.lane import Seen
from benchmarks.attacks.report import main, render, summary


def test_the_page_shows_the_result_that_is_there() -> None:
    assert main(["--check"]) == 0


def test_deviations_of_anybody_are_shown_and_counted() -> None:
    one = Case("chunks/a|b", "a <tag>", (b"x",), EITHER, "RFC 9112 7.1", group="chunks")
    two = Case("chunks/fine", "in order", (b"y",), EITHER, "RFC 9112 7.1", group="chunks")
    fine = Outcome(Verdict.REFUSED, 400)
    bad = Outcome(Verdict.FORWARDED, 200, "forwarded (200) instead of refused", ["it sees \x00 what | is not there"])
    results = {
        "hivemesh": [(one, Seen(), fine), (two, Seen(), fine)],
        "nginx": [(one, Seen(), bad), (two, Seen(), fine)],
    }
    found = {
        "began": "2026-11-30T00:00:00Z",
        "commit": "0" * 40,
        "changed": False,
        "versions": {"hivemesh": "1", "nginx": "2"},
        "left_out": {},
        **summary(results),
    }
    assert found["groups"]["chunks"]["nginx"] == {"cases": 2, "right": 1, "wrong": 1, "desyncs": 1}
    page = render(found)
    assert "1, 1 desync" in page
    assert "a\\|b" in page
    assert "forwarded (200); **desync**: it sees ? what \\| is not there" in page
    assert "in order" not in page
