"""Makes a copy of the checkout in which only the kernels are compiled, and everything else runs interpreted.

The copy is brought up to date, not made anew: what did not change keeps its times, so kernels are compiled again only
when they changed. Kernels that are compiled in the checkout are taken from there. What vanished from the checkout
vanishes from the copy. Never touches the checkout itself.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
KEPT_OUT = {".git", ".venv", "build", "dist", "__pycache__", ".mypy_cache", ".ruff_cache", ".pytest_cache"}
BUILT = {".so", ".pyc"}


def files_of(root: Path) -> set[Path]:
    """The files that somebody wrote, relative to `root`."""
    found: set[Path] = set()
    for folder, folders, names in os.walk(root):
        folders[:] = [name for name in folders if name not in KEPT_OUT and not name.endswith(".egg-info")]
        here = Path(folder).relative_to(root)
        found.update(here / name for name in names if not is_built(Path(folder, name)))
    return found


def is_built(path: Path) -> bool:
    """Also C that Cython made: it lies beside its source."""
    if path.suffix == ".c":
        return any(path.with_suffix(suffix).exists() for suffix in (".py", ".pyx"))
    return path.suffix in BUILT


def bring_up_to_date(copy: Path) -> None:
    wanted = files_of(ROOT)
    for vanished in files_of(copy) - wanted:
        (copy / vanished).unlink()
    for path in wanted:
        source, target = ROOT / path, copy / path
        if target.exists() and target.stat().st_mtime_ns == source.stat().st_mtime_ns:
            continue
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy2(source, target)


def built_of(root: Path, suffixes: tuple[str, ...] = (".pyx",)) -> set[Path]:
    """The compiled form and the C, relative to `root`, of what is written in files with these suffixes."""
    found: set[Path] = set()
    for path in files_of(root):
        if path.suffix in suffixes:
            beside = [root / path.with_suffix(".c"), *(root / path.parent).glob(f"{path.stem}.*.so")]
            found.update(built.relative_to(root) for built in beside if built.exists())
    return found


def take_built(copy: Path) -> None:
    """Times are kept: what is older than its source is compiled again, here as there."""
    for path in built_of(ROOT):
        source, target = ROOT / path, copy / path
        if not target.exists() or target.stat().st_mtime_ns < source.stat().st_mtime_ns:
            shutil.copy2(source, target)


def main() -> int:
    if len(sys.argv) != 2:
        print("usage: pure_tree.py DIRECTORY", file=sys.stderr)
        return 2
    copy = Path(sys.argv[1]).resolve()
    copy.mkdir(parents=True, exist_ok=True)
    bring_up_to_date(copy)
    take_built(copy)
    build = [sys.executable, "setup.py", "-q", "build_ext", "--inplace"]
    return subprocess.run(build, cwd=copy, env={**os.environ, "HIVEMESH_PURE": "1"}).returncode


if __name__ == "__main__":
    sys.exit(main())
