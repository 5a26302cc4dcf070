"""Builds the compiled modules; everything else about the distribution is in pyproject.toml.

Kernels (`.pyx`) exist only compiled. The other modules are plain Python whose types stand in a `.pxd` beside them:
they run interpreted as well, and HIVEMESH_PURE=1 leaves them that way. Each module here is on the path of a request.
"""

import os
import shutil
import sys
from pathlib import Path

from setuptools import Extension, setup

KERNELS = [
    "proxy/kernel/buffer.pyx",
    "proxy/kernel/cells.pyx",
    "proxy/kernel/datagrams.pyx",
    "proxy/kernel/dnsudp.pyx",
    "proxy/kernel/dnswire.pyx",
    "proxy/kernel/emit.pyx",
    "proxy/kernel/entropy.pyx",
    "proxy/kernel/ledger.pyx",
    "proxy/kernel/limits.pyx",
    "proxy/kernel/netio.pyx",
    "proxy/kernel/scan.pyx",
    "proxy/kernel/splice.pyx",
]

COMPILED = [
    "mesh/balance.py",
    "mesh/bonds.py",
    "mesh/breaker.py",
    "mesh/buckets.py",
    "mesh/conditions.py",
    "mesh/consistent.py",
    "mesh/draws.py",
    "mesh/hashing.py",
    "mesh/paths.py",
    "mesh/request.py",
    "mesh/retry.py",
    "mesh/rotation.py",
    "mesh/router.py",
    "mesh/sampling.py",
    "mesh/split.py",
    "mesh/streams.py",
    "mesh/tables.py",
    "proxy/log.py",
    "proxy/accesslog.py",
    "proxy/logfilter.py",
    "proxy/streamlog.py",
    "proxy/http1/attempts.py",
    "proxy/http1/body.py",
    "proxy/http1/downstream.py",
    "proxy/http1/ending.py",
    "proxy/http1/forward.py",
    "proxy/http1/framing.py",
    "proxy/http1/guards.py",
    "proxy/http1/intake.py",
    "proxy/http1/mirror.py",
    "proxy/http1/parties.py",
    "proxy/http1/phases.py",
    "proxy/http1/records.py",
    "proxy/http1/retries.py",
    "proxy/http1/settings.py",
    "proxy/http1/upstream.py",
    "proxy/l4/ends.py",
    "proxy/l4/forward.py",
    "proxy/l4/routes.py",
    "proxy/l4/tunnel.py",
    "proxy/preface/client_hello.py",
    "proxy/preface/detect.py",
    "proxy/preface/driver.py",
    "proxy/preface/proxy_protocol.py",
    "proxy/relay.py",
    "proxy/udp/forward.py",
    "proxy/udp/session.py",
    "proxy/upstream/endpoint.py",
]

# Kernels work on C pointers and check their own bounds. The others keep Python's meaning, so that the same file
# gives the same result interpreted.
KERNEL_DIRECTIVES = {"boundscheck": False, "wraparound": False, "cdivision": True, "nonecheck": True}
PYTHON_DIRECTIVES = {
    "boundscheck": True,
    "wraparound": True,
    "nonecheck": True,
    "overflowcheck": True,
    "annotation_typing": False,
}

# How hard the compiler tries. Less is quicker to build, for whom speed is not the point.
OPTIMISATION = os.environ.get("HIVEMESH_OPTIMISATION", "-O3")

# What the compiler builds in to watch the modules as they run: "address,undefined", or whatever -fsanitize of CC takes
# ("fuzzer-no-link,address,undefined" of clang). Such a module loads only where the runtime of its sanitizers is loaded
# first: tools/sanitized.py. The first finding ends the process.
SANITIZE = os.environ.get("HIVEMESH_SANITIZE", "")


def compiler_flags():
    if not SANITIZE:
        return [OPTIMISATION, "-g1"]
    # Python is built with -fwrapv, under which no signed overflow would be a finding.
    return [
        OPTIMISATION,
        "-g1",
        f"-fsanitize={SANITIZE}",
        "-fno-sanitize-recover=all",
        "-fno-omit-frame-pointer",
        "-fno-wrapv",
    ]


def linker_flags():
    return [f"-fsanitize={SANITIZE}"] if SANITIZE else []


def compiled_modules():
    from Cython.Build import cythonize

    def extension(path):
        name = path.rsplit(".", 1)[0].replace("/", ".")
        header = path.rsplit(".", 1)[0] + ".h"
        depends = [header] if os.path.exists(header) else []
        return Extension(
            name, [path], depends=depends, extra_compile_args=compiler_flags(), extra_link_args=linker_flags()
        )

    pure = os.environ.get("HIVEMESH_PURE") == "1"
    found = cythonize(
        [extension(path) for path in KERNELS],
        language_level=3,
        compiler_directives=KERNEL_DIRECTIVES,
    )
    if not pure:
        found += cythonize(
            [extension(path) for path in COMPILED],
            language_level=3,
            compiler_directives=PYTHON_DIRECTIVES,
        )
    return found


if not (shutil.which(os.environ.get("CC", "cc").split()[0]) or shutil.which("gcc")):
    sys.exit("hivemesh is built from source and needs a C compiler (on Debian: apt install gcc python3-dev)")

os.chdir(Path(__file__).parent)
setup(ext_modules=compiled_modules(), options={"build_ext": {"parallel": os.cpu_count() or 1}})
