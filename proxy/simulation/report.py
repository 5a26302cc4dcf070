"""What a simulation found: values only."""

from __future__ import annotations

from typing import Any

import msgspec

from discovery.model import Struct
from proxy.simulation.outcomes import Outcome


class Changed(Struct, omit_defaults=False):
    """A request for which something else would be decided."""

    request_id: str
    ts: str
    method: str
    host: str
    path: str
    was: Outcome
    now: Outcome


class Group(Struct, omit_defaults=False):
    """Changes of the same kind, and the first of them."""

    count: int
    was: Outcome
    now: Outcome
    example: Changed


class Share(Struct, omit_defaults=False):
    """Requests that a place got, and would get."""

    service: str
    version: str
    endpoint: str
    was: int
    now: int


class Refused(Struct, omit_defaults=False):
    """owner: "route api" or "service web"; limit: its key of the configuration."""

    owner: str
    limit: str
    requests: int


class Retried(Struct, omit_defaults=False):
    """requests: that were sent again. denied: of these, those that would not be, by why."""

    requests: int = 0
    denied: tuple[tuple[str, int], ...] = ()


class Report(Struct, omit_defaults=False):
    """requests: read. compared: decided again. undecided: those that no rule had been asked about. lost: those that the
    capture says are missing."""

    requests: int
    compared: int
    undecided: int
    lost: int
    seconds: float  # between the first and the last request
    seed: int
    changed: tuple[Changed, ...]
    groups: tuple[Group, ...]
    shares: tuple[Share, ...]
    refused: tuple[Refused, ...]
    retried: Retried
    missing: tuple[str, ...]
    assumptions: tuple[str, ...]


def as_json(report: Report) -> dict[str, Any]:
    found: dict[str, Any] = msgspec.to_builtins(report)
    return found
