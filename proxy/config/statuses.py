"""Sets of HTTP statuses as a user writes them: 200, 2xx, 200-399.

What comes out are ranges with both ends included; `format_statuses` writes what `parse_statuses` reads. Errors are
ValueError with the sentence that the user sees.
"""

from __future__ import annotations

import re

from proxy.config.nodes import shown

Range = tuple[int, int]

LOWEST, HIGHEST = 100, 599
STATUS_PATTERN = r"^([1-5]xx|[1-5][0-9][0-9](-[1-5][0-9][0-9])?)$"

_STATUSES = re.compile(r"(?:(?P<hundred>[1-5])xx|(?P<first>[1-5][0-9][0-9])(?:-(?P<last>[1-5][0-9][0-9]))?)")


def parse_statuses(text: str) -> Range:
    match = _STATUSES.fullmatch(text)
    if match is None:
        raise ValueError(f"'{shown(text)}' is no status, expected one such as 200, 2xx or 200-399")
    if match["hundred"]:
        first = int(match["hundred"]) * 100
        return first, first + 99
    first = int(match["first"])
    last = int(match["last"] or first)
    if last < first:
        raise ValueError(f"'{shown(text)}' ends before it begins, expected '{last}-{first}'")
    return first, last


def format_statuses(statuses: Range) -> str | int:
    first, last = statuses
    if first == last:
        return first
    if first % 100 == 0 and last == first + 99:
        return f"{first // 100}xx"
    return f"{first}-{last}"
