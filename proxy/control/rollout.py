"""Putting a configuration in force: sockets, statistics rows, snapshot, workers, in the order in which it can fail.

Whatever can go wrong (an address in use, a full table) is tried before anything changes; from then on nothing can, so
a configuration is in force whole or not at all. Sockets of listeners that are gone are closed once every worker has
stopped accepting on them. More workers bring more sockets to each listener; fewer workers share the sockets that are
there, because closing one would refuse who waits in its backlog. Where sockets and workers come from is the `Binder`'s
business: the supervisor for the agent, this very process for `Embedded`.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Mapping
from typing import Protocol

from discovery.delta import change_between
from discovery.model import Listener, Snapshot
from proxy.config.dns import DNS_NAMES
from proxy.config.problems import Problem
from proxy.control.fleet import Fleet, Place, State
from proxy.control.sockets import UDP_PREFIX, BindError, socket_key
from proxy.stats.allocator import TableFull, key_change, keys_of

_SETTLE = 5.0  # seconds that a worker may take to decide by a new snapshot; one that takes longer gets it later


class Binder(Protocol):
    async def bind(self, name: str, address: str, count: int) -> Place:
        """A place with at least `count` sockets; for an address that is bound already those that it has, and more if
        they are too few. Raises BindError."""
        ...

    async def want_workers(self, count: int) -> None:
        """Have this many; those beyond are not started again when they end."""
        ...

    def close(self, name: str, place: Place) -> None: ...


class Refused(Exception):
    """A configuration cannot be put in force, for the reasons in `problems`. Nothing has changed."""

    def __init__(self, problems: Iterable[Problem]) -> None:
        self.problems = tuple(problems)
        super().__init__("; ".join(str(problem) for problem in self.problems))


def bound_as(listener: Listener) -> str:
    """The address as sockets are asked for: one of UDP says so, because TCP has the same."""
    return UDP_PREFIX + listener.address if listener.protocol.is_datagram else listener.address


def address_key(name: str) -> str:
    """Where the file says the address of the listener `name`; those of DNS are made of one key."""
    return "dns.address" if name.startswith(DNS_NAMES) else f"listeners.{name}.address"


async def bind_places(
    binder: Binder, listeners: Iterable[Listener], count: int, held: Mapping[str, Place]
) -> dict[str, Place]:
    """A place for every listener, those of `held` reused by address. Raises Refused; then nothing new is bound."""
    by_key = {socket_key(name, place.address): place for name, place in held.items()}
    places: dict[str, Place] = {}
    bound: list[str] = []
    problems = []
    for listener in listeners:
        address = bound_as(listener)
        place = by_key.get(socket_key(listener.name, address))
        if place is None:
            try:
                place = await binder.bind(listener.name, address, count)
            except BindError as error:
                problems.append(Problem(message=str(error), position=listener.position, key=address_key(listener.name)))
                continue
            bound.append(listener.name)
        places[listener.name] = place
    if problems:
        for name in bound:
            binder.close(name, places[name])
        raise Refused(problems)
    return places


async def widen(binder: Binder, places: dict[str, Place], count: int) -> tuple[Problem, ...]:
    """Replace those of `places` that have fewer sockets than `count` by wider ones. A socket that listens gets its
    share of connections at once, so there is no way back: where one cannot be had, the listener keeps what it has,
    its workers without a socket idle, and that is returned as a problem."""
    problems = []
    for name, place in list(places.items()):
        if place.is_shared or len(place.sockets) >= count:
            continue
        try:
            places[name] = await binder.bind(name, place.address, count)
        except BindError as error:
            problems.append(Problem(message=f"{error}; not all workers accept there", key=address_key(name)))
    return tuple(problems)


class Rollout:
    """What is in force. `places` are the sockets that were bound beforehand, if any."""

    def __init__(self, fleet: Fleet, binder: Binder, places: Mapping[str, Place]) -> None:
        self.snapshot = Snapshot()
        self.places = dict(places)
        self.problems: tuple[Problem, ...] = ()  # what is not as it should be although it is in force
        self._fleet = fleet
        self._binder = binder

    async def apply(self, snapshot: Snapshot, workers: int | None = None) -> None:
        """`put`, and then `settle`. Raises Refused."""
        await self.settle(await self.put(snapshot, workers))

    async def put(self, snapshot: Snapshot, workers: int | None = None) -> Mapping[str, Place]:
        """Put `snapshot` in force: it is on its way to the workers. Its version is above that of the last one.
        `workers`: how many there are to be from now on. Returns the former places, for `settle`, which has to be over
        before the next `put`; an `update` may come between. Raises Refused, and then nothing has changed."""
        allocator = self._fleet.allocator
        count = self._fleet.count if workers is None else workers
        places = await bind_places(self._binder, snapshot.listeners, count, self.places)
        try:
            allocator.check(keys_of(snapshot))
        except TableFull as error:
            self._close_all_but(self.places, places)
            raise Refused([Problem(message=str(error))]) from None
        self.problems = await widen(self._binder, places, count)
        allocator.assign(keys_of(snapshot), snapshot.version)
        before, self.places = self.places, places
        self.snapshot = snapshot
        is_resized = count != self._fleet.count
        self._fleet.resize(count)
        self._fleet.publish(State(snapshot, allocator.numbers, places))
        if is_resized:
            await self._binder.want_workers(count)
        self._fleet.retire()
        return before

    async def settle(self, before: Mapping[str, Place]) -> None:
        """Wait until the workers decide by what was put, those that are only being started among them, and let go of
        the sockets that nobody accepts on any more."""
        try:
            async with asyncio.timeout(_SETTLE):
                await self._fleet.settled(self.snapshot.version)
        except TimeoutError:
            pass
        self._close_all_but(self.places, before)

    def needs_sockets(self, snapshot: Snapshot) -> bool:
        """Whether `snapshot` has listeners or addresses other than those in force."""
        now, then = self.snapshot.listeners, snapshot.listeners
        return now is not then and {each.name: bound_as(each) for each in now} != {
            each.name: bound_as(each) for each in then
        }

    def update(self, snapshot: Snapshot) -> None:
        """Put `snapshot`, which needs no other sockets, in force at the cost of what changed: it is on its way to the
        workers, and nobody waits until they decide by it. Its version is above that of the last one, and what did not
        change is the same objects. Raises Refused, and then nothing has changed."""
        assert not self.needs_sockets(snapshot)
        allocator = self._fleet.allocator
        try:
            allocator.change(key_change(self.snapshot, change_between(self.snapshot, snapshot)), snapshot.version)
        except TableFull as error:
            raise Refused([Problem(message=str(error))]) from None
        self.snapshot = snapshot
        self._fleet.publish(State(snapshot, allocator.numbers, self.places))

    @property
    def slots(self) -> Mapping[str, int]:
        """Row numbers by key; a map that lives, so it is only looked up in."""
        return self._fleet.allocator.numbers

    def close_sockets(self) -> None:
        """Let go of our copies; the workers keep theirs."""
        for place in self.places.values():
            for sock in place.sockets:
                sock.close()

    def _close_all_but(self, kept: Mapping[str, Place], places: Mapping[str, Place]) -> None:
        """Close those of `places` that nobody in `kept` uses, under whatever name."""
        keys = {socket_key(name, place.address) for name, place in kept.items()}
        kept_sockets = {id(place.sockets) for place in kept.values()}
        for name, place in places.items():
            if socket_key(name, place.address) not in keys:
                self._binder.close(name, place)
            elif id(place.sockets) not in kept_sockets:  # widened: these are duplicates of some that it has
                for sock in place.sockets:
                    sock.close()
