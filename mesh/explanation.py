"""Why a route has a request, and why the others have not: `Router.match` in words.

The order is that in which this request asks: the tables of its host, the most specific first, each in its order of
precedence; routes of other hosts, which it never asks, come last. Only what the tables reach is looked at one by one.
With a limit (`most`) those are listed first, then the nearest of the others, by the beginning of their path or by their
host; what is not listed is counted by the word that its reason begins with.

The work is done in steps, so that an explanation of ten thousand routes holds up nobody: the tables it began with are
the ones that it is about, whatever happens to the router in between.
"""

from __future__ import annotations

from bisect import bisect_left
from collections import Counter
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from heapq import nlargest
from typing import TYPE_CHECKING, NamedTuple, TypeVar

from mesh.conditions import Probe
from mesh.request import RequestView
from mesh.verdict import Verdict

if TYPE_CHECKING:  # what is explained by this
    from mesh.buckets import Rule
    from mesh.router import HostTable, Router

T = TypeVar("T")

# Rules that one step looks at; each takes a microsecond or two.
STEP = 64


class Place(NamedTuple):
    """A rule, and where it stands among all."""

    order: int
    rule: Rule


class Outcome(NamedTuple):
    """`reason`: why the rule lost, "" for the winner."""

    place: Place
    reason: str


class Explanation:
    """What becomes of each route of `router` for the request `view`, or of `most` of them (0: all). `steps` finds it
    out; `verdicts`, `hidden` and `winner` are complete when that has ended."""

    def __init__(self, router: Router, view: RequestView, most: int = 0) -> None:
        self.view = view
        self.winner: Rule | None = None
        self.verdicts: list[Verdict] = []
        self.hidden: dict[str, int] = {}  # routes that are not listed, by the first word of their reason
        self._room = most if most > 0 else router.size
        self._size = router.size
        self._chain = router.chain(view.host)
        self._in_chain = sum(len(table.rules) for table in self._chain)
        # Nobody looks at routes of other hosts while those of this one are more than are listed.
        self._others = router.tables() if self._in_chain < min(self._room, self._size) else []

    def steps(self) -> Iterator[None]:
        reached: list[Outcome] = []
        missed: list[Place] = []
        first = 0
        for table in self._chain:
            yield from self._look(table, first, reached, missed)
            first += len(table.rules)
        counted = Counter[str]()
        for start in range(0, len(reached), STEP * 8):
            counted.update(_word(reason) for _, reason in reached[start : start + STEP * 8])
            yield
        counted["path"] = self._in_chain - len(reached)
        counted["host"] = self._size - self._in_chain
        yield from self._list(reached)
        if self._room and missed:
            path = _shown(self.view.path)
            near = yield from _nearest(missed, _path_of, path, self._room)
            yield from self._list(
                [Outcome(missed[index], f"path: {path} is not {_path_in_words(missed[index])}") for index in near]
            )
        if self._room and self._others:
            yield from self._list_others()
        counted.subtract(_word(verdict.reason) for verdict in self.verdicts)
        self.hidden = {word: count for word, count in counted.items() if word and count}
        yield
        self.verdicts.sort(key=_order)

    def _look(self, table: HostTable, first: int, reached: list[Outcome], missed: list[Place]) -> Iterator[None]:
        """What the conditions say of each rule whose path holds; the others are `missed`, while there is room."""
        probe = Probe()
        probe.ask(self.view)
        ranks = [rank for bucket in table.reached(self.view.path) for rank in bucket.ranks]
        ranks.sort()
        yield
        places = []
        for count, rank in enumerate(ranks, 1):
            place = bisect_left(table.ranks, rank)
            places.append(place)
            rule = table.rules[place]
            reason = rule.refusal(probe)
            if not reason:
                if self.winner is None:
                    self.winner = rule
                else:
                    reason = f"outranked: {self.winner.route.name} comes first"
            reached.append(Outcome(Place(first + place, rule), reason))
            if count % STEP == 0:
                yield
        if len(reached) + len(missed) < self._room:
            held = frozenset(places)
            for start in range(0, len(table.rules), STEP * 4):
                some = enumerate(table.rules[start : start + STEP * 4], start)
                missed.extend(Place(first + place, rule) for place, rule in some if place not in held)
                yield

    def _list(self, outcomes: list[Outcome]) -> Iterator[None]:
        """The first of these as far as there is room, the winner in any case."""
        shown = outcomes[: self._room]
        if len(shown) < len(outcomes):
            winner = next((each for each in outcomes[self._room :] if not each.reason), None)
            if winner is not None:
                shown[-1] = winner
        for count, ((order, rule), reason) in enumerate(shown, 1):
            route = rule.route
            self.verdicts.append(
                Verdict(route=route.name, order=order, wins=not reason, reason=reason, position=route.position)
            )
            if count % STEP == 0:
                yield
        self._room -= len(shown)

    def _list_others(self) -> Iterator[None]:
        """Routes of other hosts, those whose host is most like this one first."""
        host = _shown(self.view.host)
        own = frozenset(map(id, self._chain))
        tables: list[HostTable] = []
        firsts: list[int] = []
        first = self._in_chain
        for count, table in enumerate(self._others, 1):
            if id(table) not in own:
                tables.append(table)
                firsts.append(first)
                first += len(table.rules)
            if count % STEP == 0:
                yield
        near = yield from _nearest(tables, _host_of, host, self._room)
        for count, index in enumerate(near, 1):
            table, first = tables[index], firsts[index]
            reason = f"host: {host} is not {_host_of(table)}"
            yield from self._list(
                [Outcome(Place(first + place, rule), reason) for place, rule in enumerate(table.rules[: self._room])]
            )
            if not self._room:
                break
            if count % STEP == 0:
                yield


def _nearest(
    items: list[T], text_of: Callable[[T], str], wanted: str, most: int
) -> Generator[None, None, Sequence[int]]:
    """Which of `items` have a text most like `wanted`: their indices, at most so many, the best first."""
    if len(items) <= most:
        return range(len(items))
    found: list[int] = []
    for start in range(0, len(items), STEP):
        found += [_likeness(text_of(item), wanted) for item in items[start : start + STEP]]
        yield
    return nlargest(most, range(len(items)), key=found.__getitem__)


def _likeness(text: str, wanted: str) -> int:
    """Characters that the two share at their beginning and at their end."""
    return _shared(text, wanted) + _shared(reversed(text), reversed(wanted))


def _shared(some: Iterable[str], others: Iterable[str]) -> int:
    count = 0
    for one, other in zip(some, others, strict=False):
        if one != other:
            break
        count += 1
    return count


def _host_of(table: HostTable) -> str:
    return table.rules[0].route.match.host


def _path_of(place: Place) -> str:
    return place.rule.route.match.path


def _path_in_words(place: Place) -> str:
    return f"{place.rule.route.match.path_kind} {place.rule.route.match.path}"


def _word(reason: str) -> str:
    """What decided: the first word, "" of the winner."""
    return reason.partition(":")[0].partition(" ")[0]


def _order(verdict: Verdict) -> int:
    return verdict.order


def _shown(value: bytes) -> str:
    return value.decode("latin-1").encode("unicode_escape").decode("ascii") or "(none)"
