"""Proof: the program is replaced ten times under load and no request and no connection is lost.

wrk keeps 32 connections busy without a pause; another client makes a connection for every request; a third asks the
admin address whether the program is ready, throughout. WebSockets that were opened before, through an HTTP and through
a TCP listener, echo on through all upgrades, in the workers that they began with. Every third time the file is broken
first: then nothing may change. At last an upgrade with a short deadline: what does not end by itself is ended then, and
not before.
"""

from __future__ import annotations

import asyncio
import functools
import http.client
import threading
import time
from pathlib import Path
from typing import Any, Final

from benchmarks.proofs.evidence import Evidence
from benchmarks.proofs.hive import HOST, Hive, Json, eventually, free_port
from benchmarks.proofs.part import Cue, Part
from benchmarks.proofs.peers import Wrk, wrk_version
from benchmarks.proofs.reload import chat, echo_server

PROMISE: Final = "the program is upgraded under load and no request and no connection is lost"

WORKERS: Final = 2
WRK_CONNECTIONS: Final = 32

# New processes and the probe of the program, on a machine that wrk keeps busy.
UPGRADE_LIMIT: Final = 60.0
CLIENT_LIMIT: Final = 20.0

# Longer than all upgrades together: what is open stays open.
LONG: Final = "30m"
SHORT: Final = 1.0

# From the news of an upgrade until nobody of the former program answers at the admin address.
LETTING_GO: Final = 5.0

# From the deadline to the end of the last byte: processes of a busy machine.
LATE: Final = 10.0

PAGE: Final = "GET / HTTP/1.1\r\nHost: proof\r\n\r\n"


def prove(evidence: Evidence, folder: Path) -> None:
    upgrades, sockets = (2, 10) if evidence.short else (10, 100)
    web, raw, echo = free_port(), free_port(), free_port()
    evidence.versions.update(wrk=wrk_version())
    with Part(echo_server, echo), Hive(config(web, raw, echo, LONG), folder) as hive:
        with (
            Part(chat, web, sockets) as chatting,
            Part(chat, raw, sockets) as tunneling,
            Part(ask_anew, web, "/") as asking,
            Part(ask_anew, hive.admin, "/readyz") as probing,
            Wrk(folder, [PAGE], web, WRK_CONNECTIONS) as wrk,
        ):
            upgrade_often(evidence, hive, config(web, raw, echo, LONG), upgrades)
            report = wrk.finish()
            asked, probed = asking.finish(), probing.finish()
            chatted, tunneled = chatting.finish(), tunneling.finish()
        evidence.claim(
            "wrk: no request fails on connections that are kept",
            not report.failures and report.requests > 0,
            f"{report.requests:,} requests, failures: {report.failures or 'none'}",
        )
        for name, result in (("no new connection is refused", asked), ("it is ready throughout", probed)):
            evidence.claim(
                name,
                not result["failures"] and result["answered"] > 0,
                f"{result['answered']:,} answers, failures: {result['failures'][:3] or 'none'}",
            )
        for kind, held in (("WebSockets", chatted), ("TCP connections", tunneled)):
            evidence.claim(
                f"{sockets} {kind} opened before stay open, and every message comes back",
                held["open"] == sockets and held["sent"] == held["echoed"] > 0 and not held["failures"],
                f"{held['open']} open, {held['echoed']:,} of {held['sent']:,} messages came back; "
                f"failures: {held['failures'][:3] or 'none'}",
            )
        cut_off(evidence, hive, web, raw, echo)
        evidence.claim("the log has no bug", not hive.bugs(), hive.bugs() or "none")


def config(web: int, raw: int, echo: int, drain_streams: str) -> Json:
    page = {"name": "page", "filters": [{"direct_response": {"status": 200, "body": "here"}}]}
    chats = {"name": "chat", "match": {"path_prefix": "/chat"}, "service": "chat"}
    return {
        "workers": WORKERS,
        "timeouts": {"drain_streams": drain_streams},
        "listeners": [
            {"name": "web", "address": f"{HOST}:{web}", "routes": [chats, page]},
            {"name": "raw", "address": f"{HOST}:{raw}", "protocol": "tcp", "service": "chat"},
        ],
        "services": {"chat": {"endpoints": [{"id": "echo", "address": f"{HOST}:{echo}"}]}},
    }


