"""libFuzzer, through atheris, over one target: started, watched, and what it found put down.

The target runs in a process of its own in build/fuzz. What the engine finds worth keeping goes to
build/fuzz-work/TARGET; `minimise` leaves of it what adds coverage and is small, which is what fuzz/corpus/TARGET holds.
"""

from __future__ import annotations

import contextlib
import importlib
import importlib.util
import os
import re
import shutil
import subprocess
import sys
import time
from pathlib import Path
from typing import NamedTuple

from fuzz.corpus import files_of, keep, name_of
from fuzz.targets import BY_NAME
from fuzz.tree import ROOT, TREE

WORK = ROOT / "build" / "fuzz-work"

# What one input may take: ten times what the slowest takes on a busy machine. And memory that is more than a leak away
# from what a target needs.
TIMEOUT = 25
MEMORY_MB = 3000

INTERRUPTED = 72  # libFuzzer's exit code after SIGINT: as far as it came

_STATE = re.compile(r"^#(\d+)\s+\w+\s+cov: (\d+) ft: (\d+) corp: (\d+)")
_FINAL = re.compile(r"^stat::number_of_executed_units:\s+(\d+)")


class Outcome(NamedTuple):
    """edges: of the compiled code, and branches of what `Target.python` lists. features: edges with how often, and
    comparisons. finding: "" or what came out; input: the file that leads to it."""

    target: str
    executions: int
    seconds: float
    edges: int
    features: int
    finding: str
    input: str


def runtime() -> Path:
    """The runtime of AddressSanitizer and libFuzzer in one, as atheris brings it."""
    found = importlib.util.find_spec("atheris")
    if found is None or found.origin is None:
        sys.exit(f"fuzzing needs atheris ({sys.executable} -m pip install atheris)")
    return Path(found.origin).parent.parent / "asan_with_fuzzer.so"


def environment() -> dict[str, str]:
    return {
        **os.environ,
        "LD_PRELOAD": str(runtime()),
        # Python keeps much until it ends; leaks are found by tests of their own.
        "ASAN_OPTIONS": "detect_leaks=0:symbolize=0:allocator_may_return_null=1",
        "UBSAN_OPTIONS": "print_stacktrace=1",
        "PYTHONPATH": str(TREE),
        "PYTHONHASHSEED": "0",
    }


def fuzz(name: str, executions: int, seconds: int, log: Path) -> Outcome:
    """Run the target until so many executions or seconds are over, or something is found."""
    target = BY_NAME[name]
    module = importlib.import_module(f"fuzz.targets.{name}")
    work = WORK / name / "corpus"
    work.mkdir(parents=True, exist_ok=True)
    for data in [*module.SEEDS, *files_of(name).values()]:
        (work / name_of(data)).write_bytes(data)
    words = WORK / name / "words.dict"
    words.write_text("".join('"' + "".join(map("\\x{:02x}".format, word)) + '"\n' for word in module.WORDS))
    command = [
        *(sys.executable, "-m", "fuzz.child", name),
        f"-runs={executions}",
        f"-max_total_time={seconds}",
        f"-max_len={target.largest}",
        f"-dict={words}",
        f"-timeout={TIMEOUT}",
        f"-rss_limit_mb={MEMORY_MB}",
        f"-artifact_prefix={WORK / name}/",
        *("-print_final_stats=1", "-reload=0", str(work)),
    ]
    begun = time.monotonic()
    with log.open("w") as out:
        code = subprocess.run(command, cwd=TREE, env=environment(), stdout=out, stderr=subprocess.STDOUT).returncode
    return read_log(name, log.read_text(errors="replace"), code, time.monotonic() - begun)


def read_log(name: str, text: str, code: int, seconds: float) -> Outcome:
    executed = edges = features = 0
    for line in text.splitlines():
        state = _STATE.match(line)
        if state is not None:
            executed, edges, features = (int(state[group]) for group in (1, 2, 3))
        final = _FINAL.match(line)
        if final is not None:
            executed = int(final[1])
    finding = found = ""
    if code not in (0, INTERRUPTED):
        lines = text.splitlines()
        finding = next((line for line in lines if re.match(r"fuzz\.|\w+(\.\w+)*(Error|Exception|Finding)\b", line)), "")
        finding = finding or next(
            (line for line in lines if "ERROR:" in line or "runtime error" in line), f"exit {code}"
        )
        found = next((line.rpartition("Test unit written to ")[2] for line in lines if "Test unit written" in line), "")
    return Outcome(name, executed, seconds, edges, features, finding, found)


def minimise(name: str) -> tuple[int, int]:
    """Bring what was found into fuzz/corpus/TARGET: files and bytes there."""
    merged, found = WORK / name / "merged", WORK / name / "found"
    for folder in (merged, found):
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
    for path in (WORK / name / "corpus").iterdir():
        with contextlib.suppress(FileNotFoundError):  # a run that goes on replaces files by smaller ones
            shutil.copyfile(path, found / path.name)
    command = [*(sys.executable, "-m", "fuzz.child", name), "-merge=1", f"-max_len={BY_NAME[name].largest}"]
    with (WORK / name / "merge.log").open("w") as out:
        subprocess.run(
            [*command, str(merged), str(found)],
            cwd=TREE,
            env=environment(),
            stdout=out,
            stderr=subprocess.STDOUT,
            check=True,
        )
    return keep(name, [path.read_bytes() for path in sorted(merged.iterdir())])
