"""Random playbooks: many clients and origins do anything in any order, and the books balance all the same.

Each step sends a piece of something, answers with a piece of something, ends or resets a connection, or changes the
configuration. Whatever happened, nothing may be met as a bug, nothing may stay open or counted as active, every
request that was begun is finished and logged exactly once (`Playbook` checks the rest when its block ends).
"""

from __future__ import annotations

import random
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path

import pytest
from playbook import Client, Origin, Playbook, Server, service

from discovery.model import (
    AccessLog,
    Filters,
    Limits,
    LogFormat,
    PoolPolicy,
    Route,
    Service,
    Settings,
    Timeouts,
)
from discovery.policies import (
    Abort,
    Affinity,
    Balancing,
    CircuitBreaker,
    Delay,
    Fault,
    KeyKind,
    LoadBalancingStrategy,
    Mirror,
    RateLimit,
    RequestKey,
    RequestPolicies,
    RetryPolicy,
)
from proxy.stats import slots

REQUESTS = [
    b"GET /a HTTP/1.1\r\nHost: a\r\n\r\n",
    b"GET /old HTTP/1.0\r\nConnection: keep-alive\r\n\r\n",
    b"HEAD /h HTTP/1.1\r\nHost: a\r\n\r\n",
    b"POST /p HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nhello",
    b"PUT /big HTTP/1.1\r\nHost: a\r\nContent-Length: 90000\r\n\r\n" + b"x" * 90_000,
    b"PUT /c HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\nX-T: 1\r\n\r\n",
    b"GET /up HTTP/1.1\r\nHost: a\r\nUpgrade: echo\r\nConnection: Upgrade\r\n\r\n",
    b"GET /close HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n",
    b"POST /expect HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\nContent-Length: 3\r\n\r\nabc",
    b"GET /bad HTTP/1.1\r\nHost : a\r\n\r\n",
    b"\x16\x03\x01 nonsense\r\n\r\n",
    b"POST /bad HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
    b"CONNECT a:80 HTTP/1.1\r\nHost: a:80\r\n\r\n",
]
ANSWERS = [
    b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok",
    b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n",
    b"HTTP/1.1 204 No Content\r\n\r\n",
    b"HTTP/1.1 304 Not Modified\r\nContent-Length: 5\r\n\r\n",
    b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\nX-T: 2\r\n\r\n",
    b"HTTP/1.1 200 OK\r\nContent-Length: 90000\r\n\r\n" + b"y" * 90_000,
    b"HTTP/1.0 200 OK\r\n\r\nuntil the end",
    b"HTTP/1.1 100 Continue\r\n\r\n",
    b"HTTP/1.1 503 No\r\nContent-Length: 2\r\nConnection: close\r\n\r\nno",
    b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: echo\r\nConnection: Upgrade\r\n\r\nearly",
    b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nKeep-Alive: timeout=1\r\n\r\nok",
    b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nContent-Length: 3\r\n\r\nok",
    b"garbage\r\n\r\n",
]

FAILED = b"HTTP/1.1 503 No\r\nContent-Length: 2\r\n\r\nno"

STEPS = 120
POLICY_SEEDS = 25

Make = Callable[..., tuple[tuple[Service, ...], tuple[Route, ...]]]


