"""Blocking queries: a reader that knows index n is answered when something newer is there, or when its time is over.

The rules are Consul's (consul.io/api-docs/features/blocking): `index` 0 or none does not wait; `wait` is 5 minutes
when it is not given and 10 at most, and up to a sixteenth is added, so that readers that came together do not come back
together; an index that is higher than what there is means that counting began anew, and is answered at once.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Mapping
from dataclasses import dataclass

from discovery.catalog import Catalog
from proxy.admin.durations import parse_go_duration
from proxy.admin.problems import Refusal, invalid_value
from proxy.config.nodes import shown

DEFAULT_WAIT = 300.0
MAX_WAIT = 600.0
JITTER = 16  # the part of the wait that is added at most
MAX_INDEX = (1 << 63) - 1

INDEX_HEADERS = ("X-Hivemesh-Index", "X-Consul-Index")


@dataclass(frozen=True, slots=True)
class Query:
    """What a reader knows, and how long it is ready to wait. `index` 0: it does not wait."""

    index: int = 0
    wait: float = DEFAULT_WAIT

    @classmethod
    def of(cls, parameters: Mapping[str, str]) -> Query:
        """Raises Refusal."""
        return cls(_index(parameters.get("index", "")), _wait(parameters.get("wait", "")))

    def seconds(self, share: float) -> float:
        """How long to wait; `share` is a random number from 0 to 1."""
        return self.wait + share * self.wait / JITTER


class Waiting:
    """The readers of one server that wait. When it stops accepting they are answered with what there is."""

    def __init__(self, most: int, rng: random.Random | None = None) -> None:
        """`most` at a time; each is a connection and a task of the agent."""
        self.leaving = asyncio.Event()
        self.count = 0
        self._most = most
        self._rng = rng or random.Random()

    async def news(self, catalog: Catalog, query: Query, service: str = "") -> None:
        """Until there is something newer than `query.index`, or its time is over. Raises Refusal."""
        if not query.index or query.index > index_of(catalog) or self.leaving.is_set():
            return
        with self.place():
            waiting = asyncio.ensure_future(catalog.wait(query.index, service, query.seconds(self._rng.random())))
            leaving = asyncio.ensure_future(self.leaving.wait())
            try:
                await asyncio.wait((waiting, leaving), return_when=asyncio.FIRST_COMPLETED)
            finally:
                for task in (waiting, leaving):
                    task.cancel()

    def place(self) -> _Place:
        """One place among those who wait, for a `with` block. Raises Refusal when all are taken."""
        if self.count >= self._most:
            raise Refusal(429, f"{self._most} readers are waiting already (admin.max_waiting)")
        return _Place(self)


class _Place:
    def __init__(self, waiting: Waiting) -> None:
        self._waiting = waiting

    def __enter__(self) -> None:
        self._waiting.count += 1

    def __exit__(self, *unused: object) -> None:
        self._waiting.count -= 1


def index_of(catalog: Catalog, service: str = "") -> int:
    """What a reader is told that it knows now. Never 0, which would mean to its next query that it knows nothing
    (Consul's clients then ask without end)."""
    return max(1, catalog.registry.index_of(service) if service else catalog.registry.index)


def index_headers(index: int) -> dict[str, str]:
    return {name: str(index) for name in INDEX_HEADERS}


def _index(text: str) -> int:
    if not text:
        return 0
    if not (text.isascii() and text.isdigit() and len(text) <= 19 and int(text) <= MAX_INDEX):
        raise invalid_value("index", f"'{shown(text)}' is not an index, expected a whole number")
    return int(text)


def _wait(text: str) -> float:
    if not text:
        return DEFAULT_WAIT
    try:
        seconds = parse_go_duration(text)
    except ValueError as error:
        raise invalid_value("wait", str(error)) from None
    # 0 is Consul's word for the default.
    return min(seconds, MAX_WAIT) if seconds else DEFAULT_WAIT
