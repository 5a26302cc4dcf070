"""Proof: plan and simulate say beforehand what a real change then does.

Mixed requests go through a hivemesh with the first configuration and are captured. `hivemesh simulate` decides them
again under the second, `hivemesh plan` compares the two, while downloads, idle connections, a tunnel and sessions of
datagrams are open. Then the second comes into force by a reload, what was open is looked at, and the same requests are
sent again, each with the id that it had and at the time that it had. What really became of each is compared with what
was predicted for it. Requests to the route with a rate limit are compared by number: which of them is one too many
depends on fractions of a millisecond.
"""

from __future__ import annotations

import asyncio
import json
import resource
import socket
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import Any, Final

import msgspec

from benchmarks.proofs.asking import BODY, SLOW, Answered, origin, parse, send
from benchmarks.proofs.evidence import Evidence, ProofError
from benchmarks.proofs.hive import CHECKOUT, HOST, Hive, eventually, free_port
from benchmarks.proofs.part import Cue, Part
from benchmarks.proofs.peers import Nginx, is_listening, nginx_version
from benchmarks.proofs.planned import HELD, LIMITED, ORIGINS, Asked, Places, first, nginx_servers, requests, second
from mesh.capture import read_capture
from mesh.record import Record
from proxy.simulation.outcomes import FORWARD, UNDECIDED, Outcome, outcome_of

PROMISE: Final = "plan and simulate say beforehand what a change then does"

SEED: Final = 6
LOG_LIMIT: Final = 20.0
COMMAND_LIMIT: Final = 600.0
DOWNLOADS: Final = 6
IDLE: Final = 20
SESSIONS: Final = 3

# A request of the rate-limited route more or less, of a hundred, is due to times; more would be a wrong rule.
LIMIT_SLACK: Final = 0.10
# The same for the share of an endpoint, in points of a hundred: least connections and the like follow real times.
SHARE_SLACK: Final = 0.01

Json = dict[str, Any]


def prove(evidence: Evidence, folder: Path) -> None:
    count, per_s = (800, 800.0) if evidence.short else (60_000, 900.0)
    todo = list(requests(count, per_s, SEED))
    places = Places(*(free_port() for _ in range(5)), tuple(free_port() for _ in ORIGINS))
    evidence.versions.update(nginx=nginx_version())
    released = folder / "released"
    held_port = places.origins[[id for _, _, id in ORIGINS].index(HELD)]
    log = folder / "access.log"
    both = {"workers": 2, "access_log": {"path": str(log), "format": "json"}}
    with ExitStack() as stack:
        stack.enter_context(
            Nginx(folder, nginx_servers(places), [port for port in places.origins if port != held_port])
        )
        stack.enter_context(Part(origin, held_port, f"api v1 {HELD}", released))
        stack.enter_context(Part(echo, places.echo))
        hive = stack.enter_context(Hive({**first(places), **both}, folder))
        wanted = folder / "second.yaml"
        wanted.write_text(json.dumps(hive.complete({**second(places), **both})))
        capture = folder / "traffic.capture"
        sent = record(hive, capture, places.web, todo)
        records = numbered(capture)
        evidence.claim(
            f"{count:,} mixed requests are sent and captured, none missing",
            not sent["failures"] and len(records) == count,
            f"{len(sent['answers']):,} answered, {len(records):,} in the capture, "
            f"failures: {sent['failures'][:3] or 'none'}",
        )
        simulated = simulate(evidence, wanted, capture)
        started = time.monotonic()
        with Open(places) as held:
            plan = json.loads(command("--admin", f"http://{HOST}:{hive.admin}", "--json", "plan", str(wanted)))
            hive.write(wanted.read_text())
            status, text = hive.api("POST", "/v1/reload")
            if status != 200:
                raise ProofError(f"the reload was answered {status}: {text}")
            released.touch()
            judge_plan(evidence, plan, held, places, hive)
        evidence.note("seconds of the reload and what was open", round(time.monotonic() - started, 1))
        judge_again(evidence, hive, log, places.web, todo, records, sent["answers"], simulated)
        evidence.claim("the log has no bug", not hive.bugs(), hive.bugs() or "none")


