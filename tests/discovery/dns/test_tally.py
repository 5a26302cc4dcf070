"""What is counted from version to version is what would be counted anew, and what the rule in selection says."""

from __future__ import annotations

import random
from collections import Counter

from hypothesis import given
from hypothesis import strategies as st

from discovery.delta import identity
from discovery.dns.selection import Circuits, draw_first, places, pools, weights
from discovery.dns.tally import Tally
from discovery.model import Endpoint, EndpointState, Service

ADDRESSES = ["10.0.0.1:80", "10.0.0.1:81", "10.0.0.2:80", "[2001:db8::1]:80", "unix:/run/x"]

endpoints = st.builds(
    Endpoint,
    id=st.sampled_from(["a", "b", "c", "d"]),
    address=st.sampled_from(ADDRESSES),
    weight=st.integers(0, 2),
    backup=st.booleans(),
    state=st.sampled_from([EndpointState.HEALTHY, EndpointState.HEALTHY, EndpointState.UNHEALTHY]),
)
lists = st.lists(endpoints, max_size=6, unique_by=identity).map(tuple)


@st.composite
def histories(draw: st.DrawFn) -> list[tuple[Endpoint, ...]]:
    """Versions of a service, in which some endpoints are the same objects, in place or moved."""
    versions = [draw(lists)]
    for _ in range(draw(st.integers(0, 4))):
        last = versions[-1]
        kept = [draw(st.sampled_from([each, draw(endpoints)])) for each in last]
        unique = list({identity(each): each for each in draw(st.permutations(kept)) + list(draw(lists))[:1]}.values())
        versions.append(tuple(unique))
    return versions


@given(histories(), st.data())
def test_it_says_what_the_whole_rule_says(history: list[tuple[Endpoint, ...]], data: st.DataObject) -> None:
    tally = None
    for version in history:
        tally = Tally(version, tally)
        out = data.draw(st.lists(st.sampled_from([identity(each) for each in version]), unique=True)) if version else []
        half = data.draw(st.integers(0, len(out)))
        circuits = Circuits(1, dict.fromkeys(out[half:], 9), out[:half])
        found = places(Service(name="s", endpoints=version))
        for size in (4, 16):
            listed = tally.of(size, circuits)
            expected = weights(pools(found, False, circuits).addresses, size)
            usable = [
                each.endpoint
                for each in found
                if each.endpoint.state is EndpointState.HEALTHY
                and each.endpoint.weight > 0
                and not each.endpoint.backup
                and identity(each.endpoint) not in out
            ]
            assert (listed is None) is (not usable)
            assert listed is None or listed == expected


def test_what_was_counted_before_is_not_changed() -> None:
    was = (Endpoint(id="a", address="10.0.0.1:80"), Endpoint(id="b", address="10.0.0.2:80"))
    before = Tally(was)
    after = Tally((was[0], Endpoint(id="b", address="10.0.0.2:80", state=EndpointState.UNHEALTHY)), before)
    both = {b"\x0a\x00\x00\x01": 1, b"\x0a\x00\x00\x02": 1}
    assert before.of(4, Circuits()) == both
    assert after.of(4, Circuits()) == {b"\x0a\x00\x00\x01": 1}
    assert before.of(4, Circuits(1, {("b", "10.0.0.2:80"): 9})) == {b"\x0a\x00\x00\x01": 1}
    assert before.of(4, Circuits()) == both


def test_the_first_of_many_are_drawn_alike() -> None:
    """Ten thousand times three of ten, by a generator that is always the same: 3,000 each; 46 is one deviation."""
    rng, seen, first = random.Random(7), Counter[int](), Counter[int]()
    for _ in range(10_000):
        order = [bytes((number,)) for number in range(10)]
        draw_first(order, 3, rng)
        assert sorted(order) == [bytes((number,)) for number in range(10)]
        seen.update(each[0] for each in order[:3])
        first[order[0][0]] += 1
    assert all(abs(seen[number] - 3000) < 5 * 46 for number in range(10))
    assert all(abs(first[number] - 1000) < 5 * 30 for number in range(10))
