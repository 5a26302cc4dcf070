"""A DNS server that answers what a test tells it to, over UDP and TCP, in the test's own event loop."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from types import TracebackType
from typing import cast

import dnslib

Answerer = Callable[[bytes, bool], Sequence[bytes]]  # a query, and whether it came over TCP -> messages to send


def reply(query: bytes, *records: str, rcode: int = 0, additional: Sequence[str] = ()) -> bytes:
    """Records as in a zone file, "www.test. 60 IN A 10.0.0.1"."""
    answer = dnslib.DNSRecord.parse(query).reply(ra=1, aa=0)
    answer.header.rcode = rcode
    for text in records:
        answer.add_answer(*dnslib.RR.fromZone(text))
    for text in additional:
        answer.add_ar(*dnslib.RR.fromZone(text))
    return bytes(answer.pack())


def truncated(query: bytes) -> bytes:
    answer = dnslib.DNSRecord.parse(query).reply()
    answer.header.tc = 1
    return bytes(answer.pack())


class FakeResolver:
    def __init__(self, answer: Answerer) -> None:
        self.answer = answer
        self.queries: list[bytes] = []
        self.peers: list[tuple[str, int]] = []
        self.address = ""
        self._transport: asyncio.DatagramTransport
        self._server: asyncio.Server

    async def __aenter__(self) -> FakeResolver:
        loop = asyncio.get_running_loop()
        self._server = await asyncio.start_server(self._on_connection, "127.0.0.1", 0)
        port = self._server.sockets[0].getsockname()[1]
        self._transport, _ = await loop.create_datagram_endpoint(lambda: _Udp(self), local_addr=("127.0.0.1", port))
        self.address = f"127.0.0.1:{port}"
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None
    ) -> None:
        self._transport.close()
        self._server.close()
        await self._server.wait_closed()

    def asked(self) -> list[str]:
        questions = [dnslib.DNSRecord.parse(query).q for query in self.queries]
        return [f"{str(each.qname).removesuffix('.')} {dnslib.QTYPE[each.qtype]}" for each in questions]

    async def _on_connection(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            query = await reader.readexactly(int.from_bytes(await reader.readexactly(2), "big"))
            self.queries.append(query)
            for message in self.answer(query, True):
                writer.write(len(message).to_bytes(2, "big") + message)
            await writer.drain()
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            writer.close()


class _Udp(asyncio.DatagramProtocol):
    def __init__(self, resolver: FakeResolver) -> None:
        self.resolver = resolver
        self.transport: asyncio.DatagramTransport

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast("asyncio.DatagramTransport", transport)

    def datagram_received(self, data: bytes, address: tuple[str, int]) -> None:
        self.resolver.queries.append(data)
        self.resolver.peers.append(address)
        for message in self.resolver.answer(data, False):
            self.transport.sendto(message, address)