def upgrade_often(evidence: Evidence, hive: Hive, good: Json, upgrades: int) -> None:
    same: list[int] = []
    changed: list[int] = []
    took = []
    for number in range(1, upgrades + 1):
        before = hive.workers()
        if number % 3 == 2:
            hive.write("listeners: [ { name: web, adress: x } ]")
            failed = hive.count("upgrade failed")
            hive.upgrade()
            is_refused = functools.partial(_more_than, hive, "upgrade failed", failed)
            eventually(is_refused, f"broken file {number} is refused", UPGRADE_LIMIT)
            if hive.workers() != before:
                changed.append(number)
            hive.write(hive.complete(good))
        began = time.monotonic()
        hive.upgrade()
        is_upgraded = functools.partial(_more_than, hive, "upgraded", number - 1)
        eventually(is_upgraded, f"upgrade {number} is in service", UPGRADE_LIMIT)
        took.append(time.monotonic() - began)
        # The former agent may answer once more: it lets go of the admin address when it hears of its successor.
        asked_until = time.monotonic() + LETTING_GO
        while set(hive.workers()) & set(before) and time.monotonic() < asked_until:
            time.sleep(0.05)
        if set(hive.workers()) & set(before):
            same.append(number)
    evidence.claim(
        f"{upgrades} upgrades: every process is another one each time",
        not same,
        f"not so after: {same or 'none'}; seconds each: {', '.join(f'{seconds:.1f}' for seconds in took)}",
    )
    evidence.claim("an upgrade with a broken file changes nothing", not changed, f"changed after: {changed or 'none'}")


def _more_than(hive: Hive, event: str, before: int) -> bool:
    return hive.count(event) > before


def cut_off(evidence: Evidence, hive: Hive, web: int, raw: int, echo: int) -> None:
    """What has no end of its own gets `drain_streams`, and no more."""
    hive.write(hive.complete(config(web, raw, echo, f"{SHORT:g}s")))
    hive.api("POST", "/v1/reload")
    with Part(wait_for_the_end, web) as waiting, Part(wait_for_the_end, raw) as tunneling:
        before = hive.count("upgraded")
        hive.upgrade()
        eventually(functools.partial(_more_than, hive, "upgraded", before), "the last upgrade", UPGRADE_LIMIT)
        upgraded = time.monotonic()
        ends = {
            "WebSocket": waiting.result(LATE + CLIENT_LIMIT),
            "TCP connection": tunneling.result(LATE + CLIENT_LIMIT),
        }
    for kind, ended in ends.items():
        evidence.claim(
            f"a {kind} is ended by the deadline of {SHORT:g} s, and not before",
            SHORT * 0.8 <= ended - upgraded <= SHORT + LATE,
            f"{ended - upgraded:.2f} s after the new processes were in service",
        )


# --- the clients --------------------------------------------------------------------------------------------------


async def ask_anew(cue: Cue, port: int, path: str) -> dict[str, Any]:
    """One connection for each request, until told to stop."""
    result: dict[str, Any] = {"answered": 0, "failures": []}
    over = threading.Event()
    asking = asyncio.create_task(asyncio.to_thread(_ask_on, port, path, over, result))
    cue.ready()
    await cue.stop.wait()
    over.set()
    await asking
    return result


def _ask_on(port: int, path: str, over: threading.Event, result: dict[str, Any]) -> None:
    while not over.wait(0.002):
        connection = http.client.HTTPConnection(HOST, port, timeout=CLIENT_LIMIT)
        try:
            connection.request("GET", path)
            status = connection.getresponse().status
        except (OSError, http.client.HTTPException) as error:
            result["failures"].append(repr(error))
        else:
            result["answered"] += 1
            if status != 200:
                result["failures"].append(f"status {status}")
        finally:
            connection.close()


async def wait_for_the_end(cue: Cue, web: int) -> float:
    """When an idle WebSocket was ended by the other side, on the monotonic clock."""
    from websockets.asyncio.client import connect

    connection = await connect(f"ws://{HOST}:{web}/chat", compression=None, proxy=None, ping_interval=None)
    cue.ready()
    await connection.wait_closed()
    return time.monotonic()
