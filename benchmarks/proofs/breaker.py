"""Proof: a circuit breaker opens, tries and closes when it should, whichever of two workers sees what.

An endpoint answers as the proof tells it and writes down every request with its beginning and end, so what is claimed
of probes is measured where they arrive. Clients open a connection per request, which the kernel spreads over both
workers, and go on all the time: nothing but the breaker keeps them from the endpoint.

    errors -> open (base) -> half-open, a probe fails -> open (2 x base) -> half-open, all probes work -> closed
"""

from __future__ import annotations

import asyncio
import json
import time
from collections import Counter
from pathlib import Path
from typing import Any, Final

from benchmarks.proofs.evidence import Evidence, ProofError
from benchmarks.proofs.hive import HOST, Hive, endpoints, free_port
from benchmarks.proofs.part import Cue, Part

PROMISE: Final = (
    "an endpoint that fails gets no request for its ejection time, then at most five at once until it works"
)

ERRORS: Final = 5
PROBES: Final = 5
CLIENTS: Final = 12
PAUSE: Final = 0.01  # of a client between two requests

# How long the endpoint takes to answer while probes are counted: long enough for all clients to come meanwhile.
HOLD: Final = 0.15

# Workers look at the time every 50 ms, and a busy machine is later still.
SLACK: Final = 0.5
JITTER: Final = 0.1

REQUEST: Final = b"GET %s HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n"


def prove(evidence: Evidence, folder: Path) -> None:
    base = 0.5 if evidence.short else 30.0
    evidence.note("base_ejection_time", base)
    one, two, three, four = (free_port() for _ in range(4))
    web, pair, flapping = (free_port() for _ in range(3))
    breaker = {"base_ejection_time": f"{base * 1000:.0f}ms", "max_connections": 0, "max_requests": 0}
    config = {
        "workers": 2,
        "listeners": [
            {"name": name, "address": f"{HOST}:{port}", "routes": [{"name": name, "service": name}]}
            for name, port in (("alone", web), ("pair", pair), ("flapping", flapping))
        ],
        "services": {
            "alone": {"endpoints": endpoints(one), "mesh": {"circuit_breaker": breaker}},
            "pair": {"endpoints": endpoints(two, three), "mesh": {"circuit_breaker": breaker}},
            "flapping": {
                "endpoints": endpoints(four),
                "mesh": {"circuit_breaker": {**breaker, "base_ejection_time": "200ms", "half_open_requests": 2}},
            },
        },
    }
    with Part(origin, [one, two, three, four]), Hive(config, folder) as hive:
        asyncio.run(_prove(evidence, hive, base, (one, two, three, four), (web, pair, flapping)))
        evidence.claim("the log has no bug", not hive.bugs(), hive.bugs()[:3] or "none")


async def _prove(
    evidence: Evidence, hive: Hive, base: float, origins: tuple[int, ...], places: tuple[int, ...]
) -> None:
    one, two, three, four = origins
    web, pair, flapping = places
    await timeline(evidence, hive, base, one, web)
    await beside_another(evidence, two, three, pair)
    await flaps(evidence, hive, four, flapping)


