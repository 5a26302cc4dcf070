"""Clients that read slowly or not at all: they are held back, cost no memory, and are blamed for it in the log."""

from __future__ import annotations

import socket
import time
from pathlib import Path
from typing import Any

from raw_client import RawClient
from raw_origin import RawOrigin

REQUEST = b"GET / HTTP/1.1\r\nHost: a\r\n\r\n"

# What a client without end can send until the kernel's buffers on both sides are full, with much room.
TAKEN_AT_MOST = 8_000_000
MORE_THAN_THAT = 16_000_000

# Growth of our memory that a connection could not explain.
GROWTH = 30_000_000

# So slow that what waits in the kernel's buffers for a client takes it several tenths of a second.
READ_PER_S = 8_000_000


def answers_of(size: int) -> list[dict[str, Any]]:
    return [{"name": "local", "filters": [{"direct_response": {"status": 200, "body": "y" * size}}]}]


def read_little(client: RawClient) -> None:
    """The kernel keeps little for this client: it is soon in the way when it does not read."""
    client.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 256 * 1024)
    client.socket.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 65536)


def resident() -> int:
    """Bytes of memory of this process, in which the proxy runs as well."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * 4096


def test_client_that_pipelines_and_does_not_read_is_held_back(hive) -> None:
    client = hive(routes=answers_of(1000)).client()
    read_little(client)
    before = resident()
    assert client.send_while_taken(REQUEST * 2000, MORE_THAN_THAT) < TAKEN_AT_MOST
    assert resident() - before < GROWTH


def test_client_that_does_not_read_is_held_back_while_its_connection_is_closing(hive) -> None:
    client = hive(routes=answers_of(60_000)).client()
    read_little(client)
    # More than the kernel's buffers take, so the last answers wait in ours.
    client.send(REQUEST * 150, b"GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")
    before = resident()
    assert client.send_while_taken(b"z" * 65536, MORE_THAN_THAT) < TAKEN_AT_MOST
    assert resident() - before < GROWTH


def test_client_that_does_not_read_gets_all_its_answers_when_it_does(hive) -> None:
    client = hive(routes=answers_of(1000)).client()
    read_little(client)
    pieces = client.send_while_taken(REQUEST * 100, 10_000 * len(REQUEST)) // len(REQUEST)
    assert pieces > 3000  # more than the kernel's buffers hold the answers of
    for _ in range(pieces):
        assert client.response().body == b"y" * 1000


def test_client_that_reads_slowly_gets_every_answer_although_keep_alive_is_short(hive) -> None:
    """The time between two requests begins when the answer is on its way, not while it waits for the client."""
    count = 150
    timeouts = {"keep_alive": "200ms", "stream_idle": "2s"}
    client = hive(routes=answers_of(60_000), timeouts=timeouts).client()
    read_little(client)
    client.send(REQUEST * count)
    began = time.monotonic()
    answers = received = 0
    last = b""
    while answers < count:
        piece = client.socket.recv(65536)
        assert piece, f"the connection ended after {answers} of {count} answers"
        answers += (last + piece).count(b"\r\n\r\n")
        last = piece[-3:]
        received += len(piece)
        time.sleep(max(0.0, began + received / READ_PER_S - time.monotonic()))
    assert time.monotonic() - began > 0.8  # several times keep_alive


def test_client_that_stops_reading_is_given_up_after_the_idle_timeout_and_blamed(hive, origin: RawOrigin) -> None:
    proxy = hive(origin, timeouts={"stream_idle": "300ms"})
    client = proxy.client()
    read_little(client)
    client.ask(target="/large")
    upstream = origin.accept()
    upstream.request()
    upstream.send(b"HTTP/1.1 200 OK\r\nContent-Length: 100000000\r\n\r\n")
    assert upstream.send_while_taken(b"x" * 65536, 100_000_000, patience=0.1) < 100_000_000
    entry = proxy.logged(path="/large")
    assert (entry["status"], entry["flags"]) == (200, "SI")
    assert upstream.is_ended_by_peer()
    assert client.is_ended_by_peer()
    assert len(client.received) < 100_000_000
