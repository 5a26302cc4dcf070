"""Proof: nobody waits for the garbage collector of a worker.

One worker, under wrk on 64 kept connections and under clients that connect for every request (ab), first with ten
routes, then with 10,000 routes and as many services of one endpoint each. The large table is put in force, changed in
every route, changed by hundreds of endpoints that come and go, and taken out again, all under load. After each part the
worker's passes of the collector, the time they took and the longest of them are read from /metrics.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import time
from pathlib import Path
from typing import Final

from benchmarks.proofs.evidence import Evidence, ProofError
from benchmarks.proofs.feed import Api
from benchmarks.proofs.hive import HOST, Hive, Json, eventually, free_port
from benchmarks.proofs.hive import tool as installed
from benchmarks.proofs.peers import Nginx, Wrk, nginx_version, wrk_version

PROMISE: Final = "a worker's garbage collector holds nobody up, however large the configuration"

LONGEST: Final = 0.001  # seconds
CONNECTIONS: Final = 64
NICENESS: Final = 15  # of wrk: reading a file of 10,000 routes needs the same processors
VISITED: Final = 100  # routes that the load visits
FEW: Final = 10
APPLY_LIMIT: Final = 180.0


def prove(evidence: Evidence, folder: Path) -> None:
    many, seconds, changes = (200, 0.3, 10) if evidence.short else (10_000, 20.0, 400)
    web, origin = free_port(), free_port()
    evidence.versions.update(wrk=wrk_version(), nginx=nginx_version())
    server = f"server {{ listen {HOST}:{origin}; location / {{ return 200 here; }} }}\n"
    with Nginx(folder, server, [origin]), Hive(config(web, origin, FEW, "a"), folder) as hive:
        watch = Collector(evidence, hive)
        with Wrk(folder, pages(many, "a"), web, CONNECTIONS, NICENESS) as wrk:
            time.sleep(seconds)
            watch.part("10 routes, kept connections")
            put_in_force(hive, config(web, origin, many, "a"))
            watch.part(f"{many} routes put in force")
            time.sleep(seconds)
            watch.part(f"{many} routes, kept connections")
            connect_often(web, "h0.test", seconds)
            watch.part(f"{many} routes, a connection for each request")
            endpoints_come_and_go(hive, origin, changes)
            watch.part(f"{changes} endpoints come and go")
            put_in_force(hive, config(web, origin, many, "b"))
            watch.part(f"all {many} routes and services changed")
            put_in_force(hive, config(web, origin, FEW, "b"))
            watch.part(f"{many} routes taken out")
            time.sleep(seconds)
            watch.part("10 routes again")
            report = wrk.finish()
        evidence.note("load_average", os.getloadavg())
        evidence.claim(
            f"no pass of the collector takes {LONGEST * 1000:g} ms",
            evidence.short or watch.longest < LONGEST,
            f"longest {watch.longest * 1000:.3f} ms of {watch.passes} passes; {report.requests:,} requests of wrk",
        )
        evidence.claim("the log has no bug", not hive.bugs(), hive.bugs() or "none")


def config(web: int, origin: int, count: int, mark: str) -> Json:
    """`count` routes to a service of their own each; ten prefixes per host. `mark` makes all of them others."""
    return {
        "listeners": [
            {
                "name": "web",
                "address": f"{HOST}:{web}",
                "routes": [
                    {
                        "name": f"route-{number}",
                        "match": {"host": f"h{number // 10}.test", "path_prefix": f"/{number % 10}"},
                        "service": f"service-{number}",
                        "filters": [{"request_headers": {"set": {"x-mark": mark}}}],
                    }
                    for number in range(count)
                ],
            }
        ],
        "services": {
            f"service-{number}": {
                "endpoints": [{"id": f"{mark}{number}", "address": f"{HOST}:{origin}", "metadata": {"mark": mark}}]
            }
            for number in range(count)
        },
    }


def pages(count: int, mark: str) -> list[str]:
    step = max(1, count // VISITED)
    return [f"GET /{n % 10}/items/4711 HTTP/1.1\r\nHost: h{n // 10}.test\r\n\r\n" for n in range(0, count, step)]


def put_in_force(hive: Hive, wanted: Json) -> None:
    """Wait until the worker decides by it."""
    version = version_of(hive)
    hive.write(hive.complete(wanted))
    hive.hang_up()
    eventually(lambda: version_of(hive) > version, "the configuration is in force", APPLY_LIMIT)


def version_of(hive: Hive) -> int:
    (worker,) = json.loads(hive.api("GET", "/v1/workers")[1])
    return int(worker["version"])


def connect_often(web: int, host: str, seconds: float) -> None:
    """ab makes a connection for each request."""
    limits = ["-c", "16", "-t", str(max(1, round(seconds))), "-n", "1000000"]
    command = [installed("ab", "apache2-utils"), "-q", *limits, "-H", f"Host: {host}", f"http://{HOST}:{web}/0/"]
    done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    if done.returncode:
        raise ProofError(f"ab ended with {done.returncode}: {done.stdout[-500:]}")


def endpoints_come_and_go(hive: Hive, origin: int, count: int) -> None:
    api = Api(hive.admin)
    for number in range(count):
        path = f"/v1/services/service-{number % FEW}/endpoints/x{number}"
        api.call("PUT", path, {"address": f"{HOST}:{origin}"})
        if number % 2:
            api.call("DELETE", path)


class Collector:
    """What the worker's collector did since it was asked last."""

    def __init__(self, evidence: Evidence, hive: Hive) -> None:
        self._evidence = evidence
        self._hive = hive
        self.passes = 0
        self._seconds = 0.0
        self.longest = 0.0  # seconds

    def part(self, name: str) -> None:
        """The exposition has a line for each route and endpoint, so it is read once and not parsed as a whole."""
        text = self._hive.api("GET", "/metrics")[1]
        found = {
            what: float(value) for what, value in re.findall(r"^hivemesh_worker_gc_(\w+)\{.*\} (\S+)$", text, re.M)
        }
        passes, seconds = round(found["passes_total"]), found["seconds_total"]
        self.longest = found["longest_seconds"]
        said = {
            "passes": passes - self.passes,
            "ms": round((seconds - self._seconds) * 1000, 3),
            "longest_ms_so_far": round(self.longest * 1000, 3),
        }
        self.passes, self._seconds = passes, seconds
        self._evidence.note(name, said)
        self._evidence.say(f"    {name}: {said}")
