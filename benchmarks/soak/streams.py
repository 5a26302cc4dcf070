"""Clients of streams and datagrams: WebSockets, TCP connections that stay or go, sessions of UDP; all is echoed."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import time
from typing import Any, Final

from benchmarks.proofs.hive import HOST
from benchmarks.proofs.part import Cue
from benchmarks.soak.scene import Scene, body_of
from benchmarks.soak.tally import Failure, Oops, Walk
from benchmarks.soak.web import LIMIT

# A datagram may be lost on purpose; one that is only late is not.
ECHO_LIMIT: Final = 9.0

# Messages of a WebSocket, and datagrams of a session, after which it ends by itself.
MESSAGES: Final = 200
DATAGRAMS: Final = 40

SIZES: Final = (1, 125, 126, 3000, 65_535, 65_536)


async def ws(walk: Walk, scene: Scene) -> None:
    from websockets.asyncio.client import connect
    from websockets.exceptions import ConnectionClosed, InvalidHandshake

    async def one(connection: Any) -> None:
        name = walk.next()
        length = SIZES[walk.number % len(SIZES)]
        message: str | bytes = body_of(name, length) if walk.number % 2 else f"{name} ü " * (length // 30 + 1)
        await connection.send(message)
        if await connection.recv() != message:
            raise Oops("wrong", f"{name}: another message came back")

    while not walk.over:
        began = time.monotonic()
        try:
            async with connect(
                f"ws://{HOST}:{scene.ports.web}/chat",
                compression=None,
                proxy=None,
                ping_interval=None,
                open_timeout=LIMIT,
            ) as connection:
                for _ in range(MESSAGES):
                    began = time.monotonic()
                    async with asyncio.timeout(LIMIT):
                        await one(connection)
                    walk.tally.done["ws"] += 1
                    await walk.pause(0.4)
                    began = time.monotonic()
                    if walk.over:
                        break
        except Oops as problem:
            _fail(walk, "ws", problem.kind, began, problem.detail)
        except (ConnectionClosed, InvalidHandshake, OSError, EOFError) as problem:
            _fail(walk, "ws", "ended", began, repr(problem))
        except TimeoutError:
            _fail(walk, "ws", "late", began, f"no echo within {LIMIT:g} s")
        await walk.pause(0.1)


def _fail(walk: Walk, traffic: str, kind: str, began: float, detail: str) -> None:
    walk.tally.fail(Failure(traffic, kind, began, time.monotonic(), detail))


async def tcp_long(walk: Walk, scene: Scene) -> None:
    """A connection that stays, with something now and then."""
    while not walk.over:
        began = time.monotonic()
        writer = None
        try:
            reader, writer = await asyncio.open_connection(HOST, scene.ports.raw)
            for _ in range(MESSAGES):
                began = time.monotonic()
                name = walk.next()
                sent = body_of(name, SIZES[walk.number % len(SIZES)])
                writer.write(sent)
                async with asyncio.timeout(LIMIT):
                    if await reader.readexactly(len(sent)) != sent:
                        raise Oops("wrong", f"{name}: other bytes came back")
                walk.tally.done["tcp_long"] += 1
                await walk.pause(0.4)
                if walk.over:
                    break
            writer.write_eof()
            async with asyncio.timeout(LIMIT):
                if rest := await reader.read():
                    raise Oops("wrong", f"{len(rest)} bytes after the end")
        except Oops as problem:
            _fail(walk, "tcp_long", problem.kind, began, problem.detail)
        except TimeoutError:
            _fail(walk, "tcp_long", "late", began, f"no echo within {LIMIT:g} s")
        except (OSError, EOFError) as problem:
            _fail(walk, "tcp_long", "ended", began, repr(problem))
        if writer is not None:
            writer.close()
        await walk.pause(0.1)


async def tcp_short(walk: Walk, scene: Scene) -> None:
    """A connection that says something, ends its side and reads to the end."""

    async def one(name: str) -> None:
        sent = body_of(name, walk.random.randint(1, 30_000))
        reader, writer = await asyncio.open_connection(HOST, scene.ports.raw)
        try:
            writer.write(sent)
            writer.write_eof()
            back = await reader.read()
            while more := await reader.read():
                back += more
        finally:
            writer.close()
        if back != sent:
            kind = "cut" if sent.startswith(back) else "wrong"
            raise Oops(kind, f"{name}: {len(back)} of {len(sent)} bytes came back")

    while not walk.over:
        name = walk.next()
        await walk.attempt("tcp_short", one(name), LIMIT)
        await walk.pause(0.3)


async def udp(walk: Walk, scene: Scene) -> None:
    """A session: a socket, its datagrams one after the other."""
    loop = asyncio.get_running_loop()
    while not walk.over:
        sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        sock.setblocking(False)
        sock.connect((HOST, scene.ports.dgram))
        for _ in range(DATAGRAMS):
            name = walk.next()
            sent = f"{name} ".encode() + body_of(name, 64)
            began = time.monotonic()
            try:
                sock.send(sent)
                async with asyncio.timeout(ECHO_LIMIT):
                    while (back := await loop.sock_recv(sock, 4096)) != sent:
                        # One that was given up before.
                        if not back.startswith(f"{walk.name}-".encode()):
                            raise Oops("wrong", f"{name}: {back[:80]!r} came back")
            except Oops as problem:
                _fail(walk, "udp", problem.kind, began, problem.detail)
            except (TimeoutError, OSError) as problem:
                _fail(walk, "udp", "lost", began, repr(problem))
            else:
                walk.tally.done["udp"] += 1
            await walk.pause(0.25)
            if walk.over:
                break
        with contextlib.suppress(OSError):
            sock.close()


KINDS: Final[dict[str, tuple[int, Any]]] = {
    "ws": (5, ws),
    "tcp_long": (4, tcp_long),
    "tcp_short": (2, tcp_short),
    "udp": (4, udp),
}


async def stream_crowd(cue: Cue, scene: Scene, seed: str, admin: int) -> Any:
    """Streams, and all others that ask rarely."""
    from benchmarks.soak import names, operators
    from benchmarks.soak.crowd import walk_all

    others = {kind: (count, _with(run, admin)) for kind, (count, run) in operators.KINDS.items()}
    return await walk_all(cue, scene, seed, {**KINDS, **names.KINDS, **others})


def _with(run: Any, admin: int) -> Any:
    return lambda walk, scene: run(walk, scene, admin)