class Chaos:
    """One random playbook."""

    def __init__(
        self, book: Playbook, origins: tuple[Origin, ...], choose: random.Random, make: Make | None = None
    ) -> None:
        """`make`: a random configuration for these origins."""
        self.book = book
        self.make = make or (lambda choose, *origins: ((app(choose, *origins),), ()))
        self.origins = origins
        self.random = choose
        self.clients: list[Client] = []
        self.servers: list[Server] = []
        self.requests = REQUESTS
        self.answers = ANSWERS
        self.waiting: dict[Client | Server, bytes] = {}  # what a side has begun and not finished to send

    def piece(self, side: Client | Server, whole: list[bytes]) -> None:
        """Send all, or the next part, of something."""
        data = self.waiting.pop(side, b"") or self.random.choice(whole)
        if self.random.random() < 0.3:
            data += self.random.choice(whole)  # pipelined, or more than was asked for
        cut = len(data) if self.random.random() < 0.5 else self.random.randrange(len(data)) + 1
        side.socket.setblocking(False)
        try:
            sent = side.socket.send(data[:cut])
        except (BlockingIOError, ConnectionError):
            return
        if sent < len(data):
            self.waiting[side] = data[sent:]

    def end(self, sides: list[Client] | list[Server]) -> None:
        side = sides.pop(self.random.randrange(len(sides)))
        how = self.random.choice(["close", "reset", "half"])
        if how == "close":
            side.close()
        elif how == "reset":
            side.reset()
        else:
            try:
                side.finish_sending()
            except OSError:
                return
            sides.append(side)  # type: ignore[arg-type]

    def read(self, side: Client | Server) -> None:
        side.socket.setblocking(False)
        try:
            side.socket.recv(1_000_000)
        except (BlockingIOError, ConnectionError):
            return

    def configure(self) -> None:
        chosen = [origin for origin in self.origins if self.random.random() < 0.7]
        self.book.apply(*self.make(self.random, *chosen))

    def step(self) -> None:
        kind = self.random.random()
        if kind < 0.12 or not self.clients:
            client = Client(self.book.address)
            client.book = self.book
            self.book.clients.append(client)
            self.clients.append(client)
        elif kind < 0.45:
            self.piece(self.random.choice(self.clients), self.requests)
        elif kind < 0.75 and self.servers:
            self.piece(self.random.choice(self.servers), self.answers)
        elif kind < 0.80:
            self.end(self.clients)
        elif kind < 0.84 and self.servers:
            self.end(self.servers)
        elif kind < 0.88:
            self.configure()
        elif sides := [*self.clients, *self.servers]:
            self.read(self.random.choice(sides))
        if self.random.random() < 0.8:
            self.book.serve()
        for origin in self.origins:
            if origin.is_called():
                self.servers.append(origin.accept())


def app(choose: random.Random, *origins: Origin) -> Service:
    pool = PoolPolicy(max_connections=choose.choice([0, 1, 2]), max_pending=3, idle_timeout=choose.choice([0.0, 60.0]))
    return service("app", *origins, pool=pool, timeout=choose.choice([0.0, 0.0, 0.2]))


@pytest.mark.parametrize("seed", range(25))
def test_anything_in_any_order(make_origin: Callable[[], Origin], tmp_path: Path, seed: int) -> None:
    choose = random.Random(seed)
    log = tmp_path / "log"
    settings = Settings(
        access_log=AccessLog(path=str(log), format=LogFormat.JSON),
        timeouts=Timeouts(linger=0.05, connect=0.2),
        limits=Limits(replay_body=1000, interim_responses=2),
    )
    origins = tuple(make_origin() for _ in range(2))
    with Playbook(app(choose, *origins), origins=origins, settings=settings, log=log) as book:
        chaos = Chaos(book, origins, choose)
        for _ in range(STEPS):
            chaos.step()
        for side in [*chaos.clients, *chaos.servers]:
            side.close()
        book.until(lambda: all(each.relaying for each in book.downstreams()), "all connections closed")
        book.until(
            lambda: book.plane.forwarder.active == sum(each.relaying for each in book.downstreams()), "all ended"
        )
        finished = book.cell("listener/web", slots.REQUESTS)
        assert finished == len(book.log_entries()) > 0


def policies(choose: random.Random) -> RequestPolicies:
    return RequestPolicies(
        max_body=choose.choice([0, 0, 4, 1000]),
        rate_limit=choose.choice(
            [None, RateLimit(9, burst=9), RateLimit(9, burst=9, key=RequestKey(kind=KeyKind.CLIENT_IP))]
        ),
        max_concurrent=choose.choice([0, 0, 2]),
        fault=choose.choice(
            [None, Fault(delay=Delay(0.02, 50.0), abort=Abort(503, 20.0)), Fault(delay=Delay(0.3, 10.0))]
        ),
        mirror=choose.choice([None, Mirror("shadow"), Mirror("app"), Mirror("shadow", max_body=10), Mirror("gone")]),
    )


def mesh(choose: random.Random, *origins: Origin) -> tuple[tuple[Service, ...], tuple[Route, ...]]:
    """Two services with every policy there is, or some, and a route with more."""

    def one(name: str) -> Service:
        return service(
            name,
            *origins,
            pool=PoolPolicy(
                max_connections=choose.choice([0, 1, 2]),
                max_total=choose.choice([0, 0, 2]),
                max_pending=3,
                idle_timeout=choose.choice([0.0, 60.0]),
            ),
            timeout=choose.choice([0.0, 0.0, 0.2]),
            load_balancing=choose.choice(list(LoadBalancingStrategy)),
            balancing=Balancing(panic_threshold_pct=choose.choice([0.0, 50.0])),
            affinity=choose.choice([None, None, Affinity(name="hm"), Affinity(kind=KeyKind.HEADER, name="host")]),
            retry=choose.choice(
                [
                    None,
                    RetryPolicy(
                        max_retries=choose.choice([1, 3]),
                        retry_on=("5xx", "reset", "connect-failure", "gateway-error"),
                        per_try_timeout=choose.choice([0.0, 0.05]),
                        backoff=choose.choice([0.0, 0.01]),
                        idempotency_key=True,
                    ),
                ]
            ),
            circuit_breaker=CircuitBreaker(
                max_connections=choose.choice([0, 2]),
                max_pending_requests=choose.choice([0, 1]),
                max_requests=choose.choice([0, 3]),
                max_retries=choose.choice([0, 1]),
                consecutive_errors=choose.choice([0, 1, 2]),
                base_ejection_time=choose.choice([0.01, 0.05, 30.0]),
                half_open_requests=choose.choice([1, 5]),
            ),
            policies=policies(choose),
        )

    of_route = RequestPolicies() if choose.random() < 0.5 else policies(choose)
    return (one("app"), one("shadow")), (Route(name="all", service="app", filters=Filters(policies=of_route)),)


