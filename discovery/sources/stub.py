"""One question to resolvers, one after the other, until one knows: a stub resolver (RFC 1034 section 5.3.1).

Every question has a random id and a socket of its own, whose port the kernel draws and which hears that one server
only; what does not fit the question is passed over and waiting goes on (RFC 5452). An answer that was cut off is asked
for again over TCP. Never caches.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable, Sequence

from discovery.sources.messages import Garbled, Reply, question, understand
from discovery.sources.resolution import is_final

TIMEOUT = 2.0  # seconds for one server and way
ROUNDS = 2  # through all servers

_RCODES = {1: "FORMERR", 2: "SERVFAIL", 4: "NOTIMP", 5: "REFUSED"}


class NoAnswer(Exception):
    """Message: why no server gave one, as a sentence."""


class StubResolver:
    def __init__(
        self, servers: Callable[[], Sequence[str]], draw: random.Random | None = None, timeout: float = TIMEOUT
    ) -> None:
        """`servers`: host:port, asked for anew with every question."""
        self._servers = servers
        self._draw = draw or random.SystemRandom()
        self._timeout = timeout

    async def ask(self, name: str, kind: int) -> Reply:
        """An answer that says something about `name`, if only that it is none. Raises NoAnswer."""
        reasons: dict[str, str] = {}
        servers = self._servers()
        for _ in range(ROUNDS):
            for server in servers:
                try:
                    reply = await self._ask_one(server, name, kind)
                except TimeoutError:
                    reasons[server] = f"{server} gave no answer within {self._timeout:g} s"
                except Garbled as error:
                    reasons[server] = f"{server} gave {error}"
                except OSError as error:
                    reasons[server] = f"{server} cannot be asked: {(error.strerror or str(error)).lower()}"
                else:
                    if is_final(reply):
                        return reply
                    reasons[server] = f"{server} answered {_RCODES.get(reply.rcode, f'RCODE {reply.rcode}')}"
        raise NoAnswer(f"{name}: {', '.join(reasons.values()) or 'there is no resolver to ask'}")

    async def _ask_one(self, server: str, name: str, kind: int) -> Reply:
        host, _, port = server.rpartition(":")
        place = host.strip("[]"), int(port)
        async with asyncio.timeout(self._timeout):
            reply = await self._over_udp(place, name, kind)
        if not reply.is_truncated:
            return reply
        async with asyncio.timeout(self._timeout):
            return await self._over_tcp(place, name, kind)

    async def _over_udp(self, place: tuple[str, int], name: str, kind: int) -> Reply:
        loop = asyncio.get_running_loop()
        asked = _Asked(self._draw.getrandbits(16), name, kind, loop.create_future())
        transport, _ = await loop.create_datagram_endpoint(lambda: asked, remote_addr=place)
        try:
            transport.sendto(question(asked.id, name, kind))
            return await asked.reply
        finally:
            transport.close()

    async def _over_tcp(self, place: tuple[str, int], name: str, kind: int) -> Reply:
        id = self._draw.getrandbits(16)
        message = question(id, name, kind)
        reader, writer = await asyncio.open_connection(*place)
        try:
            writer.write(len(message).to_bytes(2, "big") + message)
            length = int.from_bytes(await reader.readexactly(2), "big")
            reply = understand(await reader.readexactly(length), id, name, kind)
        except asyncio.IncompleteReadError:
            raise Garbled("half an answer over TCP") from None
        finally:
            writer.close()
        if reply is None:
            raise Garbled("an answer to another question over TCP")
        if reply.is_truncated:
            raise Garbled("an answer over TCP that is cut off")
        return reply


class _Asked(asyncio.DatagramProtocol):
    """A question under way."""

    def __init__(self, id: int, name: str, kind: int, reply: asyncio.Future[Reply]) -> None:
        self.id = id
        self.name = name
        self.kind = kind
        self.reply = reply

    def datagram_received(self, data: bytes, address: tuple[str, int]) -> None:
        if self.reply.done():
            return
        try:
            reply = understand(data, self.id, self.name, self.kind)
        except Garbled as error:
            self.reply.set_exception(error)
            return
        if reply is not None:
            self.reply.set_result(reply)

    def error_received(self, error: Exception) -> None:
        if not self.reply.done():
            self.reply.set_exception(error)
