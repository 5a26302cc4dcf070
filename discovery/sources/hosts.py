"""What the machine itself says of names: /etc/hosts (hosts(5)) and the resolvers of /etc/resolv.conf (resolv.conf(5)).

Of resolv.conf only `nameserver` counts. `search`, `domain` and `ndots` do not: with them what a name means would
depend on the machine, and one question would become several. nginx and Envoy's own resolver decide the same.
Pure: text in, values out. What cannot be understood is passed over, as the system's resolver does.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Mapping

MAX_NAMESERVERS = 3  # as the system's resolver (MAXNS)
MAX_BYTES = 1024 * 1024

_LOOPBACK = ("127.0.0.1", "::1")


def parse_hosts(text: str) -> dict[str, tuple[str, ...]]:
    """Addresses by name, in lower case."""
    found: dict[str, list[str]] = {}
    for line in text.splitlines():
        address, *names = line.partition("#")[0].split() or [""]
        try:
            address = str(ipaddress.ip_address(address))
        except ValueError:
            continue
        for name in names:
            addresses = found.setdefault(name.lower().removesuffix("."), [])
            if address not in addresses:
                addresses.append(address)
    return {name: tuple(addresses) for name, addresses in found.items()}


def known_here(name: str, hosts: Mapping[str, tuple[str, ...]]) -> tuple[str, ...]:
    """Addresses of `name` (in lower case) that nobody else is asked for; none: others are."""
    if name in hosts:
        return hosts[name]
    # RFC 6761 section 6.3: such a question never leaves the machine.
    return _LOOPBACK if name == "localhost" or name.endswith(".localhost") else ()


def parse_resolvers(text: str) -> tuple[str, ...]:
    """host:port of each nameserver; this machine where there is none."""
    found = []
    for line in text.splitlines():
        words = line.split()
        if len(words) < 2 or words[0] != "nameserver":
            continue
        try:
            address = ipaddress.ip_address(words[1])
        except ValueError:
            continue
        found.append(f"[{address}]:53" if address.version == 6 else f"{address}:53")
    return tuple(found[:MAX_NAMESERVERS]) or ("127.0.0.1:53",)
