"""The load generators: command lines for wrk and h2load, and what their output means.

wrk gets its requests as finished text from a Lua script and reports through the script's `done` function, as one line
of JSON; its own printed summary is rounded and meant for people. h2load reports each request in a log file, from
which the latency of the steady part is taken. Building and parsing are pure; `run` is the only place with I/O.
"""

from __future__ import annotations

import json
import math
import shutil
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from benchmarks.compare.summary import percentile
from benchmarks.compare.traffic import Request

CONNECTIONS: Final = 64

# wrk's answer is found in its output by this word.
REPORT: Final = "bench-report "

# h2load paces each client with a timer of its own that cannot fire more often than every 10 ms: a client that should
# send more than 100 requests a second sends them in bursts. Enough clients keep each below that.
RPS_PER_CLIENT: Final = 60.0

# Clients connect a few at a time, so that their timers do not all fire together.
RAMP: Final = 1.0
RAMP_PERIOD: Final = 0.01

# What the generator may need beyond its nominal time before it counts as hung.
GRACE: Final = 30.0


class LoadFailed(Exception):
    """The load generator did not finish, or what it met was not the answers it should have got."""


@dataclass(frozen=True, slots=True)
class WrkReport:
    requests: int
    duration: float
    p50: float
    p99: float
    failures: dict[str, int]

    @property
    def requests_per_s(self) -> float:
        return self.requests / self.duration


@dataclass(frozen=True, slots=True)
class LatencyReport:
    """Seconds; only requests that began in the steady part count."""

    requests: int
    all_requests: int  # with those of the ramp and the end
    requests_per_s: float
    p50: float
    p99: float
    p999: float
    failures: int


def missing() -> list[str]:
    needs = {"wrk": "wrk", "h2load": "nghttp2-client", "taskset": "util-linux"}
    return [
        f"{program} is not installed (on Debian: apt install {package})"
        for program, package in needs.items()
        if shutil.which(program) is None
    ]


# --- wrk --------------------------------------------------------------------------------------------------------


def wrk_script(requests: Sequence[Request], close: bool) -> str:
    """Lua that sends the requests in turn. JSON strings of plain text are Lua strings as well."""
    texts = ",\n".join(json.dumps(request.text(close)) for request in requests)
    return f"""local requests = {{
{texts}
}}
local turn = 0
request = function()
  turn = turn % #requests + 1
  return requests[turn]
end
done = function(summary, latency)
  local e = summary.errors
  io.write(string.format(
    '{REPORT}{{"requests":%d,"duration_us":%d,"p50_us":%d,"p99_us":%d,' ..
    '"connect":%d,"read":%d,"write":%d,"status":%d,"timeout":%d}}\\n',
    summary.requests, summary.duration, latency:percentile(50), latency:percentile(99),
    e.connect, e.read, e.write, e.status, e.timeout))
end
"""


def wrk_command(script: Path, port: int, seconds: float, connections: int = CONNECTIONS) -> tuple[str, ...]:
    # wrk takes whole seconds only.
    duration = f"{max(1, math.ceil(seconds))}s"
    return ("wrk", "-t1", f"-c{connections}", f"-d{duration}", "-s", str(script), f"http://127.0.0.1:{port}/")


def parse_wrk(output: str) -> WrkReport:
    for line in output.splitlines():
        if line.startswith(REPORT):
            report: dict[str, int] = json.loads(line.removeprefix(REPORT))
            failures = {name: report[name] for name in ("connect", "read", "write", "status", "timeout")}
            return WrkReport(
                report["requests"],
                report["duration_us"] / 1e6,
                report["p50_us"] / 1e6,
                report["p99_us"] / 1e6,
                {name: count for name, count in failures.items() if count},
            )
    raise LoadFailed(f"wrk reported nothing: {output.strip()[-300:]!r}")


