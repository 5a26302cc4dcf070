"""Clients and origins that behave as badly as peers do: they close, reset, stall and babble at any moment.

What each does next is drawn from a seed, so a run can be repeated in kind (not in timing). A client notes only that it
did something; nobody here expects a particular answer.
"""

from __future__ import annotations

import asyncio
import contextlib
import random
import socket
import struct
from collections import Counter
from collections.abc import Awaitable, Callable
from typing import Any, Final

from benchmarks.proofs.hive import HOST
from benchmarks.proofs.part import Cue

# Longest time that a peer is silent on purpose (seconds): longer than the proxy's own limits in this proof.
STALL: Final = 2.5
# Longest pause between two steps.
PAUSE: Final = 0.03
# A client gives an answer up after this long.
PATIENCE: Final = 4.0

HOSTLINE: Final = b"Host: wild\r\n"
BIG: Final = 1_000_000

# Closing with this lingers for no time: the peer sees a reset.
_RESET: Final = struct.pack("ii", 1, 0)


class Wire:
    """A connection played step by step."""

    def __init__(self, sock: socket.socket, draw: random.Random) -> None:
        self.sock = sock
        self.draw = draw

    async def send(self, data: bytes) -> None:
        await asyncio.wait_for(asyncio.get_running_loop().sock_sendall(self.sock, data), PATIENCE)

    async def send_in_pieces(self, data: bytes) -> None:
        while data:
            cut = self.draw.randint(1, len(data))
            await self.send(data[:cut])
            data = data[cut:]
            await self.pause()

    async def receive(self, most: int = 65536) -> bytes:
        return await asyncio.wait_for(asyncio.get_running_loop().sock_recv(self.sock, most), PATIENCE)

    async def receive_all(self) -> None:
        while await self.receive():
            pass

    async def receive_head(self) -> bytes:
        """Up to the empty line, with what came after it; less if the peer ends."""
        data = b""
        while b"\r\n\r\n" not in data:
            more = await self.receive()
            if not more:
                break
            data += more
        return data

    async def pause(self) -> None:
        await asyncio.sleep(self.draw.random() * PAUSE)

    async def stall(self) -> None:
        await asyncio.sleep(self.draw.random() * STALL)

    def leave(self) -> None:
        """Close or reset, as it happens."""
        if self.draw.random() < 0.5:
            with contextlib.suppress(OSError):
                self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
        self.sock.close()


Step = Callable[[Wire], Awaitable[None]]


# --- clients ------------------------------------------------------------------------------------------------------


def _get(draw: random.Random, extra: bytes = b"") -> bytes:
    return b"GET /wild/%d HTTP/1.1\r\n" % draw.randrange(1000) + HOSTLINE + extra + b"\r\n"


def _post(length: int) -> bytes:
    return b"POST /wild/post HTTP/1.1\r\n%bContent-Length: %d\r\n\r\n" % (HOSTLINE, length)


async def silent(wire: Wire) -> None:
    await wire.pause()


async def leave_in_head(wire: Wire) -> None:
    head = _get(wire.draw)
    await wire.send_in_pieces(head[: wire.draw.randrange(1, len(head))])


async def stall_in_head(wire: Wire) -> None:
    head = _get(wire.draw)
    await wire.send(head[: wire.draw.randrange(1, len(head))])
    await wire.receive_all()


async def leave_in_body(wire: Wire) -> None:
    await wire.send(_post(100_000))
    await wire.send_in_pieces(b"b" * wire.draw.randrange(99_000))


async def stall_in_body(wire: Wire) -> None:
    await wire.send(_post(100_000) + b"b" * wire.draw.randrange(1000))
    await wire.receive_all()


async def leave_in_chunks(wire: Wire) -> None:
    await wire.send(b"PUT /wild/put HTTP/1.1\r\n" + HOSTLINE + b"Transfer-Encoding: chunked\r\n\r\n")
    for _ in range(wire.draw.randrange(5)):
        size = wire.draw.randrange(1, 20_000)
        await wire.send_in_pieces(b"%x\r\n%b\r\n" % (size, b"c" * size))


async def bad_chunks(wire: Wire) -> None:
    await wire.send(
        b"PUT /wild/put HTTP/1.1\r\n" + HOSTLINE + b"Transfer-Encoding: chunked\r\n\r\n5\r\nhello\r\nxyz\r\n"
    )
    await wire.receive_all()


async def leave_while_waiting(wire: Wire) -> None:
    await wire.send(_get(wire.draw))
    await wire.pause()


async def leave_in_answer(wire: Wire) -> None:
    await wire.send(_get(wire.draw))
    await wire.receive(wire.draw.randrange(1, 2000))
    await wire.pause()


async def read_nothing(wire: Wire) -> None:
    wire.sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    await wire.send(_get(wire.draw))
    await wire.stall()


async def babble(wire: Wire) -> None:
    await wire.send(wire.draw.randbytes(wire.draw.randrange(1, 3000)))
    await wire.pause()


async def pipeline(wire: Wire) -> None:
    await wire.send(b"".join(_get(wire.draw) for _ in range(wire.draw.randrange(2, 20))))
    await wire.receive(wire.draw.randrange(1, 5000))


async def half_close(wire: Wire) -> None:
    await wire.send(_get(wire.draw))
    wire.sock.shutdown(socket.SHUT_WR)
    await wire.receive_all()


async def upgrade(wire: Wire) -> None:
    await wire.send(_get(wire.draw, b"Connection: upgrade\r\nUpgrade: wild\r\n"))
    await wire.receive()
    await wire.send_in_pieces(b"u" * wire.draw.randrange(1, 5000))
    await wire.receive()


