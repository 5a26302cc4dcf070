"""Proof: the configuration changes a hundred times under load and no request and no connection is lost.

wrk sends mixed requests without a pause; a second client checks every answer, and that it was made by a configuration
that was in force between the moment it asked and the moment it was answered. 200 WebSockets that were opened before
echo throughout. Reloads are asked for by SIGHUP, by POST /v1/reload and by nothing but a new file, in turn. Every
tenth file is broken: then the one before it stays in force and the problem is shown.
"""

from __future__ import annotations

import asyncio
import contextlib
import functools
import http.client
import itertools
import threading
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from benchmarks.proofs.evidence import Evidence, ProofError
from benchmarks.proofs.generations import BREAKAGES, REQUESTS, Asked, Generation, Ports, nginx_servers
from benchmarks.proofs.hive import HOST, Hive, eventually, free_port
from benchmarks.proofs.part import Cue, Part
from benchmarks.proofs.peers import Nginx, Wrk, nginx_version, wrk_version

PROMISE: Final = "the configuration changes under load and no request and no connection is lost"

WRK_CONNECTIONS: Final = 32
CHECKERS: Final = 4

# A checking client begins a new connection after so many requests: old and new ones must both fare well.
REQUESTS_PER_CONNECTION: Final = 50

# A changed file is seen within two seconds; the rest is for a busy machine.
IN_FORCE_LIMIT: Final = 20.0
CLIENT_LIMIT: Final = 20.0

# Seconds between two messages on each WebSocket.
PAUSE: Final = 0.5
ECHO_LIMIT: Final = 20.0

# Failures of one kind that are kept in words; the others are counted.
KEPT: Final = 10


@dataclass(frozen=True, slots=True)
class InForce:
    """Times of the monotonic clock, the same in all processes: file written, and seen to decide."""

    number: int
    written: float
    confirmed: float


def prove(evidence: Evidence, folder: Path) -> None:
    reloads, sockets = (5, 20) if evidence.short else (100, 200)
    ports = Ports(free_port(), free_port(), free_port(), free_port(), tuple(free_port() for _ in range(4)))
    evidence.versions.update(nginx=nginx_version(), wrk=wrk_version(), websockets=_websockets_version())
    with (
        Nginx(folder, nginx_servers(ports), ports.origins),
        Part(echo_server, ports.chat),
        Hive(Generation(0).config(ports), folder) as hive,
    ):
        worker = hive.worker()
        history = [InForce(0, 0.0, time.monotonic())]
        with (
            Part(chat, ports.web, sockets) as chatting,
            Part(check, ports.web) as checking,
            Wrk(folder, _texts(), ports.web, WRK_CONNECTIONS) as wrk,
        ):
            change_often(evidence, hive, ports, reloads, history)
            report = wrk.finish()
            checked = checking.finish()
            chatted = chatting.finish()
        evidence.claim(
            "wrk: no request fails",
            not report.failures and report.requests > 0,
            f"{report.requests:,} requests, failures: {report.failures or 'none'}",
        )
        judge_checked(evidence, checked, history)
        evidence.claim(
            f"{sockets} WebSockets opened before stay open, and every message comes back",
            chatted["open"] == sockets and chatted["sent"] == chatted["echoed"] > 0 and not chatted["failures"],
            f"{chatted['open']} open, {chatted['echoed']:,} of {chatted['sent']:,} messages came back"
            + _listed(chatted["failures"]),
        )
        evidence.claim(
            "it is the same worker process throughout", hive.worker() == worker, f"{worker}, then {hive.worker()}"
        )
        evidence.claim("the log has no bug", not hive.bugs(), hive.bugs() or "none")
        if hive.errors():
            evidence.note("first answers of 400 and above", hive.errors())


def _texts() -> list[str]:
    """The requests for wrk, which waits for a body after HEAD too."""
    return [_text(asked) for asked in REQUESTS if asked.method != "HEAD"]


def _text(asked: Asked) -> str:
    beta = "x-beta: 1\r\n" if asked.beta else ""
    body = "Content-Length: 5\r\n\r\nproof" if asked.method == "POST" else "\r\n"
    return f"{asked.method} {asked.path} HTTP/1.1\r\nHost: proof\r\n{beta}{body}"