def run_wrk(folder: Path, requests: Sequence[Request], port: int, seconds: float, close: bool = False) -> WrkReport:
    script = folder / "requests.lua"
    script.write_text(wrk_script(requests, close))
    report = parse_wrk(run(wrk_command(script, port, seconds), seconds))
    if report.failures:
        raise LoadFailed(f"{report.failures} among {report.requests} requests")
    if not report.requests:
        raise LoadFailed("not one request was answered")
    return report


# --- h2load -----------------------------------------------------------------------------------------------------


def h2load_command(
    folder: Path, requests: Sequence[Request], port: int, rate_per_s: float, seconds: float
) -> tuple[str, ...]:
    """HTTP/1.1 at a fixed rate. All requests must have one host: h2load sends the same headers each time."""
    hosts = {request.host for request in requests}
    if len(hosts) != 1:
        raise ValueError(f"hosts {sorted(hosts)}, expected one")
    clients = max(CONNECTIONS, math.ceil(rate_per_s / RPS_PER_CLIENT))
    total = math.ceil(rate_per_s * (seconds + RAMP) / clients) * clients
    per_period = math.ceil(clients * RAMP_PERIOD / RAMP)
    headers = [f"-H{name.lower()}: {value}" for name, value in requests[0].headers()]
    return (
        "h2load",
        "--h1",
        "-t1",
        f"-c{clients}",
        f"-n{total}",
        f"-r{per_period}",
        f"--rate-period={round(RAMP_PERIOD * 1000)}ms",
        f"--rps={rate_per_s / clients:.6f}",
        f"--log-file={folder / 'h2load.log'}",
        *headers,
        "-B",
        f"http://127.0.0.1:{port}",
        "-i",
        str(folder / "uris"),
    )


def parse_h2load_log(text: str, skip: float, seconds: float) -> LatencyReport:
    """Rows are start (microseconds since the epoch), status, microseconds to the end of the response.

    The first `skip` seconds are the ramp; what began later than `seconds` after that is the end, where clients stop
    one by one.
    """
    rows = [tuple(map(int, line.split("\t")[:3])) for line in text.splitlines() if line.strip()]
    if not rows:
        raise LoadFailed("h2load logged no request")
    begin = min(row[0] for row in rows) + round(skip * 1e6)
    end = begin + round(seconds * 1e6)
    steady = [row for row in rows if begin <= row[0] < end]
    good = sorted(row[2] / 1e6 for row in steady if row[1] == 200)
    if not good:
        raise LoadFailed(f"no request of the steady part was answered 200 ({len(steady)} were sent)")
    span = (max(row[0] for row in steady) - min(row[0] for row in steady)) / 1e6
    return LatencyReport(
        len(good),
        len(rows),
        len(steady) / span if span else 0.0,
        percentile(good, 0.50),
        percentile(good, 0.99),
        percentile(good, 0.999),
        len(rows) - sum(1 for row in rows if row[1] == 200),
    )


def run_h2load(
    folder: Path, requests: Sequence[Request], port: int, rate_per_s: float, seconds: float
) -> LatencyReport:
    (folder / "uris").write_text("".join(f"http://127.0.0.1:{port}{request.target}\n" for request in requests))
    run(h2load_command(folder, requests, port, rate_per_s, seconds), seconds + RAMP)
    report = parse_h2load_log((folder / "h2load.log").read_text(), RAMP, seconds)
    if report.failures:
        raise LoadFailed(f"{report.failures} requests were not answered 200")
    return report


def run(argv: Sequence[str], seconds: float) -> str:
    """Run a generator on the cores this process is allowed on, and return what it printed."""
    try:
        done = subprocess.run(argv, capture_output=True, text=True, timeout=seconds + GRACE)
    except subprocess.TimeoutExpired:
        raise LoadFailed(f"{argv[0]} did not end within {seconds + GRACE:.0f} s") from None
    if done.returncode:
        raise LoadFailed(f"{argv[0]} ended with {done.returncode}: {(done.stderr or done.stdout).strip()[-300:]}")
    return done.stdout
