"""Proof: endpoints may die at any moment; requests that may be repeated do not notice, others are never done twice.

What may be repeated without a retry policy is mesh/replay's: a request that reached nobody, and an idempotent one whose
connection had answered before and then ended without a byte. A GET that is the first on its connection and meets the
death of its endpoint is answered 502; the access log says so, and the proof takes no other reason.

Four endpoints, each a process of its own, are killed (SIGKILL: their connections end in the middle of whatever they do)
and started again, so that at least one is alive at any time. Clients send GETs, and POSTs whose bodies are all
different. An endpoint writes down each body before it answers, with one unbuffered write that outlives it.
"""

from __future__ import annotations

import asyncio
import http.client
import itertools
import random
import threading
import time
from collections import Counter
from pathlib import Path
from typing import Any, Final

from benchmarks.proofs.evidence import Evidence
from benchmarks.proofs.hive import HOST, NO_BREAKER, Hive, endpoints, free_port
from benchmarks.proofs.part import Cue, Part

PROMISE: Final = "endpoints may die at any moment: what may be repeated does not notice, the rest is never done twice"

ENDPOINTS: Final = 4
CLIENTS: Final = 8
CLIENT_LIMIT: Final = 20.0

# Seconds for which an endpoint lives and is dead, at most.
LIVES: Final = 1.5
IS_DEAD: Final = 0.5

# A client begins a new connection after so many requests.
REQUESTS_PER_CONNECTION: Final = 100


def prove(evidence: Evidence, folder: Path) -> None:
    seconds = 3.0 if evidence.short else 60.0
    seed = random.SystemRandom().randrange(10**6)
    evidence.note("seed", seed)
    web, *ports = (free_port() for _ in range(ENDPOINTS + 1))
    ledgers = [folder / f"bodies-{number}" for number in range(ENDPOINTS)]
    with Hive(config(web, ports), folder) as hive, Fates(ports, ledgers, seed) as fates:
        with Part(readers, web) as reading, Part(writers, web) as writing:
            deadline = time.monotonic() + seconds
            while time.monotonic() < deadline:
                fates.go_on()
            read = reading.finish()
            wrote = writing.finish()
        delivered = Counter(line for ledger in ledgers if ledger.exists() for line in ledger.read_text().splitlines())
        evidence.claim("endpoints were killed under load", fates.kills > 0, f"{fates.kills} kills")
        fresh = sum(
            entry["method"] == "GET" and entry.get("retry_denied") == "fresh_connection" for entry in hive.logged()
        )
        evidence.claim(
            "while an endpoint lives no GET fails but the first on a connection whose endpoint dies under it",
            len(read["failures"]) == fresh and read["answers"] > 0,
            f"{read['answers']:,} answered, {len(read['failures'])} failed, {fresh} of them that way"
            + _listed(read["failures"] if len(read["failures"]) != fresh else []),
        )
        twice = [body for body, count in delivered.items() if count > 1]
        evidence.claim(
            "no POST is delivered twice",
            not twice and bool(delivered),
            f"{len(delivered):,} bodies, twice: {twice[:5]}",
        )
        lost = [body for body in wrote["answered"] if delivered[body] != 1]
        evidence.claim(
            "every POST that was answered 200 was delivered once",
            not lost and bool(wrote["answered"]),
            f"{len(wrote['answered']):,} answered, {len(wrote['failures'])} failed, not delivered: {lost[:5]}",
        )
        evidence.claim(
            "a POST that fails is answered 502 by the proxy and does not break the client's connection",
            all(failure.startswith("502") for failure in wrote["failures"]),
            dict(Counter(failure.partition(":")[0] for failure in wrote["failures"])) or "none failed",
        )
        evidence.claim("the log has no bug", not hive.bugs(), hive.bugs()[:3] or "none")
        evidence.note("GETs that failed as the first on their connection", fresh)
        evidence.note("replays", hive.metric("hivemesh_replays_total"))
        evidence.note("connections refused", hive.metric("hivemesh_upstream_connect_failures_total"))
        evidence.note("failed POSTs", wrote["failures"][:10])


def config(web: int, ports: list[int]) -> dict[str, Any]:
    return {
        "listeners": [{"name": "web", "address": f"{HOST}:{web}", "routes": [{"name": "all", "service": "app"}]}],
        # Breakers are off: what is shown is what happens to requests that meet a dead endpoint.
        "services": {"app": {"endpoints": endpoints(*ports), "mesh": {"circuit_breaker": NO_BREAKER}}},
    }


