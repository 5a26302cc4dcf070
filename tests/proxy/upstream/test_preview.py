"""What explain says of endpoints and splits is what the next request gets, and asking leaves no trace."""

from __future__ import annotations

import os
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from discovery.model import (
    Endpoint,
    EndpointState,
    Listener,
    PoolPolicy,
    Route,
    Service,
    Settings,
    Snapshot,
    TrafficSplit,
)
from discovery.policies import (
    Affinity,
    Balancing,
    BrokenAffinity,
    CircuitBreaker,
    KeyKind,
    LoadBalancingStrategy,
    RequestKey,
    Subset,
    SubsetFallback,
)
from mesh.breaker import CLOSED, HALF_OPEN, OPEN, pack
from mesh.decision import SplitView
from mesh.request import SampleRequest
from mesh.subsets import SubsetRule
from proxy.kernel.cells import Table
from proxy.stats import slots, words
from proxy.stats.allocator import SlotAllocator, keys_of
from proxy.stats.rows import Rows
from proxy.table import Tables
from proxy.upstream.endpoint import EndpointRuntime, ServiceRuntime, pick_admitted, pick_bound
from proxy.upstream.preview import Preview, preview, split_views
from proxy.upstream.split import count_failovers

ROWS = 64
NOW = 1_000_000  # milliseconds
ANN = SampleRequest(client=b"10.0.0.7", headers=[(b"x-user", b"ann")])


class Worker:
    """Tables of one worker, and the memory that it shares with others."""

    def __init__(self, *services: Service, routes: tuple[Route, ...] = ()) -> None:
        self.memory = os.memfd_create("statistics")
        os.ftruncate(self.memory, slots.table_size(2, ROWS))
        self.tables = Tables(Rows(Table(self.memory, 2, ROWS), 0, lambda number: None))
        self.tables.draws.state = 1  # where a rotation begins is drawn
        listener = Listener(name="web", address="127.0.0.1:1", routes=routes)
        snapshot = Snapshot(version=1, settings=Settings(secret="s"), listeners=(listener,), services=services)
        self.tables.apply(snapshot, SlotAllocator(ROWS, lambda number: None).assign(keys_of(snapshot), 1))
        self.service = self.tables.services[services[0].name]

    def close(self) -> None:
        os.close(self.memory)

    def seen(self) -> tuple[bytes, int, int]:
        """All that a question might change."""
        size = os.fstat(self.memory).st_size
        return os.pread(self.memory, size, 0), self.tables.draws.state, len(self.service.subsets)

    def endpoint(self, id_: str) -> EndpointRuntime:
        return next(each for each in self.service.endpoints.values() if each.endpoint.id == id_)

    def set_breaker(self, id_: str, word: int) -> None:
        shared = self.endpoint(id_).shared
        assert shared.swap(words.BREAKER_WORD, shared.load(words.BREAKER_WORD), word)

    def ask(
        self,
        version: str = "",
        subset: Subset | None = None,
        request: SampleRequest = ANN,
        most: int = 0,
    ) -> Preview:
        """The preview, which must not change anything."""
        service = self.service
        before = self.seen()
        bond = None if service.affinities is None else service.affinities.bond(request)
        rule = None if subset is None else SubsetRule(subset)
        found = preview(service, version, rule, request, bond, NOW * 1000, most)
        assert self.seen() == before
        return found

    def pick(
        self, version: str = "", subset: Subset | None = None, request: SampleRequest = ANN
    ) -> EndpointRuntime | None:
        """What a request gets."""
        service = self.service
        balancer = service.balancer_of(version, None if subset is None else SubsetRule(subset), request)
        if balancer is None:
            return None
        bond = None if service.affinities is None else service.affinities.bond(request)
        if bond is None:
            return pick_admitted(balancer, request, None, NOW * 1000)
        return pick_bound(balancer, bond, request, None, NOW * 1000, subset is not None)


