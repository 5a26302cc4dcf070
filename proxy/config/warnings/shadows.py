"""Routes that never win, and routes that only their order tells apart (mesh/shadows.py)."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from discovery.config import Config
from discovery.model import Listener, PathKind, Route
from mesh.shadows import Shadow, dead_routes, dead_streams, entries_of, ordered_routes, spot_of
from proxy.config.places import Steps
from proxy.config.warnings.finding import Finding, in_line

MOST = 50  # of one kind in one listener

KINDS = {PathKind.EXACT: "path", PathKind.REGEX: "path_regex", PathKind.PREFIX: "path_prefix"}


def findings(config: Config) -> Iterator[Finding]:
    for index, listener in enumerate(config.snapshot.listeners):
        if not listener.protocol.is_dns:
            yield from _of_requests(listener.routes, index)
            yield from _of_connections(listener, index)


def _of_requests(routes: Sequence[Route], listener: int) -> Iterator[Finding]:
    entries = entries_of(routes)
    dead = dead_routes(entries)
    for shadow in dead[:MOST]:
        yield Finding(_never(routes[shadow.route], routes[shadow.by], shadow), _match(listener, shadow.route))
    yield from _more(dead, listener, "never win")
    ordered = ordered_routes(entries, (shadow.route for shadow in dead))
    for shadow in ordered[:MOST]:
        by = routes[shadow.by]
        yield Finding(
            f"matches some of the requests that route '{by.name}'{in_line(by.position)} matches, which ranks as "
            "high and "
            "stands first, so those go there: if this one shall have them, put it before that, or give it one more "
            "condition",
            _match(listener, shadow.route),
        )
    yield from _more(ordered, listener, "share requests with one before them that ranks as high")


def _never(route: Route, by: Route, shadow: Shadow) -> str:
    name = f"route '{by.name}'{in_line(by.position)}"
    if spot_of(route.match) != spot_of(by.match):
        kind, path = KINDS[by.match.path_kind], by.match.path
        return (
            f"no request comes here: the {kind} {path} of {name} matches everything that this one does and comes "
            "before "
            f"a {KINDS[route.match.path_kind]}; narrow that one, or take one of them out"
        )
    if shadow.by < shadow.route and _reversed_helps(route, by):
        return (
            f"no request comes here: {name} matches everything that this one does, ranks as high and stands first; put "
            "this one before it"
        )
    return (
        f"no request comes here: {name} has the same match and stands first; take one of them out, or tell them apart"
    )


def _reversed_helps(route: Route, by: Route) -> bool:
    """Is the first one wider, so that it would have something left?"""
    return route.match != by.match


def _of_connections(listener: Listener, index: int) -> Iterator[Finding]:
    dead = dead_streams(listener.streams)
    what = "session" if listener.protocol.is_datagram else "connection"
    for shadow in dead[:MOST]:
        route, by = listener.streams[shadow.route], listener.streams[shadow.by]
        # What `service` of a listener is short for always stands last.
        is_last = shadow.route == len(listener.streams) - 1 and route.position == listener.position
        move = "take one of them out" if is_last else "put this one before it, or take one of them out"
        yield Finding(
            f"no {what} comes here: route '{by.name}'{in_line(by.position)} takes everything that this one does and "
            f"stands first; {move}",
            (*_match(index, len(listener.routes) + shadow.route), ("listeners", index, "service")),
        )
    yield from _more(dead, index, "never win")


def _match(listener: int, route: int) -> tuple[Steps, ...]:
    at: Steps = ("listeners", listener, "routes", route)
    return (*at, "match"), at


def _more(found: Sequence[Shadow], listener: int, what: str) -> Iterator[Finding]:
    if len(found) > MOST:
        yield Finding(f"{len(found) - MOST} more routes {what}", (("listeners", listener, "routes"),))
