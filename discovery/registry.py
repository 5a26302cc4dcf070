"""The registry: what is in force now, as one immutable snapshot with a version.

A source hands over what it says, `apply` merges it, drops what changes nothing, and otherwise makes the next
snapshot out of the objects of the last one. In this release there is one source, the configuration file ("the
base"); the ones to come (HTTP API, containers, leases) are overlays on it and enter through the same door.
Pure: never does I/O, never looks at a clock, never tells anybody. Whoever calls `apply` passes the result on.
"""

from __future__ import annotations

import msgspec

from discovery.delta import delta, merge
from discovery.model import Snapshot


class Registry:
    """Holds the snapshot in force. `version` is where counting starts: a successor goes on from its predecessor."""

    def __init__(self, version: int = 0) -> None:
        self.snapshot = Snapshot(version=version)

    def apply(self, base: Snapshot) -> Snapshot:
        """Put `base` (its version is ignored) in force. The same object as before is returned if it says nothing
        new; otherwise a snapshot one version up, whose unchanged services are the same objects as before."""
        now = self.snapshot
        change = delta(now, base)
        if not change.is_empty:
            self.snapshot = merge(now, msgspec.structs.replace(change, version=now.version + 1))
        return self.snapshot