async def timeline(evidence: Evidence, hive: Hive, base: float, port: int, web: int) -> None:
    await tell(port, "fail", 0.0)
    answers = [await ask(web) for _ in range(ERRORS + 3)]
    seen = await report(port)
    evidence.claim(
        f"{ERRORS} errors in a row, of both workers together, open the breaker of the only endpoint; then it is 503 UO",
        [answer.of_breaker for answer in answers] == [False] * ERRORS + [True] * 3 and len(seen) == ERRORS,
        f"answers {' '.join(answer.word for answer in answers)}; the endpoint has seen {len(seen)}",
    )
    opened = seen[-1].end
    crowd = Crowd(web)
    async with crowd:
        await tell(port, "fail", HOLD)
        await ejection(evidence, port, opened, base, "first ejection")
        probes = await after(port, opened + base, HOLD + 0.2)
        limited(evidence, probes, "of the endpoint that still fails")
        reopened = min(probe.end for probe in probes)
        await tell(port, "ok", HOLD)
        await ejection(evidence, port, reopened, 2 * base, "second ejection", max(probe.start for probe in probes))
        found = []
        while len(found) < PROBES:
            found = await after(port, reopened + 2 * base, HOLD + 0.1)
        closed = sorted(probe.end for probe in found)[PROBES - 1]
        limited(evidence, [each for each in found if each.start < closed - 0.01], "of the endpoint that works again")
        await asyncio.sleep(0.3)
        served = [each for each in await report(port) if each.start > closed]
    evidence.claim("then it has all requests again", len(served) > PROBES, f"{len(served)} in 0.3 s")
    words = Counter(answer.word for answer in crowd.answers)
    evidence.claim(
        "clients got an answer to every request meanwhile: of the endpoint, or 503 UO at once",
        set(words) <= {"200", "503", "503 UO"} and crowd.slowest_refusal < 1.0,
        f"{dict(words)}; the slowest 503 UO took {crowd.slowest_refusal * 1000:.0f} ms",
    )
    events = [(event["event"], event.get("reason", "")) for event in hive.events() if event.get("service") == "alone"]
    wanted = [
        ("endpoint ejected", "consecutive_errors"),
        ("endpoint half-open", ""),
        ("endpoint ejected", "half_open_failure"),
        ("endpoint half-open", ""),
        ("endpoint recovered", ""),
    ]
    evidence.claim("each change is one event, whichever worker made it", events == wanted, events)
    counted = {
        reason: hive.metric("hivemesh_service_ejections_total", service="alone", reason=reason)
        for reason in ("consecutive_errors", "half_open_failure")
    }
    evidence.claim("/metrics counts both ejections once", set(counted.values()) == {1.0}, counted)
    refused = sum(entry["flags"] == "UO" and entry.get("route") == "alone" for entry in hive.logged())
    told = words["503 UO"] + 3
    evidence.claim("the access log has each refusal as UO", refused == told, f"{refused} lines, {told} answers")


async def ejection(evidence: Evidence, port: int, since: float, lasts: float, name: str, known: float = 0.0) -> None:
    """Wait for the first request after it; all that had begun until `known` were before it."""
    limit = since + lasts * (1 + JITTER) + 5 * SLACK
    while not (found := [each.start for each in await report(port) if each.start > max(since, known)]):
        if time.monotonic() > limit:
            raise ProofError(f"{name}: no request came within {lasts:g} s")
        await asyncio.sleep(0.02 if lasts < 5 else 0.2)
    waited = min(found) - since
    evidence.claim(
        f"{name}: no request for {lasts:g} s, and up to 10 % more",
        lasts - 0.02 <= waited <= lasts * (1 + JITTER) + SLACK,
        f"the next one came after {waited:.2f} s",
    )


async def after(port: int, moment: float, lasts: float) -> list[Seen]:
    """What has begun there from `moment` on, of those that are complete after a while."""
    await asyncio.sleep(lasts)
    return [each for each in await report(port) if each.start >= moment - 0.02]


def limited(evidence: Evidence, probes: list[Seen], what: str) -> None:
    most = concurrent(probes)
    evidence.claim(
        f"at most {PROBES} probes {what}, of two workers and {CLIENTS} clients",
        0 < len(probes) <= PROBES and most <= PROBES,
        f"{len(probes)} came, {most} at the same time",
    )


async def beside_another(evidence: Evidence, bad: int, good: int, web: int) -> None:
    await tell(bad, "fail", 0.0)
    await tell(good, "ok", 0.0)
    answers = [await ask(web) for _ in range(100)]
    failed = [number for number, answer in enumerate(answers) if answer.word != "200"]
    seen = len(await report(bad))
    evidence.claim(
        f"of two endpoints one fails: {ERRORS} of 100 requests see it and the rest go to the other",
        len(failed) == seen == ERRORS,
        f"{len(failed)} of {len(answers)} failed; the bad endpoint has seen {seen}",
    )


async def flaps(evidence: Evidence, hive: Hive, port: int, web: int) -> None:
    """It works while it is tried, and fails as soon as it is closed."""
    deadline = time.monotonic() + 10.0
    times: list[int] = []
    await tell(port, "fail", 0.0)
    while len(times) < 3 and time.monotonic() < deadline:
        await ask(web)
        events = [event for event in hive.events() if event.get("service") == "flapping"]
        if events:
            await tell(port, "ok" if events[-1]["event"] != "endpoint recovered" else "fail", 0.0)
        times = [event["ejections"] for event in events if event["event"] == "endpoint ejected"]
        await asyncio.sleep(0.02)
    evidence.claim(
        "an endpoint that fails each time it is back stays out longer each time",
        times[:3] == [1, 2, 3],
        f"ejections in a row: {times}",
    )


