"""Clients of HTTP: kept connections and new ones, uploads, downloads, slow readers, and requests that need a retry.

Every byte of an answer is compared with what follows from the name that was asked for; an upload is told back its hash
by the endpoint. Both numbers of the generation must agree.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
import socket
import time
from dataclasses import dataclass
from typing import Any, Final

from benchmarks.proofs.hive import HOST
from benchmarks.proofs.part import Cue
from benchmarks.soak.origin import PIECE, is_chunked, parse_head
from benchmarks.soak.scene import Expected, Scene, body_of, page_of
from benchmarks.soak.tally import Oops, Walk

# Longer than anything that hangs on purpose, with room for a machine that is busy.
LIMIT: Final = 60.0

SLOW_RATE: Final = 60_000  # bytes per second
SLOW_LENGTH: Final = 400_000
SLOW_BUFFER: Final = 16_384
SLOW_TIME: Final = SLOW_LENGTH / SLOW_RATE

# A client begins a new connection after so many requests: old and new ones must both fare well.
REQUESTS_PER_CONNECTION: Final = 60


@dataclass(slots=True)
class Answer:
    status: int
    fields: dict[str, str]
    trailer: str


class Connection:
    """Opened when it is needed, and again after it has ended. Raises Oops, OSError."""

    def __init__(self, port: int, buffer: int = 0) -> None:
        self._port = port
        self._buffer = buffer
        self._streams: tuple[asyncio.StreamReader, asyncio.StreamWriter] | None = None
        self._socket: socket.socket | None = None
        self._asked = 0

    async def open(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        if self._streams is not None and self._is_over():
            self.close()  # ended while it was idle, which every client that keeps connections has to expect
        if self._streams is None:
            self._socket = sock = socket.socket()
            sock.setblocking(False)
            if self._buffer:
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, self._buffer)
            try:
                await asyncio.get_running_loop().sock_connect(sock, (HOST, self._port))
            except BaseException:
                sock.close()
                raise
            self._streams = await asyncio.open_connection(sock=sock, limit=self._buffer or 65_536)
        return self._streams

    def _is_over(self) -> bool:
        """The other side has closed it, as far as has come here."""
        if self._socket is None or self._socket.fileno() < 0:
            return True
        try:
            self._socket.recv(1, socket.MSG_PEEK | socket.MSG_DONTWAIT)
        except BlockingIOError:
            return False
        except OSError:
            return True
        return True  # an end, or bytes that nobody has asked for

    def close(self) -> None:
        if self._streams is not None:
            self._streams[1].close()
        self._streams = None
        self._asked = 0

    async def ask(self, head: str, body: Any, taker: Any, rate: float = 0.0) -> Answer:
        """`body`: an iterable of bytes, sent as they are. `taker.take` gets the body of a 200."""
        try:
            return await self._ask(head, body, taker, rate)
        except BaseException:
            self.close()
            raise

    async def _ask(self, head: str, body: Any, taker: Any, rate: float) -> Answer:
        reader, writer = await self.open()
        self._asked += 1
        writer.write(head.encode())
        try:
            for part in body:
                writer.write(part)
                await writer.drain()
            first, fields = parse_head(await reader.readuntil(b"\r\n\r\n"))
        except (OSError, asyncio.IncompleteReadError) as problem:
            raise Oops("broken", f"request {self._asked} of its connection: {problem!r}") from None
        status = int(first.split(" ")[1])
        took = bytearray()
        trailer = ""
        if not head.startswith("HEAD "):
            into = taker.take if status == 200 and taker is not None else took.extend
            try:
                trailer = await self._body(reader, fields, into, rate)
            except (OSError, asyncio.IncompleteReadError) as problem:
                raise Oops("cut", f"{first} of {fields.get('x-origin')}: {problem!r}") from None
        if status != 200:
            raise Oops(str(status), f"{bytes(took[:200]).decode('latin-1')!r} {fields.get('proxy-status', '')}")
        if fields.get("connection", "").lower() == "close" or self._asked >= REQUESTS_PER_CONNECTION:
            self.close()
        return Answer(status, fields, trailer)

    async def _body(self, reader: asyncio.StreamReader, fields: dict[str, str], into: Any, rate: float) -> str:
        if fields.get("transfer-encoding") == "chunked":
            while size := int((await reader.readuntil(b"\r\n")).split(b";")[0], 16):
                await self._exactly(reader, size, into, rate)
                if await reader.readexactly(2) != b"\r\n":
                    raise Oops("wrong", "a chunk does not end")
            trailer = ""
            while (line := await reader.readuntil(b"\r\n")) != b"\r\n":
                name, _, value = line.decode("latin-1").partition(":")
                if name.lower() == "x-trailer":
                    trailer = value.strip()
            return trailer
        await self._exactly(reader, int(fields["content-length"]), into, rate)
        return ""

    async def _exactly(self, reader: asyncio.StreamReader, left: int, into: Any, rate: float) -> None:
        while left:
            data = await reader.read(min(left, PIECE if not rate else 4096))
            if not data:
                raise asyncio.IncompleteReadError(b"", left)
            into(data)
            left -= len(data)
            if rate:
                await asyncio.sleep(len(data) / rate)


class Browser:
    """One client's way of asking, with all checks."""

    def __init__(self, walk: Walk, port: int, buffer: int = 0) -> None:
        self._walk = walk
        self._connection = Connection(port, buffer)

    def close(self) -> None:
        self._connection.close()

    async def content(self, prefix: str, length: int, name: str, method: str = "GET", rate: float = 0.0) -> None:
        expected = Expected(name)
        began = time.monotonic()
        answer = await self._connection.ask(
            f"{method} /{prefix}/{length}/{name} HTTP/1.1\r\nHost: soak\r\n\r\n", (), expected, rate
        )
        if method == "GET":
            if expected.length != length or expected.wrong_at >= 0:
                raise Oops("wrong", f"{name}: {expected.length} of {length} bytes, wrong at {expected.wrong_at}")
            if is_chunked(name) and answer.trailer != name:
                raise Oops("wrong", f"{name}: the trailer is {answer.trailer!r}")
        self._walk.tally.body_bytes += expected.length
        self._decided(answer, began)

    async def page(self, close: bool) -> None:
        began = time.monotonic()
        taken = bytearray()
        more = "Connection: close\r\n" if close else ""
        answer = await self._connection.ask(f"GET /page HTTP/1.1\r\nHost: soak\r\n{more}\r\n", (), Into(taken))
        number = int(answer.fields["x-decided"])
        if taken.decode() != page_of(number):
            raise Oops("wrong", f"generation {number} said {bytes(taken)!r}")
        self._walk.tally.decided(number, began, time.monotonic())

    async def upload(self, length: int, name: str, chunked: bool) -> None:
        body = body_of(name, length)
        began = time.monotonic()
        sizes = self._walk.random
        framing = "Transfer-Encoding: chunked\r\nTrailer: x-trailer" if chunked else f"Content-Length: {length}"
        taken = bytearray()
        answer = await self._connection.ask(
            f"POST /upload/{name} HTTP/1.1\r\nHost: soak\r\n{framing}\r\n\r\n",
            chunks(body, sizes, name) if chunked else pieces(body, sizes),
            Into(taken),
        )
        told = json.loads(taken)
        wanted = {
            "name": name,
            "length": length,
            "sha256": hashlib.sha256(body).hexdigest(),
            "trailer": name if chunked else "",
            "wrong": -1,
        }
        if told != wanted:
            raise Oops("wrong", f"the endpoint got {told}, not {wanted}")
        self._walk.tally.body_bytes += length
        self._walk.tally.uploads.append(name)
        self._decided(answer, began)

    def _decided(self, answer: Answer, began: float) -> None:
        """Told by the endpoint and by hivemesh: the same configuration must have done both."""
        asked, decided = answer.fields.get("x-generation"), answer.fields.get("x-decided")
        if asked != decided or decided is None:
            raise Oops("wrong", f"the request is of generation {asked}, the answer of {decided}")
        self._walk.tally.decided(int(decided), began, time.monotonic())


