"""A worker's rows of the statistics table, by key.

One object per row for all who write to it. Each holds a lease of its row; when the last holder of the lease is gone,
the row is said to be written to no more, and whoever gave it away may give it to another key.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from weakref import WeakValueDictionary

from proxy.kernel.cells import Shared, Slot, Table


class Lease:
    """Says that a row of statistics is written to no more, when the last that held it is gone."""

    def __init__(self, number: int, released: Callable[[int], None]) -> None:
        self.number = number
        self.released = released

    def __del__(self) -> None:
        self.released(self.number)


class Rows:
    """The worker's rows of the statistics table by key, one object per row for all who write to it. `numbers` is the
    owner's: it has every key that a step of `Tables` may need."""

    def __init__(self, table: Table, worker: int, released: Callable[[int], None]) -> None:
        self.table = table
        self.worker = worker
        self.released = released
        self.rows: dict[str, Slot] = {}
        self.leases: WeakValueDictionary[int, Lease] = WeakValueDictionary()
        self.numbers: Mapping[str, int] = {}

    def row(self, key: str) -> Slot:
        row = self.rows.get(key)
        if row is None:
            row = self.table.slot(self.worker, self.numbers[key])
            # A key that comes back while an old stream still writes to its row gets the same row again.
            lease = self.leases.get(row.number)
            if lease is None:
                lease = self.leases[row.number] = Lease(row.number, self.released)
            row.lease = lease
            self.rows[key] = row
        return row

    def shared(self, row: Slot) -> Shared:
        """The words of a row that all processes write to."""
        return self.table.shared(row.number)

    def forget(self, numbers: Iterable[tuple[str, int]]) -> None:
        """These keys have these rows no more; each is released once nobody writes to it."""
        for key, number in numbers:
            if self.rows.pop(key, None) is None and number not in self.leases:
                self.released(number)  # nobody ever did
