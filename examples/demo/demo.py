"""`make demo`: hivemesh with examples/quickstart.yaml, three small backends, real traffic, and what came of it.

Each scene sends requests through the proxy, says what was expected and what came back. On a terminal everything then
stays up until Ctrl-C, so that you can look around; with ONCE=1 or CI=1, or without a terminal, it ends. Exit code 0
when every scene went as expected, 1 otherwise.
"""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass, field
from http.client import HTTPConnection, HTTPException
from pathlib import Path
from typing import Any

from dnslib import DNSRecord  # type: ignore[import-untyped]
from rich.console import Console
from rich.table import Table

ROOT = Path(__file__).resolve().parents[2]
CONFIG = Path("examples/quickstart.yaml")
PROXY = ("127.0.0.1", 8080)
RAW = ("127.0.0.1", 8081)
ADMIN = ("127.0.0.1", 9900)
DNS = ("127.0.0.1", 8600)
BACKENDS = {"web-1": ("127.0.0.1", 9001), "web-2": ("127.0.0.2", 9002), "web-3": ("127.0.0.3", 9003)}

START_TIMEOUT = 20.0
STOP_TIMEOUT = 35.0
POLL = 0.05
SPLIT_REQUESTS = 200
# 20 % of 200 is 40 with a standard deviation of under 6, so a working split stays within this practically always.
SPLIT_RANGE = range(15, 66)


class DemoProblem(Exception):
    """Why the demo cannot go on, in one sentence."""


@dataclass
class Answer:
    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def backend(self) -> str:
        return self.headers.get("x-backend", "")


@dataclass
class Scene:
    what: str
    result: str
    good: bool


@dataclass
class Stage:
    """What runs during the demo, and what has been seen."""

    log: Path
    backends: dict[str, subprocess.Popen[bytes]] = field(default_factory=dict)
    scenes: list[Scene] = field(default_factory=list)

    def entries(self) -> list[dict[str, Any]]:
        """The access log so far; other lines of the program are left out."""
        found = []
        for line in self.log.read_text().split("\n")[:-1]:
            if line.startswith("{") and '"status":' in line:
                found.append(json.loads(line))
        return found

    def note(self, what: str, result: str, good: bool) -> None:
        self.scenes.append(Scene(what, result, good))


def ask(
    method: str,
    target: str,
    headers: dict[str, str] | None = None,
    body: bytes | None = None,
    count: int = 1,
    place: tuple[str, int] = PROXY,
) -> list[Answer]:
    """`count` requests on one connection, through the proxy unless `place` says otherwise."""
    connection = HTTPConnection(*place, timeout=10)
    answers = []
    try:
        for _ in range(count):
            connection.request(method, target, body, headers or {})
            response = connection.getresponse()
            fields = {name.lower(): value for name, value in response.getheaders()}
            answers.append(Answer(response.status, fields, response.read()))
    finally:
        connection.close()
    return answers


def resolve(name: str, kind: str = "A") -> list[str]:
    """What the DNS server answers, in order of the texts."""
    query = DNSRecord.question(name, kind)
    return sorted(str(record.rdata) for record in DNSRecord.parse(query.send(*DNS, timeout=10)).rr)


def states(service: str = "api") -> dict[str, str]:
    """The endpoints of a service and how they are, as the API says it."""
    connection = HTTPConnection(*ADMIN, timeout=10)
    try:
        connection.request("GET", f"/v1/services/{service}/endpoints")
        return {endpoint["id"]: endpoint["state"] for endpoint in json.loads(connection.getresponse().read())}
    finally:
        connection.close()


def told(counter: Counter[str]) -> str:
    return ", ".join(f"{name} {count}" for name, count in sorted(counter.items()))


def all_ok(answers: list[Answer]) -> bool:
    return all(answer.status == 200 for answer in answers)


# --- the scenes ---------------------------------------------------------------------------------------------------


def split(stage: Stage) -> None:
    answers = ask("GET", "/", count=SPLIT_REQUESTS)
    seen = Counter(answer.backend for answer in answers)
    canary = seen["web-3"]
    stage.note(
        f"{SPLIT_REQUESTS} x GET /, split 80 : 20 between v1 and v2",
        f"{told(seen)} -> v2 got {100 * canary // SPLIT_REQUESTS} %",
        all_ok(answers) and canary in SPLIT_RANGE and seen["web-1"] > 0 and seen["web-2"] > 0,
    )


