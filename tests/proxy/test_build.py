from __future__ import annotations

import ast
from pathlib import Path

from proxy import build

ROOT = Path(__file__).parents[2]


def built_by_setup() -> set[str]:
    paths: list[str] = []
    for statement in ast.parse((ROOT / "setup.py").read_text()).body:
        if isinstance(statement, ast.Assign) and ast.unparse(statement.targets[0]) in ("KERNELS", "COMPILED"):
            paths += ast.literal_eval(statement.value)
    return {path.rpartition(".")[0].replace("/", ".") for path in paths if (ROOT / path).exists()}


def test_the_request_path_is_what_setup_compiles() -> None:
    assert set(build.modules()) == built_by_setup()


def test_kernels_are_always_compiled() -> None:
    kernels = {state for name, state in build.modules().items() if name.startswith("proxy.kernel.")}
    assert kernels == {build.COMPILED}


def test_one_word_says_how_the_request_path_runs() -> None:
    assert build.request_path() in ("compiled", "interpreted", "mixed")
    assert build.version()
