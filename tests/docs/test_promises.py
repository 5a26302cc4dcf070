"""docs/promises.md: every test that it names exists, and every promise has one or says that it is not kept."""

from __future__ import annotations

import ast
import re
from functools import cache
from pathlib import Path

from discovery import CircuitBreakerPolicy, HealthCheckConfig, ServiceMeshConfig
from discovery.checks import CheckProtocol, HealthCheck
from discovery.model import Service
from discovery.policies import SOURCE_LIMITS, CircuitBreaker, LoadBalancingStrategy

ROOT = Path(__file__).parents[2]
TEXT = (ROOT / "docs/promises.md").read_text()
ROWS = [
    (promise.strip(), shown.strip())
    for promise, shown in re.findall(r"^\| (.*?) \| (.*) \|$", TEXT, re.MULTILINE)
    if promise != "promise"
]


@cache
def functions_of(file: str) -> frozenset[str]:
    path = ROOT / "tests" / file
    tree = ast.parse(path.read_text() if path.is_file() else "")
    functions = (ast.FunctionDef, ast.AsyncFunctionDef)
    return frozenset(node.name for node in ast.walk(tree) if isinstance(node, functions))


def test_every_test_that_is_named_exists() -> None:
    named = re.findall(r"(\S+\.py)::(test_\w+)", TEXT)
    missing = [f"{file}::{test}" for file, test in named if test not in functions_of(file)]
    assert missing == []
    assert len(named) > 50


def test_every_promise_is_shown_or_said_not_to_be_kept() -> None:
    assert [promise for promise, shown in ROWS if "::test_" not in shown and not shown.startswith("not ")] == []
    assert len({promise for promise, _ in ROWS}) == len(ROWS)


def test_the_defaults_are_the_documents() -> None:
    check = HealthCheck()
    assert (check.protocol, check.path) == (CheckProtocol.TCP, "/health")
    assert (check.interval, check.timeout) == (30.0, 5.0)
    assert (check.healthy_threshold, check.unhealthy_threshold) == (2, 3)
    said = HealthCheckConfig()
    assert (said.interval_secs, said.timeout_secs) == (30, 5)
    assert (said.healthy_threshold, said.unhealthy_threshold) == (2, 3)
    assert Service(name="a").load_balancing is LoadBalancingStrategy.ROUND_ROBIN
    limits = (100, 10, 1000, 3)
    breaker, policy = SOURCE_LIMITS, CircuitBreakerPolicy()
    for each in (breaker, policy):
        assert (each.max_connections, each.max_pending_requests, each.max_requests, each.max_retries) == limits
    assert (breaker.consecutive_errors, policy.consecutive_errors_threshold) == (5, 5)
    assert (breaker.interval, policy.interval_ms) == (10.0, 10_000)
    assert (breaker.base_ejection_time, policy.base_ejection_time_ms) == (30.0, 30_000)
    assert (breaker.half_open_requests, policy.half_open_requests) == (5, 5)
    assert CircuitBreaker().max_requests == 0  # nobody is limited who has not asked for it
    mesh = ServiceMeshConfig()
    assert (mesh.mtls_enabled, mesh.tracing_enabled) == (False, True)
