"""`python -m benchmarks.faults`: every script under every fault for every n, and the start of the program as well.

Writes benchmarks/results/faults.json. `--scripts` and `--calls` pick some by name, and then nothing is written without
`--results`.
"""

from __future__ import annotations

import argparse
import json
import shutil
import signal
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from benchmarks.compare import machine
from benchmarks.faults import scripts, starting, table
from benchmarks.faults.asking import RIGHT
from benchmarks.faults.control import Control
from benchmarks.faults.loop import Result, run
from benchmarks.faults.stage import Stage
from benchmarks.proofs.evidence import RESULTS, ProofError

FORMAT: Final = 1
MIB: Final = 1024 * 1024
# Growth of a process over all runs, which a leak of a hundred bytes per run would exceed. What a process that has met
# everything once keeps (buffers, caches, code that is imported late) is less.
MOST_GROWTH: Final = 6 * MIB


def warm_up(stage: Stage, loops: Sequence[table.Loop]) -> None:
    """Everything is used twice before what there is counts as what there is at rest. Raises ProofError."""
    for script in (scripts.admin, *dict.fromkeys(loop.script for loop in loops)):
        for _ in range(2):
            outcome = script(stage)
            if outcome != RIGHT:
                raise ProofError(f"{script.__name__} does not work without a fault: {outcome}")
    stage.settle()


def carry_out(folder: Path, loops: Sequence[table.Loop], result: Result) -> dict[str, object]:
    """What is only known at the end: growth of each process in bytes."""
    control = Control(folder)
    with Stage(folder, control) as stage:
        warm_up(stage, loops)
        before: dict[str, int] = {}
        began = time.monotonic()
        for number, loop in enumerate(loops):
            runs, findings = result.runs, len(result.findings)
            run(stage, loop, result)
            print(f"{number + 1}/{len(loops)} {loop}: {result.runs - runs} runs", flush=True)
            for finding in result.findings[findings:]:
                print(f"  WRONG  {finding}", flush=True)
            if number == len(loops) // 4:
                before = stage.memory()
        growth = {name: size - before.get(name, size) for name, size in stage.memory().items()}
        for name, size in growth.items():
            if size > MOST_GROWTH and not any(loop.may_die for loop in loops):
                result.findings.append(f"the {name} has grown by {size} bytes")
        return {"growth": growth, "seconds": round(time.monotonic() - began, 1)}


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.faults", description="The n-th call fails")
    parser.add_argument("--scripts", help="names, separated by commas (default: all)")
    parser.add_argument("--calls", help="kinds of calls, separated by commas (default: all)")
    parser.add_argument("--results", type=Path, help="folder for faults.json (default: benchmarks/results)")
    options = parser.parse_args(arguments)
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    wanted = set(options.scripts.split(",")) if options.scripts else None
    calls = set(options.calls.split(",")) if options.calls else None
    loops = [
        loop
        for loop in table.loops()
        if (wanted is None or loop.script.__name__ in wanted)
        and (calls is None or loop.fault.call.name.lower() in calls)
    ]
    folder = Path(tempfile.mkdtemp(prefix="faults-"))
    began = time.time()
    result, start = Result(), Result()
    numbers: dict[str, object] = {}
    try:
        if loops:
            numbers = carry_out(folder, loops, result)
        if wanted is None or "start" in wanted:
            starting.carry_out(folder, start)
    except ProofError as problem:
        print(f"could not be carried out: {problem}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("interrupted; everything that was started has been ended", file=sys.stderr)
        return 130
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    findings = result.findings + start.findings
    told = {
        "format": FORMAT,
        "holds": not findings,
        "began": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(began)),
        "seconds": round(time.time() - began, 1),
        **machine.commit(),
        "machine": machine.describe(),
        "loops": len(loops),
        "scripts": len({loop.script for loop in loops}),
        **result.as_json(),
        **numbers,
        "start": start.as_json(),
        "findings": findings,
    }
    print(json.dumps({key: told[key] for key in ("holds", "seconds", "loops", "runs", "met", "outcomes")}, indent=1))
    if options.results is not None or (wanted is None and calls is None):
        target = (options.results or RESULTS) / "faults.json"
        target.write_text(json.dumps(told, indent=1) + "\n")
    for finding in findings:
        print(f"WRONG  {finding}")
    return 1 if findings else 0


if __name__ == "__main__":
    sys.exit(main())
