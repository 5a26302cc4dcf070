"""Sections of the story of a decision: how a share, and then an endpoint, was chosen.

Pure: decisions in, lines out.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from itertools import accumulate

from rich.text import Text

from mesh.decision import Decision, EndpointReport, ShareView, SplitView
from proxy.cli.because import in_number, joined_target, target_of
from proxy.cli.layout import BAD, DIM, GOOD, STRONG, WARN, Column, Page, joined, text
from proxy.cli.output import STYLES
from proxy.cli.timeline import cells_of

# Endpoints that a brief page lists: as many as one looks at.
BRIEF_ENDPOINTS = 12

# States of endpoints that were not asked at all: listed last.
NOT_ASKED = ("wrong version", "not in subset")

# What follows a state of affinity, with the address of the endpoint where there is one.
AFFINITY = {
    "kept": "kept at {}",
    "new": "new, bound to {} from now on",
    "broken": "broken, bound to {} instead",
    "none": "none",
    "refused": "refused",
}


# --- the draw ------------------------------------------------------------------------------------------------------

SHARE_STYLES = ("cyan", "magenta", "yellow", "blue")


def split(page: Page, view: SplitView) -> None:
    page.begin("Split")
    page.add(joined([f"of {view.owner}:", _draw_text(view)]))
    ends = list(accumulate(share.percent / 100.0 for share in view.shares))
    starts = [0.0, *ends[:-1]]
    if len(view.shares) > 1:
        _line_of_shares(page, view)
    rows = []
    for number, (share, start, end) in enumerate(zip(view.shares, starts, ends, strict=True)):
        style = GOOD if share.drawn else ""
        rows.append(
            (
                text(page.marks.arrow if share.drawn else "", GOOD),
                text(_fill(page, number), SHARE_STYLES[number % len(SHARE_STYLES)]),
                text(_share_name(view, share), style),
                text(f"{share.percent:.4g} %"),
                text(f"{start:.4g} to {end:.4g}", DIM),
                Text("") if share.usable else text("no usable endpoint", BAD),
            )
        )
    page.table((Column(1), Column(1), Column(36, gives=True), Column(8, right=True), Column(20), Column(20)), rows)


def _draw_text(view: SplitView) -> Text:
    if view.kept:
        return text(f"nothing was drawn, {view.kept} keeps the client where it is")
    if view.number < 0:
        return text("nothing had to be drawn")
    drawn = text(f"{in_number(view.number)} drawn by {view.by or 'random'}")
    if view.failed_over:
        wanted = view.wanted or "the share it fell on"
        return joined([drawn, text(f"{wanted} has no usable endpoint, so another share takes its place", WARN)], ": ")
    return drawn


def _line_of_shares(page: Page, view: SplitView) -> None:
    """The line from 0 to 1, and where the number lies on it."""
    width = page.room - 4
    widths = cells_of([max(share.percent, 0.0) for share in view.shares], width)
    line = text("0 ", DIM)
    for number, cells in enumerate(widths):
        line += Text(_fill(page, number) * cells, style=SHARE_STYLES[number % len(SHARE_STYLES)])
    page.add(line + Text(" 1", style=DIM))
    if view.number >= 0:
        at, drawn = 2 + _cell_of(view, widths), in_number(view.number)
        fits = at + len(drawn) + 2 <= page.room
        pointer = f"{page.marks.under} {drawn}" if fits else f"{drawn} {page.marks.under}"
        page.add(text(" " * (at if fits else at - len(drawn) - 1) + pointer, GOOD))


def _cell_of(view: SplitView, widths: Sequence[int]) -> int:
    """Which cell of the line the number is in: always one of its own share, however narrow that was drawn."""
    start, first = 0.0, 0
    for share, cells in zip(view.shares, widths, strict=True):
        end = start + share.percent / 100.0
        if view.number < end and end > start:
            return first + min(int((view.number - start) / (end - start) * cells), max(cells - 1, 0))
        start, first = end, first + cells
    return max(first - 1, 0)


def _fill(page: Page, number: int) -> str:
    return page.marks.fills[number % len(page.marks.fills)]


def _share_name(view: SplitView, share: ShareView) -> str:
    if view.owner == f"service {share.service}":
        return share.version or "no version"
    return joined_target(share.service, share.version)


# --- the endpoint --------------------------------------------------------------------------------------------------


def affinity(page: Page, decision: Decision) -> None:
    view = decision.affinity
    if view is None:
        page.begin("Cookies")
        _cookies(page, decision)
        return
    page.begin("Affinity")
    style = {"kept": GOOD, "broken": WARN, "refused": BAD}.get(view.state, "")
    said = text(AFFINITY.get(view.state, view.state).replace("{}", view.endpoint or "nothing"), style)
    page.add(joined([text(view.by, STRONG), said, text(view.detail, DIM)], ": "))
    _cookies(page, decision)


def _cookies(page: Page, decision: Decision) -> None:
    """What the answer would bind the client by: its endpoint, or its share of a split."""
    for cookie in decision.cookies:
        page.add(text(f"Set-Cookie: {cookie.removeprefix('Set-Cookie: ')}", DIM), indent=2)


def endpoints(page: Page, decision: Decision, everything: bool) -> None:
    if not decision.endpoints and decision.balance is None:
        return
    page.begin("Endpoints")
    page.add(_strategy(decision))
    if decision.balance is not None:
        if decision.balance.score_of and any(each.score is not None for each in decision.endpoints):
            page.add(text(f"score: {decision.balance.score_of}", DIM), indent=7)
        if decision.balance.note:
            page.add(text(decision.balance.note, WARN))
    listed, rest = _listed(decision.endpoints, everything)
    if listed:
        page.table(*_endpoint_table(page, listed, everything))
    rest_counts = ", ".join(f"{count:,} {state}" for state, count in rest.most_common())
    if decision.more_endpoints:
        rest_counts = ", ".join(part for part in (rest_counts, f"{decision.more_endpoints:,} more") if part)
    if rest_counts:
        page.add(text(f"not listed: {rest_counts} (--all lists them)", DIM), indent=12)


def _endpoint_table(
    page: Page, listed: Sequence[EndpointReport], everything: bool
) -> tuple[list[Column], list[list[Text]]]:
    """Columns that would say the same of each endpoint, or nothing, are left out."""
    cells: list[tuple[str, Column, list[str]]] = [
        ("endpoint", Column(40, gives=True), [each.address for each in listed]),
        ("id", Column(24, gives=True), [each.id for each in listed]),
        ("version", Column(16, gives=True), [each.version for each in listed]),
        ("zone", Column(16, gives=True), [each.zone for each in listed]),
        ("weight", Column(9, right=True), [str(each.weight) for each in listed]),
        ("level", Column(6, right=True), [str(each.level) for each in listed]),
        ("load", Column(9, right=True), [f"{each.load:,}" for each in listed]),
        ("score", Column(11, right=True), [_score(each.score) for each in listed]),
    ]
    told = {
        "endpoint": True,
        "id": any(each.id not in each.address for each in listed),
        "version": len({each.version for each in listed}) > 1,
        "zone": any(each.zone for each in listed),
        "weight": any(each.weight != 1 for each in listed),
        "level": any(each.level for each in listed),
        "load": any(each.load for each in listed),
        "score": any(each.score is not None for each in listed),
    }
    shown = [cell for cell in cells if told[cell[0]]]
    columns = [Column(1), *(column for _, column, _ in shown), Column(page.room, gives=True)]
    rows = [[Text(""), *(text(name, DIM) for name, _, _ in shown), text("state", DIM)]]
    for number, each in enumerate(listed):
        style = GOOD if each.picked else "" if each.usable and not each.full else DIM
        mark = text(page.marks.arrow if each.picked else "", GOOD)
        state = text(each.state, STYLES.get(each.state, style))
        # How those are that were not asked does not matter to this request.
        detail = _state_detail(each) if everything or each.state not in NOT_ASKED else Text("")
        state = joined([state, detail], " " if detail.plain.startswith("for ") else ", ")
        rows.append([mark, *(text(values[number], style) for _, _, values in shown), state])
    return columns, rows


def _strategy(decision: Decision) -> Text:
    """Whose endpoints these are and what chooses among them."""
    balance = decision.balance
    of = text(f"of {target_of(decision)}")
    if balance is None:
        return of
    key = text(f"with the key {balance.key}" if balance.key else "")
    return joined([of, joined([text("by"), text(balance.strategy, STRONG), key])], ", ")


def _listed(reports: Sequence[EndpointReport], everything: bool) -> tuple[list[EndpointReport], Counter[str]]:
    """Those to list, best first, and how many of each state are not."""
    ordered = sorted(reports, key=_rank)
    most = len(ordered) if everything else BRIEF_ENDPOINTS
    return ordered[:most], Counter(each.state for each in ordered[most:])


def _rank(report: EndpointReport) -> int:
    if report.picked:
        return 0
    if report.state in NOT_ASKED:
        return 3
    return 1 if report.usable else 2


def _state_detail(report: EndpointReport) -> Text:
    parts = [report.detail]
    if report.full:
        parts.append("has all the requests it may")
    said = ", ".join(part for part in parts if part)
    # "ejected" need not be said twice.
    if said.startswith(report.state):
        said = said.removeprefix(report.state).lstrip()
    return text(said, DIM)


def _score(score: float | None) -> str:
    return "" if score is None else f"{score:.4g}"
