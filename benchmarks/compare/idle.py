"""Many idle clients: connections that made one request each and then stay open without a word.

A loopback connection is told apart by address and port of its client, and one address has fewer free ports than a
test may want, so clients spread over 127.0.0.x. Blocking sockets: the connections are opened one after the other, and
the pace of that is not measured.
"""

from __future__ import annotations

import resource
import socket
from collections.abc import Sequence
from typing import Final

from benchmarks.compare.load import LoadFailed
from benchmarks.compare.traffic import Request

PER_ADDRESS: Final = 4000
ANSWER_TIMEOUT: Final = 10.0
LARGEST_ANSWER: Final = 64 * 1024

# Descriptors of this process that are not client connections.
OWN_DESCRIPTORS: Final = 64


def raise_descriptor_limit() -> int:
    """Lift the soft limit to the hard one, for us and all that we start; returns it."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    return hard


def source_address(index: int) -> str:
    return f"127.0.0.{2 + index // PER_ADDRESS}"


def is_complete(answer: bytes) -> bool:
    """Whether a response with a Content-Length has arrived whole."""
    head, separator, body = answer.partition(b"\r\n\r\n")
    if not separator:
        return False
    for line in head.split(b"\r\n")[1:]:
        name, _, value = line.partition(b":")
        if name.strip().lower() == b"content-length":
            return len(body) >= int(value)
    raise LoadFailed(f"an answer without Content-Length: {head[:200]!r}")


class IdleClients:
    """Use as a context manager; leaving it closes all connections."""

    def __init__(self, port: int, requests: Sequence[Request]) -> None:
        self._port = port
        self._requests = [request.text().encode() for request in requests]
        self._open: list[socket.socket] = []

    def __enter__(self) -> IdleClients:
        return self

    def __exit__(self, *_: object) -> None:
        for client in self._open:
            client.close()

    def add(self, count: int) -> None:
        """Open `count` more connections; each makes one request and reads its answer."""
        for _ in range(count):
            index = len(self._open)
            client = socket.create_connection(
                ("127.0.0.1", self._port), ANSWER_TIMEOUT, source_address=(source_address(index), 0)
            )
            self._open.append(client)
            client.sendall(self._requests[index % len(self._requests)])
            answer = b""
            while not is_complete(answer):
                part = client.recv(LARGEST_ANSWER)
                if not part or len(answer) > LARGEST_ANSWER:
                    raise LoadFailed(f"connection {index} got no whole answer: {answer[:200]!r}")
                answer += part
            if not answer.startswith(b"HTTP/1.1 200"):
                raise LoadFailed(f"connection {index} was answered {answer[:40]!r}")

    def closed_by_peer(self) -> int:
        """How many of the connections did not stay open."""
        gone = 0
        for client in self._open:
            client.setblocking(False)
            try:
                gone += client.recv(1, socket.MSG_PEEK) == b""
            except BlockingIOError:
                continue
            except OSError:
                gone += 1
        return gone