@pytest.mark.parametrize("seed", range(POLICY_SEEDS))
def test_any_policies_in_any_order(make_origin: Callable[[], Origin], tmp_path: Path, seed: int) -> None:
    choose = random.Random(seed)
    log = tmp_path / "log"
    settings = Settings(
        access_log=AccessLog(path=str(log), format=LogFormat.JSON),
        timeouts=Timeouts(linger=0.05, connect=0.2),
        limits=Limits(replay_body=1000, interim_responses=2),
    )
    origins = tuple(make_origin() for _ in range(2))
    services, routes = mesh(choose, *origins)
    with Playbook(*services, routes=routes, origins=origins, settings=settings, log=log) as book:
        chaos = Chaos(book, origins, choose, mesh)
        chaos.requests, chaos.answers = REQUESTS[:9], [*ANSWERS[:10], *ANSWERS[8:9] * 3, FAILED, FAILED]
        for _ in range(STEPS):
            chaos.step()
        for side in [*chaos.clients, *chaos.servers]:
            side.close()
        for origin in origins:
            origin.close()
        book.until(lambda: all(each.relaying for each in book.downstreams()), "all connections closed")
        book.until(lambda: not book.plane.mirrors.copies, "all copies over")
        book.until(
            lambda: book.plane.forwarder.active == sum(each.relaying for each in book.downstreams()), "all ended"
        )
        finished = book.cell("listener/web", slots.REQUESTS)
        assert finished == len(book.log_entries()) > 0


@pytest.mark.parametrize("seed", range(10))
def test_any_cut_of_a_conversation_gives_the_same_conversation(origin: Origin, seed: int) -> None:
    """The same pipelined requests and answers, cut anywhere: the origin and the client get the same bytes."""
    choose = random.Random(seed)
    script = REQUESTS[0] + REQUESTS[3] + REQUESTS[5] + REQUESTS[4] + REQUESTS[2] + REQUESTS[0]
    answers = [ANSWERS[0], ANSWERS[4], ANSWERS[5], ANSWERS[1], ANSWERS[3], ANSWERS[2]]
    with Playbook(service("app", origin), origins=(origin,)) as book:
        client = book.client()
        cuts = sorted({0, len(script), *(choose.randrange(len(script)) for _ in range(8))})
        pieces = [script[start:end] for start, end in pairwise(cuts)]
        upstream = None
        for answer, expected in zip(
            answers, [("GET", 0), ("POST", 5), ("PUT", 5), ("PUT", 90_000), ("HEAD", 0), ("GET", 0)], strict=True
        ):
            while pieces and (upstream is None or not complete(upstream, expected)):
                client.send(pieces.pop(0))
                upstream = upstream or (origin.accept() if origin.is_called() else None)
            assert upstream is not None
            request = upstream.request()
            assert (request.method, len(request.body)) == expected
            at = choose.randrange(len(answer))
            upstream.send(answer[:at], answer[at:])
        got = [client.response(to=method) for method in ("GET", "POST", "PUT", "PUT", "HEAD", "GET")]
        assert [response.status for response in got] == [200, 200, 200, 200, 304, 204]
        assert [len(response.body) for response in got] == [2, 2, 90_000, 0, 0, 0]
        assert client.has_nothing_to_read()


def complete(upstream: Server, expected: tuple[str, int]) -> bool:
    """Whether a whole request of this size is here."""
    upstream.receive_available()
    head, _, body = upstream.unread.partition(b"\r\n\r\n")
    if not head.startswith(expected[0].encode()):
        return False
    return body.endswith(b"0\r\nX-T: 1\r\n\r\n") if b"chunked" in head else len(body) >= expected[1]
