"""The lines that ARCHITECTURE.md draws: who may import whom, what pure modules stay away from, what is compiled.

Each rule takes files as (path, text) and says what is wrong with them, so every rule is also shown a file that breaks
it. Sources are read and never imported: imports inside functions and in `.pyx` and `.pxd` files count as well.
"""

from __future__ import annotations

import ast
import fnmatch
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

import pytest

ROOT = Path(__file__).parents[1]
PACKAGES = ("discovery", "mesh", "proxy")

# For each package: what it may import of ours, as modules or whole packages.
ALLOWED = {
    "discovery": ("discovery",),
    "mesh": ("mesh", "discovery.model", "discovery.policies", "discovery.retry_on"),
    "proxy": ("proxy", "mesh", "discovery"),
}

# Rules and machines: bytes and values in, decisions out. They get `now` and random numbers as arguments.
PURE = (
    "discovery/admission.py",
    "discovery/changes.py",
    "discovery/checks.py",
    "discovery/config.py",
    "discovery/delta.py",
    "discovery/dns/*.py",
    "discovery/domains.py",
    "discovery/health/dialogue.py",
    "discovery/health/grpc.py",
    "discovery/health/http.py",
    "discovery/health/hysteresis.py",
    "discovery/health/lanes.py",
    "discovery/health/numbers.py",
    "discovery/health/result.py",
    "discovery/health/schedule.py",
    "discovery/health/target.py",
    "discovery/leases.py",
    "discovery/lifetimes.py",
    "discovery/listeners.py",
    "discovery/merge.py",
    "discovery/model.py",
    "discovery/nodes.py",
    "discovery/overlay.py",
    "discovery/policies.py",
    "discovery/preview.py",
    "discovery/records.py",
    "discovery/registry.py",
    "discovery/retry_on.py",
    "discovery/roster.py",
    "discovery/sources/folder.py",
    "discovery/sources/hosts.py",
    "discovery/sources/messages.py",
    "discovery/sources/resolution.py",
    "discovery/snapshots.py",
    "discovery/splices.py",
    "discovery/statements.py",
    "discovery/states.py",
    "discovery/terms.py",
    "discovery/values.py",
    "discovery/views.py",
    "mesh/*",
    "proxy/config/warnings/*.py",
    "proxy/http1/body.*",
    "proxy/cli/because.py",
    "proxy/cli/choices.py",
    "proxy/cli/headlines.py",
    "proxy/cli/layout.py",
    "proxy/cli/narrative.py",
    "proxy/cli/obstacles.py",
    "proxy/cli/past.py",
    "proxy/cli/timeline.py",
    "proxy/http1/flags.py",
    "proxy/http1/framing.py",
    "proxy/http1/phases.*",
    "proxy/http1/replies.py",
    "proxy/plan/*.py",
    "proxy/preface/client_hello.py",
    "proxy/preface/detect.py",
    "proxy/preface/proxy_protocol.py",
    "proxy/simulation/*.py",
)
IMPURE = ("asyncio", "logging", "os", "random", "select", "socket", "ssl", "structlog", "threading", "time", "uvloop")

SOURCES = ("*.py", "*.pyx", "*.pxd")


class File(NamedTuple):
    path: str  # from the root, with slashes
    text: str

    @property
    def package(self) -> str:
        return self.path.partition("/")[0]


class Import(NamedTuple):
    module: str  # "" for a relative import
    names: tuple[str, ...]  # what is taken out of it; empty for `import module`
    line: int


def project_files() -> list[File]:
    paths = [path for package in PACKAGES for pattern in SOURCES for path in (ROOT / package).rglob(pattern)]
    return [File(path.relative_to(ROOT).as_posix(), path.read_text()) for path in sorted(paths)]


# --- reading imports ------------------------------------------------------------------------------------------------

# Python's import statements and Cython's cimport, at the start of a line; `from x cimport (` needs no more than this.
CYTHON_IMPORT = re.compile(
    r"^[ \t]*(?:from[ \t]+(\S+)[ \t]+c?import[ \t]*\(?([^)#\n]*)|c?import[ \t]+([^#\n]+))", re.MULTILINE
)


def imports_of(file: File) -> Iterator[Import]:
    return _python_imports(file) if file.path.endswith(".py") else _cython_imports(file)


def _python_imports(file: File) -> Iterator[Import]:
    for node in ast.walk(ast.parse(file.text)):
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield Import(alias.name, (), node.lineno)
        elif isinstance(node, ast.ImportFrom):
            names = tuple(alias.name for alias in node.names)
            yield Import("" if node.level else node.module or "", names, node.lineno)


