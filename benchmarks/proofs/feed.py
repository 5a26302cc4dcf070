"""Proof: what is registered reaches every worker at once, and costs those nothing who have nothing to do with it.

Two workers, under wrk on 16 kept connections. By the HTTP API an endpoint is registered, fails, is healthy again and is
removed, over and over. Every time, from the moment at which the request is sent that decides it, connections to the
proxy and sockets of DNS, enough to meet every worker, are asked until all of them say what is so now. wrk's own service
has the same done to one of its endpoints.

How long a request takes is timed all the while, and before that under the same load without changes.

Then 50 clients register 10,000 endpoints, kept in a file of SQLite. In the middle of it the agent is killed (SIGKILL).
Its successor must know every registration that was acknowledged and none that was never sent, and traffic must go on.
"""

from __future__ import annotations

import asyncio
import functools
import json
import os
import signal
import socket
import struct
import time
from http.client import HTTPConnection
from pathlib import Path
from typing import Any, Final

from benchmarks.compare.summary import percentile
from benchmarks.proofs.crash import process_of
from benchmarks.proofs.evidence import Evidence, ProofError
from benchmarks.proofs.hive import HOST, Hive, Json, eventually, free_port
from benchmarks.proofs.part import Cue, Part
from benchmarks.proofs.peers import Nginx, Wrk, nginx_version, wrk_version

PROMISE: Final = "a registration reaches every worker at once, none is lost, and no request fails"

WORKERS: Final = 2
WRK_CONNECTIONS: Final = 16

# Watchers of each kind. The kernel spreads them over the workers by a hash: that one worker has none of twelve is as
# likely as eleven tosses of a coin that fall like the first.
WATCHERS: Final = 12

# What a change may take until the last worker has it (seconds), half of the time and all but one of a hundred times.
WITHIN_P50: Final = 0.02
WITHIN_P99: Final = 0.05

CLIENTS: Final = 50
SERVICES: Final = 20
# What changes and registrations may add to the p99 of requests (seconds).
ADDED: Final = 0.001
BASELINE: Final = 10.0  # seconds that requests are timed without them
# Clients that register are load on the same two cores, and not what is measured: whoever serves goes first.
CLIENT_NICENESS: Final = 10

RATE: Final = 200  # requests per second of who measures how long a request takes
LIMIT: Final = 30.0
REGISTER_LIMIT: Final = 300.0

PAGE: Final = "GET / HTTP/1.1\r\nHost: app.test\r\n\r\n"
STARTED: Final = "started"


def prove(evidence: Evidence, folder: Path) -> None:
    times = 5 if evidence.short else 250
    many = 400 if evidence.short else 10_000
    web, dns = free_port(), free_port()
    origins = [free_port() for _ in range(4)]
    evidence.versions.update(wrk=wrk_version(), nginx=nginx_version())
    servers = "".join(f"server {{ listen {HOST}:{port}; location / {{ return 200 here; }} }}\n" for port in origins)
    with Nginx(folder, servers, origins), Hive(config(web, dns, origins, folder), folder) as hive:
        changes(evidence, hive, folder, web, dns, origins, times)
        registrations(evidence, hive, folder, web, many)
        bugs = [str(event) for event in hive.events() if event["event"] == "bug"]
        evidence.claim("the log has no bug", not bugs, bugs or "none")


def config(web: int, dns: int, origins: list[int], folder: Path) -> Json:
    return {
        "workers": WORKERS,
        "listeners": [{"name": "web", "address": f"{HOST}:{web}"}],
        "dns": {"address": f"{HOST}:{dns}", "ttl": "1s", "negative_ttl": "1s"},
        "registry": {"store": f"sqlite:{folder / 'registry.db'}"},
        "services": {
            "app": {
                "domain": "app.test",
                "endpoints": [
                    {"id": f"a{number}", "address": f"{HOST}:{port}"} for number, port in enumerate(origins[:2])
                ],
            },
            "watched": {"domain": "watched.test"},
            **{f"bulk{number}": {"domain": f"bulk{number}.test"} for number in range(SERVICES)},
        },
    }


# --- one change after the other -----------------------------------------------------------------------------------


