"""What `explain` prints, story by story, as a terminal of 80 columns without colours shows it; and that no text of
others bends the page."""

from __future__ import annotations

import io
from collections.abc import Callable
from pathlib import Path
from typing import Any

import decisions
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec.structs import replace
from rich.cells import cell_len
from rich.console import Console
from rich.text import Span

from mesh.decision import Decision, EndpointReport, PhaseVerdict, Question, Setting, ShareView, SplitView
from mesh.record import Record
from mesh.verdict import Verdict
from proxy.cli import narrative
from proxy.cli.layout import ASCII, Marks, Page, marks_for
from proxy.cli.past import recount

STORIES = Path(__file__).parent / "stories"


def told(*found: Decision, width: int = 80, marks: Marks | None = None, **how: Any) -> list[str]:
    page = Page(width, marks or Marks())
    narrative.tell(page, found, **how)
    return [line.plain for line in page.lines]


def recounted(record: Record, width: int = 80) -> list[str]:
    page = Page(width)
    recount(page, record)
    return [line.plain for line in page.lines]


def three_workers() -> list[str]:
    one = decisions.forwarded()
    return told(one, replace(one, worker=1, endpoint="10.0.0.4:80"), replace(one, worker=2))


@pytest.mark.parametrize(
    ("name", "story"),
    [
        ("forwarded", three_workers),
        ("no-route", lambda: told(decisions.unrouted(), file="shop.yaml")),
        ("rate-limited", lambda: told(decisions.limited())),
        ("redirected", lambda: told(decisions.redirected())),
        ("no-endpoint", lambda: told(decisions.stranded(), replace(decisions.stranded(), worker=1))),
        ("failed-over", lambda: told(decisions.failed_over(), problems=["worker 1 did not answer in time"])),
        ("past-failed", lambda: recounted(decisions.failed())),
        ("past-refused", lambda: recounted(decisions.refused())),
        ("past-served", lambda: recounted(decisions.served())),
    ],
)
def test_the_story(name: str, story: Callable[[], list[str]]) -> None:
    lines = story()
    assert "\n".join(lines) + "\n" == (STORIES / f"{name}.txt").read_text()
    assert max(map(len, lines)) <= 80


def test_all_endpoints_are_listed_when_that_is_asked_for() -> None:
    many = tuple(EndpointReport(id=f"e{n}", address=f"10.0.0.{n}:80") for n in range(40))
    decision = replace(decisions.forwarded(), endpoints=many, more_endpoints=60)
    brief = "\n".join(told(decision))
    assert "10.0.0.11:80" in brief
    assert "10.0.0.12:80" not in brief
    assert "not listed: 28 healthy, 60 more (--all lists them)" in brief
    assert "10.0.0.39:80" in "\n".join(told(decision, everything=True))


def test_what_is_picked_is_listed_even_where_it_is_the_last_of_many() -> None:
    many = tuple(EndpointReport(id=f"e{n}", address=f"10.0.0.{n}:80", picked=n == 39) for n in range(40))
    assert "10.0.0.39:80" in "\n".join(told(replace(decisions.forwarded(), endpoints=many)))


def test_defaults_are_a_paragraph_unless_everything_is_asked_for() -> None:
    assert "by default: timeouts.connect 5s, timeouts.response_header off" in "\n".join(told(decisions.forwarded()))
    every = [line.split() for line in told(decisions.forwarded(), everything=True)]
    assert ["from", "default"] in every
    assert ["timeouts.connect", "5s"] in every


def test_two_files_of_one_name_are_told_apart() -> None:
    first, second = decisions.at(1, "/a/routes.yaml"), decisions.at(2, "/b/routes.yaml")
    routes = (Verdict(route="x", order=0, wins=True, position=first), Verdict(route="y", order=1, position=second))
    page = "\n".join(told(replace(decisions.forwarded(), routes=routes, settings=())))
    assert "/a/routes.yaml:1" in page
    assert "/b/routes.yaml:2" in page


def test_a_header_that_claims_another_client_is_said_to_count_for_nothing() -> None:
    decision = replace(decisions.forwarded(), client="10.0.0.7")
    assert any(
        "10.0.0.7, no trusted proxy: what it says of others does not count" in line
        for line in told(decision, width=100)
    )


def test_workers_that_have_not_yet_the_new_configuration_are_named() -> None:
    one = decisions.forwarded()
    page = told(one, replace(one, worker=1, config_version=6))
    assert any("worker 1" in line and line.endswith("by version 6") for line in page)


