"""Durations as Go writes them: in the bodies of Consul's clients, and in how long a blocking query is ready to wait."""

from __future__ import annotations

import re

from proxy.config.nodes import shown

LONGEST = 365 * 86_400.0  # seconds

_UNITS = {"ns": 1e-9, "us": 1e-6, "\xb5s": 1e-6, "\u03bcs": 1e-6, "ms": 1e-3, "s": 1.0, "m": 60.0, "h": 3600.0}
_PART = re.compile("([0-9]+(?:\\.[0-9]*)?|\\.[0-9]+)(ns|us|\xb5s|\u03bcs|ms|s|m|h)")


def parse_go_duration(text: str) -> float:
    """Seconds of a duration as Go writes it: 1h15m, 1.5s, 300ms. Raises ValueError."""
    if text == "0":
        return 0.0  # the only number that needs no unit, in Go too
    seconds, position = 0.0, 0
    while position < len(text):
        part = _PART.match(text, position)
        if part is None:
            break
        seconds += float(part[1]) * _UNITS[part[2]]
        position = part.end()
    if not text or position < len(text):
        raise ValueError(f"'{shown(text)}' is not a duration, expected one such as 10s, 1m30s or 500ms")
    if seconds > LONGEST:
        raise ValueError(f"'{shown(text)}' is longer than a year, expected less")
    return seconds
