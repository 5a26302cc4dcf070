"""Scrapes of /metrics: one at a time, in a thread, and shared by everyone who asked while it waited.

However many scrapers come, at most one scrape runs and one more per format waits; so an address that many can reach
costs at most one thread. The numbers are taken when the scrape begins, after every one of those requests came in.
"""

from __future__ import annotations

import asyncio
from concurrent.futures import Executor

from proxy.admin.view import AgentView
from proxy.stats.reading import Reading

Exposition = tuple[bytes, str]  # body, content type


class Scrapes:
    def __init__(self, view: AgentView, threads: Executor) -> None:
        self._view = view
        self._threads = threads
        self._running = asyncio.Lock()
        self._waiting: dict[tuple[str, bool], asyncio.Task[Exposition]] = {}

    async def get(self, accept: str, compress: bool) -> Exposition:
        """The exposition in the format that the header `accept` asks for, as gzip if `compress`."""
        # prometheus-client costs memory that only those who scrape should pay.
        from proxy.stats.collector import content_type

        key = (content_type(accept), compress)
        task = self._waiting.get(key)
        if task is None:
            task = asyncio.get_running_loop().create_task(self._scrape(key))
            self._waiting[key] = task
        # A scraper that gives up must not take the exposition from the others.
        return await asyncio.shield(task)

    async def _scrape(self, key: tuple[str, bool]) -> Exposition:
        from proxy.stats.collector import render

        async with self._running:
            del self._waiting[key]
            reading = Reading.take(self._view)
            kind, compress = key
            loop = asyncio.get_running_loop()
            return await loop.run_in_executor(self._threads, render, reading, kind, compress), kind
