"""The cases of the proof `clients`: one program, one thing that it does through hivemesh, and what must come of it.

`run` returns what was seen, in words, and raises Unmet when it was not what it should be. Origins are told by the first
element of the path: /aiohttp, /h11, /nginx, /stdlib (http.server), /chat (a WebSocket that echoes).
"""

from __future__ import annotations

import asyncio
import functools
import hashlib
import http.client
import platform
import re
import socket
import subprocess
from collections.abc import Callable
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any, Final

import h11

from benchmarks.proofs import content
from benchmarks.proofs.hive import HOST, tool
from benchmarks.proofs.peers import nginx_version, wrk_version

LIMIT: Final = 60.0
BODY: Final = 2_000_000
PIPELINED: Final = 50


class Unmet(Exception):
    """What happened is not what should have."""


@dataclass(frozen=True, slots=True)
class Place:
    """Ports of hivemesh and of the nginx in front of it; `seconds` is how long a load generator runs."""

    web: int
    front: int
    folder: Path
    seconds: float

    @property
    def files(self) -> Path:
        return self.folder / "files"

    @property
    def body(self) -> Path:
        """BODY bytes of content."""
        return self.files / "body.bin"

    def write_files(self) -> None:
        self.files.mkdir()
        self.body.write_bytes(b"".join(content.pieces(BODY, iter(lambda: content.MOST, 0))))
        (self.files / "small.txt").write_text("small\n")
        # nginx's worker may run as another user.
        self.folder.chmod(0o755)


@dataclass(frozen=True, slots=True)
class Case:
    program: str
    name: str
    version: Callable[[], str]
    run: Callable[[Place], str]


CASES: list[Case] = []


def case(program: str, name: str, version: Callable[[], str]) -> Callable[[Callable[[Place], str]], None]:
    def add(run: Callable[[Place], str]) -> None:
        CASES.append(Case(program, name, version, run))

    return add


def expect(found: object, wanted: object, what: str) -> None:
    if found != wanted:
        raise Unmet(f"{what}: {found!r}, expected {wanted!r}")


def expect_body(found: bytes, what: str) -> str:
    expect((len(found), hashlib.sha256(found).hexdigest()), (BODY, content.digest(BODY)), what)
    return f"{len(found):,} bytes, sha256 {content.digest(BODY)[:12]}"


def expect_echo(text: str, method: str, path: str, length: int = BODY, spoken: str = "1.1") -> str:
    """What aiohttp_origin says it got."""
    expect(text.strip(), f"{method} {path} {spoken} {length} {content.digest(length)}", "the origin got")
    return f"the origin got {method} with {length:,} bytes, sha256 {content.digest(length)[:12]}"


def run(*argv: str, stdin: Path | None = None, limit: float = LIMIT) -> str:
    """What a program prints; Unmet when it ends with anything but 0."""
    with (stdin or Path("/dev/null")).open("rb") as source:
        done = subprocess.run(argv, stdin=source, capture_output=True, timeout=limit)
    if done.returncode:
        raise Unmet(f"{Path(argv[0]).name} ended with {done.returncode}: {done.stderr.decode(errors='replace')[-300:]}")
    return done.stdout.decode(errors="replace")


@functools.cache
def first_version(program: str, package: str, option: str) -> str:
    done = subprocess.run([tool(program, package), option], capture_output=True, text=True, timeout=10)
    found = re.search(r"\d+(\.\d+)+", done.stdout + done.stderr)
    return found.group() if found else "unknown"


curl_version: Final = functools.partial(first_version, "curl", "curl", "--version")
ab_version: Final = functools.partial(first_version, "ab", "apache2-utils", "-V")
h2load_version: Final = functools.partial(first_version, "h2load", "nghttp2-client", "--version")


def curl(place: Place, path: str, *options: str, stdin: Path | None = None) -> str:
    address = f"http://{HOST}:{place.web}{path}"
    return run(tool("curl", "curl"), "-sS", "--fail", "-m", f"{LIMIT:.0f}", *options, address, stdin=stdin)


# --- curl ---------------------------------------------------------------------------------------------------------


@case("curl", "GET, HTTP/1.1", curl_version)
def _(place: Place) -> str:
    return expect_echo(curl(place, "/aiohttp/a"), "GET", "/aiohttp/a", 0)


@case("curl", "GET, HTTP/1.0, of a chunked answer", curl_version)
def _(place: Place) -> str:
    text = curl(place, "/aiohttp/a?chunked", "--http1.0", "-i")
    head, _, body = text.partition("\r\n\r\n")
    if "chunked" in head.lower():
        raise Unmet(f"an HTTP/1.0 client was answered in chunks: {head!r}")
    return expect_echo(body, "GET", "/aiohttp/a", 0)


@case("curl", "POST, HTTP/1.0", curl_version)
def _(place: Place) -> str:
    return expect_echo(curl(place, "/aiohttp/a", "--http1.0", "--data-binary", f"@{place.body}"), "POST", "/aiohttp/a")


