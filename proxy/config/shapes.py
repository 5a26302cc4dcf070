"""Shapes: what a value of the file may look like.

A shape reads a node into a value, or reports what is wrong and gives None; it also describes itself as JSON Schema and
writes a value back in the file's spelling. The tables of keys (routes.py, services.py, settings.py ...) are made of
shapes, and reading, schema and GET /v1/config all follow from those tables.
Scalars and lists are here, mappings with known keys in records.py.
"""

from __future__ import annotations

from collections.abc import Callable
from collections.abc import Mapping as Table
from enum import StrEnum
from typing import Generic, TypeAlias, TypeVar

from proxy.config.nodes import BROKEN, QUOTED, Mapping, Node, Path, Scalar, Sequence, describe, in_line, shown
from proxy.config.places import Parts, Place
from proxy.config.reading import Reading
from proxy.config.scalars import (
    DURATION_PATTERN,
    SIZE_PATTERN,
    format_duration,
    format_size,
    parse_duration,
    parse_integer,
    parse_size,
)

T = TypeVar("T")
E = TypeVar("E", bound=StrEnum)

Json: TypeAlias = "dict[str, Json] | list[Json] | str | int | float | bool | None"
Schema: TypeAlias = dict[str, Json]

# A value from the environment stands in quotes in JSON, so whatever is no text may also be such a text.
ENVIRONMENT: Schema = {"type": "string", "pattern": r"\$\{[A-Za-z_]", "description": "a value from the environment"}


class Shape(Generic[T]):
    """`expected` completes "expected ..."."""

    expected = "a value"

    def read(self, node: Node, path: Path, reading: Reading) -> T | None:
        """The value, or None when a problem was reported."""
        raise NotImplementedError

    def schema(self, defs: Schema) -> Schema:
        """JSON Schema; what several places share goes to `defs`."""
        raise NotImplementedError

    def render(self, value: T) -> Json:
        """As the file would say it."""
        raise NotImplementedError

    def parts(self, node: Node, path: Path) -> Parts:
        """Where the parts of a value without problems were written, by the names and in the order that the effective
        configuration has for them. Nothing for a scalar."""
        return {}


class Again(Shape[T]):
    """What stands in other places, too: the schema has it once, as `name`."""

    def __init__(self, shape: Shape[T], name: str) -> None:
        self.shape = shape
        self.name = name
        self.expected = shape.expected

    def read(self, node: Node, path: Path, reading: Reading) -> T | None:
        return self.shape.read(node, path, reading)

    def schema(self, defs: Schema) -> Schema:
        defs[self.name] = self.shape.schema(defs)
        return {"$ref": f"#/$defs/{self.name}"}

    def render(self, value: T) -> Json:
        return self.shape.render(value)

    def parts(self, node: Node, path: Path) -> Parts:
        return self.shape.parts(node, path)


def or_environment(schema: Schema, defs: Schema) -> Schema:
    defs["environment"] = ENVIRONMENT
    return {"anyOf": [schema, {"$ref": "#/$defs/environment"}]}


# --- scalars ------------------------------------------------------------------------------------------------------


class ScalarShape(Shape[T]):
    """One text, read by `parse`. `bare`: quotes make it something else ("5" is a text, 5 a number)."""

    bare = False

    def parse(self, text: str) -> T:
        """ValueError with the sentence for the user when `text` is none."""
        raise NotImplementedError

    def read(self, node: Node, path: Path, reading: Reading) -> T | None:
        if type(node) is not Scalar or node.is_null:
            reading.problem(node, path, f"expected {self.expected}, got {describe(node)}")
            return None
        if node.style == BROKEN:
            return None
        if self.bare and node.style == QUOTED:
            reading.problem(
                node, path, f"expected {self.expected}, got the text '{shown(node.text)}' (remove the quotes)"
            )
            return None
        try:
            return self.parse(node.text)
        except ValueError as error:
            reading.problem(node, path, str(error))
            return None


