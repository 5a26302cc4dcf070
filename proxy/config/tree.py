"""YAML text -> tree of nodes with positions, or problems.

Works on the parser's events rather than on its composed tree, because events show what composing hides: duplicate
keys, where an alias stands, how deep and how large the document gets. All of those have limits, checked as the
events come, so that a hostile file costs no more than its length. ${VAR} and ${VAR:-default} are expanded in values
here, once, before any shape reads them; what comes from the environment is never parsed as YAML.
Constructs no Python objects: tags are refused.
"""

from __future__ import annotations

import re
from collections.abc import Mapping as Environment

import yaml

from proxy.config.nodes import BROKEN, EXPANDED, PLAIN, QUOTED, Mapping, Node, Path, Scalar, Sequence, shown
from proxy.config.reading import Reading

# Our own files nest to about 10. Deeper ones are mistakes or attacks on recursive readers.
MAX_DEPTH = 50
_TOO_DEEP = f"nested deeper than {MAX_DEPTH} levels"

# 10,000 routes and as many endpoints are 200,000 nodes. Counts an aliased part every time it is used.
MAX_NODES = 2_000_000

# What the parser would refuse, found here so that its position is exact.
_NOT_PRINTABLE = re.compile("[^\t\n\r\x20-\x7e\x85\xa0-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
_VARIABLE = re.compile(r"\$\$\{|\$\{(?P<name>[A-Za-z_][A-Za-z0-9_]*)(?::-(?P<default>[^}]*))?\}|\$\{")

# libyaml where PyYAML was built with it: about ten times as fast.
_LOADER = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


class _Stop(Exception):
    """The rest of the file is not worth reading; the problem is reported."""


class _Frame:
    """A sequence or mapping that is still open."""

    __slots__ = ("anchor", "key", "merged", "node")

    def __init__(self, node: Sequence | Mapping, anchor: str | None) -> None:
        self.node = node
        self.anchor = anchor
        self.key: Scalar | None = None  # of a mapping: its value comes next
        self.merged: list[Node] = []  # values of "<<" keys


# Stands for a key whose value is read past: a duplicate, or no text.
_DISCARDED = Scalar(0, 0, "", PLAIN)


def parse(text: str, reading: Reading, environment: Environment[str, str]) -> Node | None:
    """The root of the document in `text`; None when it is empty or not YAML (then `reading` has the problems)."""
    bad = _NOT_PRINTABLE.search(text)
    if bad is not None:
        line = text.count("\n", 0, bad.start()) + 1
        column = bad.start() - text.rfind("\n", 0, bad.start())
        reading.problem_at(
            line, column, f"character U+{ord(bad[0]):04X} is not allowed in YAML, expected printable text"
        )
        return None
    try:
        return _Builder(text, reading, environment).build()
    except _Stop:
        return None
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None) or getattr(error, "context_mark", None)
        what = getattr(error, "problem", None) or getattr(error, "context", None) or "it cannot be parsed"
        line, column = (mark.line + 1, mark.column + 1) if mark is not None else (0, 0)
        lines = text.splitlines()
        if 0 < line <= len(lines) and "\t" in lines[line - 1][:column]:
            what += " (a tab cannot indent, use spaces)"
        if "nesting depth" in what:  # libyaml has a limit of its own, and reads ahead of us
            reading.problem_at(line, column, _TOO_DEEP)
        else:
            reading.problem_at(line, column, f"not YAML: {what}")
        return None


