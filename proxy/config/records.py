"""Records: mappings with known keys, described by a table.

Each line of such a table is a `Key`: name, shape, and what it means. A record reads every key of its mapping, reports
the unknown ones (with a suggestion), those of later releases and the missing ones, and hands what it read to its
`build`, which checks how keys go together and makes the value. `build` runs even when a key is wrong, so that its
problems are reported too; only the value is thrown away then.
Every duration key also exists as a bare number with a suffix: timeout: 5s, timeout_ms: 5000, timeout_secs: 5; so does
every alias of one.
"""

from __future__ import annotations

from collections.abc import Callable
from collections.abc import Mapping as Table
from typing import Any, Generic, TypeAlias, TypeVar, cast

import msgspec

from discovery.model import Struct
from proxy.config.nodes import Mapping, Node, Path, Sequence, describe, in_line, shown
from proxy.config.places import Parts, Place
from proxy.config.reading import Reading
from proxy.config.shapes import Duration, DurationIn, Json, ListOf, Schema, Shape

T = TypeVar("T")
D = TypeVar("D")
S = TypeVar("S", bound=Struct)

SAME_AS = "the same as"  # how the schema describes an alias
SUFFIXES = {"ms": 1000, "secs": 1}


class Key(Generic[T]):
    """One key of a record. `about` is a sentence for the schema; `aliases` are names of the same thing; `field` is that
    of a struct which it fills (StructRecord), where it is called otherwise."""

    __slots__ = ("about", "aliases", "field", "name", "required", "shape")

    def __init__(
        self,
        name: str,
        shape: Shape[T],
        about: str,
        required: bool = False,
        aliases: tuple[str, ...] = (),
        field: str = "",
    ) -> None:
        self.name = name
        self.shape = shape
        self.about = about
        self.required = required
        self.aliases = aliases
        self.field = field or name

    def spellings(self) -> dict[str, Shape[T]]:
        """Every name the key goes by, and how its value is read then."""
        found: dict[str, Shape[T]] = dict.fromkeys((self.name, *self.aliases), self.shape)
        if isinstance(self.shape, Duration):
            for name in (self.name, *self.aliases):
                for suffix, per_second in SUFFIXES.items():
                    found[f"{name}_{suffix}"] = cast("Shape[T]", DurationIn(self.shape, per_second))
        return found


# A table holds keys of all kinds; `Fields.get` gives the kind back.
AnyKey: TypeAlias = Key[Any]


class Fields:
    """What one mapping says: the values that could be read, and where everything stands."""

    __slots__ = ("failed", "node", "path", "reading", "values", "written")

    def __init__(self, node: Mapping, path: Path, reading: Reading) -> None:
        self.node = node
        self.path = path
        self.reading = reading
        self.values: dict[str, object] = {}
        self.written: dict[str, str] = {}  # name of a key -> the spelling used
        self.failed = False

    def given(self, key: AnyKey) -> bool:
        """Is the key written, readable or not?"""
        return key.name in self.written

    def get(self, key: Key[T], default: D) -> T | D:
        """The value of `key`; `default` when it is absent or could not be read."""
        return cast("T | D", self.values.get(key.name, default))

    def problem(self, message: str, key: AnyKey | None = None) -> None:
        """Something about `key`, or about the mapping as a whole, is wrong."""
        self.failed = True
        if key is not None and key.name in self.written:
            spelling = self.written[key.name]
            self.reading.problem(self.node.entries[spelling][1], (self.path, spelling), message)
        else:
            self.reading.problem(self.node, self.path, message)

    def only_one(self, *keys: AnyKey) -> None:
        """At most one of `keys` may be given."""
        given = [key for key in keys if self.given(key)]
        for key in given[1:]:
            self.problem(f"excludes '{self.written[given[0].name]}', which is given too, expected one of them", key)


