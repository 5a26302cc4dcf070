"""The judge of the soak, with planted evidence: what has no excuse is found, and what has one is let pass."""

from __future__ import annotations

import pytest

from benchmarks.soak import names, operators, streams, web
from benchmarks.soak.chaos import Chaos
from benchmarks.soak.rules import (
    KINDS,
    RULES,
    SLACK,
    Dead,
    Event,
    InForce,
    judge_errors,
    judge_failures,
    judge_generations,
    judge_posts,
    judge_sightings,
)
from benchmarks.soak.run import AT_ONCE
from benchmarks.soak.tally import Failure, Seen, Sighting, Tally
from discovery.dns.cache import FAILURE_TTL

KILL = Event("worker_kill", 100.0, 101.0, "worker 1")
UPGRADE = Event("upgrade", 200.0, 210.0)
DOWN = Event("resolver_down", 300.0, 302.0)
EVENTS = [KILL, UPGRADE, DOWN]


def failed(traffic: str, kind: str, began: float, ended: float) -> Failure:
    return Failure(traffic, kind, began, ended, "planted")


def unexplained(*failures: Failure) -> list[Failure]:
    return judge_failures(failures, EVENTS, AT_ONCE).unexplained


def test_every_rule_speaks_of_traffic_and_of_failures_that_there_are() -> None:
    for rule in RULES.values():
        for excuse in (rule.in_flight, rule.during):
            assert set(excuse) <= set(AT_ONCE)
            assert all(kind in KINDS or kind.isdigit() for kinds in excuse.values() for kind in kinds)


def test_nothing_excuses_wrong_content_or_an_answer_that_never_comes() -> None:
    for rule in RULES.values():
        for excuse in (rule.in_flight, rule.during):
            assert not any({"wrong", "late"} & kinds for kinds in excuse.values())


def test_all_that_happens_and_all_who_ask_are_known_to_the_rules() -> None:
    asking = {**web.KINDS, **streams.KINDS, **names.KINDS, **operators.KINDS}
    assert set(asking) < set(AT_ONCE)
    assert set(RULES) == {name for name in RULES if hasattr(Chaos, f"_{name}")}


def test_what_a_killed_worker_was_serving_is_explained() -> None:
    verdict = judge_failures([failed("get", "broken", 99.5, 100.1)], EVENTS, AT_ONCE)

    assert not verdict.unexplained
    assert verdict.explained == {("worker_kill", "get", "broken"): 1}


@pytest.mark.parametrize(
    "failure",
    [
        failed("get", "broken", 90.0, 99.9),  # before
        failed("get", "broken", 100.0 + SLACK + 0.1, 103.0),  # begun when it was over
        failed("get", "wrong", 99.5, 100.1),
        failed("get", "503", 99.5, 100.1),
        failed("upload", "broken", 205.0, 206.0),  # an upgrade loses no request
        failed("get", "cut", 205.0, 206.0),
        failed("ws", "ended", 213.0, 214.0),  # streams end with the upgrade, not later
        failed("dns_forward", "servfail", 150.0, 151.0),
        failed("dns_udp", "lost", 300.5, 308.5),  # a resolver that is away is no reason for our own names
        failed("get", "late", 99.0, 159.0),
    ],
)
def test_what_no_event_allows_is_found(failure: Failure) -> None:
    assert unexplained(failure) == [failure]


def test_a_failure_of_dns_is_kept_for_a_while() -> None:
    assert not unexplained(failed("dns_forward", "servfail", DOWN.ended + FAILURE_TTL, DOWN.ended + FAILURE_TTL))
    late = DOWN.ended + FAILURE_TTL + SLACK + 0.1
    assert unexplained(failed("dns_forward", "servfail", late, late))


def test_reloads_broken_files_and_flaps_explain_nothing() -> None:
    quiet = [Event(kind, 0.0, 1000.0) for kind in ("reload", "broken_file", "health_flap", "endpoint_hang")]
    planted = [failed(traffic, kind, 5.0, 6.0) for traffic in AT_ONCE for kind in (*KINDS, "502", "503")]

    assert judge_failures(planted, quiet, AT_ONCE).unexplained == planted


def test_more_failures_than_there_were_exchanges_are_too_many() -> None:
    planted = [failed("get", "broken", 100.0, 100.1)] * (2 * AT_ONCE["get"] + 1)

    assert not judge_failures(planted[:-1], EVENTS, AT_ONCE).excess
    assert judge_failures(planted, EVENTS, AT_ONCE).excess == [
        "13 failures of get by one worker_kill worker 1, at most 12"
    ]


