"""Proof: nothing is left behind by clients and origins that come, go, stall and break at any moment.

For a minute wild.py's clients and origins meet in the proxy, with limits that make requests queue. Meanwhile a
client that behaves asks an origin that behaves, and must not notice. When the crowd has gone, every gauge is back at
zero, every descriptor is closed, the worker's memory is what it was, and the log has no bug.
"""

from __future__ import annotations

import asyncio
import contextlib
import http.client
import random
import threading
import time
from collections import Counter
from pathlib import Path
from typing import Any, Final

from benchmarks.proofs import wild
from benchmarks.proofs.evidence import Evidence, ProofError
from benchmarks.proofs.hive import HOST, NO_BREAKER, Hive, endpoints, eventually, free_port
from benchmarks.proofs.part import Cue, Part
from benchmarks.proofs.watch import MIB, Watch, descriptors_of, memory_of

PROMISE: Final = "nothing is left behind by clients and origins that come, go, stall and break at any moment"

FLAT: Final = 2 * MIB

# Everything the proxy waits for ends within a few seconds, so that all of it happens many times.
TIMEOUTS: Final = {
    "request_head": "1s",
    "keep_alive": "1s",
    "stream_idle": "1500ms",
    "connect": "1s",
    "response_header": "1s",
    "upstream_idle": "1s",
    "linger": "500ms",
}

# Longer than all of these together.
QUIET_LIMIT: Final = 15.0

# A crowd of this length before the memory is first looked at: the first of everything allocates for good.
WARM_UP: Final = 8.0

GAUGES: Final = (
    "hivemesh_downstream_requests_active",
    "hivemesh_downstream_connections_active",
    "hivemesh_service_requests_active",
    "hivemesh_pending_requests",
    "hivemesh_upstream_requests_active",
    "hivemesh_pool_connections",
)


def prove(evidence: Evidence, folder: Path) -> None:
    seconds, warm_up, clients = (1.5, 0.3, 60) if evidence.short else (60.0, WARM_UP, 400)
    seed = random.SystemRandom().randrange(10**6)
    evidence.note("seed", seed)
    web, dead, calm, *ports = (free_port() for _ in range(6))
    with (
        Part(calm_origin, calm),
        Part(wild.origin, ports[0], seed) as first,
        Part(wild.origin, ports[1], seed + 1) as second,
        Part(wild.origin, ports[2], seed + 2) as third,
        Hive(config(web, dead, calm, ports), folder) as hive,
    ):
        worker = hive.worker()
        with Part(calm_client, web) as calmly:
            calmly.finish()
        wait_until_quiet(hive)
        descriptors = descriptors_of(worker)
        with Part(wild.crowd, web, clients, seed + 3) as warming:
            time.sleep(warm_up)
            warming.finish()
        wait_until_quiet(hive)
        before = memory_of(worker)
        with (
            Part(calm_client, web) as calmly,
            Part(wild.crowd, web, clients, seed + 4) as crowd,
            Watch(worker) as watch,
        ):
            time.sleep(seconds)
            came = crowd.finish()
            unnoticed = calmly.finish()
        gauges = wait_until_quiet(hive)
        after = memory_of(worker)
        left = settled_descriptors(worker, descriptors)
        served: Counter[str] = Counter()
        for part in (first, second, third):
            served.update(part.finish())
        evidence.claim(
            "every kind of client and origin took part",
            len(came) == len(wild.CLIENT_WAYS) and len(served) == len(set(wild.ORIGIN_WAYS)),
            f"{sum(came.values()):,} connections, {sum(served.values()):,} requests at the origins",
        )
        evidence.claim(
            "a client and an origin that behave do not notice",
            not unnoticed["failures"] and unnoticed["answers"] > 0,
            f"{unnoticed['answers']:,} answers, failures: {unnoticed['failures'][:3] or 'none'}",
        )
        evidence.claim("afterwards every gauge is 0", not any(gauges.values()), gauges)
        evidence.claim(
            "afterwards every descriptor is closed", left == descriptors, f"{descriptors} before, {left} after"
        )
        evidence.claim(
            "afterwards the worker's memory has grown by less than 2 MiB",
            after.private - before.private < FLAT and after.pss - before.pss < FLAT,
            f"private {before.private / MIB:.2f} MiB before, {after.private / MIB:.2f} after "
            f"(at most {watch.private.growth / MIB:+.2f} under way); "
            f"PSS {before.pss / MIB:.2f}, {after.pss / MIB:.2f}",
        )
        evidence.claim("it is the same worker process", hive.worker() == worker, f"{worker}, then {hive.worker()}")
        evidence.claim("the log has no bug", not hive.bugs(), hive.bugs()[:3] or "none")
        evidence.note("clients by way", came)
        evidence.note("origins by way", dict(served))
        evidence.note("requests by status and flags", outcomes(hive))


