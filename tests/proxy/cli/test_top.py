"""The live view: what it makes of two answers of the agent, and what that looks like, letter for letter."""

from __future__ import annotations

import io
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console

from proxy.cli.live import BARS, History, as_json, picture, sparkline
from proxy.cli.top import FRAME, columns, draw, percent, rate, whole

Json = dict[str, Any]

BOUNDS = [0.001, 0.01, 0.1]
CLOSED = {"state": "closed", "left": 0.0, "ejections": 0, "errors": 0, "worked": 0}
OPEN = {**CLOSED, "state": "open", "left": 12.3, "ejections": 1}
TRYING = {**CLOSED, "state": "half-open", "worked": 2, "ejections": 1}


def numbers(requests: int, failed: int = 0, active: int = 0, connections: int = 0) -> Json:
    return {
        "requests": requests,
        "active_requests": active,
        "codes": {"200": requests - failed, "503": failed},
        "bytes_received": 0,
        "bytes_sent": 0,
        "connections": connections,
        "duration_buckets": [0, requests, 0, 0],
    }


def endpoint(
    service: str, name: str, version: str, stats: Json, breaker: Json = CLOSED, state: str = "healthy"
) -> Json:
    return {
        "service": service,
        "endpoint": name,
        "address": "10.0.0.1:80",
        "version": version,
        "state": state,
        "breaker": breaker,
        "ejections": breaker["ejections"],
        "stats": stats,
    }


def service(name: str, stats: Json, retries: int = 0) -> Json:
    return {"service": name, "pending_requests": 0, "retries": retries, "ejections": 1, "stats": stats}


def answer(now: float, services: list[Json], endpoints: list[Json]) -> Json:
    requests = sum(entry["stats"]["requests"] for entry in services)
    return {
        "now": now,
        "instance": "hive-1",
        "snapshot": 7,
        "bucket_bounds": BOUNDS,
        "listeners": [{"listener": "web", "stats": numbers(requests, 0, 3, 120)}],
        "services": services,
        "endpoints": endpoints,
        "workers": [
            {"worker": 0, "pid": 10, "state": "ready", "connections": 60, "cpu": now * 0.5},
            {"worker": 1, "pid": 11 + int(now > 101), "state": "starting", "connections": 1, "cpu": now * 0.1},
        ],
    }


def shop(step: int) -> Json:
    """`step` seconds after the start: web is busy, api has an endpoint that is ejected, idle nothing to do."""
    return answer(
        100.0 + step,
        [
            service("idle", numbers(0)),
            service("api", numbers(200 * step, 50 * step, 4), retries=3 * step),
            service("web", numbers(1_000 * step * step, 0, 12)),
        ],
        [
            endpoint("api", "api-1", "v1", numbers(150 * step, 0, 3, 5)),
            endpoint("api", "api-2", "v2", numbers(50 * step, 50 * step, 1, 2), OPEN, "ejected"),
            endpoint("web", "web-1", "", numbers(900 * step * step, 0, 9, 20)),
            endpoint("web", "web-2", "", numbers(100 * step * step, 0, 3, 20), TRYING),
            endpoint("web", "web-3", "", numbers(0), CLOSED, "draining"),
        ],
    )


def screen(width: int, height: int = 0, only: str = "", steps: int = 2) -> list[str]:
    """What a terminal of this size shows after so many refreshes."""
    history = History()
    for step in range(1, steps + 1):
        shown = picture(shop(step), shop(step - 1), history, only)
    console = Console(file=io.StringIO(), width=width, force_terminal=True, color_system=None)
    for line in draw(shown, width, height, "12:00:00"):
        console.print(line)
    written = console.file.getvalue()  # type: ignore[attr-defined]
    return str(written).splitlines()


def test_a_small_terminal() -> None:
    assert screen(80, 24) == [
        "hive-1   snapshot 7                                       12:00:00   every 1.0 s",
        "listeners web 3200/s 0% err 120 conns",
        "workers   0 50% cpu 60 conns · 1 1 conn starting",
        "",
        "SERVICE          TREND     REQ/S  ERR%    P50    P99  ACT RTR/S UP, BREAKERS",
        "web                    ▃█   3000    0%  5.5ms 9.91ms   12     - 2/3, 1 half-open",
        "  web-1                     2700    0%  5.5ms 9.91ms    9       healthy",
        "  web-2                      300    0%  5.5ms 9.91ms    3       half-open, 2 ok",
        "  web-3                        -     -      -      -    -       draining",
        "api                    ██    200   25%  5.5ms 9.91ms    4   3.0 1/2, 1 open",
        "  api-1          v1 75%      150    0%  5.5ms 9.91ms    3       healthy",
        "  api-2          v2 25%       50  100%  5.5ms 9.91ms    1       open, 12 s left",
        "idle                   ▁▁      -     -      -      -    -     - no endpoints",
    ]


