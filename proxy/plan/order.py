"""Which routes are asked before which: what another order of a list changes, and what it does not.

Precedence ranks routes by what they match (mesh/router.py, mesh/streams.py); where they stand in their list decides
only between those that match equally well. So most of what a new order of the list changes is nothing.
Pure.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable, Sequence

from discovery.model import MatchKind, NameMatch, PathKind, Route, RouteMatch, StreamRoute
from discovery.splices import compare
from mesh.router import RouteError, Router

# Routes that one sentence names; the rest is counted.
NAMED = 3

Flips = dict[str, list[str]]


def ranks(routes: Iterable[Route]) -> dict[str, int]:
    """Where each stands in order of precedence, by name; 0 is asked first. Empty when one of them is no route."""
    try:
        router = Router([(route, None) for route in routes])
    except RouteError:
        return {}
    return {rule.route.name: rule.rank for table in router.tables() for rule in table.rules}


def reordered(was: Sequence[Route], now: Sequence[Route]) -> Flips:
    """Routes that are asked earlier or later than they were among those that match equally well, with what they come
    before or after now, in words. Only routes that match what they matched are looked at."""
    before, after = ranks(was), ranks(now)
    matches = {route.name: route.match for route in now}
    staying = {route.name for route in was if matches.get(route.name) == route.match}
    peers: dict[Hashable, list[str]] = {}
    for name in sorted(staying, key=lambda name: after.get(name, 0)):
        peers.setdefault(_place(matches[name]), []).append(name)
    found: Flips = {}
    for names in peers.values():
        earlier = sorted(names, key=lambda name: before.get(name, 0))
        _tell(found, earlier, names, lambda one, other: may_meet(matches[one], matches[other]))
    return found


def reordered_streams(was: Sequence[StreamRoute], now: Sequence[StreamRoute]) -> Flips:
    """The same for routes of connections."""
    takes = {route.name: (route.sni, route.clients) for route in now}
    staying = {route.name for route in was if takes.get(route.name) == (route.sni, route.clients)}
    found: Flips = {}
    for place in sorted({each for route in now if route.name in staying for each in _places(route)}):
        earlier, later = (
            [each.name for each in some if each.name in staying and place in _places(each)] for some in (was, now)
        )
        _tell(found, earlier, later, lambda one, other: True)
    return found


def may_meet(one: RouteMatch, other: RouteMatch) -> bool:
    """Whether some request may fulfil both, as far as methods and plain values of headers and the query tell; host
    and path are taken for settled. In doubt yes, so that no change of order goes untold. (mesh.matching.overlaps, by
    which `check` warns, says no then.)"""
    if one.methods and other.methods and not set(one.methods) & set(other.methods):
        return False
    return not (_exclude(one.headers, other.headers) or _exclude(one.query, other.query))


def _exclude(ones: Sequence[NameMatch], others: Sequence[NameMatch]) -> bool:
    wanted = {each.name: each.value for each in ones if each.kind is MatchKind.EXACT}
    return any(each.kind is MatchKind.EXACT and wanted.get(each.name, each.value) != each.value for each in others)


def _place(match: RouteMatch) -> Hashable:
    """Routes of one place may take the same request and be told apart by their order in the list alone."""
    path = len(match.path) if match.path_kind is PathKind.REGEX else match.path
    return match.host, match.path_kind, path


def _places(route: StreamRoute) -> list[tuple[str, bool]]:
    return [(name, bool(route.clients)) for name in route.sni or ("",)]


def _tell(found: Flips, was: Sequence[str], now: Sequence[str], may: Callable[[str, str], bool]) -> None:
    """Add what is other in the order `now` than in `was`: the same names, as few of them as explain it."""
    if was == now:
        return
    before = {name: index for index, name in enumerate(was)}
    after = {name: index for index, name in enumerate(now)}
    for moved in (name for each in compare(was, now, str).splices for name in each.inserted):
        ahead = [other for other in now if after[moved] < after[other] and before[moved] > before[other]]
        behind = [other for other in now if after[moved] > after[other] and before[moved] < before[other]]
        for word, others in (("before", ahead), ("after", behind)):
            names = [other for other in others if may(moved, other)]
            if names:
                found.setdefault(moved, []).append(f"comes {word} {_listed(names)} now")


def _listed(names: Sequence[str]) -> str:
    more = f" and {len(names) - NAMED} more" if len(names) > NAMED else ""
    return ", ".join(names[:NAMED]) + more
