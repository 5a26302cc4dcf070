"""The retry policy: its decisions, the distribution of its pauses, and the arithmetic of its budget."""

from __future__ import annotations

from collections.abc import Iterator
from math import inf

import pytest
from hypothesis import given
from hypothesis import strategies as st

from discovery.policies import RetryPolicy
from mesh.draws import Draws
from mesh.replay import HARMLESS, NOTHING_SENT, Sent, may_retry
from mesh.retry import DENIALS, FINAL, REFUSED, WANTED, RetryBudget, RetryPlan, asked_pause

SECOND = 1_000_000


class Words:
    """Shared words. `interfere`: values that others swap in between our look and our swap."""

    def __init__(self) -> None:
        self.words: dict[int, int] = {}
        self.interfere: list[int] = []

    def load(self, word: int) -> int:
        return self.words.get(word, 0)

    def swap(self, word: int, expected: int, wanted: int) -> bool:
        if self.interfere:
            self.words[word] = self.interfere.pop(0)
        if self.load(word) != expected:
            return False
        self.words[word] = wanted
        return True


class Fields(dict[bytes, bytes]):
    """The fields of an answer."""


def budget_of(policy: RetryPolicy, words: Words | None = None) -> RetryBudget:
    return RetryBudget(policy, words or Words(), 2)


def plan_of(policy: RetryPolicy, seed: int = 1) -> RetryPlan:
    return RetryPlan(policy, budget_of(policy), Draws(seed))


# --- what is wanted -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("words", "connected", "not_connected"),
    [
        (("5xx",), True, True),
        (("gateway-error",), True, True),
        (("reset",), True, True),
        (("connect-failure",), False, True),
        (("reset-before-request",), False, True),
        (("refused-stream",), False, False),
        (("503",), False, False),
        (("retriable-4xx", "envoy-ratelimited"), False, False),
    ],
)
def test_which_failures_a_word_means(words: tuple[str, ...], connected: bool, not_connected: bool) -> None:
    plan = plan_of(RetryPolicy(retry_on=words))
    assert plan.wants_failure(True) is connected
    assert plan.wants_failure(False) is not_connected
    none = plan_of(RetryPolicy(retry_on=words, max_retries=0))
    assert not none.wants_failure(True)
    assert not none.wants_failure(False)
    assert none.least_status > 599


@pytest.mark.parametrize(
    ("words", "status", "fields", "judged"),
    [
        (("5xx",), 503, {}, WANTED),
        (("5xx",), 404, {}, FINAL),
        (("5xx",), 503, {b"x-envoy-overloaded": b"true"}, REFUSED),
        (("5xx",), 503, {b"x-envoy-ratelimited": b"true"}, FINAL),
        (("envoy-ratelimited",), 429, {b"x-envoy-ratelimited": b"true"}, WANTED),
        (("envoy-ratelimited",), 429, {}, FINAL),
        (("retriable-headers",), 200, {b"x-again": b""}, WANTED),
        (("retriable-headers",), 200, {}, FINAL),
        (("503",), 200, {b"x-again": b""}, FINAL),
    ],
)
def test_which_answers_are_wanted(words: tuple[str, ...], status: int, fields: dict[bytes, bytes], judged: int) -> None:
    plan = plan_of(RetryPolicy(retry_on=words, retriable_headers=("X-Again",)))
    assert plan.judge(status, Fields(fields)) == judged


def test_answers_that_no_policy_could_want_are_not_looked_at() -> None:
    assert plan_of(RetryPolicy()).least_status == 400
    assert plan_of(RetryPolicy(retry_on=("retriable-headers",), retriable_headers=("a",))).least_status == 200


# --- what is decided ----------------------------------------------------------------------------------------------

POST_SENT = may_retry(b"POST", Sent.BODY, keyed=False, response_started=False, body_kept=True)


@pytest.mark.parametrize(
    ("given_", "denied"),
    [
        ({}, ""),
        ({"law": POST_SENT}, "post_bytes_sent"),
        ({"retries": 3}, "max_retries"),
        ({"endpoint_left": False}, "no_endpoint_left"),
        ({"asked": 301.0}, "retry_after"),
        ({"asked": 300.0}, ""),
        ({"left": 0.0}, "timeout"),
        ({"left": -1.0}, "timeout"),
        ({"asked": 2.0, "left": 2.0}, "timeout"),
        # The law is asked before everything else.
        ({"law": POST_SENT, "retries": 3, "left": 0.0}, "post_bytes_sent"),
    ],
)
def test_why_not(given_: dict[str, object], denied: str) -> None:
    asked = {"law": HARMLESS, "retries": 0, "left": inf, "asked": -1.0, "endpoint_left": True, **given_}
    decision = plan_of(RetryPolicy(max_retries=3)).decide(**asked)  # type: ignore[arg-type]
    assert decision.denied == denied
    assert not denied or denied in DENIALS


