"""An endpoint: HTTP, WebSocket, TCP echo and UDP echo in one process, which may be killed or stopped at any moment.

What it gets is checked here as well: a request that no client of the soak makes is written to `wrong-NAME`, and the
name of each upload goes to `posts-NAME` when its head has been read, before anything is answered.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import socket
import struct
import zlib
from pathlib import Path
from typing import Any, Final

from benchmarks.proofs import content
from benchmarks.proofs.part import Cue
from benchmarks.soak.scene import ADDRESSES, Expected, Ports, flaky_at, shift

PIECE: Final = 64 * 1024
BACKLOG: Final = 512
LONGEST_CHUNK: Final = 1024 * 1024

Fields = dict[str, str]


class Wrong(Exception):
    """A request that nobody has sent."""


async def origin(cue: Cue, name: str, ports: Ports, folder: str) -> None:
    from websockets.asyncio.server import serve
    from websockets.exceptions import ConnectionClosed

    host = ADDRESSES[name]
    desk = Desk(name, Path(folder))

    async def chat(connection: Any) -> None:
        with contextlib.suppress(ConnectionClosed):  # judged at the client
            async for message in connection:
                await connection.send(message)

    loop = asyncio.get_running_loop()
    web = await asyncio.start_server(desk.serve, host, ports.http, backlog=BACKLOG)
    echoes = await asyncio.start_server(echo, host, ports.echo, backlog=BACKLOG)
    transport, _ = await loop.create_datagram_endpoint(Pong, (host, ports.pong))
    async with serve(chat, host, ports.chat, compression=None, ping_interval=None):
        cue.ready()
        await cue.stop.wait()
    transport.close()
    web.close()
    echoes.close()


class Pong(asyncio.DatagramProtocol):
    def connection_made(self, transport: Any) -> None:
        self._transport = transport

    def datagram_received(self, data: bytes, address: Any) -> None:
        self._transport.sendto(data, address)


async def echo(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    try:
        while data := await reader.read(PIECE):
            writer.write(data)
            await writer.drain()
    except OSError:
        return
    finally:
        writer.close()


class Desk:
    """The HTTP server of the endpoint `name`."""

    def __init__(self, name: str, folder: Path) -> None:
        self._name = name
        self._flapping = folder / f"flap-{name}"
        # No buffer between a write and the file: the process may be killed at any moment.
        self._posts = open(folder / f"posts-{name}", "ab", buffering=0)  # noqa: SIM115
        self._wrong = folder / f"wrong-{name}"

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while True:
                await self._one(reader, writer)
        except (OSError, asyncio.IncompleteReadError):
            return  # judged at the client
        except (Wrong, ValueError, asyncio.LimitOverrunError) as problem:
            with self._wrong.open("a") as file:
                file.write(f"{problem}\n")
        finally:
            writer.close()

    async def _one(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        first, fields = parse_head(await reader.readuntil(b"\r\n\r\n"))
        method, target, version = first.split(" ")
        path = target.split("/")
        match method, path[1:]:
            case "GET", ["health"]:
                status = 503 if self._flapping.exists() else 200
                writer.write(f"HTTP/1.1 {status} Health\r\nContent-Length: 0\r\n\r\n".encode())
            case "GET" | "HEAD", ["content" | "dyn", length, name]:
                await self._content(writer, method, fields, int(length), name)
            case "GET", ["flaky", length, name]:
                if flaky_at(name) == self._name and self._fails(name, writer):
                    return
                await self._content(writer, method, fields, int(length), name)
            case "POST", ["upload", name]:
                await self._upload(reader, writer, fields, name)
            case _:
                raise Wrong(f"{first!r} {fields}")
        if version != "HTTP/1.1":
            raise Wrong(f"{first!r}")
        await writer.drain()

    def _head(self, fields: Fields, more: str) -> bytes:
        generation = fields.get("x-generation", "-")
        return (
            f"HTTP/1.1 200 OK\r\nx-origin: {self._name}\r\nx-generation: {generation}\r\n"
            f"Content-Type: application/octet-stream\r\n{more}\r\n\r\n"
        ).encode()

    async def _content(self, writer: asyncio.StreamWriter, method: str, fields: Fields, length: int, name: str) -> None:
        chunked = is_chunked(name)
        writer.write(self._head(fields, "Transfer-Encoding: chunked" if chunked else f"Content-Length: {length}"))
        if method == "HEAD":
            return
        start = shift(name)
        for at in range(0, length, PIECE):
            part = content.piece(start + at, min(PIECE, length - at))
            writer.write(b"%x\r\n%b\r\n" % (len(part), part) if chunked else bytes(part))
            await writer.drain()
        if chunked:
            writer.write(b"0\r\nx-trailer: %b\r\n\r\n" % name.encode())

    def _fails(self, name: str, writer: asyncio.StreamWriter) -> bool:
        """By name: answered with 503 (True), or reset without an answer."""
        if is_chunked(name):
            writer.write(b"HTTP/1.1 503 Flaky\r\nContent-Length: 5\r\n\r\nflaky")
            return True
        sock = writer.get_extra_info("socket")
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        writer.transport.abort()
        raise ConnectionAbortedError

    async def _upload(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, fields: Fields, name: str
    ) -> None:
        self._posts.write(name.encode() + b"\n")
        found = Expected(name)
        trailer = ""
        if fields.get("transfer-encoding") == "chunked":
            while size := int((await reader.readuntil(b"\r\n")).split(b";")[0], 16):
                if size > LONGEST_CHUNK:
                    raise Wrong(f"a chunk of {size} bytes")
                found.take(await reader.readexactly(size))
                if await reader.readexactly(2) != b"\r\n":
                    raise Wrong("a chunk does not end")
            while (line := await reader.readuntil(b"\r\n")) != b"\r\n":
                field, _, value = line.decode("latin-1").partition(":")
                if field.lower() == "x-trailer":
                    trailer = value.strip()
        else:
            left = int(fields["content-length"])
            while left:
                data = await reader.read(min(left, PIECE))
                if not data:
                    raise asyncio.IncompleteReadError(b"", left)
                found.take(data)
                left -= len(data)
        answer = json.dumps(
            {"name": name, "length": found.length, "sha256": found.digest, "trailer": trailer, "wrong": found.wrong_at}
        ).encode()
        writer.write(self._head(fields, f"Content-Length: {len(answer)}") + answer)


def is_chunked(name: str) -> bool:
    return zlib.crc32(name.encode()) // 7 % 2 == 1


def parse_head(head: bytes) -> tuple[str, Fields]:
    """First line, and fields by lower-case name (of several the last). Raises Wrong."""
    first, *lines = head[:-4].decode("latin-1").split("\r\n")
    fields = {}
    for line in lines:
        name, colon, value = line.partition(":")
        if not colon or not name:
            raise Wrong(f"{first!r} with the field {line!r}")
        fields[name.lower()] = value.strip()
    return first, fields
