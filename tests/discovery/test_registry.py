"""The registry, one rule at a time; test_registry_model.py has any sequence of changes."""

from __future__ import annotations

import pytest

from discovery import admission, lifetimes
from discovery.changes import (
    FILE,
    Base,
    Conflict,
    HealthReport,
    Heartbeat,
    LimitReached,
    NodeHeartbeat,
    NotFound,
    PutEndpoint,
    PutNode,
    PutPolicies,
    PutRoute,
    RemoveEndpoint,
    RemoveNode,
    RemovePolicies,
    RemoveRoute,
    Replace,
    Resolved,
    SetDrain,
    Stale,
)
from discovery.checks import CheckProtocol, HealthCheck
from discovery.config import RegistrySettings
from discovery.model import (
    Endpoint,
    EndpointState,
    Listener,
    Node,
    Position,
    Protocol,
    Route,
    Service,
    Snapshot,
    TrafficSplit,
)
from discovery.policies import Access, RateLimit, RequestPolicies
from discovery.registry import Registry

DIRECTORY = "directory:/d"


def base(*services: Service, listeners: tuple[Listener, ...] = (), version: int = 0) -> Base:
    return Base(snapshot=Snapshot(version=version, services=services, listeners=listeners))


def endpoint(id: str, address: str = "10.0.0.1:80", **more: object) -> Endpoint:
    return Endpoint(id=id, address=address, **more)  # type: ignore[arg-type]


def put(service: str, id: str, **more: object) -> PutEndpoint:
    return PutEndpoint(service=service, endpoint=endpoint(id), **more)  # type: ignore[arg-type]


def state(registry: Registry, service: str, id: str) -> tuple[EndpointState, str]:
    (found,) = [each for each in registry.described(service).endpoints if each.endpoint.id == id]
    return found.endpoint.state, found.reason


# --- versions -------------------------------------------------------------------------------------------------------


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


def test_a_service_has_the_index_of_its_last_change_and_one_that_is_gone_that_of_its_end() -> None:
    registry = Registry()
    registry.apply(put("a", "e1"), now=0.0)
    registry.apply(put("b", "e1"), now=0.0)
    assert (registry.index_of("a"), registry.index_of("b"), registry.index) == (1, 2, 2)

    applied = registry.apply(RemoveEndpoint(service="a", id="e1"), now=0.0)

    assert (applied.index, applied.services) == (3, {"a"})
    assert registry.index_of("a") == 3
    assert registry.index_of("b") == 2


# --- sources --------------------------------------------------------------------------------------------------------


def test_a_service_that_is_touched_counts_as_changed_and_is_the_same_object() -> None:
    registry = Registry()
    registry.commit((base(Service(name="web"), Service(name="api")),), 0.0)
    before = registry.snapshot
    applied = registry.touch(("web", "nobody"))
    assert (applied.index, applied.services, applied.changed) == (2, {"web"}, True)
    assert (registry.index_of("web"), registry.index_of("api"), registry.snapshot.version) == (2, 1, 2)
    assert all(now is then for now, then in zip(registry.snapshot.services, before.services, strict=True))
    assert not registry.touch(("nobody",)).changed
    assert registry.index == 2


def test_what_requests_have_to_pass_is_said_one_by_one() -> None:
    """Who limits a rate leaves alone who may ask."""
    registry = Registry()
    access, limit = Access(deny=("10.0.0.0/8",)), RateLimit(requests=5)
    registry.apply(base(Service(name="a", policies=RequestPolicies(access=access, max_body=7))), 0.0)
    said = Service(name="a", policies=RequestPolicies(rate_limit=limit))
    registry.apply(PutPolicies(service=said, fields=("policies.rate_limit", "policies.max_body")), 0.0)
    assert registry.service("a") == Service(name="a", policies=RequestPolicies(access=access, rate_limit=limit))
    view = registry.described("a")
    assert view.origins == {"policies.rate_limit": "api", "policies.max_body": "api"}
    assert [(each.what, each.source) for each in view.shadowed] == [("policies.max_body", "file")]
    registry.apply(RemovePolicies(service="a", fields=("policies.max_body",)), 0.0)
    assert registry.service("a") == Service(
        name="a", policies=RequestPolicies(access=access, rate_limit=limit, max_body=7)
    )
    with pytest.raises(Conflict, match="cannot be set"):
        registry.apply(PutPolicies(service=said, fields=("policies",)), 0.0)


