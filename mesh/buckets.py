"""Routes that share a host and a path: which one comes first for a request.

A `Bucket` keeps its rules in precedence order and takes the first whose conditions hold. Rules are not only scanned:
when several of them ask the same header or query parameter for a value, they are filed under that value in a `Fork`,
so thousands of routes that differ by a header cost one look-up. A rule's rank says where it stands among all routes
of the router, which is how the best of several places is found.
Never looks at host or path: whoever asks a bucket has settled those.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from discovery.model import Route
from mesh.conditions import Condition, Named, Probe
from mesh.patterns import PatternSet

# Fewer rules than this are scanned faster than the value is read and looked up.
FORK_AT = 8


class Rule:
    """A route with its conditions; `rank` 0 is asked first. `payload` is what the router's owner gets back."""

    def __init__(self, rank: int, route: Route, payload: object, conditions: tuple[Condition, ...]) -> None:
        self.rank = rank
        self.route = route
        self.payload = payload
        self.conditions = conditions

    def holds(self, probe: Probe) -> bool:
        for condition in self.conditions:  # noqa: SIM110  # all(...) needs a closure per request
            if not condition.holds(probe):
                return False
        return True

    def refusal(self, probe: Probe) -> str:
        """Why the first condition that does not hold does not; "" when all hold."""
        for condition in self.conditions:
            if not condition.holds(probe):
                return condition.refusal(probe)
        return ""


class Bucket:
    """Rules in order of rank. `ranks` are those of all rules below, `lowest` the first of them."""

    def __init__(self, rules: Sequence[Rule]) -> None:
        self.ranks = tuple(rule.rank for rule in rules)
        self.lowest = self.ranks[0]
        forks, self.rules = _divide(rules)
        self.forks = [Fork(members) for members in forks]

    def first(self, probe: Probe) -> Rule | None:
        """The rule of lowest rank that holds; None when none does."""
        best: Rule | None = None
        for rule in self.rules:
            if rule.holds(probe):
                best = rule
                break
        for fork in self.forks:
            if best is None or fork.lowest < best.rank:
                found = fork.first(probe)
                if found is not None and (best is None or found.rank < best.rank):
                    best = found
        return best


class Fork:
    """Rules that ask the same header or parameter for an exact value or a pattern, filed by what they want."""

    def __init__(self, members: Sequence[tuple[Rule, Named]]) -> None:
        self.lowest = members[0][0].rank
        self.field = members[0][1]  # any of them reads the value
        exact: dict[bytes, list[Rule]] = {}
        patterns: dict[str, list[Rule]] = {}
        for rule, condition in members:
            # Being filed here settles the condition, so inside it is not asked again.
            others = tuple(other for other in rule.conditions if other is not condition)
            inside = Rule(rule.rank, rule.route, rule.payload, others)
            if condition.wanted is not None:
                exact.setdefault(condition.wanted, []).append(inside)
            elif condition.expression is not None:
                patterns.setdefault(condition.expression, []).append(inside)
        self.exact = {value: Bucket(rules) for value, rules in exact.items()}
        self.patterns = PatternTable(patterns) if patterns else None

    def first(self, probe: Probe) -> Rule | None:
        value = self.field.value(probe)
        if value is None:
            return None
        bucket = self.exact.get(value)
        best = None if bucket is None else bucket.first(probe)
        if self.patterns is not None:
            found = self.patterns.first(probe, value)
            if found is not None and (best is None or found.rank < best.rank):
                best = found
        return best


class PatternTable:
    """Buckets behind regular expressions that are all matched against one text."""

    def __init__(self, rules: dict[str, list[Rule]]) -> None:
        self.patterns = PatternSet(tuple(rules))
        self.buckets = [Bucket(members) for members in rules.values()]

    def matching(self, text: bytes) -> list[Bucket]:
        return [self.buckets[index] for index in self.patterns.matches(text)]

    def first(self, probe: Probe, text: bytes) -> Rule | None:
        best: Rule | None = None
        for index in self.patterns.matches(text):
            bucket = self.buckets[index]
            if best is None or bucket.lowest < best.rank:
                found = bucket.first(probe)
                if found is not None and (best is None or found.rank < best.rank):
                    best = found
        return best


def _divide(rules: Sequence[Rule]) -> tuple[list[list[tuple[Rule, Named]]], list[Rule]]:
    """Groups of rules worth a fork, each rule with the condition it is filed by, and the rules left to scan."""
    if len(rules) < FORK_AT:
        return [], list(rules)
    asked = Counter(_field(condition) for rule in rules for condition in _forkable(rule))
    groups: dict[tuple[str, bytes], list[tuple[Rule, Named]]] = {}
    scanned: list[Rule] = []
    for rule in rules:
        popular = max(_forkable(rule), key=lambda condition: asked[_field(condition)], default=None)
        if popular is None or asked[_field(popular)] < FORK_AT:
            scanned.append(rule)
        else:
            groups.setdefault(_field(popular), []).append((rule, popular))
    forks = []
    for members in groups.values():
        if len(members) >= FORK_AT:
            forks.append(members)
        else:  # its rules preferred another field after all
            scanned.extend(rule for rule, _ in members)
    scanned.sort(key=lambda rule: rule.rank)
    return forks, scanned


def _forkable(rule: Rule) -> list[Named]:
    return [
        condition
        for condition in rule.conditions
        if isinstance(condition, Named) and (condition.wanted is not None or condition.expression is not None)
    ]


def _field(condition: Named) -> tuple[str, bytes]:
    return condition.what, condition.name
