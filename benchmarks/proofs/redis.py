"""Proof: Redis's clients work through a TCP listener with two endpoints, and every command is carried out once.

redis-benchmark sends small commands one by one and in pipelines, large values, and commands on a connection of their
own, over and over for ten minutes, in turns through hivemesh and through HAProxy. Afterwards the servers' own counters
must show exactly what was sent.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Final

from benchmarks.proofs.beside import Bill, HAProxy, Spent, config, judge_the_end
from benchmarks.proofs.databases import Load, Redis, RedisLoad, parse_redis
from benchmarks.proofs.evidence import Evidence
from benchmarks.proofs.hive import Hive, free_port

PROMISE: Final = "Redis's clients work through a TCP listener, and every command is carried out once"

KINDS: Final = {
    "small command": RedisLoad(("set", "get", "incr", "hset"), 50_000),
    "command in a pipeline of 16": RedisLoad(("set", "get", "incr"), 80_000, pipeline=16),
    "value of 100 kB": RedisLoad(("set", "get"), 4_000, clients=20, size=100_000),
    "command on a connection of its own": RedisLoad(("set", "get"), 10_000, keep=False),
}

# Of the requests above in a short run.
SHORT: Final = 0.04

# A round through one proxy takes a few seconds.
LIMIT: Final = 120.0

# redis-benchmark says so whenever it opens a connection for each command.
EXPECTED: Final = "WARNING: Keepalive disabled."


def prove(evidence: Evidence, folder: Path) -> None:
    seconds = 0.0 if evidence.short else 600.0
    kinds = KINDS
    if evidence.short:
        kinds = {name: replace(kind, requests=round(kind.requests * SHORT)) for name, kind in KINDS.items()}
    evidence.versions["redis"] = Redis.version()
    with Redis() as first, Redis() as second:
        port = free_port()
        with (
            Hive(config(port, first.port, second.port), folder) as hive,
            HAProxy(folder, (first.port, second.port)) as peer,
        ):
            worker = hive.worker()
            bill, complaints, sent = Bill(), list[str](), Counter[str]()
            through = 0
            until = time.monotonic() + seconds
            while True:
                for proxy, at, pid in (("hivemesh", port, hive.pid), ("haproxy", peer.port, peer.pid)):
                    for name, kind in kinds.items():
                        spent = Spent(pid)
                        said = run(kind, at)
                        done = kind.requests * len(kind.commands)
                        bill.add(name, proxy, spent.so_far(), done)
                        sent.update(dict.fromkeys(kind.commands, kind.requests))
                        if proxy == "hivemesh":
                            complaints += [f"{name}: {line}" for line in said]
                            through += done
                if time.monotonic() >= until:
                    break
            evidence.claim(
                "redis-benchmark through hivemesh has no error",
                not complaints,
                f"{through:,} commands; complaints: {'; '.join(complaints[:3]) or 'none'}",
            )
            judge_servers(evidence, (first, second), sent)
            bill.note(evidence)
            judge_the_end(evidence, hive, worker)


def run(kind: RedisLoad, port: int) -> list[str]:
    """What it complains of."""
    with Load(kind.argv(port), LIMIT) as load:
        output, errors = load.finish()
    said = [line for line in errors if not line.startswith(EXPECTED)]
    tests = parse_redis(output)
    if len(tests) != len(kind.commands):
        said.append(f"only {', '.join(tests)} reported")
    return said


def judge_servers(evidence: Evidence, servers: Sequence[Redis], sent: Counter[str]) -> None:
    calls = [server.calls() for server in servers]
    found = {command: sum(each.get(command, 0) for each in calls) for command in sent}
    evidence.claim(
        "the servers have carried out as many commands as were sent",
        found == dict(sent),
        ", ".join(f"{command} {found[command]:,} of {count:,}" for command, count in sent.items()),
    )
    shares = [sum(each.get(command, 0) for command in sent) for each in calls]
    evidence.claim("both endpoints take part", all(shares), " and ".join(f"{share:,}" for share in shares))
    errors = sum(server.errors() for server in servers)
    evidence.claim("no command was answered with an error", not errors, f"{errors} errors")
