"""Runs all that `make test` checks as jobs, two at a time, and shows the end of what each printed.

Usage: suite.py DIRECTORY..., the directories of tests/ whose tests are the same in both forms: they run once, with the
compiled modules. All others run twice, the second time in build/pure, where everything but the kernels is interpreted.
Jobs are taken from one queue, the long ones first, so that both places are busy to the end whatever the machine. What a
job printed is in build/NAME.log. JOBS is how many run at a time.
"""

from __future__ import annotations

import os
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
LOGS = ROOT / "build"
PURE = LOGS / "pure"

# Parts of the compiled run, the longest first. What none of them names runs as one more part, after the first of them;
# so nothing is left out.
PARTS = {
    "proofs": ("e2e/proofs",),
    "http": ("e2e/http1",),
    "program": ("e2e",),
    "cli": ("proxy/cli", "docs"),
    "control": ("proxy/control", "benchmarks"),
}

# A passed job shows its summary, a failed one what led to it.
LINES_OF_PASSED = 6
LINES_OF_FAILED = 120


@dataclass(frozen=True)
class Job:
    """A command, where it runs, and the name of its log."""

    name: str
    command: tuple[str, ...]
    directory: Path = ROOT


@dataclass(frozen=True)
class Done:
    """What became of a job: its exit code, and the seconds it took."""

    job: Job
    code: int
    seconds: float

    @property
    def log(self) -> Path:
        return LOGS / f"{self.job.name}.log"


def pytest(name: str, *arguments: str, directory: Path = ROOT) -> Job:
    return Job(name, (sys.executable, "-m", "pytest", *arguments), directory)


def ignored(directories: list[str]) -> list[str]:
    return [f"--ignore=tests/{directory}" for directory in directories]


def parts() -> list[Job]:
    """The compiled tests, each in exactly one job: a part leaves out what a part within it has."""
    named = [directory for directories in PARTS.values() for directory in directories]
    jobs = []
    for name, directories in PARTS.items():
        within = [other for other in named if any(other.startswith(f"{own}/") for own in directories)]
        jobs.append(pytest(f"compiled-{name}", *(f"tests/{own}" for own in directories), *ignored(within)))
    return [jobs[0], pytest("compiled-rest", *ignored(named)), *jobs[1:]]


def jobs(same_in_both: list[str]) -> list[Job]:
    """Everything, in the order in which it is begun."""
    python = sys.executable
    return [
        pytest("interpreted", *ignored(same_in_both), directory=PURE),
        *parts(),
        Job("image-check", (python, "tools/check_image.py")),
        Job("types", (python, "-m", "mypy")),
        Job("types-of-tools", (python, "-m", "mypy", "--strict", "conftest.py", "tools", "examples/demo")),
        Job("lint", (python, "-m", "ruff", "check", ".")),
        Job("format", (python, "-m", "ruff", "format", "--check", ".")),
    ]


def run(job: Job) -> Done:
    begun = time.monotonic()
    with (LOGS / f"{job.name}.log").open("wb") as log:
        code = subprocess.run(
            job.command, cwd=job.directory, stdin=subprocess.DEVNULL, stdout=log, stderr=subprocess.STDOUT
        ).returncode
    return Done(job, code, time.monotonic() - begun)


def show(done: Done) -> None:
    lines = done.log.read_text(errors="replace").rstrip("\n").split("\n")
    print(f"== {done.job.name}: {'failed' if done.code else 'passed'} after {done.seconds:.0f} s", flush=True)
    print("\n".join(lines[-(LINES_OF_FAILED if done.code else LINES_OF_PASSED) :]), flush=True)


def main(same_in_both: list[str]) -> int:
    missing = [directory for directory in same_in_both if not (ROOT / "tests" / directory).exists()]
    if missing:
        print(f"suite: tests/ has no {', '.join(missing)}", file=sys.stderr)
        return 2
    failed = []
    with ThreadPoolExecutor(int(os.environ.get("JOBS", "2"))) as pool:
        running = [pool.submit(run, job) for job in jobs(same_in_both)]
        try:
            for future in as_completed(running):
                done = future.result()
                show(done)
                if done.code:
                    failed.append(done)
        except KeyboardInterrupt:
            pool.shutdown(cancel_futures=True)  # the jobs that run are interrupted as well
            raise
    # What failed comes last, where it is looked for.
    for done in failed:
        show(done)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