class Into:
    def __init__(self, taken: bytearray) -> None:
        self.take = taken.extend


def pieces(body: bytes, sizes: Any) -> Any:
    at = 0
    while at < len(body):
        size = sizes.randint(1, PIECE)
        yield body[at : at + size]
        at += size


def chunks(body: bytes, sizes: Any, name: str) -> Any:
    for part in pieces(body, sizes):
        yield b"%x\r\n%b\r\n" % (len(part), part)
    yield b"0\r\nx-trailer: %b\r\n\r\n" % name.encode()


# --- kinds of traffic ---------------------------------------------------------------------------------------------


async def get(walk: Walk, scene: Scene) -> None:
    """A kept connection with small answers."""
    browser = Browser(walk, scene.ports.web)
    while not walk.over:
        name = walk.next()
        method = "HEAD" if walk.number % 8 == 0 else "GET"
        length = walk.random.randint(0, 6000)
        await walk.attempt("get", browser.content("content", length, name, method), LIMIT)
        await walk.pause(0.1)
    browser.close()


async def churn(walk: Walk, scene: Scene) -> None:
    """A connection for each request, ended by either side."""
    while not walk.over:
        browser = Browser(walk, scene.ports.web)
        name = walk.next()
        if walk.number % 2:
            await walk.attempt("churn", browser.page(walk.number % 4 == 1), LIMIT)
        else:
            await walk.attempt("churn", browser.content("content", 700, name), LIMIT)
        browser.close()
        await walk.pause(0.12)


