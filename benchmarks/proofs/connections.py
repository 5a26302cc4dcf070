"""Proof: a million short TCP connections leave nothing behind.

ab opens a connection for each request, to nginx, through a TCP listener. After the first 10,000 and after all of them
the worker is looked at: between the two it has got no further descriptor, and its memory has not grown by more than
1 MB. Not from its start: on a busy machine it is in service a moment before it has opened all that it keeps.
"""

from __future__ import annotations

import contextlib
import re
import subprocess
import time
from pathlib import Path
from typing import Final

from benchmarks.proofs.beside import QUIET_LIMIT, config, judge_the_end, open_connections
from benchmarks.proofs.churn import settled_descriptors
from benchmarks.proofs.evidence import Evidence, ProofError
from benchmarks.proofs.hive import HOST, Hive, eventually, free_port, tool
from benchmarks.proofs.peers import Nginx, nginx_version
from benchmarks.proofs.watch import descriptors_of, memory_of

PROMISE: Final = "a million short TCP connections leave no descriptor and no memory behind"

ALL: Final = 1_000_000
SHORT: Final = 20_000
FIRST: Final = 10_000

CLIENTS: Final = 64
MOST_GROWTH: Final = 1_000_000  # bytes

# Far below what any machine does.
SLOWEST: Final = 500.0  # connections per second

_SERVER: Final = """
    server {{
        listen {host}:{port};
        location / {{ return 200 "good\\n"; }}
    }}
"""


def prove(evidence: Evidence, folder: Path) -> None:
    count = SHORT if evidence.short else ALL
    port, *servers = (free_port() for _ in range(3))
    evidence.versions.update(nginx=nginx_version(), ab=ab_version())
    origins = "".join(_SERVER.format(host=HOST, port=server) for server in servers)
    with Nginx(folder, origins, servers), Hive(config(port, *servers), folder) as hive:
        worker = hive.worker()
        begun = time.monotonic()
        failed = ask(port, FIRST)
        no_connection_is_open(hive)
        before, descriptors = memory_of(worker), descriptors_of(worker)
        failed += ask(port, count - FIRST)
        no_connection_is_open(hive)
        after = memory_of(worker)
        took = time.monotonic() - begun
        left = settled_descriptors(worker, descriptors)
        evidence.claim(
            f"{count:,} connections: each is answered", not failed, f"{failed} not; {count / took:,.0f} a second"
        )
        evidence.claim("afterwards every descriptor is closed", left == descriptors, f"{descriptors}, then {left}")
        evidence.claim(
            f"the worker's memory (RSS) is at most 1 MB above that after {FIRST:,}",
            after.rss - before.rss <= MOST_GROWTH,
            f"{before.rss / 1e6:.2f} MB, then {after.rss / 1e6:.2f} MB",
        )
        judge_the_end(evidence, hive, worker)


def ask(port: int, count: int) -> int:
    """`count` requests, each on a connection of its own; how many were not answered well."""
    argv = [tool("ab", "apache2-utils"), "-q", "-n", str(count), "-c", str(CLIENTS), f"http://{HOST}:{port}/"]
    done = subprocess.run(argv, capture_output=True, text=True, timeout=60 + count / SLOWEST)
    if done.returncode:
        raise ProofError(f"ab ended with {done.returncode}: {done.stderr.strip()[-300:]}")
    return count - complete(done.stdout) + failures(done.stdout)


def complete(report: str) -> int:
    return _number(report, "Complete requests")


def failures(report: str) -> int:
    """Connections that failed, and answers other than 2xx, of which ab says nothing when there are none."""
    return _number(report, "Failed requests") + ("Non-2xx" in report and _number(report, "Non-2xx responses"))


def ab_version() -> str:
    done = subprocess.run([tool("ab", "apache2-utils"), "-V"], capture_output=True, text=True, timeout=10)
    found = re.search(r"Version ([\d.]+)", done.stdout)
    return found[1] if found else ""


def no_connection_is_open(hive: Hive) -> None:
    with contextlib.suppress(ProofError):  # a claim at the end says how many are
        eventually(lambda: open_connections(hive) == 0, "no connection is open", QUIET_LIMIT)


def _number(report: str, name: str) -> int:
    found = re.search(rf"^{name}:\s+(\d+)", report, re.MULTILINE)
    if found is None:
        raise ProofError(f"ab reported no {name!r}: {report[-300:]!r}")
    return int(found[1])
