"""Proof: listeners, routes and endpoints come and go under load, and what has nothing to do with them stays.

A hundred files, each with other listeners (HTTP and TCP, on four addresses), other routes and other endpoints than the
one before, also of the services in use. Meanwhile wrk keeps 32 connections busy, and 200 WebSockets and 200 TCP streams
that were opened before the first change echo until the last. After each change a new connection is tried: every
listener of the file answers, every other address refuses.
"""

from __future__ import annotations

import asyncio
import contextlib
import functools
import itertools
import socket
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from benchmarks.proofs.evidence import Evidence, ProofError
from benchmarks.proofs.hive import HOST, Hive, eventually, free_port
from benchmarks.proofs.part import Cue, Part
from benchmarks.proofs.peers import Nginx, Wrk, is_listening, nginx_version, wrk_version
from benchmarks.proofs.reload import ECHO_LIMIT, IN_FORCE_LIMIT, PAUSE, WAYS, WRK_CONNECTIONS, chat, echo_server

PROMISE: Final = "listeners, routes and endpoints come and go, and connections of the others stay"

# Sizes of what a stream sends in turn: around what fits one read, and one that does not.
SIZES: Final = (1, 100, 16_384, 65_536, 200_000)

# TCP connections that are being opened at the same time.
OPENING: Final = 50

CLIENT_LIMIT: Final = 10.0
CLOSED_LIMIT: Final = 5.0

_SERVER: Final = """
    server {{
        listen {host}:{port};
        location / {{ return 200 "{port}\\n"; }}
    }}
"""

Json = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Ports:
    """`web` and `store` are always there, `extra` now and then. `pages` are nginx, `echoes` echo streams."""

    web: int
    store: int
    chat: int
    extra: tuple[int, ...]
    pages: tuple[int, ...]
    echoes: tuple[int, ...]


def draw_ports() -> Ports:
    extra, pages, echoes = (tuple(free_port() for _ in range(count)) for count in (4, 3, 3))
    return Ports(free_port(), free_port(), free_port(), extra, pages, echoes)


