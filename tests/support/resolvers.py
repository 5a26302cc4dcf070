"""Resolvers for the forwarder: fakes that answer what a test says, and the real ones that are installed."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path

import dns.flags
import dns.message
import dns.rcode
import dns.rrset
from ports import free_port
from program import Program, installed

Reply = Callable[[dns.message.Message], "list[bytes]"]


def records(
    query: dns.message.Message, *lines: str, rcode: str = "NOERROR", authority: str = ""
) -> dns.message.Message:
    """An answer; each line is "name ttl type data"."""
    answer = dns.message.make_response(query, recursion_available=True)
    answer.set_rcode(dns.rcode.from_text(rcode))
    answer.answer = [_rrset(line) for line in lines]
    answer.authority = [_rrset(authority)] if authority else []
    return answer


def _rrset(line: str) -> dns.rrset.RRset:
    name, ttl, rtype, data = line.split(" ", 3)
    return dns.rrset.from_text(name, int(ttl), "IN", rtype, data)


class FakeResolver(asyncio.DatagramProtocol):
    """Listens over UDP, and over TCP on the same port if it is given `over_tcp`. `reply` makes the datagrams that are
    sent back; `queries` has what was asked."""

    def __init__(self, reply: Reply, over_tcp: Reply | None = None) -> None:
        self.reply = reply
        self.over_tcp = over_tcp
        self.queries: list[dns.message.Message] = []
        self.clients: list[tuple[str, int]] = []
        self.address = ""
        self.transport: asyncio.DatagramTransport | None = None

    def datagram_received(self, data: bytes, client: tuple[str, int]) -> None:
        assert self.transport is not None
        self.queries.append(dns.message.from_wire(data))
        self.clients.append(client)
        for datagram in self.reply(self.queries[-1]):
            self.transport.sendto(datagram, client)

    async def serve_tcp(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        assert self.over_tcp is not None
        size = int.from_bytes(await reader.readexactly(2), "big")
        self.queries.append(dns.message.from_wire(await reader.readexactly(size)))
        for message in self.over_tcp(self.queries[-1]):
            writer.write(len(message).to_bytes(2, "big") + message)
        writer.close()


@asynccontextmanager
async def fake_resolver(reply: Reply, over_tcp: Reply | None = None) -> AsyncIterator[FakeResolver]:
    fake = FakeResolver(reply, over_tcp)
    loop = asyncio.get_running_loop()
    port = free_port()
    transport, _ = await loop.create_datagram_endpoint(lambda: fake, ("127.0.0.1", port))
    fake.transport = transport
    fake.address = f"127.0.0.1:{port}"
    server = await asyncio.start_server(fake.serve_tcp, "127.0.0.1", port) if over_tcp else None
    try:
        yield fake
    finally:
        transport.close()
        if server is not None:
            server.close()


# --- real ones --------------------------------------------------------------------------------------------------------

UNBOUND = """
server:
    interface: 127.0.0.1
    port: {port}
    do-daemonize: no
    username: ""
    chroot: ""
    pidfile: ""
    use-syslog: no
    directory: "{directory}"
    module-config: "iterator"
    local-zone: "real.test." static
    local-data: "real.test. 60 IN SOA ns.real.test. host.real.test. 1 3600 600 86400 30"
    local-data: "web.real.test. 60 IN A 10.1.0.1"
    local-data: "web.real.test. 60 IN A 10.1.0.2"
    {large}
remote-control:
    control-enable: no
"""

KNOT = """
server:
    listen: 127.0.0.1@{port}
    rundir: "{directory}"
database:
    storage: "{directory}"
template:
  - id: default
    storage: "{directory}"
zone:
  - domain: real.test
    file: zone
"""

ZONE = """
real.test. 60 SOA ns.real.test. host.real.test. 1 3600 600 86400 30
real.test. 60 NS ns.real.test.
ns.real.test. 60 A 10.1.0.53
web.real.test. 60 A 10.1.0.1
web.real.test. 60 A 10.1.0.2
"""

LARGE = [f"large.real.test. 60 TXT {chr(97 + number) * 250}" for number in range(12)]


@contextmanager
def real_resolver(kind: str, directory: Path, probe: Callable[[str], bool]) -> Iterator[str]:
    """web.real.test has two addresses and large.real.test 3 KB of texts. The address it listens on."""
    port = free_port()
    address = f"127.0.0.1:{port}"
    large = [line.rsplit(" ", 1)[1] for line in LARGE]
    if kind == "dnsmasq":
        command = [
            installed("dnsmasq") or "dnsmasq",
            "--keep-in-foreground",
            "--conf-file=/dev/null",
            "--no-resolv",
            "--no-hosts",
            "--log-facility=-",
            "--user=",
            "--bind-interfaces",
            "--listen-address=127.0.0.1",
            f"--port={port}",
            f"--pid-file={directory}/pid",
            "--local=/real.test/",
            "--local-ttl=60",
            "--host-record=web.real.test,10.1.0.1",
            "--host-record=web.real.test,10.1.0.2",
            *(f"--txt-record=large.real.test,{text}" for text in large),
        ]
    elif kind == "unbound":
        texts = "\n    ".join(f"local-data: '{line}'" for line in LARGE)
        (directory / "conf").write_text(UNBOUND.format(port=port, directory=directory, large=texts))
        command = [installed("unbound") or "unbound", "-d", "-p", "-c", f"{directory}/conf"]
    else:
        (directory / "zone").write_text(ZONE + "\n".join(LARGE) + "\n")
        (directory / "conf").write_text(KNOT.format(port=port, directory=directory))
        command = [installed("knotd") or "knotd", "-c", f"{directory}/conf"]
    with Program(command, directory, lambda: probe(address), kind):
        yield address
