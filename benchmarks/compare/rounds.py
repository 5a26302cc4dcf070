"""One work from start to result: rounds over its lanes in turn, each on a fresh start of its proxy.

A lane that is not installed, does not start or is not answered correctly is left out with one sentence, and the others
go on; its earlier samples go too, since a lane is only ever compared with lanes of the same rounds.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Final

from benchmarks.compare import machine, summary
from benchmarks.compare.bench import LOAD_CORE, PROXY_CORE, Bench, Lane, Running, StartFailed
from benchmarks.compare.load import LoadFailed
from benchmarks.compare.measures import Sample
from benchmarks.compare.works import Work

FORMAT: Final = 1

# The busiest that a core may be before a run for its numbers to be worth keeping.
QUIET_SHARE: Final = 0.05

# Lines of an access log per answered request below which the log was not really on.
LOGGED_SHARE: Final = 0.99

Say = Callable[[str], None]


def run(work: Work, bench: Bench, rounds: int, peers: frozenset[str], say: Say) -> dict[str, object]:
    """The content of a result file."""
    left_out: dict[str, str] = {}
    lanes = {}
    for lane in work.lanes:
        if lane.contender.name.partition(" ")[0] not in peers:
            continue
        lanes[lane.label] = lane
    busy = machine.busy_share((PROXY_CORE, LOAD_CORE), 0.2 if bench.smoke else 1.0)
    if max(busy.values()) > QUIET_SHARE:
        say(f"  the machine is not quiet: {_shares(busy)}; these numbers are not to be kept")
    samples: dict[str, list[Sample]] = {}
    begun = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
    bench.notes.clear()
    try:
        if work.prepare is not None:
            work.prepare(bench)
    except (StartFailed, LoadFailed) as problem:
        left_out = {label: str(problem) for label in lanes}
        say(f"  {work.name} cannot run: {problem}")
    for label, lane in lanes.items():
        if label not in left_out and (reason := lane.contender.missing()):
            left_out[label] = reason
            say(f"  without {label}: {reason}")
    versions = {lane.contender.name: lane.contender.version() for lane in lanes.values() if lane.label not in left_out}
    for turn in range(rounds):
        for label in summary.rotated([label for label in lanes if label not in left_out], turn):
            try:
                sample = _sample(work, bench, lanes[label])
            except (StartFailed, LoadFailed) as problem:
                left_out[label] = str(problem)
                samples.pop(label, None)
                say(f"  without {label}: {problem}")
                continue
            samples.setdefault(label, []).append(sample)
            say(f"  round {turn + 1}/{rounds}  {label:<24} {_line(sample, work.metric)}")
    return {
        "format": FORMAT,
        "work": work.name,
        "question": work.question,
        "metric": work.metric,
        "begun": begun,
        "smoke": bench.smoke,
        "rounds": rounds,
        "seconds": bench.seconds,
        **machine.commit(),
        "machine": {**machine.describe(), "busy_before": {str(core): share for core, share in busy.items()}},
        "versions": {**versions, **machine.tool_versions()},
        "notes": dict(bench.notes),
        "left_out": left_out,
        **summary.summarise(samples, work.metric, work.comparisons),
    }


def write(result: dict[str, object], folder: Path) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{result['work']}.json"
    path.write_text(json.dumps(result, indent=1) + "\n")
    return path


def _sample(work: Work, bench: Bench, lane: Lane) -> Sample:
    running = bench.start(lane)
    try:
        try:
            sample = work.measure(bench, running)
        finally:
            running.process.end()
        if lane.access_log:
            _check_log(running)
        return sample
    finally:
        bench.forget(running)


def _check_log(running: Running) -> None:
    """Called when the proxy has ended and so has written what it held back."""
    path = running.setup.access_log
    assert path is not None
    lines = path.read_bytes().count(b"\n") if path.exists() else 0
    if lines < LOGGED_SHARE * running.answered:
        raise LoadFailed(f"the access log has {lines} lines for {running.answered} requests")


def _line(sample: Sample, metric: str) -> str:
    rest = "  ".join(f"{name}={value:.4g}" for name, value in sample.items() if name != metric)
    return f"{metric}={sample[metric]:.6g}  {rest}"


def _shares(busy: dict[int, float]) -> str:
    return ", ".join(f"core {core} is {100 * share:.0f} % busy" for core, share in busy.items())
