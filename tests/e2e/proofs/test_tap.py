"""Requests are shown by the real program: over processes that come and go, and however slow whoever looks on is."""

from __future__ import annotations

import http.client
import json
import os
import re
import signal
import socket
import time
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

from http_origin import HttpOrigin
from instance import Instance
from ports import split_address
from waiting import eventually


class Tap:
    def __init__(self, proxy: Instance, **query: str) -> None:
        self._connection = http.client.HTTPConnection(*split_address(proxy.admin), timeout=10)
        self._connection.connect()
        # What the kernel keeps for a reader is not what is tested here.
        self._connection.sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 64 * 1024)
        self._connection.request("GET", f"/v1/tap?{urlencode(query)}")
        self.response = self._connection.getresponse()
        assert self.line() == {"lost": 0}

    def line(self) -> dict[str, Any]:
        line: dict[str, Any] = json.loads(self.response.readline())
        return line

    def record(self) -> dict[str, Any]:
        while "method" not in (line := self.line()):
            assert line == {"lost": 0}
        return line

    def close(self) -> None:
        self.response.close()
        self._connection.close()


def workers(proxy: Instance) -> dict[int, int]:
    """Process ids of those that are in service, by number."""
    found = json.loads(proxy.program.api("GET", "/v1/workers").text)  # type: ignore[attr-defined]
    return {worker["worker"]: worker["pid"] for worker in found if worker["state"] == "ready"}


def memory(pid: int) -> int:
    """Resident, in KiB."""
    return int(re.findall(r"VmRSS:\s+(\d+)", Path(f"/proc/{pid}/status").read_text())[0])


def test_a_tap_sees_failures_through_the_restart_of_a_worker(hive, refused_address: str) -> None:
    with HttpOrigin("web") as web:
        routes = [
            {"name": "dead", "match": {"path_prefix": "/dead"}, "service": "dead"},
            {"name": "all", "service": "app"},
        ]
        services = {"dead": {"endpoints": [{"id": "d", "address": refused_address}]}}
        proxy: Instance = hive(web, program=True, routes=routes, services=services)
        tap = Tap(proxy, filter="error && t_upstream < 5s", header="authorization")
        client = proxy.client()
        client.get("/fine")
        client.get("/dead?card=4111", {"Authorization": "Basic c2VjcmV0"})
        record = tap.record()
        assert (record["status"], record["route"], record["flags"]) == (502, "dead", "UF")
        assert (record["path"], record["tried"]) == ("/dead?card=(redacted)", [refused_address])
        ((name, value),) = record["headers"]
        assert name == "authorization" and re.fullmatch(r"\(redacted\) [0-9a-f]{8}", value)
        phases = [record.get(each, 0.0) for each in ("t_recv", "t_queue", "t_connect", "t_first_byte")]
        assert record["t_total"] > 0 and sum(phases) <= record["t_total"] + 0.01

        before = workers(proxy)
        os.kill(before[0], signal.SIGKILL)
        eventually(lambda: workers(proxy).get(0, before[0]) != before[0], "there is another worker")
        proxy.client().get("/dead")
        again = tap.record()
        assert (again["status"], again["path"]) == (502, "/dead")
        tap.close()


def test_who_does_not_read_slows_nobody_and_fills_no_memory(hive) -> None:
    answer = {"name": "all", "filters": [{"direct_response": {"status": 200, "body": "ok"}}]}
    proxy: Instance = hive(program=True, routes=[answer])
    client = proxy.client()
    fill = {"x-fill": "x" * 50_000}
    taps = [Tap(proxy, open="true", header="*", rate="1000000") for _ in range(2)]
    pids = proxy.program.children()
    before = {pid: memory(pid) for pid in pids}
    started = time.monotonic()
    for _ in range(400):  # 20 MB for each tap: more than the sockets and what waits for a reader
        client.get("/", fill)
    assert time.monotonic() - started < 30
    grown = {pid: memory(pid) - before[pid] for pid in pids}
    # 4 MiB for each reader, as much again that is on its way, and what allocators keep
    assert max(grown.values()) < 32 * 1024, grown
    for tap in taps:
        lost, shown = 0, 1
        tap.record()
        while shown + lost < 400:
            line = tap.line()
            shown += "method" in line
            lost += line.get("lost", 0)
        assert shown + lost == 400  # every one is accounted for
        assert lost > 100
        tap.close()
    assert client.get().status == 200
