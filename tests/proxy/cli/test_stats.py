from __future__ import annotations

from typing import Any

import pytest

from proxy.cli.stats import rates

BOUNDS = [0.001, 0.01]


def answer(now: float, requests: int, codes: dict[str, int], buckets: list[int], endpoint: str = "e") -> dict[str, Any]:
    stats = {
        "requests": requests,
        "active_requests": 2,
        "codes": codes,
        "bytes_received": requests * 10,
        "bytes_sent": requests * 100,
        "connections": 3,
        "duration_buckets": buckets,
    }
    entry = {"service": "s", "endpoint": endpoint, "address": "127.0.0.1:1", "stats": stats}
    return {"now": now, "bucket_bounds": BOUNDS, "listeners": [], "services": [], "endpoints": [entry]}


def test_rates_are_differences_by_the_time_between() -> None:
    before = answer(100.0, 10, {"200": 10}, [10, 0, 0])
    now = answer(102.0, 30, {"200": 20, "503": 6, "other": 4}, [10, 20, 0])
    (line,) = rates(now, before)
    assert (line.requests, line.received, line.sent) == (10, 100, 1000)
    assert line.classes == (5, 0, 0, 3, 2)
    assert (line.active, line.connections) == (2, 3)
    # All that ended in between took between 1 and 10 ms, whatever was before.
    assert line.p50 == pytest.approx(0.0055)


def test_without_an_earlier_answer_there_are_totals() -> None:
    (line,) = rates(answer(100.0, 10, {"200": 10}, [10, 0, 0]), None)
    assert (line.requests, line.classes) == (10, (10, 0, 0, 0, 0))


def test_quiet_time_has_no_quantiles() -> None:
    before = answer(100.0, 10, {"200": 10}, [10, 0, 0])
    (line,) = rates(answer(101.0, 10, {"200": 10}, [10, 0, 0]), before)
    assert (line.requests, line.p50, line.p99) == (0, None, None)


def test_an_endpoint_that_is_new_or_began_anew_counts_from_zero() -> None:
    before = answer(100.0, 1_000, {"200": 1_000}, [1_000, 0, 0])
    (line,) = rates(answer(101.0, 5, {"200": 5}, [5, 0, 0]), before)
    assert (line.requests, line.classes[0]) == (5, 5)
    (line,) = rates(answer(101.0, 5, {"200": 5}, [5, 0, 0], endpoint="other"), before)
    assert line.requests == 5