@given(
    st.sampled_from([HARMLESS, NOTHING_SENT, POST_SENT]),
    st.integers(0, 20),
    st.floats(-1.0, 20.0),
    st.floats(-1.0, 400.0),
    st.integers(0, 2**64 - 1),
)
def test_whatever_is_decided_ends_in_time_or_has_a_name(
    law: object, retries: int, left: float, asked: float, seed: int
) -> None:
    policy = RetryPolicy(max_retries=10)
    denied, wait = plan_of(policy, seed).decide(law, retries, left, asked, True)  # type: ignore[arg-type]
    if denied:
        assert denied in DENIALS
    else:
        assert retries < 10
        assert 0.0 <= wait < left
        # What the server asks for is the least, and never more than the policy waits for.
        assert asked <= wait <= max(policy.max_backoff, min(1.5 * asked, policy.max_retry_after))


def test_there_is_a_word_of_shared_memory_for_each_name() -> None:
    assert len(DENIALS) == len(set(DENIALS)) == 14


# --- pauses -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("retry", "reach"), [(1, 0.025), (2, 0.075), (3, 0.175), (4, 0.25), (5, 0.25), (64, 0.25), (10_000, 0.25)]
)
def test_a_back_off_is_spread_evenly_from_nothing_to_its_reach(retry: int, reach: float) -> None:
    plan = plan_of(RetryPolicy(), seed=retry)
    drawn = sorted(plan.back_off(retry) for _ in range(4000))
    assert drawn[0] >= 0.0
    assert drawn[-1] < reach
    for part in (0.1, 0.25, 0.5, 0.75, 0.9):
        assert drawn[int(part * len(drawn))] == pytest.approx(part * reach, abs=0.035 * reach)


def test_those_who_were_told_to_wait_do_not_return_together() -> None:
    plan = plan_of(RetryPolicy(max_retry_after=14.0))
    drawn = sorted(plan.decide(HARMLESS, 0, inf, 10.0, True).wait for _ in range(4000))
    assert drawn[0] >= 10.0
    assert drawn[2000] == pytest.approx(12.5, abs=0.25)
    assert drawn[-1] == 14.0  # 15, but for max_retry_after


NOW = 1_800_000_000.0


@pytest.mark.parametrize(
    ("fields", "seconds"),
    [
        ({}, -1.0),
        ({b"retry-after": b"0"}, 0.0),
        ({b"retry-after": b"120"}, 120.0),
        ({b"retry-after": b"9" * 400}, 999_999_999_999.0),
        ({b"retry-after": b"Fri, 15 Jan 2027 08:00:30 GMT"}, 30.0),
        ({b"retry-after": b"Fri, 15 Jan 2027 07:00:00 GMT"}, 0.0),
        ({b"retry-after": b"soon"}, -1.0),
        ({b"retry-after": b"-1"}, -1.0),
        ({b"retry-after": b"1.5"}, -1.0),
        ({b"retry-after": b"\xff\x00"}, -1.0),
        ({b"retry-after": b""}, -1.0),
        ({b"x-ratelimit-reset": b"1800000007"}, 7.0),
        ({b"x-ratelimit-reset": b"1700000000"}, 0.0),
        ({b"x-ratelimit-reset": b"soon"}, -1.0),
        ({b"retry-after": b"3", b"x-ratelimit-reset": b"1800000007"}, 3.0),
    ],
)
def test_how_long_a_server_asks_to_be_left_alone(fields: dict[bytes, bytes], seconds: float) -> None:
    assert asked_pause(Fields(fields), NOW) == seconds


@given(st.binary(max_size=40))
def test_anything_may_stand_in_retry_after(value: bytes) -> None:
    assert asked_pause(Fields({b"retry-after": value}), NOW) >= -1.0


# --- the budget ---------------------------------------------------------------------------------------------------


def test_retries_are_a_share_of_the_requests() -> None:
    budget = budget_of(RetryPolicy(budget_pct=20.0, budget_floor=0.0))
    for _ in range(100):
        budget.request(SECOND)
    assert [budget.take(SECOND) for _ in range(30)] == [True] * 20 + [False] * 10


def test_requests_and_retries_are_forgotten_after_the_interval() -> None:
    budget = budget_of(RetryPolicy(budget_pct=50.0, budget_interval=10.0, budget_floor=0.0))
    for _ in range(4):
        budget.request(SECOND)
    assert budget.take(9 * SECOND)
    assert not budget.take(11 * SECOND)
    budget.request(12 * SECOND)
    budget.request(12 * SECOND)
    assert not budget.take(12 * SECOND)  # the one at 9 s still counts
    assert budget.take(20 * SECOND)


