"""Who the client is when proxies stand in between, and which headers only a trusted proxy may send.

X-Forwarded-For is a list that anybody may begin. Every proxy appends the address it was contacted from, so the list
is read from its end and believed only as long as the one who wrote an element is trusted: the first address that is
not a trusted proxy is the client. Headers by which proxies talk to each other are removed from all others.
Never believes an element to the left of one that is not an address.
"""

from __future__ import annotations

from collections.abc import Sequence

from mesh.networks import NetworkError, Networks, address_text, parse_address

__all__ = [
    "CONTROL_PREFIXES",
    "FORWARDED_HEADERS",
    "NetworkError",
    "Networks",
    "client_address",
    "is_reserved",
    "is_trusted",
]

# What a proxy says about the client (lower case). Servers act on these, so a stranger must not set them.
FORWARDED_HEADERS = frozenset(
    {
        b"forwarded",
        b"x-forwarded-for",
        b"x-forwarded-host",
        b"x-forwarded-method",
        b"x-forwarded-port",
        b"x-forwarded-prefix",
        b"x-forwarded-proto",
        b"x-forwarded-scheme",
        b"x-forwarded-server",
        b"x-forwarded-tls-client-cert",
        b"x-forwarded-tls-client-cert-info",
        b"x-forwarded-uri",
        b"x-real-ip",
        b"x-scheme",
    }
)

# How proxies are told what to do with a request: retries, timeouts, faults. Ours, Envoy's and Linkerd's.
CONTROL_PREFIXES = (b"x-hivemesh-", b"x-envoy-", b"l5d-")

# An address in X-Forwarded-For is at most this long: IPv6 in brackets, a port, a zone.
MAX_ELEMENT = 64


def is_reserved(name: bytes) -> bool:
    """Is the header `name` (lower case) one that only a trusted peer may send?

    Names spelled with underscores count too: many servers take X_Real_Ip for X-Real-Ip.
    """
    plain = name.replace(b"_", b"-")
    return plain in FORWARDED_HEADERS or plain.startswith(CONTROL_PREFIXES)


def is_trusted(peer: bytes, trusted: Networks) -> bool:
    """May this peer say who the client is? A peer without an IP address (a unix socket) may not."""
    return trusted.contains(peer)


def client_address(peer: bytes, forwarded_for: Sequence[bytes], trusted: Networks) -> bytes:
    """Text of the client's IP address.

    `peer` is the address of the connection (b"" for a unix socket), `forwarded_for` the values of all X-Forwarded-For
    fields in their order. The peer itself unless it is trusted; otherwise the first address from the right that is
    not trusted, the leftmost if all are, and the last good one where an element is no address.
    """
    address = parse_address(peer)
    client = peer if address is None else address_text(address)
    if not forwarded_for or not trusted.holds(address):
        return client
    for value in reversed(forwarded_for):
        for element in reversed(value.split(b",")):
            address = parse_address(_without_port(element.strip(b" \t")))
            if address is None:
                return client
            client = address_text(address)
            if not trusted.holds(address):
                return client
    return client


def _without_port(element: bytes) -> bytes:
    """The address of `address`, `v4:port`, `[v6]` or `[v6]:port`; b"" for other shapes."""
    if len(element) > MAX_ELEMENT:
        return b""
    if element.startswith(b"["):
        address, bracket, port = element[1:].partition(b"]")
        if not bracket or b":" not in address or (port and not (port.startswith(b":") and port[1:].isdigit())):
            return b""
        return address
    address, colon, port = element.partition(b":")
    if colon and b":" not in port:  # one colon only: IPv4 with a port
        return address if port.isdigit() else b""
    return element
