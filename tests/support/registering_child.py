"""Registers two endpoints with each change, some changes at a time, and says which were acknowledged, until killed."""

from __future__ import annotations

import asyncio
import itertools
import os
import sys

from discovery.catalog import Catalog
from discovery.changes import PutEndpoint
from discovery.model import Endpoint
from discovery.registry import Registry
from discovery.store.sqlite import SqliteStore


async def main(path: str, life: str) -> None:
    catalog = Catalog(Registry(), SqliteStore(path))
    await catalog.open()

    async def caller(name: str) -> None:
        for number in itertools.count():
            id = f"{life}-{name}-{number}"
            both = (Endpoint(id=id + half, address="10.0.0.1:80") for half in "ab")
            await catalog.change(*(PutEndpoint(service="app", endpoint=endpoint) for endpoint in both))
            os.write(1, f"{id}\n".encode())

    await asyncio.gather(*(caller(name) for name in "xyz"))


asyncio.run(main(*sys.argv[1:]))
