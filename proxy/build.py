"""What this program is: its version, and which modules of the request path run compiled.

A module belongs to the request path when it was written to be compiled: it has a `.pxd` beside it, or there is only
its binary. Which form wins on import is asked of the import system; nothing is imported to find out.
"""

from __future__ import annotations

import importlib.machinery
import importlib.metadata
import importlib.util
from functools import cache
from pathlib import Path

DISTRIBUTION = "hivemesh"
PACKAGES = ("discovery", "mesh", "proxy")

COMPILED = "compiled"
INTERPRETED = "interpreted"


@cache
def version() -> str:
    """The installed version; "unknown" when the packages run without having been installed."""
    try:
        return importlib.metadata.version(DISTRIBUTION)
    except importlib.metadata.PackageNotFoundError:
        return "unknown"


@cache
def modules() -> dict[str, str]:
    """`compiled` or `interpreted` for each module of the request path."""
    found = {}
    for name in _request_path():
        spec = importlib.util.find_spec(name)
        if spec is None:  # declarations only, or a kernel that was not built
            continue
        if isinstance(spec.loader, importlib.machinery.ExtensionFileLoader):
            found[name] = COMPILED
        else:
            found[name] = INTERPRETED
    return found


def request_path() -> str:
    """One word for all of them: compiled, interpreted or mixed. Kernels do not count, they exist only compiled."""
    states = {state for name, state in modules().items() if not name.startswith("proxy.kernel.")}
    return states.pop() if len(states) == 1 else "mixed"


def _request_path() -> list[str]:
    root = Path(__file__).parent.parent
    suffixes = (".pxd", *importlib.machinery.EXTENSION_SUFFIXES)
    names = set()
    for package in PACKAGES:
        for path in (root / package).rglob("*"):
            if path.name.endswith(suffixes):
                parts = path.relative_to(root).parts
                names.add(".".join((*parts[:-1], parts[-1].partition(".")[0])))
    return sorted(names)
