"""Proof: 8,000 clients that send their requests a byte at a time are not noticed by those that behave.

Two workers and one listener. Thousands of connections each begin a request and then send a byte of its head every few
seconds, with `timeouts.request_head` so long that all of them stay. h2load asks at a moderate rate in turn: without
that crowd, with it, and with the same crowd at a server that reads nothing. The last is what the crowd's sending costs
on cores that it shares with everything else, and in the world it would have its own: so the p99 with the crowd at the
proxy is compared with that, within each round, and beside it with the p99 without any crowd. HAProxy does the same with
the same limits, two threads in place of two workers. The memory of the workers is looked at before and with the crowd.

Last the crowd comes once more with a short `timeouts.request_head`: every one of its connections is answered 408.

`short` machines are shared with other tests: there nothing is said of time.
"""

from __future__ import annotations

import contextlib
import itertools
import tempfile
import time
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from statistics import median
from typing import Any, Final

from benchmarks.compare import load, machine
from benchmarks.compare.contenders import haproxy
from benchmarks.compare.processes import tree_cpu
from benchmarks.compare.traffic import Request
from benchmarks.proofs.beside import HAProxy
from benchmarks.proofs.evidence import Evidence, ProofError
from benchmarks.proofs.hive import HOST, Hive, endpoints, eventually, free_port
from benchmarks.proofs.holding import crowd, sink, slow_heads
from benchmarks.proofs.part import Part
from benchmarks.proofs.peers import Nginx, nginx_version
from benchmarks.proofs.watch import memory_of

PROMISE: Final = "thousands of clients that send their requests a byte at a time are not noticed by the others"

CLIENTS: Final = 8000
SHORT_CLIENTS: Final = 200
PROCESSES: Final = 4
EVERY: Final = 10.0  # seconds between two bytes of a client, as slowhttptest has it unless told otherwise (-i)
LOOK: Final = 4  # bytes after which it is looked at whether a client's connection was ended
SETTLE: Final = 0.5  # seconds between the last connection of the crowd and what is measured
ROUNDS: Final = 9
SECONDS: Final = 8.0
RATE: Final = 2000.0  # requests per second of the clients that behave
MOST_RATIO: Final = 1.10

# HAProxy takes two descriptors for each; 20,000 are what a process may often have.
MOST_CONNECTIONS: Final = 9000
LONG: Final = 600  # seconds; longer than a round
SHORT_HEAD: Final = 1  # seconds
HELD_LIMIT: Final = 60.0

# Pages that a worker touches for the first time are no cost of a connection.
MOST_BYTES: Final = 16_384  # of private memory for each connection that is held

# Where the crowd is while those that behave are measured.
ALONE: Final = "alone"
ELSEWHERE: Final = "elsewhere"
AT_PROXY: Final = "here"
KINDS: Final = (ALONE, ELSEWHERE, AT_PROXY)

REQUESTS: Final = (Request("shop.bench.test", "/v1/catalog"),)

_SERVER: Final = """
    server {{
        listen {host}:{port};
        keepalive_requests 1000000000;
        location / {{ return 200 "good\\n"; }}
    }}
"""


def prove(evidence: Evidence, folder: Path) -> None:
    port, server = free_port(), free_port()
    evidence.versions.update(nginx=nginx_version(), **machine.tool_versions())
    busy = machine.busy_share((0, 1), 0.2 if evidence.short else 1.0)
    evidence.note("busy before", {f"core {core}": round(share, 2) for core, share in busy.items()})
    with contextlib.ExitStack() as stack:
        stack.enter_context(Nginx(folder, _SERVER.format(host=HOST, port=server), [server]))
        hive = stack.enter_context(Hive(config(port, server, LONG), folder))
        ours, theirs = Side("hivemesh", port, hive.workers(), hive.pid), []
        if not evidence.short:
            peer = stack.enter_context(HAProxy(folder, [server], render_haproxy))
            theirs.append(Side("haproxy", peer.port, [peer.pid], peer.pid))
            evidence.versions["haproxy"] = haproxy.HAProxy().version()
        rounds(evidence, folder, hive, ours, theirs)
        ends(evidence, hive, port, server)
        evidence.claim("the log has no bug", not hive.bugs(), hive.bugs()[:3] or "none")


