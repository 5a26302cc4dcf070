"""What a warning is before it has a place in a file, and the words that several of them share."""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

from discovery.model import Position
from proxy.config.places import Steps
from proxy.config.scalars import format_duration

MANY = 3  # names that a message lists


class Finding(NamedTuple):
    """`at`: where it stands in the effective configuration; the first of these that was written counts."""

    message: str
    at: tuple[Steps, ...]


def some(names: Iterable[str], noun: str = "") -> str:
    """As in: services a, b, c and 4 more. Without a noun the names alone."""
    found = list(dict.fromkeys(names))
    more = f" and {len(found) - MANY} more" if len(found) > MANY else ""
    listed = f"{', '.join(found[:MANY])}{more}"
    return f"{noun}{'s' if len(found) > 1 else ''} {listed}" if noun else listed


def in_line(position: Position | None) -> str:
    return f" in line {position.line}" if position is not None and position.line else ""


def span(seconds: float) -> str:
    """A duration for people. Less than a millisecond is none."""
    return format_duration(round(seconds, 3))
