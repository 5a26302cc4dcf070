"""A data plane in the caller's own event loop: for tests, and for programs that want a proxy inside.

    async with Embedded(text) as hive:
        port = hive.port("web")
        await hive.apply(other_text)
        cells, codes = hive.stats("service/web")

It is what `workers: 0` runs, the same worker, rows and rollout, without supervisor, admin API, file or reload.
Listeners take ports that the kernel chooses, whatever the configuration says, unless `ephemeral` is False.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable, Mapping
from types import TracebackType
from typing import Any

import msgspec

from discovery.changes import Base
from discovery.config import Config
from discovery.model import Snapshot
from discovery.registry import Registry
from proxy.control import sockets
from proxy.control.fleet import Fleet, Place
from proxy.control.local import connect_local
from proxy.control.messages import Seen, Tap
from proxy.control.rollout import Refused, Rollout
from proxy.control.secret import new_secret, signing_with
from proxy.control.worker import PlaneFactory, Worker
from proxy.kernel.cells import Table
from proxy.stats.allocator import SlotAllocator
from proxy.stats.slots import table_size

Source = Config | Snapshot | str


class Embedded:
    def __init__(self, source: Source, *, ephemeral: bool = True, plane: PlaneFactory | None = None) -> None:
        """`source` is a configuration, or the text of a configuration file."""
        self.events: list[tuple[str, Mapping[str, Any]]] = []  # what the data plane reported
        self.table: Table
        self._source = source
        self._secret = new_secret()
        self._registry = Registry()
        self._ephemeral = ephemeral
        self._plane = plane
        self._fleet: Fleet
        self._rollout: Rollout
        self._worker: Worker

    async def __aenter__(self) -> Embedded:
        """Serving when it returns. Raises Refused."""
        descriptor = os.memfd_create("hivemesh-embedded", os.MFD_CLOEXEC)
        try:
            os.ftruncate(descriptor, table_size(1))
            self.table = Table(descriptor, 1)
        finally:
            os.close(descriptor)  # the mapping keeps the memory
        allocator = SlotAllocator(self.table.slots, self.table.clear)
        self._fleet = Fleet(1, allocator, self.table, lambda _, name, fields: self.events.append((name, fields)))
        self._rollout = Rollout(self._fleet, _OwnSockets(), {})
        plane = self._plane if self._plane is not None else _data_plane()
        self._worker = connect_local(asyncio.get_running_loop(), self._fleet, plane, self.table)
        try:
            await self._fleet.greeted()
            await self.apply(self._source)
        except BaseException:
            self.close()
            raise
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Stop at once."""
        self._worker.close()
        self._rollout.close_sockets()

    async def apply(self, source: Source) -> Snapshot:
        """Put another configuration in force. Raises Refused, and then what was in force stays."""
        snapshot = signing_with(_snapshot(source), self._secret)
        if self._ephemeral:
            listeners = tuple(
                msgspec.structs.replace(listener, address=_with_any_port(listener.address))
                for listener in snapshot.listeners
            )
            snapshot = msgspec.structs.replace(snapshot, listeners=listeners)
        await self._rollout.apply(self._registry.preview(snapshot))
        self._registry.apply(Base(snapshot=snapshot), now=0.0)
        self._registry.advance(self._rollout.snapshot.version)
        return self._rollout.snapshot

    async def drain(self, deadline: float, streams: float | None = None) -> None:
        """Accept nothing more, and wait until what is open has ended or `deadline` seconds are over; `streams`: the
        same for what has no end of its own, if it is to be another time."""
        self._rollout.close_sockets()
        self._fleet.drain(deadline, deadline if streams is None else streams)
        await self._fleet.ended()

    async def tap(self, wanted: Tap, seen: Callable[[Seen], None]) -> Callable[[], None]:
        """Show `seen` requests as they end, as `wanted` says. The result ends that."""
        return await self._fleet.tap(wanted, seen)

    @property
    def snapshot(self) -> Snapshot:
        return self._rollout.snapshot

    def address(self, listener: str) -> str:
        """Where `listener` accepts: host:port with the port that was chosen, or unix:PATH."""
        return self._rollout.places[listener].actual

    def port(self, listener: str) -> int:
        return sockets.split_address(self.address(listener))[1]

    def stats(self, key: str) -> tuple[list[int], dict[int, int]]:
        """The row called `key` (proxy/stats/slots.py): its plain cells by number, and requests by status code."""
        return self.table.totals(self._rollout.slots[key])


class _OwnSockets:
    """Binder of this process."""

    async def bind(self, name: str, address: str, count: int) -> Place:
        bound = sockets.bind(address, count)
        return Place(address, bound.address, bound.sockets)

    async def want_workers(self, count: int) -> None:
        assert count == 1, "an embedded data plane is one worker"

    def close(self, name: str, place: Place) -> None:
        path = place.address.removeprefix(sockets.UNIX_PREFIX) if place.address.startswith(sockets.UNIX_PREFIX) else ""
        sockets.release(sockets.Bound(place.actual, list(place.sockets), path))


def _snapshot(source: Source) -> Snapshot:
    if isinstance(source, Snapshot):
        return source
    if isinstance(source, Config):
        return source.snapshot
    from proxy.config.load import load_text

    loaded = load_text(source, "embedded")
    if loaded.config is None:
        raise Refused(loaded.problems)
    return loaded.config.snapshot


def _with_any_port(address: str) -> str:
    return address if address.startswith(sockets.UNIX_PREFIX) else f"{address.rpartition(':')[0]}:0"


def _data_plane() -> PlaneFactory:
    from proxy.dataplane import DataPlane

    return DataPlane
