"""The scripts: what a client does once, and its judgement. Each returns an outcome or raises `Wrong`.

A script makes its own connections and ends them. It is run once without a fault after every run with one, so it must
not remember anything.
"""

from __future__ import annotations

import json
import os
import signal
import socket
import struct
import time
from collections.abc import Callable
from typing import Final

from benchmarks.faults.asking import (
    DATAGRAM_LIMIT,
    FORWARDED,
    RIGHT,
    Client,
    Ended,
    Wrong,
    judge,
    judge_dns,
    query,
)
from benchmarks.faults.origins import HOST, content
from benchmarks.faults.stage import Stage, udp_socket

LARGE: Final = 400_000  # more than all buffers on the way take at once
BULK: Final = 2_000_000
LOG_LIMIT: Final = 0.7  # seconds; lines are written several times a second
RESTART_LIMIT: Final = 15.0  # seconds

Script = Callable[[Stage], str]


def request(method: str, path: str, service: str, fields: str = "", body: bytes = b"") -> bytes:
    return f"{method} {path} HTTP/1.1\r\nHost: a.test\r\nX-Service: {service}\r\n{fields}\r\n".encode() + body


def together(outcomes: list[str]) -> str:
    """The outcome of many: right if all are, else the first that is not."""
    return next((outcome for outcome in outcomes if outcome != RIGHT), RIGHT)


def http(stage: Stage, *requests: tuple[bytes, str, int]) -> str:
    """Requests one after the other on one connection, each with the name and size of its answer."""
    outcomes = []
    with Client(stage.web) as client:
        for data, name, size in requests:
            client.send(data)
            try:
                answer = client.answer()
            except Ended as end:
                outcomes.append(str(end))
                break
            outcomes.append(judge(answer, name, size))
            if answer.fields.get("connection") == "close":
                break
    return together(outcomes)


def get(stage: Stage) -> str:
    """GETs on a kept connection: to one endpoint, and the second to a connection that was idle."""
    names = [stage.name() for _ in range(3)]
    return http(stage, *[(request("GET", f"/length/{name}/300", "one"), name, 300) for name in names])


def cold_get(stage: Stage) -> str:
    """GETs, each on a new connection to one of two endpoints."""
    names = [stage.name() for _ in range(2)]
    return http(stage, *[(request("GET", f"/length/{name}/300", "cold"), name, 300) for name in names])


def logged(stage: Stage) -> str:
    """A GET, and its line in the access log, whole and once."""
    name = stage.name()
    outcome = http(stage, (request("GET", f"/length/{name}/10", "one"), name, 10))
    deadline = time.monotonic() + LOG_LIMIT
    while time.monotonic() < deadline:
        lines = [line for line in stage.access_log.read_text().split("\n")[:-1] if f"/length/{name}/10" in line]
        if lines:
            break
        time.sleep(0.01)
    else:
        return "no line in the log"
    if len(lines) > 1:
        raise Wrong(f"{len(lines)} lines of one request")
    try:
        json.loads(lines[0])
    except ValueError:
        raise Wrong(f"a torn line: {lines[0]}") from None
    return outcome


def large(stage: Stage) -> str:
    """An answer that no buffer holds."""
    name = stage.name()
    return http(stage, (request("GET", f"/length/{name}/{LARGE}", "one"), name, LARGE))


def chunked(stage: Stage) -> str:
    """A request and an answer in chunks, with trailers."""
    name = stage.name()
    data = content(name, 10_000)
    pieces = b"".join(b"%x\r\n%s\r\n" % (len(piece), piece) for piece in (data[:1], data[1:5000], data[5000:]))
    fields = "Transfer-Encoding: chunked\r\nX-Size: 10000\r\n"
    path = f"/chunked/{name}/20000"
    with Client(stage.web) as client:
        client.send(request("POST", path, "two", fields, pieces + b"0\r\nX-End: yes\r\n\r\n"))
        try:
            answer = client.answer()
        except Ended as end:
            return once(stage, "POST", path, str(end))
    if answer.status == 200 and answer.fields.get("trailer x-sum") != "20000":
        raise Wrong(f"no trailer: {answer.fields}")
    return once(stage, "POST", path, judge(answer, name, 20_000))


def until_close(stage: Stage) -> str:
    """An answer that only the end of the endpoint's connection ends."""
    name = stage.name()
    return http(stage, (request("GET", f"/close/{name}/30000", "one"), name, 30_000))


def old_client(stage: Stage) -> str:
    """The same for a client of HTTP/1.0, for whom only the end of the connection tells: cut short, it must be reset."""
    name = stage.name()
    with Client(stage.web) as client:
        client.send(f"GET /close/{name}/30000 HTTP/1.0\r\nHost: a.test\r\nX-Service: one\r\n\r\n".encode())
        try:
            return judge(client.answer(), name, 30_000)
        except Ended as end:
            return str(end)


def post(stage: Stage) -> str:
    """A POST on a new connection to one of two endpoints: never delivered twice."""
    return posted(stage, "cold")


def kept_post(stage: Stage) -> str:
    """The same on a connection that was idle."""
    return posted(stage, "two")


