"""Clients that hold connections: heads that come a byte at a time, and keep-alive clients that say nothing.

Each is a part of a proof (part.py) with a share of the crowd, because the descriptors of one process do not reach far
enough. A loopback connection is told apart by its client's address and port, so parts spread over 127.0.0.x.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
import threading
import time
from collections import Counter
from collections.abc import Iterator
from typing import Final

from benchmarks.compare.idle import is_complete
from benchmarks.proofs.hive import HOST
from benchmarks.proofs.part import Cue, Part

# A head that is never complete, whatever follows.
BEGINNING: Final = b"GET / HTTP/1.1\r\nHost: slow.test\r\nX-Slow: "
REQUEST: Final = b"GET / HTTP/1.1\r\nHost: idle.test\r\n\r\n"

CONNECTS_AT_ONCE: Final = 64
ANSWER_LIMIT: Final = 30.0
LARGEST: Final = 65536


def source_of(index: int) -> str:
    """The address of a crowd's part."""
    return f"127.0.0.{2 + index}"


@contextlib.contextmanager
def crowd(part: object, port: int, count: int, processes: int, *arguments: object) -> Iterator[list[Part]]:
    """`count` clients in `processes` parts; inside, all of them are connected."""
    with contextlib.ExitStack() as stack:
        shares = [count // processes + (index < count % processes) for index in range(processes)]
        parts = [Part(part, port, index, share, *arguments) for index, share in enumerate(shares)]  # type: ignore[arg-type]
        for each in parts:
            stack.enter_context(each)
        yield parts


async def connect(port: int, source: str, count: int) -> list[socket.socket]:
    loop = asyncio.get_running_loop()
    room = asyncio.Semaphore(CONNECTS_AT_ONCE)
    opened: list[socket.socket] = []

    async def one() -> None:
        async with room:
            client = socket.socket()
            client.setblocking(False)
            client.bind((source, 0))
            opened.append(client)
            await loop.sock_connect(client, (HOST, port))

    await asyncio.gather(*(one() for _ in range(count)))
    return opened


# --- slow heads ---------------------------------------------------------------------------------------------------


async def slow_heads(cue: Cue, port: int, index: int, count: int, every: float, look: int) -> dict[str, int]:
    """Each client sends a byte of its head every so many seconds, until it is told to stop or all have been ended; at
    every `look`-th byte it is looked at whether it was. The result counts bytes, and how connections were ended: by the
    status that they got, or "closed"."""
    clients = await connect(port, source_of(index), count)
    for client in clients:
        client.sendall(BEGINNING)
    cue.ready(len(clients))
    stop = threading.Event()
    dripping = asyncio.create_task(asyncio.to_thread(drip, clients, every, look, stop))
    told = asyncio.create_task(cue.stop.wait())
    await asyncio.wait((dripping, told), return_when=asyncio.FIRST_COMPLETED)
    stop.set()
    told.cancel()
    counts = await dripping
    for client in clients:
        client.close()
    return counts


def drip(clients: list[socket.socket], every: float, look: int, stop: threading.Event) -> dict[str, int]:
    """One byte at a time, evenly over the seconds: what comes in bursts, and a loop of events for each byte, would be
    the crowd's own work on cores that it shares with the proxy. One that is late sends no burst either."""
    counts: Counter[str] = Counter(bytes=0)
    open_clients, lap = list(clients), 0
    due = time.monotonic()
    while open_clients and not stop.is_set():
        gap = every / len(open_clients)
        for place, client in enumerate(open_clients):
            ended = ""
            try:
                counts["bytes"] += client.send(b"x")
                if (place + lap) % look == 0:
                    ended = end_of(client)
            except OSError:
                ended = end_of(client) or "closed"
            if ended:
                counts[ended] += 1
                client.close()
            due += gap
            early = due - time.monotonic()
            if early > 0:
                time.sleep(early)
            else:
                due -= early
            if stop.is_set():
                break
        open_clients = [client for client in open_clients if client.fileno() >= 0]
        lap += 1
    return counts


async def sink(cue: Cue) -> None:
    """Takes every connection, reads nothing, until it is told to stop. `value`: its port. What a crowd here costs is
    the crowd's own, on cores that it shares with what is measured."""
    taken: list[socket.socket] = []
    loop = asyncio.get_running_loop()
    with socket.create_server((HOST, 0), backlog=1024) as server:
        server.setblocking(False)

        def take() -> None:
            with contextlib.suppress(BlockingIOError):
                taken.append(server.accept()[0])

        loop.add_reader(server.fileno(), take)
        cue.ready(server.getsockname()[1])
        await cue.stop.wait()
        loop.remove_reader(server.fileno())
    for client in taken:
        client.close()


def end_of(client: socket.socket) -> str:
    """How the proxy has ended this connection; "" if it has not. A closed client has been counted."""
    if client.fileno() < 0:
        return ""
    try:
        answer = client.recv(LARGEST)
    except BlockingIOError:
        return ""
    except OSError:
        return "closed"
    return answer[9:12].decode("latin-1") if answer.startswith(b"HTTP/1.1 ") else "closed"


# --- idle clients -------------------------------------------------------------------------------------------------


async def idle_clients(cue: Cue, port: int, index: int, count: int) -> dict[str, int]:
    """Each client makes one request and stays; when it is told to stop it makes another one and then waits until the
    proxy ends the connection. Counts: answered at first, answered at last, ended by the proxy without a word more."""
    clients = await connect(port, source_of(index), count)
    first = await ask_all(clients)
    cue.ready(first)
    await cue.stop.wait()
    last = await ask_all(clients)
    ended = sum(await asyncio.gather(*(is_ended(client) for client in clients)))
    for client in clients:
        client.close()
    return {"first": first, "last": last, "ended": ended}


async def ask_all(clients: list[socket.socket]) -> int:
    """How many are answered 200."""
    room = asyncio.Semaphore(CONNECTS_AT_ONCE)

    async def one(client: socket.socket) -> bool:
        async with room:
            return await ask(client)

    return sum(await asyncio.gather(*(one(client) for client in clients)))


async def ask(client: socket.socket) -> bool:
    loop = asyncio.get_running_loop()
    answer = b""
    try:
        async with asyncio.timeout(ANSWER_LIMIT):
            await loop.sock_sendall(client, REQUEST)
            while not is_complete(answer):
                piece = await loop.sock_recv(client, LARGEST)
                if not piece:
                    return False
                answer += piece
    except OSError:  # TimeoutError is one
        return False
    return answer.startswith(b"HTTP/1.1 200")


async def is_ended(client: socket.socket) -> bool:
    try:
        async with asyncio.timeout(ANSWER_LIMIT):
            return await asyncio.get_running_loop().sock_recv(client, LARGEST) == b""
    except OSError:
        return False
