"""What one match of a route says about another: does it take every request that the other takes, or some of them?

Two answers are certain, and everything else is "no": `covers(a, b)` is only true where every request that b matches is
matched by a as well, `overlaps(a, b)` only where some request is matched by both. Hosts and paths are compared by
whoever asks; here are the conditions on method, headers, query and client. Regular expressions are compared with values
and with themselves, and never with each other.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from functools import lru_cache
from typing import NamedTuple

from discovery.model import MatchKind, NameMatch, RouteMatch
from mesh.networks import network_of
from mesh.patterns import compile_pattern

LITERAL = re.compile(r"(?:[A-Za-z0-9/_~,;:@!=%&'\"-]|\\[^A-Za-z0-9])*")
ESCAPE = re.compile(r"\\(.)")


class Network(NamedTuple):
    """An IP network: bits of its addresses, length of its prefix, its first address."""

    bits: int
    length: int
    first: int

    @classmethod
    def of(cls, text: str) -> Network:
        """Raises NetworkError."""
        return _network(text)

    def contains(self, other: Network) -> bool:
        shift = self.bits - self.length
        return self.bits == other.bits and self.length <= other.length and other.first >> shift == self.first >> shift

    def within(self, length: int) -> Network:
        """The network of that shorter prefix that this one is in."""
        shift = self.bits - length
        return Network(self.bits, length, self.first >> shift << shift)


@lru_cache(maxsize=4096)
def _network(text: str) -> Network:
    network = network_of(text)
    return Network(network.max_prefixlen, network.prefixlen, int(network.network_address))


class Conditions(NamedTuple):
    """The conditions of a match, ready to be compared. `fields` are those on headers and query parameters, by (what,
    name)."""

    methods: frozenset[str]
    fields: Mapping[tuple[str, str], NameMatch]
    clients: tuple[Network, ...]

    @classmethod
    def of(cls, match: RouteMatch) -> Conditions:
        """Raises NetworkError."""
        fields = {("header", each.name): each for each in match.headers}
        fields |= {("query", each.name): each for each in match.query}
        return cls(frozenset(match.methods), fields, tuple(Network.of(text) for text in match.clients))


def covers(wide: Conditions, narrow: Conditions) -> bool:
    """Does every request with the conditions of `narrow` have those of `wide`?"""
    if wide.methods and not (narrow.methods and narrow.methods <= wide.methods):
        return False
    for name, asked in wide.fields.items():
        held = narrow.fields.get(name)
        if held is None or not _follows(asked, held):
            return False
    return networks_cover(wide.clients, narrow.clients)


def networks_cover(wide: tuple[Network, ...], narrow: tuple[Network, ...]) -> bool:
    """None at all are every client, also one without an address."""
    if not wide:
        return True
    return bool(narrow) and all(any(each.contains(other) for each in wide) for other in narrow)


def overlaps(one: Conditions, other: Conditions) -> bool:
    """Is there a request with the conditions of both?"""
    if one.methods and other.methods and not one.methods & other.methods:
        return False
    for name, asked in one.fields.items():
        held = other.fields.get(name)
        if held is not None and not (_follows(asked, held) or _follows(held, asked)):
            return False
    return (
        not one.clients
        or not other.clients
        or any(each.contains(found) or found.contains(each) for each in one.clients for found in other.clients)
    )


def _follows(asked: NameMatch, held: NameMatch) -> bool:
    """Is `asked` true of every value that `held` is true of? Both are about the same field."""
    if asked.kind is MatchKind.PRESENT or asked == held:
        return True
    if held.kind is not MatchKind.EXACT:
        return False
    return asked.kind is MatchKind.REGEX and matches_value(asked.value, held.value)


def matches_value(pattern: str, value: str) -> bool:
    return compile_pattern(pattern).fullmatch(value.encode()) is not None


# --- regular expressions of paths ---------------------------------------------------------------------------------


def literal_of(pattern: str) -> str | None:
    """The only text that `pattern` matches; None when it is none that matches one text alone, or not known to be."""
    return ESCAPE.sub(r"\1", pattern) if LITERAL.fullmatch(pattern) else None


class Beginning(NamedTuple):
    """What a pattern matches that is a text and then anything: every path that begins with `text` and has `least` more
    characters; where `whole`, the text is followed by a slash or by nothing."""

    text: str
    least: int = 0
    whole: bool = False

    def covers(self, prefix: str) -> bool:
        """Is every path below `prefix` (by path elements) such a path?"""
        place = prefix.rstrip("/")
        if not place:  # OPTIONS * is below "/", and does not begin with a slash
            return not (self.text or self.least or self.whole)
        if self.whole:
            return place == self.text or place.startswith(f"{self.text}/")
        return place.startswith(self.text) and len(place) >= len(self.text) + self.least


# What a pattern of a path may end with, and which Beginning that is.
ENDINGS = {"(/.*)?": (0, True), "(?:/.*)?": (0, True), ".*": (0, False), ".+": (1, False)}


def beginning_of(pattern: str) -> Beginning | None:
    """None for every other pattern."""
    for ending, (least, whole) in ENDINGS.items():
        if pattern.endswith(ending):
            text = literal_of(pattern.removesuffix(ending))
            return None if text is None or (whole and text.endswith("/")) else Beginning(text, least, whole)
    return None


def beginnings(prefix: str) -> Iterable[str]:
    """Every text that a Beginning which covers `prefix` can have."""
    place = prefix.rstrip("/")
    return (place[:size] for size in range(len(place) + 1))