def patient_post(stage: Stage) -> str:
    """The same under a retry policy."""
    return posted(stage, "patient")


def patient_get(stage: Stage) -> str:
    """A GET under a retry policy with two endpoints."""
    name = stage.name()
    return http(stage, (request("GET", f"/length/{name}/500", "patient"), name, 500))


def upload(stage: Stage) -> str:
    """A body that no buffer holds."""
    name = stage.name()
    path = f"/length/{name}/100"
    data = content(name, LARGE)
    fields = f"Content-Length: {LARGE}\r\nX-Size: {LARGE}\r\n"
    return once(stage, "POST", path, http(stage, (request("POST", path, "two", fields, data), name, 100)))


def pipelined(stage: Stage) -> str:
    """Five requests in one write; the answers come in their order."""
    names = [stage.name() for _ in range(5)]
    outcomes = []
    with Client(stage.web) as client:
        client.send(b"".join(request("GET", f"/length/{name}/{100 + at}", "one") for at, name in enumerate(names)))
        for at, name in enumerate(names):
            try:
                answer = client.answer()
            except Ended as end:
                outcomes.append(str(end))
                break
            outcomes.append(judge(answer, name, 100 + at))
            if answer.fields.get("connection") == "close":
                break
    return together(outcomes)


def websocket(stage: Stage) -> str:
    """An upgraded connection: bytes both ways, then an end each way."""
    name = stage.name()
    data = content(name, 50_000)
    fields = "Connection: upgrade\r\nUpgrade: websocket\r\n"
    with Client(stage.web) as client:
        client.send(request("GET", f"/websocket/{name}/0", "one", fields))
        try:
            answer = client.answer()
            if answer.status != 101:
                return judge(answer, name, 0)
            return echoed(client, data)
        except Ended as end:
            return str(end)


def tcp(stage: Stage) -> str:
    """A TCP connection that is echoed: only a reset says that something is missing."""
    with Client(stage.tcp) as client:
        try:
            return echoed(client, content(stage.name(), 50_000))
        except Ended as end:
            return str(end)


def bulk(stage: Stage) -> str:
    """Megabytes through TCP, there and then back: enough to be spliced."""
    name = stage.name()
    data = content(name, BULK)
    with Client(stage.bulk) as client:
        client.send(f"{name} {BULK}\n".encode())
        client.send(data)
        try:
            found = client.to_the_end()
        except Ended as end:
            return str(end)
    if found != data:
        raise Wrong(f"{len(found)} of {BULK} bytes and then an orderly end, begins {found[:40]!r}")
    return RIGHT


def udp(stage: Stage) -> str:
    """A session: datagrams one after the other, each of which comes back as it was or not at all."""
    outcomes = []
    sent: set[bytes] = set()
    with udp_socket() as sock:
        sock.connect((HOST, stage.udp))
        sock.settimeout(DATAGRAM_LIMIT)
        for _ in range(3):
            data = content(stage.name(), 700)
            sent.add(data)
            try:
                sock.send(data)
                found = sock.recv(65536)
                while found in sent and found != data:
                    found = sock.recv(65536)  # one that was late
            except TimeoutError:
                outcomes.append("lost")
                continue
            except OSError as error:
                outcomes.append(f"refused ({error.strerror})")
                continue
            if found != data:
                raise Wrong(f"another datagram: {found[:40]!r}")
            outcomes.append(RIGHT)
    return together(outcomes)


def dns(stage: Stage) -> str:
    """A name of ours over UDP."""
    return asked(stage, "one.service.hivemesh", bytes((127, 0, 0, 1)))


def dns_forwarded(stage: Stage) -> str:
    """A name that somebody else answers, over UDP."""
    return asked(stage, f"{stage.name()}.example", FORWARDED)


def dns_tcp(stage: Stage) -> str:
    """Both over TCP, on one connection."""
    outcomes = []
    names = (("one.service.hivemesh", bytes((127, 0, 0, 1))), (f"{stage.name()}.example", FORWARDED))
    with Client(stage.dns) as client:
        for number, (name, address) in enumerate(names, start=7):
            question = query(name, number)
            client.send(struct.pack("!H", len(question)) + question)
            try:
                answer = client.exactly(struct.unpack("!H", client.exactly(2))[0])
            except Ended as end:
                outcomes.append(str(end))
                break
            outcomes.append(judge_dns(question, answer, address))
    return together(outcomes)


def register(stage: Stage) -> str:
    """An endpoint is registered by the API, seen and removed again. What was acknowledged is there."""
    path = "/v1/services/one/endpoints/extra"
    outcome = RIGHT
    try:
        status, text = stage.api("PUT", path, {"address": f"{HOST}:{stage.two.port}", "weight": 1})
        if status not in (200, 201):
            outcome = problem(status, text)
        else:
            status, text = stage.api("GET", path)
            if status != 200 or f":{stage.two.port}" not in text:
                raise Wrong(f"an endpoint that was acknowledged is not there: {status} {text[:200]}")
        status, text = stage.api("DELETE", path)
        if status not in (200, 204, 404):
            return problem(status, text)
    except TimeoutError:
        raise Wrong("the admin API does not answer") from None
    except OSError as error:
        return f"admin: {type(error).__name__}"
    return outcome


