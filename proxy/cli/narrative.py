"""What the workers would do with a request, as a page that tells it from the beginning to the end.

The page follows the way of a request: how it was understood, which routes were asked, what stood in its way, how a
share and then an endpoint was chosen, what would limit it, whether it could be sent again, what the endpoint would get;
its last sentence is the answer. Briefly told, it leaves out what says nothing about this request and counts what it
does not list. Pure: decisions in, lines out.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from rich.text import Text

from mesh.decision import Decision, Setting
from proxy.cli import headlines
from proxy.cli.because import because, status_text, target_of
from proxy.cli.choices import affinity, endpoints, split
from proxy.cli.layout import BAD, DIM, GOOD, STRONG, WARN, Column, Page, joined, text
from proxy.cli.obstacles import UNLIMITED, Places, filters, routes

DEFAULT = "default"


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
    no_host = joined([text("none"), text("an empty Host field; without the field it is 400", DIM)], ", ")
    rows.append(("host", text(decision.host) if decision.host else no_host))
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


# --- where the workers differ --------------------------------------------------------------------------------------


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
