"""What a machine must have, and what it should: looked at when the program starts, each told in one sentence.

`missing` is what hivemesh cannot run without. `concerns` are limits that are too low for what the configuration
allows: nothing fails because of them before it comes to that, so they are told and nothing else.
Standard library only.
"""

from __future__ import annotations

import os
import resource
import select
import socket
from collections.abc import Callable
from typing import NamedTuple

ROOT = "agent and workers run as root: name a user without privileges with --user, or start as one"

_PER_CONNECTION = 2  # descriptors: the client's and the endpoint's
# Beside connections: pipes (512 of proxy/kernel/splice.pyx, with two ends), listening sockets, logs, idle connections.
_OVERHEAD = 1024 + 256
_PIPE_PAGES = 128  # of a pipe for splice, 512 KiB
_FEW_PIPES = 16  # for a worker; below, most connections with much to move are copied instead
_PIPE_LIMIT = "/proc/sys/fs/pipe-user-pages-soft"


class Machine(NamedTuple):
    """What `concerns` decides by. `pipe_pages` is 0 where there is no limit or none for us."""

    descriptors: int
    pipe_pages: int


def machine() -> Machine:
    """This one, for the process that asks."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    return Machine(hard, 0 if os.geteuid() == 0 else _number(_PIPE_LIMIT))


def concerns(connections: int, workers: int, found: Machine) -> list[str]:
    """`connections` is limits.connections. One worker may get all of them."""
    told = []
    needed = _PER_CONNECTION * connections + _OVERHEAD
    if needed > found.descriptors != resource.RLIM_INFINITY:
        told.append(
            f"limits.connections is {connections} and may take {needed} descriptors, the hard limit of open files is "
            f"{found.descriptors}: raise it (ulimit -Hn, LimitNOFILE), or allow "
            f"{max(0, found.descriptors - _OVERHEAD) // _PER_CONNECTION}"
        )
    pipes = found.pipe_pages // _PIPE_PAGES
    if found.pipe_pages > 0 and pipes < _FEW_PIPES * max(1, workers):
        told.append(
            f"fs.pipe-user-pages-soft is {found.pipe_pages}, which is enough for {pipes} pipes: TCP and upgraded "
            "connections beyond are copied and not spliced, and take more CPU"
        )
    return told


def missing() -> list[str]:
    """What this kernel does not have."""
    needs: dict[str, Callable[[], None]] = {
        "memory files (memfd_create, Linux 3.17)": _try_memory_file,
        "sockets that share an address (SO_REUSEPORT, Linux 3.9)": _try_shared_address,
        "epoll": lambda: select.epoll().close(),
    }
    return [f"this system has no {what}: {reason}" for what, attempt in needs.items() if (reason := _failure(attempt))]


def _failure(attempt: Callable[[], None]) -> str:
    try:
        attempt()
    except (OSError, AttributeError) as error:
        return str(error)
    return ""


def _try_memory_file() -> None:
    os.close(os.memfd_create("hivemesh-look", os.MFD_CLOEXEC))


def _try_shared_address() -> None:
    with socket.socket() as sock:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)


def _number(path: str) -> int:
    """0 where it cannot be read."""
    try:
        with open(path, encoding="ascii") as file:
            return int(file.read())
    except (OSError, ValueError):
        return 0
