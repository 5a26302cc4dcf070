"""The words of a filter: names, signs, and values with their units, each with its column.

Numbers become what records have: durations milliseconds, sizes bytes. Grammar and meaning: mesh/expression.py.
"""

from __future__ import annotations

import re
from enum import Enum
from typing import NamedTuple

from mesh.units import BYTES, MICROSECONDS

MAX_DIGITS = 15  # of a number: a float holds all of them
MAX_FRACTION = 6

# What people write who come from elsewhere.
INSTEAD = {"=": "==", "&": "&&", "|": "||", "~": "=~", "and": "&&", "or": "||", "not": "!"}


class ExpressionError(ValueError):
    """Message: "column 9: 'rout' is no field, did you mean route". column: 1-based, in characters."""

    def __init__(self, column: int, message: str) -> None:
        super().__init__(f"column {column}: {message}")
        self.column = column
        self.message = message


class Value(Enum):
    """What stands on the right."""

    TEXT = "the text"
    NUMBER = "the number"
    TIME = "the duration"
    SIZE = "the size"
    BOOL = ""


class Token(NamedTuple):
    kind: str  # name, value, sign or end
    text: str
    column: int
    value: object = None
    type: Value | None = None

    def __str__(self) -> str:
        return "the end" if self.kind == "end" else f"'{self.text}'"


_NAME = r"[A-Za-z_][A-Za-z0-9_]*(?:\.[A-Za-z0-9_.-]+)?"
_NUMBER = r"[0-9][0-9A-Za-z.µ]*"
_SIGN = r"&&|\|\||==|!=|<=|>=|=~|[<>!()\[\],]"
_TOKEN = re.compile(
    rf"\s*(?:(?P<name>{_NAME})|(?P<number>{_NUMBER})|(?P<sign>{_SIGN})|\"([^\"]*)\"|'([^']*)'|(?P<end>$))"
)
_PART = re.compile(r"([0-9]+)(?:\.([0-9]+))?([A-Za-z]+)")
_PARTS = re.compile(rf"(?:{_PART.pattern})+")
_PLAIN = re.compile(r"([0-9]+)(?:\.([0-9]+))?")


def tokens(text: str) -> list[Token]:
    """The words of `text`, and the end. Raises ExpressionError."""
    words: list[Token] = []
    at = 0
    while True:
        found = _TOKEN.match(text, at)
        if found is None:
            raise _no_word(text, at)
        at = found.end()
        kind = found.lastgroup
        if kind is None:  # a text
            inner = found[4] if found[4] is not None else found[5]
            words.append(Token("value", text[at - len(inner) - 2 : at], at - len(inner) - 1, inner, Value.TEXT))
            continue
        word = found[kind]
        column = found.start(kind) + 1
        if kind == "number":
            words.append(_number(word, column))
        elif word in ("true", "false"):
            words.append(Token("value", word, column, word == "true", Value.BOOL))
        else:
            words.append(Token("sign" if word == "in" else kind, word, column))
        if kind == "end":
            return words


def _no_word(text: str, at: int) -> ExpressionError:
    while text[at].isspace():
        at += 1
    sign = text[at]
    if sign in "\"'":
        return ExpressionError(at + 1, f"the text that begins here has no end, expected {sign}")
    return ExpressionError(at + 1, f"{sign!r} is not expected here{instead(sign)}")


def instead(word: str) -> str:
    return f", did you mean {INSTEAD[word]}" if word in INSTEAD else ""


def _number(word: str, column: int) -> Token:
    plain = _PLAIN.fullmatch(word)
    if plain is not None:
        _check_digits(plain[1], plain[2] or "", column)
        return Token("value", word, column, float(word) if plain[2] else int(word), Value.NUMBER)
    ascii_word = word.replace("µs", "us")
    if _PARTS.fullmatch(ascii_word):
        parts = [match.groups("") for match in _PART.finditer(ascii_word)]
        for whole, part, _ in parts:
            _check_digits(whole, part, column)
        if all(unit in MICROSECONDS for _, _, unit in parts):
            # In whole numbers up to the last step: 1.001s is the same as 1001ms, and as a time that was measured so.
            micros = sum(_scaled(whole, part) * MICROSECONDS[unit] for whole, part, unit in parts)
            return Token("value", word, column, micros / (1000 * 10**MAX_FRACTION), Value.TIME)
        if len(parts) == 1 and parts[0][2] in BYTES:
            whole, part, unit = parts[0]
            return Token("value", word, column, _scaled(whole, part) * BYTES[unit] / 10**MAX_FRACTION, Value.SIZE)
    expected = "expected a number, a duration such as 1s, 200ms or 3us, or a size such as 10KiB"
    raise ExpressionError(column, f"'{word}' is no number, {expected}")


def _scaled(whole: str, fraction: str) -> int:
    return int(whole + fraction.ljust(MAX_FRACTION, "0"))


def _check_digits(whole: str, fraction: str, column: int) -> None:
    if len(whole) > MAX_DIGITS or len(fraction) > MAX_FRACTION:
        expected = f"expected at most {MAX_DIGITS} digits, and {MAX_FRACTION} after the point"
        raise ExpressionError(column, f"the number is too long, {expected}")