def dead_endpoint(stage: Stage) -> None:
    """The file names an endpoint where nobody listens; the requests above met it, and their clients did not notice."""
    again = wait_for(lambda: [entry for entry in stage.entries() if entry.get("attempts", 1) > 1], "the access log")
    stage.note(
        "the endpoint 'dead' refuses connections",
        f"{len(again)} requests tried it, moved on to another endpoint and were answered "
        f"{'all 200' if all(entry['status'] == 200 for entry in again) else 'not all 200'}",
        all(entry["status"] == 200 for entry in again),
    )


def header_route(stage: Stage) -> None:
    answers = ask("GET", "/", {"x-beta": "1"}, count=20)
    seen = Counter(answer.backend for answer in answers)
    stage.note("20 x GET / with x-beta: 1, always v2", told(seen), all_ok(answers) and set(seen) == {"web-3"})


def path_route(stage: Stage) -> None:
    answers = ask("GET", "/api/items?page=2", count=30)
    seen = Counter(answer.backend for answer in answers)
    stage.note("30 x GET /api/items, service api", told(seen), all_ok(answers) and set(seen) == {"web-1", "web-2"})


def upload(stage: Stage) -> None:
    size = 300_000
    [answer] = ask("POST", "/api/upload", body=b"x" * size)
    received = json.loads(answer.body)["body_bytes"] if answer.status == 200 else 0
    stage.note(f"POST /api/upload, {size:,} bytes", f"{answer.backend} received {received:,}", received == size)


def redirect(stage: Stage) -> None:
    [answer] = ask("GET", "/blog/first")
    location = answer.headers.get("location", "")
    good = answer.status == 301 and location.endswith("/news/first")
    stage.note("GET /blog/first, moved", f"{answer.status} to {location}", good)


def direct(stage: Stage) -> None:
    [answer] = ask("GET", "/ping")
    stage.note("GET /ping, answered by hivemesh", answer.body.decode().strip(), answer.body == b"pong\n")


def backend_dies(stage: Stage) -> None:
    stage.backends["web-2"].kill()
    stage.backends["web-2"].wait()
    answers = ask("GET", "/", count=40)
    seen = Counter(answer.backend for answer in answers)
    good = all_ok(answers) and "web-2" not in seen
    stage.note("backend web-2 is killed; 40 x GET /", f"{told(seen)}, {'no' if good else 'some'} errors", good)
    stage.backends["web-2"] = start_backend("web-2")
    wait_for(lambda: states()["api-2"] == "healthy", "api-2 to be healthy again")
    answers = ask("GET", "/api/items", count=30)
    seen = Counter(answer.backend for answer in answers)
    stage.note("web-2 is back; 30 x GET /api/items", told(seen), all_ok(answers) and "web-2" in seen)


def raw(stage: Stage) -> None:
    backends = Counter(answer.backend for _ in range(6) for answer in ask("GET", "/", place=RAW))
    stage.note("6 connections to the TCP listener", told(backends), set(backends) == {"web-1", "web-2"})


def names(stage: Stage) -> None:
    found = {name: resolve(name, kind) for name, kind in (("api.test", "A"), ("_api._tcp.api.test", "SRV"))}
    good = found["api.test"] == ["127.0.0.1", "127.0.0.2"] and len(found["_api._tcp.api.test"]) == 2
    stage.note("dig api.test; dig _api._tcp.api.test SRV", "; ".join(map(", ".join, found.values())), good)