def changes(evidence: Evidence, hive: Hive, folder: Path, web: int, dns: int, origins: list[int], times: int) -> None:
    took: list[float] = []
    api, watchers = Api(hive.admin), Watchers(web, dns)
    with Wrk(folder, [PAGE], web, WRK_CONNECTIONS) as wrk:
        quiet = ask_at_rate_for(web, 1.0 if evidence.short else BASELINE)
        wrk.finish()
    with Part(measure, web) as measured, Wrk(folder, [PAGE], web, WRK_CONNECTIONS) as wrk:
        for _ in range(times):
            for is_usable, change in events(origins[2]):
                change(api, "watched", "w")
                watchers.wait(is_usable)
                took.append(time.monotonic() - api.sent)
                change(api, "app", "a9")
        report = wrk.finish()
        busy = measured.finish()
    watchers.close()
    took.sort()
    p50, p99 = percentile(took, 0.5), percentile(took, 0.99)
    evidence.note("change_seconds", {"p50": p50, "p99": p99, "max": max(took), "count": len(took)})
    evidence.note("request_p99_seconds", {"under_wrk": quiet["p99"], "under_wrk_and_changes": busy["p99"]})
    evidence.claim(
        f"the proxy and DNS of {WORKERS} workers agree within {WITHIN_P99 * 1000:g} ms of the request that decides",
        evidence.short or (p50 < WITHIN_P50 and p99 < WITHIN_P99),
        f"{len(took)} changes under wrk: p50 {p50 * 1000:.1f} ms, p99 {p99 * 1000:.1f} ms, "
        f"longest {max(took) * 1000:.1f} ms",
    )
    evidence.claim(
        "no request fails while another endpoint is usable",
        not report.failures and report.requests > 0 and not busy["failures"],
        f"{report.requests:,} requests of wrk, failed: {report.failures or 'none'}; {busy['answered']:,} timed ones, "
        f"failed: {busy['failures'] or 'none'}",
    )
    unnoticed(evidence, "ten changes a second and more", quiet["p99"], busy["p99"])


def unnoticed(evidence: Evidence, what: str, before: float, during: float) -> None:
    evidence.claim(
        f"{what} add less than {ADDED * 1000:g} ms to the p99 of requests",
        evidence.short or during - before < ADDED,
        f"{before * 1000:.2f} ms before, {during * 1000:.2f} ms during",
    )


class Api:
    """The admin API on one kept connection."""

    def __init__(self, port: int) -> None:
        self._connection = HTTPConnection(HOST, port, timeout=LIMIT)
        self.sent = 0.0  # when the last request was

    def call(self, method: str, path: str, body: Json | None = None) -> Any:
        text = None if body is None else json.dumps(body)
        self.sent = time.monotonic()
        self._connection.request(method, path, text, {"Content-Type": "application/json"})
        answer = self._connection.getresponse()
        data = answer.read()
        if answer.status != 200:
            raise ProofError(f"{method} {path} was answered {answer.status}: {data[:200]!r}")
        return json.loads(data)


def events(port: int) -> list[tuple[bool, Any]]:
    """What is done to an endpoint in turn, and whether it is usable then."""
    check = {"protocol": "ttl", "ttl": "60s"}

    def path(service: str, id_: str) -> str:
        return f"/v1/services/{service}/endpoints/{id_}"

    def register(api: Api, service: str, id_: str) -> None:
        api.call("PUT", path(service, id_), {"address": f"{HOST}:{port}", "health_check": check})
        beat(api, service, id_, "healthy")

    def beat(api: Api, service: str, id_: str, state: str) -> None:
        api.call("PUT", path(service, id_) + "/heartbeat", {"state": state})

    def remove(api: Api, service: str, id_: str) -> None:
        api.call("DELETE", path(service, id_))

    return [
        (True, register),
        (False, functools.partial(_beat, beat, "unhealthy")),
        (True, functools.partial(_beat, beat, "healthy")),
        (False, remove),
    ]


def _beat(beat: Any, state: str, api: Api, service: str, id_: str) -> None:
    beat(api, service, id_, state)