def _listed(failures: list[str]) -> str:
    return "".join(f"; {failure}" for failure in failures[:3])


# --- the changes --------------------------------------------------------------------------------------------------


def change_often(evidence: Evidence, hive: Hive, ports: Ports, reloads: int, history: list[InForce]) -> None:
    """Write `reloads` files, every tenth of them broken (in a short run the fifth), and see what becomes of each."""
    every = 10 if reloads >= 10 else 5
    by: dict[str, int] = {}
    refused = []
    accepted_broken = []
    hidden = []
    breakages = itertools.cycle(BREAKAGES)
    ways = itertools.cycle(WAYS)
    for number, (name, ask) in zip(range(1, reloads + 1), ways, strict=False):
        good = Generation(number)
        by[name] = by.get(name, 0) + 1
        if number % every == 0:
            before = history[-1].number
            failures = _refusals(hive)
            hive.write(next(breakages)(hive.complete(good.config(ports))))
            ask(hive)
            eventually(
                functools.partial(_more_refusals, hive, failures),
                f"broken file {number} is refused (asked for by {name})",
                IN_FORCE_LIMIT,
            )
            if not hive.problems():
                hidden.append(number)
            refused.append(number)
            if _in_force(ports) != before:
                accepted_broken.append(number)
            continue
        written = time.monotonic()
        hive.write(hive.complete(good.config(ports)))
        ask(hive)
        eventually(
            functools.partial(_is_in_force, ports, number),
            f"file {number} is in force (asked for by {name}); problems: {hive.problems()}",
            IN_FORCE_LIMIT,
        )
        history.append(InForce(number, written, time.monotonic()))
        if hive.problems():
            hidden.append(number)
    evidence.claim(
        f"{reloads} reloads: every good file comes into force",
        len(history) - 1 == reloads - len(refused),
        f"{len(history) - 1} of {reloads - len(refused)}; asked for by "
        + ", ".join(f"{name} {count}" for name, count in by.items()),
    )
    evidence.claim(
        "a broken file changes nothing", not accepted_broken, f"{len(refused)} broken, in force: {accepted_broken}"
    )
    evidence.claim(
        "/v1/problems shows a broken file, and is empty after a good one",
        not hidden,
        f"not so after: {hidden or 'none'}",
    )


def _post(hive: Hive) -> None:
    status, text = hive.api("POST", "/v1/reload")
    if status not in (200, 422):
        raise ProofError(f"POST /v1/reload answered {status}: {text}")


def _nothing(hive: Hive) -> None:
    """A changed file is noticed."""


# How a new file comes into force.
WAYS: Final = (("POST /v1/reload", _post), ("SIGHUP", Hive.hang_up), ("file watch", _nothing))


def _refusals(hive: Hive) -> float:
    return hive.metric("hivemesh_config_reloads_total", result="failure")


def _more_refusals(hive: Hive, before: float) -> bool:
    return _refusals(hive) > before


def _is_in_force(ports: Ports, number: int) -> bool:
    return _in_force(ports) == number


def _in_force(ports: Ports) -> int:
    """The generation that the worker decides by."""
    connection = http.client.HTTPConnection(HOST, ports.web, timeout=CLIENT_LIMIT)
    try:
        connection.request("GET", "/page")
        return int((connection.getresponse().getheader("x-proof") or "-1").split()[0])
    finally:
        connection.close()


# --- the client that checks ---------------------------------------------------------------------------------------


async def check(cue: Cue, web: int) -> dict[str, Any]:
    """Ask and check until told to stop. Records are (asked, answered, generation), times of the monotonic clock."""
    records: list[tuple[float, float, int]] = []
    failures: list[str] = []
    over = threading.Event()
    threads = [asyncio.to_thread(_ask_on, web, start, over, records, failures) for start in range(CHECKERS)]
    cue.ready()
    running = asyncio.gather(*threads)
    await cue.stop.wait()
    over.set()
    await running
    return {"records": records, "failures": failures}


