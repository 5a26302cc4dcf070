"""Which route a connection takes that is not taken apart as HTTP.

What is known of it is where it comes from and, of a TLS connection, the server name it asks for (SNI, RFC 6066
section 3). A route that names the server exactly goes before one that names it by wildcard, a longer wildcard before a
shorter one, one that names clients before one that does not; what is equal in all that goes by the order of the list.
"""

from __future__ import annotations

from collections.abc import Iterable

from discovery.model import StreamRoute
from mesh.networks import Networks

# How narrow a name is: an exact one above every wildcard (RFC 1035 section 2.3.4: 255 octets at most).
EXACT = 256


class StreamRouter:
    """`match` gives what stands beside the route it finds."""

    def __init__(self, routes: Iterable[tuple[StreamRoute, object]]) -> None:
        entries = []
        for order, (route, target) in enumerate(routes):
            networks = Networks(route.clients) if route.clients else None
            for name in route.sni or ("",):
                rank = (-narrowness(name), networks is None, order)
                entries.append((rank, name.removeprefix("*").encode(), name.startswith("*"), networks, target))
        entries.sort(key=lambda entry: entry[0])
        self.entries = [entry[1:] for entry in entries]
        self.looks_at_sni = any(route for route in self.entries if route[0])
        # The common case, a listener with one service, asks nothing.
        first = self.entries[0] if self.entries else None
        self.only = first[3] if first is not None and not first[0] and first[2] is None else None

    def match(self, sni: bytes, client: bytes) -> object | None:
        """`sni` in lower case, b"" when there is none; `client`: text of the IP address."""
        if self.only is not None:
            return self.only
        for name, is_wildcard, networks, target in self.entries:
            if name and not (sni.endswith(name) and len(sni) > len(name) if is_wildcard else sni == name):
                continue
            if networks is None or networks.contains(client):
                return target
        return None


def narrowness(name: str) -> int:
    """0 for any, more for longer wildcards, EXACT for a name."""
    if not name:
        return 0
    return len(name) if name.startswith("*") else EXACT
