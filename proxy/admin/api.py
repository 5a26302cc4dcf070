"""What the handlers of the admin API share: the agent, threads for work that takes its time, and who waits."""

from __future__ import annotations

import asyncio
import dataclasses
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any, TypeVar

import msgspec

from discovery.catalog import Catalog
from proxy.admin.blocking import Waiting
from proxy.admin.problems import invalid, invalid_value
from proxy.admin.view import AgentView
from proxy.config.bodies import FILE_NAME, Body, Rules
from proxy.config.json_tree import parse_json
from proxy.config.reading import Reading
from proxy.config.shapes import Shape
from proxy.config.words import NAME
from proxy.stats import reading as stats

if TYPE_CHECKING:
    from aiohttp import web

T = TypeVar("T")

JSON = "application/json"


class Api:
    def __init__(self, view: AgentView, threads: ThreadPoolExecutor, most_waiting: int) -> None:
        """`most_waiting`: readers that wait, and streams."""
        self.view = view
        self.threads = threads
        self.waiting = Waiting(most_waiting)
        self._closing: list[Callable[[], None]] = []

    @property
    def catalog(self) -> Catalog:
        return self.view.catalog

    @property
    def rules(self) -> Rules:
        """What bodies may say here, by the configuration in force."""
        return Rules.of(self.view.config)

    def leave(self) -> None:
        """Readers that wait are answered with what there is, streams end, and nobody waits any more."""
        self.waiting.leaving.set()

    def on_close(self, undo: Callable[[], None]) -> None:
        self._closing.append(undo)

    def close(self) -> None:
        self.leave()
        for undo in self._closing:
            undo()
        self.threads.shutdown(wait=False, cancel_futures=True)

    async def off_loop(self, work: Callable[[], bytes]) -> bytes:
        return await asyncio.get_running_loop().run_in_executor(self.threads, work)

    def reading(self) -> stats.Reading:
        """Of what is in force at this moment, though the workers may hear of it a little later: who has changed
        something finds it."""
        return dataclasses.replace(stats.Reading.take(self.view), snapshot=self.catalog.registry.snapshot)

    async def answered(
        self, answer: Callable[[stats.Reading], object], headers: Mapping[str, str] | None = None
    ) -> web.Response:
        """`answer` as JSON; it is made and encoded in a thread."""
        reading = self.reading()
        return json_response(await self.off_loop(lambda: msgspec.json.encode(answer(reading))), headers)


def json_response(body: bytes, headers: Any = None) -> web.Response:
    from aiohttp import web

    return web.Response(body=body, content_type=JSON, headers=headers)


def encoded(value: object, headers: Any = None) -> web.Response:
    """A small answer, made at once."""
    return json_response(msgspec.json.encode(value), headers)


def taken(body: Body[T]) -> tuple[T, tuple[str, ...]]:
    """The value of a body, and which of its fields it says. Raises Refusal with all that is wrong."""
    if body.value is None:
        raise invalid(body.problems)
    return body.value, body.given


def read_json(body: bytes, shape: Shape[T]) -> T:
    """A body that is `shape`. Raises Refusal."""
    reading = Reading(FILE_NAME)
    root = parse_json(body, reading)
    value = shape.read(root, None, reading) if root is not None else None
    if value is None or reading.problems():
        raise invalid(reading.problems())
    return value


def name_of_service(text: str) -> str:
    """A name that is to become known by this request. Raises Refusal."""
    try:
        return NAME.parse(text)
    except ValueError as error:
        raise invalid_value("service", str(error)) from None
