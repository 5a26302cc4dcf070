"""The tree of a configuration file: scalars, sequences and mappings that know where they were written.

Text stays as it was written ("1.10" is not 1.1, "off" is not false): only the shape that reads a scalar knows what it
should be. A path is a chain of (parent, key), cheap to make for every node and spelled out only for a problem.
Holds no rules about what a configuration may say.
"""

from __future__ import annotations

import re
from typing import Final, TypeAlias

Path: TypeAlias = "tuple[Path, str | int] | None"

# How a scalar was written. A value from the environment counts as plain, so that a JSON file, where everything with
# ${...} has to stand in quotes, can take numbers from it.
PLAIN: Final = 0
QUOTED: Final = 1
EXPANDED: Final = 2
BROKEN: Final = 3  # a problem of this scalar is reported already; whoever reads it stays silent

_NULLS = frozenset(("", "~", "null", "Null", "NULL"))
_SIMPLE_KEY = re.compile(r"[A-Za-z0-9_/-]+")
MAX_SHOWN = 60  # characters of a value that a message repeats


class Node:
    """`line` and `column` count from 1. `size` is how many nodes there are from here down, aliases expanded."""

    __slots__ = ("column", "line", "size")

    def __init__(self, line: int, column: int) -> None:
        self.line = line
        self.column = column
        self.size = 1


class Scalar(Node):
    __slots__ = ("style", "text")

    def __init__(self, line: int, column: int, text: str, style: int) -> None:
        self.line = line
        self.column = column
        self.size = 1
        self.text = text
        self.style = style

    @property
    def is_null(self) -> bool:
        return self.style == PLAIN and self.text in _NULLS


class Sequence(Node):
    __slots__ = ("items",)

    def __init__(self, line: int, column: int) -> None:
        super().__init__(line, column)
        self.items: list[Node] = []


class Mapping(Node):
    """`entries` maps a key to (where the key stands, its value), in file order."""

    __slots__ = ("entries",)

    def __init__(self, line: int, column: int) -> None:
        super().__init__(line, column)
        self.entries: dict[str, tuple[Scalar, Node]] = {}


def child(node: Node | None, key: str) -> Node | None:
    """What stands under `key`; None when there is no such key, or `node` is no mapping."""
    if not isinstance(node, Mapping) or key not in node.entries:
        return None
    return node.entries[key][1]


def in_line(node: Node) -> str:
    """ " in line 3", or nothing where there are no lines."""
    return f" in line {node.line}" if node.line else ""


def path_text(path: Path) -> str:
    """`services.web.endpoints[0].address`; a key with unusual characters stands in quotes."""
    parts: list[str] = []
    while path is not None:
        path, key = path
        if isinstance(key, int):
            parts.append(f"[{key}]")
        else:
            name = key if _SIMPLE_KEY.fullmatch(key) else f'"{shown(key)}"'
            parts.append(name if path is None else f".{name}")
    return "".join(reversed(parts))


def shown(text: str) -> str:
    """`text` on one line and not too long, for a message."""
    plain = "".join(char if char.isprintable() else ascii(char)[1:-1] for char in text[: MAX_SHOWN + 1])
    return plain if len(text) <= MAX_SHOWN else plain[:MAX_SHOWN] + "..."


def describe(node: Node) -> str:
    """What is written there, for "expected ..., got ..."."""
    if isinstance(node, Scalar):
        return "nothing" if node.is_null else f"'{shown(node.text)}'"
    return "a list" if isinstance(node, Sequence) else "a mapping"