def test_the_api_is_above_the_file_and_the_file_above_directories() -> None:
    registry = Registry(settings=RegistrySettings(directories=("/d",)))
    registry.apply(
        Replace(source=DIRECTORY, services=(Service(name="a", timeout=1.0, endpoints=(endpoint("e1"),)),)), 0.0
    )
    registry.apply(base(Service(name="a", timeout=2.0, endpoints=(endpoint("e1", weight=2),))), 0.0)
    registry.apply(PutPolicies(service=Service(name="a", timeout=3.0), fields=("timeout",)), 0.0)

    told = registry.described("a")

    assert told.service.timeout == 3.0
    assert told.service.endpoints[0].weight == 2
    assert told.sources == ("api", "file", DIRECTORY)
    assert told.origins == {"timeout": "api"}
    assert [(each.what, each.source, each.by) for each in told.shadowed] == [
        ("timeout", "file", "api"),
        ("endpoint e1", DIRECTORY, "file"),
    ]
    assert registry.notices() == [
        "service a: timeout of the file is overridden by the api",
        f"service a: endpoint e1 of the {DIRECTORY} is overridden by the file",
    ]


def test_of_two_sources_with_one_domain_the_higher_has_it_until_it_lets_go() -> None:
    registry = Registry()
    registry.apply(base(Service(name="a", domain="x.test")), 0.0)
    registry.apply(PutPolicies(service=Service(name="b", domain="x.test"), fields=("domain",)), 0.0)
    assert {each.name: each.domain for each in registry.snapshot.services} == {"a": "", "b": "x.test"}
    assert registry.notices() == ["service a does not have its domain x.test, it is that of b"]
    with pytest.raises(Conflict, match=r"the domain x.test is that of service b"):
        registry.apply(PutPolicies(service=Service(name="c", domain="x.test"), fields=("domain",)), 0.0)

    registry.apply(PutPolicies(service=Service(name="b", domain=""), fields=("domain",)), 0.0)

    assert {each.name: each.domain for each in registry.snapshot.services} == {"a": "x.test", "b": ""}


def test_what_the_file_has_can_only_be_removed_there() -> None:
    registry = Registry()
    where = Position(file="hive.yaml", line=7, column=1)
    registry.apply(base(Service(name="a", endpoints=(endpoint("e1"),), position=where)), 0.0)
    with pytest.raises(Conflict, match=r"e1 of service a is defined in hive\.yaml:7, it has to be removed there"):
        registry.apply(RemoveEndpoint(service="a", id="e1"), 0.0)


def test_a_name_stands_for_endpoints_that_keep_their_ids_while_others_come_and_go() -> None:
    registry = Registry()
    registry.apply(base(Service(name="a", endpoints=(endpoint("own", "10.0.0.9:80"),))), 0.0)

    def resolve(*addresses: str) -> list[str]:
        found = tuple(endpoint("n", address) for address in addresses)
        registry.apply(Resolved(service="a", id="n", endpoints=found, source=FILE), 0.0)
        return [each.id for each in registry.snapshot.services[0].endpoints]

    assert resolve("10.0.0.1:80") == ["own", "n"]
    assert resolve("10.0.0.1:80", "[::1]:80") == ["own", "n-10.0.0.1:80", "n-[::1]:80"]
    assert resolve("[::1]:80", "10.0.0.3:80") == ["own", "n-[::1]:80", "n-10.0.0.3:80"]
    registry.apply(base(Service(name="a", timeout=1.0)), 0.0)
    assert [each.id for each in registry.snapshot.services[0].endpoints] == ["n-[::1]:80", "n-10.0.0.3:80"], "a reload"
    assert resolve() == []


# --- routes ---------------------------------------------------------------------------------------------------------

WEB = Listener(name="web", address="x", routes=(Route(name="own", service="a"),))
RAW = Listener(name="raw", address="y", protocol=Protocol.TCP)