def app(*endpoints: Endpoint, **given: Any) -> Service:
    return Service(name="app", endpoints=endpoints, **given)


def some(count: int, **given: Any) -> tuple[Endpoint, ...]:
    return tuple(Endpoint(id=f"e{n}", address=f"127.0.0.1:{n + 1}", **given) for n in range(count))


def line_of(service: ServiceRuntime, endpoint: EndpointRuntime) -> bytes:
    """The cookie that names an endpoint."""
    assert service.affinities is not None
    bond = service.affinities.bond(SampleRequest())
    assert bond is not None
    line = service.affinities.line(endpoint, bond)
    assert line is not None
    return line.partition(b": ")[2].partition(b";")[0]


# --- endpoints ----------------------------------------------------------------------------------------------------

EJECTED = pack(OPEN, 0, 2, 0, NOW + 12_300)
OVER = pack(OPEN, 0, 1, 0, NOW - 1)
TRIED = pack(HALF_OPEN, 0, 1, 1, NOW - 1)
ENDPOINTS = st.lists(
    st.tuples(
        st.sampled_from(["v1", "v2"]),
        st.integers(0, 3),
        st.sampled_from([EndpointState.HEALTHY] * 5 + list(EndpointState)),
        st.booleans(),
        st.sampled_from([0, 0, 0, 0, EJECTED, OVER, TRIED, pack(CLOSED, 0, 0, 2, NOW)]),
        st.booleans(),
    ),
    min_size=1,
    max_size=7,
)
AFFINITIES = st.sampled_from(
    [
        None,
        None,
        Affinity(kind=KeyKind.HEADER, name="x-user"),
        Affinity(kind=KeyKind.CLIENT_IP, broken=BrokenAffinity.FAIL),
        Affinity(name="hm"),
    ]
)
QUICK = [each for each in LoadBalancingStrategy if each is not LoadBalancingStrategy.MAGLEV]


@settings(max_examples=60)
@given(
    ENDPOINTS,
    st.sampled_from(QUICK),
    AFFINITIES,
    st.sampled_from([0.0, 0.0, 60.0]),
    st.lists(st.tuples(st.sampled_from(["", "v1", "v3"]), st.booleans(), st.integers(0, 5)), min_size=1, max_size=6),
)
def test_the_next_request_gets_what_was_said(
    given_endpoints: list[tuple[str, int, EndpointState, bool, int, bool]],
    strategy: LoadBalancingStrategy,
    affinity: Affinity | None,
    panic: float,
    requests: list[tuple[str, bool, int]],
) -> None:
    endpoints = [
        Endpoint(
            id=f"e{n}",
            address=f"127.0.0.1:{n + 1}",
            version=version,
            weight=weight,
            state=state,
            backup=backup,
            metadata={"zone": str(n % 2)},
        )
        for n, (version, weight, state, backup, _, _) in enumerate(given_endpoints)
    ]
    balancing = Balancing(panic_threshold_pct=panic)
    worker = Worker(app(*endpoints, load_balancing=strategy, affinity=affinity, balancing=balancing))
    try:
        for n, (_, _, _, _, word, full) in enumerate(given_endpoints):
            worker.set_breaker(f"e{n}", word)
            worker.endpoint(f"e{n}").full = full
        for version, in_subset, number in requests:
            subset = Subset(metadata={"zone": "1"}, fallback=SubsetFallback.ANY) if in_subset else None
            headers = [(b"x-user", b"user-%d" % number)] if number else []
            if number == 1 and affinity is not None and affinity.kind is KeyKind.COOKIE:
                headers.append((b"cookie", line_of(worker.service, worker.endpoint("e0"))))
            request = SampleRequest(client=b"10.0.0.%d" % number, headers=headers)
            said = worker.ask(version, subset, request)
            assert worker.ask(version, subset, request, most=2)[3:6] == said[3:6]
            found = worker.pick(version, subset, request)
            assert found is said.picked
            assert [each.picked for each in said.endpoints] == [found is not None] + [False] * (len(endpoints) - 1)
            if found is not None:
                assert said.endpoints[0].id == found.endpoint.id
                assert said.probing is (found.admission == 2)
            assert said.why and not said.more
            assert sorted(each.id for each in said.endpoints) == sorted(each.id for each in endpoints)
    finally:
        worker.close()


