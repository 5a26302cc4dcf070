"""The data plane of a configuration without sockets: asked what would become of requests, without a running program.

It is the same tables, the same routers and the same rehearsal as in a worker, over a table of statistics of its own.
Endpoints are taken for healthy, and names that are followed for one endpoint each. Nothing is listened on, nothing
connected to. With the same seed the same questions get the same answers, in this order.
"""

from __future__ import annotations

import os
from types import TracebackType

from msgspec.structs import replace

from discovery.config import Config
from discovery.model import Endpoint, Protocol, Service
from mesh.decision import Decision, Question
from mesh.draws import Draws
from proxy.config.addresses import followed_name
from proxy.config.route_tests import with_names
from proxy.control.secret import signing_with
from proxy.dataplane import connect_upstream
from proxy.http1.forward import Forwarder
from proxy.http1.mirror import Mirrors
from proxy.http1.rehearsal import Rehearsal
from proxy.http1.settings import HttpSettings
from proxy.kernel.cells import Table
from proxy.kernel.netio import Reactor
from proxy.stats.allocator import keys_of
from proxy.stats.rows import Rows
from proxy.stats.slots import SLOTS_PER_WORKER, WORKER_SLOT, table_size
from proxy.table import Tables

WORKER = 0


class Offline:
    def __init__(self, config: Config, *, seed: int = 0) -> None:
        """RouteError when the routes of a listener do not compile; a configuration that was checked has none."""
        names = _Names()
        services = tuple(names.hidden(service) for service in with_names(config))
        snapshot = replace(config.snapshot, services=services)
        # Cookies of a running program are only known with its secret.
        self.snapshot = signing_with(snapshot, f"offline {seed}")
        numbers = {key: number for number, key in enumerate(keys_of(self.snapshot), WORKER_SLOT + 1)}
        self.table = _table(max(len(numbers) + 1, SLOTS_PER_WORKER))
        self._ids = Draws(seed)
        self._reactor = Reactor()
        worker_slot = self.table.slot(WORKER, WORKER_SLOT)
        settings = HttpSettings(self.snapshot.settings)
        self._forwarder = Forwarder(self._reactor, settings, connect_upstream, worker_slot)
        self.tables = Tables(Rows(self.table, WORKER, lambda number: None))
        self.tables.draws.state = Draws(seed).bits()
        self.tables.policies.mirrors = Mirrors(self._forwarder, self.tables.services)
        self._forwarder.draws = self.tables.draws
        self.tables.apply(self.snapshot, numbers)
        names.show(self.tables)
        for listener in self.snapshot.listeners:
            self.tables.listeners[listener.name].port = _port_of(listener.address)
        self._rehearsal = Rehearsal(self._forwarder)

    def ask(self, question: Question) -> Decision:
        """ValueError when it names no listener that takes HTTP requests."""
        listener = self.tables.listeners.get(question.listener)
        if listener is None or listener.protocol not in (Protocol.HTTP, Protocol.AUTO):
            raise ValueError(f"no listener called '{question.listener}' takes HTTP requests")
        if not question.request_id:
            question = replace(question, request_id=f"{self._ids.bits():016x}{self._ids.bits():016x}")
        self._reactor.turn()  # the present moment, which nobody else tells
        told: list[Decision] = []
        for _ in self._rehearsal.steps(question, listener, self.snapshot.settings, told.append):
            pass
        return told[0]

    def close(self) -> None:
        self._reactor.close()

    def __enter__(self) -> Offline:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


class _Names:
    """Endpoints that are names have no address to connect to, so the tables get another one, which nobody sees."""

    def __init__(self) -> None:
        self.known: dict[str, Endpoint] = {}

    def hidden(self, service: Service) -> Service:
        if all(followed_name(each.address) is None for each in service.endpoints):
            return service
        return replace(service, endpoints=tuple(self._hide(each) for each in service.endpoints))

    def _hide(self, endpoint: Endpoint) -> Endpoint:
        if followed_name(endpoint.address) is None:
            return endpoint
        address = f"unix:name-{len(self.known)}"
        self.known[address] = endpoint
        return replace(endpoint, address=address)

    def show(self, tables: Tables) -> None:
        for runtime in tables.services.values() if self.known else ():
            for each in runtime.endpoints.values():
                each.endpoint = self.known.get(each.endpoint.address, each.endpoint)


def _table(rows: int) -> Table:
    descriptor = os.memfd_create("hivemesh-offline", os.MFD_CLOEXEC)
    try:
        os.ftruncate(descriptor, table_size(1, rows))
        return Table(descriptor, 1, rows)
    finally:
        os.close(descriptor)  # the mapping keeps the memory


def _port_of(address: str) -> bytes:
    return b"" if address.startswith("unix:") else address.rpartition(":")[2].encode()
