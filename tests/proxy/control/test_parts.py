"""A large snapshot in parts: nothing is lost, and no message is large."""

from __future__ import annotations

import msgspec
from hypothesis import given
from hypothesis import strategies as st

from discovery.delta import delta
from discovery.model import Endpoint, Service, Snapshot
from proxy.control.messages import Apply, Part
from proxy.control.parts import MOST_IN_DELTA, PART_SIZE, in_parts, is_large, joined


def snapshot_of(sizes: list[int]) -> Snapshot:
    services = (
        Service(
            name=f"s{number}",
            timeout=1.0,
            endpoints=tuple(Endpoint(id=f"e{each}", address=f"127.0.0.1:{each + 1}") for each in range(size)),
        )
        for number, size in enumerate(sizes)
    )
    return Snapshot(version=3, services=tuple(services))


@given(st.lists(st.integers(0, 3 * PART_SIZE), max_size=6), st.integers(0, 5 * PART_SIZE))
def test_parts_joined_are_the_whole(sizes: list[int], rows: int) -> None:
    snapshot, slots = snapshot_of(sizes), {f"k{row}": row for row in range(rows)}

    *parts, last = in_parts(snapshot, slots)

    assert isinstance(last, Apply)
    assert all(isinstance(part, Part) for part in parts)
    pieces = [service for part in parts for service in part.services]
    assert joined((*pieces, *last.snapshot.services)) == snapshot.services
    assert msgspec.structs.replace(last.snapshot, services=snapshot.services) == snapshot
    told: dict[str, int] = {}
    for part in (*parts, last):
        told |= part.slots
    assert told == slots
    for part in parts:
        assert sum(1 + len(service.endpoints) for service in part.services) <= PART_SIZE


def test_what_is_small_is_one_message() -> None:
    snapshot = snapshot_of([3, 4])

    assert list(in_parts(snapshot, {"a": 1})) == [Apply(snapshot=snapshot, slots={"a": 1})]


def test_a_difference_is_large_by_what_it_brings() -> None:
    few, many = snapshot_of([1]), snapshot_of([MOST_IN_DELTA + 10])

    assert is_large(delta(few, many))
    assert not is_large(delta(many, few))
