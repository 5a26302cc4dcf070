"""Makes build/fuzz, a copy of the checkout whose compiled modules watch their memory and tell which branches ran.

clang builds them with AddressSanitizer, the checks of UndefinedBehaviorSanitizer that atheris' runtime knows, and
libFuzzer's counters of edges. Such modules load only where that runtime is preloaded (fuzz/engine.py does it), so the
checkout's own are left alone. As tools/pure_tree.py: what did not change is not compiled again.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

from tools.pure_tree import ROOT, bring_up_to_date

TREE = ROOT / "build" / "fuzz"

# Newer than 11, for the counters; the first that is there is taken.
COMPILERS = ("clang-19", "clang-18", "clang-17", "clang-16", "clang-15", "clang-14", "clang")

# Of `undefined` what finds mistakes in kernels: not what needs a runtime of the same release ("function"), what
# Cython's own code does on purpose (NULL + 0, "pointer-overflow"), or what AddressSanitizer finds as well ("null").
UNDEFINED = "alignment,bounds,float-cast-overflow,integer-divide-by-zero,return,shift,unreachable,vla-bound"
SANITIZE = f"fuzzer-no-link,address,{UNDEFINED}"


def compiler() -> str:
    """The compiler to use; exits when there is none."""
    for name in COMPILERS:
        if shutil.which(name):
            return name
    sys.exit("fuzzing needs clang and its runtime (on Debian: apt install clang-19 libclang-rt-19-dev)")


def make() -> Path:
    clang = compiler()
    TREE.mkdir(parents=True, exist_ok=True)
    bring_up_to_date(TREE)
    ccache = "ccache " if shutil.which("ccache") else ""
    environment = {
        **os.environ,
        "CC": f"{ccache}{clang}",
        "LDSHARED": f"{clang} -shared",
        "HIVEMESH_SANITIZE": SANITIZE,
        # What is fuzzed is run ten million times, and compiled once.
        "HIVEMESH_OPTIMISATION": "-O1",
    }
    if subprocess.run(
        [sys.executable, "setup.py", "-q", "build_ext", "--inplace"], cwd=TREE, env=environment
    ).returncode:
        sys.exit("the modules could not be compiled for fuzzing")
    return TREE
