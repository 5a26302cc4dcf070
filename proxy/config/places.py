"""Where the values of a configuration were written, found by where they stand in the effective one.

The file may say the same thing in several ways: by an alias, with a unit in the name, one value for a list of one. The
effective configuration says it in one, so whoever knows a value by its place there (a warning, or somebody who asks
where it is from) finds what was written through the tree of this file, which is made by the same tables that read the
configuration, and only as far as somebody looks.
"""

from __future__ import annotations

from typing import Protocol, TypeAlias

from proxy.config.nodes import Node, Path, Scalar

Parts: TypeAlias = "dict[str | int, Place]"
Steps: TypeAlias = "tuple[str | int, ...]"  # from the top of the effective configuration to a value


class Whole(Protocol):
    """What knows the parts of a value: a shape."""

    def parts(self, node: Node, path: Path) -> Parts: ...


class Place:
    """Something that was written. `line` and `column`: of a scalar its own, of what has parts its key's. `written` is
    its path as the file has it."""

    __slots__ = ("_node", "_parts", "_whole", "column", "line", "written")

    def __init__(self, node: Node, written: Path, whole: Whole | None = None, key: Node | None = None) -> None:
        at = node if key is None or isinstance(node, Scalar) else key
        self.line = at.line
        self.column = at.column
        self.written = written
        self._node = node
        self._whole = whole
        self._parts: Parts | None = None

    @property
    def parts(self) -> Parts:
        """What stands below it, by the names of the effective configuration."""
        if self._parts is None:
            self._parts = self._whole.parts(self._node, self.written) if self._whole is not None else {}
        return self._parts

    def find(self, steps: Steps) -> Place | None:
        """What was written there; None: nothing was."""
        place: Place | None = self
        for step in steps:
            if place is None:
                return None
            place = place.parts.get(step)
        return place
