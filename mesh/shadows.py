"""Routes in the shadow of others: those that never win, and those of which only their order in the list decides.

Precedence (mesh/router.py) asks routes one after the other, so a route never wins when one that is asked before it has
the same host, matches every path that it does, and asks nothing that it does not ask, too. Only such certain cases are
told; a route that several others take everything from together is none of them.

To find them among many, each route is filed with its host and path under the rarest of the things that it asks for; a
route that asks for more can only be covered by those that are filed under what it asks for itself. What is left to
compare is bounded (BUDGET): in a listener that is beyond it some of the cases are not found.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Hashable, Iterable, Iterator, Sequence
from typing import NamedTuple, TypeAlias

from discovery.model import MatchKind, NameMatch, PathKind, Route, RouteMatch, StreamRoute
from mesh.matching import (
    Beginning,
    Conditions,
    Network,
    beginning_of,
    beginnings,
    covers,
    literal_of,
    matches_value,
    networks_cover,
    overlaps,
)
from mesh.router import path_elements, precedence

# Pairs of routes compared for one listener; each takes some microseconds.
BUDGET = 100_000
# Patterns that one value is compared with.
FEW = 50

Spot: TypeAlias = "tuple[str, PathKind, Hashable]"  # host, kind of path, path


class Shadow(NamedTuple):
    """Places in the list of routes. `route` never wins, because `by` takes all that it matches; or `by`, which stands
    before it, takes some of it."""

    route: int
    by: int


class Entry(NamedTuple):
    """A route of requests, ready to be compared. `place` in the list."""

    place: int
    match: RouteMatch
    conditions: Conditions


class Budget:
    def __init__(self, left: int = BUDGET) -> None:
        self.left = left

    def spend(self) -> bool:
        self.left -= 1
        return self.left >= 0


def entries_of(routes: Iterable[Route]) -> list[Entry]:
    """Raises NetworkError."""
    return [Entry(place, route.match, Conditions.of(route.match)) for place, route in enumerate(routes)]


def spot_of(match: RouteMatch) -> Spot:
    """Matches of one spot are true of the same hosts and paths."""
    path: Hashable = path_elements(match.path) if match.path_kind is PathKind.PREFIX else match.path
    return match.host, match.path_kind, path


# --- routes that never win ----------------------------------------------------------------------------------------


def dead_routes(routes: Iterable[Entry]) -> list[Shadow]:
    """Those that no request goes to, each with one that takes what it would get. In the order of the list."""
    entries = sorted(routes, key=lambda entry: precedence(entry.match))  # stable, as the router's
    asked: dict[Spot, Counter[Hashable]] = {}
    for entry in entries:
        asked.setdefault(spot_of(entry.match), Counter()).update(set(_all_keys(entry.conditions)))
    budget = Budget()
    files: dict[Spot, File] = {}
    by_beginning: dict[tuple[str, str], list[tuple[Beginning, File]]] = {}
    found = []
    for entry in entries:
        spot = spot_of(entry.match)
        by = next(
            (
                entry_by
                for file in _files_before(entry.match, spot, files, by_beginning)
                if (entry_by := file.covering(entry, budget))
            ),
            None,
        )
        if by is not None:
            # What it would cover is covered by that one, too.
            found.append(Shadow(entry.place, by.place))
            continue
        file = files.get(spot)
        if file is None:
            file = files[spot] = File(asked[spot])
            beginning = beginning_of(entry.match.path) if entry.match.path_kind is PathKind.REGEX else None
            if beginning is not None:
                by_beginning.setdefault((entry.match.host, beginning.text), []).append((beginning, file))
        file.add(entry)
    return sorted(found)


def _files_before(
    match: RouteMatch,
    spot: Spot,
    files: dict[Spot, File],
    by_beginning: dict[tuple[str, str], list[tuple[Beginning, File]]],
) -> Iterator[File]:
    """What has every path of `match`: the spot itself, and kinds of paths that come before its own."""
    if match.path_kind is PathKind.REGEX:
        literal = literal_of(match.path)
        if literal is not None and (exact := files.get((match.host, PathKind.EXACT, literal))) is not None:
            yield exact
    elif match.path_kind is PathKind.PREFIX and by_beginning:
        for text in beginnings(match.path):
            for beginning, file in by_beginning.get((match.host, text), ()):
                if beginning.covers(match.path):
                    yield file
    own = files.get(spot)
    if own is not None:
        yield own


class File:
    """The routes of one spot that were asked so far, each filed under the rarest thing that it asks for."""

    def __init__(self, asked: Counter[Hashable]) -> None:
        self.asked = asked
        self.always: Entry | None = None
        self.entries: dict[Hashable, list[Entry]] = {}
        self.lengths: set[tuple[int, int]] = set()  # of networks that entries are filed under
        self.patterns: dict[tuple[str, str], list[NameMatch]] = {}  # conditions that entries are filed under

    def add(self, entry: Entry) -> None:
        keys = min(_dimensions(entry.conditions), key=self._cost, default=None)
        if keys is None:
            self.always = entry
            return
        for key in keys:
            if key not in self.entries:
                self.entries[key] = []
                if isinstance(key, Network):
                    self.lengths.add((key.bits, key.length))
                elif isinstance(key, tuple) and isinstance(key[-1], NameMatch) and key[-1].kind is MatchKind.REGEX:
                    self.patterns.setdefault(key[:2], []).append(key[-1])
            self.entries[key].append(entry)

    def covering(self, entry: Entry, budget: Budget) -> Entry | None:
        """One that takes everything that `entry` would; the first to be asked, of those found under one thing."""
        if self.always is not None:
            return self.always
        for key in self._keys(entry.conditions):
            for other in self.entries.get(key, ()):
                if not budget.spend():
                    return None
                if covers(other.conditions, entry.conditions):
                    return other
        return None

    def _cost(self, keys: Sequence[Hashable]) -> int:
        return max(self.asked[key] for key in keys)

    def _keys(self, conditions: Conditions) -> Iterator[Hashable]:
        """Everything that an entry which covers these conditions can be filed under."""
        for name, match in conditions.fields.items():
            yield (*name, match)
            if match.kind is not MatchKind.PRESENT:
                yield (*name, NameMatch(name=match.name, kind=MatchKind.PRESENT))
            if match.kind is MatchKind.EXACT:
                for pattern in self.patterns.get(name, ())[:FEW]:
                    if matches_value(pattern.value, match.value):
                        yield (*name, pattern)
        if conditions.clients:
            # Whoever has all of these networks has the first of them.
            first = conditions.clients[0]
            for bits, length in self.lengths:
                if bits == first.bits and length <= first.length:
                    yield first.within(length)
        if conditions.methods:
            yield min(conditions.methods)


def _dimensions(conditions: Conditions) -> Iterator[Sequence[Hashable]]:
    """Ways to file a route: under all the keys of one of these."""
    for name, match in conditions.fields.items():
        yield ((*name, match),)
    if conditions.clients:
        yield conditions.clients
    if conditions.methods:
        yield tuple(conditions.methods)


def _all_keys(conditions: Conditions) -> Iterable[Hashable]:
    return (key for keys in _dimensions(conditions) for key in keys)


# --- routes that only the order tells apart -----------------------------------------------------------------------


def ordered_routes(routes: Iterable[Entry], dead: Iterable[int]) -> list[Shadow]:
    """Those that share some of their requests with one before them that precedence ranks as high, each with the first
    such. Not where the one before takes a part of what the later one does: that is how an exception is written."""
    left_out = set(dead)
    groups: dict[tuple[Hashable, ...], list[Entry]] = {}
    for entry in routes:
        match = entry.match
        key = (*spot_of(match), not match.methods, len(match.headers), len(match.query))
        if entry.place not in left_out:
            groups.setdefault(key, []).append(entry)
    budget = Budget()
    found = []
    for entries in groups.values():
        seen = Seen()
        for entry in entries:
            for other in seen.comparable(entry):
                if not budget.spend():
                    break
                if overlaps(other.conditions, entry.conditions) and not covers(entry.conditions, other.conditions):
                    found.append(Shadow(entry.place, other.place))
                    break
            seen.add(entry)
    return sorted(found)


class Seen:
    """Entries that were there before, without those that another value of the same header keeps apart."""

    def __init__(self) -> None:
        self.by_names: dict[frozenset[tuple[str, str]], tuple[dict[Hashable, list[Entry]], list[Entry]]] = {}

    def add(self, entry: Entry) -> None:
        values = _values(entry.conditions)
        exact, others = self.by_names.setdefault(frozenset(entry.conditions.fields), ({}, []))
        (others if values is None else exact.setdefault(values, [])).append(entry)

    def comparable(self, entry: Entry) -> Iterator[Entry]:
        values = _values(entry.conditions)
        own = frozenset(entry.conditions.fields)
        for names, (exact, others) in self.by_names.items():
            if names == own and values is not None:
                yield from exact.get(values, ())
            else:
                for entries in exact.values():
                    yield from entries
            yield from others


def _values(conditions: Conditions) -> Hashable | None:
    """What the fields must be, where each must be one text."""
    fields = conditions.fields
    if any(match.kind is not MatchKind.EXACT for match in fields.values()):
        return None
    return tuple(fields[name].value for name in sorted(fields))


# --- routes of connections ----------------------------------------------------------------------------------------


def dead_streams(routes: Sequence[StreamRoute]) -> list[Shadow]:
    """The same for routes of connections and of sessions (mesh/streams.py): a route is asked at each of its names, and
    never wins when it is covered at all of them. `by` is the route that covers it at the first."""
    clients = [tuple(Network.of(text) for text in route.clients) for route in routes]
    order = sorted(range(len(routes)), key=lambda place: not clients[place])  # stable
    everybody: dict[str, int] = {}  # by name: the first route that takes every client
    some: dict[str, list[int]] = {}
    budget = Budget()
    found = []
    for place in order:
        names = routes[place].sni or ("",)
        by = [_covering(name, clients[place], clients, everybody, some, budget) for name in names]
        first = by[0]
        if first is not None and None not in by:
            found.append(Shadow(place, first))
        for name in names:
            if clients[place]:
                some.setdefault(name, []).append(place)
            else:
                everybody.setdefault(name, place)
    return sorted(found)


def _covering(
    name: str,
    wanted: tuple[Network, ...],
    clients: Sequence[tuple[Network, ...]],
    everybody: dict[str, int],
    some: dict[str, list[int]],
    budget: Budget,
) -> int | None:
    if not wanted:
        return everybody.get(name)
    for place in some.get(name, ()):
        if not budget.spend():
            return None
        if networks_cover(clients[place], wanted):
            return place
    return None
