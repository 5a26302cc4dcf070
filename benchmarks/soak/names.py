"""Clients of DNS: names of services over UDP and TCP, and foreign names, which a resolver answers."""

from __future__ import annotations

import asyncio
import socket
import time
from typing import Any, Final

import dns.exception
import dns.flags
import dns.message
import dns.rcode
import dns.rdatatype

from benchmarks.proofs.hive import HOST
from benchmarks.soak.scene import ADDRESSES, FOREIGN, Scene, address_of
from benchmarks.soak.tally import Oops, Sighting, Walk

UDP_LIMIT: Final = 20.0
TCP_LIMIT: Final = 30.0

QUESTIONS: Final = (
    ("app.soak", "A"),
    ("dyn.soak", "A"),
    ("app.service.hivemesh", "SRV"),
    ("dyn.service.hivemesh", "SRV"),
    ("app.service.hivemesh", "A"),
)

_BY_ADDRESS: Final = {address: name for name, address in ADDRESSES.items()}


async def over_udp(query: bytes, port: int) -> bytes:
    loop = asyncio.get_running_loop()
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.setblocking(False)
        sock.connect((HOST, port))
        sock.send(query)
        try:
            async with asyncio.timeout(UDP_LIMIT):
                return await loop.sock_recv(sock, 65_535)
        except TimeoutError:
            raise Oops("lost", f"no answer within {UDP_LIMIT:g} s") from None


async def over_tcp(queries: list[bytes], port: int) -> list[bytes]:
    """One after the other on one connection."""
    reader, writer = await asyncio.open_connection(HOST, port)
    try:
        found = []
        for query in queries:
            writer.write(len(query).to_bytes(2, "big") + query)
            found.append(await reader.readexactly(int.from_bytes(await reader.readexactly(2), "big")))
        return found
    finally:
        writer.close()


def check_own(walk: Walk, data: bytes, query: dns.message.Message, asked: float, http: int) -> None:
    """An answer about a service of ours."""
    answer = dns.message.from_wire(data)
    if not query.is_response(answer) or answer.rcode() != dns.rcode.NOERROR:
        raise Oops("wrong", f"{query.question[0]} was answered {answer.to_text()[:200]!r}")
    question = query.question[0]
    name = question.name.to_text().split(".")[0]
    addresses = set()
    targets = 0
    for section in (answer.answer, answer.additional):
        for rrset in section:
            for record in rrset:
                if rrset.rdtype == dns.rdatatype.A:
                    addresses.add(record.address)
                elif rrset.rdtype == dns.rdatatype.SRV:
                    targets += 1
                    if record.port != http:
                        raise Oops("wrong", f"{question} names port {record.port}")
    if not addresses or not addresses <= set(_BY_ADDRESS):
        raise Oops("wrong", f"{question} names the addresses {addresses}")
    if question.rdtype == dns.rdatatype.SRV and not targets:
        raise Oops("wrong", f"{question} has no SRV record")
    walk.tally.sightings.append(Sighting(asked, name, frozenset(_BY_ADDRESS[address] for address in addresses)))


async def dns_udp(walk: Walk, scene: Scene) -> None:
    async def one(name: str, type_: str) -> None:
        query = dns.message.make_query(name, type_)
        asked = time.monotonic()
        check_own(walk, await over_udp(query.to_wire(), scene.ports.dns), query, asked, scene.ports.http)

    while not walk.over:
        walk.number += 1
        await walk.attempt("dns_udp", one(*QUESTIONS[walk.number % len(QUESTIONS)]), TCP_LIMIT)
        await walk.pause(0.2)


async def dns_tcp(walk: Walk, scene: Scene) -> None:
    async def several(count: int) -> None:
        queries = [dns.message.make_query(name, type_) for name, type_ in QUESTIONS[:count]]
        asked = time.monotonic()
        answers = await over_tcp([query.to_wire() for query in queries], scene.ports.dns)
        for query, data in zip(queries, answers, strict=True):
            check_own(walk, data, query, asked, scene.ports.http)

    while not walk.over:
        await walk.attempt("dns_tcp", several(walk.random.randint(1, len(QUESTIONS))), TCP_LIMIT)
        await walk.pause(1.0)


async def dns_forward(walk: Walk, scene: Scene) -> None:
    """Some names again and again, which are kept, and some once."""

    async def one(label: str, is_udp: bool) -> None:
        query = dns.message.make_query(f"{label}.{FOREIGN}", "A")
        if is_udp:
            data = await over_udp(query.to_wire(), scene.ports.dns)
        else:
            data = (await over_tcp([query.to_wire()], scene.ports.dns))[0]
        try:
            answer = dns.message.from_wire(data)
        except dns.exception.DNSException as problem:
            raise Oops("wrong", repr(problem)) from None
        if not query.is_response(answer):
            raise Oops("wrong", f"{label} was answered {answer.to_text()[:200]!r}")
        if answer.rcode() == dns.rcode.SERVFAIL:
            raise Oops("servfail", label)
        found = [record.address for rrset in answer.answer for record in rrset]
        if found != [address_of(label)]:
            raise Oops("wrong", f"{label} is {found}, expected {address_of(label)}")

    while not walk.over:
        name = walk.next()
        label = name.replace(".", "-") if walk.number % 2 else f"kept{walk.number % 10}"
        await walk.attempt("dns_forward", one(label, walk.number % 5 > 0), TCP_LIMIT)
        await walk.pause(0.3)


KINDS: Final[dict[str, tuple[int, Any]]] = {
    "dns_udp": (2, dns_udp),
    "dns_tcp": (1, dns_tcp),
    "dns_forward": (2, dns_forward),
}
