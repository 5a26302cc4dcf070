"""Trace context is accepted or started, and forwarded (W3C Trace Context)."""

from __future__ import annotations

import re

import pytest
from raw_origin import RawOrigin

TRACEPARENT = re.compile(r"00-(?!0{32})[0-9a-f]{32}-(?!0{16})[0-9a-f]{16}-[0-9a-f]{2}")
TRACE, PARENT = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"


def test_trace_is_started_when_there_is_none(hive, origin: RawOrigin) -> None:
    proxy = hive(origin)
    client = proxy.client()
    client.ask()
    traceparent = origin.accept().answer().header("traceparent")
    assert TRACEPARENT.fullmatch(traceparent)
    client.response()
    assert proxy.logged(trace_id=traceparent.split("-")[1])


def test_trace_is_continued_with_a_new_parent(hive, origin: RawOrigin) -> None:
    proxy = hive(origin)
    client = proxy.client()
    client.ask(headers={"traceparent": f"00-{TRACE}-{PARENT}-01", "tracestate": "vendor=1"})
    request = origin.accept().answer()
    version, trace, parent, flags = request.header("traceparent").split("-")
    assert (version, trace, flags) == ("00", TRACE, "01")
    assert parent != PARENT
    assert request.header("tracestate") == "vendor=1"
    client.response()
    assert proxy.logged(trace_id=TRACE)


@pytest.mark.parametrize(
    "invalid",
    [
        f"ff-{TRACE}-{PARENT}-01",
        f"00-{'0' * 32}-{PARENT}-01",
        f"00-{TRACE}-{'0' * 16}-01",
        f"00-{TRACE.upper()}-{PARENT}-01",
        f"00-{TRACE}-{PARENT}-01-more",
        f"00-{TRACE[:-1]}-{PARENT}-01",
        "nonsense",
    ],
)
def test_invalid_trace_is_ignored_and_a_new_one_started(hive, origin: RawOrigin, invalid: str) -> None:
    client = hive(origin).client()
    client.ask(headers={"traceparent": invalid, "tracestate": "vendor=1"})
    request = origin.accept().answer()
    traceparent = request.header("traceparent")
    assert TRACEPARENT.fullmatch(traceparent)
    assert TRACE not in traceparent
    assert request.header("tracestate") is None  # it belongs to the trace that was ignored
    assert client.response().status == 200