def config(port: int, server: int, head: float) -> dict[str, Any]:
    listener = {
        "name": "web",
        "address": f"{HOST}:{port}",
        "routes": [{"name": "all", "match": {"path_prefix": "/"}, "service": "web"}],
    }
    return {
        "workers": 2,
        "limits": {"connections": MOST_CONNECTIONS},
        "timeouts": {"request_head": f"{head}s"},
        "listeners": [listener],
        "services": {"web": {"endpoints": endpoints(server)}},
    }


def render_haproxy(port: int, servers: Sequence[int]) -> str:
    (server,) = servers
    return f"""global
  nbthread 2
  maxconn {MOST_CONNECTIONS}

defaults
  mode http
  http-reuse always
  option forwardfor
  timeout connect 5s
  timeout client {LONG}s
  timeout server {LONG}s
  timeout http-request {LONG}s
  timeout http-keep-alive 75s

frontend web
  bind {HOST}:{port}
  maxconn {MOST_CONNECTIONS}
  default_backend web

backend web
  server e1 {HOST}:{server}
"""


# --- with the crowd and without ------------------------------------------------------------------------------------


def rounds(evidence: Evidence, folder: Path, hive: Hive, ours: Side, theirs: Sequence[Side]) -> None:
    clients = SHORT_CLIENTS if evidence.short else CLIENTS
    runs = 1 if evidence.short else ROUNDS
    held = 0
    for number, side in itertools.product(range(runs), (ours, *theirs)):
        kinds = (AT_PROXY,) if evidence.short else KINDS
        # In turn, so that what changes on the machine meanwhile is on no side.
        for kind in (*kinds[number % len(kinds) :], *kinds[: number % len(kinds)]):
            if kind == ALONE:
                side.note(kind, *asked(evidence, folder, side))
                continue
            before = side.private()
            with contextlib.ExitStack() as stack:
                port = side.port if kind == AT_PROXY else stack.enter_context(Part(sink)).value
                parts = stack.enter_context(crowd(slow_heads, port, clients, 1, EVERY, LOOK))
                if side is ours and kind == AT_PROXY:
                    held = max(held, wait_held(hive, clients))
                if not evidence.short:
                    time.sleep(SETTLE)
                side.note(kind, *asked(evidence, folder, side))
                if kind == AT_PROXY:
                    side.grown.append(side.private() - before)
                    for part in parts:
                        side.ended.update(part.finish())
        if not evidence.short:
            alone, elsewhere, here = (1e3 * side.p99[kind][-1] for kind in KINDS)
            evidence.say(
                f"    round {number + 1}/{runs}  {side.name}: p99 {alone:.2f} ms alone, {elsewhere:.2f} ms with them "
                f"elsewhere, {here:.2f} ms with them here"
            )
    evidence.claim(f"all {clients:,} are held, and counted by the listener's gauge", held >= clients, f"{held:,}")
    sent = ours.ended.pop("bytes")
    evidence.claim(
        "none of them is ended before its time",
        not ours.ended,
        f"{dict(ours.ended) or 'none'}; {sent:,} bytes of heads",
    )
    if not evidence.short:
        evidence.claim(
            f"the p99 of those that behave is within {MOST_RATIO} times that with them elsewhere, median of {runs}",
            ours.ratio(ELSEWHERE) <= MOST_RATIO,
            ours.told(),
        )
        evidence.note("p99 with them here / elsewhere", {side.name: side.told() for side in (ours, *theirs)})
    # Of the first time only: afterwards a process has the pages already.
    each = ours.grown[0] / clients
    evidence.claim(
        f"one that is held takes at most {MOST_BYTES:,} bytes of the workers' memory",
        each <= MOST_BYTES or evidence.short,
        f"{each:,.0f} bytes",
    )
    evidence.note(
        "bytes for each connection that is held",
        {side.name: round(side.grown[0] / clients) for side in (ours, *theirs)},
    )
    if not evidence.short:
        evidence.note(
            "CPU µs per request alone, with the crowd elsewhere, with it here (its bytes included)",
            {side.name: side.costs() for side in (ours, *theirs)},
        )