def test_a_wide_one() -> None:
    lines = screen(200)
    assert lines[0].endswith("12:00:00   every 1.0 s") and len(lines[0]) == 200
    assert lines[4].split() == [
        *("SERVICE", "TREND", "REQ/S", "ERR%", "P50", "P99", "ACT", "RTR/S", "CONN", "EJECT", "UP,", "BREAKERS"),
    ]
    assert lines[10].split() == [
        *("api-1", "10.0.0.1:80", "v1", "75%", "150", "0%", "5.5ms", "9.91ms", "3", "5", "-", "healthy"),
    ]
    assert lines[11].split()[-5:] == ["1", "open,", "12", "s", "left"]
    # Columns stand below each other.
    assert lines[5].index(" 3000 ") + 1 == lines[6].index(" 2700 ") + 1 == lines[4].index("REQ/S") + 1


@pytest.mark.parametrize(
    ("height", "rows", "last"),
    [
        (13, ["web", "web-1", "web-2", "web-3", "api", "api-1", "api-2", "idle"], None),
        (12, ["web", "web-1", "web-2", "web-3", "api", "idle"], "not shown: 2 endpoints"),
        (9, ["web", "api", "idle"], "not shown: 5 endpoints"),
        (8, ["web", "api"], "not shown: 1 service and 5 endpoints"),
        (3, ["web"], "not shown: 2 services and 5 endpoints"),
    ],
)
def test_a_low_terminal_tells_what_is_missing(height: int, rows: list[str], last: str | None) -> None:
    lines = screen(80, height)
    assert [line.split()[0] for line in lines[FRAME : FRAME + len(rows)]] == rows
    assert lines[FRAME + len(rows) :] == ([last] if last else [])
    assert len(lines) <= max(height, FRAME + 2)


def test_one_service_alone() -> None:
    assert [line.split()[0] for line in screen(80, 24, "api")[FRAME:]] == ["api", "api-1", "api-2"]


@pytest.mark.parametrize("width", [80, 81, 109, 110, 150, 200, 400])
def test_columns_fit_into_the_width(width: int) -> None:
    layout = columns(width)
    assert sum(column.width for column in layout) + len(layout) - 1 <= width
    assert all(len(line) <= width for line in screen(width))


@given(st.text(max_size=30), st.text(max_size=30), st.integers(1, 220), st.integers(0, 40))
def test_names_of_any_kind_stay_printable_and_in_their_column(name: str, version: str, width: int, height: int) -> None:
    entries = [service(name, numbers(5))], [endpoint(name, name, version, numbers(5))]
    history = History()
    shown = picture(answer(2.0, *entries), answer(1.0, [], []), history)
    for line in draw(shown, width, height):
        assert line.plain.isprintable()
        assert len(line.plain) <= max(width, 80)


def test_the_json_of_a_refresh_says_the_same() -> None:
    history = History()
    shown = as_json(picture(shop(1), shop(0), history, "api"))
    (api,) = shown["services"]
    assert (api["service"], api["requests_per_s"], api["error_share"], api["retries_per_s"]) == ("api", 200, 0.25, 3)
    assert api["breakers"] == {"closed": 1, "open": 1, "half-open": 0}
    first, second = api["endpoints"]
    assert (first["endpoint"], first["version_share"], first["state"]) == ("api-1", 0.75, "healthy")
    assert (second["state"], second["breaker"]["left"], second["ejections"]) == ("ejected", 12.3, 1)
    assert [worker["cpu"] for worker in shown["workers"]] == [pytest.approx(0.5), pytest.approx(0.1)]
    assert (shown["instance"], shown["snapshot"], shown["interval"]) == ("hive-1", 7, 1.0)


def test_a_worker_that_was_replaced_has_no_rate_yet() -> None:
    shown = picture(shop(2), shop(1), History())
    assert [part.cpu for part in shown.workers] == [pytest.approx(0.5), None]


def test_the_past_of_what_is_gone_is_forgotten() -> None:
    history = History()
    picture(shop(1), shop(0), history)
    assert history.of("web") == (1000,)
    picture(answer(103.0, [], []), shop(1), history)
    assert history.rates == {}


@pytest.mark.parametrize(
    ("values", "width", "bars"),
    [
        ([], 4, "    "),
        ([0, 0], 4, "  ▁▁"),
        ([0, 4, 8], 3, "▁▅█"),
        ([1, 2, 3, 4], 2, "▇█"),
        ([5], 0, ""),
    ],
)
def test_bars(values: list[float], width: int, bars: str) -> None:
    assert sparkline(values, width) == bars


@given(st.lists(st.floats(0, 1e9), max_size=80), st.integers(0, 60))
def test_bars_fill_their_place(values: list[float], width: int) -> None:
    bars = sparkline(values, width)
    assert len(bars) == width
    assert set(bars) <= {*BARS, " "}


@given(st.floats(0, 1e10))
def test_numbers_fit_their_columns(value: float) -> None:
    assert len(rate(value)) <= 6
    assert len(whole(min(value, 9e6))) <= 5


@pytest.mark.parametrize(
    ("share", "text"), [(None, "-"), (0.0, "0%"), (0.001, "0.1%"), (0.0994, "9.9%"), (0.5, "50%"), (1.0, "100%")]
)
def test_shares(share: float | None, text: str) -> None:
    assert percent(share) == text
