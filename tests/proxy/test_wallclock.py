"""Whoever tells when a request was says the same time."""

from __future__ import annotations

import time

import pytest

from proxy.wallclock import wall_offset


def test_one_offset_however_often_and_late_it_is_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    """The access log and a record had one each, and differed by a millisecond once in some hundred requests."""
    first = wall_offset()
    assert abs(time.monotonic_ns() // 1000 + first - time.time_ns() // 1000) < 3600 * 10**6
    later = time.time_ns() + 10**9
    monkeypatch.setattr(time, "time_ns", lambda: later)
    assert wall_offset() == first
