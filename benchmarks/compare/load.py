"""The load generators: command lines for wrk and h2load, and what their output means.

wrk gets its requests as finished text from a Lua script and reports through the script's `done` function, as one line
of JSON; its own printed summary is rounded and meant for people. h2load reports each request in a log file, from
which the latency of the steady part is taken. Building and parsing are pure; only `run*` have I/O.
"""

from __future__ import annotations

import json
import math
import shutil
import subprocess
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from benchmarks.compare.summary import percentile
from benchmarks.compare.traffic import Request

CONNECTIONS: Final = 64

# wrk's answer is found in its output by this word.
REPORT: Final = "bench-report "

# h2load lets all clients of a process send at once and then again after 1/rate: a burst as large as the number of
# clients, and a timer that cannot fire more often than every 10 ms. Several processes, begun a fraction of that period
# apart, make small bursts evenly spread out of few large ones; the rate per client keeps clear of the timer's limit.
H2LOAD_PROCESSES: Final = 10
RPS_PER_CLIENT: Final = 90.0

# Clients connect and pools fill in this part of a run; it and the last moment are not looked at.
SKIPPED: Final = 0.5
REST: Final = 0.5

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


@dataclass(frozen=True, slots=True)
class Pace:
    """How a rate is made of processes, clients in each, and requests a second of each client."""

    clients: int
    rps_per_client: float
    offset: float  # seconds between the starts of two processes


def pace(rate_per_s: float) -> Pace:
    if rate_per_s <= 0:
        raise ValueError(f"rate {rate_per_s}, expected above 0")
    share = rate_per_s / H2LOAD_PROCESSES
    clients = math.ceil(share / RPS_PER_CLIENT)
    rps = share / clients
    return Pace(clients, rps, 1.0 / rps / H2LOAD_PROCESSES)


def h2load_command(
    log: Path, uris: Path, requests: Sequence[Request], port: int, pace: Pace, seconds: float
) -> tuple[str, ...]:
    """HTTP/1.1 at a fixed rate. All requests must have one host: h2load sends the same headers each time."""
    hosts = {request.host for request in requests}
    if len(hosts) != 1:
        raise ValueError(f"hosts {sorted(hosts)}, expected one")
    # A second Host header would be added, not replaced; h2load knows the first as :authority.
    names = {"Host": ":authority"}
    headers = [f"-H{names.get(name, name.lower())}: {value}" for name, value in requests[0].headers()]
    return (
        "h2load",
        "--h1",
        "-t1",
        f"-c{pace.clients}",
        f"-D{math.ceil(SKIPPED + seconds + REST)}",
        f"--rps={pace.rps_per_client:.6f}",
        f"--log-file={log}",
        *headers,
        "-B",
        f"http://127.0.0.1:{port}",
        "-i",
        str(uris),
    )


def parse_h2load_log(text: str, skip: float, seconds: float) -> LatencyReport:
    """Rows are start (microseconds since the epoch), status, microseconds to the end of the response.

    Only rows that began between `skip` and `skip + seconds` after the first count.
    """
    try:
        rows = [tuple(map(int, line.split("\t")[:3])) for line in text.splitlines() if line.strip()]
    except ValueError as problem:
        raise LoadFailed(f"h2load logged something else than numbers: {problem}") from None
    if not rows:
        raise LoadFailed("h2load logged no request")
    begin = min(row[0] for row in rows) + round(skip * 1e6)
    end = begin + round(seconds * 1e6)
    steady = [row for row in rows if begin <= row[0] < end]
    good = sorted(row[2] / 1e6 for row in steady if row[1] == 200)
    if not good:
        raise LoadFailed(f"no request of the steady part was answered 200 ({len(steady)} were sent)")
    return LatencyReport(
        requests=len(good),
        all_requests=len(rows),
        requests_per_s=len(steady) / seconds,
        p50=percentile(good, 0.50),
        p99=percentile(good, 0.99),
        p999=percentile(good, 0.999),
        failures=len(steady) - len(good),
    )


def run_h2load(
    folder: Path, requests: Sequence[Request], port: int, rate_per_s: float, seconds: float
) -> LatencyReport:
    uris = folder / "uris"
    uris.write_text("".join(f"http://127.0.0.1:{port}{request.target}\n" for request in requests))
    shape = pace(rate_per_s)
    logs = [folder / f"h2load-{index}.log" for index in range(H2LOAD_PROCESSES)]
    processes: list[subprocess.Popen[str]] = []
    begun = time.monotonic()
    try:
        for index, log in enumerate(logs):
            time.sleep(max(0.0, begun + index * shape.offset - time.monotonic()))
            argv = h2load_command(log, uris, requests, port, shape, seconds)
            processes.append(subprocess.Popen(argv, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True))
        for process in processes:
            output, _ = process.communicate(timeout=seconds + GRACE)
            if process.returncode:
                raise LoadFailed(f"h2load ended with {process.returncode}: {output.strip()[-300:]}")
    except subprocess.TimeoutExpired:
        raise LoadFailed(f"h2load did not end within {seconds + GRACE:.0f} s") from None
    finally:
        for process in processes:
            if process.poll() is None:
                process.kill()
                process.wait()
    report = parse_h2load_log("".join(log.read_text() for log in logs), SKIPPED, seconds)
    if report.failures:
        raise LoadFailed(f"{report.failures} of {report.requests + report.failures} requests were not answered 200")
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