@pytest.fixture
def mixed() -> Any:
    """One endpoint of each kind."""
    made = {
        "good": {"metadata": {"zone": "x"}},
        "busy": {"metadata": {"zone": "x"}},
        "checking": {"state": EndpointState.CHECKING},
        "down": {"state": EndpointState.UNHEALTHY},
        "leaving": {"state": EndpointState.DRAINING},
        "out": {},
        "trying": {},
        "nothing": {"weight": 0},
        "old": {"version": "v0", "state": EndpointState.UNHEALTHY},
        "far": {"metadata": {"zone": "y"}},
    }
    endpoints = [
        Endpoint(
            id=name,
            address=f"127.0.0.1:{n + 1}",
            version=str(fields.get("version", "v1")),
            metadata={"zone": "x", **dict(fields.get("metadata", {}))},  # type: ignore[call-overload]
            weight=int(fields.get("weight", 1)),  # type: ignore[call-overload]
            state=fields.get("state", EndpointState.HEALTHY),  # type: ignore[arg-type]
        )
        for n, (name, fields) in enumerate(made.items())
    ]
    breaker = CircuitBreaker(half_open_requests=3)
    worker = Worker(app(*endpoints, circuit_breaker=breaker, pool=PoolPolicy(max_connections=10)))
    worker.set_breaker("out", EJECTED)
    worker.set_breaker("trying", pack(HALF_OPEN, 0, 1, 1, NOW))
    worker.endpoint("trying").slot.add(slots.PROBES, 3)
    worker.endpoint("busy").full = True
    worker.endpoint("good").slot.add(slots.ACTIVE, 4)
    yield worker
    worker.endpoint("trying").slot.add(slots.PROBES, -3)
    worker.close()


def test_every_endpoint_is_told_with_its_state(mixed: Worker) -> None:
    said = mixed.ask("v1", Subset(metadata={"zone": "x"}))
    told = {each.id: (each.state, each.detail, each.usable) for each in said.endpoints}
    assert told == {
        "good": ("healthy", "", True),
        "busy": ("healthy", "all 10 connections are in use", True),
        "checking": ("checking", "", False),
        "down": ("unhealthy", "", False),
        "leaving": ("draining", "", False),
        "out": ("ejected", "for another 12.3 s, ejected 2 times in a row", False),
        "trying": ("half-open", "1 requests have worked, ejected once", False),
        "nothing": ("weight 0", "", False),
        "old": ("wrong version", "v1 is wanted, unhealthy", False),
        "far": ("not in subset", "", True),
    }
    assert [each.id for each in said.endpoints][:2] == ["good", "busy"]
    assert [each.id for each in said.endpoints][-2:] == ["far", "old"]
    first = said.endpoints[0]
    assert (first.picked, first.load, first.zone, first.score) == (True, 4, "x", 0.0)
    assert said.endpoints[1].full
    assert said.balance.strategy == "round_robin" and said.balance.score_of.startswith("turns")


def test_the_picked_one_is_never_left_out() -> None:
    worker = Worker(app(*some(40)))
    for _ in range(25):
        worker.pick()
    for most in (1, 5, 40, 100):
        said = worker.ask(most=most)
        assert said.endpoints[0].picked and len(said.endpoints) == min(most, 40)
        assert said.more == 40 - len(said.endpoints)
        assert [each.score for each in said.endpoints] == [float(n) for n in range(len(said.endpoints))]
    worker.close()


