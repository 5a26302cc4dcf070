"""Runs tests with all compiled modules built under AddressSanitizer and UndefinedBehaviorSanitizer.

The modules are built in a copy of the checkout (pure_tree.py), and pytest runs there. The runtime of the sanitizers is
loaded first into every process that a test starts (LD_PRELOAD is inherited), and Python's own objects come from malloc,
so that the one past the end of a `bytes` is a finding as well. A finding ends its process and is written to a file; the
plugin findings.py looks at these files after each test, so a worker's finding fails the test that it happened under.

    sanitized.py [ARGUMENTS OF PYTEST]      the whole suite without arguments
    sanitized.py --result FILE [...]        writes tests, seconds and findings to FILE as well

What is not watched: the interpreter and the libraries are not built with the sanitizers, so of what they do only calls
that the runtime knows (memcpy, recv) and the lifetime of what they allocate are checked. Leaks are not looked for: the
interpreter itself leaves thousands of blocks behind.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from findings import DIRECTORY, findings_in
from pure_tree import ROOT, bring_up_to_date

COPY = ROOT / "build" / "sanitized"
FINDINGS = ROOT / "build" / "findings"
LOGS = ROOT / "build" / "sanitized-logs"
SANITIZERS = "address,undefined"
RUNTIMES = ("libasan.so", "libubsan.so")
BUILD = {
    "HIVEMESH_SANITIZE": os.environ.get("HIVEMESH_SANITIZE", SANITIZERS),
    "HIVEMESH_OPTIMISATION": os.environ.get("HIVEMESH_OPTIMISATION", "-O1"),
}

OPTIONS = {
    "halt_on_error": 1,
    "exitcode": 99,
    "log_exe_name": 1,  # peers such as nginx inherit the runtime: what they do is not ours
    "print_stacktrace": 1,
}
ADDRESS_OPTIONS = {
    "detect_leaks": 0,
    "detect_stack_use_after_return": 1,
    "strict_string_checks": 1,
    "allocator_may_return_null": 1,  # Python makes a MemoryError of it
    "handle_segv": 1,
    "handle_abort": 1,  # how a finding of the other one ends, see UNDEFINED_OPTIONS
    "malloc_context_size": 12,
    "quarantine_size_mb": 64,  # freed blocks that are watched; a process has that much more memory
}

# GCC's libubsan writes to standard error only where libasan is there as well; so its finding is an abort, which libasan
# reports to its file, with the place.
UNDEFINED_OPTIONS = {"abort_on_error": 1}

NO_TESTS = 5  # pytest's exit code when all of a group are left out

# Left out, each with its reason. What is measured is not true of a program that is three times as slow and large.
LEFT_OUT: Mapping[str, str] = {
    "tests/e2e/proofs/test_big_body.py": "bounds the memory of a worker; freed blocks are kept to be watched",
    "tests/e2e/proofs/test_tap.py::test_who_does_not_read_slows_nobody_and_fills_no_memory": "the same",
    "tests/proxy/kernel/test_dnswire_properties.py::test_a_hundred_thousand_bad_messages_cost_nothing_that_stays": (
        "the same, of the process of the test"
    ),
}


def runtimes() -> list[str]:
    """Paths of the libraries that must be loaded first; empty where the compiler has none."""
    compiler = os.environ.get("CC", "gcc").split()[-1]
    paths = []
    for name in RUNTIMES:
        answer = subprocess.run([compiler, f"-print-file-name={name}"], capture_output=True, text=True)
        path = Path(answer.stdout.strip())
        if answer.returncode or not path.is_absolute():
            return []
        paths.append(str(path.resolve()))
    return paths


def environment(findings: Path) -> dict[str, str]:
    """What a process needs to load sanitized modules, and to write its findings below `findings`."""

    def text(options: Mapping[str, object]) -> str:
        return ":".join(f"{name}={value}" for name, value in {**OPTIONS, **options}.items())

    where = {"log_path": findings / "finding"}
    return {
        "LD_PRELOAD": ":".join(runtimes()),
        "PYTHONMALLOC": "malloc",
        "HIVEMESH_PATIENCE": os.environ.get("HIVEMESH_PATIENCE", "6"),
        "ASAN_OPTIONS": text({**where, **ADDRESS_OPTIONS}),
        "UBSAN_OPTIONS": text({**where, **UNDEFINED_OPTIONS}),
        DIRECTORY: str(findings),
    }


def build() -> int:
    """The copy brought up to date; what was built with other flags is built anew."""
    COPY.mkdir(parents=True, exist_ok=True)
    bring_up_to_date(COPY)
    flags, said = COPY / ".flags", json.dumps(BUILD)
    if not flags.exists() or flags.read_text() != said:
        for binary in COPY.rglob("*.so"):
            binary.unlink()
        shutil.rmtree(COPY / "build", ignore_errors=True)
        flags.write_text(said)
    command = [sys.executable, "setup.py", "-q", "build_ext", "--inplace"]
    return subprocess.run(command, cwd=COPY, env={**os.environ, **BUILD}).returncode


def groups() -> list[str]:
    """Files and directories of tests that run in a process of their own: a finding there ends no more than that. Those
    of compiled modules come first."""
    found: list[Path] = []
    first = {"proxy": 0, "mesh": 1, "e2e": 2}
    for path in sorted((COPY / "tests").iterdir(), key=lambda path: (first.get(path.name, 9), path)):
        is_large = path.name in ("proxy", "e2e")
        found += sorted(path.iterdir()) if is_large else [path]
    return [
        str(path.relative_to(COPY))
        for path in found
        if path.name.startswith("test_") or (path.is_dir() and any(path.rglob("test_*.py")))
    ]


def run_group(group: list[str]) -> tuple[int, Counter[str]]:
    """pytest's exit code, and how many tests there were, by what became of them."""
    name = re.sub(r"\W+", "-", " ".join(group))
    report, log = LOGS / f"{name}.xml", LOGS / f"{name}.log"
    options = ["-p", "tools.findings", f"--junitxml={report}", *(f"--deselect={each}" for each in LEFT_OUT)]
    command = [sys.executable, "-m", "pytest", *options, *group]
    began = time.monotonic()
    with log.open("wb") as output:
        code = subprocess.run(
            command, cwd=COPY, env={**os.environ, **environment(FINDINGS)}, stdout=output, stderr=subprocess.STDOUT
        ).returncode
    counts: Counter[str] = Counter()
    if report.exists():
        counts.update({name: int(value) for name, value in re.findall(r'(\w+)="(\d+)"', report.read_text()[:1000])})
    text = log.read_text(errors="replace")
    print(
        f"== {' '.join(group)}: {time.monotonic() - began:.0f} s, {text.splitlines()[-1] if text else code}", flush=True
    )
    for line in text.splitlines():
        if code and line.startswith(("FAILED", "ERROR")):
            print(line, flush=True)
    return code, counts


