"""Proof: a thousand WebSockets at once pass every message, ping and close code unchanged, and half-closes as they are.

Both ends are the `websockets` library, which frames, masks and checks on its own. All connections are open at the same
time before the first message is sent; each then goes through a script of its own, and ends in one of five ways. The
server says how it saw each connection end. Half-closes are played on raw sockets after the upgrade.
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import socket
import threading
from importlib.metadata import version
from pathlib import Path
from typing import Any, Final

from benchmarks.proofs import content
from benchmarks.proofs.evidence import Evidence
from benchmarks.proofs.hive import HOST, Hive, endpoints, eventually, free_port
from benchmarks.proofs.part import Cue, Part

PROMISE: Final = "a thousand WebSockets at once pass every message, ping and close code unchanged"

# Connections that are being opened at the same time; an origin in Python has a short backlog.
OPENING: Final = 50
LIMIT: Final = 60.0

# Seconds for the last closes to go through.
LAST_CLOSES: Final = 10.0

# Around the three ways in which a frame tells its length, and around our own buffers.
SIZES: Final = (0, 1, 125, 126, 127, 4095, 4096, 65535, 65536, 65537, 200_000)

# How a connection ends: (who ends it, code, reason). None: the client's socket is cut off.
ENDINGS: Final[tuple[tuple[str, int | None, str], ...]] = (
    ("client", 1000, ""),
    ("client", 4001, "the client has had enough, çok"),
    ("server", 3000, "the server closes for a reason"),
    ("server", 1001, "going away"),
    ("client", None, ""),
)

# RFC 6455 section 7.1.5: what the other side sees of a connection that was cut off.
CUT_OFF: Final = 1006

# Bytes that a half-closed connection still carries in the direction that is open.
LEFT: Final = 5_000_000


def prove(evidence: Evidence, folder: Path) -> None:
    count = 50 if evidence.short else 1000
    web, origin, raw = free_port(), free_port(), free_port()
    evidence.versions["websockets"] = version("websockets")
    with Part(server, origin) as serving, Hive(config(web, origin, raw), folder) as hive:
        with Part(crowd, web, count) as playing:
            opened = hive.metric("hivemesh_downstream_connections_active", listener="web")
            evidence.claim(f"{count} WebSockets are open at once", opened == count, f"{opened:.0f} by the gauge")
            played = playing.finish(LIMIT * 3)
        seen = serving.finish()
        failures = played["failures"]
        for what in ("messages", "fragmented", "pings", "pongs"):
            sent, good = played["sent"][what], played["good"][what]
            evidence.claim(
                f"{NAMES[what]} come back unchanged", sent == good > 0 and not failures, f"{good:,} of {sent:,}"
            )
        evidence.claim("no connection fails", not failures, _listed(failures))
        judge_endings(evidence, count, seen, played["closes"])
        with socket.create_server((HOST, raw)) as listener:
            half_close(evidence, "the client has ended its side: the origin's bytes still come", web, listener, True)
            half_close(evidence, "the origin has ended its side: the client's bytes still come", web, listener, False)
        gauges = eventually_idle(hive)
        evidence.claim("afterwards no request is in flight", gauges == 0, f"{gauges:.0f} in flight")
        evidence.claim("the log has no bug", not hive.bugs(), hive.bugs() or "none")


NAMES: Final = {
    "messages": "text and binary messages",
    "fragmented": "messages in fragments",
    "pings": "pings of the client",
    "pongs": "pings of the server",
}


def config(web: int, origin: int, raw: int) -> dict[str, Any]:
    routes = [
        {"name": "raw", "match": {"path_prefix": "/raw"}, "service": "raw"},
        {"name": "all", "service": "chat"},
    ]
    return {
        "listeners": [{"name": "web", "address": f"{HOST}:{web}", "routes": routes}],
        "services": {"chat": {"endpoints": endpoints(origin)}, "raw": {"endpoints": endpoints(raw)}},
    }


def _listed(failures: list[str]) -> str:
    return "; ".join(failures[:5]) or "none"


def eventually_idle(hive: Hive) -> float:
    with contextlib.suppress(Exception):
        eventually(lambda: hive.metric("hivemesh_downstream_requests_active") == 0, "no request is in flight", 10.0)
    return hive.metric("hivemesh_downstream_requests_active")


def judge_endings(evidence: Evidence, count: int, seen: dict[str, Any], closes: dict[str, Any]) -> None:
    """`seen`: code and reason by connection as the server saw them; `closes`: as the client did."""
    wrong = []
    for number in range(count):
        who, code, reason = ENDINGS[number % len(ENDINGS)]
        found = seen.get(str(number)) if who == "client" else closes.get(str(number))
        wanted = [CUT_OFF, ""] if code is None else [code, reason]
        if list(found or ()) != wanted:
            wrong.append(f"connection {number}: {found}, expected {wanted}")
    evidence.claim(
        "close codes and reasons arrive on the other side",
        not wrong,
        f"{count - len(wrong)} of {count}" + _after(wrong),
    )


def _after(wrong: list[str]) -> str:
    return "; " + "; ".join(wrong[:3]) if wrong else ""


# --- the crowd ----------------------------------------------------------------------------------------------------


async def crowd(cue: Cue, web: int, count: int) -> dict[str, Any]:
    """Ready when all are open; begins when told."""
    from websockets.asyncio.client import ClientConnection, connect

    kinds = ("messages", "fragmented", "pings", "pongs")
    result: dict[str, Any] = {"sent": dict.fromkeys(kinds, 0), "good": dict.fromkeys(kinds, 0)}
    result |= {"failures": [], "closes": {}}
    gate = asyncio.Semaphore(OPENING)

    async def open_one(number: int) -> ClientConnection:
        async with gate:
            return await connect(
                f"ws://{HOST}:{web}/{number}",
                compression="deflate" if number % 10 == 0 else None,
                proxy=None,
                ping_interval=None,
                open_timeout=LIMIT,
            )

    def count_up(kind: str, good: bool) -> None:
        result["sent"][kind] += 1
        result["good"][kind] += good

    async def play(number: int, connection: ClientConnection) -> None:
        size = SIZES[number % len(SIZES)]
        binary = bytes(content.piece(number * 1000, size))
        text = f"{number} " + "héllo wörld €" * (size // 16)
        for message in (text, binary):
            await connection.send(message)
            count_up("messages", await connection.recv() == message)
        parts = [text[: size // 3], "", text[size // 3 :], "end"]
        await connection.send(parts)
        count_up("fragmented", await connection.recv() == "".join(parts))
        await connection.send([binary, b"x", binary])
        count_up("fragmented", await connection.recv() == binary + b"x" + binary)
        await asyncio.wait_for(await connection.ping(binary[:125]), LIMIT)
        count_up("pings", True)
        await connection.send(f"ping {number}")
        count_up("pongs", await connection.recv() == f"pong {number}")
        who, code, reason = ENDINGS[number % len(ENDINGS)]
        if code is None:
            connection.transport.abort()
        elif who == "client":
            await connection.close(code, reason)
        else:
            await connection.send(f"close {code} {reason}")
            await connection.wait_closed()
            result["closes"][str(number)] = (connection.close_code, connection.close_reason)

    connections = await asyncio.gather(*map(open_one, range(count)))
    cue.ready()
    await cue.stop.wait()
    plays = [asyncio.wait_for(play(*both), LIMIT) for both in enumerate(connections)]
    for number, outcome in enumerate(await asyncio.gather(*plays, return_exceptions=True)):
        if isinstance(outcome, BaseException):
            result["failures"].append(f"connection {number}: {outcome!r}")
    return result


async def server(cue: Cue, port: int) -> dict[str, Any]:
    """Echoes; obeys `ping` and `close`; says how each connection ended, by its path."""
    from websockets.asyncio.server import ServerConnection, serve
    from websockets.exceptions import ConnectionClosed

    seen: dict[str, Any] = {}

    async def talk(connection: ServerConnection) -> None:
        with contextlib.suppress(ConnectionClosed):
            async for message in connection:
                if isinstance(message, str) and message.startswith("ping "):
                    await asyncio.wait_for(await connection.ping(message), LIMIT)
                    await connection.send(message.replace("ping", "pong"))
                elif isinstance(message, str) and message.startswith("close "):
                    _, code, reason = message.split(" ", 2)
                    await connection.close(int(code), reason)
                else:
                    await connection.send(message)
        await connection.wait_closed()
        assert connection.request is not None
        seen[connection.request.path.lstrip("/")] = (connection.close_code, connection.close_reason)

    async with serve(talk, HOST, port, ping_interval=None, backlog=1024) as running:
        cue.ready()
        await cue.stop.wait()
        # The clients are done, and their last closes are on the way.
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(LAST_CLOSES):
                while running.connections:
                    await asyncio.sleep(0.02)
    return seen


# --- half-closes --------------------------------------------------------------------------------------------------

_UPGRADE: Final = b"GET /raw HTTP/1.1\r\nHost: proof\r\nConnection: Upgrade\r\nUpgrade: raw\r\n\r\n"
_SWITCHED: Final = b"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: raw\r\n\r\n"


def half_close(evidence: Evidence, claim: str, web: int, listener: socket.socket, client_ends: bool) -> None:
    """One side says it is done and goes on reading; only then the other sends a few megabytes and ends too."""
    listener.settimeout(LIMIT)
    with socket.create_connection((HOST, web), LIMIT) as client:
        client.sendall(_UPGRADE)
        upstream, _ = listener.accept()
        with upstream:
            upstream.settimeout(LIMIT)
            _until_empty_line(upstream)
            upstream.sendall(_SWITCHED)
            _until_empty_line(client)
            ending, going_on = (client, upstream) if client_ends else (upstream, client)
            ending.sendall(b"last words")
            ending.shutdown(socket.SHUT_WR)
            heard = _all_of(going_on)
            got = _transfer(going_on, ending)
    good = heard == b"last words" and got == (LEFT, content.digest(LEFT))
    evidence.claim(claim, good, f"{got[0]:,} bytes after {heard!r} and an end")


def _transfer(sender: socket.socket, receiver: socket.socket) -> tuple[int, str]:
    """Send LEFT bytes and an end; what arrived."""

    def send() -> None:
        with contextlib.suppress(OSError):
            for data in content.pieces(LEFT, iter(lambda: 65536, 0)):
                sender.sendall(data)
            sender.shutdown(socket.SHUT_WR)

    thread = threading.Thread(target=send, daemon=True)
    thread.start()
    got = _all_of(receiver)
    thread.join(LIMIT)
    return len(got), hashlib.sha256(got).hexdigest()


def _all_of(sock: socket.socket) -> bytes:
    got = b""
    with contextlib.suppress(OSError):
        while more := sock.recv(65536):
            got += more
    return got


def _until_empty_line(sock: socket.socket) -> bytes:
    data = b""
    while not data.endswith(b"\r\n\r\n"):
        more = sock.recv(1)
        if not more:
            break
        data += more
    return data
