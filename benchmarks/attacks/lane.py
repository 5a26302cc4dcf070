"""Carries cases out, one after the other: a client, the proxy, and an origin that records every byte it gets.

A lane has an address of the proxy and an origin of its own behind it, so several lanes work beside each other and a
byte never belongs to the wrong case. After each case a victim, another client, sends a plain request through the same
pool of connections: it must get its own answer, and when it has it the proxy is done with everything before. The
origin ends the connection on which a victim was answered, until none is left; so cases do not meet either.

Nothing is timed but patience: how long to wait for a proxy that does nothing at all.
"""

from __future__ import annotations

import asyncio
import socket
import struct
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Final

from benchmarks.attacks.case import Case, Door, Step, Until, Verdict
from benchmarks.attacks.readings import Message, read_requests, read_responses

READ_SIZE: Final = 256 * 1024
# A proxy that has seen the client's end closes; this only bounds one that does not.
CLOSE_LIMIT: Final = 1.0
VICTIM_LIMIT: Final = 5.0
MOST_VICTIMS: Final = 6
SETTLE: Final = 0.02

VICTIM: Final = "/victim-"
# An answer says in X-Tag which path it is the answer to, this much of it.
MOST_TAG: Final = 200
PAUSE: Final = 0.05

# Clients come from one address; whoever sends PROXY headers from another, which the proxies may trust.
CLIENT_ADDRESS: Final = "127.0.0.2"
TRUSTED_ADDRESS: Final = "127.0.0.1"


@dataclass(slots=True)
class Seen:
    """What was recorded of a case. `connections`: the bytes of each connection that reached the origin. `received`:
    what the client got before the proxy `ended` the connection, or the client did."""

    received: bytes = b""
    ended: bool = False
    was_reset: bool = False
    connections: list[bytes] = field(default_factory=list)
    victims: list[tuple[str, bytes, bool]] = field(default_factory=list)  # target, what it received, ended


class Connection(asyncio.Protocol):
    """One connection of the proxy to the origin."""

    def __init__(self, lane: Lane) -> None:
        self.lane = lane
        self.received = b""
        self.done = 0  # messages that have been answered or are being
        self.closed = False
        self.tunnel = False  # it has been told 101: what comes is not HTTP
        self.transport: asyncio.Transport = None  # type: ignore[assignment]

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = transport  # type: ignore[assignment]
        self.lane.connections.append(self)

    def data_received(self, data: bytes) -> None:
        self.received += data
        self.lane.moved()
        if self.closed or self.tunnel:
            return
        found = read_requests(self.received)
        if found.messages and self.lane.is_early(found.messages[-1]) and len(found.messages) > self.done:
            self.done = len(found.messages)
            self.lane.play(self)
            return
        for message in found.complete[self.done :]:
            self.done += 1
            self.lane.answer(self, message)
            if self.closed:
                return
        if found.error:
            self.send(
                b"HTTP/1.1 400 Bad Request\r\nX-Tag: origin refused\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"
            )
            self.close()

    def connection_lost(self, error: Exception | None) -> None:
        self.closed = True
        self.lane.moved()

    def send(self, data: bytes) -> None:
        self.transport.write(data)

    def close(self) -> None:
        self.closed = True
        self.transport.close()

    def reset(self) -> None:
        self.closed = True
        endpoint = self.transport.get_extra_info("socket")
        endpoint.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.transport.abort()