# --- clients ------------------------------------------------------------------------------------------------------


class Answer:
    def __init__(self, data: bytes, took: float) -> None:
        self.status = data[9:12].decode()
        self.of_breaker = b"(UO)" in data and b"circuit breaker" in data
        self.word = self.status + (" UO" if self.of_breaker else "")
        self.took = took


async def ask(port: int, path: bytes = b"/") -> Answer:
    began = time.monotonic()
    return Answer(await fetch(port, path), time.monotonic() - began)


async def fetch(port: int, path: bytes) -> bytes:
    reader, writer = await asyncio.open_connection(HOST, port)
    try:
        writer.write(REQUEST % path)
        return await reader.read()
    finally:
        writer.close()


class Crowd:
    """Clients that ask again and again; use as a context manager."""

    def __init__(self, port: int) -> None:
        self.port = port
        self.answers: list[Answer] = []
        self.over = False
        self.clients: list[asyncio.Task[None]] = []

    @property
    def slowest_refusal(self) -> float:
        return max((answer.took for answer in self.answers if answer.of_breaker), default=0.0)

    async def __aenter__(self) -> None:
        self.clients = [asyncio.create_task(self.client()) for _ in range(CLIENTS)]

    async def __aexit__(self, *unused: object) -> None:
        self.over = True
        await asyncio.gather(*self.clients)

    async def client(self) -> None:
        while not self.over:
            self.answers.append(await ask(self.port))
            await asyncio.sleep(PAUSE)


# --- the endpoints ------------------------------------------------------------------------------------------------


class Seen:
    """A request as the endpoint saw it (seconds of the monotonic clock)."""

    def __init__(self, start: float, end: float) -> None:
        self.start = start
        self.end = end


def concurrent(found: list[Seen]) -> int:
    """The most that were there at the same time."""
    moves = sorted([(each.start, 1) for each in found] + [(each.end, -1) for each in found])
    most = there = 0
    for _, move in moves:
        there += move
        most = max(most, there)
    return most


async def tell(port: int, mode: str, hold: float) -> None:
    await fetch(port, f"/be/{mode}/{hold}".encode())


async def report(port: int) -> list[Seen]:
    """Every request so far; one that is not answered yet ends now."""
    now = time.monotonic()
    data = (await fetch(port, b"/report")).partition(b"\r\n\r\n")[2]
    return [Seen(start, end or now) for start, end in json.loads(data)]


async def origin(cue: Cue, ports: list[int]) -> None:
    servers = [await asyncio.start_server(Behaviour().serve, HOST, port, backlog=1024) for port in ports]
    cue.ready()
    await cue.stop.wait()
    for server in servers:
        server.close()


class Behaviour:
    """One endpoint: how it answers, and what it has seen."""

    def __init__(self) -> None:
        self.status = 200
        self.hold = 0.0
        self.seen: list[list[float]] = []

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while head := await reader.readuntil(b"\r\n\r\n"):
                path = head.split(b" ", 2)[1].decode()
                status, body = await self.answer(path)
                close = "Connection: close\r\n" if path.startswith(("/be/", "/report")) else ""
                writer.write(f"HTTP/1.1 {status} x\r\nContent-Length: {len(body)}\r\n{close}\r\n{body}".encode())
                if close:
                    break
        except (asyncio.IncompleteReadError, OSError):
            pass
        finally:
            writer.close()

    async def answer(self, path: str) -> tuple[int, str]:
        if path == "/report":
            return 200, json.dumps(self.seen)
        if path.startswith("/be/"):
            _, _, mode, hold = path.split("/")
            self.status, self.hold = (200 if mode == "ok" else 503), float(hold)
            return 200, ""
        entry: list[Any] = [time.monotonic(), 0.0]
        self.seen.append(entry)
        status = self.status
        if self.hold:
            await asyncio.sleep(self.hold)
        entry[1] = time.monotonic()
        return status, ""
