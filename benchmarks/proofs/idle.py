"""Proof: 15,000 idle clients are held by a few workers, and cost nobody anything.

They come from several processes, make one request each and stay. The listener's gauge counts every one, each worker
holds its part, other clients are served meanwhile, and the memory of each connection is stated. Then
`timeouts.keep_alive` becomes short by a reload: every client makes one more request on the connection that it has, is
answered, and is let go when that time is over. Nothing is left behind.
"""

from __future__ import annotations

import http.client
from collections import Counter
from pathlib import Path
from typing import Any, Final

from benchmarks.proofs.churn import settled_descriptors
from benchmarks.proofs.evidence import Evidence
from benchmarks.proofs.hive import HOST, Hive, eventually, free_port
from benchmarks.proofs.holding import crowd, idle_clients
from benchmarks.proofs.slow_loris import eventually_none
from benchmarks.proofs.watch import descriptors_of, memory_of

PROMISE: Final = "15,000 idle clients are held by a few workers, others are served, and all end at the idle timeout"

CLIENTS: Final = 15_000
SHORT_CLIENTS: Final = 300
WORKERS: Final = 3
PROCESSES: Final = 4
HELD_LIMIT: Final = 120.0
OTHERS: Final = 500  # requests of others, each on a connection of its own

MOST_BYTES: Final = 4096  # of private memory for each


def prove(evidence: Evidence, folder: Path) -> None:
    clients, workers = (SHORT_CLIENTS, 2) if evidence.short else (CLIENTS, WORKERS)
    port = free_port()
    with Hive(config(port, workers, "10m"), folder) as hive:
        pids = hive.workers()
        # They are alike, once the last of them is in service.
        eventually(lambda: len({descriptors_of(pid) for pid in pids}) == 1, "the workers are at rest", HELD_LIMIT)
        descriptors = {pid: descriptors_of(pid) for pid in pids}
        before = sum(memory_of(pid).private for pid in pids)
        with crowd(idle_clients, port, clients, 1 if evidence.short else PROCESSES) as parts:
            answered = sum(part.value for part in parts)
            evidence.claim(f"{clients:,} clients connect and are answered", answered == clients, f"{answered:,}")
            held = int(hive.metric("hivemesh_downstream_connections_active", listener="web"))
            evidence.claim("all are open, and counted by the listener's gauge", held == clients, f"{held:,}")
            shares = [descriptors_of(pid) - descriptors[pid] for pid in pids]
            evidence.claim("every worker holds some", all(share > 0 for share in shares), shares)
            grown = sum(memory_of(pid).private for pid in pids) - before
            each = grown / clients
            evidence.note("bytes of the workers' memory for each", round(each))
            if not evidence.short:  # a few hundred touch more new pages than they fill
                evidence.claim(
                    f"each takes at most {MOST_BYTES:,} bytes of the workers' memory",
                    each <= MOST_BYTES,
                    f"{each:,.0f} bytes",
                )
            others = OTHERS // 10 if evidence.short else OTHERS
            served = sum(ask(port) for _ in range(others))
            evidence.claim("meanwhile others are served", served == others, f"{served} of {others}")
            hive.write(hive.complete(config(port, workers, "500ms" if evidence.short else "2s")))
            hive.api("POST", "/v1/reload")
            eventually(lambda: all_decide_by(hive, 2), "the reload is in force", HELD_LIMIT)
            found: Counter[str] = Counter()
            for part in parts:
                found.update(part.finish(HELD_LIMIT))
        evidence.claim("each is served once more", found["last"] == clients, f"{found['last']:,}")
        evidence.claim("and let go at timeouts.keep_alive", found["ended"] == clients, f"{found['ended']:,}")
        left = eventually_none(hive)
        evidence.claim("afterwards no connection is open", left == 0, f"{left:.0f} open")
        now = {pid: settled_descriptors(pid, descriptors[pid]) for pid in pids}
        evidence.claim("every descriptor is closed", now == descriptors, f"{descriptors}, then {now}")
        evidence.claim("the log has no bug", not hive.bugs(), hive.bugs()[:3] or "none")


def config(port: int, workers: int, keep_alive: str) -> dict[str, Any]:
    answer = {"direct_response": {"status": 200, "body": "good\n"}}
    return {
        "workers": workers,
        "limits": {"connections": CLIENTS + 1000},
        "timeouts": {"keep_alive": keep_alive},
        "listeners": [
            {
                "name": "web",
                "address": f"{HOST}:{port}",
                "routes": [{"name": "all", "filters": [answer]}],
            }
        ],
    }


def all_decide_by(hive: Hive, version: int) -> bool:
    versions = [value for name, _, value in hive.metrics() if name == "hivemesh_worker_snapshot_version"]
    return min(versions, default=0) >= version


def ask(port: int) -> bool:
    connection = http.client.HTTPConnection(HOST, port, timeout=10.0)
    try:
        connection.request("GET", "/", headers={"Connection": "close"})
        return connection.getresponse().status == 200
    finally:
        connection.close()