@case("curl", "upload in chunks from standard input", curl_version)
def _(place: Place) -> str:
    return expect_echo(curl(place, "/aiohttp/up", "-T", "-", stdin=place.body), "PUT", "/aiohttp/up")


@case("curl", "upload with Expect: 100-continue", curl_version)
def _(place: Place) -> str:
    # The limit on waiting is above curl's own patience: only a 100 that comes through lets it send in time.
    options = ("-H", "Expect: 100-continue", "--expect100-timeout", f"{LIMIT:.0f}", "--data-binary", f"@{place.body}")
    text = curl(place, "/h11/up", *options)
    expect(text.split()[:3], ["POST", "/h11/up", str(BODY)], "the origin got")
    return f"the origin got {BODY:,} bytes after its 100"


@case("curl", "HEAD", curl_version)
def _(place: Place) -> str:
    text = curl(place, "/nginx/body.bin", "-I")
    if f"content-length: {BODY}" not in text.lower():
        raise Unmet(f"no length of {BODY} in {text!r}")
    return f"Content-Length: {BODY}"


@case("curl", "two downloads over one connection", curl_version)
def _(place: Place) -> str:
    address = f"http://{HOST}:{place.web}/nginx/body.bin"
    text = run(tool("curl", "curl"), "-sS", "--fail", "-w", "%{num_connects} ", *("-o", "/dev/null", address) * 2)
    expect(text.split(), ["1", "0"], "connections made")
    return "the second used the first one's connection"


@case("curl", "download from http.server, an HTTP/1.0 origin", curl_version)
def _(place: Place) -> str:
    out = place.folder / "stdlib.out"
    curl(place, "/stdlib/body.bin", "-o", str(out))
    return expect_body(out.read_bytes(), "downloaded")


# --- Python -------------------------------------------------------------------------------------------------------


@case("http.client", "GET and POST over one connection", platform.python_version)
def _(place: Place) -> str:
    connection = http.client.HTTPConnection(HOST, place.web, timeout=LIMIT)
    connection.request("GET", "/nginx/body.bin")
    found = expect_body(connection.getresponse().read(), "downloaded")
    sock = connection.sock
    connection.request("POST", "/aiohttp/p", place.body.read_bytes())
    expect_echo(connection.getresponse().read().decode(), "POST", "/aiohttp/p")
    expect(connection.sock is sock, True, "the same connection")
    connection.close()
    return found


@case("http.client", "chunked request from an iterator", platform.python_version)
def _(place: Place) -> str:
    connection = http.client.HTTPConnection(HOST, place.web, timeout=LIMIT)
    pieces = (bytes(piece) for piece in content.pieces(BODY, iter(lambda: 10_007, 0)))
    connection.request("PUT", "/aiohttp/p", pieces, encode_chunked=True, headers={"Transfer-Encoding": "chunked"})
    found = expect_echo(connection.getresponse().read().decode(), "PUT", "/aiohttp/p")
    connection.close()
    return found


@case("h11", "client and origin: chunks and trailers in both directions", lambda: version("h11"))
def _(place: Place) -> str:
    machine = h11.Connection(h11.CLIENT)
    headers = [("Host", "proof"), ("Transfer-Encoding", "chunked"), ("Trailer", "x-count")]
    events = [
        h11.Request(method="POST", target="/h11/t", headers=headers),
        h11.Data(data=b"hello "),
        h11.Data(data=b"world"),
        h11.EndOfMessage(headers=[("x-count", "2")]),
    ]
    body = b""
    with socket.create_connection((HOST, place.web), LIMIT) as sock:
        for piece in events:
            sock.sendall(machine.send(piece) or b"")
        while not isinstance(event := machine.next_event(), h11.EndOfMessage):
            if event is h11.NEED_DATA:
                machine.receive_data(sock.recv(65536))
            elif isinstance(event, h11.Data):
                body += bytes(event.data)
    expect(body, b"POST /h11/t 11 x-count=2\n", "the origin got")
    wanted = [(b"x-sum", hashlib.sha256(b"hello world").hexdigest().encode())]
    expect(list(event.headers), wanted, "trailers of the answer")
    return "the origin got x-count, the client x-sum"


@case("aiohttp", "100 requests at once, chunked answers, to an aiohttp origin", lambda: version("aiohttp"))
def _(place: Place) -> str:
    import aiohttp

    async def ask(session: Any, number: int) -> None:
        async with session.post(f"/aiohttp/{number}?chunked", data=bytes(content.piece(0, number))) as response:
            expect_echo(await response.text(), "POST", f"/aiohttp/{number}", number)

    async def ask_all() -> None:
        async with aiohttp.ClientSession(f"http://{HOST}:{place.web}") as session:
            await asyncio.gather(*(ask(session, number) for number in range(100)))

    asyncio.run(ask_all())
    return "100 answers"


@case("websockets", "messages of 1 byte to 1 MB, compressed", lambda: version("websockets"))
def _(place: Place) -> str:
    return echo_through(place.web)


