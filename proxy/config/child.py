"""Reading files in a process of its own.

A large file takes a second of CPU, a hostile one may take all of its deadline, and neither delays whoever waits; what
crashes there is an error here. The process that waits never loads the YAML parser.
"""

from __future__ import annotations

import asyncio
import contextlib
import ctypes
import os
import signal
import socket
import subprocess
import sys
from typing import Any, TypeVar

import msgspec

T = TypeVar("T")

# 10,000 routes with 10,000 endpoints take 2 seconds; a machine busy with other things may take ten times as long.
DEADLINE = 60.0

# Traffic goes first while a file is checked.
NICENESS = 10

MAX_STDERR = 4096
_PIECE = 256 * 1024
_LOOK = 0.002  # seconds between looks whether it has ended
_LEAVING = 10.0  # seconds that it may take to end when it has said all


_PR_SET_PDEATHSIG = 1


def begin() -> None:
    """First of all in the child: traffic goes first while it works, and who asked for it takes it along, also when that
    one is killed. Nobody would be left to end it after its deadline (prctl(2), PR_SET_PDEATHSIG)."""
    os.nice(NICENESS)
    with contextlib.suppress(OSError, AttributeError):  # a system that cannot do it has the deadline alone
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)


class ChildFailed(Exception):
    """Message: how the process ended, as a sentence about what it was to check."""


async def answer_of(module: str, arguments: tuple[str, ...], given: bytes, kind: type[T], deadline: float) -> T:
    """What `python -m module` writes as msgpack when it is given `given`. Cancelling kills the child. Raises
    ChildFailed."""
    from proxy.control.children import environment

    ours: list[socket.socket] = []
    theirs: list[socket.socket] = []
    with contextlib.ExitStack() as stack:
        try:
            for _ in range(3):
                for ends, end in zip((ours, theirs), socket.socketpair(), strict=True):
                    ends.append(stack.enter_context(end))
            # Not by the event loop: where uvloop cannot start a process it leaves descriptors open.
            child = subprocess.Popen(
                [sys.executable, "-P", "-m", module, *arguments],
                stdin=theirs[0].fileno(),
                stdout=theirs[1].fileno(),
                stderr=theirs[2].fileno(),
                env=environment(),
            )
        except (OSError, ValueError) as error:
            raise ChildFailed(f"the process that checks it cannot be started: {error}") from None
        for end in theirs:
            end.close()
        try:
            output, errors = await asyncio.wait_for(_talk(ours[0], ours[1], ours[2], given), deadline)
            await asyncio.wait_for(_end_of(child), _LEAVING)
        except TimeoutError:
            raise ChildFailed(f"checking it took longer than {deadline:g} s") from None
        except OSError as error:
            raise ChildFailed(f"what the process that checks it says cannot be read: {error}") from None
        finally:
            child.kill()  # unless it has ended
            await _end_of(child)
    if child.returncode:
        raise ChildFailed(f"the process that checks it {_ending(child.returncode)}{_last_line(errors)}")
    try:
        return msgspec.msgpack.decode(output, type=kind)
    except msgspec.DecodeError as error:
        raise ChildFailed(f"the process that checks it answered something else: {error}{_last_line(errors)}") from None


async def _end_of(child: subprocess.Popen[bytes]) -> None:
    """It is about to end: it has said all, or was killed."""
    while child.poll() is None:
        await asyncio.sleep(_LOOK)


async def _talk(
    inlet: socket.socket, outlet: socket.socket, errors: socket.socket, given: bytes
) -> tuple[bytes, bytes]:
    """What it says on standard output and standard error when it is given `given`."""
    loop = asyncio.get_running_loop()

    async def feed() -> None:
        with contextlib.suppress(ConnectionError):  # it need not read all of it
            await loop.sock_sendall(inlet, given)
        inlet.close()

    async def drain(source: socket.socket) -> bytes:
        pieces = []
        while piece := await loop.sock_recv(source, _PIECE):
            pieces.append(piece)
        return b"".join(pieces)

    for sock in (inlet, outlet, errors):
        sock.setblocking(False)
    said = [asyncio.ensure_future(drain(end)) for end in (outlet, errors)]
    tasks: list[asyncio.Future[Any]] = [asyncio.ensure_future(feed()), *said]
    try:
        await asyncio.gather(*tasks)
    finally:
        # Where one fails, the others have nothing to wait for, and their sockets are about to be closed.
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
    return said[0].result(), said[1].result()


def _ending(code: int) -> str:
    if code > 0:
        return f"ended with status {code}"
    with contextlib.suppress(ValueError):
        return f"was ended by {signal.Signals(-code).name}"
    return f"was ended by signal {-code}"


def _last_line(errors: bytes) -> str:
    lines = errors[-MAX_STDERR:].decode(errors="replace").strip().splitlines()
    return f" ({lines[-1].strip()})" if lines else ""
