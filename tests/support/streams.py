"""Streams of ours with their other ends in the test's hands."""

from __future__ import annotations

import errno
import socket
import struct
from collections.abc import Callable, Iterator

from proxy.kernel.netio import AGAIN, Reactor, Stream

# Streams that tests have forgotten open to see what becomes of them: the end of a run does not hold them against us.
lost_on_purpose = 0


class Recorder(Stream):
    """A driver that writes down what it is told, and reads when it is not `paused`."""

    def __init__(self) -> None:
        self.received = b""
        self.told: list[str] = []
        self.last = AGAIN
        self.paused = False
        self.keeps = False
        self.then: Callable[[Recorder], None] = lambda stream: None

    def on_readable(self) -> None:
        self.told.append("readable")
        while not self.paused and self.fd >= 0:
            got = self.fill()
            if got <= 0:
                self.last = got
                break
            if not self.keeps:
                self.received += self.buffer().take()
            else:
                self.keep()
        self.then(self)

    def on_drained(self) -> None:
        self.told.append("drained")
        self.then(self)

    def on_connected(self, error: int) -> None:
        self.told.append(f"connected {errno.errorcode.get(error, '0')}")
        self.then(self)

    def on_timeout(self) -> None:
        self.told.append("timeout")
        self.then(self)

    def on_closed(self) -> None:
        self.told.append("closed")


Pair = tuple[Recorder, socket.socket]


def make_pair(reactor: Reactor, watch: bool = True) -> Iterator[Pair]:
    ours, theirs = socket.socketpair()
    ours.setblocking(False)
    stream = Recorder()
    stream.attach(reactor, ours.detach())
    if watch:
        stream.watch()
    theirs.settimeout(10)
    yield stream, theirs
    theirs.close()


def tcp_pair(reactor: Reactor) -> Pair:
    """The same over TCP, where a reset can be sent."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        theirs = socket.create_connection(server.getsockname())
        ours, _ = server.accept()
    ours.setblocking(False)
    stream = Recorder()
    stream.attach(reactor, ours.detach())
    stream.watch()
    theirs.settimeout(10)
    return stream, theirs


def reset(sock: socket.socket) -> None:
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    sock.close()


def fill_up(stream: Recorder) -> int:
    """Send until some of it waits; how many bytes that were."""
    total = 0
    while True:
        total += 60_000
        if stream.send_bytes(b"x" * 60_000) == 1:
            return total
