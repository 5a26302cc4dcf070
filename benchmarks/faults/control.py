"""The other side of interpose.c: build it, and say what is to fail.

`Control` is a file in shared memory that every process of the program under test has mapped, so that one running
program serves any number of faults: `arm` one, do something, `disarm`, and read whether it was met and by whom.
"""

from __future__ import annotations

import errno
import mmap
import os
import shutil
import struct
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass
from enum import IntEnum, IntFlag
from pathlib import Path
from typing import Final

from benchmarks.proofs.evidence import MissingTool, ProofError

SOURCE: Final = Path(__file__).with_name("interpose.c")
VARIABLE: Final = "HIVEMESH_FAULTS"

# As `struct control` of interpose.c has it.
_LAYOUT: Final = struct.Struct("=4IiIQQQQ4i32s64s")
_ARMED: Final = struct.Struct("=I")


class Call(IntEnum):
    """Kinds of calls, each with all its relatives: READ is read, recv, recvmsg, recvmmsg and so on."""

    CONNECT = 0
    READ = 1
    WRITE = 2
    ACCEPT = 3
    SPLICE = 4
    MMAP = 5
    EPOLL = 6
    SOCKET = 7
    PIPE = 8
    OPEN = 9
    SYNC = 10
    MEMORY = 11
    SPAWN = 12
    WAIT = 13


class Sort(IntFlag):
    """What a descriptor is; NONE: the call has none."""

    TCP = 1
    UDP = 2
    UNIX = 4
    REGULAR = 8
    OTHER = 16
    NONE = 32
    ANY = 63


class Role(IntFlag):
    SUPERVISOR = 1
    AGENT = 2
    WORKER = 4
    CHILD = 8


NOBODY: Final = Role(0)


@dataclass(frozen=True, slots=True)
class Fault:
    """`error` 0: the call moves at most `most` bytes. `times`: how many in a row, from the n-th on. `path`: only of
    files whose name has this in it."""

    call: Call
    error: int
    roles: Role
    sorts: Sort = Sort.ANY
    most: int = 1
    times: int = 1
    path: str = ""

    def __str__(self) -> str:
        what = errno.errorcode[self.error] if self.error else f"short ({self.most})"
        sorts = "" if self.sorts == Sort.ANY else f" {_words(self.sorts)}"
        path = f" {self.path}" if self.path else ""
        return f"{self.call.name.lower()}{sorts}{path} of {_words(self.roles)}: {what}"


def _words(flags: IntFlag) -> str:
    return "|".join(str(flag.name).lower() for flag in flags)


@dataclass(frozen=True, slots=True)
class Seen:
    """`calls`: how many were counted; `failed`: how many of them failed, the first by process `pid` in `call`."""

    calls: int
    failed: int
    pid: int
    fd: int
    call: str


def build(folder: Path) -> Path:
    """Compile interpose.c into `folder`. Raises MissingTool without a compiler."""
    compiler = next((found for name in ("gcc", "cc", "clang") if (found := shutil.which(name))), None)
    if compiler is None:
        raise MissingTool("faults are made by an object in C, and there is no compiler (on Debian: apt install gcc)")
    target = folder / "interpose.so"
    command = [compiler, "-O1", "-fPIC", "-shared", "-Wall", "-Wextra", "-Werror"]
    done = subprocess.run(
        [*command, "-o", str(target), str(SOURCE), "-ldl", "-lpthread"], capture_output=True, text=True, check=False
    )
    if done.returncode:
        raise ProofError(f"{SOURCE.name} does not compile:\n{done.stderr}")
    return target


class Control:
    def __init__(self, folder: Path) -> None:
        self.library = build(folder)
        self._path = folder / "faults.control"
        self._path.write_bytes(bytes(4096))
        with self._path.open("r+b") as file:
            self._memory = mmap.mmap(file.fileno(), 4096)

    def environment(self) -> Mapping[str, str]:
        """For the program under test."""
        # What is loaded already (the sanitizers' runtime) has to stay the first.
        loaded = [*filter(None, (os.environ.get("LD_PRELOAD"),)), str(self.library)]
        return {"LD_PRELOAD": ":".join(loaded), VARIABLE: str(self._path)}

    def arm(self, fault: Fault, first: int) -> None:
        """Fail the calls from the `first`-th on that come after this."""
        self.disarm()
        values = (0, fault.call, fault.roles, fault.sorts, fault.error, fault.most)
        _LAYOUT.pack_into(self._memory, 0, *values, first, fault.times, 0, 0, 0, 0, -1, 0, b"", fault.path.encode())
        _ARMED.pack_into(self._memory, 0, 1)

    def disarm(self) -> None:
        _ARMED.pack_into(self._memory, 0, 0)

    def seen(self) -> Seen:
        values = _LAYOUT.unpack_from(self._memory, 0)
        return Seen(values[8], values[9], values[10], values[12], values[14].rstrip(b"\0").decode())

    def close(self) -> None:
        self.disarm()
        self._memory.close()
        os.unlink(self._path)
