"""`hivemesh top`: services and endpoints live, the busiest first, as many as the terminal has room for.

proxy/cli/live.py says what is shown; here it gets its columns. A screen has a fixed frame (title, listeners, workers,
heading, and the last line when something was left out) and rows between: first every service gets one, then the
endpoints of the busiest.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

import click
from rich.console import Console, Group
from rich.live import Live
from rich.text import Text

from proxy.cli import output
from proxy.cli.context import Options, common_options
from proxy.cli.live import EndpointPart, History, Picture, ServicePart, as_json, error_share, picture, sparkline

# Where nobody has said how wide: a pipe or a file.
PLAIN_WIDTH = 120

# Below this the columns are the narrow ones; on less than the least, the ends of lines are cut off.
WIDE = 110
LEAST_WIDTH = 80

# Lines of the frame above the rows.
FRAME = 5

STATES = {"open": "red", "unhealthy": "red", "half-open": "yellow", "checking": "yellow", "draining": "yellow"}


@dataclass(frozen=True)
class Column:
    name: str
    width: int
    right: bool = True


def columns(width: int) -> tuple[Column, ...]:
    """They fill the width, with a space between them."""
    numbers = [Column("REQ/S", 6), Column("ERR%", 5), Column("P50", 6), Column("P99", 6), Column("ACT", 4)]
    numbers.append(Column("RTR/S", 5))
    if width >= WIDE:
        numbers += [Column("CONN", 5), Column("EJECT", 5)]
    fixed = sum(column.width + 1 for column in numbers)
    flexible = max(width, LEAST_WIDTH) - fixed - 2
    # Of what is left the names have two parts, bars and states one each; nobody needs more than these.
    trend = min(max(flexible // 4 - 2, 8), 32)
    state = min(max(flexible // 4, 16), 26)
    name = min(flexible - trend - state, 60)
    left = (Column("SERVICE", name, False), Column("TREND", trend, False))
    return (*left, *numbers, Column("UP, BREAKERS", state, False))


def draw(shown: Picture, width: int, height: int = 0, clock: str = "") -> list[Text]:
    """The lines of a screen. height: of the terminal, 0 for no end."""
    wide = width >= WIDE
    layout = columns(width)
    lines = [_title(shown, width, clock), *_summaries(shown, width), Text(""), _row(layout, _heading(layout), "bold")]
    lines += _rows(shown, layout, wide, height - FRAME if height else 0)
    if not shown.services:
        lines.append(Text("no service is configured"))
    for line in lines:
        line.no_wrap = True
        line.overflow = "crop"
    return lines


def _rows(shown: Picture, layout: tuple[Column, ...], wide: bool, room: int) -> Iterator[Text]:
    services = shown.services
    endpoints = [len(part.endpoints) for part in services]
    total = len(services) + sum(endpoints)
    if room and total > room:
        # One line tells what is missing.
        room = max(room - 1, 1)
        services = services[:room]
        left = room - len(services)
        given = []
        for part in services:
            given.append(min(len(part.endpoints), left))
            left -= given[-1]
    else:
        given = endpoints
    for part, count in zip(services, given, strict=True):
        yield _row(layout, _service_cells(part, layout, wide), "bold" if not _is_bad(part.state) else "bold yellow")
        for each in part.endpoints[:count]:
            yield _row(layout, _endpoint_cells(each, layout, wide), STATES.get(each.state.partition(",")[0], ""))
    hidden_services = len(shown.services) - len(services)
    hidden_endpoints = sum(endpoints) - sum(given)
    if hidden_services or hidden_endpoints:
        parts = [output.counted(hidden_services, "service")] if hidden_services else []
        parts += [output.counted(hidden_endpoints, "endpoint")] if hidden_endpoints else []
        yield Text(f"not shown: {' and '.join(parts)}", style="dim")


def _is_bad(state: str) -> bool:
    return "open" in state or state.startswith(("0/", "no "))


def _heading(layout: tuple[Column, ...]) -> list[str]:
    return [column.name for column in layout]


def _service_cells(part: ServicePart, layout: tuple[Column, ...], wide: bool) -> list[str]:
    line = part.line
    cells = [line.name, sparkline(part.past, layout[1].width), rate(line.requests), percent(error_share(line))]
    cells += [output.seconds(line.p50), output.seconds(line.p99), whole(line.active), rate(line.change("retries"))]
    if wide:
        # Connections are counted where they are, at the endpoints.
        cells += [whole(sum(each.line.connections for each in part.endpoints)), whole(line.entry["ejections"])]
    return [*cells, part.state]


def _endpoint_cells(part: EndpointPart, layout: tuple[Column, ...], wide: bool) -> list[str]:
    line = part.line
    share = "" if part.share is None or not part.version else percent(part.share)
    name = part.name
    if wide and line.entry["address"] not in name:
        name = f"{name}  {line.entry['address']}"
    cells = [f"  {name}", f"{part.version} {share}".strip(), rate(line.requests), percent(error_share(line))]
    cells += [output.seconds(line.p50), output.seconds(line.p99), whole(line.active), ""]
    if wide:
        cells += [whole(line.connections), whole(line.entry["ejections"])]
    return [*cells, part.state]


def _title(shown: Picture, width: int, clock: str) -> Text:
    left = f"{output.printable(shown.instance)}   snapshot {shown.snapshot}"
    right = f"{clock}   every {shown.interval:.1f} s".strip()
    space = max(1, width - len(left) - len(right))
    return Text(_fit(left, width - len(right) - 1) + " " * space + right if space > 1 else _fit(left, width), "bold")


def _summaries(shown: Picture, width: int) -> Iterator[Text]:
    listeners = [
        f"{line.name} {rate(line.requests)}/s {percent(error_share(line))} err "
        f"{output.counted(line.connections, 'conn')}"
        for line in sorted(shown.listeners, key=lambda line: (-line.requests, line.name))
    ]
    workers = [
        f"{part.worker} {'' if part.cpu is None else percent(part.cpu) + ' cpu '}"
        f"{output.counted(part.connections, 'conn')}{'' if part.state == 'ready' else ' ' + part.state}"
        for part in shown.workers
    ]
    yield Text(_joined("listeners", listeners, width))
    yield Text(_joined("workers", workers, width))


def _joined(title: str, parts: list[str], width: int) -> str:
    """As many as the line has room for; what is left out is counted."""
    text = f"{title:<10}"
    for number, part in enumerate(map(output.printable, parts)):
        piece = part if number == 0 else f" · {part}"
        rest = len(parts) - number - 1
        if len(text) + len(piece) + (len(f" · +{rest}") if rest else 0) > width and number:
            return f"{text} · +{rest + 1}"
        text += piece
    return _fit(text if parts else f"{text}none", width)


def _row(layout: tuple[Column, ...], cells: Iterable[str], style: str = "") -> Text:
    """Cells in their columns; what is too long is cut, and says so."""
    made = []
    for column, cell in zip(layout, cells, strict=True):
        text = _fit(output.printable(cell), column.width)
        made.append(text.rjust(column.width) if column.right else text.ljust(column.width))
    return Text(" ".join(made).rstrip(), style)


def _fit(text: str, width: int) -> str:
    return text if len(text) <= width else text[: max(width - 1, 0)] + "…"


def rate(value: float) -> str:
    """At most six characters."""
    if value < 0.05:
        return "-"
    if value < 10:
        return f"{value:.1f}"
    if value < 99_999.5:
        return f"{value:.0f}"
    return f"{value / 1000:.0f}k" if value < 9_999_500 else f"{value / 1e6:.0f}M"


def whole(value: float) -> str:
    return "-" if not value else f"{value:.0f}" if value < 9_999.5 else f"{value / 1000:.0f}k"


def percent(value: float | None) -> str:
    if value is None:
        return "-"
    return f"{value * 100:.1f}%" if 0 < value < 0.0995 else f"{value * 100:.0f}%"


@click.command()
@click.option("--interval", type=click.FloatRange(min=0.1), default=1.0, show_default=True, help="Seconds.")
@click.option("--count", type=click.IntRange(min=1), help="Stop after this many refreshes.")
@click.option("--once", is_flag=True, help="One refresh, all rows, and the terminal stays as it is.")
@click.option("--service", metavar="NAME", default="", help="Only this service.")
@common_options
def top(options: Options, interval: float, count: int | None, once: bool, service: str) -> None:
    """Watch services and endpoints: rates, errors, durations, circuit breakers. The busiest come first."""
    before = options.client.get("stats")
    if service and service not in {entry["service"] for entry in before["services"]}:
        raise click.ClickException(f"there is no service called {output.printable(service)}")
    screen = output.console()
    history = History()
    refreshes = 1 if once else count
    if options.as_json or once or not screen.is_terminal:
        for shown in _pictures(options, before, history, interval, refreshes, service):
            _print(screen, shown, options.as_json)
        return
    with Live(console=screen, auto_refresh=False, screen=True) as live:
        for shown in _pictures(options, before, history, interval, refreshes, service):
            width, height = screen.size
            lines = draw(shown, width, height, time.strftime("%H:%M:%S"))
            live.update(Group(*lines), refresh=True)


def _pictures(
    options: Options, before: dict[str, Any], history: History, interval: float, count: int | None, service: str
) -> Iterator[Picture]:
    done = 0
    while count is None or done < count:
        time.sleep(interval)
        now = options.client.get("stats")
        yield picture(now, before, history, service)
        before = now
        done += 1


def _print(screen: Console, shown: Picture, in_json: bool) -> None:
    if in_json:
        screen.out(output.compact_json(as_json(shown)))
        return
    width = screen.width if screen.is_terminal else PLAIN_WIDTH
    for line in draw(shown, width, clock=time.strftime("%H:%M:%S")):
        screen.print(line)
    screen.print("")
