"""fuzz/corpus/TARGET: inputs that lead to different places, and those that once led to a mistake.

The files are named by what they hold. `found-` begins the name of one that a mistake was found by; those always stay.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from pathlib import Path

CORPUS = Path(__file__).parent / "corpus"

# Of one target. Coverage would keep more; what a later run needs to begin with is less.
MOST_FILES = 200
MOST_BYTES = 300_000

FOUND = "found-"


def name_of(data: bytes) -> str:
    return hashlib.sha1(data, usedforsecurity=False).hexdigest()[:16]


def files_of(target: str) -> dict[str, bytes]:
    """The inputs of a target by file name, in its order."""
    folder = CORPUS / target
    return {path.name: path.read_bytes() for path in sorted(folder.iterdir())} if folder.is_dir() else {}


def keep(target: str, inputs: Iterable[bytes]) -> tuple[int, int]:
    """Have the target's corpus be these, the small ones first if they are too many, beside those that found something:
    files and bytes there."""
    folder = CORPUS / target
    folder.mkdir(parents=True, exist_ok=True)
    kept = {name: data for name, data in files_of(target).items() if name.startswith(FOUND)}
    size = sum(map(len, kept.values()))
    for data in sorted(inputs, key=lambda data: (len(data), data)):
        if len(kept) == MOST_FILES or size + len(data) > MOST_BYTES:
            break
        kept[name_of(data)] = data
        size += len(data)
    for path in folder.iterdir():
        if path.name not in kept:
            path.unlink()
    for name, data in kept.items():
        (folder / name).write_bytes(data)
    return len(kept), size
