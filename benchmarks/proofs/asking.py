"""A client that sends given requests over kept connections at given times, and an origin that holds back its answers.

Plain sockets and the least of HTTP: what is sent is exactly what is meant, and nothing but the answers is waited for.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from benchmarks.proofs.hive import HOST
from benchmarks.proofs.part import Cue
from benchmarks.proofs.planned import Asked

CONNECTIONS: Final = 32
ANSWER_LIMIT: Final = 30.0


@dataclass(slots=True)
class Answered:
    """sent: when it was, in seconds after the start. cookie: what went with it. served: who the origin says it is."""

    number: int
    status: int
    served: str
    location: str
    cookie: str
    sent: float


@dataclass(slots=True)
class Log:
    answers: list[Answered] = field(default_factory=list)
    failures: list[str] = field(default_factory=list)
    jar: dict[int, str] = field(default_factory=dict)


class Connection:
    """Opened when it is needed, and again after the proxy has closed it."""

    def __init__(self, port: int) -> None:
        self._port = port
        self._reader: asyncio.StreamReader | None = None
        self._writer: asyncio.StreamWriter | None = None

    async def ask(self, head: str, body: int, has_body: bool) -> tuple[int, dict[str, str]]:
        """Status and fields (lower case; of Set-Cookie the first)."""
        if self._writer is None:
            self._reader, self._writer = await asyncio.open_connection(HOST, self._port)
        assert self._reader is not None
        self._writer.write(head.encode() + b"x" * body)
        status, fields = parse((await self._reader.readuntil(b"\r\n\r\n")).decode("latin-1"))
        if has_body and status not in (204, 304):
            await self._skip(self._reader, fields)
        if fields.get("connection", "").lower() == "close":
            self.close()
        return status, fields

    async def _skip(self, reader: asyncio.StreamReader, fields: Mapping[str, str]) -> None:
        if "chunked" in fields.get("transfer-encoding", ""):
            while size := int((await reader.readline()).split(b";")[0], 16):
                await reader.readexactly(size + 2)
            await reader.readuntil(b"\r\n")
        elif size := int(fields.get("content-length", "0")):
            await reader.readexactly(size)

    def close(self) -> None:
        if self._writer is not None:
            self._writer.close()
        self._reader = self._writer = None


def parse(head: str) -> tuple[int, dict[str, str]]:
    first, *lines = head.split("\r\n")
    fields: dict[str, str] = {}
    for line in lines:
        name, colon, value = line.partition(":")
        if colon:
            fields.setdefault(name.lower(), value.strip())
    return int(first.split(" ")[1]), fields


def head_of(asked: Asked, more: Sequence[tuple[str, str]]) -> str:
    fields = [("Host", asked.host), *asked.headers, *more]
    if asked.method in ("POST", "PUT"):
        fields.append(("Content-Length", str(asked.body)))
    lines = "".join(f"{name}: {value}\r\n" for name, value in fields)
    return f"{asked.method} {asked.path} HTTP/1.1\r\n{lines}\r\n"


async def send(
    cue: Cue,
    port: int,
    todo: Sequence[Asked],
    ids: Mapping[int, str],
    cookies: Mapping[int, str],
    times: Mapping[int, float],
) -> dict[str, Any]:
    """Send `todo`, each with the id and the cookie that it is given, if any: by its number. Without given cookies those
    that answers set are sent by the users that got them. times: when, in place of what the requests say."""
    log = Log()
    loop = asyncio.get_running_loop()
    cue.ready()
    begin = loop.time() + 0.1

    async def one(place: int) -> None:
        connection = Connection(port)
        for asked in todo[place::CONNECTIONS]:
            wait = begin + times.get(asked.number, asked.at) - loop.time()
            if wait > 0:
                await asyncio.sleep(wait)
            await _ask(connection, asked, log, ids, cookies, loop.time() - begin)
        connection.close()

    await asyncio.gather(*(one(place) for place in range(CONNECTIONS)))
    return {"answers": log.answers, "failures": log.failures}


async def _ask(
    connection: Connection, asked: Asked, log: Log, ids: Mapping[int, str], cookies: Mapping[int, str], now: float
) -> None:
    cookie = cookies.get(asked.number, "") if ids else log.jar.get(asked.user, "")
    more = [("Cookie", cookie)] if cookie else []
    if asked.number in ids:
        more.append(("X-Request-Id", ids[asked.number]))
    try:
        async with asyncio.timeout(ANSWER_LIMIT):
            status, fields = await connection.ask(head_of(asked, more), asked.body, asked.method != "HEAD")
    except (OSError, EOFError, ValueError, TimeoutError) as error:
        log.failures.append(f"{asked.method} {asked.host}{asked.path}: {error!r}")
        connection.close()
        return
    given = fields.get("set-cookie", "")
    if given and asked.user >= 0:
        log.jar[asked.user] = given.split(";")[0]
    log.answers.append(
        Answered(asked.number, status, fields.get("x-served", ""), fields.get("location", ""), cookie, now)
    )


# --- an origin ----------------------------------------------------------------------------------------------------

SLOW: Final = "/v1/slow"
BODY: Final = b"s" * 40_000
POLL: Final = 0.02


async def origin(cue: Cue, port: int, name: str, released: Path) -> None:
    """Answers as `name`. Of an answer to SLOW the second half comes when the file `released` is there."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while True:
                lines = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
                _, fields = parse("HTTP/1.1 200\r\n" + lines.partition("\r\n")[2])
                await reader.readexactly(int(fields.get("content-length", "0")))
                method, path, _ = lines.split(" ", 2)
                body = BODY if path == SLOW else b"held\n"
                head = f"HTTP/1.1 200 OK\r\nx-served: {name}\r\nContent-Length: {len(body)}\r\n\r\n".encode()
                half = len(body) // 2
                writer.write(head if method == "HEAD" else head + body[:half])
                while path == SLOW and not released.exists():
                    await asyncio.sleep(POLL)
                writer.write(b"" if method == "HEAD" else body[half:])
                await writer.drain()
        except (OSError, EOFError):
            writer.close()

    server = await asyncio.start_server(serve, HOST, port)
    cue.ready()
    await cue.stop.wait()
    server.close()
