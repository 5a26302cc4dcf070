"""GET /v1/tap: requests as they end, one JSON object a line (application/x-ndjson).

    {"ts":"2026-03-01T10:00:00.012Z","duration_ms":1.7,"method":"GET","path":"/api?id=(redacted)","status":200, ...}
    {"lost":12}

Each line is a `Record`, or says how many requests are missing at about this place, because there were more than may be
shown or the reader is slow; `{"lost":0}` only says that the stream lives. It ends after `count` records, when the
reader goes, and when the server leaves. With `capture` the first line is the `CaptureStart` of a capture file, and the
records have what its rules look at.

What waits for a reader is bounded in bytes. Nothing here makes a worker wait.
"""

from __future__ import annotations

import asyncio
import time
from collections import deque
from typing import TYPE_CHECKING

import msgspec

from discovery.model import Position
from mesh import expression
from mesh.capture import FORMAT, CaptureStart, looked_at
from mesh.expression import ExpressionError
from proxy.admin.access import is_from_elsewhere
from proxy.admin.api import Api
from proxy.admin.problems import HEADERS, Refusal, invalid, invalid_value
from proxy.admin.queries import Parameters
from proxy.admin.view import TooManyTaps
from proxy.config.problems import Problem
from proxy.config.words import MAX_HEADER_NAME, header_name
from proxy.control.messages import MOST_PER_SECOND, Seen, Tap

if TYPE_CHECKING:
    from aiohttp import web

NDJSON = "application/x-ndjson"

MAX_BEHIND = 4 * 1024 * 1024  # bytes of lines that wait for one reader
MAX_HEADERS = 64  # that may be asked for
MAX_RATE = 1_000_000
WRITE_TIMEOUT = 30.0  # seconds that a reader may take nothing at all
KEEP_ALIVE = 15.0  # seconds of silence after which a line is sent all the same

_ENCODER = msgspec.json.Encoder()


class Reader:
    """What one stream still has to send."""

    def __init__(self, count: int) -> None:
        """`count`: how many records it wants; 0: all that come."""
        self.left = count or -1
        self.news = asyncio.Event()
        self._lines: deque[bytes] = deque()
        self._size = 0
        self._lost = 0

    def seen(self, seen: Seen) -> None:
        if self.left == 0:
            return
        self._lost += seen.lost
        for record in seen.records:
            if self.left == 0:
                break
            line = _ENCODER.encode(record)
            if self._size + len(line) > MAX_BEHIND:
                self._lost += 1
                continue
            self._lines.append(line)
            self._size += len(line)
            self.left -= 1
        if self._lines or self._lost:
            self.news.set()

    def has_enough(self) -> bool:
        """All that it wanted was taken."""
        return self.left == 0 and not self._lines

    def take(self) -> bytes:
        """What there is to send, as lines."""
        if self._lost:
            self._lines.append(lost_line(self._lost))
        data = b"\n".join((*self._lines, b"")) if self._lines else b""
        self._lines.clear()
        self._size = self._lost = 0
        self.news.clear()
        return data


def lost_line(count: int) -> bytes:
    return b'{"lost":%d}' % count


class Taps:
    def __init__(self, api: Api) -> None:
        self.api = api

    def routes(self) -> list[web.RouteDef]:
        from aiohttp import web

        return [web.get("/v1/tap", self.tap, allow_head=False)]

    async def tap(self, request: web.Request) -> web.StreamResponse:
        parameters = Parameters(request, "filter", "open", "rate", "count", "capture", many=("header",))
        wanted = wanted_tap(parameters)
        if wanted.is_open and is_from_elsewhere(request.headers):
            raise Refusal(403, "a page of another site may not see what is hidden")
        opening = lost_line(0) + b"\n"  # so that it knows that it has begun
        if parameters.flag("capture"):
            start, wanted = self.capture(wanted)
            opening = _ENCODER.encode(start) + b"\n"
        reader = Reader(parameters.number("count", 0))
        try:
            end = await self.api.view.tap(wanted, reader.seen)
        except TooManyTaps as error:
            raise Refusal(429, str(error)) from None
        try:
            return await self.stream(request, reader, opening)
        finally:
            end()

    def capture(self, wanted: Tap) -> tuple[CaptureStart, Tap]:
        """How a capture begins, and the tap that shows what it needs."""
        snapshot = self.api.catalog.registry.snapshot
        looked = looked_at(snapshot)
        wanted = msgspec.structs.replace(
            wanted,
            headers=tuple(sorted({*looked.headers, *wanted.headers})),
            cookies=looked.cookies,
            is_open=True,
        )
        start = CaptureStart(
            capture=FORMAT,
            started=time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
            config_version=snapshot.version,
            headers=wanted.headers,
            cookies=wanted.cookies,
            filter=wanted.filter,
        )
        return start, wanted

    async def stream(self, request: web.Request, reader: Reader, opening: bytes) -> web.StreamResponse:
        """Until the reader has enough, is gone or takes nothing, or the server leaves."""
        from aiohttp import web

        waiting = self.api.waiting
        response = web.StreamResponse(headers={"Content-Type": NDJSON, **HEADERS})
        await response.prepare(request)
        leaving = asyncio.ensure_future(waiting.leaving.wait())
        try:
            batch = opening
            while not leaving.done():
                if batch:
                    async with asyncio.timeout(WRITE_TIMEOUT):
                        await response.write(batch)
                if reader.has_enough():
                    break
                news = asyncio.ensure_future(reader.news.wait())
                try:
                    await asyncio.wait((news, leaving), timeout=KEEP_ALIVE, return_when=asyncio.FIRST_COMPLETED)
                finally:
                    news.cancel()
                batch = reader.take() or lost_line(0) + b"\n"
        except TimeoutError:
            if request.transport is not None:
                request.transport.abort()
        finally:
            leaving.cancel()
        return response


def wanted_tap(parameters: Parameters) -> Tap:
    """Raises Refusal."""
    text = parameters.values.get("filter", "")
    try:
        expression.compile(text)
    except ExpressionError as error:
        position = Position(file="filter", line=1, column=error.column)
        raise invalid((Problem(message=str(error), position=position, key="filter", source="request"),)) from None
    names = parameters.lists["header"]
    if len(names) > MAX_HEADERS:
        raise invalid_value("header", f"{len(names)} headers are too many, expected at most {MAX_HEADERS}")
    for name in names:
        try:
            if name != "*":
                header_name(name)
            if len(name) > MAX_HEADER_NAME:
                raise ValueError(f"a name of {len(name)} characters is too long, expected at most {MAX_HEADER_NAME}")
        except ValueError as error:
            raise invalid_value("header", str(error)) from None
    is_open = parameters.flag("open") or parameters.flag("capture")
    most = parameters.number("rate", MOST_PER_SECOND, least=1, most=MAX_RATE)
    return Tap(number=0, filter=text, headers=tuple(name.lower() for name in names), is_open=is_open, most=most)