def admin(stage: Stage) -> str:
    """What an operator and a scraper read."""
    try:
        for path, part in (("/metrics", "# EOF"), ("/v1/services", '"one"'), ("/readyz", "")):
            status, text = stage.api("GET", path)
            if status >= 500:
                return problem(status, text)
            if status != 200 or (part and part not in text and part != "# EOF"):
                raise Wrong(f"{path}: {status} {text[:100]!r}")
    except TimeoutError:
        raise Wrong("the admin API does not answer") from None
    except OSError as error:
        return f"admin: {type(error).__name__}"
    return RIGHT


def reload(stage: Stage) -> str:
    """The file is read again."""
    try:
        status, text = stage.api("POST", "/v1/reload")
    except TimeoutError:
        raise Wrong("the admin API does not answer") from None
    except OSError as error:
        return f"admin: {type(error).__name__}"
    if status == 200:
        return RIGHT
    return problem(status, text)


def restart_worker(stage: Stage) -> str:
    """The worker is killed; the next one answers."""
    killed = stage.pids()["worker"]
    os.kill(killed, signal.SIGKILL)
    deadline = time.monotonic() + RESTART_LIMIT
    while time.monotonic() < deadline:
        if stage.pids().get("worker", killed) != killed and _answers(stage):
            return RIGHT
        time.sleep(0.02)
    raise Wrong(f"no worker answers within {RESTART_LIMIT:g} s")


def first_bulk(stage: Stage) -> str:
    """The first bytes that a worker splices: later ones find a pipe that is there."""
    restart_worker(stage)
    return bulk(stage)


# All that leave every process as it is.
ALL: Final[tuple[Script, ...]] = (
    get,
    cold_get,
    logged,
    post,
    kept_post,
    patient_get,
    patient_post,
    chunked,
    until_close,
    old_client,
    pipelined,
    large,
    upload,
    websocket,
    tcp,
    bulk,
    udp,
    dns,
    dns_forwarded,
    dns_tcp,
    register,
    admin,
    reload,
)


# --- what several of them do --------------------------------------------------------------------------------------


def echoed(client: Client, data: bytes) -> str:
    """Send, read as much, end, and read to the end. Raises Ended for a reset only."""
    client.send(data)
    try:
        found = client.exactly(len(data))
    except Ended as end:
        if "reset" not in str(end):
            raise Wrong("an orderly end before all bytes are there") from None
        raise
    if found != data:
        raise Wrong(f"other bytes: {found[:40]!r}")
    try:
        client.socket.shutdown(1)
    except OSError as error:
        raise Ended(f"reset ({error.strerror})") from None
    rest = client.to_the_end()
    if rest:
        raise Wrong(f"{len(rest)} bytes too many: {rest[:40]!r}")
    return RIGHT


def posted(stage: Stage, service: str) -> str:
    name = stage.name()
    path = f"/length/{name}/500"
    data = content(name, 3000)
    outcome = http(stage, (request("POST", path, service, "Content-Length: 3000\r\n", data), name, 500))
    return once(stage, "POST", path, outcome)


def once(stage: Stage, method: str, path: str, outcome: str) -> str:
    """A request that must not be repeated: endpoints have had it once, or at most once where it failed."""
    heads = sum(origin.requests[method, path] for origin in (stage.one, stage.two))
    whole = sum(origin.bodies[method, path] for origin in (stage.one, stage.two))
    wrong = [*stage.one.wrong, *stage.two.wrong]
    if wrong:
        raise Wrong(f"an endpoint got another body: {wrong[0]}")
    if heads > 1 or (outcome == RIGHT and whole != 1):
        raise Wrong(f"endpoints had the {method} {heads} times, {whole} times whole; the client: {outcome}")
    return outcome


def asked(stage: Stage, name: str, address: bytes) -> str:
    question = query(name, 4711)
    with udp_socket() as sock:
        sock.connect((HOST, stage.dns))
        sock.settimeout(DATAGRAM_LIMIT)
        try:
            sock.send(question)
            return judge_dns(question, sock.recv(65536), address)
        except TimeoutError:
            return "lost"
        except OSError as error:
            return f"refused ({error.strerror})"


def _answers(stage: Stage) -> bool:
    """Whether a request works now. One that meets a dying worker does not."""
    try:
        with socket.create_connection((HOST, stage.web), 0.5) as sock:
            sock.sendall(request("GET", "/length/again/5", "one"))
            return sock.recv(100).startswith(b"HTTP/1.1 200")
    except OSError:
        return False


def problem(status: int, text: str) -> str:
    """A failure that says what is wrong."""
    if status not in (500, 503, 504, 507) and not 400 <= status < 500:
        raise Wrong(f"status {status}: {text[:200]}")
    if '"title"' not in text and '"detail"' not in text and '"problems"' not in text:
        raise Wrong(f"a {status} that does not say why: {text[:200]!r}")
    return f"{status}"