def test_a_terminal_without_unicode_gets_ascii() -> None:
    assert marks_for("ascii") == marks_for("latin-1") == ASCII
    assert marks_for("utf-8") == Marks()
    assert marks_for("no-such-encoding") == ASCII
    assert "\n".join(told(decisions.forwarded(), marks=ASCII)).isascii()


def test_without_colours_there_is_nothing_but_text() -> None:
    def printed(**how: Any) -> str:
        page = Page(80)
        narrative.tell(page, [decisions.forwarded()])
        console = Console(file=io.StringIO(), width=80, force_terminal=True, highlight=False, **how)
        for line in page.lines:
            console.print(line)
        return console.file.getvalue()  # type: ignore[attr-defined, no-any-return]

    assert "\x1b[" in printed(color_system="standard")
    assert "\x1b[3" not in printed(no_color=True)  # colours of letters
    assert "\x1b" not in printed(color_system=None)


def test_a_style_ends_where_its_words_end() -> None:
    page = Page(80)
    narrative.tell(page, [decisions.forwarded()])
    recount(page, decisions.failed())
    assert not any(line.style for line in page.lines)
    [labelled] = [line for line in page.lines if line.plain.startswith("Request    path")]
    assert labelled.spans[0] == Span(0, 11, "bold cyan")


# --- texts of others ---------------------------------------------------------------------------------------------

HOSTILE = (
    "[bold red]not markup[/]",
    "\x1b[31mred\x1b[0m",
    "two\nlines\r\n\tand a tab",
    "\u202eright to left",
    "名前" * 60,
    "x" * 400,
    "e\u0301" * 50,
    "\ud800",
    "",
)
texts = st.sampled_from(HOSTILE) | st.text(max_size=40)


def everywhere(text: str) -> Decision:
    """A decision in which every text of a configuration or a request is this one."""
    one = decisions.forwarded()
    position = decisions.at(3, text)
    return replace(
        one,
        question=Question(method=text, host=text, target=text, headers=((text, text),), client=text, body_size=-1),
        **dict.fromkeys(("listener", "request_id", "method", "host", "path", "query", "client", "detail"), text),
        **dict.fromkeys(("route", "rule_source", "service", "version", "endpoint", "why"), text),
        routes=(
            Verdict(route=text, order=99_999, wins=True, position=position),
            Verdict(route=text, order=0, reason=f"host: {text}", position=position),
        ),
        hidden=((text, 3),),
        phases=(PhaseVerdict(name="fault", owner=f"route {text}", detail=text, limit=1e15, used=1e15),),
        splits=(
            SplitView(
                owner=f"service {text}",
                shares=tuple(ShareView(service=text, version=text, percent=5.0, drawn=n == 3) for n in range(20)),
                number=0.999,
                by=text,
                failed_over=True,
                wanted=text,
            ),
        ),
        endpoints=tuple(
            EndpointReport(
                id=text + str(n),
                address=text,
                version=text + str(n),
                zone=text,
                weight=10**6,
                level=n,
                state=text,
                detail=text,
                load=10**6,
                score=1e9,
                picked=n == 1,
            )
            for n in range(3)
        ),
        settings=(
            Setting(name=text, value=text, origin=text, position=position),
            Setting(name=text, value=text, origin="default"),
        ),
        head=(text, f"{text}: {text}"),
        cookies=(text,),
    )


@settings(max_examples=15, deadline=None)
@given(text=texts, width=st.sampled_from((60, 80, 120)), everything=st.booleans())
def test_hostile_texts_stay_printable_and_in_their_columns(text: str, width: int, everything: bool) -> None:
    decision = everywhere(text)
    lines = told(decision, replace(decision, worker=1, endpoint="b"), width=width, everything=everything)
    record = replace(
        decisions.failed(),
        **dict.fromkeys(("method", "host", "path", "route", "rule_source", "service", "version", "endpoint"), text),
        **dict.fromkeys(("client", "peer", "request_id", "flags", "flag_details", "drawn", "retry_denied"), text),
        tried=(text,),
        headers=((text, text),),
    )
    for line in (*lines, *recounted(record, width)):
        assert cell_len(line) <= width
        assert line.isprintable()
        assert line == line.rstrip(" ")


def test_markup_is_printed_as_it_is() -> None:
    assert sum("[bold red]not markup[/]" in line for line in told(everywhere(HOSTILE[0]), width=120)) > 5


@settings(max_examples=10, deadline=None)
@given(width=st.integers(-5, 10_000))
def test_a_page_is_as_wide_as_one_can_read(width: int) -> None:
    lines = told(decisions.forwarded(), width=width)
    assert max(map(cell_len, lines)) <= min(max(width, 60), 120)