def test_routes_of_the_api_come_before_those_of_the_file() -> None:
    registry = Registry()
    registry.apply(base(Service(name="a"), listeners=(WEB, RAW)), 0.0)
    registry.apply(PutRoute(route=Route(name="r", service="a")), 0.0)
    web, raw = registry.snapshot.listeners
    assert [route.name for route in web.routes] == ["r", "own"]
    assert raw is RAW

    for change, error, told in (
        (PutRoute(route=Route(name="own", service="a")), Conflict, "called own is defined in the file"),
        (PutRoute(route=Route(name="x", service="none")), NotFound, "no service called none"),
        (PutRoute(route=Route(name="x", service="a"), listener="raw"), NotFound, "no listener for HTTP called raw"),
        (RemoveRoute(name="own"), NotFound, "no route of the API is called own"),
    ):
        with pytest.raises(error, match=told):
            registry.apply(change, 0.0)


def test_what_a_route_or_a_split_leads_to_is_there_even_if_nobody_defines_it_any_more() -> None:
    registry = Registry()
    split = (TrafficSplit(service="gone"),)
    registry.apply(base(Service(name="a", traffic_split=split), listeners=(WEB,)), 0.0)
    assert [each.name for each in registry.snapshot.services] == ["a", "gone"]
    registry.apply(put("gone", "e1"), 0.0)
    assert [len(each.endpoints) for each in registry.snapshot.services] == [0, 1]
    registry.apply(base(listeners=(WEB,)), 0.0)
    registry.apply(RemoveEndpoint(service="gone", id="e1"), 0.0)
    assert registry.snapshot.services == (Service(name="a"),)


# --- order of reports -----------------------------------------------------------------------------------------------


def test_an_old_report_cannot_bring_an_endpoint_back() -> None:
    registry = Registry()
    registry.apply(put("a", "e1", revision=3), 0.0)
    registry.apply(RemoveEndpoint(service="a", id="e1", revision=5), 0.0)
    for revision in (3, 5):
        with pytest.raises(Stale):
            registry.apply(put("a", "e1", revision=revision), 0.0)
    with pytest.raises(NotFound):
        registry.apply(Heartbeat(service="a", id="e1"), 0.0)
    report = HealthReport(service="a", id="e1", address="10.0.0.1:80", state=EndpointState.HEALTHY)
    assert not registry.apply(report, 0.0).changed
    assert registry.snapshot.services == ()
    assert registry.apply(put("a", "e1", revision=6), 0.0).changed


def test_a_removal_may_come_before_the_registration_that_it_ends() -> None:
    registry = Registry()
    registry.apply(RemoveEndpoint(service="a", id="e1", revision=5), 0.0)
    with pytest.raises(Stale):
        registry.apply(put("a", "e1", revision=4), 0.0)


def test_tombstones_age_and_the_store_is_told() -> None:
    registry = Registry()
    registry.apply(RemoveEndpoint(service="a", id="e1", revision=5), 0.0)
    assert registry.next_expiry() == 3600.0
    applied = registry.expire(3600.0)
    assert applied is not None
    assert [(edit.key.name, edit.record) for edit in applied.edits] == [("a", None)]
    registry.apply(put("a", "e1", revision=4), 3601.0)


# --- states ---------------------------------------------------------------------------------------------------------


