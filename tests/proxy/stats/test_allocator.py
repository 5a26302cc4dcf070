"""Statistics rows: a row gets a new name only when nobody writes under the old one."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from discovery.delta import change_between
from discovery.model import Endpoint, Listener, Protocol, Route, Service, Snapshot, StreamRoute
from proxy.stats.allocator import KeyChange, SlotAllocator, TableFull, key_change, keys_of


def make(size: int = 16) -> tuple[SlotAllocator, list[int]]:
    cleared: list[int] = []
    return SlotAllocator(size, cleared.append), cleared


def test_every_listener_route_service_and_endpoint_has_a_key() -> None:
    snapshot = Snapshot(
        listeners=(
            Listener(
                name="web",
                address="127.0.0.1:80",
                protocol=Protocol.AUTO,
                routes=(Route(name="all", service="app"),),
                streams=(StreamRoute(name="rest", service="app"),),
            ),
        ),
        services=(Service(name="app", endpoints=(Endpoint(id="1", address="127.0.0.1:81"),)),),
    )

    assert list(keys_of(snapshot)) == [
        "listener/web",
        "route/web/all",
        "route/web/rest",
        "service/app",
        "endpoint/app/1/127.0.0.1:81",
    ]


def test_a_key_keeps_its_row() -> None:
    allocator, _ = make()
    first = allocator.assign(["a", "b"], 1)

    assert allocator.assign(["b", "c", "a"], 2).items() >= first.items()


def test_row_zero_belongs_to_the_worker() -> None:
    allocator, _ = make(size=4)

    assert 0 not in allocator.assign(["a", "b", "c"], 1).values()


def test_a_row_is_reused_only_after_every_holder_let_go() -> None:
    allocator, cleared = make(size=2)
    row = allocator.assign(["a"], 1)["a"]
    allocator.sent(0, [row])
    allocator.sent(1, [row])
    allocator.assign([], 2)

    allocator.released(0, [row], 2)
    with pytest.raises(TableFull):
        allocator.assign(["b"], 3)
    assert cleared == []

    allocator.released(1, [row], 2)
    assert allocator.assign(["b"], 3) == {"b": row}
    assert cleared == [row]


def test_a_dead_worker_holds_nothing() -> None:
    allocator, _ = make(size=2)
    row = allocator.assign(["a"], 1)["a"]
    allocator.sent(0, [row])
    allocator.assign([], 2)

    allocator.gone(0)

    assert allocator.assign(["b"], 3) == {"b": row}


def test_a_key_that_comes_back_in_time_counts_on() -> None:
    allocator, cleared = make()
    row = allocator.assign(["a"], 1)["a"]
    allocator.sent(0, [row])
    allocator.assign([], 2)

    assert allocator.assign(["a"], 3) == {"a": row}
    assert cleared == []


def test_a_release_from_before_the_key_came_back_does_not_count() -> None:
    allocator, _ = make(size=2)
    row = allocator.assign(["a"], 1)["a"]
    allocator.sent(0, [row])
    allocator.assign([], 2)
    allocator.assign(["a"], 3)
    allocator.sent(0, [row])
    allocator.assign([], 4)

    allocator.released(0, [row], 2)  # was on its way all the time

    with pytest.raises(TableFull):
        allocator.assign(["b"], 5)


def test_a_release_counts_when_the_worker_never_heard_that_the_key_was_back() -> None:
    allocator, _ = make(size=2)
    row = allocator.assign(["a"], 1)["a"]
    allocator.sent(0, [row])
    allocator.assign([], 2)
    allocator.assign(["a"], 3)  # the worker is slow, and never hears of it
    allocator.assign([], 4)

    allocator.released(0, [row], 2)

    assert allocator.assign(["b"], 5) == {"b": row}


def test_a_release_counts_before_the_row_is_retired_again() -> None:
    allocator, _ = make(size=2)
    row = allocator.assign(["a"], 1)["a"]
    allocator.sent(0, [row])
    allocator.assign([], 2)
    allocator.assign(["a"], 3)

    allocator.released(0, [row], 2)
    allocator.assign([], 4)

    assert allocator.assign(["b"], 5) == {"b": row}


def test_a_full_table_changes_nothing() -> None:
    allocator, _ = make(size=3)
    before = allocator.assign(["a"], 1)

    with pytest.raises(TableFull, match=r"4 listeners, routes, services and endpoints .* the table has 2"):
        allocator.assign(["a", "b", "c", "d"], 2)

    assert allocator.numbers == before


def test_a_successor_goes_on_with_what_the_workers_have() -> None:
    cleared: list[int] = []
    allocator = SlotAllocator(16, cleared.append, is_fresh=False)
    allocator.adopt(0, {"a": 1, "b": 4}, [2])
    allocator.adopt(1, {"a": 1}, [])

    numbers = allocator.assign(["a", "b", "c", "d", "e"], 9)

    assert (numbers["a"], numbers["b"]) == (1, 4)
    assert 2 not in numbers.values()  # worker 0 still writes to it
    assert sorted(cleared) == sorted({numbers["c"], numbers["d"], numbers["e"]})


class Rows(RuleBasedStateMachine):
    """Two workers that hear of changes late and let go late. `writable` is what each may write, and under which key."""

    def __init__(self) -> None:
        super().__init__()
        self.allocator = SlotAllocator(8, lambda _: None)
        self.version = 0
        self.named: dict[str, int] = {}
        self.writable: list[dict[int, str]] = [{}, {}]
        self.versions = [0, 0]
        self.releases: list[list[tuple[int, int]]] = [[], []]

    @rule(keys=st.sets(st.sampled_from("abcdefgh"), max_size=5))
    def change(self, keys: set[str]) -> None:
        try:
            self.named = self.allocator.assign(keys, self.version + 1)
        except TableFull:
            return
        self.version += 1

    @rule(worker=st.integers(0, 1))
    def hear(self, worker: int) -> None:
        self.allocator.sent(worker, self.named.values())
        self.versions[worker] = self.version
        self.writable[worker] |= {number: key for key, number in self.named.items()}

    @rule(worker=st.integers(0, 1))
    def let_go(self, worker: int) -> None:
        if self.versions[worker] == self.version:
            for number in [row for row in self.writable[worker] if row not in self.named.values()]:
                del self.writable[worker][number]
                self.releases[worker].append((number, self.version))

    @rule(worker=st.integers(0, 1))
    def deliver(self, worker: int) -> None:
        for number, version in self.releases[worker]:
            self.allocator.released(worker, [number], version)
        self.releases[worker].clear()

    @invariant()
    def no_row_has_two_names(self) -> None:
        for key, number in self.named.items():
            for rows in self.writable:
                assert rows.get(number, key) == key


Rows.TestCase.settings = settings(max_examples=60, stateful_step_count=30)
TestRows = Rows.TestCase


# --- changes ----------------------------------------------------------------------------------------------------------


def test_a_change_gives_and_takes_only_what_it_names() -> None:
    allocator, _ = make()
    before = dict(allocator.assign(["a", "b"], 1))

    allocator.change(KeyChange(added=["c"], removed=["b"]), 2)

    assert allocator.numbers.keys() == {"a", "c"}
    assert allocator.numbers["a"] == before["a"]


def test_a_change_that_does_not_fit_changes_nothing() -> None:
    allocator, _ = make(size=3)
    before = dict(allocator.assign(["a", "b"], 1))

    with pytest.raises(TableFull, match=r"2 listeners, .* of which 1 too few are free"):
        allocator.change(KeyChange(added=["c"], removed=["b"]), 2)

    assert allocator.numbers == before


def test_whether_keys_fit_can_be_asked_beforehand() -> None:
    allocator, _ = make(size=3)
    allocator.assign(["a"], 1)

    allocator.check(["a", "b"])
    with pytest.raises(TableFull):
        allocator.check(["a", "b", "c"])


endpoints = st.builds(Endpoint, id=st.sampled_from("abc"), address=st.sampled_from(["127.0.0.1:1", "127.0.0.1:2"]))
services = st.builds(
    Service,
    name=st.sampled_from("stuv"),
    domain=st.sampled_from(["", "a.test"]),
    endpoints=st.lists(endpoints, max_size=3, unique_by=lambda each: (each.id, each.address)).map(tuple),
)
listeners = st.builds(
    Listener,
    name=st.sampled_from("lm"),
    address=st.just("127.0.0.1:80"),
    by_domain=st.booleans(),
    routes=st.sampled_from([(), (Route(name="r", service="s"),)]),
)
snapshots = st.builds(
    Snapshot,
    listeners=st.lists(listeners, max_size=2, unique_by=lambda each: each.name).map(tuple),
    services=st.lists(services, max_size=4, unique_by=lambda each: each.name).map(tuple),
)


@given(snapshots, snapshots)
def test_the_keys_of_a_change_are_those_that_came_and_went(before: Snapshot, after: Snapshot) -> None:
    change = key_change(before, change_between(before, after))

    was, now = set(keys_of(before)), set(keys_of(after))
    assert set(change.added) == now - was
    assert set(change.removed) == was - now
