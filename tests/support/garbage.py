"""What is left of connections and requests that only the garbage collector would find.

A worker's collector runs seldom, and everybody waits while it does: the path of a request makes no reference cycles, so
that reference counts alone free what a request, a connection, a session or a question needed. A playbook watches for
that from its first step to its last, whatever its script does.
"""

from __future__ import annotations

import gc
from collections import Counter

from proxy.relay import RelayStream

OURS = ("proxy.", "mesh.", "discovery.")

# Interpreted, an instance of a class has a dictionary, and classes refer to each other where compiled ones do not.
IS_COMPILED = "__pyx_vtable__" in vars(RelayStream)

_watched = 0


class Watch:
    """From `begin` to `end` nothing is collected. Of watches within each other the outermost counts."""

    def __init__(self) -> None:
        self._is_watching = False

    def begin(self) -> None:
        global _watched
        self._is_watching = True
        _watched += 1
        if _watched == 1:
            gc.disable()
            gc.freeze()  # what was there before is not looked at

    def found(self) -> dict[str, int]:
        """Objects of ours that nobody refers to but they themselves, by type."""
        assert self._is_watching
        if not IS_COMPILED or _watched > 1:
            return {}
        gc.set_debug(gc.DEBUG_SAVEALL)
        try:
            gc.collect()
            left = Counter(f"{type(each).__module__}.{type(each).__qualname__}" for each in gc.garbage)
        finally:
            gc.set_debug(0)
            gc.garbage.clear()
        return {name: count for name, count in left.items() if name.startswith(OURS)}

    def check(self) -> None:
        left = self.found()
        if left:
            raise AssertionError(f"only the garbage collector would free these: {left}")

    def end(self) -> None:
        global _watched
        if self._is_watching:
            self._is_watching = False
            _watched -= 1
            if _watched == 0:
                gc.unfreeze()
                gc.enable()

    __del__ = end  # of a script that failed half-way