def test_a_probe_is_not_claimed(mixed: Worker) -> None:
    for name in ("good", "busy", "far"):
        mixed.endpoint(name).usable = False
    mixed.endpoint("trying").slot.add(slots.PROBES, -2)
    said = mixed.ask("v1")
    assert said.picked is mixed.endpoint("trying") and said.probing
    assert said.why == "the only endpoint that takes requests, as a probe of its half-open breaker"
    assert said.balance.certain
    mixed.endpoint("trying").slot.add(slots.PROBES, 2)
    said = mixed.ask("v1")
    assert said.picked is None and said.why == "no endpoint takes requests: breakers are open"


@pytest.mark.parametrize(
    ("strategy", "why", "key"),
    [
        ("round_robin", "next in turn", ""),
        ("weighted_round_robin", "it has most credit: 1 (of 2 endpoints)", ""),
        ("random", "drawn at random by weight: 50 % of the draws fall on it", ""),
        ("least_connections", "fewest requests under way for its weight: 1 (of 2 endpoints)", ""),
        ("peak_ewma", "least time to wait: 60 ms (of 2 endpoints)", ""),
        ("ip_hash", "the key 10.0.0.7 belongs to it", "10.0.0.7"),
        ("ring_hash", "the key ann belongs to it", "ann"),
        ("maglev", "the key ann belongs to it", "ann"),
    ],
)
def test_a_sentence_says_why(strategy: str, why: str, key: str) -> None:
    balancing = Balancing(hash_on=RequestKey(kind=KeyKind.HEADER, name="x-user"))
    worker = Worker(app(*some(2), load_balancing=LoadBalancingStrategy(strategy), balancing=balancing))
    worker.endpoint("e0").slot.add(slots.ACTIVE, 1)
    worker.endpoint("e1").slot.add(slots.ACTIVE, 2)
    said = worker.ask()
    assert (said.why, said.balance.key, said.balance.strategy) == (why, key, strategy)
    assert said.balance.certain is (key != "")
    if strategy in ("ring_hash", "maglev"):
        anybody = worker.ask(request=SampleRequest())
        assert anybody.balance.note == "the request has no header x-user, so any will do"
        assert not anybody.balance.certain
    for each in ("e0", "e1"):
        worker.endpoint(each).slot.add(slots.ACTIVE, -1 if each == "e0" else -2)
    worker.close()


@pytest.mark.parametrize(
    ("version", "subset", "why"),
    [
        ("v9", None, "no endpoint has the version v9"),
        ("", Subset(metadata={"zone": "nowhere"}), "no endpoint has what the route's subset asks for"),
        ("v1", None, "no endpoint takes requests"),
    ],
)
def test_a_sentence_says_why_none(version: str, subset: Subset | None, why: str) -> None:
    worker = Worker(app(*some(2, version="v1", state=EndpointState.UNHEALTHY)))
    said = worker.ask(version, subset)
    assert (said.picked, said.why) == (None, why)
    assert {each.picked for each in said.endpoints} == {False}
    empty = Worker(app())
    assert empty.ask().why == "the service has no endpoints"
    worker.close()
    empty.close()


def test_panic_backups_and_zones_are_noted() -> None:
    endpoints = some(4, state=EndpointState.UNHEALTHY)
    worker = Worker(app(*endpoints, balancing=Balancing(panic_threshold_pct=50.0)))
    said = worker.ask()
    assert said.picked is not None and said.balance.note.startswith("panic: less than 50 %")
    worker.close()
    backup = Endpoint(id="spare", address="127.0.0.1:9", backup=True)
    worker = Worker(app(*endpoints, backup))
    said = worker.ask()
    assert said.picked is worker.endpoint("spare") and said.endpoints[0].level == 1
    assert said.balance.note == "level 1: no endpoint of a lower one takes requests"
    worker.close()


# --- affinity -----------------------------------------------------------------------------------------------------


