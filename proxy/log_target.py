"""Where access log lines go: a file, a pipe, a terminal or a socket, each written without waiting.

`open_target(path)` looks at what is there and gives an object with `write(data, offset)`: it passes on some bytes of
`data` from `offset` and says how many, raises BlockingIOError when the other side takes none now, and another OSError
when it fails. Lines of several processes meet in one file or pipe and must not tear each other apart: files are
opened for appending, and pipes get whole lines of at most PIPE_BUF bytes, which the kernel writes in one piece
(pipe(7)); only a line longer than that may be torn.

A write to a regular file may wait for the disk, as in every other proxy; nothing else here ever does.
"""

from __future__ import annotations

import os
import select
import socket
import stat
from typing import Protocol

STANDARD = {"stdout": 1, "stderr": 2}
PIPE_BUF = select.PIPE_BUF
MODE = 0o640


class Target(Protocol):
    def write(self, data: bytes, offset: int) -> int: ...

    def close(self) -> None: ...


def open_target(path: str) -> Target:
    """`path` is stdout, stderr or a file. Raises OSError."""
    if path in STANDARD:
        return _inherited(STANDARD[path])
    flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC | os.O_NONBLOCK | os.O_NOCTTY
    descriptor = os.open(path, flags, MODE)
    if stat.S_ISREG(os.fstat(descriptor).st_mode):
        return FileTarget(descriptor)
    return PipeTarget(descriptor)


def _inherited(descriptor: int) -> Target:
    """A target for a descriptor that we share with whoever started us, and with our siblings."""
    mode = os.fstat(descriptor).st_mode
    if stat.S_ISREG(mode):
        # The same open file, hence the same position in it: with one of our own, writers would overwrite each other.
        return FileTarget(os.dup(descriptor))
    if stat.S_ISSOCK(mode):
        return SocketTarget(os.dup(descriptor))
    try:
        # O_NONBLOCK belongs to the open file, and the others that have this one do not expect it.
        own = os.open(f"/proc/self/fd/{descriptor}", os.O_WRONLY | os.O_CLOEXEC | os.O_NONBLOCK | os.O_NOCTTY)
    except OSError:  # it belongs to another user
        return PolledTarget(os.dup(descriptor))
    return PipeTarget(own)


class FileTarget:
    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor

    def write(self, data: bytes, offset: int) -> int:
        return os.write(self._descriptor, memoryview(data)[offset:] if offset else data)

    def close(self) -> None:
        os.close(self._descriptor)


class PipeTarget(FileTarget):
    """A pipe, a terminal or a device, opened so that it does not wait."""

    def write(self, data: bytes, offset: int) -> int:
        return os.write(self._descriptor, _piece(data, offset))


class PolledTarget(PipeTarget):
    """The same where only a shared descriptor that may wait is to be had: it is asked first, and while there is room
    for anything there is room for PIPE_BUF bytes (pipe(7) gives pages). Two that ask at once may both be let in, so
    this can wait in theory."""

    def __init__(self, descriptor: int) -> None:
        super().__init__(descriptor)
        self._poll = select.poll()
        self._poll.register(descriptor, select.POLLOUT)

    def write(self, data: bytes, offset: int) -> int:
        if not self._poll.poll(0):
            raise BlockingIOError
        return super().write(data, offset)


class SocketTarget:
    def __init__(self, descriptor: int) -> None:
        self._socket = socket.socket(fileno=descriptor)

    def write(self, data: bytes, offset: int) -> int:
        return self._socket.send(memoryview(data)[offset:], socket.MSG_DONTWAIT | socket.MSG_NOSIGNAL)

    def close(self) -> None:
        self._socket.close()


def _piece(data: bytes, offset: int) -> memoryview:
    """Whole lines from `offset` on, together at most PIPE_BUF bytes; a part of a line that is longer."""
    end = offset + PIPE_BUF
    if end < len(data):
        end = data.rfind(b"\n", offset, end) + 1 or end
    return memoryview(data)[offset:end]
