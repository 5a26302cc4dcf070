"""The resolver that hivemesh passes foreign names on to: addresses that follow from the name, over UDP and TCP."""

from __future__ import annotations

import asyncio
from typing import Any, Final

import dns.message
import dns.rcode
import dns.rrset

from benchmarks.proofs.hive import HOST
from benchmarks.proofs.part import Cue
from benchmarks.soak.scene import FOREIGN, address_of

TTL: Final = 2


async def resolver(cue: Cue, port: int) -> None:
    loop = asyncio.get_running_loop()
    transport, _ = await loop.create_datagram_endpoint(Datagrams, (HOST, port))
    server = await asyncio.start_server(serve, HOST, port)
    cue.ready()
    await cue.stop.wait()
    transport.close()
    server.close()


class Datagrams(asyncio.DatagramProtocol):
    def connection_made(self, transport: Any) -> None:
        self._transport = transport

    def datagram_received(self, data: bytes, address: Any) -> None:
        self._transport.sendto(answer(data), address)


async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    try:
        while True:
            question = await reader.readexactly(int.from_bytes(await reader.readexactly(2), "big"))
            data = answer(question)
            writer.write(len(data).to_bytes(2, "big") + data)
            await writer.drain()
    except (OSError, asyncio.IncompleteReadError):
        writer.close()


def answer(data: bytes) -> bytes:
    """An A record for names under FOREIGN, NXDOMAIN for all others."""
    question = dns.message.from_wire(data)
    response = dns.message.make_response(question)
    name = question.question[0].name.to_text(omit_final_dot=True).lower()
    if name.endswith("." + FOREIGN):
        address = address_of(name.removesuffix("." + FOREIGN))
        response.answer.append(dns.rrset.from_text(question.question[0].name, TTL, "IN", "A", address))
    else:
        response.set_rcode(dns.rcode.NXDOMAIN)
    return response.to_wire()