class Text(ScalarShape[str]):
    """Any text, as written. `check` raises ValueError or gives the text as it shall be kept."""

    def __init__(
        self,
        expected: str = "text",
        check: Callable[[str], str] | None = None,
        longest: int = 0,
        empty: bool = False,
        schema: Schema | None = None,
    ) -> None:
        self.expected = expected
        self.check = check
        self.longest = longest
        self.empty = empty
        self.extra = schema or {}

    def parse(self, text: str) -> str:
        if not text and not self.empty:
            raise ValueError(f"expected {self.expected}, got an empty text")
        if self.longest and len(text) > self.longest:
            raise ValueError(f"{len(text)} characters, expected at most {self.longest}")
        return self.check(text) if self.check is not None else text

    def schema(self, defs: Schema) -> Schema:
        # A version 2 or a header value true is taken as the text that was written.
        schema: Schema = {"type": ["string", "number", "boolean"], **self.extra}
        if self.longest:
            schema["maxLength"] = self.longest
        if not self.empty:
            schema["minLength"] = 1
        return or_environment(schema, defs) if "pattern" in schema else schema

    def render(self, value: str) -> Json:
        return value


class Integer(ScalarShape[int]):
    bare = True

    def __init__(self, lowest: int, highest: int, words: Table[str, int] | None = None) -> None:
        self.lowest = lowest
        self.highest = highest
        self.words = words or {}
        self.expected = " or ".join(
            [f"a whole number from {lowest} to {highest}", *(f"'{word}'" for word in self.words)]
        )

    def parse(self, text: str) -> int:
        if text in self.words:
            return self.words[text]
        try:
            number = parse_integer(text)
        except ValueError as error:
            raise ValueError(f"{error}, expected {self.expected}") from None
        if not self.lowest <= number <= self.highest:
            raise ValueError(f"{number} is out of range, expected {self.expected}")
        return number

    def schema(self, defs: Schema) -> Schema:
        number: Schema = {"type": "integer", "minimum": self.lowest, "maximum": self.highest}
        words: list[Json] = list(self.words)
        return or_environment({"anyOf": [number, {"enum": words}]} if words else number, defs)

    def render(self, value: int) -> Json:
        return value


class Choice(ScalarShape[E]):
    """One word of an enumeration. `aliases` are other spellings; `later` are words of later releases."""

    def __init__(self, kind: type[E], aliases: Table[str, E] | None = None, later: tuple[str, ...] = ()) -> None:
        self.words: dict[str, E] = {member.value: member for member in kind}
        self.aliases = dict(aliases or {})
        self.later = frozenset(later)
        self.expected = " or ".join(self.words)

    def read(self, node: Node, path: Path, reading: Reading) -> E | None:
        if isinstance(node, Scalar) and node.style != BROKEN and node.text:
            word = node.text
            found = self.words.get(word) or self.aliases.get(word)
            if found is None:
                if word in self.later:
                    message = f"'{word}' is not in this release, expected {self.expected}"
                else:
                    hint = reading.suggestion(word, self.words)
                    message = f"'{shown(word)}' is not known, expected {self.expected}{hint}"
                reading.problem(node, path, message)
            return found
        return super().read(node, path, reading)

    def parse(self, text: str) -> E:
        raise ValueError(f"expected {self.expected}, got an empty text")

    def schema(self, defs: Schema) -> Schema:
        # YAML 1.1 readers, most editors among them, see the word off as false.
        words: list[Json] = [*self.words, *self.aliases]
        return or_environment({"enum": [*words, False] if "off" in self.words else words}, defs)

    def render(self, value: E) -> Json:
        return value.value


class Flag(ScalarShape[bool]):
    bare = True
    expected = "true or false"

    def parse(self, text: str) -> bool:
        if text.lower() not in ("true", "false"):
            raise ValueError(f"'{shown(text)}' is neither, expected {self.expected}")
        return text.lower() == "true"

    def schema(self, defs: Schema) -> Schema:
        return or_environment({"type": "boolean"}, defs)

    def render(self, value: bool) -> Json:
        return value


class Always(Flag):
    """A flag that may only say what this release does anyway."""

    def __init__(self, value: bool, otherwise: str) -> None:
        self.value = value
        self.otherwise = otherwise
        self.expected = "true" if value else "false"

    def parse(self, text: str) -> bool:
        if super().parse(text) is not self.value:
            raise ValueError(f"{self.otherwise}, expected {self.expected}")
        return self.value

    def schema(self, defs: Schema) -> Schema:
        return or_environment({"const": self.value}, defs)


