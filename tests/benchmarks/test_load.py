import json
import math
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from benchmarks.compare.load import (
    H2LOAD_PROCESSES,
    LoadFailed,
    Pace,
    h2load_command,
    pace,
    parse_h2load_log,
    parse_wrk,
    wrk_command,
    wrk_script,
)
from benchmarks.compare.traffic import Request

WRK_OUTPUT = """Running 5s test @ http://127.0.0.1:21000/
  1 threads and 64 connections
  Thread Stats   Avg      Stdev     Max   +/- Stdev
    Latency     1.16ms    1.99ms   9.93ms   91.27%
  207000 requests in 5.00s, 39.48MB read
Requests/sec:  41400.00
bench-report {"requests":207000,"duration_us":5000000,"p50_us":816,"p99_us":8640,\
"connect":0,"read":0,"write":0,"status":STATUS,"timeout":0}
"""

A = Request("a.test", "/v1/x?y=1")
B = Request("b.test", "/v1/z", beta=True)


def row(start_us, status, duration_us):
    return f"{start_us}\t{status}\t{duration_us}\n"


def test_the_report_of_wrk_is_exact_numbers_in_seconds():
    report = parse_wrk(WRK_OUTPUT.replace("STATUS", "0"))

    assert (report.requests, report.duration) == (207_000, 5.0)
    assert report.requests_per_s == 41_400.0
    assert (report.p50, report.p99) == (0.000816, 0.00864)
    assert report.failures == {}


def test_answers_other_than_2xx_and_3xx_are_failures():
    assert parse_wrk(WRK_OUTPUT.replace("STATUS", "12")).failures == {"status": 12}


def test_output_of_wrk_without_a_report_is_an_error_that_shows_it():
    with pytest.raises(LoadFailed, match="unable to connect"):
        parse_wrk("unable to connect to 127.0.0.1:21000 Connection refused\n")


def test_the_script_holds_each_request_as_it_goes_over_the_wire():
    script = wrk_script([A, B], close=False)

    strings = [line.rstrip(",") for line in script.splitlines() if line.startswith('"GET')]
    assert [json.loads(text) for text in strings] == [A.text(), B.text()]
    assert "\\u" not in script  # JSON's escape for anything but ASCII is not Lua's


def test_a_request_has_ten_headers_and_closes_only_when_asked():
    head, end, body = A.text().partition("\r\n\r\n")
    assert (end, body) == ("\r\n\r\n", "")
    assert len(head.split("\r\n")) == 1 + 10
    assert "connection" not in head.lower()
    assert A.text(close=True).endswith("\r\nConnection: close\r\n\r\n")


def test_wrk_runs_whole_seconds_at_least_as_long_as_asked():
    assert "-d3s" in wrk_command(Path("s.lua"), 21000, 2.5)
    assert "-d1s" in wrk_command(Path("s.lua"), 21000, 0.2)


@given(st.floats(min_value=1.0, max_value=500_000.0))
def test_the_processes_together_make_the_rate_within_what_a_timer_can_do(rate):
    shape = pace(rate)

    assert shape.clients * shape.rps_per_client * H2LOAD_PROCESSES == pytest.approx(rate)
    assert shape.rps_per_client < 100
    assert shape.offset * H2LOAD_PROCESSES == pytest.approx(1 / shape.rps_per_client)


def test_a_rate_of_nothing_is_refused():
    with pytest.raises(ValueError, match="rate 0"):
        pace(0)


def test_h2load_gets_one_host_and_all_other_headers():
    command = h2load_command(Path("l"), Path("u"), [A], 21000, Pace(3, 50.0, 0.002), 2.0)

    headers = [word for word in command if word.startswith("-H")]
    assert "-H:authority: a.test" in headers
    assert len(headers) == 10
    assert "--h1" in command and "-c3" in command and "--rps=50.000000" in command


def test_h2load_cannot_alternate_hosts():
    with pytest.raises(ValueError, match="expected one"):
        h2load_command(Path("l"), Path("u"), [A, B], 21000, Pace(3, 50.0, 0.002), 2.0)


def test_only_the_steady_part_of_a_log_counts():
    log = row(0, 200, 900_000) + "".join(row(500_000 + 10_000 * i, 200, 100 + i) for i in range(100))
    log += row(1_500_000, 200, 900_000)

    report = parse_h2load_log(log, skip=0.5, seconds=1.0)

    assert (report.requests, report.all_requests, report.requests_per_s) == (100, 102, 100.0)
    assert report.p50 == pytest.approx(149e-6)
    assert report.p99 == pytest.approx(198e-6)
    assert report.failures == 0


@given(st.permutations([row(1_000 * i, 200, i) for i in range(1, 50)]))
def test_the_order_of_rows_does_not_matter(rows):
    assert parse_h2load_log("".join(rows), 0.0, 1.0) == parse_h2load_log("".join(sorted(rows)), 0.0, 1.0)


def test_what_is_not_answered_200_is_a_failure_and_has_no_latency():
    report = parse_h2load_log(row(0, 200, 100) + row(1, 503, 5) + row(2, -1, 1), 0.0, 1.0)

    assert (report.requests, report.failures) == (1, 2)
    assert math.isclose(report.p999, 100e-6)


@pytest.mark.parametrize("log", ["", "\n", row(0, 503, 1), "no number\t200\t5\n"])
def test_a_log_without_good_answers_is_an_error(log):
    with pytest.raises(LoadFailed):
        parse_h2load_log(log, 0.0, 1.0)