def _cython_imports(file: File) -> Iterator[Import]:
    for found in CYTHON_IMPORT.finditer(file.text):
        line = file.text.count("\n", 0, found.start()) + 1
        source, names, modules = found.groups()
        if modules is not None:
            for module in modules.split(","):
                yield Import(module.split()[0], (), line)
        else:
            taken = tuple(name.split()[0] for name in names.split(",") if name.strip())
            yield Import("" if source.startswith(".") else source, taken, line)


# --- the rules ------------------------------------------------------------------------------------------------------


def forbidden_imports(files: list[File]) -> list[str]:
    """proxy -> mesh, discovery; mesh -> discovery.model; discovery -> nothing of ours; all by absolute names."""
    problems = []
    for file in files:
        for found in imports_of(file):
            if not found.module:
                problems.append(f"{file.path}:{found.line}: relative import")
            elif found.module.partition(".")[0] in PACKAGES and not _is_allowed(found, ALLOWED[file.package]):
                problems.append(f"{file.path}:{found.line}: {file.package} may not import {found.module}")
    return problems


def _is_allowed(found: Import, allowed: tuple[str, ...]) -> bool:
    if any(found.module == name or found.module.startswith(f"{name}.") for name in allowed):
        return True
    # `from discovery import model` takes a module out of a package that as a whole may not be imported
    return bool(found.names) and all(f"{found.module}.{name}" in allowed for name in found.names)


def impure_imports(files: list[File]) -> list[str]:
    """Pure modules do no I/O, read no clock, draw no random numbers and log nothing."""
    return [
        f"{file.path}:{found.line}: a pure module may not import {found.module}"
        for file in files
        if any(fnmatch.fnmatch(file.path, pattern) for pattern in PURE)
        for found in imports_of(file)
        if found.module.partition(".")[0] in IMPURE or _is_c_clock_or_io(found)
    ]


def _is_c_clock_or_io(found: Import) -> bool:
    return found.module in ("libc.time", "libc.stdio") or found.module.partition(".")[0] == "posix"


def missing_docstrings(files: list[File]) -> list[str]:
    """Every module opens with what it is."""
    return [
        f"{file.path}: no docstring"
        for file in files
        if not file.path.endswith(".pxd") and not _opens_with_docstring(file)
    ]


def _opens_with_docstring(file: File) -> bool:
    if file.path.endswith(".py"):
        return bool(ast.get_docstring(ast.parse(file.text)))
    code = re.sub(r"\A(?:\s*#[^\n]*\n)*\s*", "", file.text)  # Cython directives stand in comments above it
    return code.startswith('"""') and not code.startswith('""""""')


def packages_under_tests(files: list[File]) -> list[str]:
    """Tests are found by path: a package under tests/ would shadow ours."""
    return [f"{file.path}: tests are no packages" for file in files if file.path.endswith("/__init__.py")]


# Of no module: what C headers declare, for kernels to cimport.
HEADERS = ("proxy/kernel/octets",)


def compiled_lists(files: list[File]) -> list[str]:
    """setup.py lists all kernels and compiled modules; each has a .pxd, a kernel a .pyi too, and no .pxd is alone."""
    paths = {file.path for file in files}
    (setup,) = [file for file in files if file.path == "setup.py"]
    lists = _lists_of(setup)
    kernels, compiled = lists["KERNELS"], lists["COMPILED"]
    problems = [f"setup.py: {path} is not there" for path in [*kernels, *compiled] if path not in paths]
    problems += [
        f"setup.py: {path} is listed twice" for path in {*kernels, *compiled} if (kernels + compiled).count(path) > 1
    ]
    problems += [f"setup.py: {path} is no kernel" for path in kernels if not path.endswith(".pyx")]
    problems += [f"setup.py: {path} is no Python module" for path in compiled if not path.endswith(".py")]
    listed = {path.rpartition(".")[0] for path in [*kernels, *compiled]}
    for path in sorted(paths):
        stem, _, suffix = path.rpartition(".")
        if suffix in ("pyx", "pxd") and stem not in listed and stem not in HEADERS:
            problems.append(f"{path}: its module is not listed in setup.py")
    for path in [*kernels, *compiled]:
        stem = path.rpartition(".")[0]
        needed = (".pxd", ".pyi") if path in kernels else (".pxd",)
        problems += [f"{path}: no {suffix} beside it" for suffix in needed if stem + suffix not in paths]
    return problems


def _lists_of(setup: File) -> dict[str, list[str]]:
    return {
        statement.targets[0].id: ast.literal_eval(statement.value)
        for statement in ast.parse(setup.text).body
        if isinstance(statement, ast.Assign)
        and isinstance(statement.targets[0], ast.Name)
        and statement.targets[0].id in ("KERNELS", "COMPILED")
    }