def run(arguments: list[str], result: Path | None) -> int:
    for folder in (FINDINGS, LOGS):
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
    FINDINGS.chmod(0o1777)  # tests give up privileges
    began = time.monotonic()
    chosen = [arguments] if arguments else [[group] for group in groups()]
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        done = list(pool.map(run_group, chosen))
    counts = sum((each for _, each in done), Counter())
    failed = [" ".join(group) for group, (code, _) in zip(chosen, done, strict=True) if code not in (0, NO_TESTS)]
    found = findings_in(FINDINGS)
    for finding in found:
        print(finding)
    if result is not None:
        said = {
            "sanitizers": BUILD["HIVEMESH_SANITIZE"],
            "optimisation": BUILD["HIVEMESH_OPTIMISATION"],
            "modules": len([path for path in COPY.rglob("*.so") if "build" not in path.relative_to(COPY).parts]),
            "groups": len(chosen),
            "tests": counts["tests"],
            "failed": counts["failures"] + counts["errors"],
            "skipped": counts["skipped"],
            "seconds": round(time.monotonic() - began),
            "load_average": [round(value, 1) for value in os.getloadavg()],
            "failed_groups": failed,
            "findings": found,
            "left_out": dict(LEFT_OUT),
        }
        result.write_text(json.dumps(said, indent=1) + "\n")
    return 1 if failed or found else 0


def main(arguments: list[str]) -> int:
    if not runtimes():
        print("the compiler has no libasan and libubsan (on Debian they come with gcc)", file=sys.stderr)
        return 2
    result = None
    if arguments[:1] == ["--result"]:
        result, arguments = Path(arguments[1]).resolve(), arguments[2:]
    return build() or run(arguments, result)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
