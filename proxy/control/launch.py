"""How `hivemesh run` becomes the supervisor.

The command replaces itself with a fresh interpreter that loads the supervisor and nothing else: a process that stays
for months should not carry what the command line needed. What has to be looked up once happens here, before that.
"""

from __future__ import annotations

import importlib.metadata
import os
import sys
from typing import NoReturn

from proxy.control.children import environment

DISTRIBUTION = "hivemesh"
OUR_NAMES = ("discovery", "mesh", "proxy")


def name_conflict() -> str | None:
    """One sentence if another installed distribution claims an import name of ours, and may have overwritten us."""
    owners = importlib.metadata.packages_distributions()
    for name in OUR_NAMES:
        others = sorted({owner for owner in owners.get(name, ()) if owner.lower() != DISTRIBUTION})
        if others:
            return (
                f"the Python package {name!r} is also installed by {', '.join(others)}, which overwrites files of "
                f"{DISTRIBUTION}: install {DISTRIBUTION} in an environment of its own"
            )
    return None


def run(config: str) -> NoReturn:
    """Become the supervisor of `config`. Returns never; exits with 1 when the installation is not usable."""
    conflict = name_conflict()
    if conflict is not None:
        sys.exit(f"hivemesh: {conflict}")
    sys.stdout.flush()
    arguments = [sys.executable, "-P", "-m", "proxy.control.supervisor", config]
    os.execve(sys.executable, arguments, environment())