def cython_in_python(files: list[File]) -> list[str]:
    """A compiled .py is plain Python: its C types stand in the .pxd, so it runs where Cython is not installed."""
    return [
        f"{file.path}:{found.line}: C types belong into the .pxd"
        for file in files
        if file.path.endswith(".py")
        for found in imports_of(file)
        if found.module.partition(".")[0].lower() == "cython"
    ]


# Transports of the event loop. One that is open when it is collected ends the process, so few places make any, each
# with an owner that closes it; a worker makes none (docs/design/0001, 0011).
TRANSPORTS = re.compile(
    r"\b(create_(?:connection|server|unix_connection|unix_server|datagram_endpoint|subprocess_\w+)|open_connection"
    r"|open_unix_connection|start_server|start_unix_server|connect_(?:accepted_socket|read_pipe|write_pipe)"
    r"|subprocess_(?:exec|shell)|start_tls)\("
)
OWNERS = (
    "proxy/admin/server.py",  # the admin API: closed with the agent, and connections by aiohttp's own handlers
    "discovery/sources/stub.py",  # a question to a resolver: closed in `finally`
    "proxy/config/child.py",  # the process that reads a configuration: waited for in `finally`
)


def transports(files: list[File]) -> list[str]:
    return [
        f"{file.path}:{number}: {found[1]} makes a transport of the event loop; own the socket (proxy/kernel/netio)"
        for file in files
        if file.path not in OWNERS
        for number, line in enumerate(file.text.splitlines(), start=1)
        if (found := TRANSPORTS.search(line)) is not None and "socket.create_connection(" not in line
    ]


# --- the project keeps them -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("rule", [forbidden_imports, impure_imports, missing_docstrings, cython_in_python, transports])
def test_sources_keep_the_rule(rule: Callable[[list[File]], list[str]]) -> None:
    assert rule(project_files()) == []


def test_tests_are_no_packages() -> None:
    assert (
        packages_under_tests([File(path.relative_to(ROOT).as_posix(), "") for path in (ROOT / "tests").rglob("*.py")])
        == []
    )


def test_what_is_compiled_is_listed_and_declared() -> None:
    stubs = [
        File(path.relative_to(ROOT).as_posix(), "") for package in PACKAGES for path in (ROOT / package).rglob("*.pyi")
    ]
    assert compiled_lists([*project_files(), *stubs, File("setup.py", (ROOT / "setup.py").read_text())]) == []


def test_the_rules_look_at_the_sources_there_are() -> None:
    paths = {file.path for file in project_files()}
    assert {"discovery/model.py", "mesh/router.py", "mesh/router.pxd"} <= paths
    for pattern in PURE:
        assert fnmatch.filter(paths, pattern), f"{pattern} names no file"


# --- each rule can fail ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("path", "text"),
    [
        ("discovery/x.py", "import mesh.router"),
        ("discovery/x.py", "from proxy.config import load"),
        ("mesh/x.py", "import discovery"),
        ("mesh/x.py", "import discovery.registry"),
        ("mesh/x.py", "from discovery import model, registry"),
        ("mesh/x.py", "from discovery.models import Route"),
        ("mesh/x.py", "def f():\n    from discovery.registry import Registry"),
        ("mesh/x.py", "from . import router"),
        ("mesh/x.py", "import msgspec, proxy"),
        ("mesh/x.pxd", "from proxy.kernel.buffer cimport Buffer"),
        ("mesh/x.pyx", "cimport cython, proxy.kernel.buffer as b"),
        ("mesh/x.pyx", "cdef f():\n    from proxy.kernel.buffer cimport (\n        Buffer)"),
        ("mesh/x.pyx", "from .router cimport Router"),
    ],
)
def test_a_forbidden_import_is_found(path: str, text: str) -> None:
    assert len(forbidden_imports([File(path, text)])) == 1


@pytest.mark.parametrize(
    "text",
    [
        "await loop.create_connection(Protocol, host, port)",
        "reader, writer = await asyncio.open_connection(host, port)",
        "await self._loop.create_datagram_endpoint(lambda: asked, sock=sock)",
        "await asyncio.create_subprocess_exec(name)",
    ],
)
def test_a_transport_is_found(text: str) -> None:
    assert len(transports([File("proxy/x.py", text)])) == 1
    assert transports([File(OWNERS[0], text)]) == []


def test_a_socket_is_no_transport() -> None:
    assert transports([File("proxy/x.py", "sock = socket.create_connection(address)")]) == []


