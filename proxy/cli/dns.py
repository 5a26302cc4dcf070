"""`hivemesh dns`: what the running DNS server answers."""

from __future__ import annotations

import socket
from typing import TYPE_CHECKING, Any

import click

from proxy.cli import output
from proxy.cli.client import Unreachable
from proxy.cli.context import Options, common_options

if TYPE_CHECKING:
    from dnslib import DNSRecord  # type: ignore[import-untyped]

DEADLINE = 5.0
LARGEST = 65_535
EXIT_FAILED = 1

# Addresses that stand for all of the machine's.
ANYWHERE = {"0.0.0.0": "127.0.0.1", "::": "::1"}


@click.command()
@click.argument("name")
@click.argument("type", default="A", metavar="[TYPE]")
@click.option(
    "--server", metavar="HOST:PORT", help="Ask this one; default: the first address of dns in the configuration."
)
@click.option("--tcp", is_flag=True, help="Ask over TCP; over UDP an answer that is cut short is asked for again so.")
@common_options
def dns(options: Options, name: str, type: str, server: str | None, tcp: bool) -> int:
    """Ask the DNS server for NAME and print what it answers: rcode, records, TTLs.

    The exit code is 1 when the answer is an error, such as NXDOMAIN, or has no records.
    """
    from dnslib import QTYPE, RCODE, DNSLabel, DNSQuestion, DNSRecord

    kind = QTYPE.reverse.get(type.upper())
    if kind is None:
        raise click.UsageError(f"'{type}' is not a record type, expected one such as A, AAAA, SRV or TXT")
    try:
        label = DNSLabel(name)
        question = DNSRecord(q=DNSQuestion(label, kind))
        packed = bytes(question.pack())
    except Exception:  # dnslib's errors have no common class
        raise click.UsageError(f"'{name}' is not a domain name") from None
    place = server or _configured(options)
    answer = ask(packed, place, tcp)
    records = [
        {"name": str(rr.rname), "ttl": rr.ttl, "type": QTYPE.get(rr.rtype), "value": str(rr.rdata)} for rr in answer.rr
    ]
    rcode = RCODE.get(answer.header.rcode)
    if options.as_json:
        found = {"server": place, "rcode": rcode, "authoritative": bool(answer.header.aa), "answers": records}
        output.print_json(found)
    else:
        print(output.printable(f"{rcode} from {place}{', authoritative' if answer.header.aa else ''}"))
        if records:
            columns = ("NAME", ">TTL", "TYPE", "VALUE")
            output.print_table(columns, ((r["name"], r["ttl"], r["type"], r["value"]) for r in records))
    return 0 if rcode == "NOERROR" and records else EXIT_FAILED


def ask(query: bytes, place: str, tcp: bool = False) -> DNSRecord:
    """The answer of `place` (host:port). Raises Unreachable."""
    from dnslib import DNSRecord

    address = _split(place)
    try:
        answer = DNSRecord.parse(_over_tcp(query, address) if tcp else _over_udp(query, address))
        if answer.header.tc and not tcp:
            answer = DNSRecord.parse(_over_tcp(query, address))
    except OSError as error:
        reason = "timed out" if isinstance(error, TimeoutError) else (error.strerror or str(error)).lower()
        raise Unreachable(f"the DNS server at {place} did not answer: {reason}") from None
    except Exception as error:
        raise Unreachable(f"what answers at {place} does not speak DNS: {error}") from None
    return answer


def _split(place: str) -> tuple[str, int]:
    host, colon, port = place.rpartition(":")
    if not colon or not port.isdigit():
        raise click.UsageError(f"'{place}' is not HOST:PORT")
    host = host.removeprefix("[").removesuffix("]")
    return ANYWHERE.get(host, host), int(port)


def _over_udp(query: bytes, address: tuple[str, int]) -> bytes:
    with socket.socket(socket.AF_INET6 if ":" in address[0] else socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.settimeout(DEADLINE)
        sock.connect(address)
        sock.send(query)
        while True:
            answer = sock.recv(LARGEST)
            if answer[:2] == query[:2]:
                return answer


def _over_tcp(query: bytes, address: tuple[str, int]) -> bytes:
    with socket.create_connection(address, DEADLINE) as sock:
        sock.sendall(len(query).to_bytes(2, "big") + query)
        length = int.from_bytes(_exactly(sock, 2), "big")
        return _exactly(sock, length)


def _exactly(sock: socket.socket, count: int) -> bytes:
    found = b""
    while len(found) < count:
        part = sock.recv(count - len(found))
        if not part:
            raise ConnectionResetError("the connection was closed before the end of the answer")
        found += part
    return found


def _configured(options: Options) -> str:
    """Where the running hivemesh serves DNS."""
    config: dict[str, Any] = options.client.get("config")
    found = config.get("dns", {}).get("address")
    if not found:
        raise click.UsageError("this hivemesh serves no DNS (no dns.address in its configuration), expected --server")
    return str(found if isinstance(found, str) else found[0])
