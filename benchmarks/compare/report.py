"""Tables from result files: `python -m benchmarks.compare.report [--check]`.

Rewrites the part of benchmarks/README.md between its two markers from benchmarks/results/*.json; with --check it only
says whether that part is as the files have it. Nothing in the table is typed by hand.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final, TypedDict

FOLDER: Final = Path(__file__).resolve().parents[1]
README: Final = FOLDER / "README.md"
RESULTS: Final = FOLDER / "results"
BEGIN: Final = "<!-- results: begin -->"
END: Final = "<!-- results: end -->"

REASON_LENGTH: Final = 240

# How the compared number of a work is shown: heading, factor, decimals.
SHOWN: Final = {
    "cpu_us_per_request": ("CPU µs per request", 1.0, 2),
    "cpu_us_per_connection": ("CPU µs per connection", 1.0, 2),
    "cpu_us_per_datagram": ("CPU µs per datagram", 1.0, 3),
    "cpu_us_per_query": ("CPU µs per query", 1.0, 2),
    "cpu_s_per_gb": ("CPU s per GB", 1.0, 3),
    "p99_ms": ("p99, ms", 1.0, 3),
    "bytes_per_connection": ("bytes per connection", 1.0, 0),
    "pss": ("PSS, MiB", 1 / 1024**2, 1),
}

# Of the other numbers of a sample, what a reader needs to judge the first; shown as median.
BESIDE: Final = {
    "requests_per_s": ("requests/s", 1.0, 0),
    "connections_per_s": ("connections/s", 1.0, 0),
    "datagrams_per_s": ("datagrams/s", 1.0, 0),
    "queries_per_s": ("queries/s", 1.0, 0),
    "mean_ms": ("mean latency, ms", 1.0, 3),
    "down_cpu_s_per_gb": ("down, CPU s per GB", 1.0, 3),
    "up_cpu_s_per_gb": ("up, CPU s per GB", 1.0, 3),
    "down_gb_per_s": ("down, GB/s", 1.0, 2),
    "up_gb_per_s": ("up, GB/s", 1.0, 2),
    "user_share": ("of it user, %", 100.0, 0),
    "p50_ms": ("p50, ms", 1.0, 3),
    "load_core_share": ("load core busy, %", 100.0, 0),
    "below_p99_ms": ("p99 below the limit, ms", 1.0, 3),
    "refused_p99_ms": ("p99 of refusals, ms", 1.0, 3),
    "goodput_per_s": ("admitted/s", 1.0, 0),
    "admitted_share": ("admitted, %", 100.0, 1),
    "gave_up_share": ("gave up, %", 100.0, 1),
    "calm_p99_ms": ("p99 of another service, ms", 1.0, 3),
    "worst_p99_ms": ("worst p99, ms", 1.0, 3),
    "fair_p99_ms": ("p99 without a storm, ms", 1.0, 3),
    "operated_p99_ms": ("p99 beside an operator, ms", 1.0, 3),
    "changes_per_s": ("operator's changes/s", 1.0, 0),
    "failed": ("failed", 1.0, 0),
    "foreign_share": ("others on the core, %", 100.0, 1),
    "private": ("private, MiB", 1 / 1024**2, 1),
    "pss_after_load": ("PSS after load, MiB", 1 / 1024**2, 1),
    "processes": ("processes", 1.0, 0),
}


class LaneResult(TypedDict):
    median: float
    min: float
    max: float
    spread_pct: float
    samples: list[dict[str, float]]


class RatioResult(TypedDict):
    of: str
    to: str
    median: float
    min: float
    max: float
    goal: float | None
    met: bool | None


class Result(TypedDict):
    work: str
    question: str
    metric: str
    begun: str
    smoke: bool
    rounds: int
    seconds: float
    commit: str
    changed: bool
    machine: dict[str, object]
    versions: dict[str, str]
    notes: dict[str, float]
    left_out: dict[str, str]
    lanes: dict[str, LaneResult]
    ratios: list[RatioResult]


def table(rows: Sequence[Sequence[str]]) -> list[str]:
    """A Markdown table, first row as heading, readable as plain text too."""
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    lines = [
        "| " + " | ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)) + " |" for row in rows
    ]
    lines.insert(1, "|" + "|".join("-" * (width + 2) for width in widths) + "|")
    return lines


def work_section(result: Result) -> list[str]:
    heading, factor, decimals = SHOWN[result["metric"]]
    lanes = result["lanes"]
    lines = [f"### {result['work']}", "", f"{_sentence(result['question'])}", ""]
    if lanes:
        first = next(iter(lanes.values()))["samples"][0]
        beside = [name for name in BESIDE if name in first and name != result["metric"]]
        rows = [["", heading, "min .. max", *(BESIDE[name][0] for name in beside)]]
        for label, lane in lanes.items():
            span = f"{lane['min'] * factor:.{decimals}f} .. {lane['max'] * factor:.{decimals}f}"
            others = [_median_of(lane, name) for name in beside]
            rows.append([label, f"{lane['median'] * factor:.{decimals}f}", span, *others])
        lines += [*table(rows), ""]
    if result["ratios"]:
        lines += [*table([["ratio", "median", "min .. max", "goal"], *map(_ratio_row, result["ratios"])]), ""]
    for label, reason in result["left_out"].items():
        lines.append(f"Without {label}: {shortened(reason)}.")
    notes = "; ".join(f"{name} {value:,.0f}" for name, value in result["notes"].items())
    lines.append(
        f"{result['rounds']} rounds of {result['seconds']:g} s, {result['begun'][:10]}, commit {result['commit'][:12]}"
        + (" with changes" if result["changed"] else "")
        + (f"; {notes}" if notes else "")
        + ("; a smoke run, its numbers mean nothing" if result["smoke"] else "")
        + "."
    )
    return [*lines, ""]


def shortened(reason: str) -> str:
    """On one line, with the end of what a program said last; the JSON file has all of it."""
    words = " ".join(reason.split())
    if len(words) <= REASON_LENGTH:
        return words
    return f"{words[: REASON_LENGTH // 2]} ... {words[-REASON_LENGTH // 2 :]}"


def summary_rows(results: Sequence[Result]) -> list[str]:
    """All ratios that have a goal, in one table."""
    rows = [["work", "ratio", "median", "min .. max", "goal"]]
    rows += [
        [result["work"], *_ratio_row(ratio)]
        for result in results
        for ratio in result["ratios"]
        if ratio["goal"] is not None
    ]
    return table(rows) if len(rows) > 1 else []


def render(results: Sequence[Result]) -> str:
    """The part of the README between its markers."""
    if not results:
        return "No results yet.\n"
    lines = [*summary_rows(results), ""]
    machines = {json.dumps(_lasting(result["machine"]), sort_keys=True) for result in results}
    for text in sorted(machines):
        machine: dict[str, object] = json.loads(text)
        lines.append("Machine: " + ", ".join(f"{name} {value}" for name, value in machine.items()) + ".")
    versions: dict[str, str] = {}
    for result in results:
        versions.update(result["versions"])
    lines.append("Versions: " + ", ".join(f"{name} {version}" for name, version in versions.items() if version) + ".")
    lines.append("")
    for result in results:
        lines += work_section(result)
    return "\n".join(lines)


def replaced(readme: str, section: str) -> str:
    """The README with another results part. Raises ValueError when the markers are not there."""
    before, begin, rest = readme.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not begin or not end:
        raise ValueError(f"no {BEGIN} ... {END} in the text")
    return f"{before}{BEGIN}\n\n{section.strip()}\n\n{END}{after}"


def load_results(folder: Path, order: Sequence[str]) -> list[Result]:
    """Results in the order of the works; files of unknown works come last, those of anything but works are not ours."""
    found: dict[str, Result] = {}
    for path in sorted(folder.glob("*.json")):
        result = json.loads(path.read_text())
        if "work" in result:
            found[path.stem] = result
    return [found.pop(name) for name in order if name in found] + list(found.values())


def main(arguments: Sequence[str] | None = None) -> int:
    from benchmarks.compare.works import WORKS

    parser = argparse.ArgumentParser(prog="python -m benchmarks.compare.report", description=__doc__.splitlines()[0])
    parser.add_argument("--check", action="store_true", help="change nothing; exit 1 when the README is out of date")
    parser.add_argument("--results", type=Path, default=RESULTS, help="folder of the JSON files")
    options = parser.parse_args(arguments)
    readme = README.read_text()
    wanted = replaced(readme, render(load_results(options.results, [work.name for work in WORKS])))
    if options.check:
        if wanted != readme:
            print(f"{README} does not show what {options.results} holds; run `python -m benchmarks.compare.report`")
        return int(wanted != readme)
    README.write_text(wanted)
    return 0


def _ratio_row(ratio: RatioResult) -> list[str]:
    goal = "" if ratio["goal"] is None else f"<= {ratio['goal']:.2f}, {'met' if ratio['met'] else 'not met'}"
    span = f"{ratio['min']:.3f} .. {ratio['max']:.3f}"
    return [f"{ratio['of']} / {ratio['to']}", f"{ratio['median']:.3f}", span, goal]


def _median_of(lane: LaneResult, name: str) -> str:
    _, factor, decimals = BESIDE[name]
    values = sorted(sample[name] for sample in lane["samples"])
    return f"{values[len(values) // 2] * factor:,.{decimals}f}"


def _sentence(text: str) -> str:
    return text[:1].upper() + text[1:] + "."


def _lasting(machine: Mapping[str, object]) -> dict[str, object]:
    """Without what differs from run to run."""
    return {name: value for name, value in machine.items() if name != "busy_before"}


if __name__ == "__main__":
    sys.exit(main())
