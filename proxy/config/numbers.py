"""Numbers with a fraction, and shares of a hundred.

A share is written 20% or 20; both are the same. What comes out is a float of percent.
"""

from __future__ import annotations

import re

from proxy.config.nodes import shown
from proxy.config.shapes import Json, ScalarShape, Schema, or_environment

PERCENT_PATTERN = r"^[0-9]{1,3}(\.[0-9]{1,4})?%?$"

_NUMBER = re.compile(r"(0|[1-9][0-9]{0,8})(\.[0-9]{1,4})?")
_PERCENT = re.compile(r"((?:0|[1-9][0-9]{0,2})(?:\.[0-9]{1,4})?)%?")


def plain(value: float) -> int | float:
    """2 rather than 2.0."""
    return int(value) if value == int(value) else value


class Number(ScalarShape[float]):
    """A number with up to four decimals. `zero`: 0 is allowed below `lowest`."""

    bare = True

    def __init__(self, lowest: float, highest: float, zero: bool = False) -> None:
        self.lowest = lowest
        self.highest = highest
        self.zero = zero
        also = "0 or " if zero else ""
        self.expected = f"{also}a number from {plain(lowest)} to {plain(highest)}"

    def parse(self, text: str) -> float:
        if not _NUMBER.fullmatch(text):
            raise ValueError(f"'{shown(text)}' is not a number, expected {self.expected}")
        value = float(text)
        if not (self.lowest <= value <= self.highest or (self.zero and value == 0)):
            raise ValueError(f"{text} is out of range, expected {self.expected}")
        return value

    def schema(self, defs: Schema) -> Schema:
        number: Schema = {"type": "number", "minimum": 0 if self.zero else self.lowest, "maximum": self.highest}
        return or_environment(number, defs)

    def render(self, value: float) -> Json:
        return plain(value)


class Percent(ScalarShape[float]):
    expected = "a share from 0% to 100%"

    def parse(self, text: str) -> float:
        found = _PERCENT.fullmatch(text)
        if found is None:
            raise ValueError(f"'{shown(text)}' is not a share, expected one such as 20% (0% to 100%)")
        value = float(found[1])
        if value > 100:
            raise ValueError(f"{shown(text)} is out of range, expected {self.expected}")
        return value

    def schema(self, defs: Schema) -> Schema:
        number: Schema = {"type": "number", "minimum": 0, "maximum": 100}
        defs["percent"] = {
            "description": "percent, as 20% or 20",
            **or_environment({"anyOf": [number, {"type": "string", "pattern": PERCENT_PATTERN}]}, defs),
        }
        return {"$ref": "#/$defs/percent"}

    def render(self, value: float) -> Json:
        return f"{plain(value)}%"
