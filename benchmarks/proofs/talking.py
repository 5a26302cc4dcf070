"""What the proofs of retries have in common: a client's connection, and requests as an origin reads them."""

from __future__ import annotations

import asyncio
import socket
import struct
from typing import Final, NamedTuple

from benchmarks.proofs.hive import HOST

# Longer than anything that a proof waits for on purpose.
LIMIT: Final = 20.0


class Answer(NamedTuple):
    """status: 0 when the connection ended before there was one. whole: the body came to its end."""

    status: int
    body: bytes
    whole: bool


class Talk:
    """A client's connection, opened when it is needed and again after it has ended."""

    def __init__(self, port: int) -> None:
        self._port = port
        self._streams: tuple[asyncio.StreamReader, asyncio.StreamWriter] | None = None

    async def ask(self, method: str, target: str, fields: str = "", body: bytes = b"") -> Answer:
        """`fields`: complete lines."""
        async with asyncio.timeout(LIMIT):
            if self._streams is None:
                self._streams = await asyncio.open_connection(HOST, self._port)
            reader, writer = self._streams
            length = f"Content-Length: {len(body)}\r\n" if body else ""
            writer.write(f"{method} {target} HTTP/1.1\r\nHost: a.test\r\n{fields}{length}\r\n".encode() + body)
            try:
                head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").lower()
            except (OSError, asyncio.IncompleteReadError):
                self.close()
                return Answer(0, b"", False)
            status = int(head.split(" ", 2)[1])
            try:
                content = await reader.readexactly(0 if method == "HEAD" else length_of(head))
            except asyncio.IncompleteReadError as error:
                self.close()
                return Answer(status, error.partial, False)
            except OSError:
                self.close()
                return Answer(status, b"", False)
            if "\r\nconnection: close\r\n" in head:
                self.close()
            return Answer(status, content, True)

    def close(self) -> None:
        if self._streams is not None:
            self._streams[1].close()
            self._streams = None


def length_of(head: str) -> int:
    """What Content-Length says, 0 without one."""
    for line in head.split("\r\n"):
        name, _, value = line.partition(":")
        if name.lower() == "content-length":
            return int(value)
    return 0


def reset(writer: asyncio.StreamWriter) -> None:
    """End a connection with RST, whatever is still to be sent or read."""
    sock = writer.get_extra_info("socket")
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    writer.transport.abort()
