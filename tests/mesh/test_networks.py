"""Addresses are found in networks whatever their spelling."""

from __future__ import annotations

import ipaddress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mesh.networks import NetworkError, Networks, address_text, parse_address


@pytest.mark.parametrize(
    ("text", "canonical"),
    [
        (b"10.0.0.1", b"10.0.0.1"),
        (b"2001:DB8:0::1", b"2001:db8::1"),
        (b"::ffff:10.0.0.1", b"10.0.0.1"),
        (b"fe80::1%eth0", b"fe80::1"),
        (b"010.0.0.1", None),
        (b"10.0.0", None),
        (b"10.0.0.1 ", None),
        (b"", None),
        (b"localhost", None),
        (b"\xff", None),
        (b"1" * 10_000, None),
    ],
)
def test_an_address_has_one_text(text: bytes, canonical: bytes | None) -> None:
    address = parse_address(text)
    assert (None if address is None else address_text(address)) == canonical


def test_single_addresses_and_nested_networks() -> None:
    networks = Networks(["10.0.0.0/8", "10.1.0.0/16", "192.168.0.7", "fd00::/8", "::ffff:172.16.0.0/108"])
    inside = [b"10.255.0.1", b"10.1.2.3", b"192.168.0.7", b"fd12::1", b"172.16.0.9", b"::ffff:10.0.0.1"]
    outside = [b"11.0.0.1", b"192.168.0.8", b"fe80::1", b"172.32.0.1", b"", b"10.0.0.0/8"]
    assert all(networks.contains(text) for text in inside)
    assert not any(networks.contains(text) for text in outside)


def test_no_networks_hold_nothing_and_are_false() -> None:
    assert not Networks([]).contains(b"127.0.0.1")
    assert not Networks([])
    assert Networks(["127.0.0.1"])


@pytest.mark.parametrize("text", ["10.0.0.0/33", "10.0.0.1/8", "host", "", "10.0.0.0/8/8"])
def test_a_wrong_network_is_named(text: str) -> None:
    with pytest.raises(NetworkError, match="is not an IP address or network"):
        Networks(["127.0.0.1", text])


v4 = st.integers(0, 2**32 - 1).map(ipaddress.IPv4Address)
v6 = st.integers(2**48, 2**128 - 1).map(ipaddress.IPv6Address)


@given(
    st.lists(st.tuples(v4, st.integers(0, 32)), max_size=6),
    st.lists(st.tuples(v6, st.integers(0, 128)), max_size=6),
    st.one_of(v4, v6),
    st.booleans(),
)
def test_agrees_with_the_standard_library(
    v4s: list[tuple[ipaddress.IPv4Address, int]],
    v6s: list[tuple[ipaddress.IPv6Address, int]],
    address: ipaddress.IPv4Address | ipaddress.IPv6Address,
    near: bool,
) -> None:
    networks = [ipaddress.ip_network((base, length), strict=False) for base, length in [*v4s, *v6s]]
    if near and networks:  # otherwise hardly any address would be inside
        address = networks[0][-1]
    # What is written for mapped addresses counts as IPv4 and is tested by example.
    networks = [each for each in networks if each.version == 4 or not each.overlaps(ipaddress.ip_network("::/80"))]
    expected = any(address in each for each in networks if each.version == address.version)
    found = Networks(str(each) for each in networks)
    assert found.contains(str(address).encode()) is expected
    inside = [each for each in networks if each.version == address.version and address in each]
    narrowest = max(inside, key=lambda each: each.prefixlen, default=None)
    whole = "" if narrowest is None else str(narrowest)
    assert found.network_of(str(address).encode()) == whole.removesuffix(f"/{address.max_prefixlen}")
