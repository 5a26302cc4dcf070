"""Proof: each endpoint in turn is killed and started again under load, and no idempotent request fails.

The retry example of the documentation: three retries on 5xx and connect-failure, one second per attempt, five for all.
First without limits of resources; then with all of them (100 connections, 10 that wait, 1000 requests, 3 retries at a
time), where requests fail that a limit refuses, and only those.

An endpoint is a process of its own, ended by SIGKILL: its connections break in the middle of whatever they do. The next
one has its turn when the last one serves again.
"""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from pathlib import Path
from typing import Any, Final

from benchmarks.proofs.evidence import Evidence
from benchmarks.proofs.hive import HOST, Hive, endpoints, eventually, free_port
from benchmarks.proofs.part import Cue, Part
from benchmarks.proofs.talking import Talk, length_of

PROMISE: Final = "endpoints killed and restarted in turn cost no idempotent request; limits of resources refuse by name"

ENDPOINTS: Final = 5
CLIENTS: Final = 64
METHODS: Final = ("GET", "PUT", "DELETE", "HEAD")
WORK: Final = 0.01  # seconds that an endpoint takes for a request, so that many are under way when it dies
DEAD: Final = 0.5
BACK_LIMIT: Final = 60.0

RETRY: Final = {
    "max_retries": 3,
    "retry_on": ["5xx", "connect-failure"],
    "per_try_timeout": "1s",
}
LIMITS: Final = {"max_connections": 100, "max_pending_requests": 10, "max_requests": 1000, "max_retries": 3}


def prove(evidence: Evidence, folder: Path) -> None:
    turns = 1 if evidence.short else ENDPOINTS
    free = folder / "free"
    free.mkdir()
    asked, logged, bugs = roll(evidence, free, {}, turns, "without limits")
    evidence.claim(
        f"without limits of resources no request fails while endpoints die and return, {turns} of {ENDPOINTS}",
        not asked["failures"] and asked["answers"] > 0,
        f"{asked['answers']:,} answered, failed: {asked['failures'][:3] or 'none'}",
    )
    evidence.claim("the log has no bug", not bugs, bugs[:3] or "none")
    if evidence.short:
        return
    limited = folder / "limited"
    limited.mkdir()
    asked, logged, bugs = roll(evidence, limited, {"circuit_breaker": LIMITS}, turns, "with all limits")
    refusals = Counter(f"{entry['flags']} {entry.get('retry_denied', '')}".strip() for entry in logged)
    others = [entry for entry in logged if entry["status"] != 503 or not {"UO", "URX"} & set(entry["flags"].split(","))]
    evidence.claim(
        "with all limits a request fails only because a limit refuses it (503 UO, or 503 URX for its retry)",
        not others and len(logged) == len(asked["failures"]),
        f"{asked['answers']:,} answered, {len(asked['failures'])} failed: {dict(refusals) or 'none'}",
    )
    evidence.claim("its log has no bug", not bugs, bugs[:3] or "none")


def roll(
    evidence: Evidence, folder: Path, breaker: dict[str, Any], turns: int, which: str
) -> tuple[dict[str, Any], list[dict[str, Any]], list[str]]:
    """What the clients saw, the log of failures, and bugs."""
    web, *ports = (free_port() for _ in range(ENDPOINTS + 1))
    alive = {port: Part(endpoint, port) for port in ports}
    try:
        for part in alive.values():
            part.__enter__()
        with Hive(config(web, ports, breaker), folder) as hive:
            with Part(clients, web) as asking:
                time.sleep(0.5 if turns == 1 else 3.0)
                for number, port in enumerate(ports[:turns], 1):
                    alive.pop(port).kill()
                    time.sleep(DEAD)
                    alive[port] = Part(endpoint, port).__enter__()
                    if number < turns:
                        wait_until_it_serves(hive, number)
                time.sleep(0.5)
                asked = asking.finish()
            evidence.note(f"retries {which}", hive.metric("hivemesh_retries_total"))
            evidence.note(f"replays {which}", hive.metric("hivemesh_replays_total"))
        # The log is complete when the program has ended.
        return asked, hive.logged(), hive.bugs()
    finally:
        for part in alive.values():
            part.kill()


def wait_until_it_serves(hive: Hive, number: int) -> None:
    def served() -> float:
        return hive.metric("hivemesh_upstream_requests_total", endpoint=f"e{number}", code="200")

    before = served()
    eventually(lambda: served() > before + 20, f"endpoint {number} serves again", BACK_LIMIT)


def config(web: int, ports: list[int], mesh: dict[str, Any]) -> dict[str, Any]:
    return {
        "listeners": [{"name": "web", "address": f"{HOST}:{web}", "routes": [{"name": "all", "service": "app"}]}],
        "services": {
            "app": {
                "endpoints": endpoints(*ports),
                # A breaker that was opened by the kill is tried again as soon as the endpoint is there.
                "health_check": {"protocol": "tcp", "interval": "500ms", "timeout": "400ms"},
                "mesh": {"timeout": "5s", "retry": RETRY, **mesh},
            }
        },
    }


async def clients(cue: Cue, web: int) -> dict[str, Any]:
    result: dict[str, Any] = {"answers": 0, "failures": []}
    cue.ready()

    async def one(number: int) -> None:
        talk = Talk(web)
        turn = 0
        while not cue.stop.is_set():
            turn += 1
            method = METHODS[turn % len(METHODS)]
            name = f"{number}-{turn}"
            answer = await talk.ask(method, f"/{name}", body=b"x" * 2000 if method == "PUT" else b"")
            right = b"" if method == "HEAD" else f"{method} /{name}".encode()
            if answer.status == 200 and answer.whole and answer.body == right:
                result["answers"] += 1
            else:
                result["failures"].append(f"{method} {name}: {answer.status} {answer.body[:120].decode('latin-1')}")
        talk.close()

    await asyncio.gather(*(one(number) for number in range(CLIENTS)))
    return result


async def endpoint(cue: Cue, port: int) -> None:
    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while True:
                head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
                verb, target, _ = head.split(" ", 2)
                await reader.readexactly(length_of(head))
                await asyncio.sleep(WORK)
                body = f"{verb} {target}".encode()
                sent = b"" if verb == "HEAD" else body
                writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%b" % (len(body), sent))
        except (OSError, asyncio.IncompleteReadError, asyncio.CancelledError):
            writer.close()

    server = await asyncio.start_server(serve, HOST, port, backlog=1024)
    cue.ready()
    await cue.stop.wait()
    server.close()
