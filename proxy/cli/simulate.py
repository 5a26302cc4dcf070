"""`hivemesh simulate`: recorded traffic, decided again under another configuration.

Nothing runs for it and nothing is sent: the data plane of the file is made in this process (proxy/offline.py) and asked
about each request of the capture.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

import click
from rich.text import Text

from proxy.cli import output
from proxy.cli.context import Options, common_options
from proxy.plan.values import counted
from proxy.simulation.outcomes import ANSWER, FORWARD, REFUSED, Outcome
from proxy.simulation.report import Changed, Group, Report, Share

# Kinds of changes and places that are shown; --json has all.
MOST_GROUPS = 40
MOST_PLACES = 40


@click.command()
@click.argument("file")
@click.option("--capture", metavar="FILE", required=True, help="What `hivemesh capture` has written.")
@click.option("--seed", type=click.IntRange(0, 2**53), default=0, show_default=True, help="Of picks among endpoints.")
@common_options
def simulate(options: Options, file: str, capture: str, seed: int) -> int:
    """Decide recorded requests again under FILE: which would take another route, service or version, which would be
    answered otherwise, and where the load would go. Nothing is sent.

    FILE is checked first, as `check` does; with problems the exit code is 1.
    """

    from mesh.capture import CaptureError, read_capture
    from proxy.config.validate import check as checked
    from proxy.offline import Offline
    from proxy.simulation.report import as_json
    from proxy.simulation.running import Simulation

    loaded = checked(file)
    if loaded.config is None:
        output.print_refused(loaded.problems, options.as_json)
        return 1
    try:
        with Path(capture).open("rb") as lines:
            found = read_capture(lines)
            with Offline(loaded.config, seed=seed) as plane:
                report = Simulation(plane.snapshot, plane.ask, seed).run(found)
    except OSError as error:
        output.print_error(f"{capture} cannot be read: {(error.strerror or str(error)).lower()}")
        return 1
    except CaptureError as error:
        output.print_error(f"{capture}: {error}")
        return 1
    if options.as_json:
        output.print_json(as_json(report))
        return 0
    screen = output.console()
    for line in pages(report, file):
        screen.print(line, soft_wrap=True)
    return 0


def pages(report: Report, file: str) -> Iterator[Text]:
    """The report as it is shown, line by line."""
    yield Text(
        f"{counted(report.requests, 'request')} of {output.seconds(report.seconds)}, "
        f"decided again under {output.printable(file)}",
        style="bold",
    )
    if report.lost:
        yield Text(f"{report.lost:,} more are missing from the capture", style="yellow")
    if report.undecided:
        yield Text(f"{report.undecided:,} of them had been refused before any rule was asked; they are left out")
    yield Text("")
    yield from _changes(report)
    yield Text("")
    yield from _shares(report)
    if report.refused or report.retried.requests:
        yield Text("")
    for each in report.refused:
        yield Text(f"{each.limit} of {output.printable(each.owner)} turns away {counted(each.requests, 'request')}")
    if report.retried.requests:
        denied = sum(count for _, count in report.retried.denied)
        yield Text(
            f"{counted(report.retried.requests, 'request')} had been sent again; {denied:,} of them could not be:"
        )
        for why, count in report.retried.denied:
            yield Text(f"  {count:,}: {output.printable(why)}")
    yield Text("")
    yield Text("assumed:", style="dim")
    for each_text in report.assumptions:
        yield Text(f"  {output.printable(each_text)}", style="dim")


def _changes(report: Report) -> Iterator[Text]:
    if not report.compared:
        yield Text("there is no request to decide again", style="bold yellow")
        return
    if not report.changed:
        yield Text("every request is decided as it was", style="bold green")
        return
    yield Text(
        f"{len(report.changed):,} of {counted(report.compared, 'request')} would be decided otherwise", style="bold"
    )
    kinds = _kinds(report.groups)
    width = len(f"{kinds[0][1]:,}")
    for told, count, example in kinds[:MOST_GROUPS]:
        text = Text(f"  {count:>{width},}  ", style="yellow")
        text.append(output.printable(told), style="")
        asked = f"{example.method} {example.host}{example.path}"
        text.append(f"   e.g. {output.printable(asked)} ({output.printable(example.request_id)})", style="dim")
        yield text
    if len(kinds) > MOST_GROUPS:
        rest = sum(count for _, count, _ in kinds[MOST_GROUPS:])
        yield Text(f"  {rest:>{width},}  in {len(kinds) - MOST_GROUPS} more kinds of change (--json has all)")


def _kinds(groups: Sequence[Group]) -> list[tuple[str, int, Changed]]:
    """What is told of the groups, how often, and one of them; the most frequent first. Groups that differ only in what
    stays as it was read alike, and are one."""
    counts: dict[str, int] = {}
    examples: dict[str, Changed] = {}
    for group in groups:
        told = describe(group)
        counts[told] = counts.get(told, 0) + group.count
        examples.setdefault(told, group.example)
    return [(told, count, examples[told]) for told, count in sorted(counts.items(), key=lambda item: -item[1])]


def describe(group: Group) -> str:
    """What changed, and nothing of what did not."""
    was, now = group.was, group.now
    parts = []
    if was.route != now.route and now.kind != REFUSED:
        parts.append(f"route {was.route or '(none)'} -> {now.route or '(none)'}")
    elif was.route:
        parts.append(f"route {was.route}")
    if was.kind == now.kind == FORWARD:
        if was.service != now.service:
            parts.append(f"service {_place(was)} -> {_place(now)}")
        elif was.version != now.version:
            parts.append(f"service {was.service}, version {was.version or '(any)'} -> {now.version or '(any)'}")
    elif (was.kind, was.status, was.flag) != (now.kind, now.status, now.flag):
        parts.append(f"{_answer(was)} -> {_answer(now)}")
    return ", ".join(parts)


def _answer(outcome: Outcome) -> str:
    if outcome.kind == FORWARD:
        return f"forwarded to {_place(outcome)}"
    if outcome.kind == ANSWER:
        return f"answered {outcome.status}{' ' if outcome.flag else ''}{outcome.flag}"
    return "no such listener" if outcome.kind == REFUSED else outcome.kind


def _place(outcome: Outcome) -> str:
    return f"{outcome.service} {outcome.version}".rstrip()


def _shares(report: Report) -> Iterator[Text]:
    if not report.shares:
        return
    totals = [sum(share.was for share in report.shares), sum(share.now for share in report.shares)]
    rows: list[tuple[str, ...]] = [("SERVICE", "VERSION", "ENDPOINT", "WAS", "", "WOULD BE", "")]
    rows += [_row(share, totals) for share in report.shares[:MOST_PLACES]]
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    for number, row in enumerate(rows):
        cells = [
            cell.rjust(width) if column > 2 else cell.ljust(width)
            for column, (cell, width) in enumerate(zip(row, widths, strict=True))
        ]
        yield Text("  ".join(cells).rstrip(), style="bold" if not number else "")
    if len(report.shares) > MOST_PLACES:
        yield Text(f"and {len(report.shares) - MOST_PLACES} more endpoints (--json has all)", style="dim")


def _row(share: Share, totals: list[int]) -> tuple[str, ...]:
    names = [output.printable(each) or "-" for each in (share.service, share.version, share.endpoint)]
    numbers = []
    for count, total in ((share.was, totals[0]), (share.now, totals[1])):
        numbers += [f"{count:,}", f"{count / total:.1%}" if total else "-"]
    return (*names, *numbers)
