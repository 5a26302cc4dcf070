"""`hivemesh stats`: traffic per listener, service and endpoint, since the start or live.

Live means the difference between two answers of the agent: rates, and quantiles of the durations that ended in
between. The arithmetic is the pure `rates`; drawing and waiting are below it.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import click
from rich.console import Group
from rich.live import Live
from rich.text import Text

from proxy.cli import breakers, output
from proxy.cli.context import Options, common_options
from proxy.stats.quantile import quantile

Json = dict[str, Any]
KINDS = ("listeners", "services", "endpoints")
COLUMNS = (">ACTIVE", ">CONNS", ">2XX", ">3XX", ">4XX", ">5XX", ">OTHER", ">IN", ">OUT", ">P50", ">P99")


@dataclass(frozen=True)
class Line:
    """One row of the table: numbers per second when `elapsed` was given, totals otherwise.

    entry: what the agent says of it now. earlier: the same of the answer before; None when it has none there.
    elapsed: seconds between the two."""

    kind: str
    name: str
    entry: Json
    earlier: Json | None
    elapsed: float
    requests: float
    active: int
    connections: int
    classes: tuple[float, ...]  # 2xx, 3xx, 4xx, 5xx, other
    received: float
    sent: float
    p50: float | None
    p99: float | None

    def change(self, key: str) -> float:
        """Of another counter of the entry, per second."""
        return _grown(self.entry[key], self.earlier[key] if self.earlier else 0) / self.elapsed


def rates(now: Json, before: Json | None) -> Iterator[Line]:
    """What happened between two answers of /v1/stats, per second; totals when there is no earlier one."""
    elapsed = max(now["now"] - before["now"], 1e-9) if before else 1.0
    bounds = now["bucket_bounds"]
    for kind in KINDS:
        earlier = {_name(kind, entry): entry for entry in before[kind]} if before else {}
        for entry in now[kind]:
            name = _name(kind, entry)
            yield _line(kind, name, entry, earlier.get(name), elapsed, bounds)


def _name(kind: str, entry: Json) -> str:
    if kind == "endpoints":
        return f"{entry['service']}/{entry['endpoint']} {entry['address']}"
    return str(entry[kind.removesuffix("s")])


def _line(kind: str, name: str, entry: Json, was: Json | None, elapsed: float, bounds: list[float]) -> Line:
    now, before = entry["stats"], was["stats"] if was else None

    def change(key: str) -> float:
        return _grown(now[key], before[key] if before else 0) / elapsed

    codes = {code: _grown(count, before["codes"].get(code, 0) if before else 0) for code, count in now["codes"].items()}
    classes = [sum(count for code, count in codes.items() if code.startswith(first)) / elapsed for first in "2345"]
    earlier = before["duration_buckets"] if before else [0] * len(now["duration_buckets"])
    buckets = [_grown(count, old) for count, old in zip(now["duration_buckets"], earlier, strict=True)]
    return Line(
        kind=kind,
        name=name,
        entry=entry,
        earlier=was,
        elapsed=elapsed,
        requests=change("requests"),
        active=now["active_requests"],
        connections=now["connections"],
        classes=(*classes, sum(codes.values()) / elapsed - sum(classes)),
        received=change("bytes_received"),
        sent=change("bytes_sent"),
        p50=quantile(0.5, bounds, buckets),
        p99=quantile(0.99, bounds, buckets),
    )


def _grown(now: int, before: int) -> int:
    """Counters only grow; one that is smaller began anew, because its row was given to a new endpoint."""
    return now - before if now >= before else now


# --- drawing ----------------------------------------------------------------------------------------------------


@click.command()
@click.option("--watch", is_flag=True, help="Show rates and refresh them until interrupted.")
@click.option("--interval", type=click.FloatRange(min=0.01), default=1.0, show_default=True, help="Seconds.")
@click.option("--count", type=click.IntRange(min=1), help="Stop after this many refreshes.")
@common_options
def stats(options: Options, watch: bool, interval: float, count: int | None) -> None:
    """Show traffic per listener, service and endpoint: totals since the start, or rates with --watch."""
    now = options.client.get("stats")
    if not watch:
        if options.as_json:
            output.print_json(now)
        else:
            output.console().print(_view(rates(now, None), "REQUESTS"))
        return
    _watch(options, now, interval, count)


def _watch(options: Options, before: Json, interval: float, count: int | None) -> None:
    screen = output.console()
    refreshes = 0
    with Live(console=screen, auto_refresh=False, transient=False) as live:
        while count is None or refreshes < count:
            time.sleep(interval)
            now = options.client.get("stats")
            lines = list(rates(now, before))
            if options.as_json:
                screen.out(output.compact_json([_as_json(line) for line in lines]))
            elif screen.is_terminal:
                live.update(_view(lines, "REQ/S"), refresh=True)
            else:
                screen.print(_view(lines, "REQ/S"))
            before = now
            refreshes += 1


def _view(lines: Iterator[Line] | list[Line], unit: str) -> Group:
    found = list(lines)
    blocks: list[Any] = []
    for kind in KINDS:
        rows = [_cells(line) for line in found if line.kind == kind]
        if rows:
            heading = kind.removesuffix("s").upper()
            own = _own_column(kind, found)
            if own:
                rows = [(*row, cell) for row, cell in zip(rows, own[1:], strict=True)]
            blocks += [Text(""), output.table((heading, f">{unit}", *COLUMNS, *own[:1]), rows)]
    return Group(*blocks[1:]) if blocks else Group(Text("nothing is configured"))


def _own_column(kind: str, lines: list[Line]) -> list[str]:
    """What only some of the tables have: circuit breakers. The heading, and a cell for each line of the kind."""
    if kind == "listeners":
        return []
    endpoints = [line.entry for line in lines if line.kind == "endpoints"]
    if kind == "endpoints":
        return ["BREAKER", *(breakers.breaker_text(entry) for entry in endpoints)]
    members: dict[str, list[Json]] = {}
    for entry in endpoints:
        members.setdefault(entry["service"], []).append(entry)
    services = [line.name for line in lines if line.kind == "services"]
    return ["BREAKERS", *(breakers.counts_text(breakers.counts(members.get(name, []))) for name in services)]


def _cells(line: Line) -> tuple[object, ...]:
    classes = [_number(value) for value in line.classes]
    sizes = (output.size(line.received), output.size(line.sent))
    quantiles = (output.seconds(line.p50), output.seconds(line.p99))
    return (line.name, _number(line.requests), line.active, line.connections, *classes, *sizes, *quantiles)


def _number(value: float) -> str:
    """Whole numbers as they are, small rates with a digit, and nothing where nothing happened."""
    if abs(value) < 0.05:
        return "-"
    return f"{value:.0f}" if value >= 10 or value == int(value) else f"{value:.1f}"


def _as_json(line: Line) -> Json:
    names = ("2xx", "3xx", "4xx", "5xx", "other")
    return {
        "kind": line.kind.removesuffix("s"),
        "name": line.name,
        "requests_per_s": line.requests,
        "active_requests": line.active,
        "connections": line.connections,
        "per_s": dict(zip(names, line.classes, strict=True)),
        "bytes_received_per_s": line.received,
        "bytes_sent_per_s": line.sent,
        "p50": line.p50,
        "p99": line.p99,
    }