def config(web: int, dead: int, calm: int, ports: list[int]) -> dict[str, Any]:
    routes = [
        {"name": "calm", "match": {"path_prefix": "/calm"}, "service": "calm"},
        {"name": "wild", "match": {"path_prefix": "/wild"}, "service": "wild", "timeout": "3s"},
        {"name": "untimed", "match": {"path_prefix": "/wild/post"}, "service": "wild"},
    ]
    # Few connections, so that requests wait for one and some are refused.
    pool = {"max_connections": 40, "max_pending": 60}
    return {
        "timeouts": TIMEOUTS,
        "listeners": [{"name": "web", "address": f"{HOST}:{web}", "routes": routes}],
        "services": {
            "calm": {"endpoints": endpoints(calm)},
            "wild": {"endpoints": endpoints(*ports, dead), "pool": pool, "mesh": {"circuit_breaker": NO_BREAKER}},
        },
    }


def wait_until_quiet(hive: Hive) -> dict[str, float]:
    """The gauges, once they are all 0 or it has been waited long enough for that."""

    def read() -> dict[str, float]:
        sums = dict.fromkeys(GAUGES, 0.0)
        for name, _, value in hive.metrics():
            if name in sums:
                sums[name] += value
        return sums

    with contextlib.suppress(ProofError):  # the claim says which are not
        eventually(lambda: not any(read().values()), "every gauge is 0", QUIET_LIMIT)
    return read()


def settled_descriptors(worker: int, wanted: int) -> int:
    with contextlib.suppress(ProofError):
        eventually(lambda: descriptors_of(worker) == wanted, "every descriptor is closed", QUIET_LIMIT)
    return descriptors_of(worker)


def outcomes(hive: Hive) -> dict[str, int]:
    """How often requests of 400 and above ended in which way, from the access log."""
    found = Counter(f"{entry['status']} {entry.get('flags') or '-'}" for entry in hive.logged())
    return dict(found.most_common())


# --- those that behave --------------------------------------------------------------------------------------------


async def calm_origin(cue: Cue, port: int) -> None:
    from aiohttp import web

    async def answer(request: web.Request) -> web.Response:
        return web.Response(text=f"{request.method} {request.path} {len(await request.read())}")

    application = web.Application()
    application.router.add_route("*", "/{path:.*}", answer)
    runner = web.AppRunner(application, access_log=None)
    await runner.setup()
    await web.TCPSite(runner, HOST, port).start()
    cue.ready()
    await cue.stop.wait()
    await runner.cleanup()


async def calm_client(cue: Cue, web: int) -> dict[str, Any]:
    """GET and POST in turn until told to stop; at least one of each."""
    result: dict[str, Any] = {"answers": 0, "failures": []}
    over = threading.Event()

    def ask_on() -> None:
        connection = http.client.HTTPConnection(HOST, web, timeout=10)
        while not (over.is_set() and result["answers"] > 1):
            method, body = (("GET", b""), ("POST", b"x" * 3000))[result["answers"] % 2]
            try:
                connection.request(method, "/calm", body or None)
                response = connection.getresponse()
                text = response.read().decode()
            except (OSError, http.client.HTTPException) as error:
                result["failures"].append(repr(error))
                return
            if (response.status, text) != (200, f"{method} /calm {len(body)}"):
                result["failures"].append(f"{response.status} {text}")
            result["answers"] += 1
            time.sleep(0.005)
        connection.close()

    cue.ready()
    asking = asyncio.create_task(asyncio.to_thread(ask_on))
    await cue.stop.wait()
    over.set()
    await asking
    return result