def sickness(stage: Stage) -> None:
    """A backend fails its checks: it leaves DNS and traffic together, and comes back when it is well."""
    sick, well = "127.0.0.2", "127.0.0.1"
    ask("POST", "/sick", place=BACKENDS["web-2"])
    started = time.monotonic()
    wait_for(lambda: states()["api-2"] == "unhealthy", "api-2 to be unhealthy")
    addresses, everyone = resolve("api.test"), resolve("all.api.test")
    answers = ask("GET", "/api/items", count=20)
    seen = Counter(answer.backend for answer in answers)
    stage.note(
        f"web-2 answers its checks with 503, and is out after {time.monotonic() - started:.1f} s",
        f"DNS says {', '.join(addresses)}; all.api.test still {', '.join(everyone)}; 20 x GET: {told(seen)}",
        addresses == [well] and all_ok(answers) and set(seen) == {"web-1"},
    )
    ask("POST", "/well", place=BACKENDS["web-2"])
    started = time.monotonic()
    wait_for(lambda: states()["api-2"] == "healthy", "api-2 to be healthy again")
    addresses = resolve("api.test")
    seen = Counter(answer.backend for answer in ask("GET", "/api/items", count=20))
    stage.note(
        f"web-2 is well again, and is back after {time.monotonic() - started:.1f} s",
        f"DNS says {', '.join(addresses)}; 20 x GET: {told(seen)}",
        addresses == [well, sick] and set(seen) == {"web-1", "web-2"},
    )


def flakiness(stage: Stage) -> None:
    """A backend whose checks go well fails at real requests: these are sent to another one, and it is taken out."""
    ask("POST", "/flaky", place=BACKENDS["web-2"])
    before = len(stage.entries())
    answers = ask("GET", "/orders/7", count=40)
    seen = Counter(answer.backend for answer in answers)
    logged = wait_for(lambda: stage.entries()[before:] if len(stage.entries()) >= before + 40 else [], "the access log")
    again = sum(entry.get("attempts", 1) > 1 for entry in logged)
    addresses = resolve("orders.test")
    stage.note(
        "web-2 fails at every request, not at checks; 40 x GET /orders/7",
        f"{told(seen)}, {again} sent again; now {states('orders')['orders-2']}, DNS says {', '.join(addresses)}",
        all_ok(answers) and again >= 5 and addresses == ["127.0.0.1"],
    )
    ask("POST", "/well", place=BACKENDS["web-2"])
    started = time.monotonic()
    probes: list[Answer] = []

    def is_back() -> bool:
        probes.extend(ask("GET", "/orders/7", count=2))
        return resolve("orders.test") == ["127.0.0.1", "127.0.0.2"]

    wait_for(is_back, "orders-2 to be in use again")
    stage.note(
        f"web-2 is well again, and is back after {time.monotonic() - started:.1f} s and a few tries",
        told(Counter(answer.backend for answer in probes)),
        all_ok(probes) and states("orders")["orders-2"] == "healthy",
    )


def refused(stage: Stage) -> None:
    """Two lengths for one body: another server may read it differently, so it goes no further."""
    with socket.create_connection(PROXY, timeout=10) as connection:
        connection.sendall(
            b"POST / HTTP/1.1\r\nHost: demo\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"
        )
        first = connection.recv(65536).split(b"\r\n")[0].decode("latin-1")
    stage.note("a request-smuggling attempt", first, " 400 " in first)


SCENES: list[Callable[[Stage], None]] = [
    split,
    dead_endpoint,
    header_route,
    path_route,
    upload,
    redirect,
    direct,
    raw,
    names,
    refused,
    backend_dies,
    sickness,
    flakiness,
]


# --- starting and stopping -------------------------------------------------------------------------------------------


def wait_for(condition: Callable[[], Any], what: str) -> Any:
    deadline = time.monotonic() + START_TIMEOUT
    while time.monotonic() < deadline:
        try:
            value = condition()
        except (OSError, HTTPException):
            value = None
        if value:
            return value
        time.sleep(POLL)
    raise DemoProblem(f"waited {START_TIMEOUT:g} s in vain for {what}")


def is_open(place: tuple[str, int]) -> bool:
    connection = HTTPConnection(*place, timeout=1)
    try:
        connection.connect()
    except OSError:
        return False
    connection.close()
    return True


def require_free_ports() -> None:
    taken = [place for place in (PROXY, RAW, ADMIN, DNS, *BACKENDS.values()) if is_open(place)]
    if taken:
        places = ", ".join(f"{host}:{port}" for host, port in taken)
        raise DemoProblem(f"the demo needs {places}, and something listens there already")


def start_backend(name: str) -> subprocess.Popen[bytes]:
    host, port = BACKENDS[name]
    command = [sys.executable, str(ROOT / "examples" / "demo" / "backend.py"), name, f"{host}:{port}"]
    process = subprocess.Popen(command, stdin=subprocess.DEVNULL)
    wait_for(lambda: is_open((host, port)), f"backend {name} on {host}:{port}")
    return process


