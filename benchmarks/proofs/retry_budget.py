"""Proof: when an endpoint fails every request, retries add no more to its load than the budget says.

Two workers, one endpoint that answers everything with 503, a policy with three retries and the usual budget: a fifth of
the requests of the last ten seconds, and ten per second in any case. The endpoint counts what it gets.
"""

from __future__ import annotations

import asyncio
import time
from pathlib import Path
from typing import Any, Final

from benchmarks.proofs.evidence import Evidence
from benchmarks.proofs.hive import HOST, Hive, endpoints, free_port
from benchmarks.proofs.part import Cue, Part
from benchmarks.proofs.resets import config as resets_config
from benchmarks.proofs.talking import Talk, length_of

PROMISE: Final = (
    "an endpoint that fails every request gets a fifth more of them by retries, and ten per second, no more"
)

SHARE: Final = 0.2
FLOOR: Final = 10.0
CLIENTS: Final = 16
PAUSE: Final = 0.01  # of a client between two requests, so that the load is the clients' and not the proxy's


def prove(evidence: Evidence, folder: Path) -> None:
    seconds = 1.5 if evidence.short else 60.0
    web, port = free_port(), free_port()
    with Part(origin, port) as serving, Hive(config(web, port), folder) as hive:
        with Part(clients, web) as asking:
            time.sleep(seconds)
            asked = asking.finish()
        got = serving.finish()["requests"]
        sent, took = asked["requests"], asked["seconds"]
        most = (1 + SHARE) * sent + FLOOR * took + FLOOR
        evidence.claim(
            "the endpoint got at most 1.2 times the requests, and 10 per second",
            got <= most,
            f"{sent:,} requests in {took:.1f} s on {len(hive.workers())} workers, {got:,} at the endpoint, "
            f"allowed {most:,.0f}; x {got / sent:.3f}",
        )
        evidence.claim(
            "what the budget allows is used",
            got >= (1 + SHARE) * sent,
            f"{got - sent:,} retries, a fifth is {SHARE * sent:,.0f}",
        )
        evidence.claim(
            "every client got the endpoint's own answer", asked["own"] == sent, f"{asked['own']:,} of {sent:,}"
        )
        denied = hive.logged()
        reasons = {str(entry.get("retry_denied")) for entry in denied}
        evidence.claim(
            "each has URX in the log, and why",
            all("URX" in entry["flags"] for entry in denied) and reasons <= {"budget", "max_retries"},
            f"{len(denied):,} lines, retry_denied: {', '.join(sorted(reasons))}",
        )
        evidence.claim("the log has no bug", not hive.bugs(), hive.bugs()[:3] or "none")


def config(web: int, port: int) -> dict[str, Any]:
    made = resets_config(web, [port])
    mesh = made["services"]["app"]["mesh"]
    mesh["retry"] = {
        "max_retries": 3,
        "retry_on": ["5xx", "connect-failure"],
        "budget": {"percent": "20%", "interval": "10s", "floor": FLOOR},
    }
    return {"workers": 2, **made, "services": {"app": {"endpoints": endpoints(port), "mesh": mesh}}}


async def clients(cue: Cue, web: int) -> dict[str, Any]:
    cue.ready()
    began = time.monotonic()
    requests = own = 0

    async def one() -> None:
        nonlocal requests, own
        talk = Talk(web)
        while not cue.stop.is_set():
            requests += 1
            answer = await talk.ask("GET", "/")
            own += answer.status == 503 and answer.body == b"broken"
            if requests % 50 == 0:
                talk.close()  # so that both workers have some
            await asyncio.sleep(PAUSE)
        talk.close()

    await asyncio.gather(*(one() for _ in range(CLIENTS)))
    return {"requests": requests, "own": own, "seconds": time.monotonic() - began}


async def origin(cue: Cue, port: int) -> dict[str, Any]:
    requests = 0

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal requests
        try:
            while True:
                head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
                await reader.readexactly(length_of(head))
                requests += 1
                writer.write(b"HTTP/1.1 503 Service Unavailable\r\nContent-Length: 6\r\n\r\nbroken")
        except (OSError, asyncio.IncompleteReadError, asyncio.CancelledError):
            writer.close()

    server = await asyncio.start_server(serve, HOST, port, backlog=1024)
    cue.ready()
    await cue.stop.wait()
    server.close()
    return {"requests": requests}