def echo_through(port: int) -> str:
    from websockets.sync.client import connect

    with connect(f"ws://{HOST}:{port}/chat", proxy=None) as connection:
        for size in (1, 1000, 100_000, 1_000_000):
            message = "héllo "[: size % 7 + 1] + "x" * size
            connection.send(message)
            expect(connection.recv(LIMIT) == message, True, f"a message of {size} came back")
    return "4 messages came back"


# --- bytes --------------------------------------------------------------------------------------------------------


@case("raw socket", "50 pipelined requests in one write, answered in order", platform.python_version)
def _(place: Place) -> str:
    asked = [f"/aiohttp/{number}" for number in range(PIPELINED)]
    text = "".join(f"GET {path} HTTP/1.1\r\nHost: proof\r\n\r\n" for path in asked[:-1])
    text += f"GET {asked[-1]} HTTP/1.1\r\nHost: proof\r\nConnection: close\r\n\r\n"
    with socket.create_connection((HOST, place.web), LIMIT) as sock:
        sock.sendall(text.encode())
        data = b""
        while more := sock.recv(65536):
            data += more
    expect(re.findall(rb"GET (/aiohttp/\d+) ", data), [path.encode() for path in asked], "answers in order")
    return f"{data.count(b'HTTP/1.1 200')} answers in order"


# --- load generators ----------------------------------------------------------------------------------------------


@case("wrk", "32 connections", wrk_version)
def _(place: Place) -> str:
    address = f"http://{HOST}:{place.web}/nginx/small.txt"
    text = run(tool("wrk", "wrk"), "-t1", "-c32", f"-d{place.seconds:.0f}s", address)
    if "Non-2xx" in text or "Socket errors" in text:
        raise Unmet(text)
    return found_in(text, r"(\d+) requests in", "requests")


@case("h2load", "--h1, 16 connections", h2load_version)
def _(place: Place) -> str:
    count = int(4000 * place.seconds)
    address = f"http://{HOST}:{place.web}/nginx/small.txt"
    text = run(tool("h2load", "nghttp2-client"), "--h1", "-t1", "-c16", f"-n{count}", address)
    wanted = f"{count} total, {count} started, {count} done, {count} succeeded, 0 failed, 0 errored, 0 timeout"
    if wanted not in text:
        raise Unmet(text)
    return f"{count:,} requests, 0 failed"


@case("ab", "HTTP/1.0 with keep-alive", ab_version)
def _(place: Place) -> str:
    return apache_bench(place, "-k")


@case("ab", "HTTP/1.0, a connection for each request", ab_version)
def _(place: Place) -> str:
    return apache_bench(place)


def apache_bench(place: Place, *options: str) -> str:
    count = int(1000 * place.seconds)
    address = f"http://{HOST}:{place.web}/nginx/small.txt"
    text = run(tool("ab", "apache2-utils"), "-q", "-c16", f"-n{count}", *options, address)
    expect(found_in(text, r"Complete requests: +(\d+)", ""), f"{count}", "complete")
    expect(found_in(text, r"Failed requests: +(\d+)", ""), "0", "failed")
    if "Non-2xx" in text:
        raise Unmet(text)
    if options:
        expect(found_in(text, r"Keep-Alive requests: +(\d+)", ""), f"{count}", "kept alive")
    return f"{count:,} requests, 0 failed"


def found_in(text: str, pattern: str, unit: str) -> str:
    found = re.search(pattern, text)
    if found is None:
        raise Unmet(text)
    return f"{found.group(1)} {unit}".strip()


# --- nginx in front -----------------------------------------------------------------------------------------------


@case("nginx", "in front and behind: a download", nginx_version)
def _(place: Place) -> str:
    connection = http.client.HTTPConnection(HOST, place.front, timeout=LIMIT)
    connection.request("GET", "/nginx/body.bin")
    found = expect_body(connection.getresponse().read(), "downloaded")
    connection.close()
    return found


@case("nginx", "in front: an upload that it does not buffer", nginx_version)
def _(place: Place) -> str:
    connection = http.client.HTTPConnection(HOST, place.front, timeout=LIMIT)
    pieces = (bytes(piece) for piece in content.pieces(BODY, iter(lambda: 30_011, 0)))
    connection.request("PUT", "/aiohttp/p", pieces, encode_chunked=True, headers={"Transfer-Encoding": "chunked"})
    found = expect_echo(connection.getresponse().read().decode(), "PUT", "/aiohttp/p")
    connection.close()
    return found


@case("nginx", "in front: a WebSocket", nginx_version)
def _(place: Place) -> str:
    return echo_through(place.front)


@case("nginx", "in front and behind, loaded by wrk", nginx_version)
def _(place: Place) -> str:
    text = run(
        tool("wrk", "wrk"), "-t1", "-c32", f"-d{place.seconds:.0f}s", f"http://{HOST}:{place.front}/nginx/small.txt"
    )
    if "Non-2xx" in text or "Socket errors" in text:
        raise Unmet(text)
    return found_in(text, r"(\d+) requests in", "requests")