class Record(Shape[T]):
    """`title` names one of them ("a route"); `later` are keys of later releases, with what they do;
    `elsewhere` are keys that users look for here, with their place; `refused` are keys that make no sense here, with
    the whole sentence."""

    def __init__(
        self,
        title: str,
        keys: tuple[AnyKey, ...],
        build: Callable[[Fields], T | None],
        show: Callable[[T], Json] | None = None,
        later: Table[str, str] | None = None,
        elsewhere: Table[str, str] | None = None,
        refused: Table[str, str] | None = None,
    ) -> None:
        self.title = title
        self.expected = f"{title}, a mapping with {', '.join(key.name for key in keys)}"
        self.keys = keys
        self.build = build
        self.show = show
        self.later = later or {}
        self.elsewhere = elsewhere or {}
        self.refused = refused or {}
        self.spellings = {name: (key, shape) for key in keys for name, shape in key.spellings().items()}
        self.required = [key for key in keys if key.required]

    def read(self, node: Node, path: Path, reading: Reading) -> T | None:
        fields = self.fields(node, path, reading)
        return self.finish(fields) if fields is not None else None

    def fields(self, node: Node, path: Path, reading: Reading) -> Fields | None:
        """The keys of `node`, not yet put together; None when it is no mapping."""
        if type(node) is not Mapping:
            reading.problem(node, path, f"expected {self.expected}; got {describe(node)}")
            return None
        fields = Fields(node, path, reading)
        meant = set()  # keys that are there, misspelled: not missing as well
        for name, (where, child) in node.entries.items():
            known = self.spellings.get(name)
            if known is None:
                fields.failed = True
                explained = name in self.later or name in self.refused
                similar = "" if explained else reading.similar(name, [key.name for key in self.keys])
                meant.add(similar)
                reading.problem(where, (path, name), self._unknown(name, similar))
                continue
            key, shape = known
            if key.name in fields.written:
                fields.failed = True
                message = f"says the same as '{fields.written[key.name]}', expected one of them"
                reading.problem(where, (path, name), message)
                continue
            fields.written[key.name] = name
            value = shape.read(child, (path, name), reading)
            if value is None:
                fields.failed = True
            else:
                fields.values[key.name] = value
        for key in self.required:
            if key.name not in fields.written and key.name not in meant:
                fields.failed = True
                reading.problem(node, (path, key.name), f"missing, expected {key.shape.expected}")
        return fields

    def finish(self, fields: Fields) -> T | None:
        value = self.build(fields)
        return None if fields.failed else value

    def _unknown(self, name: str, similar: str) -> str:
        if name in self.later:
            return f"{self.later[name]} not in this release, expected no such key"
        if name in self.refused:
            return self.refused[name]
        similar = self.elsewhere.get(name, similar)
        if similar:
            return f"unknown key, did you mean '{similar}'?"
        return f"unknown key, expected {', '.join(key.name for key in self.keys)}"

    def schema(self, defs: Schema) -> Schema:
        properties: Schema = {}
        suffixed = []
        for key in self.keys:
            properties[key.name] = {**key.shape.schema(defs), "description": key.about}
            for alias in key.aliases:
                properties[alias] = {**key.shape.schema(defs), "description": f"{SAME_AS} {key.name}"}
            if isinstance(key.shape, Duration):
                suffixed += [key.name, *key.aliases]
        schema: Schema = {"type": "object", "additionalProperties": False, "properties": properties}
        if suffixed:
            pattern = f"^({'|'.join(suffixed)})_({'|'.join(SUFFIXES)})$"
            number: Schema = {"type": "integer", "minimum": 0, "description": f"{SAME_AS} the key without suffix"}
            schema["patternProperties"] = {pattern: number}
        if self.required:
            schema["required"] = [key.name for key in self.required]
        return schema

    def render(self, value: T) -> Json:
        if self.show is None:
            raise NotImplementedError(self.title)
        return self.show(value)

    def parts(self, node: Node, path: Path) -> Parts:
        found: Parts = {}
        for name, (where, item) in node.entries.items() if type(node) is Mapping else ():
            known = self.spellings.get(name)
            if known is not None:
                key, shape = known
                found[key.name] = Place(item, (path, name), shape, where)
        return found


