"""Query parameters: the known ones, once each, and none else, so that a mistyped one is no silent "all of them"."""

from __future__ import annotations

from typing import TYPE_CHECKING

from proxy.admin.problems import invalid_value
from proxy.config.nodes import shown

if TYPE_CHECKING:
    from aiohttp import web

YES = frozenset(("", "1", "true"))
NO = frozenset(("0", "false"))


class Parameters:
    """Those of one request. Raises Refusal for what is not among `known`, or `many`, which may come more than once."""

    def __init__(self, request: web.Request, *known: str, many: tuple[str, ...] = ()) -> None:
        self.values: dict[str, str] = {}
        self.lists: dict[str, list[str]] = {name: [] for name in many}
        for name, value in request.query.items():
            if name in many:
                self.lists[name].append(value)
                continue
            if name not in known:
                expected = f"expected {', '.join((*known, *many))}" if known else "expected none"
                raise invalid_value(shown(name), f"unknown parameter, {expected}")
            if name in self.values:
                raise invalid_value(name, "is given twice, expected it once")
            self.values[name] = value

    def number(self, name: str, default: int, least: int = 0, most: int = 2**53) -> int:
        value = self.values.get(name)
        if value is None:
            return default
        if not value.lstrip("-").isdecimal() or not least <= int(value) <= most:
            raise invalid_value(name, f"'{shown(value)}' is not expected, expected a number from {least} to {most}")
        return int(value)

    def flag(self, name: str) -> bool:
        """A name alone is yes."""
        value = self.values.get(name)
        if value is None or value.lower() in NO:
            return False
        if value.lower() not in YES:
            raise invalid_value(name, f"'{shown(value)}' is neither, expected true or false")
        return True