@dataclass(frozen=True, slots=True)
class File:
    """What number `number` has. The first endpoint of every service stays, others come and go."""

    number: int

    def listens(self, index: int) -> bool:
        """On the extra address `index`; by turns of different lengths, so that all combinations occur."""
        return self.number // (index + 1) % 2 == 1

    def protocol(self, index: int) -> str:
        """An address changes sides each time all have come and gone."""
        return "tcp" if (index + self.number // 8) % 2 else "http"

    def config(self, ports: Ports) -> Json:
        name = str(self.number)
        # Shown by the worker, so that it can be told when it is in force.
        shown = {"response_headers": {"set": {"x-proof": name}}}
        routes = [
            {"name": "chat", "match": {"path_prefix": "/chat"}, "service": "chat"},
            {"name": "all", "service": "pages", "filters": [shown]},
            *(
                {"name": f"extra-{index}", "match": {"path_prefix": f"/{name}/{index}"}, "service": "pages"}
                for index in range(self.number % 5)
            ),
        ]
        listeners: list[Json] = [
            {"name": "web", "address": f"{HOST}:{ports.web}", "routes": routes},
            {"name": "store", "address": f"{HOST}:{ports.store}", "protocol": "tcp", "service": "echo"},
        ]
        for index, port in enumerate(ports.extra):
            if self.listens(index):
                listeners.append(self._extra(index, port))
        return {
            "listeners": listeners,
            "services": {
                "chat": {"endpoints": self._endpoints((ports.chat,))},
                "pages": {"endpoints": self._endpoints(ports.pages)},
                "echo": {"endpoints": self._endpoints(ports.echoes)},
            },
        }

    def _extra(self, index: int, port: int) -> Json:
        listener: Json = {"name": f"extra-{index}", "address": f"{HOST}:{port}"}
        if self.protocol(index) == "tcp":
            return {**listener, "protocol": "tcp", "service": "echo"}
        return {**listener, "routes": [{"name": "all", "service": "pages"}]}

    def _endpoints(self, ports: tuple[int, ...]) -> list[Json]:
        kept = [port for index, port in enumerate(ports) if not index or self.number // index % 2]
        return [{"id": f"e{port}", "address": f"{HOST}:{port}"} for port in kept]


def prove(evidence: Evidence, folder: Path) -> None:
    changes, count = (8, 20) if evidence.short else (100, 200)
    ports = draw_ports()
    evidence.versions.update(nginx=nginx_version(), wrk=wrk_version())
    pages = "".join(_SERVER.format(host=HOST, port=port) for port in ports.pages)
    with (
        Nginx(folder, pages, ports.pages),
        Part(echo_server, ports.chat),
        Part(echo_streams, ports.echoes),
        Hive(File(0).config(ports), folder) as hive,
    ):
        worker = hive.worker()
        with (
            Part(chat, ports.web, count) as chatting,
            Part(stream, ports.store, count) as streaming,
            Wrk(folder, ["GET /a/page HTTP/1.1\r\nHost: proof\r\n\r\n"], ports.web, WRK_CONNECTIONS) as wrk,
        ):
            begun = time.monotonic()
            change_often(evidence, hive, ports, changes)
            evidence.note("changes per second", round(changes / (time.monotonic() - begun), 1))
            report = wrk.finish()
            found = {"WebSockets": chatting.finish(), "TCP streams": streaming.finish()}
        evidence.claim(
            "wrk: no request fails",
            not report.failures and report.requests > 0,
            f"{report.requests:,} requests, failures: {report.failures or 'none'}",
        )
        for what, result in found.items():
            evidence.claim(
                f"{count} {what} opened before stay open, and all that they send comes back",
                result["open"] == count and result["sent"] == result["echoed"] > 0 and not result["failures"],
                f"{result['open']} open, {result['echoed']:,} of {result['sent']:,} came back"
                + "".join(f"; {failure}" for failure in result["failures"][:3]),
            )
        evidence.claim("it is the same worker process", hive.worker() == worker, f"{worker}, then {hive.worker()}")
        evidence.claim("the log has no bug", not hive.bugs(), hive.bugs()[:3] or "none")
        if hive.errors():
            evidence.note("first answers of 400 and above", hive.errors())


def change_often(evidence: Evidence, hive: Hive, ports: Ports, changes: int) -> None:
    wrong: list[str] = []
    tried = 0
    ways = itertools.cycle(WAYS)
    for number, (name, ask) in zip(range(1, changes + 1), ways, strict=False):
        file = File(number)
        hive.write(hive.complete(file.config(ports)))
        ask(hive)
        eventually(
            functools.partial(_is_in_force, ports.web, number),
            f"file {number} is in force (asked for by {name}); problems: {hive.problems()}",
            IN_FORCE_LIMIT,
        )
        for index, port in enumerate(ports.extra):
            tried += 1
            if problem := try_extra(file, index, port):
                wrong.append(f"file {number}, address {index}: {problem}")
    evidence.claim(
        f"{changes} changes: every listener of the file answers, and no other",
        not wrong,
        f"{tried} tried; {wrong[:3] or 'all right'}",
    )


def try_extra(file: File, index: int, port: int) -> str:
    """What is wrong with this address; "" if it does as the file says."""
    if not file.listens(index):
        with contextlib.suppress(ProofError):  # the socket is closed by another process than the one that answers
            eventually(lambda: not is_listening(port), "nobody listens", CLOSED_LIMIT)
        return "somebody listens" if is_listening(port) else ""
    tcp = file.protocol(index) == "tcp"
    asked = b"are you an echo?" if tcp else b"GET / HTTP/1.1\r\nHost: proof\r\nConnection: close\r\n\r\n"
    try:
        with socket.create_connection((HOST, port), CLIENT_LIMIT) as client:
            client.sendall(asked)
            got = client.recv(100)
    except OSError as error:
        return repr(error)
    good = got == asked if tcp else got.startswith(b"HTTP/1.1 200 ")
    return "" if good else f"answered {got!r}"


def _is_in_force(port: int, number: int) -> bool:
    """By what the worker answers."""
    with socket.create_connection((HOST, port), CLIENT_LIMIT) as client:
        client.sendall(b"GET /a/page HTTP/1.1\r\nHost: proof\r\nConnection: close\r\n\r\n")
        head = b""
        while more := client.recv(4096):
            head += more
    return f"\r\nx-proof: {number}\r\n".encode() in head.lower()


# --- the TCP streams ----------------------------------------------------------------------------------------------


async def echo_streams(cue: Cue, ports: tuple[int, ...]) -> None:
    async def echo(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while data := await reader.read(65_536):
                writer.write(data)
                await writer.drain()
        except OSError:
            return  # the client says what it saw
        finally:
            writer.close()

    servers = [await asyncio.start_server(echo, HOST, port, backlog=1024) for port in ports]
    cue.ready()
    await cue.stop.wait()
    for server in servers:
        server.close()


async def stream(cue: Cue, port: int, count: int) -> dict[str, Any]:
    """`count` connections; ready when all have echoed once; each sends until told to stop."""
    result: dict[str, Any] = {"open": 0, "sent": 0, "echoed": 0, "failures": []}
    gate = asyncio.Semaphore(OPENING)

    async def open_one() -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        async with gate:
            reader, writer = await asyncio.open_connection(HOST, port)
            await say(reader, writer, b"hello")
            return reader, writer

    async def say(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, message: bytes) -> None:
        result["sent"] += 1
        writer.write(message)
        back = await asyncio.wait_for(reader.readexactly(len(message)), ECHO_LIMIT)
        if back != message:
            raise ProofError(f"{len(message)} bytes came back changed")
        result["echoed"] += 1

    async def talk(name: int, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        for turn in itertools.count(name):
            if cue.stop.is_set():
                break
            size = SIZES[turn % len(SIZES)]
            await say(reader, writer, (f"{name}:{turn} " * (size // 4 + 1)).encode()[:size])
            await asyncio.sleep(PAUSE)
        writer.write_eof()
        if await asyncio.wait_for(reader.read(), ECHO_LIMIT):
            raise ProofError("more came back than was sent")
        result["open"] += 1
        writer.close()

    connections = await asyncio.gather(*(open_one() for _ in range(count)))
    cue.ready()
    talks = [talk(name, *connection) for name, connection in enumerate(connections)]
    for name, outcome in enumerate(await asyncio.gather(*talks, return_exceptions=True)):
        if isinstance(outcome, BaseException):
            result["failures"].append(f"stream {name}: {outcome!r}")
    return result