def test_a_cookie_names_its_endpoint() -> None:
    worker = Worker(app(*some(3), affinity=Affinity(name="hm")))
    new = worker.ask()
    assert new.affinity is not None and (new.affinity.by, new.affinity.state) == ("cookie hm", "new")
    cookie = line_of(worker.service, worker.endpoint("e2"))
    request = SampleRequest(headers=[(b"cookie", cookie)])
    kept = worker.ask(request=request)
    assert kept.picked is worker.endpoint("e2") and kept.why == "the cookie hm names it" and kept.balance.certain
    assert kept.affinity is not None and (kept.affinity.state, kept.affinity.endpoint) == ("kept", "127.0.0.1:3")
    assert all(each.score is None for each in kept.endpoints)
    worker.endpoint("e2").usable = False
    lost = worker.ask(request=request)
    assert lost.affinity is not None and lost.affinity.state == "broken"
    assert lost.picked is worker.pick(request=request) is not worker.endpoint("e2")
    worker.close()


def test_a_strict_bond_is_refused() -> None:
    worker = Worker(app(*some(3), affinity=Affinity(name="hm", broken=BrokenAffinity.FAIL)))
    request = SampleRequest(headers=[(b"cookie", line_of(worker.service, worker.endpoint("e1")))])
    worker.endpoint("e1").usable = False
    said = worker.ask(request=request)
    assert said.picked is None and said.affinity is not None and said.affinity.state == "refused"
    assert said.why == "the endpoint that the client belongs to takes no requests"
    assert worker.pick(request=request) is None
    worker.close()


def test_a_header_says_where_a_client_belongs() -> None:
    worker = Worker(app(*some(5), affinity=Affinity(kind=KeyKind.HEADER, name="X-User")))
    said = worker.ask()
    assert said.why == "the client belongs to it by its header x-user" and said.balance.certain
    assert said.affinity is not None and said.affinity.state == "kept"
    none = worker.ask(request=SampleRequest())
    assert none.affinity is not None and none.affinity.detail == "the request has no header x-user"
    assert none.affinity.state == "none" and none.why == "next in turn"
    assert said.picked is not None
    said.picked.usable = False
    moved = worker.ask()
    assert moved.affinity is not None and moved.affinity.state == "broken"
    assert "belongs to another one" in moved.why
    worker.close()


# --- splits -------------------------------------------------------------------------------------------------------

V1, V2 = (TrafficSplit(version=version, weight=weight) for version, weight in (("v1", 80), ("v2", 20)))


def split_worker(route: tuple[TrafficSplit, ...] = (), **given: Any) -> Worker:
    endpoints = [Endpoint(id=f"e{n}", address=f"127.0.0.1:{n + 1}", version=f"v{n % 2 + 1}") for n in range(4)]
    other = Service(name="other", endpoints=some(1))
    routes = (Route(name="all", service="app", split=route),) if route else ()
    return Worker(app(*endpoints, **given), other, routes=routes)


def drawn(worker: Worker, number: int, request: SampleRequest = ANN, split: Any = None) -> tuple[SplitView, ...]:
    """The views of one question; they agree with the draw, which counts nothing."""
    split = split if split is not None else worker.service.split
    before = worker.seen()
    request_id = b"req-%d" % number
    said, views = split_views(split, request, request_id, NOW)
    assert worker.seen() == before
    again = split.draw_for(request, split.number_of(request_id), NOW)
    assert again[:4] == said[:4]
    return views


def taken(view: SplitView) -> str:
    (found,) = [share for share in view.shares if share.drawn]
    return f"{found.service} {found.version}".strip()


def test_a_draw_is_told_with_its_shares() -> None:
    worker = split_worker(traffic_split=(V1, V2))
    seen = set()
    for number in range(50):
        (view,) = drawn(worker, number)
        assert view.owner == "service app" and view.by == "request id" and not view.kept and not view.failed_over
        assert [(share.service, share.version, share.percent) for share in view.shares] == [
            ("app", "v1", 80.0),
            ("app", "v2", 20.0),
        ]
        assert taken(view) == ("app v1" if view.number < 0.8 else "app v2")
        seen.add(taken(view))
    assert len(seen) == 2
    worker.close()


