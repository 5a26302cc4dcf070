"""Which statistics row belongs to which key.

The agent names the rows and the workers write to them, so a row may get a new name only after every worker that
ever had the old one has let go of it: until then it is *retired*. A key that comes back while its row is retired
gets that row back, and goes on counting. A row is cleared when it gets a new name: at that moment nobody writes.

A worker says `Released` with the version it decided by. A release that was sent before the row was named again must
not count when it is retired for the second time, hence the version is compared with that of the retirement.
Pure but for the `clear` it is given. Row 0 is the worker's own and never handed out.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field

from discovery.model import Snapshot
from proxy.stats import slots as layout


class TableFull(Exception):
    """The keys do not fit into the table. Nothing was changed."""


@dataclass(slots=True)
class _Retired:
    key: str
    version: int  # the first one that does not name the row
    holders: set[int] = field(default_factory=set)  # workers that may still write


def keys_of(snapshot: Snapshot) -> Iterator[str]:
    """The key of every row that `snapshot` needs."""
    for listener in snapshot.listeners:
        yield layout.listener_key(listener.name)
        for route in listener.all_routes:
            yield layout.route_key(listener.name, route.name)
    for service in snapshot.services:
        yield layout.service_key(service.name)
        for endpoint in service.endpoints:
            yield layout.endpoint_key(service.name, endpoint.id, endpoint.address)


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
        self._held: dict[int, set[int]] = {}  # rows each worker was told of and has not released

    def adopt(self, worker: int, numbers: Mapping[str, int], lingering: Iterable[int]) -> None:
        """Take over what `worker` says it has from the agent before this one. Comes before the first `assign`."""
        held = self._held.setdefault(worker, set())
        for key, number in numbers.items():
            held.add(number)
            if self.numbers.setdefault(key, number) != number:
                self._retire(key, number, version=0)
        for number in lingering:
            held.add(number)
            self._retire("", number, version=0)
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
        missing = [key for key in wanted if key not in self.numbers and key not in self._retired_by_key]
        room = len(self._free) + self._size - self._next
        if len(missing) > room:
            rows = self._size - 1
            raise TableFull(
                f"{len(wanted)} listeners, routes, services and endpoints need a statistics row each; the table has "
                f"{rows}, of which {len(missing) - room} too few are free"
            )
        for key in [key for key in self.numbers if key not in wanted]:
            self._retire(key, self.numbers.pop(key), version)
        for key in wanted:
            if key not in self.numbers:
                self.numbers[key] = self._row_for(key)
        return dict(self.numbers)

    def sent(self, worker: int, numbers: Iterable[int]) -> None:
        """`worker` was told of these rows and may write to them from now on."""
        self._held.setdefault(worker, set()).update(numbers)

    def released(self, worker: int, numbers: Iterable[int], version: int) -> None:
        """`worker`, deciding by `version`, no longer writes to these rows."""
        for number in numbers:
            retired = self._retired.get(number)
            if retired is not None and version >= retired.version:
                self._let_go(worker, number)

    def gone(self, worker: int) -> None:
        """The process of `worker` has ended, so it writes to nothing."""
        for number in self._held.pop(worker, set()):
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

    def _retire(self, key: str, number: int, version: int) -> None:
        holders = {worker for worker, rows in self._held.items() if number in rows}
        if not holders:
            self._free.append(number)
            return
        self._retired[number] = _Retired(key, version, holders)
        if key:
            self._retired_by_key[key] = number

    def _let_go(self, worker: int, number: int) -> None:
        self._held.get(worker, set()).discard(number)
        retired = self._retired.get(number)
        if retired is None:
            return
        retired.holders.discard(worker)
        if not retired.holders:
            del self._retired[number]
            self._retired_by_key.pop(retired.key, None)
            self._free.append(number)
