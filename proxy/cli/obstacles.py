"""Sections of the story of a decision: the routes that were asked, and the filters that stood in the way.

Pure: decisions in, lines out.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from rich.text import Text

from mesh.decision import Decision, PhaseVerdict
from mesh.verdict import Verdict
from proxy.cli.because import first_word
from proxy.cli.layout import BAD, DIM, GOOD, STRONG, WARN, Column, Page, joined, text

# Routes that a brief page lists: as many as one looks at.
BRIEF_ROUTES = 12

# How a value ends that limits nothing.
UNLIMITED = "no limit"


class Places:
    """Positions as short as they are still clear: a file's name alone, where no other file of the page has it."""

    def __init__(self, decision: Decision) -> None:
        positions = [verdict.position for verdict in decision.routes]
        positions += [setting.position for setting in decision.settings]
        files = {position.file for position in positions if position is not None}
        names = Counter(_name(file) for file in files)
        self._short = {file: _name(file) if names[_name(file)] == 1 else file for file in files}

    def of(self, position: object) -> Text:
        file, line = getattr(position, "file", ""), getattr(position, "line", 0)
        if not file:
            return Text("")
        short = self._short.get(file, file)
        return text(f"{short}:{line}" if line else short, DIM)

    def files(self) -> list[str]:
        """Those that are named by their last part alone."""
        return sorted(file for file, short in self._short.items() if short != file)


def _name(file: str) -> str:
    return file.rpartition("/")[2] or file


# --- routes --------------------------------------------------------------------------------------------------------


# What a route that is nowhere near loses by. Such routes say little about a request.
FAR = ("host", "path")


def routes(page: Page, decision: Decision, places: Places, everything: bool) -> None:
    if not decision.routes and not decision.hidden:
        return
    page.begin("Routes")
    told = decision.routes if everything else _nearer(decision.routes)
    page.table(
        (Column(6, right=True), Column(1), Column(24), Column(page.room, gives=True), Column(26)),
        [_route(page, verdict, places) for verdict in told],
    )
    hidden = Counter(dict(decision.hidden))
    listed_orders = {verdict.order for verdict in told}
    hidden.update(_word(verdict) for verdict in decision.routes if verdict.order not in listed_orders)
    if hidden:
        listed = ", ".join(f"{count:,} by {word}" for word, count in hidden.most_common())
        page.add(text(f"not listed: {listed} (--all lists them)", DIM), indent=12)
    if not any(verdict.wins for verdict in decision.routes):
        page.add(text("none of them takes it", BAD))


def _nearer(verdicts: Sequence[Verdict]) -> list[Verdict]:
    """The winner and those that lost by little, then others, as many as a brief page lists, in their order."""
    near = [verdict for verdict in verdicts if _word(verdict) not in FAR]
    far = [verdict for verdict in verdicts if _word(verdict) in FAR]
    chosen = near[:BRIEF_ROUTES] + [verdict for verdict in near[BRIEF_ROUTES:] if verdict.wins]
    chosen += far[: max(0, BRIEF_ROUTES - len(chosen))]
    orders = {verdict.order for verdict in chosen}
    return [verdict for verdict in verdicts if verdict.order in orders]


def _word(verdict: Verdict) -> str:
    """What its reason begins with, the same that the agent counts by; "" of the winner."""
    return first_word(verdict.reason)


def _route(page: Page, verdict: Verdict, places: Places) -> tuple[Text, ...]:
    order = text(verdict.order + 1, DIM)
    if verdict.wins:
        return (
            order,
            text(page.marks.arrow, GOOD),
            text(verdict.route, GOOD),
            text("wins", GOOD),
            places.of(verdict.position),
        )
    word, colon, rest = verdict.reason.partition(":")
    reason = text(word) + text(colon + rest, DIM)
    return order, Text(""), text(verdict.route), reason, places.of(verdict.position)


# --- what stands in its way ----------------------------------------------------------------------------------------


def filters(page: Page, phases: Sequence[PhaseVerdict], everything: bool) -> None:
    told = [phase for phase in phases if everything or _says_something(phase)]
    if not phases or (not told and all(phase.detail for phase in phases)):
        return
    page.begin("Filters")
    page.table(
        (Column(1), Column(16), Column(24), Column(page.room, gives=True)),
        [
            (
                _verdict_mark(page, phase),
                text(phase.name, STRONG if phase.result != "pass" else ""),
                text(phase.owner, DIM),
                _said(phase),
            )
            for phase in told
        ],
    )
    rest = [phase.name for phase in phases if phase not in told and not phase.detail]
    if rest:
        page.add(text(f"passed{' as well' if told else ''}: {', '.join(rest)}", DIM), indent=8)


RESULTS = {"pass": "green", "delay": WARN, "answer": BAD, "copy": "magenta"}
RESULT_WORDS = {"pass": "", "delay": "delays it", "copy": "copies it"}
ANSWER_WORDS = {"redirect": "redirects it", "direct_response": "answers it"}


def _says_something(phase: PhaseVerdict) -> bool:
    if phase.result == "pass" and phase.detail.endswith(UNLIMITED):
        return False
    return phase.result != "pass" or bool(phase.detail) or phase.limit >= 0


def _verdict_mark(page: Page, phase: PhaseVerdict) -> Text:
    if phase.result == "answer":
        wanted = phase.name in ANSWER_WORDS
        return text(page.marks.arrow, GOOD) if wanted else text(page.marks.no, BAD)
    return text(page.marks.yes, RESULTS.get(phase.result, ""))


def _said(phase: PhaseVerdict) -> Text:
    """What it does, and why, or how much of its limit is used."""
    word = ANSWER_WORDS.get(phase.name, "ends it here") if phase.result == "answer" else RESULT_WORDS.get(phase.result)
    style = GOOD if phase.name in ANSWER_WORDS else RESULTS.get(phase.result, "")
    done = text(phase.result if word is None else word, style)
    why = phase.detail or _use(phase)
    return joined([done, text(why, DIM if phase.result == "pass" else "")], ": ")


def _use(phase: PhaseVerdict) -> str:
    if phase.limit < 0:
        return ""
    return f"{_number(phase.used)} of {_number(phase.limit)}" if phase.used >= 0 else f"at most {_number(phase.limit)}"


def _number(value: float) -> str:
    return f"{value:,.0f}" if value == int(value) else f"{value:,.2f}"
