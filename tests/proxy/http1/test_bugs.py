"""A bug of ours ends one connection: the client gets 500 or a reset, everybody else goes on, and all gauges return.

Bugs are put where a driver calls out: into a phase, the router, the choice of an endpoint, the log.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from playbook import Client, Origin, Playbook, Server, service
from raw_origin import OK

from discovery.model import AccessLog, LogFormat, PoolPolicy, Settings
from mesh.balance import Balancer, Candidate
from mesh.request import RequestView, SampleRequest
from proxy.http1.parties import Exchange, RouteRuntime
from proxy.http1.phases import Phase, Verdict

GET = b"GET /a HTTP/1.1\r\nHost: a\r\n\r\n"


class OurBug(Exception):
    pass


class FailingPhase(Phase):
    def run(self, exchange: Exchange) -> Verdict | None:
        raise OurBug("a phase")


class FailingBalancer(Balancer):
    def pick(self, request: RequestView, tried: list[Candidate] | None, now: int) -> Candidate | None:
        raise OurBug("a balancer")


class Failing:
    """Whatever is asked of it is a bug."""

    def __getattr__(self, name: str) -> Any:
        raise OurBug(name)


def book_of(origin: Origin) -> Playbook:
    return Playbook(service("app", origin), origins=(origin,))


def route_of(book: Playbook) -> RouteRuntime:
    """The only route."""
    route = book.plane.tables.listeners["web"].router.match(SampleRequest())
    assert isinstance(route, RouteRuntime)
    return route


def met(book: Playbook) -> list[str]:
    """The bugs so far, which are then forgotten."""
    found = [str(bug) for bug in book.bugs if isinstance(bug, OurBug)]
    assert len(found) == len(book.bugs), book.bugs
    book.bugs.clear()
    return found


def ended_without_answer(client: Client) -> bool:
    """Reset, or answered with 500."""
    received = client.read_to_end()
    return received == b"" or received.startswith(b"HTTP/1.1 500 ")


def works(book: Playbook, origin: Origin, upstream: Server | None = None) -> None:
    client = book.client()
    client.send(GET)
    (upstream or origin.accept()).answer()
    assert client.response().status == 200
    client.close()


@pytest.mark.parametrize("first", [True, False], ids=["first request", "later request"])
def test_a_bug_in_a_phase(origin: Origin, first: bool) -> None:
    with book_of(origin) as book:
        client, other = book.client(), book.client()
        if not first:
            client.send(GET)
            origin.accept().answer()
            assert client.response().status == 200
        route = route_of(book)
        phases, route.phases = route.phases, (FailingPhase(),)
        client.send(GET)
        assert ended_without_answer(client)
        assert met(book) == ["a phase"]
        # The listener and other connections are as they were.
        route.phases = phases
        other.send(GET)
        (origin.connections[0] if not first else origin.accept()).answer()  # type: ignore[attr-defined]
        assert other.response().status == 200
        works(book, origin, origin.connections[0])  # type: ignore[arg-type]


def test_a_bug_in_a_phase_with_a_request_that_is_there_at_once(origin: Origin) -> None:
    """The request is read when the connection is accepted; the listener must not pay for it."""
    with book_of(origin) as book:
        route = route_of(book)
        phases, route.phases = route.phases, (FailingPhase(),)
        for _ in range(3):
            client = Client(book.address)
            client.book = book
            client.socket.sendall(GET)
            assert ended_without_answer(client)
            client.close()
        assert len(met(book)) == 3
        route.phases = phases
        works(book, origin)


def test_a_bug_while_choosing_an_endpoint(origin: Origin) -> None:
    with book_of(origin) as book:
        runtime = book.plane.tables.services["app"]
        balancer, runtime.balancer = runtime.balancer, FailingBalancer(runtime.balancer.candidates)
        client = book.client()
        client.ask("POST", body=b"hello")
        assert ended_without_answer(client)
        assert met(book) == ["a balancer"]
        runtime.balancer = balancer
        works(book, origin)


@pytest.mark.parametrize("raw", [GET, b"PUT /a HTTP/1.1\r\nHost: a\r\nContent-Length: 10\r\n\r\nhalf"])
def test_a_bug_in_the_upstreams_driver(origin: Origin, raw: bytes) -> None:
    with book_of(origin) as book:
        (endpoint,) = book.plane.tables.services["app"].endpoints.values()
        habit, endpoint.habit = endpoint.habit, Failing()
        client = book.client()
        client.send(raw)
        upstream = origin.accept()
        upstream.head()
        upstream.send(b"HTTP/1.1 200 OK\r\nKeep-Alive: timeout=5\r\nContent-Length: 2\r\n\r\nok")
        assert ended_without_answer(client)
        assert met(book) == ["hear"]
        assert upstream.is_ended_by_peer()
        endpoint.habit = habit
        works(book, origin)


def test_a_bug_in_the_middle_of_a_response(origin: Origin) -> None:
    """The client must not take what it has for complete."""
    with book_of(origin) as book:
        client = book.client()
        client.send(GET)
        upstream = origin.accept()
        upstream.head()
        upstream.send(b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhalf")
        client.read_until(b"half")
        (server,) = book.upstreams()
        book.plane.reactor.report(server, OurBug("inside"))
        assert client.is_ended_by_peer() and client.was_reset
        assert met(book) == ["inside"]
        works(book, origin)


def test_a_bug_in_the_client_s_driver_while_the_endpoint_works(origin: Origin) -> None:
    with book_of(origin) as book:
        client = book.client()
        client.send(GET)
        upstream = origin.accept()
        upstream.head()
        (downstream,) = book.downstreams()
        book.plane.reactor.report(downstream, OurBug("inside"))
        assert client.is_ended_by_peer()
        assert upstream.is_ended_by_peer()
        assert met(book) == ["inside"]
        works(book, origin)


def test_a_bug_while_a_request_waits(origin: Origin) -> None:
    with Playbook(service("app", origin, pool=PoolPolicy(max_connections=1)), origins=(origin,)) as book:
        first, second = book.client(), book.client()
        first.send(GET)
        second.send(GET)
        upstream = origin.accept()
        waiting = next(
            stream
            for stream in book.downstreams()
            if stream.exchange is not None and stream.exchange.waiting is not None
        )
        book.plane.reactor.report(waiting, OurBug("inside"))
        assert second.is_ended_by_peer()
        assert met(book) == ["inside"]
        upstream.answer()
        assert first.response().status == 200


def test_a_bug_while_relaying(origin: Origin) -> None:
    for side in ("client", "endpoint"):
        with book_of(origin) as book:
            client = book.client()
            client.ask(headers={"Upgrade": "echo", "Connection": "Upgrade"})
            upstream = origin.accept()
            upstream.request()
            upstream.send(b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: echo\r\nConnection: Upgrade\r\n\r\n")
            assert client.response().status == 101
            (stream,) = book.downstreams() if side == "client" else book.upstreams()
            book.plane.reactor.report(stream, OurBug("inside"))
            assert client.is_ended_by_peer() and upstream.is_ended_by_peer()
            assert met(book) == ["inside"]
            book.origins = ()


@pytest.mark.parametrize("local", [True, False], ids=["answer of ours", "answer of the endpoint"])
def test_a_bug_in_the_access_log(origin: Origin, tmp_path: Path, local: bool) -> None:
    """It is met at the very end of an exchange, when all else is done; nobody notices but the one who reads bugs."""
    settings = Settings(access_log=AccessLog(path=str(tmp_path / "log"), format=LogFormat.JSON))
    app = service("app") if local else service("app", origin)
    with Playbook(app, origins=(origin,), settings=settings) as book:
        # Its name is read when its first line is written.
        route_of(book).route = Failing()
        client = book.client()
        for count in range(3):
            client.send(GET)
            if not local:
                (origin.connections[0] if count else origin.accept()).answer(OK)  # type: ignore[attr-defined]
            assert client.response().status == (503 if local else 200)
        assert len(met(book)) == 3