def record(hive: Hive, capture: Path, port: int, todo: Sequence[Asked]) -> Json:
    """Send everything while `hivemesh capture` writes it down."""
    process = subprocess.Popen(
        [*_program(), "--admin", f"http://{HOST}:{hive.admin}", "capture", "-o", str(capture), "--for", "1h",
         "--header", "x-number", "--header", "x-device"],
        cwd=CHECKOUT, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    try:
        eventually(lambda: capture.exists() and capture.stat().st_size > 0, "the capture has begun", LOG_LIMIT)
        with Part(send, port, todo, {}, {}, {}) as client:
            sent: Json = client.result(COMMAND_LIMIT)
        time.sleep(2.0)  # the last ones are on their way
        process.terminate()
        _, errors = process.communicate(timeout=COMMAND_LIMIT)
    finally:
        if process.poll() is None:
            process.kill()
    if process.returncode not in (0, 130):
        raise ProofError(f"hivemesh capture ended with {process.returncode}: {errors[-500:]}")
    return sent


def numbered(capture: Path) -> dict[int, Record]:
    """What was captured, by the number of the request."""
    with capture.open("rb") as lines:
        return {int(dict(record.headers)["x-number"]): record for record in read_capture(lines)}


def simulate(evidence: Evidence, wanted: Path, capture: Path) -> Json:
    began, used = time.monotonic(), _used()
    text = command("--json", "simulate", str(wanted), "--capture", str(capture), "--seed", str(SEED))
    took, used = time.monotonic() - began, _used() - used
    if not evidence.short:
        again = command("--json", "simulate", str(wanted), "--capture", str(capture), "--seed", str(SEED))
        evidence.claim(
            "simulate says the same twice", again == text, f"{len(text):,} bytes of JSON, equal: {again == text}"
        )
    found: Json = json.loads(text)
    evidence.note(
        "simulate",
        {
            "requests": found["requests"],
            "seconds": round(took, 1),
            "seconds of CPU": round(used, 1),
            "changed": len(found["changed"]),
        },
    )
    evidence.note("predicted changes", [_told(group) for group in found["groups"]])
    return found


def command(*arguments: str) -> str:
    done = subprocess.run(
        [*_program(), *arguments], cwd=CHECKOUT, capture_output=True, text=True, timeout=COMMAND_LIMIT
    )
    if done.returncode:
        raise ProofError(
            f"hivemesh {' '.join(arguments)} ended with {done.returncode}: {done.stdout[-300:]}{done.stderr[-500:]}"
        )
    return done.stdout


def _used() -> float:
    """Seconds of CPU of the processes that were started and have ended."""
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    return usage.ru_utime + usage.ru_stime


def _program() -> list[str]:
    return [sys.executable, "-m", "proxy"]


def _told(group: Json) -> str:
    def words(outcome: Json) -> str:
        return " ".join(str(value) for value in outcome.values() if value)

    return f"{group['count']:,} x {words(group['was'])} -> {words(group['now'])}"


# --- what is open -------------------------------------------------------------------------------------------------


class Open:
    """Connections, downloads, a tunnel and sessions of datagrams that were there before the change."""

    def __init__(self, places: Places) -> None:
        self._places = places
        self.idle = [_connected(places.web) for _ in range(IDLE)]
        self.side = _connected(places.side)
        self.tunnel = _connected(places.tcp)
        self.downloads = [_connected(places.web) for _ in range(DOWNLOADS)]
        self.sessions = [_session(places.udp) for _ in range(SESSIONS)]

    def __enter__(self) -> Open:
        for sock in (*self.idle, self.side, self.tunnel):
            _ask(sock)
        for session in self.sessions:
            _ping(session)
        for sock in self.downloads:
            while True:  # until it is one of those that wait
                sock.sendall(f"GET {SLOW} HTTP/1.1\r\nHost: api.test\r\n\r\n".encode())
                _, fields = _head(sock)
                if fields["x-served"].endswith(HELD):
                    break
                _body(sock, fields)
        return self

    def __exit__(self, *_: object) -> None:
        for sock in (*self.idle, self.side, self.tunnel, *self.downloads, *self.sessions):
            sock.close()


def judge_plan(evidence: Evidence, plan: Json, held: Open, places: Places, hive: Hive) -> None:
    changes = {(each["kind"], each["inside"], each["name"]): each for each in plan["changes"]}
    told = changes["endpoint", "api", HELD]["effects"]
    evidence.claim(
        "plan: what is under way on the endpoint that goes",
        told == [f"drains: {DOWNLOADS} requests and {DOWNLOADS} connections finish there"],
        f"{told}, open there: {DOWNLOADS} downloads",
    )
    finished = sum(_rest(sock) for sock in held.downloads)
    evidence.claim(
        "and it finishes there: no download is cut", finished == DOWNLOADS, f"{finished} of {DOWNLOADS} complete"
    )
    served = Counter(_ask(sock, "/v1/after")[1].get("x-served", "") for sock in held.idle for _ in range(3))
    evidence.claim(
        f"{IDLE} idle connections stay open and are served by the new routes, the endpoint that is gone gets nothing",
        sum(served.values()) == 3 * IDLE and not any(name.endswith(HELD) for name in served),
        dict(served),
    )
    flow = plan["flow"]
    kept = IDLE + DOWNLOADS + 2
    evidence.claim(
        "plan: how many connections stay and how many are cut",
        (flow["connections"], flow["cut"]) == (kept, SESSIONS),
        f"{plan['summary']!r}; open: {kept} connections, {SESSIONS} sessions of a listener that goes",
    )
    tunnel, side = _ask(held.tunnel)[0], _ask(held.side)[0]
    evidence.claim(
        "connections of listeners that are gone go on: the tunnel at its endpoint, HTTP by the routes that it had last",
        (tunnel, side) == (200, 200) and not is_listening(places.tcp) and not is_listening(places.side),
        f"answers {tunnel} and {side}; new connections are refused",
    )
    silent = sum(not _answers(session) for session in held.sessions)
    evidence.claim(
        "sessions of datagrams end with their listener, as plan counted", silent == SESSIONS, f"{silent} of {SESSIONS}"
    )
    names = {(each["kind"], each["sign"], each["name"]) for each in plan["changes"]}
    predicted = {
        ("listener", "-", "side"), ("listener", "-", "tunnel"), ("listener", "-", "echo"),
        ("route", "-", "legacy"), ("route", "-", "gone"),
        ("route", "+", "search"), ("route", "+", "mobile"), ("route", "+", "debug"), ("route", "+", "status"),
        *(("route", "~", name) for name in ("checkout", "old", "orders", "admin", "limited", "flaky")),
        ("service", "-", "echo"), ("endpoint", "-", "e1"), ("service", "~", "web"), ("service", "~", "orders"),
        ("endpoint", "-", HELD), ("endpoint", "+", "a4"),
    }  # fmt: skip
    evidence.claim(
        "plan names every difference of the two files and no other",
        names == predicted,
        sorted(names ^ predicted) or "equal",
    )
    again = json.loads(command("--admin", f"http://{HOST}:{hive.admin}", "--json", "plan", str(hive.file)))
    evidence.claim("afterwards plan says that there is no change", not again["changes"], again["summary"])


def _connected(port: int) -> socket.socket:
    sock = socket.create_connection((HOST, port), 10.0)
    sock.settimeout(30.0)
    return sock


def _session(port: int) -> socket.socket:
    sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    sock.connect((HOST, port))
    sock.settimeout(10.0)
    return sock


def _ping(session: socket.socket) -> None:
    session.send(b"ping")
    if session.recv(100) != b"ping":
        raise ProofError("the echo over UDP does not echo")


def _answers(session: socket.socket) -> bool:
    session.settimeout(1.0)
    try:
        session.send(b"ping")
        return session.recv(100) == b"ping"
    except OSError:
        return False


def _ask(sock: socket.socket, path: str = "/v1/x") -> tuple[int, dict[str, str]]:
    sock.sendall(f"GET {path} HTTP/1.1\r\nHost: api.test\r\n\r\n".encode())
    status, fields = _head(sock)
    _body(sock, fields)
    return status, fields


def _head(sock: socket.socket) -> tuple[int, dict[str, str]]:
    """Of the answer. Nothing is read beyond it."""
    found = b""
    while not found.endswith(b"\r\n\r\n"):
        data = sock.recv(1)
        if not data:
            raise ProofError(f"a connection was closed within an answer: {found[:100]!r}")
        found += data
    return parse(found.decode("latin-1"))


def _body(sock: socket.socket, fields: Mapping[str, str]) -> None:
    left = int(fields.get("content-length", "0"))
    while left:
        data = sock.recv(left)
        if not data:
            raise ProofError(f"a connection was closed within a body, {left} bytes before its end")
        left -= len(data)


def _rest(sock: socket.socket) -> bool:
    """Whether the download comes to its end."""
    size = 0
    with suppress(OSError):
        while size < len(BODY) and (data := sock.recv(len(BODY) - size)):
            size += len(data)
    return size == len(BODY)


async def echo(cue: Cue, port: int) -> None:
    class Echo(asyncio.DatagramProtocol):
        def connection_made(self, transport: asyncio.BaseTransport) -> None:
            self.transport = transport

        def datagram_received(self, data: bytes, address: Any) -> None:
            self.transport.sendto(data, address)  # type: ignore[attr-defined]

    transport, _ = await asyncio.get_running_loop().create_datagram_endpoint(Echo, local_addr=(HOST, port))
    cue.ready()
    await cue.stop.wait()
    transport.close()


# --- the same requests again --------------------------------------------------------------------------------------


def judge_again(
    evidence: Evidence,
    hive: Hive,
    log: Path,
    port: int,
    todo: Sequence[Asked],
    records: Mapping[int, Record],
    before: Sequence[Answered],
    simulated: Json,
) -> None:
    ids = {number: record.request_id for number, record in records.items()}
    cookies = {answer.number: answer.cookie for answer in before}
    seen = log.stat().st_size
    with Part(send, port, todo, ids, cookies, {answer.number: answer.sent for answer in before}) as client:
        again: Json = client.result(COMMAND_LIMIT)
    logged = eventually(lambda: _complete(log, seen, ids), "all requests are in the access log", LOG_LIMIT)
    real = {number: outcome_of(logged[id]) for number, id in ids.items() if id in logged}
    evidence.claim(
        "every request is sent again, with the id that it had",
        len(real) == len(todo) and not again["failures"],
        f"{len(real):,} in the log, failures: {again['failures'][:3] or 'none'}",
    )
    was = {number: outcome_of(record) for number, record in records.items()}
    changes = {each["request_id"]: msgspec.convert(each["now"], Outcome) for each in simulated["changed"]}
    predicted = {number: changes.get(record.request_id, was[number]) for number, record in records.items()}
    limited = {asked.number for asked in todo if asked.path == LIMITED}
    strict = sorted(set(real) - limited)
    wrong = [number for number in strict if predicted[number] != real[number]]
    foretold = {number for number in strict if predicted[number] != was[number]}
    happened = {number for number in strict if real[number] != was[number]}
    evidence.claim(
        f"{len(strict):,} requests: route, service, version and outcome of each are as predicted",
        not wrong and bool(strict),
        f"{len(strict) - len(wrong):,} as predicted, otherwise: "
        f"{list(_shown(wrong, records, predicted, real)) or 'none'}",
    )
    evidence.claim(
        "the list of changes is the list of what changed",
        foretold == happened and bool(happened),
        f"{len(foretold):,} predicted, {len(happened):,} happened, in one of them only: {len(foretold ^ happened)}",
    )
    undecided = sum(outcome.kind == UNDECIDED for outcome in was.values())
    evidence.claim("no request is left out", not undecided, f"{undecided} left out")
    _judge_answers(evidence, again["answers"], real)
    _judge_limit(evidence, limited, predicted, real)
    _judge_shares(evidence, simulated, [logged[ids[number]] for number in real])


def _complete(log: Path, seen: int, ids: Mapping[int, str]) -> dict[str, Record] | None:
    """What was logged since, by request id; None while some are missing."""
    wanted = set(ids.values())
    with log.open("rb") as file:
        file.seek(seen)
        lines = file.read().split(b"\n")[:-1]
    found = {}
    for line in lines:
        fields = json.loads(line)
        if fields.get("request_id") in wanted:
            known = {name: value for name, value in fields.items() if name in Record.__struct_fields__}
            found[fields["request_id"]] = msgspec.convert(known, Record, strict=False)
    return found if len(found) == len(wanted) else None


def _shown(
    wrong: Sequence[int], records: Mapping[int, Record], predicted: Mapping[int, Outcome], real: Mapping[int, Outcome]
) -> Iterator[str]:
    for number in wrong[:3]:
        record = records[number]
        yield f"{record.method} {record.host}{record.path}: {predicted[number]} but {real[number]}"


def _judge_answers(evidence: Evidence, answers: Sequence[Answered], real: Mapping[int, Outcome]) -> None:
    """What the origins say of themselves, and what the client saw, against the log."""
    wrong = []
    for answer in answers:
        outcome = real[answer.number]
        served = answer.served.split()[:2]
        is_same = (
            served == [outcome.service, outcome.version] if outcome.kind == FORWARD else answer.status == outcome.status
        )
        if not is_same:
            wrong.append(f"{answer.number}: {answer.status} {answer.served!r}, log: {outcome}")
    evidence.claim(
        "service and version are those that the origin says, and the status of other answers that of the log",
        not wrong,
        f"{len(answers):,} answers, otherwise: {wrong[:3] or 'none'}",
    )


def _judge_limit(
    evidence: Evidence, limited: set[int], predicted: Mapping[int, Outcome], real: Mapping[int, Outcome]
) -> None:
    foretold = sum(predicted[number].flag == "RL" for number in limited)
    happened = sum(real[number].flag == "RL" for number in limited)
    exact = sum(predicted[number] == real[number] for number in limited)
    evidence.note("requests of the rate-limited route decided exactly as predicted", f"{exact:,} of {len(limited):,}")
    if evidence.short:  # a second is too short for a share of its requests to mean anything
        return
    evidence.claim(
        f"the rate limit turns away as many as predicted, within {LIMIT_SLACK:.0%} of its {len(limited):,} requests "
        "(which of them is a matter of milliseconds)",
        abs(foretold - happened) <= LIMIT_SLACK * len(limited) and foretold > 0,
        f"{foretold:,} predicted, {happened:,} happened",
    )


def _judge_shares(evidence: Evidence, simulated: Json, logged: Sequence[Record]) -> None:
    real = Counter((record.service, record.version, record.endpoint) for record in logged if record.endpoint)
    foretold = {(each["service"], each["version"], each["endpoint"]): each["now"] for each in simulated["shares"]}
    total = sum(real.values()) or 1
    worst = max(abs(real[place] - foretold.get(place, 0)) for place in real.keys() | foretold.keys())
    evidence.claim(
        f"the load of each endpoint is as predicted, within {SHARE_SLACK:.0%} of all requests",
        worst <= SHARE_SLACK * total,
        f"{len(real)} endpoints, {worst:,} of {total:,} requests off at most",
    )
