"""`python -m benchmarks.soak [--minutes N] [--seed S]`: carry it out and write benchmarks/results/soak.json."""

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

from benchmarks.proofs.evidence import RESULTS, Evidence, ProofError
from benchmarks.soak.run import PROMISE, plan_for, short_plan, soak


def parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.soak", description=PROMISE)
    parser.add_argument("--minutes", type=float, default=60.0, help="of traffic (default: %(default)s)")
    parser.add_argument("--seed", type=int, help="of the schedule and of all names (default: drawn)")
    parser.add_argument("--short", action="store_true", help="every event once, as the test does; not written")
    parser.add_argument("--results", type=Path, default=RESULTS, help="folder of soak.json")
    parser.add_argument("--keep", action="store_true", help="keep the folder with configuration and logs")
    options = parser.parse_args(arguments)
    if not options.short and not 0.1 <= options.minutes <= 24 * 60:
        parser.error(f"--minutes {options.minutes:g}: expected 0.1 to {24 * 60}")
    return options


def main(arguments: Sequence[str] | None = None) -> int:
    options = parse(arguments)
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # whoever ends us, our parts end first
    seed = options.seed if options.seed is not None else time.time_ns() % 1_000_000
    plan = short_plan(seed) if options.short else plan_for(options.minutes, seed)
    folder = Path(tempfile.mkdtemp(prefix="soak-"))

    def say(line: str) -> None:
        print(line, flush=True)

    evidence = Evidence("soak", PROMISE, options.short, say)
    try:
        soak(evidence, folder, plan, say)
    except ProofError as problem:
        notes = "".join(f"\n{note}" for note in getattr(problem, "__notes__", ()))
        print(f"seed {seed}: could not be carried out: {problem}{notes}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("interrupted; everything that was started has been ended", file=sys.stderr)
        return 130
    finally:
        if options.keep:
            say(f"kept: {folder}")
        else:
            shutil.rmtree(folder, ignore_errors=True)
    if not options.short:
        options.results.mkdir(parents=True, exist_ok=True)
        (options.results / "soak.json").write_text(json.dumps(evidence.as_json(), indent=1) + "\n")
    return 0 if evidence.holds else 1


if __name__ == "__main__":
    sys.exit(main())