@pytest.mark.parametrize(
    ("path", "text"),
    [
        ("discovery/x.py", "from discovery.model import Route\nimport msgspec"),
        ("mesh/x.py", "from discovery import model\nfrom mesh.request import RequestView"),
        ("mesh/x.pxd", "cimport cython\nfrom mesh.request cimport RequestView"),
        ("proxy/x.py", "import discovery.registry, mesh.router, proxyfix"),
        ("proxy/x.pyx", '"""Text that says: from x import y, and import z."""\nfrom libc.stdint cimport int64_t'),
    ],
)
def test_an_allowed_import_is_not(path: str, text: str) -> None:
    assert forbidden_imports([File(path, text)]) == []


@pytest.mark.parametrize(
    ("path", "text"),
    [
        ("mesh/x.py", "import asyncio"),
        ("mesh/x.py", "from time import monotonic"),
        ("mesh/x.py", "import os.path"),
        ("mesh/x.py", "def f():\n    import random"),
        ("mesh/x.pxd", "from libc.time cimport time"),
        ("discovery/registry.py", "import socket as s"),
        ("discovery/registry.py", "import logging"),
        ("proxy/http1/body.py", "import ssl"),
    ],
)
def test_an_impure_import_is_found(path: str, text: str) -> None:
    assert len(impure_imports([File(path, text)])) == 1


def test_an_impure_import_elsewhere_is_nobodys_business() -> None:
    assert (
        impure_imports([File("proxy/dataplane.py", "import asyncio"), File("mesh/x.py", "import timeit, oslo")]) == []
    )


@pytest.mark.parametrize(
    ("path", "text"),
    [
        ("mesh/x.py", ""),
        ("mesh/x.py", "# a comment\nimport re\n"),
        ("mesh/x.py", 'import re\n"""Too late."""'),
        ("proxy/x.pyx", "# cython: cdivision=True\nimport re"),
        ("proxy/x.pyx", '""""""'),
    ],
)
def test_a_missing_docstring_is_found(path: str, text: str) -> None:
    assert missing_docstrings([File(path, text)]) == [f"{path}: no docstring"]


def test_a_docstring_below_cython_directives_counts() -> None:
    text = '# cython: cdivision=True\n\n"""A kernel."""\n'
    assert missing_docstrings([File("proxy/x.pyx", text), File("proxy/x.pxd", "")]) == []


def test_a_package_under_tests_is_found() -> None:
    assert packages_under_tests([File("tests/mesh/__init__.py", ""), File("tests/mesh/test_x.py", "")]) == [
        "tests/mesh/__init__.py: tests are no packages"
    ]


@pytest.mark.parametrize("text", ["import cython", "from cython import cfunc", "from Cython.Build import cythonize"])
def test_cython_in_a_python_module_is_found(text: str) -> None:
    assert len(cython_in_python([File("mesh/x.py", text)])) == 1
    assert cython_in_python([File("mesh/x.pxd", text.replace("import", "cimport"))]) == []


@pytest.mark.parametrize(
    ("paths", "setup", "problem"),
    [
        (["m/a.py", "m/a.pxd"], "KERNELS = []\nCOMPILED = []", "m/a.pxd: its module is not listed in setup.py"),
        (
            ["m/a.pyx", "m/a.pxd", "m/a.pyi"],
            "KERNELS = []\nCOMPILED = []",
            "m/a.pyx: its module is not listed in setup.py",
        ),
        (["m/a.py"], 'KERNELS = []\nCOMPILED = ["m/a.py"]', "m/a.py: no .pxd beside it"),
        (["m/a.pyx", "m/a.pxd"], 'KERNELS = ["m/a.pyx"]\nCOMPILED = []', "m/a.pyx: no .pyi beside it"),
        ([], 'KERNELS = []\nCOMPILED = ["m/a.py"]', "setup.py: m/a.py is not there"),
        (["m/a.py", "m/a.pxd"], 'KERNELS = []\nCOMPILED = ["m/a.py", "m/a.py"]', "setup.py: m/a.py is listed twice"),
        (["m/a.py", "m/a.pxd", "m/a.pyi"], 'KERNELS = ["m/a.py"]\nCOMPILED = []', "setup.py: m/a.py is no kernel"),
    ],
)
def test_a_gap_between_setup_and_sources_is_found(paths: list[str], setup: str, problem: str) -> None:
    assert problem in compiled_lists([*(File(path, "") for path in paths), File("setup.py", setup)])


def test_setup_and_sources_that_agree_pass() -> None:
    files = [File(path, "") for path in ("m/a.py", "m/a.pxd", "m/k.pyx", "m/k.pxd", "m/k.pyi", "m/plain.py")]
    assert compiled_lists([*files, File("setup.py", 'KERNELS = ["m/k.pyx"]\nCOMPILED = ["m/a.py"]')]) == []