def test_the_first_reason_in_the_order_decides() -> None:
    registry = Registry()
    registry.apply(base(Service(name="a", health_check=HealthCheck())), 0.0)
    registry.apply(PutEndpoint(service="a", endpoint=endpoint("e1", node="n1"), ttl=10.0), 0.0)
    assert state(registry, "a", "e1") == (EndpointState.CHECKING, "not checked yet")
    report = HealthReport(service="a", id="e1", address="10.0.0.1:80", state=EndpointState.UNHEALTHY, reason="refused")
    registry.apply(report, 1.0)
    assert state(registry, "a", "e1") == (EndpointState.UNHEALTHY, "refused")
    registry.expire(10.0)
    assert state(registry, "a", "e1")[1] == "no heartbeat for 10 s"
    registry.apply(RemoveNode(name="n1"), 11.0)
    assert state(registry, "a", "e1")[1] == "node n1 has left"
    registry.apply(SetDrain(service="a", id="e1"), 12.0)
    assert state(registry, "a", "e1") == (EndpointState.DRAINING, "drained by the API")

    registry.apply(SetDrain(service="a", id="e1", is_draining=False), 13.0)
    registry.apply(NodeHeartbeat(name="n1"), 13.0)
    registry.apply(Heartbeat(service="a", id="e1"), 13.0)
    assert state(registry, "a", "e1") == (EndpointState.UNHEALTHY, "refused")

    assert [(each.time, each.state, each.reason) for each in registry.history("a", "e1")] == [
        (0.0, EndpointState.CHECKING, "not checked yet"),
        (1.0, EndpointState.UNHEALTHY, "refused"),
        (12.0, EndpointState.DRAINING, "drained by the API"),
        (13.0, EndpointState.UNHEALTHY, "node n1 has left"),
    ]


def test_an_endpoint_that_reports_itself_is_unhealthy_when_it_stops() -> None:
    registry = Registry()
    check = HealthCheck(protocol=CheckProtocol.TTL, ttl=5.0)
    registry.apply(base(Service(name="a", health_check=check, endpoints=(endpoint("e1"),))), 0.0)
    assert state(registry, "a", "e1")[0] is EndpointState.CHECKING
    registry.apply(Heartbeat(service="a", id="e1"), 1.0)
    assert state(registry, "a", "e1")[0] is EndpointState.HEALTHY
    registry.apply(Heartbeat(service="a", id="e1", state=EndpointState.UNHEALTHY, reason="full"), 2.0)
    assert state(registry, "a", "e1") == (EndpointState.UNHEALTHY, "full")
    registry.apply(Heartbeat(service="a", id="e1"), 3.0)
    registry.expire(7.9)
    assert state(registry, "a", "e1")[0] is EndpointState.HEALTHY
    registry.expire(8.0)
    assert state(registry, "a", "e1") == (EndpointState.UNHEALTHY, "no report for 5 s")


def test_a_registration_that_stays_unhealthy_is_taken_out() -> None:
    registry = Registry(settings=RegistrySettings(deregister_unhealthy_after=60.0))
    registry.apply(base(Service(name="a", health_check=HealthCheck(), endpoints=(endpoint("own"),))), 0.0)
    registry.apply(put("a", "e1"), 0.0)
    registry.apply(put("a", "e2", deregister_after=30.0), 0.0)
    for id in ("own", "e1", "e2"):
        report = HealthReport(service="a", id=id, address="10.0.0.1:80", state=EndpointState.UNHEALTHY, reason="dead")
        registry.apply(report, 1.0)
    registry.expire(31.0)
    assert [each.id for each in registry.snapshot.services[0].endpoints] == ["own", "e1"]
    registry.expire(61.0)
    assert [each.id for each in registry.snapshot.services[0].endpoints] == ["own"], "what the file says stays"
    assert registry.history("a", "e1")[-1].reason == "deregistered: dead"


def test_a_silent_node_takes_its_endpoints_out_whoever_said_them() -> None:
    registry = Registry(settings=RegistrySettings(node_ttl=30.0))
    registry.apply(base(Service(name="a", endpoints=(endpoint("own", node="n1"),))), 0.0)
    registry.expire(1000.0)
    assert state(registry, "a", "own")[0] is EndpointState.HEALTHY, "it never sent a heartbeat"
    registry.apply(NodeHeartbeat(name="n1"), 1000.0)
    registry.expire(1030.0)
    assert state(registry, "a", "own") == (EndpointState.UNHEALTHY, "no heartbeat of node n1 for 30 s")
    assert registry.snapshot.nodes == ()
    registry.apply(PutNode(node=Node(name="n1", address="10.1.1.1")), 1031.0)
    assert state(registry, "a", "own")[0] is EndpointState.HEALTHY
    assert registry.snapshot.nodes == (Node(name="n1", address="10.1.1.1"),)


