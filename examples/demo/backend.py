"""A small HTTP backend for demonstrations: answers every request with its name and what it was asked.

Usage: backend.py NAME HOST:PORT. Standard library only, so that there is nothing between you and what happens.
It reads a request head and a body with Content-Length or in chunks, and keeps connections open. /health answers 200;
after POST /sick it answers 503, as everything else does, until POST /well. After POST /flaky it is well when it is
checked, and fails at everything else.
"""

from __future__ import annotations

import asyncio
import json
import signal
import sys
from contextlib import suppress

LARGEST_HEAD = 64 * 1024

# What it answers from then on: to its checks, and to everything else.
FAILS, WORKS = "503 Service Unavailable", "200 OK"
MOODS = {"/sick": (FAILS, FAILS), "/flaky": (WORKS, FAILS), "/well": (WORKS, WORKS)}


async def read_body(reader: asyncio.StreamReader, headers: dict[str, str]) -> int:
    """Read the body and forget it; its size."""
    if "chunked" in headers.get("transfer-encoding", ""):
        total = 0
        while True:
            size = int((await reader.readuntil(b"\r\n")).split(b";")[0], 16)
            if size == 0:
                while await reader.readuntil(b"\r\n") != b"\r\n":
                    pass
                return total
            await reader.readexactly(size + 2)
            total += size
    length = int(headers.get("content-length", 0))
    await reader.readexactly(length)
    return length


def answer(name: str, status: str, method: str, target: str, headers: dict[str, str], body_size: int) -> bytes:
    told = {
        "backend": name,
        "method": method,
        "target": target,
        "host": headers.get("host", ""),
        "client": headers.get("x-forwarded-for", ""),
        "request_id": headers.get("x-request-id", ""),
        "body_bytes": body_size,
    }
    body = json.dumps(told).encode() + b"\n"
    fields = f"Content-Type: application/json\r\nX-Backend: {name}\r\nContent-Length: {len(body)}\r\n"
    head = f"HTTP/1.1 {status}\r\n{fields}\r\n"
    return head.encode() + (b"" if method == "HEAD" else body)


async def serve_connection(
    name: str, mood: list[tuple[str, str]], reader: asyncio.StreamReader, writer: asyncio.StreamWriter
) -> None:
    # A peer that goes away or sends nonsense ends its connection and nothing else.
    with suppress(OSError, asyncio.IncompleteReadError, asyncio.LimitOverrunError, ValueError):
        while True:
            first, *lines = (await reader.readuntil(b"\r\n\r\n"))[:-4].decode("latin-1").split("\r\n")
            method, target, _ = first.split(" ")
            pairs = (line.partition(":") for line in lines)
            headers = {key.lower(): value.strip() for key, _, value in pairs}
            body_size = await read_body(reader, headers)
            if method == "POST" and target in MOODS:
                mood[0] = MOODS[target]
            status = mood[0][0 if target == "/health" or target in MOODS else 1]
            writer.write(answer(name, status, method, target, headers, body_size))
            await writer.drain()
    writer.close()


async def main(name: str, address: str) -> None:
    host, _, port = address.rpartition(":")
    mood = [MOODS["/well"]]

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await serve_connection(name, mood, reader, writer)

    server = await asyncio.start_server(serve, host, int(port), limit=LARGEST_HEAD)
    ended = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, ended.set)
    await ended.wait()
    server.close()


if __name__ == "__main__":
    if len(sys.argv) != 3:
        sys.exit("usage: backend.py NAME HOST:PORT")
    asyncio.run(main(sys.argv[1], sys.argv[2]))
