"""`python -m benchmarks.compare`: run works and write their results."""

from __future__ import annotations

import argparse
import json
import os
import signal
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from benchmarks.compare import idle, load, report, rounds
from benchmarks.compare.bench import LOAD_CORE, PROXY_CORE, Bench, StartFailed
from benchmarks.compare.contenders.hivemesh import CHECKOUT
from benchmarks.compare.works import CONTENDERS, DNS_CONTENDERS, NGINX, WORKS

SECONDS: Final = 5.0

# A smoke run shows that everything starts, answers and is read; its numbers go where no one mistakes them for results.
SMOKE_SECONDS: Final = 1.0
SMOKE_ROUNDS: Final = 1
SMOKE_RESULTS: Final = CHECKOUT / "build" / "compare-smoke"


def names(text: str, known: Sequence[str]) -> list[str]:
    """Split a list of names; an unknown one is an error that lists the known ones."""
    chosen = [word.strip() for word in text.split(",") if word.strip()]
    for word in chosen:
        if word not in known:
            raise argparse.ArgumentTypeError(f"unknown {word!r}, expected any of: {', '.join(known)}")
    return chosen


def parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    works = [work.name for work in WORKS]
    peers = list(dict.fromkeys(contender.name for contender in (*CONTENDERS, *DNS_CONTENDERS)))
    parser = argparse.ArgumentParser(prog="python -m benchmarks.compare", description="hivemesh beside other proxies")
    parser.add_argument("--rounds", type=int, help="rounds over all lanes (default: 5; latency 9; memory 3)")
    parser.add_argument("--seconds", type=float, help=f"length of one sample (default: {SECONDS:g}; whole seconds)")
    parser.add_argument("--works", type=lambda text: names(text, works), default=works, help=", ".join(works))
    parser.add_argument("--peers", type=lambda text: names(text, peers), default=peers, help=", ".join(peers))
    parser.add_argument("--smoke", action="store_true", help="one short round; results go to build/compare-smoke")
    parser.add_argument("--results", type=Path, help="folder for the JSON files (default: benchmarks/results)")
    options = parser.parse_args(arguments)
    if options.rounds is not None and options.rounds < 1:
        parser.error(f"--rounds {options.rounds}, expected at least 1")
    if options.seconds is not None and options.seconds < 1:
        parser.error(f"--seconds {options.seconds:g}, expected at least 1")
    return options


def main(arguments: Sequence[str] | None = None) -> int:
    options = parse(arguments)
    problems = [*load.missing(), *filter(None, [NGINX.missing()])]
    allowed = os.sched_getaffinity(0)
    if not {PROXY_CORE, LOAD_CORE} <= allowed:
        problems.append(f"cores {PROXY_CORE} and {LOAD_CORE} are needed, and this process may use {sorted(allowed)}")
    if problems:
        print("\n".join(problems), file=sys.stderr)
        return 1
    # However we are asked to end, what was started is ended first.
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.default_int_handler)
    idle.raise_descriptor_limit()
    seconds = options.seconds or (SMOKE_SECONDS if options.smoke else SECONDS)
    folder = options.results or (SMOKE_RESULTS if options.smoke else report.RESULTS)
    try:
        with Bench(seconds, options.smoke) as bench:
            for work in WORKS:
                if work.name not in options.works:
                    continue
                print(f"{work.name}: {work.question}", flush=True)
                turns = options.rounds or (SMOKE_ROUNDS if options.smoke else work.rounds)
                result = rounds.run(work, bench, turns, frozenset(options.peers), lambda line: print(line, flush=True))
                path = rounds.write(result, folder)
                print("\n".join(report.work_section(json.loads(path.read_text()))))
    except StartFailed as problem:
        print(f"the origin did not start: {problem}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("interrupted; everything that was started has been ended", file=sys.stderr)
        return 130
    return 0


if __name__ == "__main__":
    sys.exit(main())
