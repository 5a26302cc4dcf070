"""Where the values of a configuration were written, found by where they stand in the effective one.

The file may say the same thing in several ways: by an alias, with a unit in the name, one value for a list of one. The
effective configuration says it in one, so whoever knows a value by its place there (a warning, or somebody who asks
where it is from) finds what was written through the tree that is made here, by the same tables that read the file.
"""

from __future__ import annotations

from typing import TypeAlias

from proxy.config.nodes import Node, Path, Scalar

Parts: TypeAlias = "dict[str | int, Place]"
Steps: TypeAlias = "tuple[str | int, ...]"  # from the top of the effective configuration to a value


class Place:
    """Something that was written. `line` and `column`: of a scalar its own, of what has parts its key's. `written` is
    its path as the file has it; `parts` what stands below it, by the names of the effective configuration."""

    __slots__ = ("column", "line", "parts", "written")

    def __init__(self, node: Node, written: Path, parts: Parts | None = None, key: Node | None = None) -> None:
        at = node if key is None or isinstance(node, Scalar) else key
        self.line = at.line
        self.column = at.column
        self.written = written
        self.parts: Parts = {} if parts is None else parts

    def find(self, steps: Steps) -> Place | None:
        """What was written there; None: nothing was."""
        place: Place | None = self
        for step in steps:
            if place is None:
                return None
            place = place.parts.get(step)
        return place
