"""Proof: an endpoint may reset a connection at any point of an exchange; nothing that is not idempotent is done twice,
and everything idempotent that can succeed does.

A retry policy asks for everything there is (5xx, reset, connect-failure, status codes). Each request has a name of its
own and says at which point its first attempt is reset: before its head is read, within it, within the body, after it,
within the head of the answer, within its body. Every seventh connection is reset as soon as it is accepted, too. Three
endpoints, one process, which counts for each name how often any byte of it was read.
"""

from __future__ import annotations

import asyncio
import itertools
from collections import Counter
from pathlib import Path
from typing import Any, Final

from benchmarks.proofs.evidence import Evidence
from benchmarks.proofs.hive import HOST, NO_BREAKER, Hive, endpoints, free_port
from benchmarks.proofs.part import Cue, Part
from benchmarks.proofs.talking import Talk, length_of, reset

PROMISE: Final = (
    "whatever is reset, and when: no POST is done twice, and every idempotent request that can succeed does"
)

# Where the first attempt of a request is reset. In the last one the answer has begun, and the client sees it break.
NOWHERE: Final = "nowhere"
BEFORE_HEAD: Final = "before head"
IN_HEAD: Final = "in head"
IN_BODY: Final = "in body"
AFTER_BODY: Final = "after body"
IN_ANSWER_HEAD: Final = "in the head of the answer"
IN_ANSWER: Final = "in the answer"
UNSAID: Final = "503"
POINTS: Final = (NOWHERE, BEFORE_HEAD, IN_HEAD, IN_BODY, AFTER_BODY, IN_ANSWER_HEAD, IN_ANSWER, UNSAID)

ENDPOINTS: Final = 3
CLIENTS: Final = 24
BODY: Final = 3000
IN_VAIN: Final = 7  # every so many connections one is reset at once

# How often each method meets each point.
TIMES: Final = {"POST": 10_000, "PUT": 2_000, "GET": 2_000, "PATCH": 2_000, "DELETE": 2_000}
METHODS: Final = tuple(TIMES)


def prove(evidence: Evidence, folder: Path) -> None:
    counts = {method: 12 if evidence.short else TIMES[method] for method in METHODS}
    web, *ports = (free_port() for _ in range(ENDPOINTS + 1))
    with Part(origin, ports) as serving, Hive(config(web, ports), folder) as hive:
        with Part(clients, web, counts) as asking:
            asked = asking.result(900.0)
        counted = serving.finish()
        check(evidence, counts, asked, counted)
        evidence.claim("the log has no bug", not hive.bugs(), hive.bugs()[:3] or "none")
        evidence.note("retries", hive.metric("hivemesh_retries_total"))
        evidence.note("replays without a policy", hive.metric("hivemesh_replays_total"))


def check(evidence: Evidence, counts: dict[str, int], asked: dict[str, Any], counted: dict[str, Any]) -> None:
    begun, finished = counted["begun"], counted["finished"]
    outcomes: dict[str, list[Any]] = asked["outcomes"]  # name -> method, point, status, whole and right
    others = {name for name, (method, *_) in outcomes.items() if method in ("POST", "PATCH")}
    evidence.claim(
        f"every method met every point, POST {counts['POST']:,} times each",
        len(outcomes) == sum(counts.values()) * len(POINTS),
        f"{len(outcomes):,} requests, {counted['in_vain']:,} more connections reset when they were accepted",
    )
    hurt = Counter(method for method, point, *_ in outcomes.values() if point not in (NOWHERE, UNSAID))
    evidence.note("requests whose first attempt was reset", dict(hurt))
    twice = [name for name in others if begun.get(name, 0) > 1]
    evidence.claim(
        "no POST or PATCH was read by an endpoint a second time, not even a byte of it",
        not twice,
        f"{len(others):,} requests, {sum(name in finished for name in others):,} done; twice: {twice[:5]}",
    )
    wrong = [name for name in others if outcomes[name][2] == 200 and outcomes[name][3] and finished.get(name) != 1]
    evidence.claim("each that was answered 200 was done once", not wrong, f"not so: {wrong[:5]}")
    lost = [
        name for name in others if outcomes[name][1] == NOWHERE and not outcomes[name][3] and outcomes[name][2] != 502
    ]
    evidence.claim("one whose endpoint was never reset is answered 200, or 502 by us", not lost, f"not so: {lost[:5]}")
    idempotent = {name: said for name, said in outcomes.items() if name not in others}
    failed = [f"{name} {said}" for name, said in idempotent.items() if said[1] != IN_ANSWER and not said[3]]
    evidence.claim(
        "every PUT, GET and DELETE whose answer had not begun was answered 200 as if nothing had happened",
        not failed,
        f"{len(idempotent):,} requests; not so: {failed[:3]}",
    )
    looks = [name for name, said in outcomes.items() if said[1] == IN_ANSWER and said[4]]
    evidence.claim("an answer that was cut short looks whole to nobody", not looks, f"whole: {looks[:3]}")
    evidence.note(
        "answers to POST and PATCH by point",
        {
            point: dict(Counter(str(outcomes[name][2]) for name in others if outcomes[name][1] == point))
            for point in POINTS
        },
    )


