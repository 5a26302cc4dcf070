"""What this program is: its version, and which modules of the request path run compiled.

A module that is compiled has an extension file that wins over its `.py`; nothing is imported to find out.
"""

from __future__ import annotations

import importlib.machinery
import importlib.metadata
import importlib.util
from functools import cache

DISTRIBUTION = "hivemesh"

# As setup.py compiles them; a test compares the two lists.
REQUEST_PATH: tuple[str, ...] = (
    "mesh.balance",
    "mesh.request",
    "mesh.router",
    "proxy.kernel.buffer",
    "proxy.kernel.cells",
    "proxy.kernel.netio",
    "proxy.kernel.scan",
)

COMPILED = "compiled"
INTERPRETED = "interpreted"
MISSING = "missing"


@cache
def version() -> str:
    """The installed version; "unknown" when the packages run without having been installed."""
    try:
        return importlib.metadata.version(DISTRIBUTION)
    except importlib.metadata.PackageNotFoundError:
        return "unknown"


@cache
def modules() -> dict[str, str]:
    """`compiled`, `interpreted` or `missing` for each module of the request path."""
    found = {}
    for name in REQUEST_PATH:
        spec = importlib.util.find_spec(name)
        if spec is None:
            found[name] = MISSING
        elif isinstance(spec.loader, importlib.machinery.ExtensionFileLoader):
            found[name] = COMPILED
        else:
            found[name] = INTERPRETED
    return found


def request_path() -> str:
    """One word for all of them: compiled, interpreted (the kernels aside) or mixed."""
    states = {state for name, state in modules().items() if not name.startswith("proxy.kernel.")}
    return states.pop() if len(states) == 1 else "mixed"