class Variants(Record[T]):
    """A record whose table depends on what is written: `choose` finds it. `keys` are those of all tables together,
    for the schema, which does not tell them apart."""

    def __init__(self, title: str, keys: tuple[AnyKey, ...], choose: Callable[[Mapping], Record[T]]) -> None:
        super().__init__(title, keys, self.build_chosen)
        self.choose = choose

    def fields(self, node: Node, path: Path, reading: Reading) -> Fields | None:
        if type(node) is not Mapping:
            return super().fields(node, path, reading)
        return self.choose(node).fields(node, path, reading)

    def build_chosen(self, fields: Fields) -> T | None:
        return self.choose(fields.node).build(fields)

    def parts(self, node: Node, path: Path) -> Parts:
        return self.choose(node).parts(node, path) if type(node) is Mapping else {}


class StructRecord(Record[S]):
    """A record whose keys are fields of a struct (`Key.field`), with the struct's own defaults."""

    def __init__(
        self,
        title: str,
        kind: type[S],
        keys: tuple[AnyKey, ...],
        check: Callable[[Fields], None] | None = None,
        later: Table[str, str] | None = None,
    ) -> None:
        self.kind = kind
        self.check = check
        self.fields_by_key = {key.name: key.field for key in keys}
        super().__init__(title, keys, self.build_struct, self.show_struct, later)

    def build_struct(self, fields: Fields) -> S | None:
        if self.check is not None:
            self.check(fields)
        if fields.failed:
            return None
        return msgspec.convert({self.fields_by_key[name]: value for name, value in fields.values.items()}, self.kind)

    def show_struct(self, value: S) -> Json:
        return {key.name: key.shape.render(getattr(value, key.field)) for key in self.keys}

    def schema(self, defs: Schema) -> Schema:
        schema = super().schema(defs)
        properties = schema["properties"]
        assert isinstance(properties, dict)
        defaults = {field.name: field.default for field in msgspec.structs.fields(self.kind)}
        for key in self.keys:
            described, default = properties[key.name], defaults.get(key.field)
            if isinstance(described, dict) and default not in (msgspec.NODEFAULT, None, ""):
                described["default"] = key.shape.render(default)
        return schema


class Distinct:
    """No two entries of a list may have the same `value` (None: has none). `key` is where a problem is shown."""

    __slots__ = ("key", "value", "what")

    def __init__(self, key: Key[str], value: Callable[[Fields], str | None], what: str) -> None:
        self.key = key
        self.value = value
        self.what = what


class RecordList(ListOf[T]):
    """A list of records with identities."""

    def __init__(
        self,
        record: Record[T],
        distinct: tuple[Distinct, ...],
        most: int = 0,
        least: int = 0,
        rank: Callable[[Node], int] | None = None,
    ) -> None:
        super().__init__(record, most, least, rank=rank)
        self.record = record
        self.distinct = distinct

    def read_items(self, node: Sequence, path: Path, reading: Reading) -> tuple[T, ...]:
        values: list[T] = []
        seen: list[dict[str, tuple[int, Node]]] = [{} for _ in self.distinct]
        for index, item in enumerate(node.items):
            fields = self.record.fields(item, (path, index), reading)
            if fields is None:
                continue
            for rule, known in zip(self.distinct, seen, strict=True):
                value = rule.value(fields)
                if value is None:
                    continue
                first, other = known.setdefault(value, (index, item))
                if first != index:
                    fields.problem(
                        f"'{shown(value)}' is already the {rule.what} of entry [{first}]{in_line(other)}", rule.key
                    )
            built = self.record.finish(fields)
            if built is not None:
                values.append(built)
        return tuple(values)
