"""Proof: limits hold over all workers together, and what is above them is told so at once.

Two workers. An origin that takes 100 ms and a service that may have 50 requests under way are offered four times of
what that can do; the origin counts how many it has at the same time. Then rates, of a route and of clients, are offered
four times of theirs. Then one worker holds every connection that a service may have, idle, and the other has a request:
it is let in at once, back and forth. Last, both have more requests than there may be connections, all the time.

The load is open: a request is sent when it is due, whatever became of those before it. `short` machines are shared with
other tests, so there only counts are claimed, and no time.
"""

from __future__ import annotations

import asyncio
import contextlib
import http.client
import itertools
import os
import re
import time
from collections import Counter, deque
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, Final

from benchmarks.compare.summary import percentile
from benchmarks.proofs.evidence import Evidence, ProofError
from benchmarks.proofs.hive import HOST, Hive, endpoints, eventually, free_port
from benchmarks.proofs.part import Cue, Part

PROMISE: Final = "limits hold over all workers together, and what is above them is refused at once"

LATENCY: Final = 0.1  # of the origin, seconds
MOST: Final = 50  # requests under way
OFFERED: Final = 2000  # per second; four times of what MOST and LATENCY allow
CONNECTIONS: Final = 400
REFUSED_WITHIN: Final = 0.005  # 99 of 100 refusals
GOODPUT: Final = 0.95

RATE: Final = 100
BURST: Final = 20
RATE_OFFERED: Final = 400
CLIENTS: Final = ("127.0.0.1", "127.0.0.2")

IDLE: Final = 4  # connections that the service of the last part may have
HANDED_WITHIN: Final = 0.005  # what a connection of the other worker costs, median
WAIT_LIMIT: Final = 5.0


def prove(evidence: Evidence, folder: Path) -> None:
    web, port = free_port(), free_port()
    with Part(origin, port) as serving, Hive(config(web, port), folder) as hive:
        overload(evidence, web, 1.0 if evidence.short else 20.0)
        rates(evidence, web, 0.6 if evidence.short else 3.0)
        crowds = crowd(hive, web)
        handing(evidence, hive, crowds, 5 if evidence.short else 200)
        sharing(evidence, crowds, 0.6 if evidence.short else 5.0)
        for clients in crowds.values():
            for client in clients:
                client.close()
        evidence.claim("the log has no bug", not hive.bugs(), hive.bugs()[:3] or "none")
        served = serving.finish()
        evidence.claim(
            f"the origin never has more than {MOST} requests at once",
            served["most"] <= MOST,
            f"{served['most']} at most, {served['slow']:,} in all",
        )


def config(web: int, port: int) -> dict[str, Any]:
    def limited(key: str) -> list[dict[str, Any]]:
        return [{"rate_limit": {"requests": RATE, "burst": BURST, "key": key}}]

    return {
        "workers": 2,
        "listeners": [
            {
                "name": "web",
                "address": f"{HOST}:{web}",
                "routes": [
                    {"name": "slow", "match": {"path_prefix": "/slow"}, "service": "slow"},
                    {"name": "few", "match": {"path_prefix": "/few"}, "service": "few"},
                    {"name": "three", "match": {"path_prefix": "/three"}, "service": "three"},
                    {"name": "one", "match": {"path_prefix": "/one"}, "service": "fast", "filters": limited("route")},
                    {
                        "name": "each",
                        "match": {"path_prefix": "/"},
                        "service": "fast",
                        "filters": limited("client_ip"),
                    },
                ],
            }
        ],
        "services": {
            "slow": {
                "endpoints": endpoints(port),
                "mesh": {"circuit_breaker": {"max_requests": MOST, "max_connections": 0, "max_pending_requests": 0}},
            },
            "few": {
                "endpoints": endpoints(port),
                "mesh": {"circuit_breaker": {"max_connections": IDLE, "max_pending_requests": 0}},
            },
            "three": {
                "endpoints": endpoints(port),
                "mesh": {"circuit_breaker": {"max_connections": 3, "max_pending_requests": 0}},
            },
            "fast": {"endpoints": endpoints(port)},
        },
    }


