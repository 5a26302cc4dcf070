"""Proof: a process of hivemesh that dies or hangs takes nothing with it but what it was doing.

Two workers. wrk keeps 16 connections busy, and four clients make a connection for every request and time it, while:
workers are killed (SIGKILL), one after the other; the agent is killed; a worker is stopped (SIGSTOP) until the
supervisor finds out; `workers` goes from 2 to 4 to 1 and back by reload; a second listener comes and goes by reload.
After each, the number of open connections in the metrics is what it should be, and no counter has fallen.
"""

from __future__ import annotations

import asyncio
import functools
import os
import signal
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

from benchmarks.proofs.evidence import Evidence
from benchmarks.proofs.hive import HOST, Hive, Json, eventually, free_port
from benchmarks.proofs.part import Cue, Part
from benchmarks.proofs.peers import Wrk, wrk_version

PROMISE: Final = "a process that dies or hangs takes nothing with it but what it was doing"

WORKERS: Final = 2
WRK_CONNECTIONS: Final = 16
CLIENTS: Final = 4

# timeouts.worker_hang where a worker is made to hang, and what noticing and replacing may take beyond it. Elsewhere it
# is long: a busy machine can keep a worker from its signs of life for a second.
HANG: Final = 1.0
LONG_HANG: Final = 30.0
WITHIN: Final = 1.0

PAUSE: Final = 1.0

# For a busy machine.
LIMIT: Final = 30.0

PAGE: Final = "GET / HTTP/1.1\r\nHost: proof\r\n\r\n"
DIED: Final = "hivemesh_worker_restarts_total"
ASKED: Final = "hivemesh_downstream_requests_total"


def prove(evidence: Evidence, folder: Path) -> None:
    times = 3 if evidence.short else 30
    web, second = free_port(), free_port()
    evidence.versions.update(wrk=wrk_version())
    with Hive(config(web), folder) as hive:
        kill_workers(evidence, hive, folder, web, times)
        kill_agents(evidence, hive, folder, web, times)
        stop_a_worker(evidence, hive, folder, web, 1 if evidence.short else 5)
        resize(evidence, hive, folder, web, 1 if evidence.short else 10)
        move_listeners(evidence, hive, folder, web, second, times)
        bugs = [str(event) for event in hive.events() if event["event"] == "bug"]
        evidence.claim("the log has no bug", not bugs, bugs or "none")


def config(web: int, workers: int = WORKERS, second: int = 0, hang: float = LONG_HANG) -> Json:
    page = {"name": "page", "filters": [{"direct_response": {"status": 200, "body": "here"}}]}
    listeners = [{"name": "web", "address": f"{HOST}:{web}", "routes": [page]}]
    if second:
        listeners.append({"name": "second", "address": f"{HOST}:{second}", "routes": [page]})
    return {"workers": workers, "timeouts": {"worker_hang": f"{hang:g}s"}, "listeners": listeners}


# --- what is done to it -------------------------------------------------------------------------------------------


def kill_workers(evidence: Evidence, hive: Hive, folder: Path, web: int, times: int) -> None:
    kills: list[float] = []
    before = hive.metric(ASKED)
    with Crowd(hive, folder, web) as crowd:
        for number in range(times):
            # Starts are put off when deaths are frequent; who is alone must not be killed too.
            eventually(lambda: hive.metric("hivemesh_worker_up") == WORKERS, "all workers are in service", LIMIT)
            victim = process_of(hive, f"worker {number % WORKERS}")
            kills.append(time.monotonic())
            os.kill(victim, signal.SIGKILL)
            time.sleep(PAUSE)
        crowd.finish()
    failures = crowd.asked["failures"]
    evidence.claim(
        f"workers killed {times} times: of new connections only those in flight fail",
        all(any(0 <= at - kill < WITHIN / 4 for kill in kills) for at, _ in failures)
        and len(failures) <= CLIENTS * times
        and crowd.asked["answered"] > 0,
        f"{crowd.asked['answered']:,} answered, {len(failures)} failed {texts(failures)}",
    )
    evidence.claim(
        "kept connections break once per kill at most",
        crowd.broken <= WRK_CONNECTIONS * times and crowd.only_broken,
        f"{crowd.requests:,} requests on kept connections, {crowd.failures or 'none'} failed",
    )
    slowest(evidence, "a killed worker keeps no new connection waiting for a second", crowd, WITHIN)
    whole(evidence, hive, WORKERS)
    evidence.claim(
        "the metrics have counted on",
        hive.metric(DIED) >= times and hive.metric(ASKED) > before,
        f"{hive.metric('hivemesh_worker_restarts_total'):g} restarts, {hive.metric(ASKED):,.0f} requests",
    )


