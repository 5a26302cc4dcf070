"""`make sanitize` finds what it is there to find: shown with a module that writes past its end on purpose.

The module stands for any of ours, built with the flags of setup.py; it is called in a process that a test would start.
"""

from __future__ import annotations

import importlib
import os
import subprocess
import sys
import sysconfig
from pathlib import Path
from types import ModuleType

import pytest

ROOT = Path(__file__).parents[1]

FAULTY = """
#include <Python.h>
#include <limits.h>
#include <stdlib.h>
static PyObject *past(PyObject *self, PyObject *size) {
    volatile char *room = malloc(PyLong_AsSize_t(size));
    room[PyLong_AsSize_t(size)] = 1;
    free((void *)room);
    return PyLong_FromLong(0);
}
static PyObject *behind(PyObject *self, PyObject *octets) {
    return PyLong_FromLong(((volatile char *)PyBytes_AS_STRING(octets))[PyBytes_GET_SIZE(octets) + 8]);
}
static PyObject *sum(PyObject *self, PyObject *by) {
    return PyLong_FromLong(INT_MAX + (int)PyLong_AsLong(by));
}
static PyMethodDef methods[] = {
    {"past", past, METH_O, ""}, {"behind", behind, METH_O, ""}, {"sum", sum, METH_O, ""}, {NULL}};
static struct PyModuleDef module = {PyModuleDef_HEAD_INIT, "faulty", "", -1, methods};
PyMODINIT_FUNC PyInit_faulty(void) { return PyModule_Create(&module); }
"""

# A child of the child: workers are children of the supervisor, and findings of theirs count as well.
IN_A_CHILD = "import subprocess, sys; subprocess.run([sys.executable, '-c', sys.argv[1]])"


@pytest.fixture(scope="module")
def sanitized() -> ModuleType:
    sys.path.insert(0, str(ROOT / "tools"))
    try:
        return importlib.import_module("sanitized")
    finally:
        sys.path.remove(str(ROOT / "tools"))


@pytest.fixture(scope="module")
def folder(sanitized: ModuleType, tmp_path_factory: pytest.TempPathFactory) -> Path:
    if not sanitized.runtimes():
        pytest.skip("the compiler has no libasan and libubsan")
    folder: Path = tmp_path_factory.mktemp("faulty")
    (folder / "faulty.c").write_text(FAULTY)
    command = ["gcc", "-shared", "-fPIC", "-fwrapv", f"-I{sysconfig.get_path('include')}"]
    flags = sanitized_flags()
    subprocess.run([*command, *flags, "faulty.c", "-o", "faulty.so"], cwd=folder, check=True)
    return folder


def sanitized_flags() -> list[str]:
    """Those that setup.py builds with."""
    source = (ROOT / "setup.py").read_text()
    rule = source[source.index("SANITIZE = ") : source.index("def linker_flags")]
    scope: dict[str, object] = {"os": os}
    kept = os.environ.get("HIVEMESH_SANITIZE")
    os.environ["HIVEMESH_SANITIZE"] = "address,undefined"
    try:
        exec(rule, scope)
    finally:
        del os.environ["HIVEMESH_SANITIZE"]
        if kept is not None:
            os.environ["HIVEMESH_SANITIZE"] = kept
    flags = scope["compiler_flags"]("-O1")  # type: ignore[operator]
    assert isinstance(flags, list)
    return flags


@pytest.mark.parametrize(
    ("call", "finding"),
    [
        ("faulty.past(16)", "heap-buffer-overflow"),
        ("faulty.behind(b'sixteen letters.')", "heap-buffer-overflow"),
        ("faulty.sum(1)", "__ubsan_handle_add_overflow"),
        ("faulty.sum(0)", ""),
        # How a test ends a process on purpose.
        ("import os; os.abort()", ""),
    ],
)
def test_a_finding_in_a_child_of_a_child_is_reported(
    sanitized: ModuleType, folder: Path, tmp_path: Path, call: str, finding: str
) -> None:
    code = f"import sys; sys.path.insert(0, {str(folder)!r}); import faulty; {call}"
    env = {**os.environ, **sanitized.environment(tmp_path)}
    done = subprocess.run([sys.executable, "-c", IN_A_CHILD, code], env=env, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    found = sanitized.findings_in(tmp_path)
    assert [finding in each for each in found] == ([True] if finding else []), (found, done.stderr)


def test_a_finding_of_another_program_is_not_ours(sanitized: ModuleType, tmp_path: Path) -> None:
    (tmp_path / "finding.nginx.12").write_text("heap-buffer-overflow")
    assert sanitized.findings_in(tmp_path) == []
    (tmp_path / "finding.python3.11.12").write_text("heap-buffer-overflow")
    assert sanitized.findings_in(tmp_path) == ["heap-buffer-overflow"]


def test_what_another_process_found_before_is_not_told_again(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Groups of tests run one after the other: a finding of the first one failed a test of each that followed."""
    findings = importlib.import_module("tools.findings")
    monkeypatch.setenv(findings.DIRECTORY, str(tmp_path))
    monkeypatch.setattr(findings, "_seen", set())
    monkeypatch.setattr(subprocess.Popen, "__init__", subprocess.Popen.__init__)  # put back afterwards
    (tmp_path / "finding.python.1").write_text("before")
    findings.pytest_configure()
    after_a_test = findings.pytest_runtest_teardown
    for found in ("", "after", ""):
        if found:
            (tmp_path / "finding.python.2").write_text(found)
        teardown = after_a_test(None)
        next(teardown)
        if found:
            with pytest.raises(pytest.fail.Exception, match=r"^after$"):
                next(teardown)
        else:
            with pytest.raises(StopIteration):
                next(teardown)


@pytest.mark.parametrize(
    ("command", "has_it"),
    [(["env"], True), (["/bin/sh", "-c", "env"], True), (["/usr/bin/printenv"], False), ("/usr/bin/printenv", False)],
)
def test_programs_that_others_wrote_run_without_the_runtime(
    monkeypatch: pytest.MonkeyPatch, command: list[str] | str, has_it: bool
) -> None:
    findings = importlib.import_module("tools.findings")
    monkeypatch.setattr(subprocess.Popen, "__init__", subprocess.Popen.__init__)  # put back afterwards
    monkeypatch.setenv("LD_PRELOAD", "")
    monkeypatch.setenv("OTHER", "kept")
    findings.let_others_go()
    for env in (None, {**os.environ}):
        said = subprocess.run(command, env=env, capture_output=True, text=True, check=True).stdout.splitlines()
        assert ("LD_PRELOAD=" in said, "OTHER=kept" in said) == (has_it, True)
