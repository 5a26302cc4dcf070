"""`make fuzz`: every target, or those that are named, for so many executions each; benchmarks/results/fuzz.json.

python -m fuzz                                       all, ten million executions each
python -m fuzz --executions 100000 request_head      one of them, for a while
python -m fuzz --minimise request_head               bring what was found into the corpus
"""

from __future__ import annotations

import argparse
import fcntl
import json
import os
import sys
import time
from pathlib import Path

from benchmarks.compare.machine import commit, describe
from fuzz import tree
from fuzz.corpus import files_of
from fuzz.engine import WORK, Outcome, fuzz, minimise
from fuzz.targets import BY_NAME, TARGETS

RESULTS = tree.ROOT / "benchmarks" / "results" / "fuzz.json"
EXECUTIONS = 10_000_000
DAY = 86_400

BUILD = (
    "compiled modules by clang -O1 with AddressSanitizer, UndefinedBehaviorSanitizer and libFuzzer's counters of edges,"
    " under atheris; modules without a compiled form are counted by atheris' own instrumentation"
)


def write_results(outcome: Outcome) -> None:
    """Put the outcome in place of the target's earlier one."""
    with (WORK / "results.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        results = json.loads(RESULTS.read_text()) if RESULTS.exists() else {"targets": {}}
        results["machine"] = describe()
        results["build"] = BUILD
        results["goal"] = EXECUTIONS
        results["noise"] = "other work ran on both cores: executions are what counts, not their rate"
        files = files_of(outcome.target)
        results["targets"][outcome.target] = {
            "says": BY_NAME[outcome.target].says,
            "executions": outcome.executions,
            "seconds": round(outcome.seconds),
            "executions_per_second": round(outcome.executions / outcome.seconds),
            "edges": outcome.edges,
            "features": outcome.features,
            "corpus_files": len(files),
            "corpus_bytes": sum(map(len, files.values())),
            "finding": outcome.finding,
            "load": round(os.getloadavg()[2], 1),
            **commit(),
        }
        order = [target.name for target in TARGETS]
        results["targets"] = {name: results["targets"][name] for name in order if name in results["targets"]}
        RESULTS.write_text(json.dumps(results, indent=2) + "\n")


def main() -> int:
    parser = argparse.ArgumentParser(prog="make fuzz", description=__doc__.partition("\n")[0])
    parser.add_argument("targets", nargs="*", metavar="TARGET", help=f"of {', '.join(BY_NAME)}; all when none is named")
    parser.add_argument("--executions", type=int, default=EXECUTIONS, help="of each target (default %(default)s)")
    parser.add_argument("--seconds", type=int, default=DAY, help="at most, of each target")
    parser.add_argument("--minimise", action="store_true", help="bring what was found into the corpus")
    parser.add_argument("--no-build", action="store_true", help="take build/fuzz as it is")
    parser.add_argument("--no-results", action="store_true", help="a trial: write no results")
    options = parser.parse_args()
    unknown = [name for name in options.targets if name not in BY_NAME]
    if unknown:
        parser.error(f"no target is called {', '.join(unknown)}; there are {', '.join(BY_NAME)}")
    if not options.no_build:
        tree.make()
    failed = 0
    for name in options.targets or BY_NAME:
        WORK.joinpath(name).mkdir(parents=True, exist_ok=True)
        if options.minimise:
            print(f"{name}: {minimise(name)[0]} files")
            continue
        log = WORK / name / f"{time.strftime('%H%M%S')}.log"
        outcome = fuzz(name, options.executions, options.seconds, log)
        if not options.no_results:
            write_results(outcome)
        print(
            f"{name}: {outcome.executions:,} executions in {outcome.seconds:.0f} s, {outcome.edges} edges,"
            f" {outcome.features} features: {outcome.finding or 'nothing found'} {outcome.input}",
            flush=True,
        )
        failed += bool(outcome.finding)
    return 1 if failed else 0


if __name__ == "__main__":
    Path("build").mkdir(exist_ok=True)
    sys.exit(main())
