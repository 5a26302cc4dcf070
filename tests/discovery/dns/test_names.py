"""Names as text and on the wire, as dnspython has them; labels made of other names."""

from __future__ import annotations

import ipaddress

import dns.name
import dns.reversename
import pytest
from hypothesis import given
from hypothesis import strategies as st

from discovery.dns.names import (
    NameProblem,
    address_of_hex,
    address_of_reverse,
    hex_label,
    label_of,
    reverse_name,
    split,
    text_name,
    wire_name,
)

LABEL = st.text("abcXYZ019-_", min_size=1, max_size=20)
ADDRESS = st.one_of(st.binary(min_size=4, max_size=4), st.binary(min_size=16, max_size=16))


@given(st.lists(LABEL, max_size=8), st.booleans())
def test_a_name_is_written_as_dnspython_writes_it(labels: list[str], dot: bool) -> None:
    text = ".".join(labels)
    wire = wire_name(text + "." * dot)
    assert wire == dns.name.from_text(text.lower()).to_wire()
    assert text_name(wire) == (text.lower() or ".")
    assert len(split(wire)) == len(labels)


@pytest.mark.parametrize("text", ["a..b", ".a", "a" * 64, ".".join(["a" * 63] * 4), "a.b.."])
def test_what_is_no_name(text: str) -> None:
    with pytest.raises(NameProblem):
        wire_name(text)


@pytest.mark.parametrize(
    ("name", "label"),
    [
        ("web", b"web"),
        ("Web_1", b"web_1"),
        ("v2.1", b"v2-1"),
        ("[::1]:80", b"---1--80"),
        ("x" * 70, b"x" * 63),
    ],
)
def test_any_name_becomes_a_label(name: str, label: bytes) -> None:
    assert label_of(name) == label


@given(ADDRESS)
def test_an_address_has_a_label_and_a_name_to_look_it_up_backwards(packed: bytes) -> None:
    assert address_of_hex(hex_label(packed)) == packed
    text = str(ipaddress.ip_address(packed))
    assert reverse_name(packed) == dns.reversename.from_address(text).to_wire()
    assert address_of_reverse(reverse_name(packed)) == packed


@pytest.mark.parametrize(
    "name",
    [
        "1.0.0.in-addr.arpa",
        "1.1.0.0.10.in-addr.arpa",
        "256.0.0.10.in-addr.arpa",
        "x.0.0.10.in-addr.arpa",
        "01.0.0.10.in-addr.arpa",
        "0001.0.0.10.in-addr.arpa",
        "in-addr.arpa",
        "ip6.arpa",
        "1." * 31 + "ip6.arpa",
        "1." * 33 + "ip6.arpa",
        "g." * 32 + "ip6.arpa",
        "11." * 16 + "1." * 16 + "ip6.arpa",
        "example.com",
        "",
    ],
)
def test_what_is_no_address_backwards(name: str) -> None:
    assert address_of_reverse(wire_name(name)) is None


def test_arabic_digits_of_other_scripts_are_none() -> None:
    assert address_of_reverse(wire_name("\N{ARABIC-INDIC DIGIT ONE}.0.0.10.in-addr.arpa")) is None
