"""Which checks are under way, when not all of them can be: a bounded lane in which the slow do not hold up the quick.

At most `limit` checks run at a time; the others wait and go in the order in which they came. A check that hangs keeps
its place for its whole timeout, so some hundred dead endpoints would take all places and make the living wait. Hence
whose last check hung is slow, and the slow have at most half of the places. One that has its place for longer than
`patience` may keep it while nobody waits; when a quick one waits and the half is full, it is put back: its check is
stopped, counts for nothing, and begins anew among the slow. So at least half of the places turn over within `patience`.
An answer makes it quick again, however late it came: on a busy machine anybody is late now and then, and would wait
among the dead for long.

The time that is passed here should be that in which checks could be heard (checker.py counts beats of its loop): one
that began in a round of the loop which took longer than `patience` has not had its turn yet.

With `patience` 0 everybody is as quick as the others: programs may take their time, and are not stopped and repeated.
Pure: says what to begin and what to stop, and counts on being obeyed.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Hashable
from typing import Generic, NamedTuple, TypeVar

T = TypeVar("T", bound=Hashable)


class Orders(NamedTuple, Generic[T]):
    stop: list[T]  # they wait again
    begin: list[T]


class Lane(Generic[T]):
    def __init__(self, limit: int, patience: float = 0.0) -> None:
        self.limit = limit
        self._patience = patience
        self._turn = 0  # grows with everybody who comes
        # Who waits, and their turn; who runs, and since when. All in that order.
        self._quick_waiting: OrderedDict[T, int] = OrderedDict()
        self._slow_waiting: OrderedDict[T, int] = OrderedDict()
        self._quick: OrderedDict[T, float] = OrderedDict()
        self._slow: OrderedDict[T, float] = OrderedDict()
        self._known_slow: set[T] = set()

    @property
    def running(self) -> int:
        return len(self._quick) + len(self._slow)

    @property
    def waiting(self) -> int:
        return len(self._quick_waiting) + len(self._slow_waiting)

    def resize(self, limit: int) -> None:
        """Those that run stay; `orders` says who else may."""
        self.limit = limit

    def ask(self, item: T) -> None:
        """It wants to run, and neither does nor waits."""
        self._turn += 1
        (self._slow_waiting if item in self._known_slow else self._quick_waiting)[item] = self._turn

    def ended(self, item: T, has_hung: bool) -> None:
        """Its check is over; whether it hung until the end of its time decides what it is taken for next time."""
        if self._quick.pop(item, None) is None:
            del self._slow[item]
        if self._patience and has_hung:
            self._known_slow.add(item)
        else:
            self._known_slow.discard(item)

    def leave(self, item: T) -> None:
        """It is gone for good, wherever it is."""
        for place in (self._quick_waiting, self._slow_waiting, self._quick, self._slow):
            place.pop(item, None)
        self._known_slow.discard(item)

    def orders(self, now: float) -> Orders[T]:
        """What to stop and to begin now. Ask after every change, and at `next_order`."""
        orders: Orders[T] = Orders([], [])
        while self.waiting and (self.running < self.limit or self._make_room(now, orders)):
            item = self._next()
            if item is None:
                break
            orders.begin.append(item)
            (self._slow if item in self._known_slow else self._quick)[item] = now
        return orders

    def next_order(self) -> float | None:
        """When one may have to make room although nothing else happens; None if none will."""
        if not self._patience or not self._quick or not self._quick_waiting or self.running < self.limit:
            return None
        return next(iter(self._quick.values())) + self._patience

    @property
    def _may_be_slow(self) -> int:
        return max(1, self.limit // 2)

    def _next(self) -> T | None:
        """Who has waited longest of those that may go."""
        places = [self._quick_waiting] if self._quick_waiting else []
        if self._slow_waiting and len(self._slow) < self._may_be_slow:
            places.append(self._slow_waiting)
        if not places:
            return None
        first = min(places, key=lambda place: next(iter(place.values())))
        return first.popitem(last=False)[0]

    def _make_room(self, now: float, orders: Orders[T]) -> bool:
        if not self._patience or not self._quick_waiting:
            return False
        while self._quick:
            item, began = next(iter(self._quick.items()))
            if now - began < self._patience:
                return False
            del self._quick[item]
            self._known_slow.add(item)
            if len(self._slow) >= self._may_be_slow:
                orders.stop.append(item)
                self.ask(item)
                return True
            self._slow[item] = began
        return False
