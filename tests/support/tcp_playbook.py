"""TCP connections by playbook: a data plane that passes them through, its clients and its origins in one thread.

    with TcpBook(service("db", origin), origins=(origin,)) as book:
        client = book.client()
        server = origin.accept()
        client.send(b"question")
        assert server.read_exactly(8) == b"question"

Every connection is logged. Leaving the block closes everything and checks what must hold after any script: no bug was
met, every connection was finished exactly once, all gauges are back at 0, and no stream and no pipe is left.
"""

from __future__ import annotations

import asyncio
import itertools
import json
import socket
import tempfile
from pathlib import Path
from typing import Any, cast

import msgspec
from playbook import LISTENER, ROWS, Client, Origin, Playbook, Server, service

from discovery.model import AccessLog, Listener, LogFormat, Protocol, Route, Service, Settings, StreamRoute
from proxy.dataplane import DataPlane
from proxy.kernel.netio import streams_lost
from proxy.kernel.splice import pipes_used
from proxy.l4.ends import ClientEnd, ServerEnd
from proxy.stats import slots

__all__ = ["LISTENER", "ROWS", "Client", "Origin", "Server", "TcpBook", "service"]


class TcpBook(Playbook):
    workers = 2  # for `second_plane`
    of_http = 0  # connections of the listener that were not passed through, which a script counts

    def __init__(
        self,
        *services: Service,
        origins: tuple[Origin, ...] = (),
        streams: tuple[StreamRoute, ...] = (),
        settings: Settings | None = None,
        max_connections: int = 0,
    ) -> None:
        """Without `streams` everything goes to the first service. What the listener is stands in the attributes that
        are set here first; `apply` puts it in force when they have been changed."""
        self.protocol = Protocol.TCP
        self.streams = streams or (StreamRoute(name="all", service=services[0].name),)
        self.max_connections = max_connections
        self.backlog = 0
        self.folder = tempfile.TemporaryDirectory(prefix="hivemesh-tcp-")
        self.planes: list[DataPlane] = []
        self.lost = streams_lost()
        log = Path(self.folder.name, "log")
        settings = msgspec.structs.replace(
            settings or Settings(), access_log=AccessLog(path=str(log), format=LogFormat.JSON)
        )
        super().__init__(*services, origins=origins, settings=settings, log=log)
        self.planes.append(self.plane)

    def listeners(self, routes: tuple[Route, ...]) -> tuple[Listener, ...]:
        own = Listener(
            name=LISTENER,
            address="127.0.0.1:8080",
            protocol=self.protocol,
            routes=routes if self.protocol is Protocol.HTTP else (),
            streams=self.streams if self.protocol is not Protocol.HTTP else (),
            max_connections=self.max_connections,
            backlog=self.backlog,
        )
        return (own,)

    def second_plane(self) -> str:
        """Start a second worker with the same configuration and a socket of its own; its address."""
        plane = DataPlane(
            cast(asyncio.AbstractEventLoop, self.loop),
            table=self.table,
            worker=1,
            emit=lambda name, fields: self.events.append((name, fields)),
            released=self.released.extend,
        )
        plane.reactor.on_bug = lambda stream, bug: self.bugs.append(bug)
        self.planes.append(plane)
        plane.apply(self.snapshot, self.numbers)
        listening = socket.create_server(("127.0.0.1", 0), backlog=256)
        plane.listen(LISTENER, listening.dup())
        address = f"127.0.0.1:{listening.getsockname()[1]}"
        listening.close()
        return address

    # --- both sides -----------------------------------------------------------------------------------------------

    def client_at(self, address: str) -> Client:
        first, self.address = self.address, address
        client = self.client()
        self.address = first
        return client

    def pair(self, origin: Origin) -> tuple[Client, Server]:
        """A client and the connection to the origin that belongs to it."""
        client = self.client()
        return client, origin.accept()

    def ends(self) -> list[ClientEnd | ServerEnd]:
        return [
            stream
            for plane in self.planes
            for stream in plane.reactor.all_streams()
            if isinstance(stream, ClientEnd | ServerEnd)
        ]

    def client_end(self) -> ClientEnd:
        """The client's side of the only connection."""
        (end,) = [end for end in self.ends() if isinstance(end, ClientEnd)]
        return end

    def server_end(self) -> ServerEnd:
        (end,) = [end for end in self.ends() if isinstance(end, ServerEnd)]
        return end

    def gone(self) -> None:
        """Wait until no connection is left."""
        self.until(lambda: not self.ends(), "all connections closed")

    # --- what is counted ------------------------------------------------------------------------------------------

    def listener_cell(self, cell: int) -> int:
        return self.cell(f"listener/{LISTENER}", cell)

    def log_entries(self) -> list[dict[str, Any]]:
        for plane in self.planes:
            if plane.log.file is not None:
                plane.log.flush()
        return self.log_lines()

    def log_lines(self) -> list[dict[str, Any]]:
        """What has been written so far."""
        assert self.log is not None
        return [json.loads(line) for line in self.log.read_text().splitlines()]

    def entry(self) -> dict[str, Any]:
        """The line of the only connection that has ended."""
        self.until(self.log_entries, "a line of the log")
        (entry,) = self.log_entries()
        return entry

    def flags(self) -> list[str]:
        return [entry["flags"] for entry in self.log_entries()]

    # --- the end --------------------------------------------------------------------------------------------------

    def __enter__(self) -> TcpBook:
        self.watch.begin()
        return self

    def __exit__(self, kind: type[BaseException] | None, *unused: object) -> None:
        for each in itertools.chain(self.clients, self.origins):
            each.close()
        if kind is None:
            self.until(lambda: not self.ends() and not self.downstreams(), "all connections closed")
            self.until(lambda: not self.upstreams(), "all connections to origins closed")
            assert self.gauges() == {}
            assert self.table.total(slots.WORKER_SLOT, slots.WORKER_CONNECTIONS) == 0
            assert self.bugs == []
            finished = sum(entry.get("protocol") == "tcp" for entry in self.log_entries())
            assert finished == self.listener_cell(slots.CONNECTIONS_TOTAL) - self.of_http
            assert pipes_used() == 0
            self.watch.check()
        self.watch.end()
        for plane in self.planes:
            plane.close()
        self.settle()
        self.folder.cleanup()
        if kind is None:
            for plane in self.planes:
                assert plane.reactor.all_streams() == []
                assert plane.reactor.open_streams == 0
            assert streams_lost() == self.lost