def test_what_lasts_explains_as_much_as_clients_ask_meanwhile() -> None:
    planted = [failed("dns_forward", "servfail", 300.5, 301.0)]

    # Two, and eight for each of two seconds and of the five that a failure is kept; of each of two clients.
    assert not judge_failures(planted * 116, EVENTS, AT_ONCE).excess
    assert judge_failures(planted * 117, EVENTS, AT_ONCE).excess


# --- generations --------------------------------------------------------------------------------------------------

HISTORY = [InForce(0, 0.0, 1.0), InForce(1, 10.0, 11.0), InForce(2, 201.0, 202.0)]


def test_answers_of_what_was_in_force_are_right() -> None:
    seen = {0: Seen(2.0, 10.9, 5), 1: Seen(10.1, 201.5, 5), 2: Seen(201.1, 900.0, 5)}

    assert judge_generations(seen, HISTORY, []) == []


@pytest.mark.parametrize(
    ("seen", "found"),
    [
        ({7: Seen(5.0, 5.0, 3)}, "3 answers of generation 7, which was never in force"),
        ({1: Seen(9.9, 50.0, 3)}, "an answer of generation 1 came before its file was written"),
        ({0: Seen(2.0, 11.5, 3)}, "generation 0 decided a request made 0.500 s after all workers had the next one"),
    ],
)
def test_answers_of_what_was_not_in_force_are_found(seen: dict[int, Seen], found: str) -> None:
    assert judge_generations(seen, HISTORY, []) == [found]


def test_a_worker_that_leaves_finishes_by_what_it_knows() -> None:
    seen = {1: Seen(10.1, 205.0, 5)}

    assert judge_generations(seen, HISTORY, [UPGRADE]) == []
    assert judge_generations(seen, HISTORY, [KILL]) != []


# --- the rest -----------------------------------------------------------------------------------------------------


def test_an_endpoint_that_has_been_known_to_be_dead_is_found_in_dns() -> None:
    dead = [Dead("app", "e1", 100.0, 110.0)]

    def sighted(asked: float, *endpoints: str, service: str = "app") -> Sighting:
        return Sighting(asked, service, frozenset(endpoints))

    fine = [sighted(101.9, "e1"), sighted(105.0, "e2"), sighted(105.0, "e1", service="dyn"), sighted(110.1, "e1")]
    assert judge_sightings(fine, dead, 2.0) == []
    assert judge_sightings([sighted(103.5, "e1", "e2")], dead, 2.0) == [
        "app named e1, which had been known to be dead for 3.50 s"
    ]


def test_a_post_that_two_endpoints_read_is_found() -> None:
    assert judge_posts({"e1": ["a", "b"], "e2": ["c"]}, ["a", "b"]) == []
    assert judge_posts({"e1": ["a"], "e2": ["a"]}, ["a"]) == ["a was read 2 times"]
    assert judge_posts({"e1": ["a", "a"]}, []) == ["a was read 2 times"]
    assert judge_posts({"e1": []}, ["b"]) == ["b was answered and never read"]


def test_an_error_in_the_log_needs_its_event_and_an_event_its_error() -> None:
    broken = Event("broken_file", 400.0, 401.0, "3")
    told = [("worker exited", 100.1), ("reload failed", 400.2), ("reload failed", 400.2)]

    assert judge_errors(told, [KILL, broken]) == []
    assert judge_errors([*told, ("worker exited", 150.0)], [KILL, broken]) == [
        "'worker exited' without an event that leaves it"
    ]
    assert judge_errors([*told, ("worker exited", 100.3)], [KILL, broken]) == [
        "2 times 'worker exited' by one worker_kill worker 1"
    ]
    assert judge_errors(told[:1], [KILL, broken]) == ["0 times 'reload failed' by one broken_file 3"]
    assert judge_errors([*told, ("upgrade failed", 205.0)], [KILL, broken, UPGRADE]) == [
        "'upgrade failed' without an event that leaves it"
    ]


def test_tallies_of_several_crowds_are_one() -> None:
    one, other = Tally(), Tally()
    one.decided(3, 10.0, 11.0)
    other.decided(3, 8.0, 9.0)
    other.decided(4, 12.0, 13.0)
    other.done["get"] = 2
    one.add(other)

    assert one.generations == {3: Seen(9.0, 10.0, 2), 4: Seen(13.0, 12.0, 1)}
    assert one.done == {"get": 2}
