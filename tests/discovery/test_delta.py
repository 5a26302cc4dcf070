"""Differences of snapshots: what they carry, and that they lose nothing."""

from __future__ import annotations

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from discovery.delta import (
    ServiceChange,
    SnapshotDelta,
    VersionMismatch,
    delta,
    identity,
    merge,
    merge_telling,
    rebase,
)
from discovery.model import Endpoint, EndpointState, Listener, Node, Service, Settings, Snapshot, Timeouts

endpoints = st.builds(
    Endpoint,
    id=st.sampled_from("abcdef"),
    address=st.sampled_from(["127.0.0.1:1", "127.0.0.1:2"]),
    weight=st.integers(0, 2),
    state=st.sampled_from(EndpointState),
)
services = st.builds(
    Service,
    name=st.sampled_from("stuvwxyz"),
    timeout=st.sampled_from([0.0, 1.0]),
    endpoints=st.lists(endpoints, max_size=5, unique_by=identity).map(tuple),
)
snapshots = st.builds(
    Snapshot,
    version=st.integers(0, 5),
    settings=st.builds(Settings, timeouts=st.builds(Timeouts, drain=st.sampled_from([1.0, 30.0]))),
    listeners=st.lists(st.builds(Listener, name=st.sampled_from("lm"), address=st.just("127.0.0.1:80"))).map(tuple),
    services=st.lists(services, max_size=5, unique_by=lambda service: service.name).map(tuple),
    nodes=st.lists(st.builds(Node, name=st.sampled_from("np")), max_size=2).map(tuple),
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


@given(snapshots, snapshots)
def test_an_endpoint_that_did_not_change_stays_the_same_object(old: Snapshot, new: Snapshot) -> None:
    before = {
        (service.name, identity(endpoint)): endpoint for service in old.services for endpoint in service.endpoints
    }
    change = delta(old, new)
    sent = [id(endpoint) for each in change.services for one in each.endpoints for endpoint in one.inserted]
    sent += [id(endpoint) for one in change.spliced for each in one.inserted for endpoint in each.endpoints]

    for service in merge(old, change).services:
        for endpoint in service.endpoints:
            known = before.get((service.name, identity(endpoint)))
            assert endpoint is known or id(endpoint) in sent


@given(snapshots, snapshots)
def test_a_difference_survives_the_wire(old: Snapshot, new: Snapshot) -> None:
    change = delta(old, new)

    assert msgspec.msgpack.decode(msgspec.msgpack.encode(change), type=SnapshotDelta) == change


@given(snapshots, snapshots)
def test_a_merge_tells_of_every_service_that_is_other_than_it_was(old: Snapshot, new: Snapshot) -> None:
    before = {service.name: service for service in old.services}
    after = {service.name: service for service in new.services}

    snapshot, changes = merge_telling(old, delta(old, new))

    assert snapshot == new
    told = {each.name: each for each in changes}
    assert len(told) == len(changes)
    assert {name for name in before.keys() | after.keys() if before.get(name) != after.get(name)} <= told.keys()
    for each in changes:
        assert (each.was, each.now) == (before.get(each.name), after.get(each.name))
        check_endpoints(each)


def check_endpoints(change: ServiceChange) -> None:
    """What is put and gone, applied to a map of what was, is what is."""
    was = {identity(endpoint): endpoint for endpoint in (change.was.endpoints if change.was else ())}
    now = {identity(endpoint): endpoint for endpoint in (change.now.endpoints if change.now else ())}
    for endpoint in change.gone():
        assert was.pop(identity(endpoint)) is endpoint
    was.update({identity(endpoint): endpoint for endpoint in change.put()})
    assert was == now


@given(snapshots)
def test_nothing_differs_from_itself(snapshot: Snapshot) -> None:
    assert delta(snapshot, snapshot).is_empty


def test_only_the_service_that_changed_travels() -> None:
    old = Snapshot(version=1, services=tuple(Service(name=name) for name in "abc"))
    new = Snapshot(version=2, services=(old.services[0], Service(name="b", timeout=1.0), old.services[2]))

    change = delta(old, new)

    assert [service.name for service in change.services] == ["b"]
    assert not change.spliced
    assert change.listeners is None


def test_one_endpoint_of_many_travels_alone() -> None:
    many = tuple(Endpoint(id=f"{number}", address=f"127.0.0.1:{number}") for number in range(1, 1001))
    failed = msgspec.structs.replace(many[500], state=EndpointState.UNHEALTHY)
    old = Snapshot(version=1, services=(Service(name="a", endpoints=many),))
    new = Snapshot(version=2, services=(Service(name="a", endpoints=(*many[:500], failed, *many[502:])),))

    (change,) = delta(old, new).services

    assert change.fields is None
    assert [(each.at, each.removed, each.inserted) for each in change.endpoints] == [(500, 1, (failed,)), (501, 1, ())]


def test_a_service_with_other_fields_travels_without_its_endpoints() -> None:
    old = Service(name="a", endpoints=(Endpoint(id="1", address="127.0.0.1:1"),))
    new = msgspec.structs.replace(old, timeout=1.0)

    (change,) = delta(Snapshot(services=(old,)), Snapshot(services=(new,))).services

    assert change.fields == Service(name="a", timeout=1.0)
    assert change.endpoints == ()


def test_a_service_that_only_changed_its_place_stays_the_same_object() -> None:
    first, second = Service(name="a"), Service(name="b")
    old = Snapshot(version=1, services=(first, second))
    new = Snapshot(version=2, services=(Service(name="b"), Service(name="a")))

    merged = merge(old, delta(old, new))

    assert merged.services[0] is second
    assert merged.services[1] is first


def test_a_difference_that_meets_another_service_is_refused() -> None:
    old = Snapshot(version=1, services=(Service(name="a"),))
    change = delta(old, Snapshot(version=2, services=(Service(name="a", timeout=1.0),)))

    with pytest.raises(VersionMismatch, match="a change of service a met service b"):
        merge(Snapshot(version=1, services=(Service(name="b"),)), change)


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
