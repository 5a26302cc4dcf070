"""The registry: versions and no-ops."""

from __future__ import annotations

from discovery.model import Service, Snapshot
from discovery.registry import Registry


def test_each_change_is_the_next_version() -> None:
    registry = Registry()

    first = registry.apply(Snapshot(services=(Service(name="a"),)))
    second = registry.apply(Snapshot(services=(Service(name="a"), Service(name="b"))))

    assert (first.version, second.version) == (1, 2)
    assert second.services[0] is first.services[0]


def test_what_is_in_force_already_changes_nothing() -> None:
    registry = Registry()
    first = registry.apply(Snapshot(version=99, services=(Service(name="a"),)))

    assert registry.apply(Snapshot(services=(Service(name="a"),))) is first
    assert registry.snapshot is first


def test_a_successor_counts_on() -> None:
    assert Registry(version=41).apply(Snapshot(services=(Service(name="a"),))).version == 42
