"""Text <-> numbers with units: durations, sizes, integers.

Durations are Gateway API's (GEP-2257): up to four of h, m, s and ms, as in 1m30s. Sizes are bytes, or a number with a
unit, decimal (MB) or binary (MiB). `format_*` writes what `parse_*` reads. Errors are ValueError with the sentence that
the user sees: the value, and what was expected.
"""

from __future__ import annotations

import re

from mesh.units import BYTES, MICROSECONDS
from proxy.config.nodes import shown

DURATION_PATTERN = r"^([0-9]{1,5}(h|m|s|ms)){1,4}$"
SIZE_PATTERN = r"^[0-9]{1,15} ?([KMGT]i?B|kB|B)$"

MILLISECONDS = {unit: micros // 1000 for unit, micros in MICROSECONDS.items() if micros >= 1000}

_DURATION = re.compile(DURATION_PATTERN)
_DURATION_PART = re.compile(r"([0-9]+)(ms|h|m|s)")
_INTEGER = re.compile(r"-?(0|[1-9][0-9]{0,17})")
_SIZE = re.compile(r"([0-9]{1,15}) ?([A-Za-z]+)")
_DECIMAL = re.compile(r"([0-9]{1,5})\.([0-9]{1,3})s")


def parse_integer(text: str) -> int:
    if not _INTEGER.fullmatch(text):
        raise ValueError(f"'{shown(text)}' is not a whole number")
    return int(text)


def parse_duration(text: str) -> float:
    """Seconds. "0" needs no unit."""
    if text == "0":
        return 0.0
    if _DURATION.match(text) and not text.endswith("\n"):
        return sum(int(number) * MILLISECONDS[unit] for number, unit in _DURATION_PART.findall(text)) / 1000
    hint = ""
    decimal = _DECIMAL.fullmatch(text)
    if _INTEGER.fullmatch(text) and not text.startswith("-"):
        hint = f" (a unit is missing: {text}s or {text}ms)"
    elif decimal:
        hint = f" (write {format_duration(int(decimal[1]) + int(decimal[2].ljust(3, '0')) / 1000)})"
    raise ValueError(f"'{shown(text)}' is not a duration, expected one such as 5s, 250ms or 1m30s{hint}")


def format_duration(seconds: float) -> str:
    rest = round(seconds * 1000)
    parts = []
    for unit, factor in MILLISECONDS.items():
        number, rest = divmod(rest, factor)
        if number:
            parts.append(f"{number}{unit}")
    return "".join(parts) or "0s"


def parse_size(text: str) -> int:
    """Bytes."""
    match = _SIZE.fullmatch(text)
    if match and match[2] in BYTES:
        return int(match[1]) * BYTES[match[2]]
    if _INTEGER.fullmatch(text) and not text.startswith("-"):
        return int(text)
    hint = ""
    if match and match[2][0].upper() in "KMGT" and len(match[2]) == 1:
        hint = f" (write {match[1]}{match[2].upper()}iB or {match[1]}{match[2].upper()}B)"
    raise ValueError(
        f"'{shown(text)}' is not a size, expected bytes or a number with a unit such as 64KiB or 10MB{hint}"
    )


def format_size(size: int) -> str | int:
    """The shortest exact spelling; a plain number of bytes stays one."""
    for unit in ("GiB", "MiB", "KiB"):
        if size and size % BYTES[unit] == 0:
            return f"{size // BYTES[unit]}{unit}"
    return size
