"""Which endpoints a name stands for, and when it is looked at again."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from discovery.config import FollowedName, NameKind
from discovery.model import Endpoint
from discovery.sources.messages import AAAA, CNAME, SRV, A, Record, Target
from discovery.sources.resolution import (
    Answer,
    Known,
    Outcome,
    canonical,
    endpoints_of,
    next_look,
    of_kind,
    together,
)

NONE = Answer((), 5.0)
FAILED = "10.0.0.2:53 gave no answer"


def v4(*addresses: str, ttl: float = 60.0) -> Answer:
    return Answer(addresses, ttl)


def name(kind: NameKind = NameKind.ADDRESS, **keys: object) -> FollowedName:
    endpoint = Endpoint(id="e", address="h.test:80", version="v1", **keys)  # type: ignore[arg-type]
    return FollowedName(service="web", endpoint=endpoint, kind=kind, name="h.test", port=80)


def known(**hosts: str) -> Known:
    found = Known()
    for host, address in hosts.items():
        found.learn_host(f"{host}.test", {A: v4(address), AAAA: NONE})
    return found


def addresses(found: Known) -> list[str]:
    return [endpoint.address for endpoint in endpoints_of(name(), found)]


def test_an_endpoint_for_each_address_as_the_entry_says() -> None:
    found = Known()
    outcome = found.learn_host("h.test", {A: v4("10.0.0.2", "10.0.0.1"), AAAA: Answer(("2001:db8::1",), 30.0)})
    assert outcome == Outcome(30.0, None)
    assert endpoints_of(name(weight=3, backup=True), found) == tuple(
        Endpoint(id="e", address=address, version="v1", weight=3, backup=True)
        for address in ("10.0.0.1:80", "10.0.0.2:80", "[2001:db8::1]:80")
    )


@pytest.mark.parametrize(
    ("findings", "left", "outcome"),
    [
        ({A: v4("10.0.0.9"), AAAA: NONE}, ["10.0.0.9:80"], Outcome(60.0, None)),
        ({A: NONE, AAAA: Answer(("::9",), 9.0)}, ["[::9]:80"], Outcome(9.0, None)),
        # One kind alone is known: the other stays as it was, and that is a problem.
        ({A: v4("10.0.0.9"), AAAA: FAILED}, ["10.0.0.9:80", "[::1]:80"], Outcome(60.0, FAILED)),
        ({A: FAILED, AAAA: Answer(("::9",), 9.0)}, ["10.0.0.1:80", "[::9]:80"], Outcome(9.0, FAILED)),
        # Nothing to go by: everything stays.
        ({A: NONE, AAAA: NONE}, ["10.0.0.1:80", "[::1]:80"], Outcome(None, "h.test has no addresses")),
        ({A: FAILED, AAAA: FAILED}, ["10.0.0.1:80", "[::1]:80"], Outcome(None, FAILED)),
        ({A: FAILED, AAAA: NONE}, ["10.0.0.1:80", "[::1]:80"], Outcome(None, FAILED)),
        ({A: v4("0.0.0.0"), AAAA: NONE}, ["10.0.0.1:80", "[::1]:80"], Outcome(None, "h.test has no addresses")),
    ],
)  # fmt: skip
def test_what_is_not_known_stays(findings: dict[int, Answer | str], left: list[str], outcome: Outcome) -> None:
    found = Known()
    found.learn_host("h.test", {A: v4("10.0.0.1"), AAAA: Answer(("::1",), 60.0)})
    assert found.learn_host("h.test", findings) == outcome
    assert addresses(found) == left


def test_a_resolver_that_never_answers_for_ipv6_is_no_problem_without_ipv6() -> None:
    found = Known()
    assert found.learn_host("h.test", {A: v4("10.0.0.1"), AAAA: FAILED}) == Outcome(60.0, None)


def test_targets_have_ports_priorities_and_weights_of_their_own() -> None:
    found = known(a="10.0.0.1", b="10.0.0.2")
    targets = [Target(20, 1, 82, "b.test"), Target(10, 5, 81, "a.test"), Target(10, 3, 83, "a.test")]
    assert found.learn_targets("h.test", targets, 9.0) == Outcome(9.0, None)
    shown = [(e.address, e.priority, e.weight, e.backup) for e in endpoints_of(name(NameKind.SRV), found)]
    assert shown == [
        ("10.0.0.1:83", 10, 3, False),
        ("10.0.0.1:81", 10, 5, False),
        ("10.0.0.2:82", 20, 1, True),
    ]


@pytest.mark.parametrize(
    ("weights", "expected"), [((0, 0), [1, 1]), ((5, 7), [5, 7]), ((0, 5), [1, 50]), ((0, 65535), [1, 655_350])]
)
def test_a_weight_of_0_takes_little_and_not_nothing(weights: tuple[int, int], expected: list[int]) -> None:
    found = known(a="10.0.0.1", b="10.0.0.2")
    found.learn_targets("h.test", [Target(0, weights[0], 1, "a.test"), Target(0, weights[1], 1, "b.test")], 9.0)
    by_address = sorted(endpoints_of(name(NameKind.SRV), found), key=lambda endpoint: endpoint.address)
    assert [endpoint.weight for endpoint in by_address] == expected
    assert all(endpoint.weight == 0 for endpoint in endpoints_of(name(NameKind.SRV, weight=0), found))


def test_an_entry_that_is_a_backup_is_one_at_every_target() -> None:
    found = known(a="10.0.0.1")
    found.learn_targets("h.test", [Target(0, 1, 1, "a.test")], 9.0)
    [endpoint] = endpoints_of(name(NameKind.SRV, backup=True), found)
    assert endpoint.backup


def test_a_place_that_is_named_twice_has_the_better_priority() -> None:
    found = known(a="10.0.0.1", b="10.0.0.1")
    found.learn_targets("h.test", [Target(5, 1, 80, "b.test"), Target(1, 1, 80, "a.test")], 9.0)
    assert [(e.address, e.priority) for e in endpoints_of(name(NameKind.SRV), found)] == [("10.0.0.1:80", 1)]


@pytest.mark.parametrize("finding", [FAILED, [], [Target(0, 0, 0, "")], [Target(0, 0, 80, "")]])
def test_targets_that_are_none_leave_those_there_were(finding: list[Target] | str) -> None:
    found = known(a="10.0.0.1")
    found.learn_targets("h.test", [Target(0, 1, 80, "a.test")], 9.0)
    outcome = found.learn_targets("h.test", finding, 9.0)
    assert outcome == Outcome(None, FAILED if finding == FAILED else "h.test has no SRV records")
    assert len(endpoints_of(name(NameKind.SRV), found)) == 1


def test_a_target_that_is_gone_is_forgotten() -> None:
    found = known(a="10.0.0.1", b="10.0.0.2")
    found.learn_targets("h.test", [Target(0, 1, 80, "a.test")], 9.0)
    assert found.of_host("b.test") == ()


def test_chains_of_aliases_are_followed_to_their_end() -> None:
    records = [
        Record("h", CNAME, 60, "i"),
        Record("i", CNAME, 5, "j"),
        Record("j", A, 9, "10.0.0.1"),
        Record("k", A, 1, "::"),
    ]
    assert canonical(records, "h") == ("j", 5.0)
    assert of_kind(records, "j", A) == (("10.0.0.1",), 9.0)
    assert of_kind(records, "j", SRV) == ((), 3600.0)


def test_a_loop_of_aliases_ends() -> None:
    assert canonical([Record("h", CNAME, 60, "i"), Record("i", CNAME, 60, "h")], "h")[0] in ("h", "i")


def test_of_several_parts_the_shortest_ttl_and_the_first_problem_count() -> None:
    assert together([Outcome(9.0, None), Outcome(5.0, "a"), Outcome(None, "b")]) == Outcome(5.0, "a")
    assert together([Outcome(None, None)]) == Outcome(None, None)


@pytest.mark.parametrize(
    ("outcome", "failures", "delay"),
    [
        (Outcome(30.0, None), 0, 30.0),
        (Outcome(0.0, None), 0, 1.0),
        (Outcome(1e9, None), 0, 3600.0),
        (Outcome(None, "p"), 1, 1.0),
        (Outcome(None, "p"), 4, 8.0),
        (Outcome(None, "p"), 100_000, 60.0),
        (Outcome(5.0, "p"), 20, 5.0),
    ],
)
def test_when_to_look_again(outcome: Outcome, failures: int, delay: float) -> None:
    assert next_look(outcome, failures, 0.0) == delay
    assert next_look(outcome, failures, 1.0) == pytest.approx(delay * 1.1)


@given(
    st.one_of(st.none(), st.floats(0, 1e9)), st.one_of(st.none(), st.just("p")), st.integers(1, 10_000), st.floats(0, 1)
)
def test_it_is_never_at_once_and_never_never(
    ttl: float | None, problem: str | None, failures: int, random: float
) -> None:
    assert 1.0 <= next_look(Outcome(ttl, problem), failures, random) <= 3961.0
