"""What the workers would do with a request, as a page that tells it from the beginning to the end.

The page follows the way of a request: how it was understood, which routes were asked, what stood in its way, how a
share and then an endpoint was chosen, what would limit it, whether it could be sent again, what the endpoint would get;
its last sentence is the answer. Briefly told, it leaves out what says nothing about this request and counts what it
does not list. Pure: decisions in, lines out.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from itertools import accumulate

from rich.text import Text

from mesh.decision import Decision, EndpointReport, PhaseVerdict, Setting, ShareView, SplitView
from mesh.verdict import Verdict
from proxy.cli import headlines
from proxy.cli.because import (
    because,
    first_word,
    in_number,
    joined_target,
    status_text,
    target_of,
)
from proxy.cli.layout import Column, Page, joined, text
from proxy.cli.output import STYLES
from proxy.cli.timeline import cells_of

# Routes and endpoints that a brief page lists: as many as one looks at.
BRIEF_ROUTES = 12
BRIEF_ENDPOINTS = 12

DIM = "dim"
GOOD = "bold green"
BAD = "bold red"
WARN = "yellow"
STRONG = "bold"

# States of endpoints that were not asked at all: listed last.
NOT_ASKED = ("wrong version", "not in subset")

DEFAULT = "default"
# How a value ends that limits nothing.
UNLIMITED = "no limit"

# What follows a state of affinity, with the address of the endpoint where there is one.
AFFINITY = {
    "kept": "kept at {}",
    "new": "new, bound to {} from now on",
    "broken": "broken, bound to {} instead",
    "none": "none",
    "refused": "refused",
}


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


def tell(
    page: Page,
    decisions: Sequence[Decision],
    *,
    problems: Sequence[str] = (),
    everything: bool = False,
    file: str = "",
    id_given: bool = True,
) -> None:
    """The story of at least one decision; it is told of the first, and where others differ that is said. `file`: what
    decided, if nothing that runs did. id_given: the request id was part of the question, not made for it."""
    decision = decisions[0]
    places = Places(decision)
    headline(page, decisions)
    if file:
        page.headline(text(f"by {file} alone: every endpoint is taken for healthy and idle", DIM))
    request(page, decision, [name for name in places.files() if name != file], id_given)
    routes(page, decision, places, everything)
    before = [phase for phase in decision.phases if phase.owner.startswith("route ")]
    after = [phase for phase in decision.phases if not phase.owner.startswith("route ")]
    if not decision.splits:
        before, after = [*before, *after], []
    filters(page, before, everything)
    for view in decision.splits:
        split(page, view)
    filters(page, after, everything)
    affinity(page, decision)
    endpoints(page, decision, everything)
    workers(page, decisions)
    if everything or decision.outcome != "answer" or any(each.origin != DEFAULT for each in decision.settings):
        limits(page, decision.settings, places, everything)
    retry(page, decision)
    head(page, decision)
    for problem in problems:
        page.begin("Problem")
        page.add(text(problem, WARN))
    conclusion(page, decisions)


def headline(page: Page, decisions: Sequence[Decision]) -> None:
    decision = decisions[0]
    asked = text(f"{decision.method} {decision.host}{decision.path}{_query(decision)}", STRONG)
    good = all(each.outcome != "answer" or each.status < 400 for each in decisions)
    page.headline(joined([asked, page.marks.arrow, text(_ends(decisions), GOOD if good else BAD)]))


def _ends(decisions: Sequence[Decision]) -> str:
    """Every place where it may end; what leads to the same service names that once."""
    ends = list(dict.fromkeys(outcome_of(each) for each in decisions))
    if len(ends) > 1 and len({(each.outcome, target_of(each)) for each in decisions}) == 1:
        addresses = dict.fromkeys(each.endpoint for each in decisions)
        if all(addresses):
            return f"{target_of(decisions[0])} at {' or '.join(addresses)}"
    return " or ".join(ends)


def outcome_of(decision: Decision) -> str:
    """Where it ends, in a few words."""
    if decision.outcome == "answer":
        flag = f" ({decision.flag})" if decision.flag else ""
        return f"{status_text(decision.status)}{flag}"
    waits = " (waits)" if decision.outcome == "wait" else ""
    return f"{target_of(decision)} at {decision.endpoint}{waits}"


# --- how the request was understood ------------------------------------------------------------------------------


def request(page: Page, decision: Decision, files: Sequence[str], id_given: bool) -> None:
    question = decision.question
    page.begin("Request")
    rows: list[tuple[str, Text]] = []
    path = text(decision.path + _query(decision))
    if question.target != decision.path + _query(decision):
        path = joined([path, text(f"normalised from {question.target}", DIM)], ", ")
    rows.append(("path", path))
    rows.append(("host", text(decision.host or "none")))
    rows.append(("client", _client(decision)))
    if question.body_size:
        size = f"{question.body_size:,} bytes" if question.body_size > 0 else "of unknown length"
        rows.append(("body", text(size)))
    if decision.request_id:
        rows.append(("id", _id(decision, id_given)))
    where = [f"listener {decision.listener}"] if decision.listener else []
    if decision.config_version:
        where.append(f"version {decision.config_version} of the configuration")
    rows.append(("at", text(", ".join(where))))
    rows += [("file" if number == 0 else "", text(file)) for number, file in enumerate(files)]
    page.table(
        (Column(8), Column(page.room)),
        [(text(name, DIM), value) for name, value in rows if value.plain],
    )


def _client(decision: Decision) -> Text:
    question = decision.question
    if decision.client != question.client:
        return joined([text(decision.client), text(f"told by the trusted proxy {question.client}", DIM)], ", ")
    told = [value for name, value in question.headers if name.lower() in ("x-forwarded-for", "x-real-ip", "forwarded")]
    if told:
        return joined(
            [text(decision.client), text("no trusted proxy: what it says of others does not count", DIM)], ", "
        )
    return text(decision.client)


def _id(decision: Decision, id_given: bool) -> Text:
    if any(
        name.lower() == "x-request-id" and value == decision.request_id for name, value in decision.question.headers
    ):
        return joined([text(decision.request_id), text("given by a trusted proxy", DIM)], ", ")
    if id_given:
        return text(decision.request_id)
    return joined([text(decision.request_id), text("new for this question", DIM)], ", ")


def _query(decision: Decision) -> str:
    return f"?{decision.query}" if decision.query else ""


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


def workers(page: Page, decisions: Sequence[Decision]) -> None:
    """Who predicts what, where they differ; who decides by another version."""
    if len(decisions) < 2:
        return
    groups: dict[tuple[str, str, int], list[int]] = {}
    for decision in decisions:
        key = (outcome_of(decision), decision.route, decision.config_version)
        groups.setdefault(key, []).append(decision.worker)
    if len(groups) == 1:
        return
    versions = {version for _, _, version in groups}
    picks = {decision.endpoint for decision in decisions}
    page.begin("Workers")
    if len(picks) > 1 and all(picks):
        page.add(text("each picks by what it has done before, so they differ:", DIM))
    page.table(
        (Column(30), Column(1), Column(page.room, gives=True), Column(24)),
        [
            (
                text(f"worker{'s' if len(numbers) > 1 else ''} {numbers_text(numbers)}"),
                text(page.marks.arrow),
                text(outcome),
                text(f"by version {version}" if len(versions) > 1 else "", WARN),
            )
            for (outcome, _, version), numbers in groups.items()
        ],
    )


def numbers_text(numbers: Iterable[int]) -> str:
    """0, 1, 2, 5 as "0 to 2, 5"."""
    runs: list[list[int]] = []
    for number in sorted(numbers):
        if runs and runs[-1][-1] == number - 1:
            runs[-1].append(number)
        else:
            runs.append([number])
    return ", ".join(f"{run[0]} to {run[-1]}" if len(run) > 2 else ", ".join(map(str, run)) for run in runs)


# --- what would become of it there ---------------------------------------------------------------------------------


def limits(page: Page, settings: Sequence[Setting], places: Places, everything: bool) -> None:
    """By what they come from, in the order in which a request meets them."""
    if not settings:
        return
    page.begin("Limits")
    origins = dict.fromkeys(setting.origin for setting in settings if setting.origin != DEFAULT)
    if everything:
        origins[DEFAULT] = None
    rows: list[tuple[Text, ...]] = []
    for origin in origins:
        own = [setting for setting in settings if setting.origin == origin]
        where = {str(setting.position): places.of(setting.position) for setting in own}
        at = next(iter(where.values())) if len(where) == 1 else Text("")
        rows.append((joined([text("from", DIM), text(origin)]), Text(""), at))
        for setting in own:
            place = Text("") if len(where) == 1 else places.of(setting.position)
            rows.append((text(f"  {setting.name}"), text(setting.value, STRONG), place))
    page.table((Column(44, gives=True), Column(60, gives=True), Column(26)), rows)
    rest = [f"{each.name} {each.value}" for each in settings if each.origin not in origins and _limits_something(each)]
    if rest:
        page.add(text(f"by default: {', '.join(rest)}", DIM), indent=12)


def _limits_something(setting: Setting) -> bool:
    """Whether a default is worth a word: not what is off, nor what nothing of is used yet."""
    value = setting.value
    return setting.name == "timeout" or not (value == "none" or UNLIMITED in value or value.startswith("0 of "))


def retry(page: Page, decision: Decision) -> None:
    view = decision.retry
    if view is None:
        return
    page.begin("Retry")
    if view.policy:
        page.add(joined([text(view.policy), text(f"({view.owner})" if view.owner else "", DIM)]))
    else:
        page.add(text("no policy", DIM))
    could = "this request could be sent again" if view.repeatable else "not sent again once an endpoint may have got it"
    page.add(joined([text(could, "" if view.repeatable else WARN), text(view.why)], ": "))
    if view.budget:
        page.add(text(f"budget: {view.budget.removeprefix('budget: ')}", DIM))


HEAD_STYLES = {headlines.ADDED: "green", headlines.CHANGED: WARN, headlines.REMOVED: "red"}
HEAD_WORDS = {headlines.ADDED: "added", headlines.CHANGED: "changed", headlines.REMOVED: "removed"}


def head(page: Page, decision: Decision) -> None:
    lines = headlines.compared(headlines.asked_head(decision.question), decision.head)
    if not lines:
        return
    page.begin("Head")
    used = {line.mark for line in lines}
    legend = [text(f"{mark} {word}", HEAD_STYLES[mark]) for mark, word in HEAD_WORDS.items() if mark in used]
    page.add(joined([text("what the endpoint gets:", DIM), joined(legend, "  ")]))
    for line in lines:
        style = HEAD_STYLES.get(line.mark, "")
        was = text(f"  (was {line.before})" if line.before else "", DIM)
        page.add(text(f"{line.mark} {line.line}", style) + was, indent=4)


def conclusion(page: Page, decisions: Sequence[Decision]) -> None:
    page.begin("Why")
    page.add(text(because(decisions[0]), STRONG))
    if len(decisions) > 1:
        same = len({outcome_of(each) for each in decisions}) == 1
        told = "Both workers say the same." if len(decisions) == 2 else f"All {len(decisions)} workers say the same."
        if not same:
            told = f"That is worker {decisions[0].worker}; what the others would do stands under Workers."
        page.add(text(told, DIM))