# --- the parts ----------------------------------------------------------------------------------------------------


def overload(evidence: Evidence, web: int, seconds: float) -> None:
    with Part(offer, web, "/slow", OFFERED, seconds, CONNECTIONS, HOST) as offering:
        told = offering.result(seconds + 60.0)
    answers = {int(status): times for status, times in told["times"].items()}
    counts = {status: len(times) for status, times in answers.items()}
    evidence.note("answers under overload", counts)
    evidence.note("requests that found no free connection of the client", told["skipped"])
    refused = answers.get(503, [])
    evidence.claim(
        "every request is answered 200, or 503 UO with x-envoy-overloaded",
        set(counts) == {200, 503} and told["overloaded"] == len(refused) and not told["failures"],
        f"{counts}, {told['failures'] or 'none failed'}",
    )
    worst = percentile(sorted(refused), 0.99) if refused else 0.0
    goodput = counts.get(200, 0) / told["seconds"]
    possible = MOST / LATENCY
    evidence.note("99th percentile of refusals, ms", round(worst * 1000, 3))
    evidence.note("answers 200 per second", round(goodput, 1))
    if not evidence.short:
        evidence.claim(
            f"99 of 100 refusals take less than {REFUSED_WITHIN * 1000:g} ms",
            worst < REFUSED_WITHIN,
            f"{worst * 1000:.2f} ms of {len(refused):,}",
        )
        evidence.claim(
            f"the service does at least {GOODPUT:.0%} of what the limit allows",
            goodput >= GOODPUT * possible,
            f"{goodput:.0f} of {possible:.0f} per second, offered {told['offered'] / told['seconds']:.0f}",
        )


def rates(evidence: Evidence, web: int, seconds: float) -> None:
    with Part(offer, web, "/one", RATE_OFFERED, seconds, 50, HOST) as offering:
        judge_rate(evidence, "of a route", offering.result(seconds + 60.0))
    with contextlib.ExitStack() as stack:
        parts = [stack.enter_context(Part(offer, web, "/", RATE_OFFERED, seconds, 50, client)) for client in CLIENTS]
        for client, part in zip(CLIENTS, parts, strict=True):
            judge_rate(evidence, f"of client {client}", part.result(seconds + 60.0))


def judge_rate(evidence: Evidence, whose: str, told: dict[str, Any]) -> None:
    """In t seconds there are at most rate * t + 1 + burst; and not many fewer, or the limit would be another."""
    admitted = len(told["times"].get("200", []))
    most = RATE * told["lasted"] + 1 + BURST
    least = RATE * told["seconds"] * 0.9 + BURST
    evidence.claim(
        f"the rate {whose} is exactly that of the limit, in both workers together",
        least <= admitted <= most and set(told["times"]) == {"200", "429"},
        f"{admitted} admitted of {told['offered']} within {told['lasted']:.2f} s, at most {most:.1f} may be",
    )


Crowds = dict[int, list[http.client.HTTPConnection]]


def crowd(hive: Hive, web: int) -> Crowds:
    """`IDLE` connections of clients to each of the workers."""
    workers = hive.workers()
    crowds: Crowds = {worker: [] for worker in workers}
    for _ in range(200):
        client = http.client.HTTPConnection(HOST, web, timeout=WAIT_LIMIT)
        ask(client, "/one")
        holder = holder_of(client.sock.getsockname()[1], workers)
        if len(crowds[holder]) < IDLE:
            crowds[holder].append(client)
        else:
            client.close()
        if all(len(clients) == IDLE for clients in crowds.values()):
            return crowds
    raise ProofError("one worker gets all connections")


