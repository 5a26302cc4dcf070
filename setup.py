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

# What every kernel may include.
SHARED_HEADERS = ["proxy/kernel/bounds.h", "proxy/kernel/octets.h"]

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

# How hard the compiler tries. The loops of kernels over bytes gain from -O3 (scanning a head: 0.30 instead of 0.34
# microseconds); the others run as fast with -O2, which takes a quarter less time to build. Less still is quicker to
# build, for whom speed is not the point.
KERNEL_OPTIMISATION = os.environ.get("HIVEMESH_OPTIMISATION", "-O3")
PYTHON_OPTIMISATION = os.environ.get("HIVEMESH_OPTIMISATION", "-O2")

PROCESSORS = os.cpu_count() or 1

# What the compiler builds in to watch the modules as they run: "address,undefined", or whatever -fsanitize of CC takes
# ("fuzzer-no-link,address,undefined" of clang). Such a module loads only where the runtime of its sanitizers is loaded
# first: tools/sanitized.py. The first finding ends the process.
SANITIZE = os.environ.get("HIVEMESH_SANITIZE", "")


def headers_of(path):
    own = path.rsplit(".", 1)[0] + ".h"
    return [*([own] if os.path.exists(own) else []), *(SHARED_HEADERS if path.endswith(".pyx") else [])]


def compiler_flags(optimisation):
    if not SANITIZE:
        return [optimisation, "-g1"]
    # Python is built with -fwrapv, under which no signed overflow would be a finding.
    return [
        optimisation,
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

    def translated(paths, directives, optimisation):
        extensions = [
            Extension(
                path.rsplit(".", 1)[0].replace("/", "."),
                [path],
                depends=headers_of(path),
                extra_compile_args=compiler_flags(optimisation),
                extra_link_args=linker_flags(),
            )
            for path in paths
        ]
        return cythonize(extensions, nthreads=PROCESSORS, language_level=3, compiler_directives=directives)

    found = translated(KERNELS, KERNEL_DIRECTIVES, KERNEL_OPTIMISATION)
    if os.environ.get("HIVEMESH_PURE") != "1":
        found += translated(COMPILED, PYTHON_DIRECTIVES, PYTHON_OPTIMISATION)
    return found


if not (shutil.which(os.environ.get("CC", "cc").split()[0]) or shutil.which("gcc")):
    sys.exit("hivemesh is built from source and needs a C compiler (on Debian: apt install gcc python3-dev)")

os.chdir(Path(__file__).parent)
setup(ext_modules=compiled_modules(), options={"build_ext": {"parallel": PROCESSORS}})
