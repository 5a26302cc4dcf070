"""The registry: versions and no-ops."""

from __future__ import annotations

from discovery.changes import Base
from discovery.model import Service, Snapshot
from discovery.registry import Registry


def base(*services: Service, version: int = 0) -> Base:
    return Base(snapshot=Snapshot(version=version, services=services))


def test_each_change_is_the_next_version() -> None:
    registry = Registry()

    registry.apply(base(Service(name="a")), now=0.0)
    first = registry.snapshot
    registry.apply(base(Service(name="a"), Service(name="b")), now=0.0)
    second = registry.snapshot

    assert (first.version, second.version) == (1, 2)
    assert second.services[0] is first.services[0]


def test_what_is_in_force_already_changes_nothing() -> None:
    registry = Registry()
    registry.apply(base(Service(name="a"), version=99), now=0.0)
    first = registry.snapshot

    assert not registry.apply(base(Service(name="a")), now=0.0).changed
    assert registry.snapshot is first


def test_a_successor_counts_on() -> None:
    registry = Registry(version=41)
    registry.apply(base(Service(name="a")), now=0.0)
    assert registry.snapshot.version == 42
