"""Every generation is a good configuration, every breakage is none, and contents follow from names."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from benchmarks.soak.chaos import WORKERS
from benchmarks.soak.resolver import answer
from benchmarks.soak.scene import BREAKAGES, ENDPOINTS, Ports, Scene, address_of, body_of, flaky_at
from proxy.config.load import load_text

SCENE = Scene(Ports(*range(24001, 24011)), Path("/nowhere"), 6.0, 10.0)


@pytest.mark.parametrize("number", range(15))
def test_every_generation_is_a_good_configuration(number: int) -> None:
    loaded = load_text(json.dumps(SCENE.config(number, 1 + number % 3)), "hivemesh.yaml", {})

    assert loaded.problems == ()


@pytest.mark.parametrize("number", range(len(BREAKAGES)))
def test_every_breakage_is_no_configuration(number: int) -> None:
    broken = BREAKAGES[number](SCENE.config(3, WORKERS))
    text = broken if isinstance(broken, str) else json.dumps(broken)

    assert load_text(text, "hivemesh.yaml", {}).problems


def test_contents_follow_from_names() -> None:
    assert body_of("a", 1000) == body_of("a", 2000)[:1000]
    assert body_of("a", 100) != body_of("b", 100)
    assert {flaky_at(str(number)) for number in range(100)} == set(ENDPOINTS)


def test_the_resolver_answers_what_clients_expect() -> None:
    import dns.message

    found = dns.message.from_wire(answer(dns.message.make_query("x7.ext.test", "A").to_wire()))
    other = dns.message.from_wire(answer(dns.message.make_query("x7.other.test", "A").to_wire()))

    assert [record.address for rrset in found.answer for record in rrset] == [address_of("x7")]
    assert (other.rcode().name, other.answer) == ("NXDOMAIN", [])
