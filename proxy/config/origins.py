"""Where each value of the effective configuration is from.

What is written is found by the tree of proxy/config/places.py. What is not is a default of its own, or follows
something else: `_source` has the few rules of that, one for each place where reading fills a value in from another.
"""

from __future__ import annotations

from collections.abc import Iterator
from enum import StrEnum

import msgspec

from discovery.checks import HealthCheck
from discovery.policies import CircuitBreaker
from discovery.values import Struct
from proxy.config.nodes import Path, path_text
from proxy.config.places import Place, Steps
from proxy.config.scalars import format_duration
from proxy.config.shapes import Json


class Kind(StrEnum):
    FILE = "file"  # it is written
    DEFAULT = "default"  # it is not
    INHERITED = "inherited"  # it is what another value says
    DERIVED = "derived"  # it was made from another value
    RUNNING = "running"  # the file says something else, which takes effect after a restart


class Origin(Struct):
    """`file`, `line` and `column`: where it is written, or what it follows. `source`: what it follows, by its path in
    the effective configuration."""

    origin: Kind
    file: str = ""
    line: int = 0
    column: int = 0
    source: str = msgspec.field(default="", name="from")

    def __str__(self) -> str:
        where = f"{self.file}:{self.line}" if self.line else ""
        if self.origin is Kind.FILE:
            return where
        if self.origin is Kind.INHERITED:
            return f"from {self.source}, {where or Kind.DEFAULT}"
        if self.origin is Kind.DERIVED:
            return f"derived from {self.source}, {where or Kind.DEFAULT}"
        if self.origin is Kind.RUNNING:
            return f"as it was at the start; {where or 'the default'} takes effect after a restart"
        return Kind.DEFAULT


# --- walking ------------------------------------------------------------------------------------------------------


def leaves(document: Json, path: Path = None, steps: Steps = ()) -> Iterator[tuple[Path, Steps, Json]]:
    """Every value of `document` that has no parts: (its path, the same as steps, the value)."""
    if isinstance(document, dict) and document:
        for name, item in document.items():
            yield from leaves(item, (path, name), (*steps, name))
    elif isinstance(document, list) and document:
        for index, item in enumerate(document):
            yield from leaves(item, (path, index), (*steps, index))
    else:
        yield path, steps, document


def text_of(steps: Steps) -> str:
    path: Path = None
    for step in steps:
        path = (path, step)
    return path_text(path)


def value_at(document: Json, steps: Steps) -> Json:
    """None: there is nothing."""
    for step in steps:
        if isinstance(document, dict) and isinstance(step, str):
            document = document.get(step)
        elif isinstance(document, list) and isinstance(step, int) and step < len(document):
            document = document[step]
        else:
            return None
    return document


def origins(
    document: dict[str, Json], top: Place, file: str, written: dict[str, Json] | None = None
) -> dict[str, Origin]:
    """By the path of each value of `document`, an effective configuration. `top`: what the file says. `written`: the
    effective configuration of the file, where that is not what is in force."""
    found = {}
    for path, steps, value in leaves(document):
        origin = _origin(document, top, file, steps)
        if written is not None and value_at(written, steps) != value:
            origin = msgspec.structs.replace(origin, origin=Kind.RUNNING, source="")
        found[path_text(path)] = origin
    return found


def _origin(document: dict[str, Json], top: Place, file: str, steps: Steps) -> Origin:
    place = top.find(steps)
    if place is not None:
        return Origin(origin=Kind.FILE, file=file, line=place.line, column=place.column)
    follows = _source(document, top, steps)
    if follows is None:
        return Origin(origin=Kind.DEFAULT)
    kind, source = follows
    place = top.find(source)
    if place is None:
        return Origin(origin=kind, source=text_of(source))
    return Origin(origin=kind, file=file, line=place.line, column=place.column, source=text_of(source))


# --- what follows something else ----------------------------------------------------------------------------------

_CHECK_TIMEOUT = format_duration(HealthCheck().timeout)
_LONGEST_EJECTION = format_duration(CircuitBreaker().max_ejection_time)


def _source(document: dict[str, Json], top: Place, steps: Steps) -> tuple[Kind, Steps] | None:
    """What the value at `steps`, which is not written, follows; None: nothing, it is a default."""
    *above, last = steps
    beside = tuple(above)
    if steps == ("instance",):
        return Kind.DERIVED, ("admin", "address")
    if last == "idle_timeout" and beside[-1] == "pool":
        return Kind.INHERITED, ("timeouts", "upstream_idle")
    if last == "id" and beside[-2:-1] == ("endpoints",):
        return Kind.DERIVED, (*beside, "address")
    if last == "max_backoff" and top.find((*beside, "backoff")) is not None:
        return Kind.DERIVED, (*beside, "backoff")
    if last == "max_ejection_time" and value_at(document, steps) != _LONGEST_EJECTION:
        return Kind.DERIVED, (*beside, "base_ejection_time")
    if steps[0] == "services" and "health_check" in steps[2:5]:
        return _check_source(document, steps)
    return None


def _check_source(document: dict[str, Json], steps: Steps) -> tuple[Kind, Steps] | None:
    """Of a value of a health check. An endpoint's has what its service's has, as far as that means something to it."""
    at = steps.index("health_check")
    value = value_at(document, steps)
    if at == 4:
        of_service = (*steps[:2], *steps[at:])
        if value_at(document, of_service) == value:
            return Kind.INHERITED, of_service
    if steps[at + 1] == "timeout" and value != _CHECK_TIMEOUT:
        return Kind.DERIVED, (*steps[: at + 1], "interval")
    return None
