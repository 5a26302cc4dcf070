"""Differences of snapshots: what they carry, and that they lose nothing."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from discovery.delta import VersionMismatch, delta, merge, rebase
from discovery.model import Endpoint, Listener, Service, Settings, Snapshot, Timeouts

endpoints = st.builds(
    Endpoint,
    id=st.sampled_from("abc"),
    address=st.sampled_from(["127.0.0.1:1", "127.0.0.1:2"]),
    weight=st.integers(0, 2),
)
services = st.builds(
    Service,
    name=st.sampled_from("stuvwxyz"),
    timeout=st.sampled_from([0.0, 1.0]),
    endpoints=st.lists(endpoints, max_size=2).map(tuple),
)
snapshots = st.builds(
    Snapshot,
    version=st.integers(0, 5),
    settings=st.builds(Settings, timeouts=st.builds(Timeouts, drain=st.sampled_from([1.0, 30.0]))),
    listeners=st.lists(st.builds(Listener, name=st.sampled_from("lm"), address=st.just("127.0.0.1:80"))).map(tuple),
    services=st.lists(services, max_size=5, unique_by=lambda service: service.name).map(tuple),
)


@given(snapshots, snapshots)
def test_an_old_snapshot_with_the_difference_merged_is_the_new_one(old: Snapshot, new: Snapshot) -> None:
    assert merge(old, delta(old, new)) == new


@given(snapshots, snapshots)
def test_a_service_that_did_not_change_stays_the_same_object(old: Snapshot, new: Snapshot) -> None:
    before = {service.name: service for service in old.services}

    for service in merge(old, delta(old, new)).services:
        if before.get(service.name) == service:
            assert service is before[service.name]


@given(snapshots)
def test_nothing_differs_from_itself(snapshot: Snapshot) -> None:
    assert delta(snapshot, snapshot).is_empty


def test_only_the_service_that_changed_travels() -> None:
    old = Snapshot(version=1, services=tuple(Service(name=name) for name in "abc"))
    new = Snapshot(version=2, services=(old.services[0], Service(name="b", timeout=1.0), old.services[2]))

    change = delta(old, new)

    assert [service.name for service in change.services] == ["b"]
    assert change.order is None
    assert change.listeners is None


def test_a_difference_that_starts_elsewhere_is_refused() -> None:
    change = delta(Snapshot(version=3), Snapshot(version=4))

    with pytest.raises(VersionMismatch, match="version 3 does not fit version 2"):
        merge(Snapshot(version=2), change)


def test_rebase_keeps_the_objects_that_are_equal() -> None:
    old = Snapshot(version=1, services=(Service(name="a"),))
    new = Snapshot(version=7, services=(Service(name="b"), Service(name="a")))

    rebased = rebase(old, new)

    assert rebased == new
    assert rebased.services[1] is old.services[0]
