"""Which statistics row belongs to which key.

The agent names the rows and the workers write to them, so a row may get a new name only after every worker that
ever had the old one has let go of it: until then it is *retired*. A key that comes back while its row is retired
gets that row back, and goes on counting. A row is cleared when it gets a new name: at that moment nobody writes.

A worker says `Released` with the version it decided by. A release that was sent before the worker heard that the row is
named again must not count, hence its version is compared with the one that told the worker of the row last. A worker
that never heard of it has let go for good, whatever the agent did with the name meanwhile.
Pure but for the `clear` it is given. Row 0 is the worker's own and never handed out.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import NamedTuple

from discovery.delta import SnapshotChange
from discovery.model import Endpoint, Snapshot
from mesh.domains import all_routes_of, has_domain
from proxy.stats import slots as layout


class TableFull(Exception):
    """The keys do not fit into the table. Nothing was changed."""


@dataclass(slots=True)
class _Retired:
    key: str
    holders: set[int] = field(default_factory=set)  # workers that may still write


class KeyChange(NamedTuple):
    """Keys that a snapshot needs and the one before did not, and the other way round."""

    added: Collection[str]
    removed: Collection[str]


def keys_of(snapshot: Snapshot) -> Iterator[str]:
    """The key of every row that `snapshot` needs."""
    yield from _listener_keys(snapshot)
    for service in snapshot.services:
        yield layout.service_key(service.name)
        for endpoint in service.endpoints:
            yield _endpoint_key(service.name, endpoint)


def key_change(before: Snapshot, change: SnapshotChange) -> KeyChange:
    """How the keys of the rows change with `change`, out of what it changes; a listener that changes costs a look at
    all of them."""
    was: set[str] = set()
    now: set[str] = set()
    for each in change.services:
        if each.was is None:
            now.add(layout.service_key(each.name))
        if each.now is None:
            was.add(layout.service_key(each.name))
        was.update(_endpoint_key(each.name, endpoint) for endpoint in each.taken())
        now.update(_endpoint_key(each.name, endpoint) for endpoint in each.put())
    if before.listeners is not change.snapshot.listeners:
        was.update(_listener_keys(before))
        now.update(_listener_keys(change.snapshot))
    else:
        for listener in change.snapshot.listeners:
            if listener.by_domain:
                was.update(
                    layout.route_key(listener.name, each.name) for each in change.services if has_domain(each.was)
                )
                now.update(
                    layout.route_key(listener.name, each.name) for each in change.services if has_domain(each.now)
                )
    return KeyChange(now - was, was - now)


def _listener_keys(snapshot: Snapshot) -> Iterator[str]:
    for listener in snapshot.listeners:
        yield layout.listener_key(listener.name)
        for route in all_routes_of(listener, snapshot.services):
            yield layout.route_key(listener.name, route.name)
    if any(listener.protocol.is_dns for listener in snapshot.listeners):
        for part in ("udp", "tcp", "forward"):
            yield layout.dns_key(part)


def _endpoint_key(service: str, endpoint: Endpoint) -> str:
    return layout.endpoint_key(service, endpoint.id, endpoint.address)


class SlotAllocator:
    def __init__(self, size: int, clear: Callable[[int], None], is_fresh: bool = True) -> None:
        """`size` rows, row 0 included. `clear(number)` sets a row that was in use to zero in all blocks. The table
        `is_fresh` when no agent before this one gave out rows of it."""
        self.numbers: dict[str, int] = {}
        self._size = size
        self._clear = clear
        self._next = layout.WORKER_SLOT + 1  # rows from here on were never used ...
        self._is_fresh = is_fresh  # ... unless a predecessor used them: nobody knows how far it got
        self._free: list[int] = []
        self._retired: dict[int, _Retired] = {}
        self._retired_by_key: dict[str, int] = {}
        # Rows each worker was told of and has not released, with the version that told it last.
        self._held: dict[int, dict[int, int]] = {}
        self._version = 0

    def adopt(self, worker: int, numbers: Mapping[str, int], lingering: Iterable[int]) -> None:
        """Take over what `worker` says it has from the agent before this one. Comes before the first `assign`."""
        held = self._held.setdefault(worker, {})
        for key, number in numbers.items():
            held[number] = 0
            if self.numbers.setdefault(key, number) != number:
                self._retire(key, number)
        for number in lingering:
            held[number] = 0
            self._retire("", number)
        named = set(self.numbers.values())
        for number in named & self._retired.keys():  # one worker let the key go, another already had it again
            del self._retired[number]
        used = named | self._retired.keys()
        self._next = max(used, default=layout.WORKER_SLOT) + 1
        self._free = [number for number in range(layout.WORKER_SLOT + 1, self._next) if number not in used]
        for number, retired in self._retired.items():
            retired.holders = {other for other, rows in self._held.items() if number in rows}

    def assign(self, keys: Iterable[str], version: int) -> dict[str, int]:
        """Rows for exactly these keys from `version` on; rows of other keys are retired. Raises TableFull."""
        wanted = dict.fromkeys(keys)
        gone = [key for key in self.numbers if key not in wanted]
        self._exchange([key for key in wanted if key not in self.numbers], gone, version)
        return dict(self.numbers)

    def check(self, keys: Iterable[str]) -> None:
        """Raises TableFull if `assign` would."""
        wanted = set(keys)
        self._check([key for key in wanted if key not in self.numbers], len(wanted))

    def change(self, change: KeyChange, version: int) -> None:
        """`assign` for a change of the keys there are, at the cost of what changes. Raises TableFull."""
        added = [key for key in change.added if key not in self.numbers]
        self._exchange(added, [key for key in change.removed if key in self.numbers], version)

    def _exchange(self, added: list[str], gone: list[str], version: int) -> None:
        self._check(added, len(self.numbers) + len(added) - len(gone))
        self._version = version
        for key in gone:
            self._retire(key, self.numbers.pop(key))
        for key in added:
            self.numbers[key] = self._row_for(key)

    def _check(self, added: Iterable[str], wanted: int) -> None:
        missing = sum(key not in self._retired_by_key for key in added)
        room = len(self._free) + self._size - self._next
        if missing > room:
            raise TableFull(
                f"{wanted} listeners, routes, services and endpoints need a statistics row each; the table has "
                f"{self._size - 1}, of which {missing - room} too few are free"
            )

    def sent(self, worker: int, numbers: Iterable[int]) -> None:
        """`worker` was told of these rows, by the last version, and may write to them from now on."""
        self._held.setdefault(worker, {}).update(dict.fromkeys(numbers, self._version))

    def released(self, worker: int, numbers: Iterable[int], version: int) -> None:
        """`worker`, deciding by `version`, no longer writes to these rows."""
        held = self._held.get(worker, {})
        for number in numbers:
            if held.get(number, version + 1) <= version:
                self._let_go(worker, number)

    def gone(self, worker: int) -> None:
        """The process of `worker` has ended, so it writes to nothing."""
        for number in self._held.pop(worker, ()):
            self._let_go(worker, number)

    def in_use(self, worker: int) -> list[int]:
        """The rows that `worker` may write to."""
        return list(self._held.get(worker, ()))

    def rows(self) -> range:
        """The rows that were ever given out, as far as this agent knows; the others are cleared before they are."""
        return range(layout.WORKER_SLOT + 1, self._next)

    @property
    def retired(self) -> int:
        """How many rows wait for a worker to let go."""
        return len(self._retired)

    def _row_for(self, key: str) -> int:
        number = self._retired_by_key.pop(key, None)
        if number is not None:
            del self._retired[number]
            return number
        if self._free:
            number = self._free.pop()
            self._clear(number)
            return number
        number = self._next
        self._next += 1
        if not self._is_fresh:
            self._clear(number)
        return number

    def _retire(self, key: str, number: int) -> None:
        holders = {worker for worker, rows in self._held.items() if number in rows}
        if not holders:
            self._free.append(number)
            return
        self._retired[number] = _Retired(key, holders)
        if key:
            self._retired_by_key[key] = number

    def _let_go(self, worker: int, number: int) -> None:
        self._held.get(worker, {}).pop(number, None)
        retired = self._retired.get(number)
        if retired is None:
            return
        retired.holders.discard(worker)
        if not retired.holders:
            del self._retired[number]
            self._retired_by_key.pop(retired.key, None)
            self._free.append(number)