def is_ready() -> bool:
    connection = HTTPConnection(*ADMIN, timeout=5)
    try:
        connection.request("GET", "/readyz")
        return connection.getresponse().status == 200
    finally:
        connection.close()


def start_hivemesh(log: Path) -> subprocess.Popen[bytes]:
    with log.open("wb") as output:
        process = subprocess.Popen(
            [sys.executable, "-m", "proxy", "run", "-c", str(CONFIG)],
            cwd=ROOT,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
        )
    try:
        wait_for(lambda: process.poll() is not None or is_ready(), "hivemesh to be ready")
    except DemoProblem as problem:
        stop(process)
        raise DemoProblem(f"{problem}; it said:\n{log.read_text()}") from None
    if process.poll() is not None:
        raise DemoProblem(f"hivemesh ended with {process.returncode}; it said:\n{log.read_text()}")
    return process


def stop(process: subprocess.Popen[bytes]) -> None:
    if process.poll() is None:
        process.terminate()
        try:
            process.wait(STOP_TIMEOUT)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def stop_backends(stage: Stage) -> None:
    for process in stage.backends.values():
        stop(process)


# --- telling -----------------------------------------------------------------------------------------------------


def show(console: Console, stage: Stage) -> None:
    table = Table(title="What happened", title_justify="left", show_lines=False)
    table.add_column("")
    table.add_column("traffic")
    table.add_column("outcome", overflow="fold")
    for scene in stage.scenes:
        table.add_row("[green]ok[/]" if scene.good else "[red]no[/]", scene.what, scene.result)
    console.print(table)


def show_places(console: Console, stage: Stage) -> None:
    hivemesh = ".venv/bin/hivemesh"
    places = {
        "through the proxy": f"curl -i http://{PROXY[0]}:{PROXY[1]}/",
        "the new version": f"curl -H 'x-beta: 1' http://{PROXY[0]}:{PROXY[1]}/",
        "its names": f"dig @{DNS[0]} -p {DNS[1]} api.test",
        "break a backend": "curl -X POST http://127.0.0.2:9002/sick   (or /flaky; then /well)",
        "metrics": f"curl http://{ADMIN[0]}:{ADMIN[1]}/metrics",
        "who is where": f"{hivemesh} endpoints",
        "numbers, live": f"{hivemesh} stats --watch",
        "what goes where": f"{hivemesh} routes",
        "the configuration": f"{CONFIG}   (change it: it is reloaded by `{hivemesh} reload`)",
        "one line per request": str(stage.log),
    }
    table = Table(title="Where to look", title_justify="left", show_header=False, box=None)
    for what, where in places.items():
        table.add_row(what, where)
    console.print(table)


def stays_up() -> bool:
    once = os.environ.get("ONCE") == "1" or os.environ.get("CI", "") not in ("", "0", "false")
    return not once and sys.stdin.isatty() and sys.stdout.isatty()


def run(console: Console) -> int:
    require_free_ports()
    with ExitStack() as stack:
        directory = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="hivemesh-demo-")))
        stage = Stage(log=directory / "hivemesh.log")
        console.print(f"Starting three backends and hivemesh with {CONFIG} ...")
        stack.callback(stop_backends, stage)
        for name in BACKENDS:
            stage.backends[name] = start_backend(name)
        stack.callback(stop, start_hivemesh(stage.log))
        wait_for(lambda: set(states().values()) == {"healthy"}, "the first checks")
        for scene in SCENES:
            scene(stage)
        show(console, stage)
        show_places(console, stage)
        good = all(scene.good for scene in stage.scenes)
        if stays_up():
            console.print("\nEverything stays up until you press Ctrl-C.")
            try:
                while True:
                    time.sleep(3600)
            except KeyboardInterrupt:
                console.print("\nStopping.")
        return 0 if good else 1


def main() -> int:
    console = Console(highlight=False)
    try:
        return run(console)
    except DemoProblem as problem:
        print(f"demo: {problem}", file=sys.stderr)
    except KeyboardInterrupt:
        pass
    return 1


if __name__ == "__main__":
    sys.exit(main())
