"""The driver of all checks over a connection: one socket, which the machine of a protocol speaks over.

No rules and no timer: whoever made it calls `expire` when its time is over. Callbacks of the loop instead of a task,
because a check is short and there are thousands. It ends exactly once, with `done`, which is never called before the
constructor has returned; after `cancel` and `expire` it is not called at all. Nothing is left unread when the socket is
closed, as far as it has come: the kernel would send a reset, and servers log that.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
from collections.abc import Callable
from typing import Final

from discovery.health.dialogue import Dialogue
from discovery.health.result import SUCCESS, Result, error, failure, no_answer, of_os_error
from discovery.health.target import UNIX, is_numeric, split

# Read at a time. Small, so that a peer that sends as fast as it can holds up the loop only for a moment.
_PIECE: Final = 16 * 1024
_IN_PROGRESS: Final = (BlockingIOError, InterruptedError)

Done = Callable[[Result], None]
OnBug = Callable[[BaseException], None]


class Connection:
    """`dialogue` None: that the connection stands is the answer."""

    is_gone = True  # whenever it has ended

    def __init__(
        self, loop: asyncio.AbstractEventLoop, place: str, dialogue: Dialogue | None, done: Done, on_bug: OnBug
    ) -> None:
        self._loop = loop
        self._dialogue = dialogue
        self._done: Done | None = done
        self._on_bug = on_bug
        self._socket: socket.socket | None = None
        self._is_connected = False
        self._unsent = b""
        self._is_writing = False
        try:
            self._connect(place)
        except OSError as problem:
            result = of_os_error(problem.errno or 0, problem.strerror or str(problem))
            loop.call_soon(self._end, result)

    def expire(self, seconds: float) -> Result:
        """Its `seconds` are over: what is to be said of it."""
        awaited = "connection" if not self._is_connected else self._dialogue.awaits if self._dialogue else "answer"
        self.cancel()
        return no_answer(awaited, seconds)

    def cancel(self) -> None:
        self._done = None
        self._close()

    def _connect(self, place: str) -> None:
        if place.startswith(UNIX):
            made = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_NONBLOCK)
            to: str | tuple[str, int] = place.removeprefix(UNIX)
        else:
            host, port = split(place)
            if not is_numeric(host):
                raise OSError(0, f"'{host}' is not an IP address")
            family = socket.AF_INET6 if ":" in host else socket.AF_INET
            made = socket.socket(family, socket.SOCK_STREAM | socket.SOCK_NONBLOCK)
            to = (host, int(port))
        self._socket = made
        try:
            made.connect(to)
        except _IN_PROGRESS:
            if made.family == socket.AF_UNIX:
                raise  # EAGAIN: nobody tells when there is room
            self._write_when_ready(made)
        else:
            self._loop.call_soon(self._guarded, self._connected)

    # --- what the loop calls --------------------------------------------------------------------------------------

    def _guarded(self, step: Callable[[], None]) -> None:
        """A bug in a machine ends its check and nothing else."""
        if self._socket is None:
            return
        try:
            step()
        except OSError as problem:
            self._end(of_os_error(problem.errno or 0, problem.strerror or str(problem)))
        except Exception as bug:
            self._on_bug(bug)
            self._end(error(f"the check could not be made: {type(bug).__name__} in hivemesh, see its log"))

    def _writable(self) -> None:
        assert self._socket is not None
        if self._is_connected:
            self._flush()
            return
        if number := self._socket.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR):
            raise OSError(number, os.strerror(number))
        self._connected()

    def _connected(self) -> None:
        assert self._socket is not None
        self._is_connected = True
        self._write_no_more()
        if self._dialogue is None:
            self._end(SUCCESS)
            return
        self._loop.add_reader(self._socket.fileno(), self._guarded, self._readable)
        self._send(self._dialogue.begin())

    def _readable(self) -> None:
        assert self._socket is not None and self._dialogue is not None
        try:
            data = self._socket.recv(_PIECE)
        except _IN_PROGRESS:
            return
        result = self._dialogue.receive(data)
        if result is None and not data:
            result = failure("connection closed without an answer")
        if result is not None:
            self._end(result)
        elif reply := self._dialogue.to_send():
            self._send(reply)

    # --- sending --------------------------------------------------------------------------------------------------

    def _send(self, data: bytes) -> None:
        self._unsent += data
        self._flush()

    def _flush(self) -> None:
        assert self._socket is not None
        try:
            if self._unsent:
                self._unsent = self._unsent[self._socket.send(self._unsent) :]
        except _IN_PROGRESS:
            pass
        except (BrokenPipeError, ConnectionResetError):
            self._unsent = b""  # its answer may have come before: the reader will tell
        if self._unsent:
            self._write_when_ready(self._socket)
        else:
            self._write_no_more()

    def _write_when_ready(self, made: socket.socket) -> None:
        if not self._is_writing:
            self._is_writing = True
            self._loop.add_writer(made.fileno(), self._guarded, self._writable)

    def _write_no_more(self) -> None:
        if self._is_writing and self._socket is not None:
            self._is_writing = False
            self._loop.remove_writer(self._socket.fileno())

    # --- the end --------------------------------------------------------------------------------------------------

    def _end(self, result: Result) -> None:
        done, self._done = self._done, None
        self._close()
        if done is not None:
            done(result)

    def _close(self) -> None:
        made, self._socket = self._socket, None
        if made is None:
            return
        self._loop.remove_reader(made.fileno())
        if self._is_writing:
            self._loop.remove_writer(made.fileno())
        if self._is_connected:
            with contextlib.suppress(OSError):
                if last := self._farewell():
                    made.send(last)
                made.shutdown(socket.SHUT_WR)
                made.recv(_PIECE)
        made.close()

    def _farewell(self) -> bytes:
        if self._dialogue is None or self._unsent:
            return b""
        try:
            return self._dialogue.farewell()
        except Exception as bug:
            self._on_bug(bug)
            return b""