def handing(evidence: Evidence, hive: Hive, crowds: Crowds, turns: int) -> None:
    """All connections are opened by one worker and then idle; the other has a request."""
    workers = list(crowds)
    times: list[float] = []
    pooled: list[float] = []
    for first, second in itertools.islice(itertools.cycle([workers, workers[::-1]]), turns):
        hold_all(crowds[first])
        # The answers are here before the connections are idle.
        eventually(lambda: hive.metric("hivemesh_pool_connections", service="few", state="idle") == IDLE, "idle", 5.0)
        for took in (times, pooled):  # the second finds the connection of the first
            began = time.monotonic()
            status = ask(crowds[second][0], "/few")
            took.append(time.monotonic() - began)
            if status != 200:
                raise ProofError(f"a request that needs a connection of the other worker was answered {status}")
    found = ", ".join(
        f"{percentile(sorted(each), share) * 1000:.2f} ms {what} at the {place}"
        for each, what in ((times, "with it"), (pooled, "without"))
        for share, place in ((0.5, "median"), (0.99, "99th percentile"))
    )
    evidence.note("a connection that another worker held idle", found)
    evidence.claim(
        "a request gets a connection that another worker holds idle, every time",
        len(times) == turns,
        f"{len(times)} times; {found}",
    )
    if not evidence.short:
        more = percentile(sorted(times), 0.5) - percentile(sorted(pooled), 0.5)
        evidence.claim(
            f"it costs less than {HANDED_WITHIN * 1000:g} ms more than one of its own",
            more < HANDED_WITHIN,
            f"{more * 1000:.2f} ms",
        )


def sharing(evidence: Evidence, crowds: Crowds, seconds: float) -> None:
    """Three connections for eight clients of two workers, so that one of the three has to change hands."""
    served = dict.fromkeys(crowds, 0)
    refused: Counter[int] = Counter()
    deadline = time.monotonic() + seconds

    def go_on(worker: int, client: http.client.HTTPConnection) -> None:
        while time.monotonic() < deadline:
            status = ask(client, "/three/slow")
            if status == 200:
                served[worker] += 1
            else:
                refused[status] += 1

    with ThreadPoolExecutor(2 * IDLE) as pool:
        running = [pool.submit(go_on, worker, client) for worker, clients in crowds.items() for client in clients]
    for each in running:
        each.result()
    least, most = sorted(served.values())
    evidence.claim(
        "two workers with more requests than connections get the same of them, within a third",
        not refused and least > 0 and 3 * (most - least) <= most,
        f"{least} and {most} answers in {seconds:g} s, {dict(refused) or 'none refused'}",
    )


def hold_all(clients: list[http.client.HTTPConnection]) -> None:
    """All of them at once, at an origin that takes its time: each opens a connection."""
    for client in clients:
        client.request("GET", "/few/slow")
    for client in clients:
        response = client.getresponse()
        response.read()
        if response.status != 200:
            raise ProofError(f"a worker that should have all connections was answered {response.status}")


def ask(client: http.client.HTTPConnection, path: str) -> int:
    client.request("GET", path)
    response = client.getresponse()
    response.read()
    return response.status


def holder_of(port: int, workers: list[int]) -> int:
    """Which worker has the connection whose client has this port."""
    wanted = f":{port:04X}"
    for line in Path("/proc/net/tcp").read_text().splitlines()[1:]:
        fields = line.split()
        if fields[2].endswith(wanted):
            link = f"socket:[{fields[9]}]"
            for worker in workers:
                folder = f"/proc/{worker}/fd"
                for name in os.listdir(folder):
                    with contextlib.suppress(OSError):
                        if os.readlink(f"{folder}/{name}") == link:
                            return worker
    raise ProofError(f"no worker has the connection from port {port}")


# --- the origin ---------------------------------------------------------------------------------------------------

ANSWER: Final = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"


