"""JSON text -> the same tree that a file gives, so that the same tables of keys read it.

For the bodies of the API, which come from anybody who may reach it: strictly JSON (RFC 8259), with limits, without
variables of the environment and without aliases. Numbers keep the spelling that they were written in. Nodes have no
lines: what a problem names is the key. Whatever the text is, the result is a tree or a problem and never an exception.
"""

from __future__ import annotations

import json
from typing import Any, Final, NoReturn

from proxy.config.nodes import PLAIN, QUOTED, Mapping, Node, Scalar, Sequence, shown
from proxy.config.reading import Reading

MAX_BYTES: Final = 1024 * 1024
# A service with a thousand endpoints that say everything has 20,000.
MAX_NODES: Final = 100_000


class _Number(str):
    """A number as it was written."""

    __slots__ = ()


class _Refused(ValueError):
    """Message: the sentence for the user."""


def parse_json(text: str | bytes, reading: Reading) -> Node | None:
    """The root; None when there is a problem, which `reading` has then."""
    if len(text) > MAX_BYTES:
        reading.problem_at(0, 0, f"larger than {MAX_BYTES} bytes, expected less")
        return None
    builder = _Builder()
    try:
        found = json.loads(
            text,
            object_pairs_hook=builder.mapping,
            parse_int=_Number,
            parse_float=_Number,
            parse_constant=_no_constant,
        )
        return builder.node(found)
    except json.JSONDecodeError as error:
        reading.problem_at(0, 0, f"not JSON: {error.msg.lower()} at character {error.pos + 1}, expected a JSON text")
    except _Refused as error:
        reading.problem_at(0, 0, str(error))
    except RecursionError:
        reading.problem_at(0, 0, "nested too deep, expected a flat JSON text")
    except UnicodeDecodeError as error:
        reading.problem_at(0, 0, f"byte 0x{error.object[error.start]:02x} is not UTF-8, expected a JSON text")
    return None


class _Builder:
    def __init__(self) -> None:
        self.nodes = 0

    def mapping(self, pairs: list[tuple[str, Any]]) -> Mapping:
        made = Mapping(0, 0)
        for name, value in pairs:
            if name in made.entries:
                raise _Refused(f"'{shown(name)}' is given twice, expected every key once")
            node = self.node(value)
            made.size += 1 + node.size
            made.entries[name] = (Scalar(0, 0, _text(name), QUOTED), node)
        return made

    def node(self, value: Any) -> Node:
        if isinstance(value, Mapping):
            return value
        self.nodes += 1
        if self.nodes > MAX_NODES:
            raise _Refused(f"more than {MAX_NODES} values, expected fewer")
        if isinstance(value, list):
            made = Sequence(0, 0)
            made.items = [self.node(item) for item in value]
            made.size += sum(item.size for item in made.items)
            return made
        if isinstance(value, _Number):
            return Scalar(0, 0, value, PLAIN)
        if isinstance(value, str):
            return Scalar(0, 0, _text(value), QUOTED)
        return Scalar(0, 0, "null" if value is None else "true" if value else "false", PLAIN)


def _text(text: str) -> str:
    """Half of a surrogate pair can be written in JSON, and nowhere else."""
    try:
        text.encode()
    except UnicodeEncodeError:
        raise _Refused(f"'{shown(text)}' is no Unicode text, expected both halves of every surrogate pair") from None
    return text


def _no_constant(word: str) -> NoReturn:
    raise _Refused(f"not JSON: '{word}' is no number, expected a JSON text")
