"""What `top` shows: one picture of the moment, made from two answers of GET /v1/stats. Pure.

The rates are those of `stats`; here endpoints come below their services, what is busiest comes first, and the past of
each service is kept for its line of bars.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from proxy.cli import breakers
from proxy.cli.stats import Line, rates

Json = dict[str, Any]

# Refreshes that are remembered: as many bars as a wide screen shows.
MEMORY = 60

BARS = "▁▂▃▄▅▆▇█"


@dataclass(frozen=True)
class EndpointPart:
    """share: of the service's requests, 0 to 1, that go to the endpoint's version."""

    line: Line
    share: float | None

    @property
    def name(self) -> str:
        return str(self.line.entry["endpoint"])

    @property
    def version(self) -> str:
        return str(self.line.entry["version"])

    @property
    def state(self) -> str:
        return breakers.state_text(self.line.entry)


@dataclass(frozen=True)
class ServicePart:
    """past: rates of the last refreshes, the present one last."""

    line: Line
    endpoints: tuple[EndpointPart, ...]
    past: tuple[float, ...]

    @property
    def usable(self) -> int:
        return sum(part.line.entry["state"] == "healthy" for part in self.endpoints)

    @property
    def breakers(self) -> dict[str, int]:
        return breakers.counts(part.line.entry for part in self.endpoints)

    @property
    def state(self) -> str:
        """Usable ones of all, and the breakers."""
        if not self.endpoints:
            return "no endpoints"
        return f"{self.usable}/{len(self.endpoints)}, {breakers.counts_text(self.breakers)}"


@dataclass(frozen=True)
class WorkerPart:
    """cpu: processors in use, 1.0 is one of them; None where it is not known."""

    worker: int
    state: str
    connections: int
    cpu: float | None


@dataclass(frozen=True)
class Picture:
    instance: str
    snapshot: int
    interval: float
    listeners: tuple[Line, ...]
    services: tuple[ServicePart, ...]
    workers: tuple[WorkerPart, ...]


class History:
    """Rates of the services, as far back as `MEMORY`. What is gone is forgotten."""

    def __init__(self) -> None:
        self.rates: dict[str, deque[float]] = {}

    def note(self, found: Sequence[Line]) -> None:
        self.rates = {line.name: self.rates.get(line.name, deque(maxlen=MEMORY)) for line in found}
        for line in found:
            self.rates[line.name].append(line.requests)

    def of(self, service: str) -> tuple[float, ...]:
        return tuple(self.rates.get(service, ()))


def picture(now: Json, before: Json, history: History, only: str = "") -> Picture:
    """only: the one service to show, "" for all. Notes the rates in `history`."""
    found = list(rates(now, before))
    services = [line for line in found if line.kind == "services"]
    history.note(services)
    members: dict[str, list[Line]] = {}
    for line in found:
        if line.kind == "endpoints":
            members.setdefault(line.entry["service"], []).append(line)
    parts = [
        ServicePart(line, _endpoints(members.get(line.name, [])), history.of(line.name))
        for line in services
        if not only or line.name == only
    ]
    return Picture(
        instance=now["instance"],
        snapshot=now["snapshot"],
        interval=max(now["now"] - before["now"], 1e-9),
        listeners=tuple(line for line in found if line.kind == "listeners"),
        services=tuple(sorted(parts, key=lambda part: (-part.line.requests, part.line.name))),
        workers=_workers(now, before),
    )


def _endpoints(lines: list[Line]) -> tuple[EndpointPart, ...]:
    total = sum(line.requests for line in lines)
    by_version: dict[str, float] = {}
    for line in lines:
        version = line.entry["version"]
        by_version[version] = by_version.get(version, 0.0) + line.requests
    parts = [EndpointPart(line, by_version[line.entry["version"]] / total if total else None) for line in lines]
    return tuple(sorted(parts, key=lambda part: (-part.line.requests, part.name)))


def _workers(now: Json, before: Json) -> tuple[WorkerPart, ...]:
    elapsed = max(now["now"] - before["now"], 1e-9)
    earlier = {(worker["worker"], worker["pid"]): worker["cpu"] for worker in before["workers"]}
    found = []
    for worker in now["workers"]:
        cpu, was = worker["cpu"], earlier.get((worker["worker"], worker["pid"]))
        used = max(0.0, cpu - was) / elapsed if cpu is not None and was is not None else None
        found.append(WorkerPart(worker["worker"], worker["state"], worker["connections"], used))
    return tuple(found)


def error_share(line: Line) -> float | None:
    """5xx among what ended, 0 to 1; None when nothing did."""
    ended = sum(line.classes)
    return line.classes[3] / ended if ended > 0 else None


def sparkline(values: Sequence[float], width: int) -> str:
    """The last `width` values as bars, the largest of them full; blank on the left while there are fewer."""
    shown = list(values)[-width:] if width > 0 else []
    highest = max(shown, default=0.0)
    if highest <= 0.0:
        bars = BARS[0] * len(shown)
    else:
        bars = "".join(BARS[min(int(value / highest * len(BARS)), len(BARS) - 1)] for value in shown)
    return bars.rjust(width)


def as_json(shown: Picture) -> Json:
    """One refresh, for a program."""
    return {
        "instance": shown.instance,
        "snapshot": shown.snapshot,
        "interval": round(shown.interval, 3),
        "listeners": [{"listener": line.name, **_numbers(line)} for line in shown.listeners],
        "workers": [
            {"worker": part.worker, "state": part.state, "connections": part.connections, "cpu": part.cpu}
            for part in shown.workers
        ],
        "services": [
            {
                "service": part.line.name,
                **_numbers(part.line),
                "retries_per_s": part.line.change("retries"),
                "pending": part.line.entry["pending_requests"],
                "breakers": part.breakers,
                "ejections": part.line.entry["ejections"],
                "endpoints": [
                    {
                        "endpoint": each.name,
                        "address": each.line.entry["address"],
                        "version": each.version,
                        "version_share": each.share,
                        "state": each.line.entry["state"],
                        "breaker": each.line.entry["breaker"],
                        "ejections": each.line.entry["ejections"],
                        **_numbers(each.line),
                    }
                    for each in part.endpoints
                ],
            }
            for part in shown.services
        ],
    }


def _numbers(line: Line) -> Json:
    return {
        "requests_per_s": line.requests,
        "error_share": error_share(line),
        "p50": line.p50,
        "p99": line.p99,
        "active_requests": line.active,
        "connections": line.connections,
    }
