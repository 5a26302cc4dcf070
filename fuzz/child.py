"""The process in which one target is fuzzed: `python -m fuzz.child TARGET libFuzzer's-arguments`, started by the engine
inside of build/fuzz with the runtime of the sanitizers preloaded."""

from __future__ import annotations

import contextlib
import importlib
import sys

import atheris

from fuzz.targets import BY_NAME


def main() -> None:
    target = BY_NAME[sys.argv[1]]
    watched = atheris.instrument_imports(include=list(target.python)) if target.python else contextlib.nullcontext()
    with watched:
        module = importlib.import_module(f"fuzz.targets.{target.name}")
    # libFuzzer starts itself again to merge, by a shell.
    arguments = [f"{sys.executable} -m fuzz.child {target.name}", *sys.argv[2:]]
    atheris.Setup(arguments, module.check, enable_python_coverage=bool(target.python))
    atheris.Fuzz()


if __name__ == "__main__":
    main()