def _listed(failures: list[str]) -> str:
    return "".join(f"; {failure}" for failure in failures[:3])


class Fates:
    """The endpoints, killed and started again in an order that is drawn."""

    def __init__(self, ports: list[int], ledgers: list[Path], seed: int) -> None:
        self._draw = random.Random(seed)
        self._places = list(zip(ports, map(str, ledgers), strict=True))
        self._alive: dict[int, Part] = {}
        self.kills = 0

    def __enter__(self) -> Fates:
        for number in range(len(self._places)):
            self._start(number)
        return self

    def __exit__(self, *_: object) -> None:
        for part in self._alive.values():
            part.kill()

    def go_on(self) -> None:
        """Kill one to all but one of them, and start them again a little later."""
        time.sleep(self._draw.random() * LIVES)
        doomed = self._draw.sample(range(len(self._places)), self._draw.randrange(1, len(self._places)))
        for number in doomed:
            self._alive.pop(number).kill()
            self.kills += 1
        time.sleep(self._draw.random() * IS_DEAD)
        for number in doomed:
            self._start(number)

    def _start(self, number: int) -> None:
        part = Part(endpoint, *self._places[number])
        self._alive[number] = part
        part.__enter__()


# --- clients ------------------------------------------------------------------------------------------------------


async def readers(cue: Cue, web: int) -> dict[str, Any]:
    """GETs until told to stop. Every answer must be 200 with what was asked for."""
    result: dict[str, Any] = {"answers": 0, "failures": []}

    def ask(connection: http.client.HTTPConnection, name: str) -> None:
        connection.request("GET", f"/{name}")
        response = connection.getresponse()
        text = response.read().decode()
        if (response.status, text) == (200, f"GET /{name}\n"):
            result["answers"] += 1
        else:
            result["failures"].append(f"{response.status} {text.strip()}")

    await _many(cue, web, ask, result["failures"])
    return result


async def writers(cue: Cue, web: int) -> dict[str, Any]:
    """POSTs until told to stop. `answered`: the bodies that were answered 200."""
    result: dict[str, Any] = {"answered": [], "failures": []}

    def ask(connection: http.client.HTTPConnection, name: str) -> None:
        connection.request("POST", "/", name.encode())
        response = connection.getresponse()
        text = response.read().decode()
        if (response.status, text) == (200, f"{name}\n"):
            result["answered"].append(name)
        else:
            result["failures"].append(f"{response.status}: {text.strip()}")

    await _many(cue, web, ask, result["failures"])
    return result


async def _many(cue: Cue, web: int, ask: Any, failures: list[str]) -> None:
    over = threading.Event()

    def ask_on(number: int) -> None:
        connection = http.client.HTTPConnection(HOST, web, timeout=CLIENT_LIMIT)
        for turn in itertools.count():
            if over.is_set():
                connection.close()
                return
            if turn % REQUESTS_PER_CONNECTION == 0:
                connection.close()
            try:
                ask(connection, f"{number}-{turn}")
            except (OSError, http.client.HTTPException) as error:
                failures.append(repr(error))
                connection.close()

    asking = [asyncio.to_thread(ask_on, number) for number in range(CLIENTS)]
    cue.ready()
    running = asyncio.gather(*asking)
    await cue.stop.wait()
    over.set()
    await running


# --- the endpoint -------------------------------------------------------------------------------------------------


async def endpoint(cue: Cue, port: int, ledger: str) -> None:
    """Answers GETs with what was asked for, and POSTs with their body once it is written down."""
    # The process may be killed at any moment: no buffer between the write and the file.
    book = open(ledger, "ab", buffering=0)  # noqa: SIM115

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while True:
                head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
                verb, target, _ = head.split(" ", 2)
                body = f"{verb} {target}".encode()
                if verb == "POST":
                    body = await reader.readexactly(_length(head))
                    book.write(body + b"\n")
                writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%b\n" % (len(body) + 1, body))
                await writer.drain()
        except (OSError, asyncio.IncompleteReadError):
            writer.close()

    server = await asyncio.start_server(serve, HOST, port, backlog=256)
    cue.ready()
    await cue.stop.wait()
    server.close()


def _length(head: str) -> int:
    for line in head.split("\r\n"):
        name, _, value = line.partition(":")
        if name.lower() == "content-length":
            return int(value)
    return 0
