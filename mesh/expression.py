"""The filter language of `tap`: `route == "api" && status >= 500 && t_upstream > 1s`.

    expression   alternative { || alternative }
    alternative  term { && term }
    term         ! term   |   ( expression )   |   field   |   field operator value   |   field in [ value, ... ]
    operator     ==   !=   <   <=   >   >=   =~
    value        "text"   'text'   12   1.5s   200ms   3us   10KiB   true   false

Fields are those of a `Record`, taken from the struct itself, and some that follow from them. What a field is compared
with has to be of its kind, which is checked when the text is compiled: a mistake is an `ExpressionError` with its
column and never a filter that lets nothing through. A text has no escapes: what stands between the quotes is taken as
it is. A regular expression (RE2 syntax) must match the whole text, as in routes. A field that may have several values
(flags, tried, a header that came twice) compares well when one of them does, and `!=` when none is equal.

Everything is bounded: the text, how deep it is nested, how many comparisons it has.
"""

from __future__ import annotations

import operator
from collections.abc import Callable
from enum import Enum
from typing import Any, NamedTuple

import msgspec

from mesh.patterns import PatternError, compile_pattern
from mesh.record import Record
from mesh.tokens import INSTEAD, Token, Value, instead, tokens
from mesh.tokens import ExpressionError as ExpressionError

MAX_TEXT = 4096  # characters
MAX_DEPTH = 32  # of ! and ( within each other
MAX_TERMS = 64
MAX_VALUES = 256  # of one list
MAX_PATTERNS = 8  # an automaton may take megabytes

HEADER = "header."


class Kind(Enum):
    """What a field is, with the words for it, and with what it is compared."""

    TEXT = ("text", "text in quotes")
    TEXTS = ("text", "text in quotes", "several")  # enums take equal values for the same
    NUMBER = ("a number", "a number such as 503")
    SIZE = ("a size", "bytes such as 512 or 10KiB")
    TIME = ("a time", "a duration such as 1s, 200ms or 3us")
    MILLIS = ("a time in milliseconds", "a number or a duration such as 200ms")
    BOOL = ("true or false", "true or false")


TAKES = {
    Kind.TEXT: (Value.TEXT,),
    Kind.TEXTS: (Value.TEXT,),
    Kind.NUMBER: (Value.NUMBER,),
    Kind.SIZE: (Value.NUMBER, Value.SIZE),
    Kind.TIME: (Value.TIME,),
    Kind.MILLIS: (Value.NUMBER, Value.TIME),
    Kind.BOOL: (Value.BOOL,),
}

COMPARISONS: dict[str, Callable[[Any, Any], bool]] = {
    "==": operator.eq,
    "!=": operator.ne,
    "<": operator.lt,
    "<=": operator.le,
    ">": operator.gt,
    ">=": operator.ge,
}
ORDERED = frozenset(("<", "<=", ">", ">="))
MATCHES = "=~"
Getter = Callable[[Record], Any]
Test = Callable[[Record], bool]


class Field(NamedTuple):
    kind: Kind
    get: Getter


def _upstream(record: Record) -> float:
    return round(record.t_connect + record.t_first_byte, 3)


def _is_error(record: Record) -> bool:
    return record.status >= 500 or record.flags != ""


def _flags(record: Record) -> list[str]:
    return record.flags.split(",")


def _tried(record: Record) -> tuple[str, ...]:
    return record.tried or ("",)


def _kind(name: str, type_: object) -> Kind | None:
    """What a field of Record is; None: it has no name here of its own."""
    if type_ is float:
        return Kind.MILLIS if name.endswith("_ms") else Kind.TIME if name.startswith("t_") else Kind.NUMBER
    if type_ is int:
        return Kind.SIZE if "bytes" in name else Kind.NUMBER
    return Kind.TEXT if type_ is str else Kind.BOOL if type_ is bool else None