async def origin(cue: Cue, port: int) -> dict[str, int]:
    """Takes LATENCY for paths with "slow" in them, and counts those that it has at once."""
    loop = asyncio.get_running_loop()
    counts = {"now": 0, "most": 0, "slow": 0}

    class Connection(asyncio.Protocol):
        def connection_made(self, transport: Any) -> None:
            self.transport = transport
            self.received = b""

        def data_received(self, data: bytes) -> None:
            self.received += data
            while (end := self.received.find(b"\r\n\r\n")) >= 0:
                head, self.received = self.received[:end], self.received[end + 4 :]
                path = head.split(b" ", 2)[1]
                if path.startswith(b"/slow"):
                    counts["now"] += 1
                    counts["slow"] += 1
                    counts["most"] = max(counts["most"], counts["now"])
                    loop.call_later(LATENCY, self.answer_slow)
                elif b"slow" in path:
                    loop.call_later(LATENCY / 5, self.transport.write, ANSWER)
                else:
                    self.transport.write(ANSWER)

        def answer_slow(self) -> None:
            counts["now"] -= 1
            self.transport.write(ANSWER)

    server = await loop.create_server(Connection, HOST, port, backlog=1024)
    cue.ready()
    await cue.stop.wait()
    server.close()
    return counts


# --- the load -----------------------------------------------------------------------------------------------------

LENGTH: Final = re.compile(rb"\r\ncontent-length: *(\d+)", re.IGNORECASE)


async def offer(
    cue: Cue, web: int, path: str, rate: float, seconds: float, connections: int, source: str
) -> dict[str, Any]:
    """`rate` requests per second for `seconds`, each when it is due. times: seconds from sent to answered, by status.
    lasted: seconds from before the first was sent until after the last was answered."""
    loop = asyncio.get_running_loop()
    free: deque[_Client] = deque()
    told: dict[str, Any] = {"offered": 0, "skipped": 0, "overloaded": 0, "failures": [], "seconds": seconds}
    times: dict[str, list[float]] = {}
    request = f"GET {path} HTTP/1.1\r\nHost: limits.test\r\n\r\n".encode()
    for _ in range(connections):
        _, client = await loop.create_connection(lambda: _Client(free, times, told), HOST, web, local_addr=(source, 0))
        free.append(client)
    cue.ready()
    began = loop.time()
    while (now := loop.time()) < began + seconds:
        for _ in range(int((now - began) * rate) - told["offered"]):
            told["offered"] += 1
            if free:
                free.popleft().send(request)
            else:
                told["skipped"] += 1
        await asyncio.sleep(0.001)
    deadline = loop.time() + WAIT_LIMIT
    while len(free) < connections - len(told["failures"]) and loop.time() < deadline:
        await asyncio.sleep(0.001)
    told["lasted"] = loop.time() - began
    told["times"] = times
    told["failures"] = dict(Counter(told["failures"]))
    return told


class _Client(asyncio.Protocol):
    def __init__(self, free: deque[_Client], times: dict[str, list[float]], told: dict[str, Any]) -> None:
        self.free = free
        self.times = times
        self.told = told
        self.received = b""
        self.sent = 0.0

    def connection_made(self, transport: Any) -> None:
        self.transport = transport

    def send(self, request: bytes) -> None:
        self.sent = time.monotonic()
        self.transport.write(request)

    def data_received(self, data: bytes) -> None:
        self.received += data
        end = self.received.find(b"\r\n\r\n")
        length = LENGTH.search(self.received)
        if end < 0 or length is None or len(self.received) < end + 4 + int(length[1]):
            return
        took = time.monotonic() - self.sent
        self.times.setdefault(self.received[9:12].decode(), []).append(took)
        if b"\r\nx-envoy-overloaded: true" in self.received:
            self.told["overloaded"] += 1
        self.received = b""
        self.sent = 0.0
        self.free.append(self)

    def connection_lost(self, error: Exception | None) -> None:
        if self.sent:
            self.told["failures"].append(repr(error))
