"""Regular expressions of routes: RE2 syntax, the whole text must match, time linear in the text.

The engine (google-re2) is imported by the first pattern, so a worker without patterns never loads it. Text is matched
as bytes. Many patterns over one text are one pass: `PatternSet` compiles them together, in groups of limited size
because the memory of one group grows with its patterns.
Never backtracks, whatever the pattern and the text.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from typing import Any, Protocol

# Patterns compiled into one automaton. Measured: 10,000 typical ones take 20 MB; each further group costs a pass over
# the text, about 1 microsecond.
GROUP = 5000
MAX_MEMORY = 32 << 20  # bytes one automaton may take; when it needs more it starts again with an empty cache
MAX_PATTERN = 1024  # characters, as Gateway API limits a path match

# Compiled into every group. It matches everything, so an empty answer means that the engine ran out of memory (it
# reports that no other way) and not that nothing matched.
EVERYTHING = b"(?s:.*)"


class PatternError(ValueError):
    """A pattern that cannot be compiled."""


class Pattern(Protocol):
    def fullmatch(self, text: bytes) -> object | None: ...


def compile_pattern(text: str) -> Pattern:
    """The compiled pattern; PatternError says what is wrong with it."""
    if len(text) > MAX_PATTERN:
        raise PatternError(f"regular expression of {len(text)} characters is longer than {MAX_PATTERN}")
    re2, options = _engine()
    try:
        pattern: Pattern = re2.compile(text.encode(), options)
    except re2.error as error:
        raise PatternError(f"{text!r} is not a regular expression (RE2 syntax): {_words(error)}") from None
    return pattern


class PatternSet:
    """Several patterns asked at once."""

    __slots__ = ("_groups", "_patterns")

    def __init__(self, texts: Sequence[str]) -> None:
        self._patterns = [compile_pattern(text) for text in texts]  # first, for its error messages
        self._groups: list[tuple[int, int, Any]] = []  # first pattern, how many, the automaton
        for first in range(0, len(texts), GROUP):
            self._file(first, texts[first : first + GROUP])

    def matches(self, text: bytes) -> list[int]:
        """Which patterns match all of `text`: their indices, ascending."""
        found: list[int] = []
        for first, size, group in self._groups:
            hits = group.Match(text) if group is not None else ()
            if not hits:  # out of memory: one by one, which has a slower way that needs little
                hits = [index for index in range(size) if self._patterns[first + index].fullmatch(text) is not None]
            found.extend(first + index for index in sorted(hits) if index < size)
        return found

    def _file(self, first: int, texts: Sequence[str]) -> None:
        """Compile `texts` together, or in halves when they are too much for one automaton."""
        group = _group(texts)
        if group is None and len(texts) > 1:
            half = len(texts) // 2
            self._file(first, texts[:half])
            self._file(first + half, texts[half:])
        else:
            self._groups.append((first, len(texts), group))


@cache
def _engine() -> tuple[Any, Any]:
    import re2  # type: ignore[import-untyped]

    options = re2.Options()
    options.encoding = re2.Options.Encoding.LATIN1  # bytes as they are: no text is invalid
    options.never_capture = True
    options.log_errors = False
    options.max_mem = MAX_MEMORY
    return re2, options


def _group(texts: Sequence[str]) -> Any:
    """One automaton for `texts`; None when it would not fit into MAX_MEMORY."""
    re2, options = _engine()
    group = re2.Set.FullMatchSet(options)
    for text in texts:
        group.Add(text.encode())
    group.Add(EVERYTHING)
    try:
        group.Compile()
    except re2.error:
        return None
    return group


def _words(error: Exception) -> str:
    reason = error.args[0] if error.args else error
    return reason.decode(errors="replace") if isinstance(reason, bytes) else str(reason)