class Duration(ScalarShape[float]):
    """Seconds. `zero`: what 0 means, "" when it is not allowed. `least`: of all others."""

    expected = "a duration such as 5s, 250ms or 1m30s"

    def __init__(self, zero: str = "", least: float = 0.0) -> None:
        self.zero = zero
        self.least = least

    def parse(self, text: str) -> float:
        return self.checked(parse_duration(text), text)

    def checked(self, seconds: float, text: str) -> float:
        if seconds == 0 and not self.zero:
            raise ValueError(f"'{shown(text)}' is no time at all, expected more than 0")
        if 0 < seconds < self.least:
            also = "0 or " if self.zero else ""
            raise ValueError(f"'{shown(text)}' is too short, expected {also}at least {format_duration(self.least)}")
        return seconds

    def schema(self, defs: Schema) -> Schema:
        defs["duration"] = {
            "description": "one to four of h, m, s and ms, as in 1m30s",
            **or_environment({"anyOf": [{"type": "string", "pattern": DURATION_PATTERN}, {"enum": [0, "0"]}]}, defs),
        }
        return {"$ref": "#/$defs/duration"}

    def render(self, value: float) -> Json:
        return format_duration(value)


class DurationIn(ScalarShape[float]):
    """The same duration as a bare number: what timeout_ms and interval_secs take."""

    bare = True

    def __init__(self, duration: Duration, per_second: int) -> None:
        self.duration = duration
        self.per_second = per_second
        self.number = Integer(0, 86_400 * 365 * per_second)
        self.expected = self.number.expected

    def parse(self, text: str) -> float:
        return self.duration.checked(self.number.parse(text) / self.per_second, text)

    def schema(self, defs: Schema) -> Schema:
        return self.number.schema(defs)


class Size(ScalarShape[int]):
    """Bytes."""

    expected = "a size such as 64KiB, 10MB or 1024"

    def __init__(self, lowest: int, highest: int, zero: bool = False) -> None:
        self.lowest = lowest
        self.highest = highest
        self.zero = zero  # 0 is allowed below `lowest`

    def parse(self, text: str) -> int:
        size = parse_size(text)
        if not (self.lowest <= size <= self.highest or (self.zero and size == 0)):
            also = "0 or " if self.zero and self.lowest else ""
            span = f"{format_size(self.lowest)} to {format_size(self.highest)}"
            raise ValueError(f"'{shown(text)}' is out of range, expected {also}{span}")
        return size

    def schema(self, defs: Schema) -> Schema:
        text: Schema = {"type": "string", "pattern": SIZE_PATTERN}
        number: Schema = {"type": "integer", "minimum": 0}
        defs["size"] = {
            "description": "bytes, or a number with kB, MB, GB (decimal), KiB, MiB, GiB (binary)",
            **or_environment({"anyOf": [number, text]}, defs),
        }
        return {"$ref": "#/$defs/size"}

    def render(self, value: int) -> Json:
        return format_size(value)


# --- lists and mappings with free keys ----------------------------------------------------------------------------


class ListOf(Shape[tuple[T, ...]]):
    """`rank`: where an item stands in the effective configuration, if that is not where it was written."""

    def __init__(
        self,
        item: Shape[T],
        most: int = 0,
        least: int = 0,
        unique: bool = False,
        rank: Callable[[Node], int] | None = None,
    ) -> None:
        self.item = item
        self.rank = rank
        self.most = most
        self.least = least
        self.unique = unique
        self.expected = "a list"

    def read(self, node: Node, path: Path, reading: Reading) -> tuple[T, ...] | None:
        if type(node) is not Sequence:
            hint = f" (write [{shown(node.text)}])" if isinstance(node, Scalar) and not node.is_null else ""
            reading.problem(node, path, f"expected {self.expected}, got {describe(node)}{hint}")
            return None
        count = len(node.items)
        if (self.most and count > self.most) or count < self.least:
            span = f"at most {self.most}" if count > self.least else f"at least {self.least}"
            reading.problem(node, path, f"{count} entries, expected {span}")
            return None
        values = self.read_items(node, path, reading)
        return values if len(values) == count else None

    def read_items(self, node: Sequence, path: Path, reading: Reading) -> tuple[T, ...]:
        """The items that are valid."""
        values: list[T] = []
        seen: dict[T, int] = {}
        for index, item in enumerate(node.items):
            value = self.item.read(item, (path, index), reading)
            if value is None:
                continue
            if self.unique and seen.setdefault(value, index) != index:
                reading.problem(item, (path, index), f"{describe(item)} is given twice, first as entry [{seen[value]}]")
                continue
            values.append(value)
        return tuple(values)

    def schema(self, defs: Schema) -> Schema:
        schema: Schema = {"type": "array", "items": self.item.schema(defs)}
        if self.most:
            schema["maxItems"] = self.most
        if self.least:
            schema["minItems"] = self.least
        return schema

    def render(self, value: tuple[T, ...]) -> Json:
        return [self.item.render(item) for item in value]

    def parts(self, node: Node, path: Path) -> Parts:
        if type(node) is not Sequence:
            return {}
        items: list[tuple[int, Node]] = list(enumerate(node.items))
        if self.rank is not None:
            rank = self.rank
            items.sort(key=lambda item: rank(item[1]))
        return {place: Place(item, (path, index), self.item) for place, (index, item) in enumerate(items)}


