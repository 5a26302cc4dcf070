"""What stands behind the proxies: the origin of a work, how it is started, and how one sees that it answers.

`probe(port, scenario)` speaks to the origin, directly or through a proxy, and returns "" or what went wrong.
"""

from __future__ import annotations

import http.client
import socket
from collections.abc import Sequence
from pathlib import Path
from typing import Final, Protocol

from benchmarks.compare import dns, native
from benchmarks.compare.contenders import nginx
from benchmarks.compare.traffic import DNS_ZONE, ENDPOINTS_PER_SERVICE, ORIGIN_PORTS, Request, Scenario

ORIGIN_BODY: Final = '{"id":4711,"name":"a thing of some kind","price":"17.90","in_stock":12}'
assert len(ORIGIN_BODY) == 71

PROBE_TIMEOUT: Final = 2.0


class Origin(Protocol):
    @property
    def name(self) -> str: ...

    @property
    def ports(self) -> int:
        """How many it listens on."""

    def command(self, ports: Sequence[int], folder: Path) -> tuple[str, ...]: ...

    def probe(self, port: int, scenario: Scenario | None = None) -> str: ...


def first_of(scenario: Scenario | None) -> Request:
    return scenario.requests[0] if scenario else Request("origin", "/")


class WebOrigin:
    """nginx: a small answer at once, on connections that it never closes by itself."""

    name = "origin"
    ports = ORIGIN_PORTS

    def command(self, ports: Sequence[int], folder: Path) -> tuple[str, ...]:
        config = folder / "nginx.conf"
        config.write_text(nginx.render_origin(ports, ORIGIN_BODY, folder))
        return nginx.foreground(config, folder)

    def probe(self, port: int, scenario: Scenario | None = None) -> str:
        requests = scenario.requests if scenario and scenario.policies else ()
        # Endpoints that are checked serve nobody before their first check, and each service has its own.
        problems = (self.ask(port, request) for request in requests or (first_of(scenario),))
        return next(filter(None, problems), "")

    def ask(self, port: int, request: Request) -> str:
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=PROBE_TIMEOUT)
        try:
            connection.request("GET", request.target, headers={**dict(request.headers()), "Connection": "close"})
            status = connection.getresponse().status
            return "" if status == 200 else str(status)
        except (OSError, http.client.HTTPException) as problem:
            return _words(problem)
        finally:
            connection.close()


class BulkOrigin:
    """Sends or takes as many bytes as it is asked to (programs/bulk.c)."""

    name = "bulk origin"
    ports = ENDPOINTS_PER_SERVICE

    def command(self, ports: Sequence[int], folder: Path) -> tuple[str, ...]:
        return (str(native.build("bulk")), "serve", *map(str, ports))

    def probe(self, port: int, scenario: Scenario | None = None) -> str:
        try:
            with socket.create_connection(("127.0.0.1", port), PROBE_TIMEOUT) as connection:
                connection.sendall(b"d" + (1).to_bytes(8, "big"))
                return "" if connection.recv(1) else "closed without a byte"
        except OSError as problem:
            return _words(problem)


class EchoOrigin:
    """Sends every datagram back (programs/datagrams.c)."""

    name = "echo origin"
    ports = ENDPOINTS_PER_SERVICE

    def command(self, ports: Sequence[int], folder: Path) -> tuple[str, ...]:
        return (str(native.build("datagrams")), "echo", *map(str, ports))

    def probe(self, port: int, scenario: Scenario | None = None) -> str:
        try:
            with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as client:
                client.settimeout(PROBE_TIMEOUT / 10)  # asked again until it answers
                client.connect(("127.0.0.1", port))
                client.send(b"are you there?")
                return "" if client.recv(100) == b"are you there?" else "another answer than an echo"
        except OSError as problem:
            return _words(problem)


class NoOrigin:
    """Nobody: a DNS server answers by itself."""

    name = "nobody"
    ports = 0

    def command(self, ports: Sequence[int], folder: Path) -> tuple[str, ...]:
        raise ValueError("nobody is never started")

    def probe(self, port: int, scenario: Scenario | None = None) -> str:
        """The last of the names must have exactly its addresses."""
        assert scenario is not None
        service = scenario.services[-1]
        try:
            with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as client:
                client.settimeout(PROBE_TIMEOUT / 10)
                client.connect(("127.0.0.1", port))
                client.send(dns.question(f"{service.name}.{DNS_ZONE}"))
                found = dns.addresses(client.recv(4096))
        except OSError as problem:
            return _words(problem)
        expected = sorted(address.rpartition(":")[0] for address in service.addresses)
        return "" if found == expected else f"{service.name} has {found}, expected {expected}"


NOBODY: Final = NoOrigin()
WEB: Final = WebOrigin()
BULK: Final = BulkOrigin()
ECHO: Final = EchoOrigin()


def _words(problem: Exception) -> str:
    return str(problem) or type(problem).__name__
