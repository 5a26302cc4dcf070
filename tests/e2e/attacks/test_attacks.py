"""The whole table of benchmarks/attacks against hivemesh: every verdict is right, and nothing is out of step."""

from __future__ import annotations

from collections import Counter

import pytest

from benchmarks.attacks.case import Door, Verdict
from benchmarks.attacks.cases import CASES
from benchmarks.attacks.contenders import CONTENDERS
from benchmarks.attacks.judge import FOLLOWING, finals, h11_requests
from benchmarks.attacks.lane import Seen
from benchmarks.attacks.readings import read_responses
from benchmarks.attacks.suite import Result, run

# What h11 refuses and hivemesh does not, and why that is right.
LAXER_THAN_H11 = {
    "chunks/extension after a space": "RFC 9112 7.1.1 has BWS before the semicolon; h11 wants none",
    "request-line/empty line first": "RFC 9112 2.2: at least one is ignored; h11 is for who skips them",
    "request-line/five empty lines first": "the same",
    "request-line/10,000 empty lines first": "the same; they cost no memory, and no time beyond keep_alive",
}


@pytest.fixture(scope="module")
def results(tmp_path_factory: pytest.TempPathFactory) -> list[Result]:
    return run(CONTENDERS["hivemesh"], CASES, tmp_path_factory.mktemp("attacks"))


def shown(seen: Seen) -> str:
    return f"client: {seen.received[:200]!r}; origin: {str(seen.connections)[:500]}"


def test_every_verdict_is_right(results: list[Result]) -> None:
    wrong = [
        f"{case.id}: {outcome.wrong} [{case.source}]; {shown(seen)}" for case, seen, outcome in results if outcome.wrong
    ]
    assert not wrong, "\n".join(wrong)


def test_nothing_is_out_of_step_by_any_reading(results: list[Result]) -> None:
    desyncs = [f"{case.id}: {outcome.desyncs}; {shown(seen)}" for case, seen, outcome in results if outcome.desyncs]
    assert not desyncs, "\n".join(desyncs)


def test_what_is_refused_is_answered_and_the_connection_closed_where_the_end_is_in_doubt(
    results: list[Result],
) -> None:
    """Behind most cases stands a request that must not be answered then: nothing but the refusal comes."""
    checked = 0
    for case, seen, outcome in results:
        in_doubt = len(case.seen) == 1 and FOLLOWING not in case.seen and not case.of_response
        if in_doubt and outcome.verdict == Verdict.REFUSED and outcome.status:
            assert seen.ended, case.id
            assert len(finals(read_responses(seen.received, [b"GET"], True))) == 1, case.id
            checked += 1
    assert checked > 100


def test_h11_refuses_nothing_that_is_forwarded(results: list[Result]) -> None:
    """hivemesh is stricter than h11 in many cases, and less strict in none but those that are listed."""
    laxer = set()
    for case, _, outcome in results:
        if (
            outcome.verdict in (Verdict.FORWARDED, Verdict.ANSWERED)
            and not case.of_response
            and case.door is Door.PLAIN
        ):
            lines, whole, _ = h11_requests(case.sent, 1)
            if not lines or not whole:
                laxer.add(case.id)
    assert laxer == set(LAXER_THAN_H11)


def test_the_table_has_cases_of_all_kinds_and_none_twice() -> None:
    assert len(CASES) >= 900
    assert not [name for name, count in Counter(case.id for case in CASES).items() if count > 1]
    assert not [
        sends for sends, count in Counter((case.sends, case.answers, case.door) for case in CASES).items() if count > 1
    ]
    groups = {case.group for case in CASES}
    assert len(groups) >= 20