class Lane:
    """`ports`: of the proxy, by door. `patience`: seconds without any byte after which a proxy is said to do nothing,
    where it was expected to do something and where it was not."""

    def __init__(self, patience: float, patience_idle: float) -> None:
        self.patience = patience
        self.patience_idle = patience_idle
        self.ports: dict[Door, int] = {}
        self.connections: list[Connection] = []
        self.case: Case | None = None
        self.played = False
        self.origin_port = 0
        self._server: asyncio.Server | None = None
        self._moved = asyncio.Event()
        self._victims = 0
        self._later: tuple[Connection, tuple[Step, ...]] | None = None
        self._head = asyncio.Event()

    async def open(self) -> None:
        """The origin listens on `origin_port` from now on."""
        loop = asyncio.get_running_loop()
        self._server = await loop.create_server(lambda: Connection(self), "127.0.0.1", 0)
        self.origin_port = self._server.sockets[0].getsockname()[1]

    async def close(self) -> None:
        assert self._server is not None
        self._server.close()
        for connection in self.connections:
            connection.transport.abort()

    def moved(self) -> None:
        self._moved.set()

    # --- the origin -----------------------------------------------------------------------------------------------

    def is_early(self, message: Message) -> bool:
        """Whether the script of the case answers at the head already."""
        case = self.case
        if case is None or self.played or b"/attack" not in message.target:
            return False
        self._head.set()
        return bool(case.answers) and Until.REQUEST not in case.answers

    def answer(self, connection: Connection, message: Message) -> None:
        case = self.case
        if case is not None and case.answers and not self.played and b"/attack" in message.target:
            self.play(connection)
            return
        tag = message.target if message.target.isascii() else b"?"
        is_victim = message.target.startswith(VICTIM.encode())
        close = b"Connection: close\r\n" if is_victim else b""
        body = b"" if message.method == b"HEAD" else b"origin\n"
        connection.send(
            b"HTTP/1.1 200 OK\r\nX-Tag: " + tag[:MOST_TAG] + b"\r\nContent-Length: 7\r\n" + close + b"\r\n" + body
        )
        if is_victim:
            connection.close()

    def play(self, connection: Connection) -> None:
        """Send what the case has the origin answer; what follows an ANSWER, when the client has one."""
        assert self.case is not None
        self.played = True
        self._say(connection, self.case.answers)

    def _say(self, connection: Connection, steps: tuple[Step, ...]) -> None:
        for at, step in enumerate(steps):
            if step is Until.ANSWER:
                self._later = (connection, steps[at + 1 :])
                return
            if isinstance(step, bytes):
                if b" 101 " in step[:16]:
                    connection.tunnel = True
                connection.send(step)
            elif step is Until.CLOSE:
                connection.close()
            elif step is Until.RESET:
                connection.reset()

    # --- a case ---------------------------------------------------------------------------------------------------

    async def run(self, case: Case) -> Seen:
        seen = Seen()
        self.case, self.played, self._later = case, False, None
        self._head.clear()
        client = await _connect(self.ports[case.door], case.door)
        ends = asyncio.create_task(self._receive(client, seen))
        loop = asyncio.get_running_loop()
        try:
            for step in case.sends:
                if isinstance(step, bytes):
                    with suppress(OSError):
                        await asyncio.wait_for(loop.sock_sendall(client, step), self.patience)
                elif step is Until.HEAD:
                    with suppress(TimeoutError):
                        await asyncio.wait_for(self._head.wait(), self.patience)
                elif step is Until.READ:
                    await asyncio.sleep(PAUSE)
                elif step is Until.ANSWER:
                    await self._until(lambda: _answers(case, seen) >= 1, seen, self._patience(case))
                    if self._later is not None:
                        connection, steps = self._later
                        self._later = None
                        self._say(connection, steps)
                        await asyncio.sleep(0)  # it has left before the client goes on
            await self._until(lambda: _answers(case, seen) >= case.forwarded, seen, self._patience(case))
            if not seen.ended:
                with suppress(OSError):
                    client.shutdown(socket.SHUT_WR)
                with suppress(TimeoutError):
                    await asyncio.wait_for(asyncio.shield(ends), CLOSE_LIMIT)
                seen.ended = False  # the client ended first
        finally:
            ends.cancel()
            with suppress(asyncio.CancelledError):
                await ends
            client.close()
        await self._sacrifice(seen)
        seen.connections = [connection.received for connection in self.connections if connection.received]
        self.connections.clear()
        self.case = None
        return seen

    def _patience(self, case: Case) -> float:
        return self.patience_idle if Verdict.WAITED in case.right else self.patience

    async def _until(self, condition, seen: Seen, patience: float) -> None:  # type: ignore[no-untyped-def]
        """Wait for `condition`, the end of the connection, or `patience` seconds in which no byte moves anywhere."""
        while not condition() and not seen.ended:
            self._moved.clear()
            try:
                await asyncio.wait_for(self._moved.wait(), patience)
            except TimeoutError:
                return

    async def _receive(self, client: socket.socket, seen: Seen) -> None:
        loop = asyncio.get_running_loop()
        try:
            while data := await loop.sock_recv(client, READ_SIZE):
                seen.received += data
                self.moved()
        except OSError:
            seen.was_reset = True
        seen.ended = True
        self.moved()

    async def _sacrifice(self, seen: Seen) -> None:
        """Victims, until one has been answered and no connection to the origin is left."""
        for _ in range(MOST_VICTIMS):
            self._victims += 1
            target = f"{VICTIM}{self._victims}"
            seen.victims.append(await self._victim(target))
            await asyncio.sleep(0)
            if all(connection.closed for connection in self.connections):
                return
        for connection in self.connections:
            if not connection.closed:
                connection.close()
        await asyncio.sleep(SETTLE)

    async def _victim(self, target: str) -> tuple[str, bytes, bool]:
        loop = asyncio.get_running_loop()
        client = await _connect(self.ports[Door.PLAIN], Door.PLAIN)
        received, ended = b"", False
        try:
            await loop.sock_sendall(client, f"GET {target} HTTP/1.1\r\nHost: a.test\r\n\r\n".encode())
            async with asyncio.timeout(VICTIM_LIMIT):
                while not read_responses(received, [b"GET"], False).complete:
                    data = await loop.sock_recv(client, READ_SIZE)
                    if not data:
                        ended = True
                        break
                    received += data
        except (TimeoutError, OSError):
            pass
        finally:
            client.close()
        return target, received, ended


def methods_of(case: Case) -> list[bytes]:
    """Of the requests that the client has sent, as far as they are clear."""
    return [line.split(" ")[0].encode("latin-1") for line in case.seen] or [b"GET"]


def _answers(case: Case, seen: Seen) -> int:
    """How many final responses the client has, as a strict client counts."""
    found = read_responses(seen.received, methods_of(case), seen.ended and not seen.was_reset)
    return sum(message.status >= 200 or message.status == 101 for message in found.complete)


async def _connect(port: int, door: Door) -> socket.socket:
    """A client of the listener; whoever sends PROXY headers has an address of its own."""
    client = socket.socket()
    client.bind((TRUSTED_ADDRESS if door is Door.PROXY else CLIENT_ADDRESS, 0))
    client.setblocking(False)
    client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    await asyncio.get_running_loop().sock_connect(client, ("127.0.0.1", port))
    return client
