"""Retries and circuit breakers, as the file says them."""

from __future__ import annotations

from collections.abc import Callable

import msgspec
import pytest

from discovery.config import Config
from discovery.model import Service
from discovery.policies import SOURCE_LIMITS, CircuitBreaker, RetryPolicy

Read = Callable[..., Config]
Problems = Callable[..., list[str]]


@pytest.fixture
def mesh(config: Read) -> Callable[[str], Service]:
    return lambda text: config(f"services: {{ web: {{ mesh: {{ {text} }} }} }}").snapshot.services[0]


def test_a_policy_says_what_it_says_and_has_defaults(mesh: Callable[[str], Service]) -> None:
    assert mesh("timeout: 5s").retry is None
    assert mesh("retry: {}").retry == RetryPolicy()
    assert mesh("retry: { max_retries: 0 }").retry == RetryPolicy(max_retries=0)
    assert mesh(
        "timeout: 5s, retry: { max_retries: 3, retry_on: [ 5xx, connect-failure, 429, retriable-headers ],"
        " per_try_timeout: 1s, backoff: 10ms, max_backoff: 1s, max_retry_after: 2s,"
        " budget: { percent: 30%, interval: 5s, floor: 2.5 }, idempotency_key: true, retriable_headers: [ X-Again ] }"
    ).retry == RetryPolicy(
        max_retries=3,
        retry_on=("5xx", "connect-failure", "429", "retriable-headers"),
        per_try_timeout=1.0,
        backoff=0.01,
        max_backoff=1.0,
        max_retry_after=2.0,
        budget_pct=30.0,
        budget_interval=5.0,
        budget_floor=2.5,
        idempotency_key=True,
        retriable_headers=("x-again",),
    )


@pytest.mark.parametrize(
    ("text", "policy"),
    [
        ("retry_policy: { timeout_ms: 1000 }", RetryPolicy(per_try_timeout=1.0)),
        ("retry: { timeout: 1s }", RetryPolicy(per_try_timeout=1.0)),
        ("retry: { per_try_timeout_secs: 1 }", RetryPolicy(per_try_timeout=1.0)),
        ("retry: { budget: 20% }", RetryPolicy()),
        ("retry: { budget: 5 }", RetryPolicy(budget_pct=5.0)),
        ("retry: { retry_on: gateway-error }", RetryPolicy(retry_on=("gateway-error",))),
        ("retry: { backoff: 100ms }", RetryPolicy(backoff=0.1, max_backoff=1.0)),
        ("retry: { backoff: 29ms }", RetryPolicy(backoff=0.029, max_backoff=0.29)),  # not 0.29000000000000004
    ],
)
def test_other_spellings(mesh: Callable[[str], Service], text: str, policy: RetryPolicy) -> None:
    assert mesh(text).retry == policy


def test_a_breaker_without_its_limits_has_those_of_the_source_document(mesh: Callable[[str], Service]) -> None:
    assert mesh("timeout: 5s").circuit_breaker == CircuitBreaker()
    assert mesh("circuit_breaker: {}").circuit_breaker == SOURCE_LIMITS
    written = mesh("circuit_breaker: { max_requests: 0, max_retries: 7 }").circuit_breaker
    assert written == msgspec.structs.replace(SOURCE_LIMITS, max_requests=0, max_retries=7)


def test_a_breaker_with_the_names_of_the_source_document(mesh: Callable[[str], Service]) -> None:
    written = mesh(
        "circuit_breaker: { consecutive_errors_threshold: 0, interval_ms: 5000, base_ejection_time_ms: 600000,"
        " half_open_allowed_calls: 3, ejection_jitter: 0%, count_500: true, success_rate: false,"
        " success_rate_min_requests: 5, max_ejection: 10% }"
    ).circuit_breaker
    assert written == msgspec.structs.replace(
        SOURCE_LIMITS,
        consecutive_errors=0,
        interval=5.0,
        base_ejection_time=600.0,
        max_ejection_time=600.0,  # never below the other
        half_open_requests=3,
        ejection_jitter_pct=0.0,
        count_500=True,
        success_rate=False,
        success_rate_min_requests=5,
        max_ejection_pct=10.0,
    )


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        (
            "timeout: 1s, retry: { per_try_timeout: 1s }",
            "mesh.retry: per_try_timeout 1s leaves no time for a retry, expected less than the timeout of the request",
        ),
        ("retry: { retry_on: [ 5x ] }", "mesh.retry.retry_on[0]: '5x' is not known, expected a status code or 5xx"),
        ("retry: { retry_on: [ 399 ] }", "mesh.retry.retry_on[0]: '399' is out of range"),
        ("retry: { retry_on: [ 5xx, 5xx ] }", "mesh.retry.retry_on[1]: '5xx' is given twice"),
        ("retry: { retry_on: retriable-status-codes }", "mesh.retry.retry_on: 'retriable-status-codes' means the code"),
        ("retry: { retry_on: retriable-headers }", "mesh.retry.retry_on: 'retriable-headers' means the fields"),
        ("retry: { retriable_headers: [ x ] }", "mesh.retry.retriable_headers: means nothing without retriable-header"),
        ("retry: { max_retries: -1 }", "mesh.retry.max_retries: -1 is out of range"),
        ("retry: { budget: 200% }", "mesh.retry.budget: 200% is out of range, expected a share from 0% to 100%"),
        ("retry: { budget: { floor: -1 } }", "mesh.retry.budget.floor: '-1' is not a number"),
        ("retry: { max_backoff: 10ms }", "mesh.retry.max_backoff: is below the backoff, expected at least 25ms"),
        ("retry: 3", "mesh.retry: expected a retry policy, a mapping with max_retries"),
        ("circuit_breaker: { half_open_requests: 0 }", "mesh.circuit_breaker.half_open_requests: 0 is out of range"),
        ("circuit_breaker: { max_ejection: 101 }", "mesh.circuit_breaker.max_ejection: 101 is out of range"),
        ("circuit_breaker: { interval: 0 }", "mesh.circuit_breaker.interval: '0' is no time at all"),
        (
            "circuit_breaker: { max_ejection_time: 10s }",
            "mesh.circuit_breaker.max_ejection_time: is below base_ejection_time, expected at least 30s",
        ),
    ],
)
def test_what_they_may_not_say(problems: Problems, text: str, problem: str) -> None:
    [found] = problems(f"services: {{ web: {{ mesh: {{ {text} }} }} }}")
    assert found.split(": services.web.", 1)[1].startswith(problem)


def test_an_attempt_of_a_route_is_shorter_than_the_timeout_of_its_service(problems: Problems) -> None:
    text = """\
        listeners:
          - name: l
            address: :1
            routes:
              - { name: r, service: web, retry: { per_try_timeout: 2s } }
              - { name: longer, service: web, timeout: 5s, retry: { per_try_timeout: 2s } }
        services: { web: { mesh: { timeout_ms: 1500 } } }
        """
    assert problems(text) == [
        "5:41: listeners[0].routes[0].retry: per_try_timeout 2s leaves no time for a retry, expected less than the "
        "timeout of the request, 1s500ms"
    ]