class Side:
    """A proxy and what was seen of it, by kind of crowd: p99 in seconds, CPU in microseconds per request."""

    def __init__(self, name: str, port: int, pids: Sequence[int], root: int) -> None:
        self.name = name
        self.port = port
        self.pids = pids
        self.root = root
        self.p99: dict[str, list[float]] = {kind: [] for kind in KINDS}
        self.cpu: dict[str, list[float]] = {kind: [] for kind in KINDS}
        self.grown: list[int] = []  # bytes
        self.ended: Counter[str] = Counter()

    def private(self) -> int:
        return sum(memory_of(pid).private for pid in self.pids)

    def note(self, kind: str, p99: float, cpu: float) -> None:
        self.p99[kind].append(p99)
        self.cpu[kind].append(cpu)

    def ratios(self, to: str) -> list[float]:
        return [here / other for here, other in zip(self.p99[AT_PROXY], self.p99[to], strict=True)]

    def ratio(self, to: str) -> float:
        return median(self.ratios(to))

    def told(self) -> str:
        ratios = self.ratios(ELSEWHERE)
        alone, elsewhere, here = (1e3 * median(self.p99[kind]) for kind in KINDS)
        return (
            f"{median(ratios):.2f} ({min(ratios):.2f} .. {max(ratios):.2f}); p99 {elsewhere:.2f} ms with it elsewhere,"
            f" {here:.2f} ms here; {alone:.2f} ms alone (here / alone {self.ratio(ALONE):.2f})"
        )

    def costs(self) -> str:
        return ", ".join(f"{median(self.cpu[kind]):.1f}" for kind in KINDS)


def asked(evidence: Evidence, folder: Path, side: Side) -> tuple[float, float]:
    """What clients that behave see for some seconds: p99, and the proxy's CPU per request in microseconds."""
    spent = tree_cpu(side.root)
    rate, seconds = (200.0, 0.5) if evidence.short else (RATE, SECONDS)
    try:
        # A folder of its own: h2load goes on in the log of an earlier run.
        with tempfile.TemporaryDirectory(dir=folder) as logs:
            report = load.run_h2load(Path(logs), REQUESTS, side.port, rate, seconds)
    except load.LoadFailed as problem:
        raise ProofError(f"{side.name}: {problem}") from None
    return report.p99, 1e6 * (tree_cpu(side.root) - spent) / report.all_requests


def wait_held(hive: Hive, clients: int) -> int:
    def held() -> int:
        return int(hive.metric("hivemesh_downstream_connections_active", listener="web"))

    eventually(lambda: held() >= clients, f"{clients} connections are held", HELD_LIMIT)
    return held()


# --- with the timeout ----------------------------------------------------------------------------------------------


def ends(evidence: Evidence, hive: Hive, port: int, server: int) -> None:
    """All of them once more, with a timeout that ends them."""
    clients, processes = (SHORT_CLIENTS, 1) if evidence.short else (CLIENTS, PROCESSES)
    hive.write(hive.complete(config(port, server, SHORT_HEAD)))
    hive.api("POST", "/v1/reload")
    with crowd(slow_heads, port, clients, processes, SHORT_HEAD / 4, 1) as parts:
        found: Counter[str] = Counter()
        for part in parts:
            found.update(part.result(HELD_LIMIT))
    sent = found.pop("bytes")
    evidence.claim(
        f"with timeouts.request_head of {SHORT_HEAD} s every one is answered 408 although it goes on sending",
        found == {"408": clients},
        f"{dict(found)}, after {sent:,} bytes more",
    )
    left = eventually_none(hive)
    evidence.claim("afterwards no connection is open", left == 0, f"{left:.0f} open")


def eventually_none(hive: Hive) -> float:
    def left() -> float:
        return hive.metric("hivemesh_downstream_connections_active", listener="web")

    try:
        eventually(lambda: left() == 0, "no connection is open", HELD_LIMIT)
    except ProofError:
        return left()
    return 0.0