FIELDS: dict[str, Field] = {
    each.name: Field(kind, operator.attrgetter(each.name))
    for each in msgspec.structs.fields(Record)
    if (kind := _kind(each.name, each.type)) is not None
}
# Lists of the record, and what follows from it. A list without an entry is compared as if it had an empty one.
FIELDS |= {
    "flags": Field(Kind.TEXTS, _flags),
    "tried": Field(Kind.TEXTS, _tried),
    "duration": Field(Kind.TIME, operator.attrgetter("duration_ms")),
    "t_upstream": Field(Kind.TIME, _upstream),
    "error": Field(Kind.BOOL, _is_error),
}


class Expression:
    """A filter that was compiled. headers: names (lower case, sorted) of the header fields that it looks at, which a
    record must therefore have if the request had them."""

    def __init__(self, text: str, test: Test | None, headers: tuple[str, ...]) -> None:
        self.text = text
        self.headers = headers
        self._test = test

    @property
    def is_all(self) -> bool:
        """Everything passes."""
        return self._test is None

    def matches(self, record: Record) -> bool:
        return self._test is None or self._test(record)


def compile(text: str) -> Expression:
    """The filter that `text` says; everything passes the empty one. Raises ExpressionError."""
    if len(text) > MAX_TEXT:
        raise ExpressionError(MAX_TEXT + 1, f"expected at most {MAX_TEXT} characters, got {len(text)}")
    parser = _Parser(tokens(text))
    test = parser.whole()
    return Expression(text, test, tuple(sorted(parser.headers)))


# --- sentences ----------------------------------------------------------------------------------------------------


class _Parser:
    """Recursive descent. Each rule gives the test that it stands for."""

    def __init__(self, tokens: list[Token]) -> None:
        self.tokens = tokens
        self.at = 0
        self.depth = 0
        self.terms = 0
        self.patterns = 0
        self.headers: set[str] = set()

    @property
    def next(self) -> Token:
        return self.tokens[self.at]

    def take(self) -> Token:
        self.at += 1
        return self.tokens[self.at - 1]

    def takes(self, sign: str) -> bool:
        """Take the next word if it is this one."""
        is_it = self.next.kind == "sign" and self.next.text == sign
        self.at += is_it
        return is_it

    def whole(self) -> Test | None:
        if self.next.kind == "end":
            return None
        test = self.alternatives()
        if self.next.kind != "end":
            raise self.unexpected("expected &&, || or the end")
        return test

    def unexpected(self, expected: str) -> ExpressionError:
        return ExpressionError(self.next.column, f"{expected}, got {self.next}{instead(self.next.text)}")

    def alternatives(self) -> Test:
        test = self.conjunction()
        while self.takes("||"):
            test = _either(test, self.conjunction())
        return test

    def conjunction(self) -> Test:
        test = self.term()
        while self.takes("&&"):
            test = _both(test, self.term())
        return test

    def term(self) -> Test:
        opening = self.next
        if self.takes("!"):
            self.enter(opening)
            test = self.term()
            self.depth -= 1
            return lambda record: not test(record)
        if self.takes("("):
            self.enter(opening)
            test = self.alternatives()
            if not self.takes(")"):
                raise self.unexpected("expected &&, || or )")
            self.depth -= 1
            return test
        return self.comparison()

    def enter(self, opening: Token) -> None:
        self.depth += 1
        if self.depth > MAX_DEPTH:
            raise ExpressionError(opening.column, f"expected at most {MAX_DEPTH} of ! and ( within each other")

    def comparison(self) -> Test:
        word = self.next
        if word.kind != "name":
            raise self.unexpected("expected a field")
        self.terms += 1
        if self.terms > MAX_TERMS:
            raise ExpressionError(word.column, f"expected at most {MAX_TERMS} comparisons")
        name, field = self.field(self.take())
        sign = self.next
        if self.takes("in"):
            return _is_among(field, self.values(name, field))
        if self.takes(MATCHES):
            return self.pattern(name, field, sign)
        if sign.kind == "sign" and sign.text in COMPARISONS:
            self.take()
            if field.kind is Kind.BOOL and sign.text in ORDERED:
                raise ExpressionError(sign.column, f"{name} is true or false, expected == or !=")
            return _compares(field, sign.text, self.value(name, field))
        if field.kind is Kind.BOOL:
            return lambda record: bool(field.get(record))
        if name.startswith(HEADER):
            header = name.removeprefix(HEADER)
            return lambda record: any(each == header for each, _ in record.headers)
        raise self.unexpected(f"{name} is {field.kind.value[0]}, expected one of {' '.join(COMPARISONS)} =~ in")

    def field(self, word: Token) -> tuple[str, Field]:
        name = word.text
        if name.startswith(HEADER):
            name = name.lower()
            header = name.removeprefix(HEADER)
            self.headers.add(header)

            def values(record: Record) -> list[str]:
                return [value for each, value in record.headers if each == header] or [""]

            return name, Field(Kind.TEXTS, values)
        found = FIELDS.get(name)
        if found is None:
            raise ExpressionError(word.column, f"'{name}' is no field{_meant(name)}")
        return name, found

    def value(self, name: str, field: Field) -> object:
        word = self.next
        if word.kind != "value":
            raise self.unexpected(f"{name} is {field.kind.value[0]}, expected {field.kind.value[1]}")
        allowed = TAKES[field.kind]
        # 0 is 0 in any unit
        if word.type not in allowed and not (word.type is Value.NUMBER and word.value == 0 and Value.TIME in allowed):
            assert word.type is not None
            got = f"{word.type.value} {word.text}".strip()
            expected = f"{name} is {field.kind.value[0]}, expected {field.kind.value[1]}"
            raise ExpressionError(word.column, f"{expected}, got {got}")
        self.take()
        return word.value

    def values(self, name: str, field: Field) -> frozenset[object]:
        if not self.takes("["):
            raise self.unexpected("expected a list such as [1, 2]")
        found = [self.value(name, field)]
        while self.takes(","):
            found.append(self.value(name, field))
            if len(found) > MAX_VALUES:
                raise ExpressionError(self.next.column, f"expected at most {MAX_VALUES} values in a list")
        if not self.takes("]"):
            raise self.unexpected("expected , or ]")
        return frozenset(found)

    def pattern(self, name: str, field: Field, sign: Token) -> Test:
        if Value.TEXT not in TAKES[field.kind]:
            raise ExpressionError(sign.column, f"{name} is {field.kind.value[0]}, =~ expected a field that is text")
        word = self.next
        text = self.value(name, field)
        self.patterns += 1
        if self.patterns > MAX_PATTERNS:
            raise ExpressionError(word.column, f"expected at most {MAX_PATTERNS} regular expressions")
        try:
            pattern = compile_pattern(str(text))
        except PatternError as error:
            raise ExpressionError(word.column, str(error)) from None
        get = field.get
        if field.kind is Kind.TEXT:
            return lambda record: pattern.fullmatch(_bytes(get(record))) is not None
        return lambda record: any(pattern.fullmatch(_bytes(each)) is not None for each in get(record))


