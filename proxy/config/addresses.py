"""Texts that name a place on the network: listening and endpoint addresses, networks, host names.

What comes out is the one spelling of what was written (localhost is 127.0.0.1, :8080 is 0.0.0.0:8080, IPv6 is
compressed), so that equal addresses are equal texts. Errors are ValueError with the sentence that the user sees.
An endpoint may also have a name, which is asked for later. Never resolves names.
"""

from __future__ import annotations

import ipaddress
import re
from functools import lru_cache

from discovery.config import NameKind
from mesh.networks import NetworkError, Networks
from proxy.config.nodes import shown

# sockaddr_un holds 108 bytes with the terminating zero.
MAX_UNIX_PATH = 107
MAX_HOST = 253
MAX_PORT = 65535

EXPECTED_ADDRESS = "expected host:port, [v6]:port or unix:PATH, where host is an IP address or localhost"
EXPECTED_IP = "expected an IP address, localhost or unix:PATH"
EXPECTED_IP_OR_NAME = "expected an IP address, a name or unix:PATH"
EXPECTED_TARGET = "expected an IP address or name and a port, unix:PATH, or srv: and a name"

# What an endpoint's address begins with when a DNS name says host and port.
SRV_PREFIX = "srv:"
DNS_PORT = 53

_LABEL = r"[a-z0-9_]([a-z0-9_-]{0,61}[a-z0-9_])?"
_HOST = re.compile(rf"{_LABEL}(\.{_LABEL})*")
_PORT = re.compile(r"[0-9]{1,5}")


def parse_listen_address(text: str) -> str:
    """Where to accept: an address, or ":port" for every IPv4 address of the machine."""
    return parse_address(f"0.0.0.0{text}" if text.startswith(":") else text)


def parse_address(text: str) -> str:
    """A place that is known without asking anybody: an IP address and a port, or unix:PATH."""
    if text.startswith("unix:"):
        return _unix(text)
    host, port = _split(text, EXPECTED_ADDRESS)
    return f"{_ip(host, EXPECTED_IP)}:{port}"


def parse_endpoint_address(text: str) -> str:
    """As `parse_address`; or name:port, or srv:NAME, which `followed_name` tells apart afterwards."""
    if text.startswith("unix:"):
        return _unix(text)
    if _is_service_name(text):
        name = parse_host_name(text.removeprefix(SRV_PREFIX).removesuffix("."))
        if _is_address(name):
            raise ValueError(f"'{name}' is an address, and srv: asks for a name, expected host:port")
        return SRV_PREFIX + name
    host, port = _split(text, EXPECTED_TARGET)
    name = host.lower().removesuffix(".")
    if len(name) <= MAX_HOST and _HOST.fullmatch(name) and not _is_address(name) and name != "localhost":
        return f"{name}:{port}"
    return f"{_ip(host, EXPECTED_IP_OR_NAME)}:{port}"


def followed_name(address: str) -> tuple[NameKind, str, int] | None:
    """What has to be asked for so that `address` (an endpoint's, parsed here) becomes addresses: kind, name, port
    (0 for SRV). None when it is a place already."""
    if _is_service_name(address):
        return NameKind.SRV, address.removeprefix(SRV_PREFIX), 0
    if address.startswith(("unix:", "[")):
        return None
    host, _, port = address.rpartition(":")
    return None if _is_address(host) else (NameKind.ADDRESS, host, int(port))


def parse_resolver_address(text: str) -> str:
    """A DNS server that is asked: an IP address, with a port where it is not 53."""
    if text.startswith("unix:"):
        raise ValueError(f"'{shown(text)}' has no datagrams here, expected an IP address, or host:port")
    bare = text[1:-1] if text.startswith("[") and text.endswith("]") else text
    try:
        return f"{_ip(bare, EXPECTED_IP)}:{DNS_PORT}"
    except ValueError:
        return parse_address(text)


def parse_ip(text: str) -> str:
    """An IP address alone, without brackets."""
    return _ip(text, "expected an IP address").strip("[]")


