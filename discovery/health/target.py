"""What is asked for an endpoint: its own check or its service's, and where.

Two equal targets are the same check, so what is known of the endpoint stays when a configuration comes that changes
nothing about it. Pure.
"""

from __future__ import annotations

import ipaddress

from discovery.checks import CheckProtocol, HealthCheck
from discovery.model import Endpoint, Service, Struct

UNIX = "unix:"


class Target(Struct):
    """`service`, `id` and `address` are the endpoint's identity; `place` is where it is asked: host:port, [v6]:port or
    unix:PATH. `host` is what it is asked as: Host header, :authority, and, without its port, the name of TLS."""

    service: str
    id: str
    address: str
    check: HealthCheck
    place: str
    host: str

    @property
    def server_name(self) -> str:
        """The name that a certificate must be valid for."""
        return split(self.host)[0]


def target_of(service: Service, endpoint: Endpoint) -> Target | None:
    """None: it has no check."""
    check = endpoint.health_check or service.health_check
    if check is None:
        return None
    place = _place(check, endpoint.address)
    host = check.host or service.domain or ("localhost" if place.startswith(UNIX) else place)
    return Target(service=service.name, id=endpoint.id, address=endpoint.address, check=check, place=place, host=host)


def split(place: str) -> tuple[str, str]:
    """Host without brackets, and port ("" if there is none), of host, host:port, [v6] or [v6]:port."""
    if place.startswith("["):
        host, _, port = place[1:].partition("]")
        return host, port.removeprefix(":")
    host, _, port = place.partition(":")
    return host, port


def is_numeric(host: str) -> bool:
    """Is it an IP address? The operating system would look up anything else, and wait for the answer."""
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return False
    return True


def _place(check: HealthCheck, address: str) -> str:
    if check.protocol in (CheckProtocol.COMMAND, CheckProtocol.TTL):
        return address
    if address.startswith(UNIX):
        # Another host alone or another port alone is no address.
        return _joined(check.address, str(check.port)) if check.address and check.port else address
    host, port = split(address)
    return _joined(check.address or host, str(check.port or port))


def _joined(host: str, port: str) -> str:
    host = host.strip("[]")
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
