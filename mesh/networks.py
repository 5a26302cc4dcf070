"""IP addresses and networks as numbers, so that "is this address in that list" costs a few dictionary look-ups.

`parse_address` turns text into (bits, number) and remembers the last few thousand answers; `Networks` files its
networks by prefix length and looks an address up once per length that occurs. An IPv4 address written as IPv6
(::ffff:a.b.c.d) is the IPv4 address, because that is how dual-stack sockets report it.
Never resolves names.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable
from functools import lru_cache

# Texts remembered. Clients choose them, so the number is bounded; it covers the busy clients of one worker.
REMEMBERED = 4096

# No IP address is longer: 45 characters of IPv6 with dotted quad, and room for a zone.
MAX_TEXT = 64

Address = tuple[int, int]  # bits (32 or 128), number


class NetworkError(ValueError):
    """A text that should be a network is none."""


@lru_cache(maxsize=REMEMBERED)
def parse_address(text: bytes) -> Address | None:
    """The address that `text` writes; None when it is none. An IPv6 zone (%eth0) is ignored."""
    if len(text) > MAX_TEXT:
        return None
    try:
        address = ipaddress.ip_address(text.partition(b"%")[0].decode("ascii"))
    except ValueError:  # includes UnicodeDecodeError
        return None
    if isinstance(address, ipaddress.IPv6Address) and address.ipv4_mapped is not None:
        address = address.ipv4_mapped
    return address.max_prefixlen, int(address)


@lru_cache(maxsize=REMEMBERED)
def address_text(address: Address) -> bytes:
    """The one spelling of an address, so that equal addresses are equal bytes."""
    bits, number = address
    return str(ipaddress.IPv4Address(number) if bits == 32 else ipaddress.IPv6Address(number)).encode()


class Networks:
    """A set of networks; `contains` does not depend on how many there are."""

    __slots__ = ("_by_length", "texts")

    def __init__(self, cidrs: Iterable[str]) -> None:
        """Each of `cidrs` is a network or a single address; NetworkError names the first that is neither."""
        self.texts = tuple(cidrs)
        # (address bits, how far to shift an address so that only the network part is left) -> network parts
        self._by_length: dict[tuple[int, int], set[int]] = {}
        for text in self.texts:
            network = network_of(text)
            shift = network.max_prefixlen - network.prefixlen
            parts = self._by_length.setdefault((network.max_prefixlen, shift), set())
            parts.add(int(network.network_address) >> shift)

    def holds(self, address: Address | None) -> bool:
        if address is None:
            return False
        bits, number = address
        for (length_bits, shift), parts in self._by_length.items():
            if length_bits == bits and number >> shift in parts:
                return True
        return False

    def contains(self, ip_text: bytes) -> bool:
        """Is the address that `ip_text` writes in one of the networks? Text that is no address is in none."""
        return self.holds(parse_address(ip_text))

    def network_of(self, ip_text: bytes) -> str:
        """The narrowest of the networks that has the address, "" when none has."""
        address = parse_address(ip_text)
        if address is None:
            return ""
        bits, number = address
        lengths = self._by_length.items()
        shifts = [shift for (length, shift), parts in lengths if length == bits and number >> shift in parts]
        if not shifts:
            return ""
        shift = min(shifts)
        text = address_text((bits, number >> shift << shift)).decode()
        return f"{text}/{bits - shift}" if shift else text

    def __bool__(self) -> bool:
        return bool(self.texts)

    def __repr__(self) -> str:
        return f"Networks({list(self.texts)!r})"


def network_of(text: str) -> ipaddress.IPv4Network | ipaddress.IPv6Network:
    """What `text` writes, a single address as well. Raises NetworkError."""
    try:
        network = ipaddress.ip_network(text.strip())
    except ValueError as error:
        raise NetworkError(f"{text!r} is not an IP address or network such as 10.0.0.0/8: {error}") from None
    if isinstance(network, ipaddress.IPv6Network) and network.prefixlen >= 96:
        mapped = network.network_address.ipv4_mapped
        if mapped is not None:  # written for the IPv4 addresses of a dual-stack socket
            return ipaddress.IPv4Network((mapped, network.prefixlen - 96))
    return network