def _split(text: str, expected: str) -> tuple[str, int]:
    """Host (IPv6 without its brackets) and port."""
    host, colon, port = text.rpartition(":")
    if not colon or not host:
        raise ValueError(f"'{shown(text)}' has no {'host' if colon else 'port'}, {expected}")
    if host.startswith("[") and host.endswith("]"):
        host = host[1:-1]
        if ":" not in host:
            raise ValueError(f"'{shown(host)}' in brackets is not an IPv6 address, {expected}")
    elif ":" in host:
        raise ValueError(f"'{shown(text)}' is not an address with a port, {expected}")
    if not _PORT.fullmatch(port) or not 1 <= int(port) <= MAX_PORT:
        raise ValueError(f"'{shown(port)}' is not a port, expected 1 to {MAX_PORT}")
    return host, int(port)


def parse_datagram_address(text: str) -> str:
    """Where to receive datagrams."""
    if text.startswith("unix:"):
        raise ValueError(f"'{shown(text)}' has no datagrams here, expected host:port, :port or [v6]:port")
    return parse_listen_address(text)


def is_loopback(address: str) -> bool:
    """Can only this machine reach `address` (one that was parsed here)?"""
    if address.startswith("unix:"):
        return True
    return ipaddress.ip_address(address.rpartition(":")[0].strip("[]")).is_loopback


def parse_network(text: str) -> str:
    try:
        Networks((text,))
        return str(ipaddress.ip_network(text))
    except (NetworkError, ValueError):
        pass
    try:
        hint = f", did you mean '{ipaddress.ip_network(text, strict=False)}'?"
    except ValueError:
        hint = ""
    raise ValueError(f"'{shown(text)}' is not a network, expected one such as 10.0.0.0/8 or an IP address{hint}")


def parse_host_name(text: str) -> str:
    """A name without a port, in lower case."""
    host = text.lower()
    if len(host) <= MAX_HOST and _HOST.fullmatch(host):
        return host
    hint = ""
    if not host.isascii():
        hint = " (write the xn-- form of an international name)"
    elif "://" in host:
        hint = " (without scheme)"
    elif ":" in host:
        hint = " (without port)"
    elif host.endswith("."):
        hint = " (without the dot at the end)"
    raise ValueError(f"'{shown(text)}' is not a host name, expected one such as shop.local{hint}")


def parse_host_pattern(text: str) -> str:
    """A host name, an IPv6 address in brackets, or "*." and a host name for everything below it."""
    if text.startswith("[") and text.endswith("]") and ":" in text:
        return _ip(text[1:-1], "expected an IPv6 address")
    if not text.startswith("*."):
        if "*" in text:
            raise ValueError(f"'{shown(text)}' is not a host, expected a name such as shop.local, or *.shop.local")
        return parse_host_name(text)
    return "*." + parse_host_name(text[2:])


def parse_server_name(text: str) -> str:
    """What a TLS client may ask for (RFC 6066 section 3): a host name, or "*." and one for everything below it."""
    name = parse_host_name(text[2:]) if text.startswith("*.") else parse_host_name(text)
    try:
        ipaddress.ip_address(name)
    except ValueError:
        return text[:2] + name if text.startswith("*.") else name
    raise ValueError(f"'{shown(text)}' is an address, and TLS clients name hosts only, expected one such as db.local")


def _unix(text: str) -> str:
    path = text.removeprefix("unix:")
    if not path or "\0" in path or len(path.encode()) > MAX_UNIX_PATH:
        raise ValueError(
            f"'{shown(text)}' is not a unix address, expected unix: and a path of at most {MAX_UNIX_PATH} bytes"
        )
    return text


def _is_service_name(text: str) -> bool:
    """srv:NAME, and not the host srv with a port."""
    return text.startswith(SRV_PREFIX) and not text.removeprefix(SRV_PREFIX).isdigit()


def _is_address(host: str) -> bool:
    """Is `host` an IP address, or would it be one if its numbers were right? No top-level domain is all digits
    (RFC 3696 section 2), so 10.0.0.256 is a mistake and no name."""
    return ":" in host or host.rpartition(".")[2].isdigit()


@lru_cache(maxsize=4096)
def _ip(host: str, expected: str) -> str:
    if host.lower() == "localhost":
        return "127.0.0.1"
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        is_name = _HOST.fullmatch(host.lower()) and not _is_address(host)
        kind = "a name, and only endpoints may have names" if is_name else "not an IP address"
        raise ValueError(f"'{shown(host)}' is {kind}, {expected}") from None
    if isinstance(address, ipaddress.IPv6Address):
        if address.scope_id is not None:
            raise ValueError(f"'{shown(host)}' has a zone, expected an IPv6 address without one")
        return f"[{address.compressed}]"
    return str(address)