class OneOrMore(ListOf[T]):
    """A list, or its only item alone. With `least` 0 it may be none."""

    def __init__(self, item: Shape[T], most: int, least: int = 1, unique: bool = True) -> None:
        super().__init__(item, most, least, unique)
        self.expected = f"{item.expected}, or a list of them"

    def read(self, node: Node, path: Path, reading: Reading) -> tuple[T, ...] | None:
        if type(node) is Scalar:
            value = self.item.read(node, path, reading)
            return None if value is None else (value,)
        return super().read(node, path, reading)

    def schema(self, defs: Schema) -> Schema:
        return {"anyOf": [self.item.schema(defs), super().schema(defs)]}

    def parts(self, node: Node, path: Path) -> Parts:
        return {0: Place(node, path)} if type(node) is Scalar else super().parts(node, path)


class MapOf(Shape[dict[str, T]]):
    """A mapping whose keys the user chooses. `name` reads a key; two keys that it makes equal are an error. `folded`:
    names that differ in case only are equal. `lower`: they are kept in lower case."""

    def __init__(
        self, value: Shape[T], name: ScalarShape[str], most: int = 0, folded: bool = False, lower: bool = False
    ) -> None:
        self.value = value
        self.name = name
        self.most = most
        self.folded = folded
        self.lower = lower
        self.expected = "a mapping"

    def read(self, node: Node, path: Path, reading: Reading) -> dict[str, T] | None:
        if type(node) is not Mapping:
            reading.problem(node, path, f"expected {self.expected}, got {describe(node)}")
            return None
        if self.most and len(node.entries) > self.most:
            reading.problem(node, path, f"{len(node.entries)} entries, expected at most {self.most}")
            return None
        values: dict[str, T] = {}
        seen: dict[str, Scalar] = {}
        for written, (key, child) in node.entries.items():
            at: Path = (path, written)
            name = self.name.read(key, at, reading)
            value = self.value.read(child, at, reading)
            if name is None:
                continue
            first = seen.setdefault(name.lower() if self.folded else name, key)
            if first is not key:
                reading.problem(key, at, f"'{shown(written)}' is the same as '{shown(first.text)}'{in_line(first)}")
            elif value is not None:
                kept = name.lower() if self.lower else name
                values[kept] = self.finish(key, kept, value, reading)
        return values if len(values) == len(node.entries) else None

    def finish(self, key: Scalar, name: str, value: T, reading: Reading) -> T:
        """The value, once its name is known."""
        return value

    def schema(self, defs: Schema) -> Schema:
        schema: Schema = {"type": "object", "additionalProperties": self.value.schema(defs)}
        if self.most:
            schema["maxProperties"] = self.most
        return schema

    def render(self, value: dict[str, T]) -> Json:
        return {name: self.value.render(item) for name, item in value.items()}

    def parts(self, node: Node, path: Path) -> Parts:
        found: Parts = {}
        for name, (key, item) in node.entries.items() if type(node) is Mapping else ():
            found[name.lower() if self.lower else name] = Place(item, (path, name), self.value, key)
        return found