def _ask_on(
    web: int, start: int, over: threading.Event, records: list[tuple[float, float, int]], failures: list[str]
) -> None:
    connection = http.client.HTTPConnection(HOST, web, timeout=CLIENT_LIMIT)
    for count in itertools.count(start):
        if over.is_set():
            connection.close()
            return
        if count % REQUESTS_PER_CONNECTION == 0:
            connection.close()
        asked = REQUESTS[count % len(REQUESTS)]
        began = time.monotonic()
        try:
            body = b"proof" if asked.method == "POST" else None
            connection.request(asked.method, asked.path, body, {"x-beta": "1"} if asked.beta else {})
            response = connection.getresponse()
            text = response.read().decode()
        except (OSError, http.client.HTTPException) as error:
            failures.append(f"{asked.method} {asked.path}: {error!r}")
            connection.close()
            continue
        words = (response.getheader("x-proof") or "").split()
        if response.status != 200 or len(words) != 2:
            failures.append(f"{asked.method} {asked.path}: {response.status} {text.strip()!r}")
            continue
        number, route = int(words[0]), words[1]
        problem = Generation(number).problem(asked, route, text)
        if problem:
            failures.append(f"{asked.method} {asked.path} in generation {number}: {problem}")
        records.append((began, time.monotonic(), number))


def judge_checked(evidence: Evidence, checked: dict[str, Any], history: list[InForce]) -> None:
    records, failures = checked["records"], checked["failures"]
    evidence.claim(
        "every checked answer has the route, the body and the headers of its configuration",
        not failures and len(records) > 0,
        f"{len(records):,} answers, {len(failures)} wrong" + _listed(failures),
    )
    late = [record for record in records if not was_in_force(record, history)]
    evidence.claim(
        "each was made by a configuration that was in force while it was asked for",
        not late,
        f"{len({number for _, _, number in records})} seen, {len(late)} answers at the wrong time {late[:3] or ''}",
    )


def was_in_force(record: tuple[float, float, int], history: list[InForce]) -> bool:
    """Written before the answer came, and not followed by another that was in force when the request was made."""
    asked, answered, number = record
    for position, entry in enumerate(history):
        if entry.number == number:
            following = history[position + 1] if position + 1 < len(history) else None
            return entry.written <= answered and (following is None or following.confirmed > asked)
    return False


# --- the WebSockets -----------------------------------------------------------------------------------------------


async def echo_server(cue: Cue, port: int) -> None:
    from websockets.asyncio.server import serve
    from websockets.exceptions import ConnectionClosed

    async def echo(connection: Any) -> None:
        with contextlib.suppress(ConnectionClosed):  # what became of it is judged at the client
            async for message in connection:
                await connection.send(message)

    async with serve(echo, HOST, port, compression=None):
        cue.ready()
        await cue.stop.wait()


async def chat(cue: Cue, web: int, count: int) -> dict[str, Any]:
    """`count` WebSockets on /chat; ready when all are open; each sends until told to stop."""
    from websockets.asyncio.client import connect

    result: dict[str, Any] = {"open": 0, "sent": 0, "echoed": 0, "failures": []}
    connections = [
        await connect(f"ws://{HOST}:{web}/chat", compression=None, proxy=None, ping_interval=None) for _ in range(count)
    ]

    async def talk(name: int, connection: Any) -> None:
        for turn in itertools.count():
            if cue.stop.is_set():
                break
            message: str | bytes = f"{name} says {turn} ü" if turn % 2 else f"{name}:{turn}".encode() * 50
            result["sent"] += 1
            await connection.send(message)
            back = await asyncio.wait_for(connection.recv(), ECHO_LIMIT)
            if back != message:
                result["failures"].append(f"connection {name} sent {message!r} and got {back!r}")
                return
            result["echoed"] += 1
            await asyncio.sleep(PAUSE)
        result["open"] += 1
        await connection.close()

    cue.ready()
    for outcome in await asyncio.gather(*map(talk, range(count), connections), return_exceptions=True):
        if isinstance(outcome, BaseException):
            result["failures"].append(repr(outcome))
    return result


def _websockets_version() -> str:
    from importlib.metadata import version

    return version("websockets")