def test_a_share_that_fails_over_is_counted_by_who_goes_there() -> None:
    worker = split_worker(traffic_split=(V1, V2))
    for name in ("e1", "e3"):
        worker.endpoint(name).usable = False
    failed = [view for number in range(50) for view in drawn(worker, number) if view.failed_over]
    assert failed
    for view in failed:
        assert (view.wanted, taken(view)) == ("v2", "app v1") and view.number >= 0.8
        assert [share.usable for share in view.shares] == [True, False]
    assert worker.service.shared.load(words.FAILOVERS) == 0
    split = worker.service.split
    assert split is not None
    count_failovers(split.draw_for(ANN, 0.9, NOW))
    count_failovers(split.draw_for(ANN, 0.1, NOW))
    assert worker.service.shared.load(words.FAILOVERS) == 1
    worker.close()


def test_a_split_within_a_split_is_a_draw_of_its_own() -> None:
    route = (TrafficSplit(service="app", weight=1), TrafficSplit(service="other", weight=1))
    worker = split_worker(route, traffic_split=(V1, V2))
    split = worker.tables.listeners["web"].router.match(ANN).split  # type: ignore[attr-defined]
    for number in range(30):
        first, *rest = drawn(worker, number, split=split)
        assert first.owner == "route all"
        assert [view.owner for view in rest] == (["service app"] if taken(first) == "app" else [])
        for view in rest:
            assert view.number == pytest.approx(first.number * 2 % 1.0)
    worker.close()


@pytest.mark.parametrize(
    ("sticky", "by"),
    [
        (Affinity(kind=KeyKind.HEADER, name="X-User"), "header x-user"),
        (Affinity(kind=KeyKind.CLIENT_IP), "client address"),
    ],
)
def test_a_sticky_split_says_what_its_number_comes_from(sticky: Affinity, by: str) -> None:
    worker = split_worker(traffic_split=(V1, V2), sticky_split=sticky)
    views = [drawn(worker, number)[0] for number in range(10)]
    assert {view.by for view in views} == {by} and len({view.number for view in views}) == 1
    worker.close()


def test_a_cookie_keeps_the_share() -> None:
    worker = split_worker(traffic_split=(V1, V2), sticky_split=Affinity(name="side"))
    split = worker.service.split
    assert split is not None and split.sticky is not None
    line = split.sticky.line(split.split.shares[1], SampleRequest())
    assert line is not None
    request = SampleRequest(headers=[(b"cookie", line.partition(b": ")[2].partition(b";")[0])])
    (view,) = drawn(worker, 1, request)
    assert (view.kept, view.number, taken(view)) == ("cookie side", -1.0, "app v2")
    for name in ("e1", "e3"):
        worker.endpoint(name).usable = False
    (view,) = drawn(worker, 1, request)
    assert (view.kept, view.failed_over, view.wanted, taken(view)) == ("", True, "v2", "app v1")
    worker.close()


@pytest.mark.parametrize("name", ["e0", "e3"])
def test_a_client_that_is_bound_is_not_drawn(name: str) -> None:
    worker = split_worker(traffic_split=(V1, V2), affinity=Affinity(name="hm"))
    request = SampleRequest(headers=[(b"cookie", line_of(worker.service, worker.endpoint(name)))])
    for number in range(5):
        (view,) = drawn(worker, number, request)
        assert (view.kept, view.number) == ("cookie hm", -1.0)
        assert taken(view) == ("app v1" if name == "e0" else "app v2")
    by_header = split_worker(traffic_split=(V1, V2), affinity=Affinity(kind=KeyKind.HEADER, name="x-user"))
    assert {(view.by, view.number) for number in range(5) for view in drawn(by_header, number)} == {
        ("header x-user", drawn(by_header, 0)[0].number)
    }
    worker.close()
    by_header.close()