class _Builder:
    def __init__(self, text: str, reading: Reading, environment: Environment[str, str]) -> None:
        self.text = text
        self.reading = reading
        self.environment = environment
        self.root: Node | None = None
        self.frames: list[_Frame] = []
        self.anchors: dict[str, Node | None] = {}  # None: still open
        self.nodes = 0

    def build(self) -> Node | None:
        """A switch over the kinds of event."""
        loader = _LOADER(self.text)
        documents = 0
        try:
            while loader.check_event():
                event = loader.get_event()
                kind = type(event)
                if kind is yaml.ScalarEvent:
                    self._scalar(event)
                elif kind is yaml.MappingStartEvent:
                    self._open(event, Mapping(*_place(event)))
                elif kind is yaml.SequenceStartEvent:
                    self._open(event, Sequence(*_place(event)))
                elif kind is yaml.MappingEndEvent or kind is yaml.SequenceEndEvent:
                    self._close()
                elif kind is yaml.AliasEvent:
                    self._alias(event)
                elif kind is yaml.DocumentStartEvent:
                    documents += 1
                    if documents > 1:
                        self._stop(*_place(event), "a second document starts here, expected one")
        finally:
            loader.dispose()
        return self.root

    # --- one event ------------------------------------------------------------------------------------------------

    def _scalar(self, event: yaml.ScalarEvent) -> None:
        line, column = _place(event)
        style = PLAIN if event.implicit[0] else QUOTED
        node = Scalar(line, column, event.value, style)
        self._refuse_tag(event.tag, node)
        if "${" in event.value and node.style != BROKEN and not self._expects_key():
            node.text = self._expand(node)
        if event.anchor:
            self.anchors[event.anchor] = node
        self._count(node, 1)
        self._add(node)

    def _open(self, event: yaml.CollectionStartEvent, node: Sequence | Mapping) -> None:
        self._refuse_tag(event.tag, node)
        if len(self.frames) >= MAX_DEPTH:
            self._stop(node.line, node.column, _TOO_DEEP)
        if event.anchor:
            self.anchors[event.anchor] = None
        self.frames.append(_Frame(node, event.anchor))

    def _close(self) -> None:
        frame = self.frames.pop()
        node = frame.node
        for merged in frame.merged:
            self._merge(node, merged)
        if frame.anchor:
            self.anchors[frame.anchor] = node
        self._count(node, 1)
        self._add(node)

    def _alias(self, event: yaml.AliasEvent) -> None:
        line, column = _place(event)
        name = event.anchor or ""
        node = self.anchors.get(name)
        if node is None:
            why = (
                "it is part of what it stands for" if name in self.anchors else f"there is no &{shown(name)} before it"
            )
            self._stop(line, column, f"alias *{shown(name)} cannot be used: {why}")
            return
        self._count(node, node.size, line, column)
        self._add(node, line, column)

    # --- putting nodes together -----------------------------------------------------------------------------------

    def _expects_key(self) -> bool:
        return bool(self.frames) and isinstance(self.frames[-1].node, Mapping) and self.frames[-1].key is None

    def _add(self, node: Node, line: int = 0, column: int = 0) -> None:
        """Put `node` where the document is. `line` and `column`: of the alias that stands for it, for problems."""
        if not self.frames:
            self.root = node
            return
        frame = self.frames[-1]
        parent = frame.node
        parent.size += node.size
        if isinstance(parent, Sequence):
            parent.items.append(node)
        elif frame.key is None:
            frame.key = self._key(parent, node, line or node.line, column or node.column)
        else:
            key, frame.key = frame.key, None
            if key is _DISCARDED:
                return
            if key.text == "<<" and key.style == PLAIN:
                frame.merged.append(node)
            else:
                parent.entries[key.text] = (key, node)

    def _key(self, parent: Mapping, node: Node, line: int, column: int) -> Scalar:
        at = Node(line, column)
        if not isinstance(node, Scalar) or node.is_null:
            self.reading.problem(at, self._path(), "expected text as key")
            return _DISCARDED
        first = parent.entries.get(node.text)
        if first is not None:
            message = f"duplicate key, first given in line {first[0].line}"
            self.reading.problem(at, (self._path(), node.text), message)
            return _DISCARDED
        return node

    def _merge(self, target: Node, merged: Node) -> None:
        """YAML's "<<": the keys of the merged mapping count where the target has none of its own."""
        sources = merged.items if isinstance(merged, Sequence) else [merged]
        for source in sources:
            if isinstance(source, Mapping) and isinstance(target, Mapping):
                for name, entry in source.entries.items():
                    target.entries.setdefault(name, entry)
            else:
                self.reading.problem(source, (self._path(), "<<"), "expected a mapping or a list of mappings to merge")

    def _count(self, node: Node, size: int, line: int = 0, column: int = 0) -> None:
        self.nodes += size
        if self.nodes > MAX_NODES:
            self._stop(
                line or node.line, column or node.column, f"more than {MAX_NODES} values, aliases counted each time"
            )

    # --- values ---------------------------------------------------------------------------------------------------

    def _expand(self, node: Scalar) -> str:
        """The text with its variables filled in. "$${" stands for "${" itself."""
        style = node.style

        def value(match: re.Match[str]) -> str:
            nonlocal style
            if match[0] == "$${":
                return "${"
            name, default = match["name"], match["default"]
            problem = ""
            if name is None:
                problem = "expected ${NAME} or ${NAME:-default} ($${ for a plain ${)"
            elif default is None and name not in self.environment:
                problem = f"environment variable {name} is not set, set it or write ${{{name}:-default}}"
            if problem:
                self.reading.problem(node, self._path(), problem)
                style = BROKEN
                return ""
            if style != BROKEN:
                style = EXPANDED
            return self.environment.get(name, "") or default or ""

        text = _VARIABLE.sub(value, node.text)
        node.style = style
        return text

    def _refuse_tag(self, tag: str | None, node: Node) -> None:
        if tag is not None and tag != "!":
            self.reading.problem(node, self._path(), f"tag '{shown(tag)}' is not supported, expected a plain value")
            if isinstance(node, Scalar):
                node.style = BROKEN

    def _path(self) -> Path:
        path: Path = None
        for frame in self.frames:
            if isinstance(frame.node, Sequence):
                path = (path, len(frame.node.items))
            elif frame.key is not None and frame.key is not _DISCARDED:
                path = (path, frame.key.text)
        return path

    def _stop(self, line: int, column: int, message: str) -> None:
        self.reading.problem(Node(line, column), self._path(), message)
        raise _Stop


def _place(event: yaml.Event) -> tuple[int, int]:
    """Where an event starts, counted from 1."""
    mark = event.start_mark
    assert mark is not None  # the parsers always set it
    return mark.line + 1, mark.column + 1
