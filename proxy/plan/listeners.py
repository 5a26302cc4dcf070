"""What changes about listeners and their routes, and what becomes of connections that are open there.

As the proxy does it (proxy/control/rollout.py, proxy/listening.py): a listener that goes, or gets another address,
accepts nothing more there; connections stay open. Those of HTTP take their next request by the routes in force, or,
where the listener is gone, by those that it had last. Connections of TCP keep their endpoint. Sessions of datagrams
live on the socket of their listener and end with it.
Pure.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import msgspec

from discovery.model import Listener, Protocol, Route, Snapshot, StreamRoute
from proxy.config.effective import show_listener, show_route, show_stream
from proxy.plan.difference import differences
from proxy.plan.order import Flips, ranks, reordered, reordered_streams
from proxy.plan.values import ADDED, CHANGED, NO_LOAD, REMOVED, Change, Json, Live, Load, ValueChange, counted
from proxy.plan.wording import route_text, target_text

AnyRoute = Route | StreamRoute
Ranks = dict[str, int]  # place in order of precedence by name


class Listeners:
    """`cut`: connections that are ended. `ending`: the services that these are at. `notes`: what stands elsewhere and
    changes nothing."""

    def __init__(self, live: Live) -> None:
        self.live = live
        self.cut = 0
        self.ending: set[str] = set()
        self.notes: list[str] = []

    def changes(self, was: Snapshot, now: Snapshot) -> Iterator[Change]:
        before = {each.name: each for each in was.listeners if not each.protocol.is_dns}
        after = {each.name: each for each in now.listeners if not each.protocol.is_dns}
        for name, listener in after.items():
            former = before.get(name)
            if former is None:
                yield self.added(listener)
                yield from self.routes(Listener(name=name, address="", protocol=listener.protocol), listener)
            elif former != listener:
                yield from self.changed(former, listener)
                yield from self.routes(former, listener)
        for name, listener in before.items():
            if name not in after:
                yield self.removed(listener)

    def added(self, listener: Listener) -> Change:
        return Change(
            kind="listener",
            sign=ADDED,
            name=listener.name,
            about=_about(listener),
            effects=("a new socket is opened",),
            now_at=listener.position,
        )

    def removed(self, listener: Listener) -> Change:
        return Change(
            kind="listener",
            sign=REMOVED,
            name=listener.name,
            about=_about(listener),
            effects=tuple(self._leaving(listener, "it", is_gone=True)),
            was_at=listener.position,
        )

    def changed(self, was: Listener, now: Listener) -> Iterator[Change]:
        values = differences(_fields(was), _fields(now))
        if not values:
            return
        effects: list[str] = []
        load = self.live.listeners.get(now.name, NO_LOAD)
        if was.address != now.address:
            effects.append(f"a new socket is opened at {now.address}")
            effects += self._leaving(was, was.address, is_gone=False)
        elif was.protocol is not now.protocol and Protocol.UDP in (was.protocol, now.protocol):
            effects += self._leaving(was, f"the {was.protocol.value} socket", is_gone=False)
        elif was.protocol is not now.protocol and load.connections:
            effects.append(f"{counted(load.connections, 'open connection')} are served as {was.protocol.value} on")
        if 0 < now.max_connections < load.connections:
            effects.append(f"{counted(load.connections, 'connection')} are open: new ones are refused for now")
        yield Change(
            kind="listener",
            sign=CHANGED,
            name=now.name,
            about=_about(now),
            values=values,
            effects=tuple(effects),
            was_at=was.position,
            now_at=now.position,
        )

    def _leaving(self, listener: Listener, what: str, is_gone: bool) -> Iterator[str]:
        """What happens to what is open where nothing more is accepted."""
        load = self.live.listeners.get(listener.name, NO_LOAD)
        if listener.protocol is Protocol.UDP:
            self.cut += load.requests
            self.ending.update(name for route in listener.streams for name in _services_of(route))
            yield f"{what} hears no datagrams any more: {counted(load.requests, 'session')} end"
            return
        yield f"{what} accepts no connections any more, and who is connecting at that moment is refused"
        if not load.connections:
            return
        stay = f"{counted(load.connections, 'open connection')} {'stays' if load.connections == 1 else 'stay'}"
        if listener.protocol is Protocol.TCP:
            yield f"{stay}, until both sides have ended"
        elif is_gone:
            yield f"{stay}, served by its last routes until closed or idle for timeouts.keep_alive"
        else:
            yield f"{stay}, served by the new routes"

    # --- routes ---------------------------------------------------------------------------------------------------

    def routes(self, was: Listener, now: Listener) -> Iterator[Change]:
        if was.routes == now.routes and was.streams == now.streams:
            return
        before, after = ranks(was.routes), ranks(now.routes)
        flips = {**reordered(was.routes, now.routes), **reordered_streams(was.streams, now.streams)}
        former = {route.name: route for route in was.all_routes}
        for route in now.all_routes:
            there = former.get(route.name)
            if there is None:
                yield self._route(ADDED, now, None, route, (), _asked(route, after))
            elif there is not route:
                yield from self._changed(now, there, route, flips, (before, after))
        there_now = {route.name for route in now.all_routes}
        for route in was.all_routes:
            if route.name not in there_now:
                yield self._route(REMOVED, was, route, None, (), self._under_way(was, route))
        if not flips and _is_moved(was.all_routes, now.all_routes):
            self.notes.append(f"routes of listener {now.name} are listed in another order, which changes nothing")

    def _changed(
        self, listener: Listener, was: AnyRoute, now: AnyRoute, flips: Flips, places: tuple[Ranks, Ranks]
    ) -> Iterator[Change]:
        values = () if _content(was) == _content(now) else differences(_shown(was), _shown(now))
        effects = list(flips.get(now.name, ()))
        if isinstance(was, Route) and isinstance(now, Route) and was.match != now.match:
            effects += _asked(now, places[1], places[0].get(now.name))
        most = now.filters.policies.max_concurrent if isinstance(now, Route) else 0
        active = self.live.routes.get((listener.name, now.name), NO_LOAD).requests
        if 0 < most < active and any(value.key.endswith("max_concurrent") for value in values):
            effects.append(f"{counted(active, 'request')} are under way: new ones get 503 for now")
        if values or effects:
            yield self._route(CHANGED, listener, was, now, values, effects)

    def _route(
        self,
        sign: str,
        listener: Listener,
        was: AnyRoute | None,
        now: AnyRoute | None,
        values: tuple[ValueChange, ...],
        effects: Sequence[str],
    ) -> Change:
        route = now or was
        assert route is not None
        return Change(
            kind="route",
            sign=sign,
            name=route.name,
            inside=listener.name,
            about=_route_about(listener, route),
            values=values,
            effects=tuple(effects),
            was_at=was.position if was is not None else None,
            now_at=now.position if now is not None else None,
        )

    def _under_way(self, listener: Listener, route: AnyRoute) -> list[str]:
        load: Load = self.live.routes.get((listener.name, route.name), NO_LOAD)
        if not load.requests:
            return []
        verb = "finishes" if load.requests == 1 else "finish"
        return [f"{counted(load.requests, 'request')} under way {verb} by it"]


def _services_of(route: StreamRoute) -> set[str]:
    return {route.service, *(share.service for share in route.split)} - {""}


def _about(listener: Listener) -> str:
    return f"{listener.protocol.value} {listener.address}"


def _route_about(listener: Listener, route: AnyRoute) -> str:
    stream = Protocol.UDP if listener.protocol is Protocol.UDP else Protocol.TCP
    plain: Any = msgspec.to_builtins(route)
    protocol = (Protocol.HTTP if isinstance(route, Route) else stream).value
    return f"{route_text({'route': plain, 'protocol': protocol})} -> {target_text(plain)}"


def _fields(listener: Listener) -> Json:
    """The listener as the file writes it, without its routes."""
    shown = show_listener(msgspec.structs.replace(listener, routes=(), streams=()))
    shown["routes"] = "every service by its domain" if listener.by_domain else "as listed"
    return shown


def _shown(route: AnyRoute) -> Json:
    return show_route(route) if isinstance(route, Route) else show_stream(route)


def _content(route: AnyRoute) -> AnyRoute:
    return msgspec.structs.replace(route, position=None)


def _asked(route: AnyRoute, after: dict[str, int], before: int | None = None) -> list[str]:
    """Where it stands among the routes of its listener."""
    rank = after.get(route.name)
    if rank is None or before == rank or len(after) == 1:
        return []
    was = f", was no. {before + 1}" if before is not None else ""
    return [f"no. {rank + 1} of {len(after)} in order of precedence{was}"]


def _is_moved(was: Sequence[AnyRoute], now: Sequence[AnyRoute]) -> bool:
    both = {route.name for route in was} & {route.name for route in now}
    return [route.name for route in was if route.name in both] != [route.name for route in now if route.name in both]
