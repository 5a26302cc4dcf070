"""Circuit breakers and states of endpoints in a few words, as `stats` and `top` show them. Entries are those of
`endpoints` in GET /v1/stats. Pure."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from typing import Any

Json = dict[str, Any]


def breaker_text(entry: Json) -> str:
    """closed, open with the time that is left, or half-open with the requests that have worked."""
    breaker = entry["breaker"]
    if breaker["state"] == "open":
        return f"open, {breaker['left']:.0f} s left"
    if breaker["state"] == "half-open":
        return f"half-open, {breaker['worked']} ok"
    return str(breaker["state"])


def state_text(entry: Json) -> str:
    """The state, or the breaker where that decides."""
    if entry["breaker"]["state"] == "closed" or entry["state"] not in ("healthy", "ejected"):
        return str(entry["state"])
    return breaker_text(entry)


def counts(entries: Iterable[Json]) -> dict[str, int]:
    """How many breakers are in which state: closed, open, half-open."""
    found = Counter(entry["breaker"]["state"] for entry in entries)
    return {state: found[state] for state in ("closed", "open", "half-open")}


def counts_text(breakers: dict[str, int]) -> str:
    """`closed` while all of them are; otherwise what is not."""
    if not any(breakers.values()):
        return "-"
    opened = [f"{count} {state}" for state, count in breakers.items() if count and state != "closed"]
    return ", ".join(opened) or "closed"
