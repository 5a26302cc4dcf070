"""The effective configuration as YAML, with the origin of each value as a comment behind it.

What is written here can be read again as a configuration. Comments stand in one column; a line that is longer has its
comment right behind it.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator

import yaml

from proxy.config.nodes import Path, path_text
from proxy.config.origins import Origin
from proxy.config.shapes import Json

COLUMN = 60  # no comment stands further to the right than this for the sake of others
INDENT = "  "

_SIMPLE = re.compile(r"[A-Za-z0-9_./*-](?:[A-Za-z0-9_./*%+@=-]|:(?=[A-Za-z0-9_./]))*")
_STARTS_WITH = ("-", "*", "%", "@", "=")
_TEXT = "tag:yaml.org,2002:str"
_RESOLVER = yaml.resolver.Resolver()


def annotated(document: dict[str, Json], origins: dict[str, Origin]) -> str:
    lines = list(_lines(document, None, ""))
    column = min(COLUMN, max((len(text) for text, path in lines if path), default=0)) + 2
    whole = []
    for text, path in lines:
        origin = origins.get(path) if path else None
        whole.append(text if origin is None else f"{text.ljust(column - 2)}  # {origin}")
    return "".join(f"{line}\n" for line in whole)


def _lines(value: Json, path: Path, indent: str) -> Iterator[tuple[str, str]]:
    """Lines of a mapping or list, each with the path of the value that stands in it; "" where that has parts."""
    items: list[tuple[str | int, Json]]
    items = (
        list(value.items()) if isinstance(value, dict) else list(enumerate(value)) if isinstance(value, list) else []
    )
    for key, item in items:
        at: Path = (path, key)
        head = f"{indent}{scalar(key)}:" if isinstance(key, str) else f"{indent}-"
        if not isinstance(item, dict | list):
            yield f"{head} {scalar(item)}", path_text(at)
        elif not item:
            yield f"{head} {'{}' if isinstance(item, dict) else '[]'}", path_text(at)
        elif isinstance(key, str):
            yield head, ""
            yield from _lines(item, at, indent + INDENT)
        else:  # what stands in a list begins on the line of its dash
            (first, of_first), *others = _lines(item, at, indent + INDENT)
            yield f"{indent}- {first[len(indent) + len(INDENT) :]}", of_first
            yield from others


def scalar(value: Json) -> str:
    """A value on one line, in quotes where YAML would take it for something else."""
    if not isinstance(value, str):
        return json.dumps(value)
    if _SIMPLE.fullmatch(value) and not value.startswith(_STARTS_WITH):
        tag = _RESOLVER.resolve(yaml.ScalarNode, value, (True, False))  # type: ignore[no-untyped-call]
        if tag == _TEXT:
            return value
    quoted = json.dumps(value, ensure_ascii=False)
    return quoted if quoted.isprintable() else "".join(c if c.isprintable() else _escape(c) for c in quoted)


def _escape(char: str) -> str:
    return f"\\U{ord(char):08x}"
