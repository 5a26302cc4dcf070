"""Addresses, networks and host names come out in one spelling, or are refused."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from discovery.config import NameKind
from proxy.config.addresses import (
    followed_name,
    is_loopback,
    parse_endpoint_address,
    parse_host_name,
    parse_host_pattern,
    parse_listen_address,
    parse_network,
    parse_resolver_address,
)


@pytest.mark.parametrize(
    ("text", "address"),
    [
        ("127.0.0.1:80", "127.0.0.1:80"),
        ("localhost:080", "127.0.0.1:80"),
        ("LOCALHOST:80", "127.0.0.1:80"),
        ("[::1]:80", "[::1]:80"),
        ("[0:0:0:0:0:0:0:1]:80", "[::1]:80"),
        ("[2001:DB8::A]:65535", "[2001:db8::a]:65535"),
        ("unix:/run/a.sock", "unix:/run/a.sock"),
        ("unix:a:b.sock", "unix:a:b.sock"),
    ],
)
def test_endpoint_addresses(text: str, address: str) -> None:
    assert parse_endpoint_address(text) == address
    assert parse_listen_address(text) == address


def test_a_port_alone_listens_on_every_ipv4_address() -> None:
    assert parse_listen_address(":8080") == "0.0.0.0:8080"
    with pytest.raises(ValueError, match="has no host"):
        parse_endpoint_address(":8080")


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("127.0.0.1", "has no port"),
        ("127.0.0.1:", "is not a port, expected 1 to 65535"),
        ("127.0.0.1:0", "is not a port"),
        ("127.0.0.1:65536", "is not a port"),
        ("127.0.0.1:http", "is not a port"),
        ("backend:80", "is a name, and only endpoints may have names"),
        ("srv:_api._tcp.corp.example", "is not a port"),
        ("10.0.0.256:80", "is not an IP address"),
        ("::1:80", "is not an address with a port"),
        ("[::1]", "is not an address with a port"),
        ("[127.0.0.1]:80", "is not an IPv6 address"),
        ("[fe80::1%eth0]:80", "has a zone"),
        ("[::g]:80", "is not an IP address"),
        ("http://127.0.0.1:80", "is not an"),
        ("unix:", "is not a unix address"),
        ("unix:/" + "a" * 107, "at most 107 bytes"),
        ("unix:/a\0", "is not a unix address"),
    ],
)
def test_what_is_no_address(text: str, why: str) -> None:
    with pytest.raises(ValueError, match=why):
        parse_listen_address(text)


@pytest.mark.parametrize(
    ("text", "address", "followed"),
    [
        ("Backend:080", "backend:80", (NameKind.ADDRESS, "backend", 80)),
        ("db.corp.example.:5432", "db.corp.example:5432", (NameKind.ADDRESS, "db.corp.example", 5432)),
        ("srv:_api._TCP.corp.example.", "srv:_api._tcp.corp.example", (NameKind.SRV, "_api._tcp.corp.example", 0)),
        ("srv:8080", "srv:8080", (NameKind.ADDRESS, "srv", 8080)),
        ("localhost:80", "127.0.0.1:80", None),
        ("[::1]:80", "[::1]:80", None),
        ("unix:/run/a.sock", "unix:/run/a.sock", None),
    ],
)
def test_an_endpoint_may_be_a_name(text: str, address: str, followed: tuple[NameKind, str, int] | None) -> None:
    assert parse_endpoint_address(text) == address
    assert followed_name(address) == followed


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("backend", "has no port, expected an IP address or name and a port, unix:PATH, or srv: and a name"),
        ("10.0.0.256:80", "is not an IP address, expected an IP address, a name or unix:PATH"),
        ("back end:80", "is not an IP address"),
        ("srv:", "is not a host name"),
        ("srv:_api._tcp.corp.example:80", "is not a host name"),
        ("srv:10.0.0.1", "is an address, and srv: asks for a name"),
        ("a" * 64 + ":80", "is not an IP address"),
    ],
)
def test_what_is_no_address_of_an_endpoint(text: str, why: str) -> None:
    with pytest.raises(ValueError, match=why):
        parse_endpoint_address(text)


def test_resolvers_have_port_53_unless_they_say_another() -> None:
    assert parse_resolver_address("10.0.0.2") == "10.0.0.2:53"
    assert parse_resolver_address("[2001:db8::1]") == "[2001:db8::1]:53"
    assert parse_resolver_address("2001:db8::1") == "[2001:db8::1]:53"
    assert parse_resolver_address("localhost:5353") == "127.0.0.1:5353"
    for text in ("dns.corp.example", "dns.corp.example:53", "unix:/run/dns", "10.0.0.2:"):
        with pytest.raises(ValueError, match="expected"):
            parse_resolver_address(text)


@pytest.mark.parametrize(
    ("address", "loopback"),
    [
        ("127.0.0.1:1", True),
        ("127.8.8.8:1", True),
        ("[::1]:1", True),
        ("unix:/a", True),
        ("0.0.0.0:1", False),
        ("[::]:1", False),
    ],
)
def test_loopback(address: str, loopback: bool) -> None:
    assert is_loopback(address) is loopback


def test_networks() -> None:
    assert parse_network("10.0.0.0/8") == "10.0.0.0/8"
    assert parse_network("10.1.2.3") == "10.1.2.3/32"
    assert parse_network("FD00::/8") == "fd00::/8"
    with pytest.raises(ValueError, match=r"did you mean '10.0.0.0/8'\?"):
        parse_network("10.0.0.1/8")
    with pytest.raises(ValueError, match="is not a network"):
        parse_network("10.0.0.0/33")


def test_hosts() -> None:
    assert parse_host_pattern("*.Shop.Local") == "*.shop.local"
    assert parse_host_pattern("shop_1.local") == "shop_1.local"
    assert parse_host_pattern("[0::1]") == "[::1]"
    assert parse_host_name("127.0.0.1") == "127.0.0.1"


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("*", "is not a host"),
        ("a.*.b", "is not a host"),
        ("*a.b", "is not a host"),
        ("shop.local:80", "without port"),
        ("shop.local.", "without the dot"),
        ("http://shop.local", "without scheme"),
        ("bücher.de", "xn--"),
        ("-a.b", "is not a host name"),
        ("a" * 64, "is not a host name"),
        ("a..b", "is not a host name"),
        ("", "is not a host name"),
    ],
)
def test_what_is_no_host(text: str, why: str) -> None:
    with pytest.raises(ValueError, match=why):
        parse_host_pattern(text)


@given(st.text() | st.from_regex(r"\[?[0-9a-f.:%]*\]?:?[0-9]*", fullmatch=True))
def test_any_text_is_read_to_one_spelling_or_refused(text: str) -> None:
    for parse in (parse_endpoint_address, parse_listen_address, parse_network, parse_host_name, parse_host_pattern):
        try:
            address = parse(text)
        except ValueError:
            continue
        assert parse(address) == address
