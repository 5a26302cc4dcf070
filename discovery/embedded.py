"""The Python API with a registry of its own: a `Catalog` in memory, and the health checks that it asks for.

Begins with the first call, in the event loop that runs then, and ends with `close`.
"""

from __future__ import annotations

import asyncio
import random

from discovery.catalog import Catalog
from discovery.changes import Conflict, Durable, Heartbeat, PutRoute
from discovery.config import RegistrySettings
from discovery.health.checker import Checker
from discovery.model import Route, Service
from discovery.registry import Registry
from discovery.store.memory import MemoryStore
from discovery.terms import Invalid


class Embedded:
    def __init__(self, settings: RegistrySettings | None = None) -> None:
        self._settings = settings or RegistrySettings()
        self._catalog: Catalog | None = None
        self._checker: Checker | None = None
        self._opening: asyncio.Lock | None = None
        self._is_closed = False

    async def close(self) -> None:
        catalog, self._catalog, self._is_closed = self._catalog, None, True
        checker, self._checker = self._checker, None
        if checker is not None:
            await checker.close()
        if catalog is not None:
            await catalog.close()

    async def change(self, *changes: Durable | Heartbeat) -> None:
        catalog = await self._opened()
        for change in changes:
            if isinstance(change, PutRoute):
                for name in (change.route.service, *(share.service for share in change.route.split)):
                    if name and catalog.registry.service(name) is None:
                        raise Invalid(f"service: there is no service called {name}")
        await catalog.change(*changes)

    async def names(self) -> list[str]:
        return list((await self._opened()).registry.services())

    async def service(self, name: str) -> Service | None:
        return (await self._opened()).registry.service(name)

    async def newer(self, name: str, index: int, wait: float) -> tuple[int, Service | None]:
        catalog = await self._opened()
        if index:
            await catalog.wait(index, name, wait)
        return catalog.registry.index_of(name), catalog.registry.service(name)

    async def route(self, name: str) -> Route | None:
        found = (await self._opened()).registry.route(name)
        return None if found is None else found.route

    async def _opened(self) -> Catalog:
        if self._is_closed:
            raise Conflict("this service discovery is closed")
        if self._opening is None:
            self._opening = asyncio.Lock()
        async with self._opening:
            if self._catalog is None:
                # Counting from 1: a watch that knows index 0 would know nothing.
                catalog = Catalog(Registry(1, self._settings), MemoryStore())
                await catalog.open()
                self._catalog = catalog
                self._checker = Checker(asyncio.get_running_loop(), catalog, self._settings, random.Random())
                self._checker.start()
        return self._catalog
