"""Descriptors run out: accepting pauses, what was admitted is served, all else stays reachable, and it recovers."""

from __future__ import annotations

import json
import os
import re
import select
import signal
import socket
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from http_origin import HttpOrigin
from ports import free_address, split_address
from processes import Hive, http
from program import installed
from waiting import eventually

from benchmarks.faults.asking import judge_dns, query

LIMIT = 256
CLIENTS = 140
ENOUGH = 70  # who were left out fit in when they have gone
REQUEST = b"GET /bytes/10 HTTP/1.1\r\nHost: a.test\r\n\r\n"


@contextmanager
def running(directory: Path, workers: int) -> Iterator[tuple[Hive, HttpOrigin]]:
    origin = HttpOrigin()
    config = {
        "workers": workers,
        "admin": {"address": free_address()},
        "access_log": {"path": str(directory / "access.log"), "format": "json"},
        "dns": {"address": [free_address()], "zone": "hivemesh"},
        "listeners": [
            {
                "name": "web",
                "address": free_address(),
                "protocol": "http",
                "routes": [{"name": "all", "service": "app"}],
            }
        ],
        # Each request needs a descriptor of its own towards the endpoint.
        "services": {"app": {"pool": {"max_idle": 0}, "endpoints": [{"id": "e1", "address": origin.address}]}},
    }
    start = ("prlimit", f"--nofile={LIMIT}:{LIMIT}", sys.executable, "-m", "proxy")
    try:
        with Hive(directory, config, start=start) as hive:
            yield hive, origin
    finally:
        origin.close()


def pauses(hive: Hive) -> float:
    text = hive.admin("GET", "/metrics")[1]
    return sum(float(value) for value in re.findall(r"^hivemesh_worker_accept_pauses_total\S* (\S+)$", text, re.M))


def processor_seconds(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def connect(address: str) -> socket.socket:
    sock = socket.create_connection(split_address(address), timeout=10)
    sock.sendall(REQUEST)
    return sock


def answered(clients: list[socket.socket]) -> list[socket.socket]:
    """Those that have an answer by now."""
    poll = select.poll()
    for client in clients:
        poll.register(client, select.POLLIN)
    ready = {fd for fd, _ in poll.poll(0)}
    return [client for client in clients if client.fileno() in ready]


@pytest.mark.skipif(installed("prlimit") is None, reason="prlimit is not installed (util-linux)")
@pytest.mark.parametrize("workers", [1, 0])
def test_clients_wait_while_descriptors_are_short_and_nothing_else_does(tmp_path: Path, workers: int) -> None:
    with running(tmp_path, workers) as (hive, _):
        web = hive.config["listeners"][0]["address"]
        children = hive.children()
        data = children.get("worker 0", children["agent"])
        clients = [connect(web) for _ in range(CLIENTS)]
        try:
            event = hive.await_event("accepting paused")
            assert event["reason"] == "Too many open files"
            assert event["descriptors"] == LIMIT // 2
            eventually(lambda: len(answered(clients)) >= ENOUGH, "those who were admitted are answered")
            admitted = answered(clients)
            assert len(admitted) < LIMIT // 2
            assert pauses(hive) >= 1

            # A request of who was admitted, on a new connection to the endpoint.
            for client in admitted:
                assert client.recv(65536).startswith(b"HTTP/1.1 200")
            first = admitted[0]
            first.sendall(REQUEST)
            assert first.recv(65536).startswith(b"HTTP/1.1 200")
            question = query("app.service.hivemesh", 5)
            with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
                sock.settimeout(5)
                sock.connect(split_address(hive.config["dns"]["address"][0]))
                sock.send(question)
                assert judge_dns(question, sock.recv(4096), bytes((127, 0, 0, 1))) == "right"
            assert http("GET", hive.config["admin"]["address"], "/readyz")[0] == 200
            log = tmp_path / "access.log"
            log.rename(tmp_path / "access.old")
            hive.signal(signal.SIGUSR1)
            eventually(log.exists, "the log has been opened again")

            # Nobody spins: a loop that does takes all of the time that there is.
            began = processor_seconds(data)
            time.sleep(0.5)
            assert processor_seconds(data) - began < 0.2

            for client in admitted:
                client.close()
            waiting = [client for client in clients if client not in admitted]
            eventually(lambda: len(answered(waiting)) == len(waiting), "everybody who waited is answered")
            for client in waiting:
                assert client.recv(65536).startswith(b"HTTP/1.1 200")
            hive.await_event("accepting again")
            status, _ = http("GET", web, "/bytes/10")
            assert status == 200
            assert json.loads(log.read_text().splitlines()[-1])["status"] == 200
        finally:
            for client in clients:
                client.close()
