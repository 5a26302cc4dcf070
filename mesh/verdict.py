"""What became of each route when a request was routed: the answer of `Router.explain`."""

from __future__ import annotations

from discovery.model import Position, Struct


class Verdict(Struct, omit_defaults=False):
    """One route's part in a decision.

    order: place in the order in which this request asks (precedence, for its host), 0 is first; routes of other hosts
    come last. wins: at most one verdict of a list does. reason: why the route lost, "" for the winner; it begins with
    what decided: host, path, method, header, query, client, or outranked (all its conditions hold, but an earlier
    route won). position: where the route was written.
    """

    route: str
    order: int
    wins: bool = False
    reason: str = ""
    position: Position | None = None
