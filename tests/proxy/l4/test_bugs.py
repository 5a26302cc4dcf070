"""A bug of ours ends the one connection that met it: others go on, it is counted and logged, and nothing is left.

Bugs are put where a driver calls out: into the router, the choice of an endpoint, the connector, the log.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from playbook import Playbook
from tcp_playbook import LISTENER, Client, Origin, TcpBook, service

from discovery.model import PoolPolicy, StreamRoute
from mesh.balance import Balancer, Candidate
from mesh.request import RequestView
from proxy.stats import slots


class OurBug(Exception):
    pass


class FailingBalancer(Balancer):
    """Fails as often as it is told to, and is then the one that it stands for."""

    def __init__(self, good: Balancer, times: int = 1) -> None:
        super().__init__(good.candidates)
        self.good = good
        self.times = times

    def pick(self, request: RequestView, tried: list[Candidate] | None, now: int) -> Candidate | None:
        if self.times:
            self.times -= 1
            raise OurBug("a balancer")
        return self.good.pick(request, tried, now)


class FailingPosition:
    """The log says where a route was written."""

    def __str__(self) -> str:
        raise OurBug("the log")


def met(book: Playbook) -> list[str]:
    """The bugs so far, which are then forgotten."""
    found = [str(bug) for bug in book.bugs if isinstance(bug, OurBug)]
    assert len(found) == len(book.bugs), book.bugs
    book.bugs.clear()
    return found


def reset_without_a_word(client: Client) -> bool:
    return client.is_ended_by_peer() and client.was_reset and client.received == b""


def fail_once(book: Playbook, name: str) -> None:
    """The next choice of an endpoint of this service is a bug."""
    runtime = book.plane.tables.services[name]
    assert runtime.balancer is not None
    runtime.balancer = FailingBalancer(runtime.balancer)


def test_a_bug_before_an_endpoint_is_chosen_ends_that_connection(origin: Origin) -> None:
    with TcpBook(service("db", origin), origins=(origin,)) as book:
        fail_once(book, "db")
        assert reset_without_a_word(book.client())
        assert met(book) == ["a balancer"]
        # The acceptor itself is well.
        client, server = book.pair(origin)
        client.send(b"x")
        assert server.read_exactly(1) == b"x"
        (entry,) = book.log_entries()
        assert (entry["flags"], entry["flag_details"]) == ("", "the proxy failed at this connection")


def test_a_bug_of_one_that_waited_is_not_that_of_whose_end_let_it_go(origin: Origin) -> None:
    """The connection that ended here makes room; what happens to the next in the queue is not its business."""
    with TcpBook(service("db", origin, pool=PoolPolicy(max_connections=1)), origins=(origin,)) as book:
        client, server = book.pair(origin)
        first, second = book.client(), book.client()
        fail_once(book, "db")
        client.close()
        server.close()
        assert reset_without_a_word(first)
        assert met(book) == ["a balancer"]
        second.send(b"x")
        assert origin.accept().read_exactly(1) == b"x"
        details = {entry.get("flag_details", "") for entry in book.log_entries()}
        assert details == {"", "the proxy failed at this connection"}


def test_a_bug_of_one_that_waited_does_not_stop_a_change(origin: Origin) -> None:
    with TcpBook(service("db", origin, pool=PoolPolicy(max_connections=1)), origins=(origin,)) as book:
        book.pair(origin)
        waiting = book.client()
        # A limit that is raised lets it go, in the middle of the change.
        fail_once(book, "db")
        book.apply((service("db", origin, pool=PoolPolicy(max_connections=2)),))
        assert reset_without_a_word(waiting)
        assert met(book) == ["a balancer"]
        book.pair(origin)


def test_a_bug_of_a_request_that_waited_is_its_own(origin: Origin) -> None:
    with Playbook(service("app", origin, pool=PoolPolicy(max_connections=1)), origins=(origin,)) as book:
        clients = [book.client() for _ in range(3)]
        for number, client in enumerate(clients):
            client.ask(target=f"/{number}")
        upstream = origin.accept()
        fail_once(book, "app")
        upstream.answer(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")
        assert clients[0].response().status == 200
        assert clients[1].is_ended_by_peer()
        assert met(book) == ["a balancer"]
        assert origin.accept().answer().target == "/2"
        assert clients[2].response().status == 200


def test_a_bug_in_the_log_costs_the_line_only(origin: Origin) -> None:
    book = TcpBook(service("db", origin), origins=(origin,))
    runtime: Any = book.plane.tables.listeners[LISTENER].streams.match(b"", b"127.0.0.1")
    runtime.route = StreamRoute(name="all", position=FailingPosition())  # type: ignore[arg-type]
    client, server = book.pair(origin)
    client.close()
    server.close()
    book.gone()
    assert met(book) == ["the log"]
    assert book.gauges() == {}
    book.plane.close()
    book.folder.cleanup()


class FailingDraw:
    """A share of a split that cannot be drawn."""

    def draw_for(self, stream: Any, draws: Any, now_ms: int) -> Any:
        raise OurBug("a draw")


def test_a_bug_in_a_route_ends_that_connection(origin: Origin) -> None:
    with TcpBook(service("db", origin), origins=(origin,)) as book:
        runtime: Any = book.plane.tables.listeners[LISTENER].streams.match(b"", b"127.0.0.1")
        runtime.split = FailingDraw()
        assert reset_without_a_word(book.client())
        assert met(book) == ["a draw"]
        runtime.split = None
        book.pair(origin)


@pytest.mark.parametrize("side", ["client", "server"])
@pytest.mark.parametrize("state", ["relaying", "connecting"])
def test_whatever_is_closed_over_our_heads_takes_the_other_side_with_it(
    side: str, state: str, origin: Origin, full_backlog: Callable[[], str]
) -> None:
    """Drains and bugs close a stream from outside, while nothing but its other side holds it."""
    target = full_backlog() if state == "connecting" else origin
    with TcpBook(service("db", target), origins=(origin,)) as book:
        client = book.client()
        if state == "relaying":
            origin.accept()
        server = book.server_end()
        end = server.client if side == "client" else server
        assert end is not None
        del server
        end.abort()
        del end
        assert reset_without_a_word(client)
        assert book.ends() == []
        (entry,) = book.log_entries()
        assert entry["flag_details"] == "the proxy failed at this connection"
        assert book.listener_cell(slots.ACTIVE) == 0
