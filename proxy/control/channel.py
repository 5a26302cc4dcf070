"""Messages between the agent and one worker.

`Channel` frames msgpack messages on a socket (the format is told in proxy/control/messages.py). `send` never blocks
and never fails: what does not fit into the socket waits, `backlog` says so, and `drained` is called when it has gone
out. A sender that makes big messages looks at `backlog` first and sends the latest state later instead of queueing
every state in between. `LocalChannel` hands the same messages over within one process, as they are.
Both call `receive(message, sock)` from the loop, never from within `send`. Knows no message but `Listen`.
"""

from __future__ import annotations

import asyncio
import math
import os
import socket
import time
from collections.abc import Callable
from typing import Protocol

import msgspec

from proxy.control.messages import Listen, ToAgent, ToWorker
from proxy.control.stream import DescriptorStream

Message = ToWorker | ToAgent
Receive = Callable[[Message, socket.socket | None], None]

_SLICE = 0.0005  # seconds of messages handed over before others get their turn
_DECODED_AT_ONCE = 32 * 1024  # bytes: a third of a millisecond
_LENGTH = 4  # bytes of a frame that say how long the rest is
_DECODER: msgspec.msgpack.Decoder[Message] = msgspec.msgpack.Decoder(Message)
_ENCODER = msgspec.msgpack.Encoder()


class Wire(Protocol):
    """What agent and worker need of a channel."""

    drained: Callable[[], None] | None

    @property
    def backlog(self) -> int: ...

    def send(self, message: Message, sock: socket.socket | None = None) -> None: ...

    def close(self) -> None: ...


class Channel:
    def __init__(
        self, loop: asyncio.AbstractEventLoop, sock: socket.socket, receive: Receive, closed: Callable[[], None]
    ) -> None:
        """Takes ownership of `sock`. `closed` is called once, when the peer is gone or sends what is no message."""
        self.drained: Callable[[], None] | None = None
        self._loop = loop
        self._stream = DescriptorStream(sock)
        self._receive = receive
        self._closed = closed
        self._buffer = bytearray()
        self._is_open = True
        self._is_writing = False
        self._is_delivering = False
        loop.add_reader(sock, self._on_readable)

    @property
    def backlog(self) -> int:
        return self._stream.backlog

    def send(self, message: Message, sock: socket.socket | None = None) -> None:
        """`sock` goes with a Listen and stays the caller's."""
        if not self._is_open:
            return
        frame = bytearray(_LENGTH)
        _ENCODER.encode_into(message, frame, _LENGTH)
        frame[:_LENGTH] = (len(frame) - _LENGTH).to_bytes(_LENGTH, "big")
        self._stream.write(bytes(frame), () if sock is None else (sock.fileno(),))
        if self._stream.backlog and not self._is_writing:
            self._is_writing = True
            self._loop.add_writer(self._stream.sock, self._on_writable)

    def close(self) -> None:
        if self._is_open:
            self._is_open = False
            self._loop.remove_reader(self._stream.sock)
            self._stop_writing()
            self._stream.close()

    def _on_readable(self) -> None:
        try:
            self._buffer += self._stream.read()
        except EOFError:
            self._deliver(math.inf)  # what came before still counts
            self._end()
            return
        if not self._is_delivering:
            self._deliver(time.monotonic() + _SLICE)

    def _deliver(self, end: float) -> None:
        """Hand over what is complete, some of it later if it takes until `end`."""
        while self._is_open:
            try:
                frames = self._frames()
            except ValueError:  # msgspec's errors are ValueErrors
                self._end()
                return
            for message, sock in frames:
                if self._is_open:
                    self._receive(message, sock)
                elif sock is not None:
                    sock.close()
            if not frames:
                break
            if time.monotonic() >= end:
                self._is_delivering = True
                self._loop.call_soon(self._deliver_rest)
                return
        self._is_delivering = False

    def _deliver_rest(self) -> None:
        self._deliver(time.monotonic() + _SLICE)

    def _end(self) -> None:
        if self._is_open:
            self.close()
            self._closed()

    def _frames(self) -> list[tuple[Message, socket.socket | None]]:
        """Complete messages, as many as are soon decoded; the rest waits. The buffer is cut once for all of them."""
        frames = []
        start = 0
        while len(self._buffer) - start >= _LENGTH and start < _DECODED_AT_ONCE:
            body = start + _LENGTH
            end = body + int.from_bytes(self._buffer[start:body], "big")
            if len(self._buffer) < end:
                break
            message = _DECODER.decode(bytes(self._buffer[body:end]))
            start = end
            sock = socket.socket(fileno=self._stream.take(1)[0]) if isinstance(message, Listen) else None
            frames.append((message, sock))
        del self._buffer[:start]
        return frames

    def _on_writable(self) -> None:
        if self._stream.flush():
            self._stop_writing()
            if self.drained is not None:
                self.drained()

    def _stop_writing(self) -> None:
        if self._is_writing:
            self._is_writing = False
            self._loop.remove_writer(self._stream.sock)


class LocalChannel:
    """One of two ends within a process; made by `local_pair`."""

    backlog = 0

    def __init__(self, loop: asyncio.AbstractEventLoop, receive: Receive) -> None:
        self.drained: Callable[[], None] | None = None
        self.peer: LocalChannel | None = None
        self._loop = loop
        self._receive = receive

    def send(self, message: Message, sock: socket.socket | None = None) -> None:
        self._loop.call_soon(self._hand_over, message, None if sock is None else _copy(sock))

    def close(self) -> None:
        """Nothing is delivered any more, in either direction."""
        peer, self.peer = self.peer, None
        if peer is not None:
            peer.peer = None

    def _hand_over(self, message: Message, sock: socket.socket | None) -> None:
        if self.peer is not None:
            self.peer._receive(message, sock)
        elif sock is not None:
            sock.close()


def local_pair(
    loop: asyncio.AbstractEventLoop, receive_here: Receive, receive_there: Receive
) -> tuple[LocalChannel, LocalChannel]:
    """Two connected ends: what is sent on the first arrives at `receive_there`, and the other way round."""
    here, there = LocalChannel(loop, receive_here), LocalChannel(loop, receive_there)
    here.peer, there.peer = there, here
    return here, there


def _copy(sock: socket.socket) -> socket.socket:
    """As sending it does. `sock.dup()` would make it blocking, and with it every other descriptor of that socket, those
    in other processes included."""
    return socket.socket(fileno=os.dup(sock.fileno()))