def test_after_a_restart_endpoints_have_the_states_that_they_had() -> None:
    former = Registry()
    former.apply(put("a", "alive", ttl=10.0), 0.0)
    former.apply(put("a", "dead", ttl=5.0), 0.0)
    former.expire(6.0)
    registry = Registry()
    registry.restore(former.records(), 100.0)
    assert state(registry, "a", "dead")[0] is EndpointState.HEALTHY, "a lease begins anew"
    registry.apply(base(Service(name="b", health_check=HealthCheck(), endpoints=(endpoint("c"),))), 100.0)

    known = {"alive": EndpointState.HEALTHY, "dead": EndpointState.UNHEALTHY, "c": EndpointState.HEALTHY}
    registry.adopt(lambda service, id, address: known[id], 100.0)

    assert state(registry, "a", "alive")[0] is EndpointState.HEALTHY
    assert state(registry, "a", "dead")[0] is EndpointState.UNHEALTHY
    assert state(registry, "b", "c") == (EndpointState.HEALTHY, "as before the restart")
    registry.apply(Heartbeat(service="a", id="dead"), 101.0)
    assert state(registry, "a", "dead")[0] is EndpointState.HEALTHY


# --- limits ---------------------------------------------------------------------------------------------------------


def test_there_is_no_more_than_the_configuration_allows() -> None:
    settings = RegistrySettings(max_services=2, max_endpoints=3, max_lease=60.0)
    registry = Registry(settings=settings)
    with pytest.raises(LimitReached, match=r"a lease of 61 s is longer than registry.max_lease, 60 s"):
        registry.apply(put("a", "e1", ttl=61.0), 0.0)
    registry.commit([put("a", "e1"), put("b", "e1"), put("b", "e2")], 0.0)
    with pytest.raises(LimitReached, match=r"2 services already \(registry.max_services\)"):
        registry.apply(put("c", "e1"), 0.0)
    with pytest.raises(LimitReached, match=r"3 endpoints already \(registry.max_endpoints\)"):
        registry.apply(put("b", "e3"), 0.0)
    with pytest.raises(LimitReached, match="the file has 1 services, more than there is room for"):
        registry.apply(base(Service(name="c")), 0.0)
    with pytest.raises(LimitReached, match="the file has 1 endpoints, more than there is room for"):
        registry.apply(base(Service(name="a", endpoints=(endpoint("own"),))), 0.0)
    assert registry.index == 1
    more = RegistrySettings(max_services=3)
    assert not isinstance(registry.check([[base(Service(name="c"))]], more)[0], LimitReached)


def test_removals_that_came_too_early_are_remembered_so_many(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lifetimes, "MAX_TOMBSTONES", 3)
    registry = Registry()
    for number in range(10):
        registry.apply(RemoveEndpoint(service="a", id=f"e{number}", revision=5), float(number))
    registry.apply(put("a", "e6", revision=4), 10.0)  # the oldest are forgotten
    with pytest.raises(Stale):
        registry.apply(put("a", "e7", revision=4), 10.0)


def test_routes_of_the_api_are_so_many(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(admission, "MAX_ROUTES", 2)
    registry = Registry()
    registry.apply(base(Service(name="a")), 0.0)
    for name in ("r1", "r2", "r2"):
        registry.apply(PutRoute(route=Route(name=name, service="a")), 0.0)
    with pytest.raises(LimitReached, match="the API has 2 routes already"):
        registry.apply(PutRoute(route=Route(name="r3", service="a")), 0.0)


def test_changes_that_come_together_share_the_room_that_is_left() -> None:
    registry = Registry(settings=RegistrySettings(max_endpoints=2))
    results = registry.check([[put("a", "e1")], [put("a", "e1"), put("a", "e2")], [put("a", "e3")]])
    assert [isinstance(each, LimitReached) for each in results] == [False, False, True]
    assert registry.snapshot.services == ()


def test_a_directory_that_comes_later_and_stands_higher_has_the_domain() -> None:
    registry = Registry()
    registry.apply(Replace(source="directory:y", services=(Service(name="a", domain="x.test"),)), now=0.0)
    registry.apply(Replace(source="directory:x", services=(Service(name="b", domain="x.test"),)), now=0.0)
    domains = {service.name: service.domain for service in registry.snapshot.services}
    assert domains == {"a": "", "b": "x.test"}
