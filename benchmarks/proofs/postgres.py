"""Proof: PostgreSQL's clients work through a TCP listener with two endpoints, and no transaction is lost or doubled.

pgbench runs its own transactions for ten minutes on connections that stay, and for a part of that time on a new
connection for each. It runs beside another pgbench that goes through HAProxy to the same two servers. Afterwards the
servers are asked how many transactions they committed.
"""

from __future__ import annotations

from pathlib import Path
from typing import Final

from benchmarks.proofs.beside import Bill, HAProxy, Spent, config, judge_the_end
from benchmarks.proofs.databases import Load, PgbenchReport, Postgres, parse_pgbench, pgbench_command
from benchmarks.proofs.evidence import Evidence
from benchmarks.proofs.hive import Hive, free_port

PROMISE: Final = "PostgreSQL's clients work through a TCP listener, and no transaction is lost or doubled"

CLIENTS: Final = 8

# A large answer: so many numbers, one to a line.
ROWS: Final = 300_000

# Of the time, with a new connection for each transaction.
RECONNECTING: Final = 0.2


def prove(evidence: Evidence, folder: Path) -> None:
    seconds = 4.0 if evidence.short else 600.0
    evidence.versions["postgresql"] = Postgres.version()
    with Postgres() as first, Postgres() as second:
        port = free_port()
        with (
            Hive(config(port, first.port, second.port), folder) as hive,
            HAProxy(folder, (first.port, second.port)) as peer,
        ):
            worker = hive.worker()
            ways = {"hivemesh": (port, hive.pid), "haproxy": (peer.port, peer.pid)}
            steady = both(ways, seconds * (1 - RECONNECTING), False)
            reconnecting = both(ways, seconds * RECONNECTING, True)
            bill = Bill()
            for kind, reports in (("transaction", steady), ("connection and query", reconnecting)):
                for proxy, (report, cpu) in reports.items():
                    bill.add(kind, proxy, cpu, report.transactions)
                judge(evidence, kind, reports["hivemesh"][0])
                evidence.note(f"{kind}: mean latency, ms", latencies(reports))
            bill.note(evidence)
            committed = [server.history() for server in (first, second)]
            counted = {proxy: report.transactions for proxy, (report, _) in steady.items()}
            evidence.claim(
                "the servers have committed as many transactions as their clients counted",
                sum(committed) == sum(counted.values()),
                f"{committed[0]:,} and {committed[1]:,} committed, {sum(counted.values()):,} counted",
            )
            evidence.claim("both endpoints take part", all(committed), f"{committed[0]:,} and {committed[1]:,}")
            wanted = "\n".join(map(str, range(1, ROWS + 1)))
            got = first.ask(f"copy (select generate_series(1, {ROWS})) to stdout", port)
            evidence.claim("a large answer arrives whole", got == wanted, f"{len(got):,} of {len(wanted):,} bytes")
            judge_the_end(evidence, hive, worker)


def both(ways: dict[str, tuple[int, int]], seconds: float, reconnect: bool) -> dict[str, tuple[PgbenchReport, float]]:
    """pgbench through each proxy at the same time: what it reports, and the proxy's CPU."""
    spent = {proxy: Spent(pid) for proxy, (_, pid) in ways.items()}
    loads = {
        proxy: Load(pgbench_command(port, seconds, CLIENTS, reconnect), seconds) for proxy, (port, _) in ways.items()
    }
    try:
        outputs = {proxy: load.finish() for proxy, load in loads.items()}
    finally:
        for load in loads.values():
            load.__exit__()
    return {proxy: (parse_pgbench(*output), spent[proxy].so_far()) for proxy, output in outputs.items()}


def judge(evidence: Evidence, kind: str, report: PgbenchReport) -> None:
    found = f"{report.transactions:,}, {report.failed} failed; complaints: {'; '.join(report.complaints[:3]) or 'none'}"
    good = report.transactions > 0 and not report.failed and not report.complaints
    evidence.claim(f"pgbench through hivemesh, {kind} after {kind}: none fails", good, found)


def latencies(reports: dict[str, tuple[PgbenchReport, float]]) -> str:
    return ", ".join(f"{proxy} {report.latency * 1e3:.2f}" for proxy, (report, _) in reports.items())