class Watchers:
    """Connections to the proxy and sockets of DNS that ask whether the service `watched` has a usable endpoint."""

    REQUEST = b"GET / HTTP/1.1\r\nHost: watched.test\r\n\r\n"
    NAME = b"\x07watched\x07service\x08hivemesh\x00"

    def __init__(self, web: int, dns: int) -> None:
        self._http = [socket.create_connection((HOST, web), LIMIT) for _ in range(WATCHERS)]
        self._dns = [socket.socket(socket.AF_INET, socket.SOCK_DGRAM) for _ in range(WATCHERS)]
        for each in self._dns:
            each.settimeout(LIMIT)
            each.connect((HOST, dns))
        self._number = 0

    def close(self) -> None:
        for each in (*self._http, *self._dns):
            each.close()

    def wait(self, is_usable: bool) -> None:
        """Until all of them say so."""
        began = time.monotonic()
        http, dns = list(self._http), list(self._dns)
        while http or dns:
            if time.monotonic() - began > LIMIT:
                raise ProofError(f"{len(http)} connections and {len(dns)} sockets of DNS do not know of a change")
            http, dns = self._not_yet(http, dns, is_usable)

    def _not_yet(
        self, http: list[socket.socket], dns: list[socket.socket], is_usable: bool
    ) -> tuple[list[socket.socket], list[socket.socket]]:
        self._number = (self._number + 1) % 65_536
        question = struct.pack(">6H", self._number, 0x0100, 1, 0, 0, 0) + self.NAME + struct.pack(">2H", 1, 1)
        for each in http:
            each.sendall(self.REQUEST)
        for each in dns:
            each.send(question)
        return (
            [each for each in http if self._status(each) != (200 if is_usable else 503)],
            [each for each in dns if (self._answers(each) > 0) != is_usable],
        )

    def _status(self, sock: socket.socket) -> int:
        data = b""
        while b"\r\n\r\n" not in data:
            data += self._received(sock)
        head, _, body = data.partition(b"\r\n\r\n")
        size = next(int(line[15:]) for line in head.split(b"\r\n") if line.lower().startswith(b"content-length:"))
        while len(body) < size:
            body += self._received(sock)
        return int(head[9:12])

    def _received(self, sock: socket.socket) -> bytes:
        data = sock.recv(65_536)
        if not data:
            raise ProofError("a connection to the proxy was closed")
        return data

    def _answers(self, sock: socket.socket) -> int:
        while True:
            answer = sock.recv(4096)
            if int.from_bytes(answer[:2], "big") == self._number:
                return int.from_bytes(answer[6:8], "big")


# --- very many ----------------------------------------------------------------------------------------------------