def kill_agents(evidence: Evidence, hive: Hive, folder: Path, web: int, times: int) -> None:
    before = hive.metric(ASKED)
    with Crowd(hive, folder, web) as crowd:
        for _ in range(times):
            started = hive.count("started")
            os.kill(eventually(functools.partial(process_of, hive, "agent"), "an agent", LIMIT), signal.SIGKILL)
            is_back = functools.partial(_more_than, hive, "started", started)
            eventually(is_back, "the next agent is in service", LIMIT)
        crowd.finish()
    untouched(evidence, f"the agent killed {times} times: no request fails", crowd)
    counted = hive.metric(ASKED) - before
    made = crowd.requests + crowd.asked["answered"]
    evidence.claim(
        "its successors know every request that was counted",
        counted >= made,
        f"{counted:,.0f} counted, {made:,} answered",
    )
    whole(evidence, hive, WORKERS)


def stop_a_worker(evidence: Evidence, hive: Hive, folder: Path, web: int, times: int) -> None:
    found = []
    stops: list[float] = []
    put_in_force(hive, config(web, hang=HANG))
    with Crowd(hive, folder, web) as crowd:
        for number in range(times):
            time.sleep(PAUSE)
            name = f"worker {number % WORKERS}"
            victim = eventually(functools.partial(process_of, hive, name), "a worker", LIMIT)
            stops.append(time.monotonic())
            os.kill(victim, signal.SIGSTOP)

            def is_replaced(name: str = name, victim: int = victim) -> bool:
                return process_of(hive, name) not in (0, victim)

            eventually(is_replaced, f"{name} is replaced", LIMIT)
            found.append(time.monotonic() - stops[-1])
        time.sleep(PAUSE)
        crowd.finish()
    put_in_force(hive, config(web))
    evidence.claim(
        f"a worker that is stopped is replaced within {HANG + WITHIN:g} s, {times} times",
        max(found) <= HANG + WITHIN,
        f"seconds: {', '.join(f'{seconds:.2f}' for seconds in found)}",
    )
    failures = crowd.asked["failures"]
    evidence.claim(
        "of new connections only those that it had accepted fail",
        len(failures) <= CLIENTS * times and crowd.asked["answered"] > 0,
        f"{crowd.asked['answered']:,} answered, {len(failures)} failed {texts(failures)}",
    )
    slowest(evidence, "those that it had not accepted wait until it is found out", crowd, HANG + 2 * WITHIN)
    whole(evidence, hive, WORKERS)


def resize(evidence: Evidence, hive: Hive, folder: Path, web: int, times: int) -> None:
    counts = []
    with Crowd(hive, folder, web) as crowd:
        for workers in (4, 1, 3, WORKERS) * times:
            put_in_force(hive, config(web, workers))
            counts.append(hive.metric(ASKED))
            eventually(lambda workers=workers: len(hive.workers()) == workers, f"{workers} workers", LIMIT)
            counts.append(hive.metric(ASKED))
            time.sleep(PAUSE / 2)
        crowd.finish()
    untouched(evidence, f"the number of workers changed {4 * times} times: no request fails", crowd)
    evidence.claim("no counter falls", counts == sorted(counts), f"{len(counts)} looks")
    whole(evidence, hive, WORKERS)


def move_listeners(evidence: Evidence, hive: Hive, folder: Path, web: int, second: int, times: int) -> None:
    wrong = []
    with Crowd(hive, folder, web) as crowd:
        for number in range(times):
            put_in_force(hive, config(web, second=second))
            if not answers(second):
                wrong.append(f"{number}: the new listener does not answer")
            put_in_force(hive, config(web))
            if answers(second):
                wrong.append(f"{number}: the removed listener answers")
        crowd.finish()
    untouched(evidence, f"a listener came and went {times} times: no request at the other fails", crowd)
    evidence.claim("it answers exactly while it is configured", not wrong, wrong or f"{2 * times} looks")


# --- what is looked at --------------------------------------------------------------------------------------------


class Crowd:
    """wrk on kept connections, and clients with a new one for every request, until `finish`."""

    def __init__(self, hive: Hive, folder: Path, port: int) -> None:
        self._asking = Part(ask, port, CLIENTS)
        self._wrk = Wrk(folder, [PAGE], port, WRK_CONNECTIONS)
        self._hive = hive
        self._before = hive.metric(DIED)
        self.deaths = 0.0  # of workers, that nobody asked for
        self.asked: dict[str, Any] = {}
        self.requests = 0
        self.failures: dict[str, int] = {}

    def __enter__(self) -> Crowd:
        self._asking.__enter__()
        self._wrk.__enter__()
        return self

    def __exit__(self, *error: Any) -> None:
        self._wrk.__exit__(*error)
        self._asking.__exit__(*error)

    def finish(self) -> None:
        report = self._wrk.finish()
        self.requests, self.failures = report.requests, report.failures
        self.asked = self._asking.finish()
        self.deaths = self._hive.metric(DIED) - self._before

    @property
    def broken(self) -> int:
        return sum(self.failures.values())

    @property
    def only_broken(self) -> bool:
        """No answer was wrong and none was missing: connections ended, and that was all."""
        return set(self.failures) <= {"connect", "read", "write"}


