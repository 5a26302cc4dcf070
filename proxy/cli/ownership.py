"""Does another installed distribution own one of our import packages?

`proxy` is also the import package of at least one other distribution. Installers do not notice: the files of the one
that came last are there, and the other program fails in ways that nobody can explain. So we look before we start, in
the lists of files that installers leave (RECORD). Standard library only, because the supervisor starts this way.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterable

DISTRIBUTION = "hivemesh"
PACKAGES = ("proxy", "mesh", "discovery")


def conflict(search_path: Iterable[str] | None = None) -> str:
    """One sentence about the first conflict on `search_path` (sys.path); empty when there is none."""
    for folder in dict.fromkeys(sys.path if search_path is None else search_path):
        for name, record in _records(folder):
            for package in PACKAGES:
                if f"\n{package}/".encode() in b"\n" + record:
                    return (
                        f"the distribution {name} is installed in {folder} and has an import package {package} as "
                        f"well: install hivemesh into a virtual environment of its own"
                    )
    return ""


def _records(folder: str) -> Iterable[tuple[str, bytes]]:
    try:
        entries = sorted(os.listdir(folder or "."))
    except OSError:
        return
    for entry in entries:
        if not entry.endswith(".dist-info"):
            continue
        name = entry.partition("-")[0]
        if name == DISTRIBUTION:
            continue
        try:
            with open(os.path.join(folder, entry, "RECORD"), "rb") as file:
                yield name, file.read()
        except OSError:  # installed by something that keeps no RECORD
            continue
