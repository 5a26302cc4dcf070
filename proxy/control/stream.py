"""A non-blocking stream socket between two of our processes that carries bytes and file descriptors.

`write` never blocks: what the kernel does not take now waits here, in order, until `flush` is called when the
socket is writable again. Descriptors arrive no later than the last byte they were written with and in the order
they were written, so the reader keeps them in a queue and a message says how many of them are its own.
A peer that has gone shows as EOFError in `read`; writing to it is silently lost.
Standard library only: the supervisor uses this. Knows nothing about messages and nothing about event loops.
"""

from __future__ import annotations

import array
import errno
import os
import socket
from collections import deque
from collections.abc import Iterable, Sequence

READ_SIZE = 256 * 1024  # one read of an event; a bigger message takes several
# This machine is short of something: later is soon enough. The last one: too many descriptors are on their way.
OURS = frozenset((errno.ENOBUFS, errno.ENOMEM, errno.EMFILE, errno.ENFILE, errno.ETOOMANYREFS))
MAX_DESCRIPTORS = 253  # SCM_MAX_FD of Linux: what one message may carry


class DescriptorStream:
    def __init__(self, sock: socket.socket, descriptors: Iterable[int] = ()) -> None:
        """Takes ownership of `sock`, and of `descriptors` that came over it before."""
        sock.setblocking(False)
        self.sock = sock
        self.backlog = 0  # bytes that wait for the socket to become writable
        self._out: deque[tuple[memoryview, tuple[int, ...]]] = deque()
        self._descriptors: deque[int] = deque(descriptors)
        self._broken = False

    def fileno(self) -> int:
        return self.sock.fileno()

    def write(self, data: bytes, descriptors: Sequence[int] = ()) -> None:
        """Send `data` and duplicates of `descriptors`; both stay the caller's."""
        if self._broken:
            return
        view = memoryview(data)
        if not self._out:
            sent = self._send(view, descriptors)
            if sent == len(view) or self._broken:
                return
            if sent:
                view, descriptors = view[sent:], ()
        self._out.append((view, tuple(os.dup(descriptor) for descriptor in descriptors)))
        self.backlog += len(view)

    def flush(self) -> bool:
        """Send what waits. True if nothing is left."""
        while self._out:
            view, descriptors = self._out.popleft()
            sent = self._send(view, descriptors)
            if self._broken:
                _close_all(descriptors)
                self._discard()
                return True
            self.backlog -= sent
            if sent or not descriptors:
                _close_all(descriptors)
                descriptors = ()
            if sent < len(view):
                self._out.appendleft((view[sent:], descriptors))
                return False
        return True

    def read(self) -> bytes:
        """What has arrived, b"" if nothing has. Raises EOFError when the peer is gone."""
        item = array.array("i")
        try:
            data, ancillary, _, _ = self.sock.recvmsg(
                READ_SIZE, socket.CMSG_SPACE(MAX_DESCRIPTORS * item.itemsize), socket.MSG_CMSG_CLOEXEC
            )
        except (BlockingIOError, InterruptedError):
            return b""
        except ConnectionError:
            raise EOFError from None
        except OSError as error:
            if error.errno not in OURS:
                raise
            return b""  # it is still there, and this is asked again
        for level, kind, payload in ancillary:
            if level == socket.SOL_SOCKET and kind == socket.SCM_RIGHTS:
                received = array.array("i")
                received.frombytes(payload[: len(payload) - len(payload) % received.itemsize])
                self._descriptors.extend(received)
        if not data:
            raise EOFError
        return data

    def take(self, count: int) -> list[int]:
        """The next `count` descriptors, now the caller's. Raises ValueError if fewer have come."""
        if count > len(self._descriptors):
            raise ValueError(f"a message names {count} descriptors and {len(self._descriptors)} came with it")
        return [self._descriptors.popleft() for _ in range(count)]

    def waiting(self) -> list[int]:
        """Descriptors that have come and were not taken; they stay here."""
        return list(self._descriptors)

    def close(self) -> None:
        self._discard()
        _close_all(self._descriptors)
        self._descriptors.clear()
        self.sock.close()

    def _send(self, view: memoryview, descriptors: Sequence[int]) -> int:
        ancillary = []
        if descriptors:
            ancillary = [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", descriptors).tobytes())]
        try:
            return self.sock.sendmsg([view], ancillary)
        except (BlockingIOError, InterruptedError):
            return 0
        except OSError as error:
            # What is not ours: the peer is gone, and the reading side finds out and says so.
            self._broken = error.errno not in OURS
            return 0

    def _discard(self) -> None:
        for _, descriptors in self._out:
            _close_all(descriptors)
        self._out.clear()
        self.backlog = 0


def _close_all(descriptors: Iterable[int]) -> None:
    for descriptor in descriptors:
        os.close(descriptor)
