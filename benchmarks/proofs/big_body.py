"""Proof: bodies of any size pass unchanged in memory that stays flat, however slow either side is.

Downloads of 10 GB (Content-Length) by a client that reads 100 MB/s and by one that reads as fast as it can; an upload
of 1 GB in chunks with trailers; a reader and an origin of 1 MB/s for a minute. The worker's memory is watched from
after a warm-up to the end of each.
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import itertools
import json
import random
import socket
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any, Final

import h11

from benchmarks.proofs import content
from benchmarks.proofs.evidence import Evidence
from benchmarks.proofs.hive import HOST, Hive, endpoints, free_port
from benchmarks.proofs.part import Cue, Part
from benchmarks.proofs.watch import MIB, Watch

PROMISE: Final = "bodies of any size pass unchanged, in memory that stays flat, however slow either side is"

MB: Final = 1_000_000
FLAT: Final = 2 * MIB

# One send of the slow origin and one read of the slow client: about twenty a second at 1 MB/s.
SLOW_PIECE: Final = 50_000
FAST_PIECE: Final = content.MOST

# Longer than the slowest body here may take, so that a body that hangs fails in words.
SOCKET_LIMIT: Final = 60.0


@dataclass(frozen=True, slots=True)
class Size:
    """How much of everything: the whole proof, or the few seconds that a test has."""

    download: int
    upload: int
    slow: int
    warm_up: int
    paced: float  # bytes a second of the client that does not read as fast as it can
    limit: float  # seconds that one body may take


FULL: Final = Size(10_000 * MB, 1_000 * MB, 60 * MB, 64 * MB, 100 * MB, 300.0)
SHORT: Final = Size(200 * MB, 30 * MB, 1 * MB, 32 * MB, 100 * MB, 60.0)


def prove(evidence: Evidence, folder: Path) -> None:
    size = SHORT if evidence.short else FULL
    port, web = free_port(), free_port()
    with Part(origin, port, str(folder)), Hive(config(web, port), folder) as hive:
        worker = hive.worker()
        evidence.versions["h11"] = version("h11")
        # The first bodies touch code and rows of statistics that no request has touched before.
        for _ in range(1 if evidence.short else 2):
            run_part(download, web, size.warm_up, 0.0, 0.0, limit=size.limit)
            run_part(upload, web, size.warm_up // 4, limit=size.limit)

        def whole(name: str, *bodies: Callable[[], dict[str, Any]]) -> None:
            with Watch(worker) as watch:
                results = in_parallel(bodies)
            for result in results:
                judge(evidence, name, result)
            judge_memory(evidence, name, watch)

        gigabytes = f"{size.download / 1e9:g} GB"
        whole(
            f"{gigabytes} read at 100 MB/s",
            lambda: run_part(download, web, size.download, size.paced, 0.0, limit=size.limit),
        )
        whole(
            f"{gigabytes} read at full speed",
            lambda: run_part(download, web, size.download, 0.0, 0.0, limit=size.limit),
        )
        whole(
            f"{size.upload / 1e9:g} GB sent in chunks with trailers",
            lambda: run_part(upload, web, size.upload, limit=size.limit),
        )
        whole(
            "a reader and an origin of 1 MB/s at once",
            lambda: run_part(download, web, size.slow, 1.0 * MB, 0.0, limit=size.limit),
            lambda: run_part(download, web, size.slow, 0.0, 1.0 * MB, limit=size.limit),
        )
        evidence.claim("the log has no bug", not hive.bugs(), hive.bugs() or "none")


def config(web: int, port: int) -> dict[str, Any]:
    return {
        "listeners": [
            {"name": "web", "address": f"{HOST}:{web}", "routes": [{"name": "all", "service": "files"}]},
        ],
        "services": {"files": {"endpoints": endpoints(port)}},
    }


def run_part(function: Callable[..., Any], *arguments: object, limit: float) -> dict[str, Any]:
    with Part(function, *arguments) as part:
        result: dict[str, Any] = part.result(limit)
        return result


def in_parallel(calls: tuple[Callable[[], dict[str, Any]], ...]) -> list[dict[str, Any]]:
    with ThreadPoolExecutor(len(calls)) as pool:
        return [future.result() for future in [pool.submit(call) for call in calls]]


def judge(evidence: Evidence, name: str, result: dict[str, Any]) -> None:
    length = result["length"]
    same = result["got"] == length and result["digest"] == content.digest(length) and result["wrong_at"] is None
    found = f"{result['got']:,} bytes, sha256 {result['digest'][:16]}"
    if result["wrong_at"] is not None:
        found += f", wrong from {result['wrong_at']:,} on"
    evidence.claim(f"{name}: every byte arrives as it was sent", same, f"{found} in {result['seconds']:.1f} s")
    if "trailers" in result:
        evidence.claim(f"{name}: the trailers arrive", result["trailers"], result["said"])
    evidence.note(f"{name}: MB/s", round(result["got"] / result["seconds"] / MB, 1))


def judge_memory(evidence: Evidence, name: str, watch: Watch) -> None:
    flat = watch.pss.growth < FLAT and watch.private.growth < FLAT
    evidence.claim(
        f"{name}: the worker's memory grows by less than 2 MiB",
        flat,
        f"PSS {watch.pss}; private {watch.private}; {watch.samples} samples",
    )


# --- the client ---------------------------------------------------------------------------------------------------


async def download(cue: Cue, web: int, length: int, read_rate: float, send_rate: float) -> dict[str, Any]:
    """GET a body of `length` bytes, reading at most `read_rate` bytes a second; the origin sends at `send_rate`."""
    cue.ready()
    return await asyncio.to_thread(_download, web, length, read_rate, send_rate)


def _download(web: int, length: int, read_rate: float, send_rate: float) -> dict[str, Any]:
    check = content.Check()
    room = memoryview(bytearray(SLOW_PIECE if 0 < read_rate <= MB else FAST_PIECE))
    began = time.monotonic()
    with socket.create_connection((HOST, web), SOCKET_LIMIT) as sock:
        sock.sendall(f"GET /down?{length}&{send_rate:.0f} HTTP/1.1\r\nHost: proof\r\n\r\n".encode())
        head, first = _read_head(sock)
        if not head.startswith(b"HTTP/1.1 200") or f"content-length: {length}".encode() not in head.lower():
            raise AssertionError(f"unexpected head: {head!r}")
        check.take(first)
        pace = content.Pace(read_rate)
        while check.length < length:
            got = sock.recv_into(room[: min(len(room), length - check.length)])
            if not got:
                break
            check.take(room[:got])
            pace.after(got)
    return {
        "length": length,
        "got": check.length,
        "digest": check.digest,
        "wrong_at": check.wrong_at,
        "seconds": time.monotonic() - began,
    }


async def upload(cue: Cue, web: int, length: int) -> dict[str, Any]:
    """PUT a chunked body of `length` bytes with chunks of many sizes; its trailers say what it was."""
    cue.ready()
    return await asyncio.to_thread(_upload, web, length)


def _upload(web: int, length: int) -> dict[str, Any]:
    began = time.monotonic()
    sent = hashlib.sha256()
    with socket.create_connection((HOST, web), SOCKET_LIMIT) as sock:
        sock.sendall(
            b"PUT /up HTTP/1.1\r\nHost: proof\r\nTransfer-Encoding: chunked\r\nTrailer: x-digest, x-length\r\n\r\n"
        )
        for data in content.pieces(length, chunk_sizes()):
            sent.update(data)
            sock.sendall(b"%x\r\n%b\r\n" % (len(data), bytes(data)))
        trailers = {"x-digest": sent.hexdigest(), "x-length": str(length)}
        lines = "".join(f"{name}: {value}\r\n" for name, value in trailers.items())
        sock.sendall(f"0\r\n{lines}\r\n".encode())
        head, body = _read_head(sock)
        if not head.startswith(b"HTTP/1.1 200"):
            raise AssertionError(f"unexpected head: {head!r}")
        while not body.endswith(b"\n"):
            more = sock.recv(65536)
            if not more:
                break
            body += more
    seen = json.loads(body)
    return {
        "length": length,
        "got": seen["length"],
        "digest": seen["digest"],
        "wrong_at": seen["wrong_at"],
        "trailers": seen["trailers"] == trailers,
        "said": ", ".join(f"{name} {value[:16]}" for name, value in seen["trailers"].items()) or "none",
        "seconds": time.monotonic() - began,
    }


def chunk_sizes() -> Iterator[int]:
    """Single bytes, pages, buffers, and one more or less than those."""
    draw = random.Random(7)
    edges = [1, 2, 15, 16, 17, 4095, 4096, 4097, 65535, 65536, 65537, content.MOST]
    while True:
        yield draw.choice(edges) if draw.random() < 0.3 else draw.randrange(16_384, content.MOST)


def _read_head(sock: socket.socket) -> tuple[bytes, bytes]:
    """Head and whatever came with it."""
    data = b""
    while b"\r\n\r\n" not in data:
        more = sock.recv(4096)
        if not more:
            raise AssertionError(f"closed in the head, after {data!r}")
        data += more
    head, _, rest = data.partition(b"\r\n\r\n")
    return head, rest


# --- the origin ---------------------------------------------------------------------------------------------------


async def origin(cue: Cue, port: int, folder: str) -> None:
    """Sends content of any length and checks what it is sent; h11 understands the requests."""
    file = content.ContentFile(Path(folder))
    listener = socket.create_server((HOST, port), backlog=64)
    threading.Thread(target=_accept, args=(listener, file), daemon=True).start()
    cue.ready()
    await cue.stop.wait()


def _accept(listener: socket.socket, file: content.ContentFile) -> None:
    for number in itertools.count():
        sock, _ = listener.accept()
        threading.Thread(target=_serve, args=(sock, file), name=f"connection {number}", daemon=True).start()


def _serve(sock: socket.socket, file: content.ContentFile) -> None:
    machine = h11.Connection(h11.SERVER, max_incomplete_event_size=64 * 1024)
    check = content.Check()
    target = b""
    with sock, contextlib.suppress(ConnectionError):
        while True:
            event = machine.next_event()
            if event is h11.NEED_DATA:
                machine.receive_data(sock.recv(65536))
            elif isinstance(event, h11.Request):
                target, check = event.target, content.Check()
            elif isinstance(event, h11.Data):
                for start in range(0, len(event.data), content.MOST):
                    check.take(bytes(event.data[start : start + content.MOST]))
            elif isinstance(event, h11.EndOfMessage):
                if target.startswith(b"/down?"):
                    length, rate = (int(word) for word in target.partition(b"?")[2].split(b"&"))
                    _send(sock, machine, file, length, rate)
                else:
                    _report(sock, machine, check, event)
                machine.start_next_cycle()
            else:
                return


def _send(sock: socket.socket, machine: h11.Connection, file: content.ContentFile, length: int, rate: int) -> None:
    sock.sendall(machine.send(h11.Response(status_code=200, headers=[("Content-Length", str(length))])) or b"")
    if rate:
        pace = content.Pace(rate)
        for data in content.pieces(length, itertools.repeat(SLOW_PIECE)):
            sock.sendall(data)
            pace.after(len(data))
    else:
        file.send(sock, length)
    # h11 counts bytes that passed it by only if it is handed something of that length.
    machine.send_with_data_passthrough(h11.Data(data=_Length(length)))  # type: ignore[arg-type]
    machine.send(h11.EndOfMessage())


class _Length:
    """Stands for so many bytes that were sent already."""

    def __init__(self, length: int) -> None:
        self._length = length

    def __len__(self) -> int:
        return self._length


def _report(sock: socket.socket, machine: h11.Connection, check: content.Check, end: h11.EndOfMessage) -> None:
    trailers = {name.decode(): value.decode() for name, value in end.headers}
    seen = {"length": check.length, "digest": check.digest, "wrong_at": check.wrong_at, "trailers": trailers}
    body = json.dumps(seen).encode() + b"\n"
    head = h11.Response(status_code=200, headers=[("Content-Length", str(len(body)))])
    sock.sendall((machine.send(head) or b"") + (machine.send(h11.Data(data=body)) or b""))
    machine.send(h11.EndOfMessage())
