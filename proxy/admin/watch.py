"""GET /v1/watch: changes of the registry as they happen, as server-sent events (HTML standard, section 9.2).

    event: hello                          event: change
    id: 41                                id: 42
    data: {"index":41}                    data: {"index":42,"services":["web"]}

One `change` for each change that was applied, in order and without gaps. A reader that comes again names the last id
it saw (Last-Event-ID, which browsers and libraries send by themselves) and gets what it missed; when that is not known
any more it gets `reset` instead: everything may be different. A reader that is slower than the changes is let go once
`MAX_BEHIND` events wait for it; it comes again and gets what it missed.
`Feed` is pure but for the queues of its readers; the driver is `stream`.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

import msgspec

from discovery.catalog import Catalog
from discovery.registry import Applied
from proxy.admin.api import Api
from proxy.admin.blocking import Waiting, index_headers, index_of
from proxy.admin.problems import HEADERS, invalid_value
from proxy.admin.queries import Parameters
from proxy.config.nodes import shown

if TYPE_CHECKING:
    from aiohttp import web

REMEMBERED = 4096  # changes that a reader may have missed
MAX_BEHIND = 1024  # events waiting for one reader
WRITE_TIMEOUT = 30.0  # seconds that a reader may take nothing at all
KEEP_ALIVE = 15.0  # seconds of silence after which a comment is sent, as HTML's section 9.2.7 advises
RETRY_MS = 1000  # what a reader waits before it comes again

LAST_EVENT_ID = "Last-Event-ID"


@dataclass(frozen=True, slots=True)
class Change:
    index: int
    services: tuple[str, ...]  # sorted; none where nothing of a service has changed (listeners, nodes)


class Reader:
    """What one stream still has to send. `is_late`: it was too slow, and misses what came after."""

    def __init__(self, service: str) -> None:
        self.service = service
        self.waiting: deque[Change] = deque()
        self.is_late = False
        self.news = asyncio.Event()

    def offer(self, change: Change) -> None:
        if self.is_late or (self.service and self.service not in change.services):
            return
        if len(self.waiting) >= MAX_BEHIND:
            self.is_late = True
            self.waiting.clear()
        else:
            self.waiting.append(change)
        self.news.set()


class Feed:
    """The latest changes, and who is to be told of the next ones."""

    def __init__(self, index: int) -> None:
        """`index` is in force."""
        self._changes: deque[Change] = deque(maxlen=REMEMBERED)
        self._readers: set[Reader] = set()
        self._since = index  # every change after this one is in `_changes`

    def applied(self, applied: Applied) -> None:
        """What the catalog calls after each change."""
        if not applied.changed:
            return
        if len(self._changes) == REMEMBERED:
            self._since = self._changes[0].index
        change = Change(applied.index, tuple(sorted(applied.services)))
        self._changes.append(change)
        for reader in self._readers:
            reader.offer(change)

    def missed(self, index: int, now: int) -> list[Change] | None:
        """What came after `index`; None when that is not known. `now` is the index in force."""
        if not self._since <= index <= now:
            return None
        return [change for change in self._changes if change.index > index]

    @contextmanager
    def reader(self, service: str) -> Iterator[Reader]:
        reader = Reader(service)
        self._readers.add(reader)
        try:
            yield reader
        finally:
            self._readers.discard(reader)


def event(name: str, index: int, **values: object) -> bytes:
    data = msgspec.json.encode({"index": index, **values}).decode()
    return f"event: {name}\nid: {index}\ndata: {data}\n\n".encode()


def change_event(change: Change) -> bytes:
    return event("change", change.index, services=change.services)


def last_seen(text: str) -> int | None:
    """Raises Refusal."""
    if not text:
        return None
    if not (text.isascii() and text.isdigit() and len(text) <= 19):
        raise invalid_value(LAST_EVENT_ID, f"'{shown(text)}' is not an index, expected a whole number")
    return int(text)


class Watch:
    def __init__(self, api: Api) -> None:
        self.api = api
        self.feed = Feed(api.catalog.registry.index)
        api.on_close(api.catalog.subscribe(self.feed.applied))

    def routes(self) -> list[web.RouteDef]:
        from aiohttp import web

        return [web.get("/v1/watch", self.watch, allow_head=False)]

    async def watch(self, request: web.Request) -> web.StreamResponse:
        return await stream(request, self.api.catalog, self.feed, self.api.waiting)


async def stream(request: web.Request, catalog: Catalog, feed: Feed, waiting: Waiting) -> web.StreamResponse:
    """Until the reader goes, is too slow, or the server leaves."""
    from aiohttp import web

    service = Parameters(request, "service").values.get("service", "")
    seen = last_seen(request.headers.get(LAST_EVENT_ID, ""))
    with waiting.place(), feed.reader(service) as reader:
        index = index_of(catalog)
        response = web.StreamResponse(headers={"Content-Type": "text/event-stream", **HEADERS, **index_headers(index)})
        await response.prepare(request)
        opening = f"retry: {RETRY_MS}\n\n".encode() + event("hello", index)
        batch = opening + _caught_up(feed, seen, index, service)
        try:
            while not waiting.leaving.is_set() and not reader.is_late:
                if batch:
                    async with asyncio.timeout(WRITE_TIMEOUT):
                        await response.write(batch)
                elif not await _comes(reader, waiting, KEEP_ALIVE):
                    batch = b": keep-alive\n\n"
                    continue
                batch = b"".join(change_event(change) for change in reader.waiting)
                reader.waiting.clear()
                reader.news.clear()
        except TimeoutError:
            if request.transport is not None:
                request.transport.abort()
        return response


def _caught_up(feed: Feed, seen: int | None, index: int, service: str) -> bytes:
    if seen is None:
        return b""
    missed = feed.missed(seen, index)
    if missed is None:
        return event("reset", index)
    return b"".join(change_event(change) for change in missed if not service or service in change.services)


async def _comes(reader: Reader, waiting: Waiting, timeout: float) -> bool:
    """Is there something to do within `timeout`?"""
    tasks = [asyncio.ensure_future(reader.news.wait()), asyncio.ensure_future(waiting.leaving.wait())]
    try:
        done, _ = await asyncio.wait(tasks, timeout=timeout, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for task in tasks:
            task.cancel()
    return bool(done)
