"""What changes about services and their endpoints, and what becomes of what is under way there.

As the proxy does it (proxy/upstream/services.py): an endpoint that goes takes nothing new, and requests and connections
finish on it; a service that stays keeps its queue, pools and statistics; limits hold from the next request on.
Pure.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence

import msgspec

from discovery.config import FollowedName
from discovery.delta import ServiceChange, change_between, identity
from discovery.model import Endpoint, EndpointState, Service, Snapshot
from mesh.movement import moved_share
from proxy.config.effective import show_endpoint, show_service
from proxy.plan.difference import differences
from proxy.plan.values import ADDED, CHANGED, NO_LOAD, REMOVED, Change, Json, Live, Load, ValueChange, counted

# Keys whose new value refuses requests while more than that is under way.
LIMITS = ("mesh.circuit_breaker.max_requests", "mesh.max_concurrent")


class Services:
    """`draining`: endpoints that take nothing new from then on and finish what they have."""

    def __init__(self, live: Live, ending: Collection[str] = ()) -> None:
        """`ending`: services of sessions of datagrams that end with their listener."""
        self.live = live
        self.ending = ending
        self.draining = 0
        self.notes: list[str] = []

    def changes(
        self, was: Snapshot, now: Snapshot, names_were: Sequence[FollowedName], names_are: Sequence[FollowedName]
    ) -> Iterator[Change]:
        changed = {each.name: each for each in change_between(was, now).services}
        names = _name_changes(names_were, names_are)
        for service in (*now.services, *was.services):
            each = changed.pop(service.name, None)
            told = names.pop(service.name, ())
            if each is not None:
                yield from self.change(each)
            yield from told
        for told in names.values():
            yield from told

    def change(self, each: ServiceChange) -> Iterator[Change]:
        was, now = each.was, each.now
        if was is not None and now is not None:
            yield from self._changed(was, now)
        elif now is not None:
            yield Change(kind="service", sign=ADDED, name=now.name, about=_about(now), now_at=now.position)
        elif was is not None:
            yield Change(kind="service", sign=REMOVED, name=was.name, about=_about(was), was_at=was.position)
        yield from self._endpoints(each)

    def _changed(self, was: Service, now: Service) -> Iterator[Change]:
        values = differences(_fields(was), _fields(now))
        effects = list(self._limited(now, values))
        share = moved_share(was, now)
        if share:
            effects.append(f"about {share:.0%} of the hash keys move to another endpoint")
        keys = {value.key.partition(".")[0] for value in values}
        if "load_balancing" in keys and share is None:
            effects.append("new requests are spread by it; nothing that is under way moves")
        if "affinity" in keys and was.affinity is not None:
            effects.append("clients that were bound are bound anew with their next request")
        if _is_split_moved(was, now):
            self.notes.append(
                f"traffic_split of {now.name} lists its shares in another order: the shares stay, which requests draw "
                "them does not"
            )
        if values or effects:
            yield Change(
                kind="service",
                sign=CHANGED,
                name=now.name,
                about=_about(now),
                values=values,
                effects=tuple(effects),
                was_at=was.position,
                now_at=now.position,
            )

    def _limited(self, service: Service, values: Sequence[ValueChange]) -> Iterator[str]:
        load = self.live.services.get(service.name, NO_LOAD)
        for value in values:
            if value.key in LIMITS and isinstance(value.now, int) and 0 < value.now < load.requests:
                yield f"{counted(load.requests, 'request')} are under way: new ones get 503 until they are fewer"

    # --- endpoints ------------------------------------------------------------------------------------------------

    def _endpoints(self, each: ServiceChange) -> Iterator[Change]:
        known = {identity(endpoint): endpoint for endpoint in each.taken()}
        gone = {endpoint.id: endpoint for endpoint in each.gone()}
        for endpoint in each.put():
            there = known.get(identity(endpoint))
            if there is None:
                there = gone.pop(endpoint.id, None)
            yield from self._endpoint(each.name, there, endpoint)
        for endpoint in gone.values():
            yield from self._endpoint(each.name, endpoint, None)

    def _endpoint(self, service: str, was: Endpoint | None, now: Endpoint | None) -> Iterator[Change]:
        values: tuple[ValueChange, ...] = ()
        effects: list[str] = []
        if was is not None and now is not None:
            values = differences(show_endpoint(was), show_endpoint(now))
            if not values and was.state is now.state:
                return  # it stands elsewhere in the list
        is_leaving = was is not None and (now is None or was.address != now.address)
        load: Load = NO_LOAD
        if was is not None:
            load = self.live.endpoints.get((service, identity(was)), NO_LOAD)
        if is_leaving:
            self.draining += 1
            where = f" at {was.address}" if was is not None and now is not None else ""
            effects.append(_drains(where, load))
            if load.requests and service in self.ending:
                effects.append("sessions of datagrams among them end with their listener")
        elif was is not None and now is not None and was.weight and not now.weight:
            self.draining += 1
            effects.append(_drains("", load))
        if now is not None and (was is None or is_leaving or was.state is not now.state):
            effects += _state_of(now, None if was is None or is_leaving else was.state)
        endpoint = now or was
        assert endpoint is not None
        yield Change(
            kind="endpoint",
            sign=CHANGED if was is not None and now is not None else ADDED if was is None else REMOVED,
            name=endpoint.id,
            inside=service,
            about=_endpoint_about(endpoint),
            values=values,
            effects=tuple(effects),
        )


def _drains(where: str, load: Load) -> str:
    busy = load.connections - load.idle
    if not load.requests and busy <= 0:
        return f"takes nothing new{where}; nothing is under way there"
    return f"drains{where}: {counted(load.requests, 'request')} and {counted(max(0, busy), 'connection')} finish there"


def _state_of(endpoint: Endpoint, was: EndpointState | None) -> list[str]:
    if endpoint.state is EndpointState.CHECKING:
        return ["takes requests after its first successful health check"]
    if endpoint.state is EndpointState.HEALTHY:
        return [] if was is None else [f"is healthy, was {was.value}"]
    return [f"takes no requests: {endpoint.state.value}"]


def _about(service: Service) -> str:
    parts = [service.load_balancing.value, counted(len(service.endpoints), "endpoint")]
    return ", ".join([*([service.domain] if service.domain else []), *parts])


def _endpoint_about(endpoint: Endpoint) -> str:
    return " ".join([endpoint.address, *([endpoint.version] if endpoint.version else [])])


def _fields(service: Service) -> Json:
    """The service as the file writes it, without its endpoints."""
    shown = show_service(msgspec.structs.replace(service, endpoints=()), [])
    del shown["endpoints"]
    return shown


def _is_split_moved(was: Service, now: Service) -> bool:
    before, after = was.traffic_split, now.traffic_split
    return before != after and sorted(before, key=repr) == sorted(after, key=repr)


# --- names --------------------------------------------------------------------------------------------------------


def _name_changes(were: Sequence[FollowedName], are: Sequence[FollowedName]) -> dict[str, list[Change]]:
    """Endpoints that are DNS names, by service. The endpoints that a name stood for go by themselves."""
    before = {(each.service, each.endpoint.id): each for each in were}
    after = {(each.service, each.endpoint.id): each for each in are}
    found: dict[str, list[Change]] = {}
    for key in (*after, *(key for key in before if key not in after)):
        was, now = before.get(key), after.get(key)
        if was == now:
            continue
        values: tuple[ValueChange, ...] = ()
        if was is not None and now is not None:
            values = differences(show_endpoint(was.endpoint), show_endpoint(now.endpoint))
        service, id = key
        effects = ("its addresses are asked for; each becomes an endpoint",) if now is not None else ()
        sign = CHANGED if was is not None and now is not None else ADDED if was is None else REMOVED
        about = (now or was or are[0]).endpoint.address
        change = Change(kind="name", sign=sign, name=id, inside=service, about=about, values=values, effects=effects)
        found.setdefault(service, []).append(change)
    return found