def test_the_floor_is_there_without_any_traffic() -> None:
    budget = budget_of(RetryPolicy(budget_floor=10.0))
    assert [budget.take(SECOND) for _ in range(12)] == [True] * 10 + [False] * 2
    assert budget.take(SECOND + 100_000)
    assert not budget.take(SECOND + 100_001)


def test_what_is_left_is_what_can_be_taken() -> None:
    budget = budget_of(RetryPolicy(budget_pct=20.0, budget_floor=4.0))
    for _ in range(10):
        budget.request(SECOND)
    for left in ((2, 4), (1, 4), (0, 4), (0, 3), (0, 2), (0, 1)):
        assert [budget.left(SECOND) for _ in range(2)] == [left, left]
        assert budget.take(SECOND)
    assert budget.left(SECOND) == (0, 0)
    assert not budget.take(SECOND)
    assert budget.left(12 * SECOND) == (0, 4)


def test_a_floor_below_one_per_second() -> None:
    budget = budget_of(RetryPolicy(budget_floor=0.5))
    assert budget.take(SECOND)
    assert not budget.take(2 * SECOND)
    assert budget.take(3 * SECOND)


def test_a_floor_next_to_nothing_fits_into_a_word() -> None:
    budget = budget_of(RetryPolicy(budget_floor=1e-12))
    assert budget.take(SECOND)
    assert not budget.take(3600 * SECOND)


def test_all_workers_share_the_floor() -> None:
    words = Words()
    policy = RetryPolicy(budget_floor=4.0)
    workers = [budget_of(policy, words) for _ in range(3)]
    assert sum(worker.take(SECOND) for _ in range(4) for worker in workers) == 4


def test_a_worker_that_is_faster_takes_it_away() -> None:
    words = Words()
    budget = budget_of(RetryPolicy(budget_floor=1.0), words)
    words.interfere = [2 * SECOND * 1000]
    assert not budget.take(SECOND)


@st.composite
def traffic(draw: st.DrawFn) -> list[tuple[int, int, bool]]:
    """(microseconds, worker, is a retry) in order of time."""
    now = SECOND
    events = []
    for _ in range(draw(st.integers(1, 250))):
        now += draw(st.sampled_from([0, 0, 1, 1000, 90_000, 300_000, SECOND, 3 * SECOND, 30 * SECOND]))
        events.append((now, draw(st.integers(0, 1)), draw(st.booleans())))
    return events


@given(traffic(), st.sampled_from([0.0, 10.0, 20.0, 100.0]), st.sampled_from([0.0, 0.5, 1.0, 7.0]))
def test_there_are_never_more_retries_than_share_and_floor_allow(
    events: list[tuple[int, int, bool]], percent: float, floor: float
) -> None:
    """ratio * requests + floor * time + what the floor has at once; from the beginning to any moment."""
    words = Words()
    policy = RetryPolicy(budget_pct=percent, budget_floor=floor, budget_interval=10.0)
    workers = [budget_of(policy, words) for _ in range(2)]
    requests = retries = 0
    for now, worker, is_retry in events:
        if is_retry:
            retries += workers[worker].take(now)
        else:
            workers[worker].request(now)
            requests += 1
        seconds = (now - events[0][0]) / SECOND
        assert retries <= percent / 100 * requests + floor * seconds + max(1.0, floor) * (floor > 0) + 1e-6


@given(traffic())
def test_the_window_of_a_budget_is_what_a_list_of_events_says(events: list[tuple[int, int, bool]]) -> None:
    """Beside a model that keeps every event, in pieces of a tenth of the interval."""
    policy = RetryPolicy(budget_pct=30.0, budget_floor=0.0, budget_interval=10.0)
    budget = budget_of(policy)
    asked: list[int] = []
    taken: list[int] = []
    pieces = _pieces(events)
    for now, _, is_retry in events:
        piece = next(pieces)
        if is_retry:
            recent = [each for each in asked if each > piece - 10]
            spent = [each for each in taken if each > piece - 10]
            granted = (len(spent) + 1) * 100 <= 30 * len(recent)
            assert budget.left(now) == (max(30 * len(recent) // 100 - len(spent), 0), 0)
            assert budget.take(now) is granted
            if granted:
                taken.append(piece)
        else:
            budget.request(now)
            asked.append(piece)


def _pieces(events: list[tuple[int, int, bool]]) -> Iterator[int]:
    """The number of the piece of one second that each event falls into. One that comes after a whole window without
    any begins the first piece of a new one."""
    ends = 0
    number = 0
    for now, _, _ in events:
        if now >= ends:
            passed = (now - ends) // SECOND + 1
            if ends == 0 or passed >= 10:
                number += 10
                ends = now + SECOND
            else:
                number += passed
                ends += passed * SECOND
        yield number