async def expect(wire: Wire) -> None:
    await wire.send(
        b"POST /wild/e HTTP/1.1\r\n"
        + HOSTLINE
        + b"Content-Length: 5\r\nExpect: 100-continue\r\nConnection: close\r\n\r\n"
    )
    await wire.receive()
    await wire.send(b"hello")
    await wire.receive_all()


async def behave(wire: Wire) -> None:
    await wire.send_in_pieces(_get(wire.draw, b"Connection: close\r\n"))
    await wire.receive_all()


CLIENT_WAYS: Final[tuple[Step, ...]] = (
    silent,
    leave_in_head,
    stall_in_head,
    leave_in_body,
    stall_in_body,
    leave_in_chunks,
    bad_chunks,
    leave_while_waiting,
    leave_in_answer,
    read_nothing,
    babble,
    pipeline,
    half_close,
    upgrade,
    expect,
    behave,
)


async def crowd(cue: Cue, web: int, count: int, seed: int) -> dict[str, int]:
    """`count` clients, each coming and going until told to stop. How often each way was taken."""
    taken: Counter[str] = Counter()

    async def come_and_go(number: int) -> None:
        draw = random.Random(seed * 1000 + number)
        while not cue.stop.is_set():
            sock = socket.socket()
            sock.setblocking(False)
            wire = Wire(sock, draw)
            way = draw.choice(CLIENT_WAYS)
            with contextlib.suppress(OSError, TimeoutError):
                await asyncio.get_running_loop().sock_connect(sock, (HOST, web))
                await way(wire)
            wire.leave()
            taken[way.__name__] += 1

    cue.ready()
    await asyncio.gather(*map(come_and_go, range(count)))
    return dict(taken)


# --- origins ------------------------------------------------------------------------------------------------------

OK: Final = b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello"


async def answer(wire: Wire) -> None:
    await wire.send(OK)


async def answer_in_pieces(wire: Wire) -> None:
    await wire.send_in_pieces(OK)


async def answer_in_chunks(wire: Wire) -> None:
    await wire.send_in_pieces(
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\nx-trailer: 1\r\n\r\n"
    )


async def answer_big(wire: Wire) -> None:
    await wire.send(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % BIG + b"B" * BIG)


async def answer_until_close(wire: Wire) -> None:
    await wire.send(b"HTTP/1.0 200 OK\r\n\r\n" + b"z" * wire.draw.randrange(10_000))
    raise ConnectionError


async def answer_interim(wire: Wire) -> None:
    await wire.send_in_pieces(b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\n\r\n" + OK)


async def leave_unanswered(wire: Wire) -> None:
    raise ConnectionError


async def leave_in_answer_head(wire: Wire) -> None:
    await wire.send(OK[: wire.draw.randrange(1, 30)])
    raise ConnectionError


async def leave_in_answer_body(wire: Wire) -> None:
    await wire.send(b"HTTP/1.1 200 OK\r\nContent-Length: 100000\r\n\r\n" + b"i" * wire.draw.randrange(90_000))
    raise ConnectionError


async def stall_before_answer(wire: Wire) -> None:
    await wire.stall()
    await wire.send(OK)


async def stall_in_answer(wire: Wire) -> None:
    await wire.send(b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n" + b"s" * 50)
    await wire.stall()
    await wire.send(b"s" * 50)


async def answer_nonsense(wire: Wire) -> None:
    await wire.send(wire.draw.randbytes(200))


async def answer_too_much(wire: Wire) -> None:
    await wire.send(OK + b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")


async def switch(wire: Wire) -> None:
    await wire.send(b"HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: wild\r\n\r\n")
    for _ in range(wire.draw.randrange(4)):
        await wire.send(await wire.receive())
    raise ConnectionError


ORIGIN_WAYS: Final[tuple[Step, ...]] = (
    *(answer,) * 6,  # connections must also live long enough to be used again
    answer_in_pieces,
    answer_in_chunks,
    answer_big,
    answer_until_close,
    answer_interim,
    leave_unanswered,
    leave_in_answer_head,
    leave_in_answer_body,
    stall_before_answer,
    stall_in_answer,
    answer_nonsense,
    answer_too_much,
    switch,
)


async def origin(cue: Cue, port: int, seed: int) -> dict[str, int]:
    """Answers requests in one of ORIGIN_WAYS; sometimes it closes or resets a connection that it is done with."""
    taken: Counter[str] = Counter()
    loop = asyncio.get_running_loop()
    numbers = iter(range(10**9))
    tasks: set[asyncio.Task[Any]] = set()

    async def serve(wire: Wire) -> None:
        with contextlib.suppress(OSError, TimeoutError):
            while wire.draw.random() < 0.9:
                head = await wire.receive_head()
                if b"\r\n\r\n" not in head:
                    break
                way = switch if b"pgrade: wild" in head and wire.draw.random() < 0.7 else wire.draw.choice(ORIGIN_WAYS)
                taken[way.__name__] += 1
                if b"Content-Length: 0" not in head and head.startswith((b"POST", b"PUT")) and wire.draw.random() < 0.7:
                    await wire.receive()
                await way(wire)
        wire.leave()

    listener = socket.create_server((HOST, port), backlog=256)
    listener.setblocking(False)
    cue.ready()
    stopped = asyncio.create_task(cue.stop.wait())
    while not stopped.done():
        accepting = asyncio.create_task(loop.sock_accept(listener))
        await asyncio.wait({accepting, stopped}, return_when=asyncio.FIRST_COMPLETED)
        if not accepting.done():
            accepting.cancel()
            break
        sock, _ = accepting.result()
        sock.setblocking(False)
        task = loop.create_task(serve(Wire(sock, random.Random(seed * 1_000_003 + next(numbers)))))
        tasks.add(task)
        task.add_done_callback(tasks.discard)
    for task in tasks:
        task.cancel()
    return dict(taken)
