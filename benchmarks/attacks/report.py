"""The comparison as a file and as a page: `python -m benchmarks.attacks.report [--check]`.

Rewrites the part of docs/attacks.md between its two markers from benchmarks/results/attacks.json; with --check it only
says whether that part is as the file has it. Nothing in the tables is typed by hand.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from benchmarks.attacks.contenders import STATED
from benchmarks.attacks.suite import Result
from benchmarks.compare.report import replaced, table

CHECKOUT: Final = Path(__file__).resolve().parents[2]
PAGE: Final = CHECKOUT / "docs" / "attacks.md"
FILE: Final = CHECKOUT / "benchmarks" / "results" / "attacks.json"
LONGEST_DESYNC: Final = 160

Json = dict[str, Any]


def summary(results: Mapping[str, Sequence[Result]]) -> Json:
    """`groups`: by group and contender, how many cases, wrong verdicts and cases with a desync. `deviations`: each case
    in which anybody was wrong, with what each did."""
    names = list(results)
    cases = [case for case, _, _ in results[names[0]]]
    groups: dict[str, dict[str, Json]] = {}
    deviations = []
    for number, case in enumerate(cases):
        seen = {}
        for name in names:
            outcome = results[name][number][2]
            counts = groups.setdefault(case.group, {}).setdefault(
                name, {"cases": 0, "right": 0, "wrong": 0, "desyncs": 0}
            )
            counts["cases"] += 1
            counts["wrong" if outcome.wrong else "right"] += 1
            counts["desyncs"] += bool(outcome.desyncs)
            seen[name] = {
                "verdict": str(outcome.verdict),
                "status": outcome.status,
                "wrong": outcome.wrong,
                "desyncs": [text[:LONGEST_DESYNC] for text in outcome.desyncs[:3]],
            }
        if any(one["wrong"] or one["desyncs"] for one in seen.values()):
            deviations.append(
                {
                    "case": case.id,
                    "what": case.what,
                    "source": case.source,
                    "right": sorted(case.right),
                    "seen": seen,
                }
            )
    return {"cases": len(cases), "groups": groups, "deviations": deviations}


def render(found: Json) -> str:
    """The part of the page between its markers."""
    names = list(found["versions"])
    changed = " with changes" if found["changed"] else ""
    lines = [f"{found['cases']} cases, {found['began'][:10]}, commit {found['commit'][:12]}{changed}.", ""]
    rows = [["proxy", "version", "right verdicts", "wrong verdicts", "desyncs"]]
    for name in names:
        total = {
            key: sum(group[name][key] for group in found["groups"].values()) for key in ("right", "wrong", "desyncs")
        }
        rows.append([name, found["versions"][name], *(str(total[key]) for key in total)])
    lines += [*table(rows), "", "Configurations:", ""]
    lines += [f"- {name}: {STATED[name]}." for name in names]
    lines.append("")
    for name, reason in found["left_out"].items():
        lines += [f"Without {name}: {reason}.", ""]
    lines += ["By class, wrong verdicts and desyncs of each:", ""]
    rows = [["class", "cases", *names]]
    for group, counts in found["groups"].items():
        first = next(iter(counts.values()))
        rows.append([group, str(first["cases"]), *(_count(counts[name]) for name in names)])
    lines += [*table(rows), "", "## Each case in which anybody deviates", ""]
    lines.append("Empty: right. A verdict alone is a wrong one; **desync** stands with what was out of step.")
    for group in found["groups"]:
        rows = [["case", "what", "wanted", *names]]
        for deviation in found["deviations"]:
            if deviation["case"].startswith(f"{group}/"):
                rows.append(
                    [
                        _cell(deviation["case"].partition("/")[2]),
                        _cell(deviation["what"]),
                        f"{' or '.join(deviation['right'])}: {_cell(deviation['source'])}",
                        *(_did(deviation["seen"][name]) for name in names),
                    ]
                )
        if len(rows) > 1:
            lines += ["", f"### {group}", "", *table(rows)]
    return "\n".join(lines) + "\n"


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.attacks.report", description=__doc__.splitlines()[0])
    parser.add_argument("--check", action="store_true", help="change nothing; exit 1 when the page is out of date")
    options = parser.parse_args(arguments)
    page = PAGE.read_text()
    wanted = replaced(page, render(json.loads(FILE.read_text())))
    if options.check:
        if wanted != page:
            print(f"{PAGE} does not show what {FILE} holds; run `python -m benchmarks.attacks.report`")
        return int(wanted != page)
    PAGE.write_text(wanted)
    return 0


def _count(counts: Json) -> str:
    if not counts["wrong"] and not counts["desyncs"]:
        return "0"
    return f"{counts['wrong']}" + (f", {counts['desyncs']} desync" if counts["desyncs"] else "")


def _did(one: Json) -> str:
    text = _cell(one["wrong"].partition(" instead of ")[0])
    if one["desyncs"]:
        text = f"{text}; " if text else ""
        text += f"**desync**: {_cell(one['desyncs'][0])}"
    return text


def _cell(text: str) -> str:
    printable = "".join(character if character.isprintable() else "?" for character in text)
    return " ".join(printable.split()).replace("|", "\\|").replace("<", "&lt;").replace("`", "'")


if __name__ == "__main__":
    sys.exit(main())
