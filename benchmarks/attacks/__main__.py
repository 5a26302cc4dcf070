"""`python -m benchmarks.attacks`: the whole table against every proxy that is here, the result file and the page."""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

from benchmarks.attacks import report
from benchmarks.attacks.cases import CASES
from benchmarks.attacks.contenders import CONTENDERS
from benchmarks.attacks.pieces import in_pieces
from benchmarks.attacks.suite import Result, run
from benchmarks.compare import machine

# Proxies that rightly do nothing are waited for; on a quiet machine a second is long.
PATIENCE_OF_PEERS = 2.0


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.attacks", description=__doc__)
    parser.add_argument("--peers", default=",".join(CONTENDERS), help="which proxies, with commas (default: all)")
    parser.add_argument("--cases", default="", help="only cases whose id holds this; shown in full, and not written")
    parser.add_argument("--pieces", type=int, metavar="SEED", help="cut what clients send at random; not written")
    options = parser.parse_args(arguments)
    names = options.peers.split(",")
    if unknown := [name for name in names if name not in CONTENDERS]:
        parser.error(f"unknown proxy {unknown[0]!r}, expected any of: {', '.join(CONTENDERS)}")
    cases = [case for case in CASES if options.cases in case.id]
    if options.pieces is not None:
        cases = in_pieces(cases, options.pieces)
    began = time.time()
    results: dict[str, list[Result]] = {}
    left_out = {}
    for name in names:
        contender = CONTENDERS[name]
        if reason := contender.missing():
            left_out[name] = reason
            print(f"{name}: left out, {reason}")
            continue
        with tempfile.TemporaryDirectory(prefix=f"attacks-{name}-") as folder:
            started = time.monotonic()
            results[name] = run(contender, cases, Path(folder), PATIENCE_OF_PEERS)
        outcomes = [outcome for _, _, outcome in results[name]]
        wrong = sum(bool(outcome.wrong) for outcome in outcomes)
        desyncs = sum(bool(outcome.desyncs) for outcome in outcomes)
        seconds = time.monotonic() - started
        print(
            f"{name}: {len(cases)} cases in {seconds:.0f} s, {wrong} wrong verdicts, {desyncs} with a desync",
            flush=True,
        )
        if options.cases:
            show(results[name])
    if not options.cases and options.pieces is None and set(names) == set(CONTENDERS):
        found = {
            "began": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(began)),
            **machine.commit(),
            "machine": machine.describe(),
            "noise": "nothing here is timed: a busy machine changes no verdict, but by proxies that are waited for",
            "versions": {name: CONTENDERS[name].version() for name in results},
            "left_out": left_out,
            **report.summary(results),
        }
        report.FILE.write_text(json.dumps(found, indent=1) + "\n")
        report.main([])
    ours = results.get("hivemesh", [])
    return int(any(outcome.wrong or outcome.desyncs for _, _, outcome in ours))


def show(results: Sequence[Result]) -> None:
    """All that was recorded."""
    for case, seen, outcome in results:
        print(f"\n{case.id}: {case.what} [{case.source}]")
        print(f"  sent: {case.sends}\n  answers: {case.answers}")
        print(f"  origin: {seen.connections}\n  client: {seen.received!r}{' end' if seen.ended else ''}")
        print(f"  {outcome.verdict} {outcome.status} {outcome.wrong or 'right'} {outcome.desyncs or ''}")


if __name__ == "__main__":
    sys.exit(main())
