"""What feeds the catalog besides the file and the API: watched directories, followed names and health checks.

They follow the configuration in force: directories come and go with a reload, and what one said is withdrawn when it is
no longer listed. What goes wrong with one is a problem that the catalog keeps under its name.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable
from random import Random

from discovery.catalog import Catalog
from discovery.changes import FILE, Resolved
from discovery.config import Config
from discovery.health.checker import Checker
from discovery.model import Endpoint
from discovery.sources.directory import DirectorySource
from discovery.sources.names import Machine, NameSource
from proxy.config.service_files import Context, ServiceFiles

# How long a start waits for what directories and names say. Later they are in force when they have been looked at.
_FIRST_LOOK = 5.0


class Feeds:
    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        catalog: Catalog,
        config: Config,
        succeeded: Callable[[str, Endpoint], None],
    ) -> None:
        """`succeeded` is told of every health check that succeeds."""
        self.checker = Checker(loop, catalog, config.registry, Random(), succeeded=succeeded)
        self._catalog = catalog
        self._names = NameSource(catalog, Machine(config.registry.resolvers))
        self._files = ServiceFiles(_context(config))
        self._directories: dict[str, DirectorySource] = {}

    async def start(self, config: Config, adopted: Iterable[Resolved], is_fresh: bool) -> None:
        """`adopted`: what names stood for when a predecessor looked. `is_fresh`: nothing is known yet of what the
        sources say, so it is waited for, within limits."""
        self._names.adopt(adopted)
        self._names.follow(FILE, config.followed)
        for path in config.registry.directories:
            self._directories[path] = self._directory(path)
        if is_fresh:
            await self._first_look()
        for source in self._directories.values():
            source.start()
        self.checker.start()

    async def configure(self, config: Config) -> None:
        """Another configuration is in force."""
        self.checker.configure(config.registry)
        context = _context(config)
        if context != self._files.context:
            self._files.context = context
            for source in self._directories.values():
                source.folder.forget()  # the same files may mean something else now
        self._names.machine.resolvers = config.registry.resolvers
        self._names.follow(FILE, config.followed)
        for path in [path for path in self._directories if path not in config.registry.directories]:
            source = self._directories.pop(path)
            await source.close()
            source.withdraw()
        for path in config.registry.directories:
            if path not in self._directories:
                self._directories[path] = self._directory(path)
                self._directories[path].start()

    async def close(self) -> None:
        for source in self._directories.values():
            await source.close()
        await self._names.close()
        await self.checker.close()

    def _directory(self, path: str) -> DirectorySource:
        return DirectorySource(self._catalog, path, self._files.read, self._names.follow)

    async def _first_look(self) -> None:
        try:
            async with asyncio.timeout(_FIRST_LOOK):
                await asyncio.gather(*(each.look() for each in self._directories.values()), return_exceptions=True)
                await self._names.settled()
        except TimeoutError:
            pass  # what is late is in force as soon as it is known


def _context(config: Config) -> Context:
    settings = config.snapshot.settings
    return Context(timeouts=settings.timeouts, has_proxy_address=bool(settings.dns.proxy_addresses))