def registrations(evidence: Evidence, hive: Hive, folder: Path, web: int, many: int) -> None:
    names = [(f"bulk{number % SERVICES}", f"e{number}") for number in range(many)]
    with Wrk(folder, [PAGE], web, 1) as wrk:
        quiet = ask_at_rate_for(web, 1.0 if evidence.short else BASELINE)
        wrk.finish()
    with Part(measure, web) as measured, Wrk(folder, [PAGE], web, 1) as wrk:
        started = hive.count(STARTED)
        with Part(register, hive.admin, names, many // 2, process_of(hive, "agent")) as first:
            before = first.result(REGISTER_LIMIT)
        if before["failures"]:
            raise ProofError(f"before the agent was killed: {before['failures'][0]}")
        eventually(lambda: hive.count(STARTED) > started, "the next agent is in service", LIMIT)
        away = time.monotonic() - before["killed"]
        there = known(hive)
        acknowledged, sent = set(map(tuple, before["acknowledged"])), set(map(tuple, before["sent"]))
        left = [name for name in names if name not in acknowledged]
        with Part(register, hive.admin, left, 0, 0) as second:
            after = second.result(REGISTER_LIMIT)
        report = wrk.finish()
        busy = measured.finish()
    evidence.claim(
        "the agent killed in the middle: every registration that was acknowledged is there afterwards",
        bool(acknowledged) and acknowledged <= there,
        f"{len(acknowledged):,} acknowledged, {len(acknowledged - there)} lost; the next "
        f"agent was in service after {away:.2f} s",
    )
    evidence.claim(
        "and none that was never sent",
        there <= sent,
        f"{len(there):,} there, {len(sent):,} sent, {len(there - sent)} never sent",
    )
    evidence.claim(
        f"{many:,} endpoints are registered in the end",
        known(hive) == set(names) and not after["failures"],
        f"{after['rate']:,.0f} a second by {CLIENTS} clients",
    )
    memory = resident(process_of(hive, "agent"))
    evidence.note("registrations_per_second", {"before": before["rate"], "after": after["rate"]})
    evidence.note("memory_mib", {"agent": memory, "workers": [resident(pid) for pid in hive.workers()]})
    evidence.note("request_p99_seconds_registering", {"before": quiet["p99"], "during": busy["p99"]})
    evidence.claim(
        "traffic goes on throughout",
        not report.failures and report.requests > 0 and not busy["failures"] and busy["longest"] < 1.0,
        f"{report.requests:,} requests of wrk, failed: {report.failures or 'none'}; {busy['answered']:,} timed ones, "
        f"failed: {busy['failures'] or 'none'}, p99 {busy['p99'] * 1000:.1f} ms, "
        f"longest {busy['longest'] * 1000:.0f} ms",
    )
    unnoticed(evidence, "registrations and a killed agent", quiet["p99"], busy["p99"])


async def register(cue: Cue, port: int, names: list[tuple[str, str]], kill_at: int, victim: int) -> dict[str, Any]:
    """CLIENTS clients that register `names`. With a `victim` that process is killed after `kill_at` acknowledgements,
    and every client ends with its first request that is not answered."""
    result: dict[str, Any] = {"acknowledged": [], "sent": [], "failures": [], "killed": 0.0}
    waiting = iter(enumerate(names, 1))
    os.nice(CLIENT_NICENESS)

    async def client() -> None:
        reader, writer = await asyncio.open_connection(HOST, port)
        for number, (service, id_) in waiting:
            body = json.dumps({"address": f"127.1.{number // 250}.{number % 250}:80", "version": "v1", "node": "n1"})
            result["sent"].append((service, id_))
            writer.write(
                f"PUT /v1/services/{service}/endpoints/{id_} HTTP/1.1\r\nHost: {HOST}\r\n"
                f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n{body}".encode()
            )
            try:
                head = await reader.readuntil(b"\r\n\r\n")
                size = next(
                    int(line[15:]) for line in head.split(b"\r\n") if line.lower().startswith(b"content-length:")
                )
                await reader.readexactly(size)
            except (OSError, asyncio.IncompleteReadError) as error:
                if not result["killed"]:
                    result["failures"].append(repr(error))
                return
            if not head.startswith(b"HTTP/1.1 200 "):
                result["failures"].append(head[:40].decode())
                return
            result["acknowledged"].append((service, id_))
            if victim and len(result["acknowledged"]) == kill_at:
                os.kill(victim, signal.SIGKILL)
                result["killed"] = time.monotonic()
        writer.close()

    cue.ready()
    began = time.monotonic()
    await asyncio.gather(*(client() for _ in range(CLIENTS)))
    result["rate"] = len(result["acknowledged"]) / (time.monotonic() - began)
    return result


def known(hive: Hive) -> set[tuple[str, str]]:
    """What was registered, as the API tells it."""
    return {
        (service, each["id"])
        for service in (f"bulk{number}" for number in range(SERVICES))
        for each in json.loads(hive.api("GET", f"/v1/services/{service}/endpoints")[1])
    }


def resident(pid: int) -> float:
    """Private and shared memory of a process, MiB."""
    status = Path(f"/proc/{pid}/status").read_text()
    return int(status.partition("VmRSS:")[2].split()[0]) / 1024


# --- how long a request takes -------------------------------------------------------------------------------------


async def measure(cue: Cue, port: int) -> dict[str, Any]:
    """Timed requests at RATE on a kept connection, until it is told to stop."""
    cue.ready()
    return await ask_at_rate(port, cue.stop)


def ask_at_rate_for(port: int, seconds: float) -> dict[str, Any]:
    async def timed() -> dict[str, Any]:
        stop = asyncio.Event()
        asyncio.get_running_loop().call_later(seconds, stop.set)
        return await ask_at_rate(port, stop)

    return asyncio.run(timed())


async def ask_at_rate(port: int, stop: asyncio.Event) -> dict[str, Any]:
    reader, writer = await asyncio.open_connection(HOST, port)
    took: list[float] = []
    failures: list[str] = []
    while not stop.is_set():
        began = time.monotonic()
        writer.write(PAGE.encode())
        head = await reader.readuntil(b"\r\n\r\n")
        await reader.readexactly(len(b"here"))
        took.append(time.monotonic() - began)
        if not head.startswith(b"HTTP/1.1 200 "):
            failures.append(head[:40].decode())
        await asyncio.sleep(max(0.0, 1 / RATE - took[-1]))
    writer.close()
    return {"answered": len(took), "failures": failures, "p99": percentile(sorted(took), 0.99), "longest": max(took)}