async def upload(walk: Walk, scene: Scene) -> None:
    browser = Browser(walk, scene.ports.web)
    while not walk.over:
        name = walk.next()
        length = int(10 ** walk.random.uniform(0, 5.7))
        chunked = walk.number % 2 == 0
        await walk.attempt("upload", browser.upload(length, name, chunked), LIMIT)
        await walk.pause(0.4)
    browser.close()


async def download(walk: Walk, scene: Scene) -> None:
    browser = Browser(walk, scene.ports.web)
    while not walk.over:
        name = walk.next()
        length = walk.random.randint(200_000, 2_000_000)
        await walk.attempt("download", browser.content("content", length, name), LIMIT)
        await walk.pause(1.0)
    browser.close()


async def slow(walk: Walk, scene: Scene) -> None:
    """Reads slower than the endpoint writes, so that both sides of hivemesh wait."""
    while not walk.over:
        browser = Browser(walk, scene.ports.web, SLOW_BUFFER)
        name = walk.next()
        await walk.attempt("slow", browser.content("content", SLOW_LENGTH, name, rate=SLOW_RATE), LIMIT + SLOW_TIME)
        browser.close()
        await walk.pause(1.0)


async def flaky(walk: Walk, scene: Scene) -> None:
    """One endpoint of four fails each of these; a retry finds another."""
    browser = Browser(walk, scene.ports.web)
    while not walk.over:
        name = walk.next()
        await walk.attempt("flaky", browser.content("flaky", 300, name), LIMIT)
        await walk.pause(0.3)
    browser.close()


async def dyn(walk: Walk, scene: Scene) -> None:
    """A service whose endpoints come and go by the API."""
    browser = Browser(walk, scene.ports.web)
    while not walk.over:
        name = walk.next()
        await walk.attempt("dyn", browser.content("dyn", 900, name), LIMIT)
        await walk.pause(0.25)
    browser.close()


# traffic -> (how many at once, what each does)
KINDS: Final[dict[str, tuple[int, Any]]] = {
    "get": (6, get),
    "churn": (3, churn),
    "upload": (2, upload),
    "download": (1, download),
    "slow": (2, slow),
    "flaky": (2, flaky),
    "dyn": (1, dyn),
}


async def web_crowd(cue: Cue, scene: Scene, seed: str) -> Any:
    from benchmarks.soak.crowd import walk_all

    return await walk_all(cue, scene, seed, KINDS)
