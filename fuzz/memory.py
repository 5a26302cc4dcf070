"""A table of statistics to count in, as workers share one."""

from __future__ import annotations

import os

from proxy.kernel.cells import Table
from proxy.stats.slots import table_size


def statistics(rows: int) -> Table:
    """For one worker."""
    descriptor = os.memfd_create("statistics")
    os.ftruncate(descriptor, table_size(1, rows))
    table = Table(descriptor, 1, rows)
    os.close(descriptor)
    return table
