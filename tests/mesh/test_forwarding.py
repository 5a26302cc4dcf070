"""The client is the first address from the right that is not a trusted proxy."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mesh.forwarding import Networks, client_address, is_reserved, is_trusted

TRUSTED = Networks(["10.0.0.0/8", "fd00::/8"])


@pytest.mark.parametrize(
    ("peer", "fields", "client"),
    [
        # a stranger is the client whatever it claims
        (b"1.2.3.4", [b"9.9.9.9"], b"1.2.3.4"),
        (b"::ffff:1.2.3.4", [b"9.9.9.9"], b"1.2.3.4"),
        (b"10.0.0.1", [], b"10.0.0.1"),
        (b"10.0.0.1", [b""], b"10.0.0.1"),
        (b"10.0.0.1", [b"1.2.3.4"], b"1.2.3.4"),
        # what stands to the left of the first stranger is that stranger's claim
        (b"10.0.0.1", [b"9.9.9.9, 1.2.3.4"], b"1.2.3.4"),
        (b"10.0.0.1", [b"9.9.9.9,\t1.2.3.4 ,10.0.0.2"], b"1.2.3.4"),
        (b"10.0.0.1", [b"9.9.9.9", b"1.2.3.4", b"10.0.0.2, 10.0.0.3"], b"1.2.3.4"),
        (b"fd00::1", [b"2001:DB8::1, fd00::2"], b"2001:db8::1"),
        # everyone is trusted: the first of them began it
        (b"10.0.0.1", [b"10.0.0.3, 10.0.0.2"], b"10.0.0.3"),
        # an element that is no address ends the walk
        (b"10.0.0.1", [b"1.2.3.4, unknown, 10.0.0.2"], b"10.0.0.2"),
        (b"10.0.0.1", [b"1.2.3.4, unknown"], b"10.0.0.1"),
        (b"10.0.0.1", [b"1.2.3.4,"], b"10.0.0.1"),
        # ports and brackets
        (b"10.0.0.1", [b"1.2.3.4:5678"], b"1.2.3.4"),
        (b"10.0.0.1", [b"[2001:db8::1]:5678"], b"2001:db8::1"),
        (b"10.0.0.1", [b"[2001:db8::1]"], b"2001:db8::1"),
        (b"10.0.0.1", [b"[1.2.3.4]"], b"10.0.0.1"),
        (b"10.0.0.1", [b"1.2.3.4:x"], b"10.0.0.1"),
        (b"10.0.0.1", [b"[2001:db8::1]x"], b"10.0.0.1"),
        (b"10.0.0.1", [b"[2001:db8::1"], b"10.0.0.1"),
        (b"10.0.0.1", [b"1" * 5000], b"10.0.0.1"),
        # a unix socket has no address to trust
        (b"", [b"1.2.3.4"], b""),
    ],
)
def test_the_client_of_a_request(peer: bytes, fields: list[bytes], client: bytes) -> None:
    assert client_address(peer, fields, TRUSTED) == client


def test_without_trusted_networks_the_peer_is_the_client() -> None:
    assert client_address(b"10.0.0.1", [b"1.2.3.4"], Networks([])) == b"10.0.0.1"


def test_who_is_trusted() -> None:
    assert is_trusted(b"10.0.0.1", TRUSTED)
    assert not is_trusted(b"1.2.3.4", TRUSTED)
    assert not is_trusted(b"", TRUSTED)


addresses = st.sampled_from([b"10.0.0.1", b"10.9.9.9", b"1.2.3.4", b"5.6.7.8", b"fd00::1", b"2001:db8::1"])


@given(addresses, st.lists(addresses, max_size=5), st.lists(st.binary(max_size=12), max_size=3))
def test_a_client_cannot_change_its_address_by_what_it_sends(
    peer: bytes, path: list[bytes], claims: list[bytes]
) -> None:
    """What stands before the first stranger's address is that stranger's claim and changes nothing."""
    honest = client_address(peer, [b", ".join(path)] if path else [], TRUSTED)
    forged = client_address(peer, [*claims, b", ".join(path)] if path else claims, TRUSTED)
    if not all(is_trusted(each, TRUSTED) for each in [peer, *path]):
        assert forged == honest


@pytest.mark.parametrize(
    "name",
    [
        b"x-forwarded-for",
        b"x_forwarded_for",
        b"x-forwarded_for",
        b"x-real-ip",
        b"x_real_ip",
        b"forwarded",
        b"x-forwarded-tls-client-cert",
        b"x-envoy-max-retries",
        b"x_envoy_fault_delay_request",
        b"l5d-timeout",
        b"x-hivemesh-anything",
    ],
)
def test_headers_between_proxies_are_reserved(name: bytes) -> None:
    assert is_reserved(name)


@pytest.mark.parametrize("name", [b"host", b"x-request-id", b"x-forward", b"x-env", b"accept", b"forwarded-x", b""])
def test_other_headers_are_not(name: bytes) -> None:
    assert not is_reserved(name)
