"""One sentence that answers "why did my request go there?", of a decision that was taken for a question.

Pure: words only, made of what the decision says and of nothing else.
"""

from __future__ import annotations

from collections import Counter
from http import HTTPStatus

from mesh.decision import Decision, PhaseVerdict, SplitView
from mesh.verdict import Verdict

NO_ROUTE = "NR"

# States of affinity in which the client has an endpoint already, and that decides.
BOUND = ("kept", "broken")


def because(decision: Decision) -> str:
    """Ends with a full stop."""
    if decision.outcome == "answer":
        return f"{_ended(decision)}."
    reasons = [f"{_winner(decision)} takes it", *(_drawn(split) for split in decision.splits)]
    reasons.append(_picked(decision))
    where = f"endpoint {decision.endpoint} of {target_of(decision)}"
    after = "".join(f", after a delay by {phase.name}" for phase in decision.phases if phase.result == "delay")
    if decision.outcome == "wait":
        waits = f" ({decision.detail})" if decision.detail else ""
        return f"It waits for a connection to {where}{waits}{after}, because {_listed(reasons)}."
    return f"It goes to {where}{after}, because {_listed(reasons)}."


def target_of(decision: Decision) -> str:
    return joined_target(decision.service, decision.version)


def joined_target(service: str, version: str) -> str:
    return f"{service} {version}" if version else service


def strategy_of(decision: Decision) -> str:
    return decision.balance.strategy if decision.balance is not None else "the strategy"


def status_text(status: int) -> str:
    try:
        return f"{status} {HTTPStatus(status).phrase}"
    except ValueError:
        return str(status)


def winner_of(decision: Decision) -> Verdict | None:
    return next((verdict for verdict in decision.routes if verdict.wins), None)


def answering_phase(decision: Decision) -> PhaseVerdict | None:
    """The phase that ended it, if one did."""
    return next((phase for phase in decision.phases if phase.result == "answer"), None)


def share_drawn(split: SplitView) -> str:
    """The share that takes the request, as short as it is still clear."""
    found = next((share for share in split.shares if share.drawn), None)
    if found is None:
        return "nothing"
    if split.owner == f"service {found.service}":
        return f"version {found.version}" if found.version else "the share without a version"
    return joined_target(f"service {found.service}", found.version)


def in_number(number: float) -> str:
    """A draw as precise as its reader needs it: shares are seldom told apart by less."""
    return f"{number:.4f}"


def first_word(reason: str) -> str:
    """What decided: host, path, method, header ..."""
    return reason.partition(":")[0].partition(" ")[0]


def counted_reasons(decision: Decision) -> str:
    """Why the routes lost, by what decided, with how many there are of each: "9 by host, 2 by path"."""
    counts: Counter[str] = Counter()
    for verdict in decision.routes:
        counts[first_word(verdict.reason)] += 1
    for word, count in decision.hidden:
        counts[word] += count
    return ", ".join(f"{count:,} by {word}" for word, count in counts.most_common() if word)


def _winner(decision: Decision) -> str:
    source = f" ({decision.rule_source})" if decision.rule_source else ""
    return f"route {decision.route}{source}"


def _picked(decision: Decision) -> str:
    """Why this endpoint. What affinity says is a sentence of its own; a strategy gives its reason."""
    if decision.affinity is not None and decision.affinity.state in BOUND and decision.why:
        return decision.why
    picks = f"{strategy_of(decision)} picks it"
    return f"{picks}: {decision.why}" if decision.why else picks


def _drawn(split: SplitView) -> str:
    taken = share_drawn(split)
    if split.kept:
        return f"{split.kept} keeps the client at {taken}"
    if split.failed_over:
        return f"{split.wanted or 'the share that was drawn'} has no usable endpoint, so that {taken} takes its place"
    if split.number < 0:
        return f"the split of {split.owner} leads to {taken}"
    return f"the draw {in_number(split.number)} of {split.owner} falls on {taken}"


def _ended(decision: Decision) -> str:
    with_status = f"with {status_text(decision.status)}"
    phase = answering_phase(decision)
    if phase is not None:
        detail = f": {phase.detail}" if phase.detail else ""
        if phase.name == "redirect":
            to = phase.detail.partition(" to ")[2]
            return f"It is redirected{f' to {to}' if to else ''} {with_status}, because {_winner(decision)} says so"
        if phase.name == "direct_response":
            return f"It is answered {with_status} by {_winner(decision)} itself, which asks no endpoint"
        return f"It ends here {with_status}, because {phase.name} of {phase.owner} does not let it pass{detail}"
    if decision.flag == NO_ROUTE:
        lost = counted_reasons(decision)
        where = f" of listener {decision.listener}" if decision.listener else ""
        none = f"no route{where} takes it" if lost else f"there are no routes{where}"
        return f"It ends here {with_status}, because {none}" + (f" ({lost})" if lost else "")
    detail = decision.detail or "the proxy answers it itself"
    if decision.route:
        through = f"{_winner(decision)} leads to {target_of(decision)}, and " if decision.service else ""
        return f"It ends here {with_status}, because {through}{detail}"
    return f"It ends here {with_status} before any route was asked: {detail}"


def _listed(parts: list[str]) -> str:
    return parts[0] if len(parts) == 1 else f"{', '.join(parts[:-1])}, and {parts[-1]}"
