"""Tables of the last results: `python -m benchmarks.proofs.report [--check]`.

Rewrites the part of docs/reliability.md between its two markers from benchmarks/results/proof-*.json, soak.json, and
those of the comparisons under pressure; with --check it only says whether that part is as the files have it. Nothing in
the tables is typed by hand.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

from benchmarks.compare import report as compared
from benchmarks.compare.report import replaced, table
from benchmarks.proofs.evidence import RESULTS

# Works of benchmarks/compare whose results are shown here, too: what is promised of them is a comparison.
UNDER_PRESSURE: Final = ("overload", "health_storm")

PAGE: Final = Path(__file__).resolve().parents[2] / "docs" / "reliability.md"

Result = dict[str, Any]


def load_results(folder: Path, order: Sequence[str]) -> list[Result]:
    paths = [*(folder / f"proof-{name}.json" for name in order), folder / "soak.json"]
    return [json.loads(path.read_text()) for path in paths if path.exists()]


def render(results: Sequence[Result]) -> str:
    """The part of the page between its markers."""
    if not results:
        return "No results yet.\n"
    rows = [["proof", "holds", "claims", "seconds", "date", "commit"]]
    rows += [_summary(result) for result in results]
    lines = [*table(rows), ""]
    machine = {name: value for name, value in results[-1]["machine"].items()}
    lines.append("Machine: " + ", ".join(f"{name} {value}" for name, value in machine.items()) + ".")
    versions: dict[str, str] = {}
    for result in results:
        versions.update(result["versions"])
    lines.append("Versions: " + ", ".join(f"{name} {version}" for name, version in versions.items()) + ".")
    for result in results:
        lines += ["", f"### {result['proof']}", ""]
        lines += table([["claim", "found"], *([_claim(claim), _cell(claim["found"])] for claim in result["claims"])])
    return "\n".join(lines) + "\n"


def under_pressure(folder: Path) -> str:
    """The same of the works that are compared with another proxy."""
    lines: list[str] = []
    results = compared.load_results(folder, UNDER_PRESSURE)
    for result in (result for result in results if result["work"] in UNDER_PRESSURE):
        lines += ["", *compared.work_section(result)]
    return "\n".join(lines)


def main(arguments: Sequence[str] | None = None) -> int:
    from benchmarks.proofs.__main__ import PROOFS

    parser = argparse.ArgumentParser(prog="python -m benchmarks.proofs.report", description=__doc__.splitlines()[0])
    parser.add_argument("--check", action="store_true", help="change nothing; exit 1 when the page is out of date")
    parser.add_argument("--results", type=Path, default=RESULTS, help="folder of the JSON files")
    options = parser.parse_args(arguments)
    page = PAGE.read_text()
    shown = render(load_results(options.results, list(PROOFS))) + under_pressure(options.results)
    wanted = replaced(page, shown)
    if options.check:
        if wanted != page:
            print(f"{PAGE} does not show what {options.results} holds; run `python -m benchmarks.proofs.report`")
        return int(wanted != page)
    PAGE.write_text(wanted)
    return 0


def _summary(result: Result) -> list[str]:
    held = sum(claim["holds"] for claim in result["claims"])
    holds = ("yes" if result["holds"] else "**no**") + (" (short run)" if result["short"] else "")
    changed = " with changes" if result["changed"] else ""
    return [
        result["proof"],
        holds,
        f"{held} of {len(result['claims'])}",
        f"{result['seconds']:.0f}",
        result["began"][:10],
        result["commit"][:12] + changed,
    ]


def _claim(claim: dict[str, Any]) -> str:
    return _cell(claim["claim"]) if claim["holds"] else f"**fails:** {_cell(claim['claim'])}"


def _cell(text: str) -> str:
    return " ".join(text.split()).replace("|", "\\|")


if __name__ == "__main__":
    sys.exit(main())