async def ask(cue: Cue, port: int, clients: int) -> dict[str, Any]:
    """Requests on new connections. Times are those of the monotonic clock, the same in all processes."""
    result: dict[str, Any] = {"answered": 0, "slowest": 0.0, "failures": []}

    async def one() -> None:
        began = time.monotonic()
        try:
            async with asyncio.timeout(LIMIT):
                reader, writer = await asyncio.open_connection(HOST, port)
                writer.write(PAGE.replace("\r\n\r\n", "\r\nConnection: close\r\n\r\n").encode())
                answer = await reader.read()
                writer.close()
            if not answer.startswith(b"HTTP/1.1 200 ") or not answer.endswith(b"here"):
                raise ConnectionError(f"answered {answer[:40]!r}")
        except (OSError, TimeoutError) as error:
            result["failures"].append((time.monotonic(), str(error) or type(error).__name__))
            return
        result["answered"] += 1
        result["slowest"] = max(result["slowest"], time.monotonic() - began)

    async def client() -> None:
        while not cue.stop.is_set():
            await one()
            await asyncio.sleep(0.002)

    cue.ready()
    await asyncio.gather(*(client() for _ in range(clients)))
    return result


def untouched(evidence: Evidence, claim: str, crowd: Crowd) -> None:
    failures = crowd.asked["failures"]
    evidence.claim(
        claim,
        not crowd.failures and not failures and not crowd.deaths and crowd.requests > 0 and crowd.asked["answered"] > 0,
        f"{crowd.requests:,} requests on kept connections, failed: {crowd.failures or 'none'}; "
        f"{crowd.asked['answered']:,} on new ones, failed: {texts(failures) or 'none'}; "
        f"workers that died meanwhile: {crowd.deaths:g}",
    )


def slowest(evidence: Evidence, claim: str, crowd: Crowd, limit: float) -> None:
    evidence.claim(claim, crowd.asked["slowest"] <= limit, f"the slowest took {crowd.asked['slowest']:.3f} s")


def whole(evidence: Evidence, hive: Hive, workers: int) -> None:
    """Everything is as it was before, soon after the last client has left."""
    looks: dict[str, Callable[[], bool]] = {
        "all workers are in service": lambda: hive.metric("hivemesh_worker_up") == workers,
        "nobody is counted who has left": lambda: (
            hive.metric("hivemesh_downstream_connections_active") == 0
            and hive.metric("hivemesh_downstream_requests_active") == 0
        ),
    }
    for what, is_so in looks.items():
        began = time.monotonic()
        eventually(is_so, what, LIMIT)
        evidence.claim(f"then {what}", True, f"{time.monotonic() - began:.1f} s after the last request")


def texts(failures: list[tuple[float, str]]) -> str:
    return ", ".join(sorted({text for _, text in failures})[:3])


def put_in_force(hive: Hive, wanted: Json) -> None:
    hive.write(hive.complete(wanted))
    status, body = hive.api("POST", "/v1/reload")
    if status != 200:
        raise AssertionError(f"the reload was answered {status}: {body[:200]}")


def answers(port: int) -> bool:
    async def asked() -> bool:
        try:
            reader, writer = await asyncio.open_connection(HOST, port)
            writer.write(PAGE.replace("\r\n\r\n", "\r\nConnection: close\r\n\r\n").encode())
            answer = await reader.read()
            writer.close()
        except OSError:  # refused, or reset because it came just before the socket was closed
            return False
        return answer.endswith(b"here")

    return asyncio.run(asked())


def process_of(hive: Hive, name: str) -> int:
    """The pid of `agent` or `worker N`; 0 when there is none."""
    wanted = ["--worker", name.split()[1]] if name != "agent" else ["proxy.control.agent"]
    for pid in Path(f"/proc/{hive.pid}/task/{hive.pid}/children").read_text().split():
        try:
            line = Path(f"/proc/{pid}/cmdline").read_text().split("\0")
        except OSError:
            continue
        if all(word in line for word in wanted):
            return int(pid)
    return 0


def _more_than(hive: Hive, event: str, before: int) -> bool:
    return hive.count(event) > before