def config(web: int, ports: list[int]) -> dict[str, Any]:
    mesh = {
        "retry": {
            "max_retries": 20,
            "retry_on": ["5xx", "reset", "connect-failure", "retriable-4xx", "503"],
            "backoff": "1ms",
            "budget": "100%",
        },
        "circuit_breaker": NO_BREAKER,
    }
    return {
        "listeners": [{"name": "web", "address": f"{HOST}:{web}", "routes": [{"name": "all", "service": "app"}]}],
        "services": {"app": {"endpoints": endpoints(*ports), "mesh": mesh}},
    }


# --- clients ------------------------------------------------------------------------------------------------------


async def clients(cue: Cue, web: int, counts: dict[str, int]) -> dict[str, Any]:
    """Every method with every point, as often as `counts` says, in an order that mixes them."""
    cue.ready()
    outcomes: dict[str, list[Any]] = {}
    plan = (
        (method, point, turn)
        for turn in range(max(counts.values()))
        for method in METHODS
        for point in POINTS
        if turn < counts[method]
    )

    async def one() -> None:
        talk = Talk(web)
        for method, point, turn in plan:
            name = f"{method}-{POINTS.index(point)}-{turn}"
            body = name.encode().ljust(BODY, b".") if method in ("POST", "PUT", "PATCH") else b""
            answer = await talk.ask(method, f"/{name}", f"X-Reset: {point}\r\n", body)
            right = answer.status == 200 and answer.whole and answer.body == name.encode().ljust(BODY, b"=")
            outcomes[name] = [method, point, answer.status, right, answer.whole and answer.status == 200]
        talk.close()

    await asyncio.gather(*(one() for _ in range(CLIENTS)))
    return {"outcomes": outcomes}


# --- endpoints ----------------------------------------------------------------------------------------------------


async def origin(cue: Cue, ports: list[int]) -> dict[str, Any]:
    """`begun`: how often any byte of a request was read, by its name. `finished`: how often all of it."""
    begun: Counter[str] = Counter()
    finished: Counter[str] = Counter()
    connections = itertools.count(1)
    in_vain = 0

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal in_vain
        if next(connections) % IN_VAIN == 0:
            in_vain += 1
            reset(writer)
            return
        try:
            while await exchange(reader, writer):
                pass
        except (OSError, asyncio.IncompleteReadError, asyncio.CancelledError):
            pass
        finally:
            writer.close()

    async def exchange(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool:
        first = await reader.readuntil(b"\r\n")
        _, target, _ = first.decode().split(" ")
        name = target[1:]
        begun[name] += 1
        fault = begun[name] == 1
        if fault and POINTS[int(name.split("-")[1])] in (BEFORE_HEAD, IN_HEAD):
            # The two differ in what has been read by then: a line, or half of the head.
            if POINTS[int(name.split("-")[1])] == IN_HEAD:
                await reader.readuntil(b"\r\n")
            reset(writer)
            return False
        head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
        point = POINTS[int(name.split("-")[1])] if fault else NOWHERE
        length = length_of(head)
        if point == IN_BODY:
            await reader.readexactly(length // 2)
            reset(writer)
            return False
        await reader.readexactly(length)
        finished[name] += 1
        body = name.encode().ljust(BODY, b"=")
        answer = b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % BODY
        if point == AFTER_BODY:
            reset(writer)
            return False
        if point == IN_ANSWER_HEAD:
            writer.write(answer[:30])
        elif point == IN_ANSWER:
            writer.write(answer + body[: BODY // 2])
        elif point == UNSAID:
            writer.write(b"HTTP/1.1 503 Service Unavailable\r\nContent-Length: 4\r\n\r\nbusy")
            return True
        else:
            writer.write(answer + body)
            return True
        await writer.drain()
        # A reset takes back what the other side has not read.
        await asyncio.sleep(0.005)
        reset(writer)
        return False

    servers = [await asyncio.start_server(serve, HOST, port, backlog=1024) for port in ports]
    cue.ready()
    await cue.stop.wait()
    for server in servers:
        server.close()
    return {"begun": dict(begun), "finished": dict(finished), "in_vain": in_vain}