def _meant(name: str) -> str:
    if name in INSTEAD:
        return instead(name)
    from difflib import get_close_matches  # who makes no mistakes does not need it

    near = get_close_matches(name, [*FIELDS, "header"], 1, 0.6)
    if near == ["header"] or name == "headers":
        return ", did you mean header.NAME"
    return f", did you mean {near[0]}" if near else f", expected one of {', '.join(FIELDS)} or header.NAME"


# --- tests --------------------------------------------------------------------------------------------------------


def _both(first: Test, second: Test) -> Test:
    return lambda record: first(record) and second(record)


def _either(first: Test, second: Test) -> Test:
    return lambda record: first(record) or second(record)


def _bytes(text: str) -> bytes:
    return text.encode("latin-1", "replace")  # as records have what was sent


def _compares(field: Field, sign: str, value: object) -> Test:
    get = field.get
    compare = COMPARISONS[sign]
    if field.kind is not Kind.TEXTS:
        return lambda record: compare(get(record), value)
    if sign == "!=":
        return lambda record: value not in get(record)
    return lambda record: any(compare(each, value) for each in get(record))


def _is_among(field: Field, values: frozenset[object]) -> Test:
    get = field.get
    if field.kind is not Kind.TEXTS:
        return lambda record: get(record) in values
    return lambda record: not values.isdisjoint(get(record))
