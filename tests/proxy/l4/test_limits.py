"""Limits of connections: of an endpoint, a service, a listener and the instance; and the queue that leads past them."""

from __future__ import annotations

import socket
from collections.abc import Callable

import pytest
from raw_origin import OK
from tcp_playbook import LISTENER, Client, Origin, TcpBook, service

from discovery.model import (
    Endpoint,
    EndpointState,
    Limits,
    Listener,
    PoolPolicy,
    Protocol,
    Route,
    Service,
    Settings,
    StreamRoute,
    Timeouts,
)
from discovery.policies import CircuitBreaker
from proxy.http1.parties import LimitedAcceptor
from proxy.stats import slots


class MixedBook(TcpBook):
    """With a second listener that speaks HTTP, for the same services."""

    def __init__(self, *services: Service, origins: tuple[Origin, ...] = (), settings: Settings | None = None) -> None:
        super().__init__(*services, origins=origins, settings=settings)
        listening = socket.create_server(("127.0.0.1", 0))
        self.http = f"127.0.0.1:{listening.getsockname()[1]}"
        self.plane.listen("http", listening)

    def listeners(self, routes: tuple[Route, ...]) -> tuple[Listener, ...]:
        http = Listener(name="http", address="127.0.0.1:8081", protocol=Protocol.HTTP, routes=routes)
        return (*super().listeners(routes), http)


def quick(connect: float = 0.2) -> Settings:
    return Settings(timeouts=Timeouts(connect=connect))


def speaks(book: TcpBook, client: Client, origin: Origin) -> None:
    """The client is served, by the next connection of the origin."""
    server = origin.accept()
    client.send(b"hi")
    assert server.read_exactly(2) == b"hi"


def pending(book: TcpBook) -> int:
    return book.cell("service/db", slots.PENDING)


def refused(client: Client) -> bool:
    return client.is_ended_by_peer() and client.was_reset and client.received == b""


# --- the queue of a service ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("limit", ["max_connections", "max_total"])
def test_a_connection_over_the_limit_waits_until_one_ends(limit: str, origin: Origin) -> None:
    with TcpBook(service("db", origin, pool=PoolPolicy(**{limit: 1})), origins=(origin,)) as book:
        client, server = book.pair(origin)
        second, third = book.client(), book.client()
        second.send(b"patient")
        assert pending(book) == 2 and not origin.has_connection_waiting()
        client.close()
        server.close()
        server = origin.accept()
        assert server.read_exactly(7) == b"patient"
        assert pending(book) == 1
        second.reset()
        speaks(book, third, origin)
        assert book.flags() == ["", "DC"]
        assert book.log_entries()[0]["t_queue"] < 1000


def test_a_queue_that_is_full_is_a_reset_with_uo(origin: Origin) -> None:
    pool = PoolPolicy(max_connections=1, max_pending=1)
    with TcpBook(service("db", origin, pool=pool), origins=(origin,)) as book:
        book.pair(origin)
        book.client()
        assert refused(book.client())
        entry = book.entry()
        assert (entry["flags"], entry["attempts"]) == ("UO", 0)
        assert entry["flag_details"] == "pool.max_pending (1) of service db is reached in this worker"
        assert book.cell("service/db", slots.OVERFLOWS) == 1


def test_waiting_has_the_time_of_a_connect(origin: Origin) -> None:
    with TcpBook(
        service("db", origin, pool=PoolPolicy(max_connections=1)), origins=(origin,), settings=quick()
    ) as book:
        book.pair(origin)
        assert refused(book.client())
        entry = book.entry()
        assert entry["flags"] == "UO"
        assert entry["flag_details"] == (
            "no connection became free in time: pool.max_connections (1) of each endpoint of service db is reached"
        )
        assert 150 <= entry["duration_ms"] < 2000
        assert book.cell("service/db", slots.OVERFLOWS) == 1
        assert pending(book) == 0


def test_time_that_a_dead_endpoint_took_is_not_taken_from_waiting(
    origin: Origin, full_backlog: Callable[[], str]
) -> None:
    """The first endpoint takes its whole time to connect; after that the connection still may wait for the second."""
    pool = PoolPolicy(max_connections=1)
    with TcpBook(service("db", full_backlog(), origin, pool=pool), origins=(origin,), settings=quick(0.3)) as book:
        first, second = book.client(), book.client()  # one at each endpoint
        server = origin.accept()
        book.until(lambda: pending(book) == 1, "the one at the dead endpoint waits for the other")
        book.until(iter([False, False, True]).__next__, "two ticks")
        assert not book.log_entries()
        server.reset()
        again = origin.accept()
        left = first if second.is_ended_by_peer(0.1) else second
        left.send(b"x")
        assert again.read_exactly(1) == b"x"


def test_a_client_that_leaves_the_queue_is_dc(origin: Origin) -> None:
    with TcpBook(service("db", origin, pool=PoolPolicy(max_connections=1)), origins=(origin,)) as book:
        client, server = book.pair(origin)
        waiting = book.client()
        waiting.reset()
        book.until(lambda: pending(book) == 0, "it left")
        assert book.flags() == ["DC"]
        client.close()
        server.close()
        book.gone()
        assert not origin.has_connection_waiting()


def test_a_client_that_only_ends_keeps_its_place(origin: Origin) -> None:
    with TcpBook(service("db", origin, pool=PoolPolicy(max_connections=1)), origins=(origin,)) as book:
        client, server = book.pair(origin)
        waiting = book.client()
        waiting.send(b"all I have")
        waiting.finish_sending()
        book.settle()
        client.close()
        server.close()
        server = origin.accept()
        assert server.read_to_end() == b"all I have"
        server.send(b"thanks")
        assert waiting.read_exactly(6) == b"thanks"


def test_the_queue_is_served_in_the_order_of_coming(origin: Origin) -> None:
    with TcpBook(service("db", origin, pool=PoolPolicy(max_connections=1)), origins=(origin,)) as book:
        client, server = book.pair(origin)
        waiting = [book.client() for _ in range(5)]
        for number, each in enumerate(waiting):
            each.send(b"%d" % number)
        for number, each in enumerate(waiting):
            client.close()
            server.close()
            client, server = each, origin.accept()
            assert server.read_exactly(1) == b"%d" % number


def test_requests_and_connections_wait_in_one_queue(origin: Origin) -> None:
    with MixedBook(service("db", origin, pool=PoolPolicy(max_connections=1)), origins=(origin,)) as book:
        client, server = book.pair(origin)
        first = book.client_at(book.http)
        first.ask(target="/first")
        second = book.client()
        second.send(b"second")
        third = book.client_at(book.http)
        third.ask(target="/third")
        assert pending(book) == 3
        client.close()
        server.close()
        http = origin.accept()
        assert http.request().target == "/first"
        http.send(OK)
        assert first.response().body == b"ok"
        # The idle connection of the first request makes way for the second.
        assert http.is_ended_by_peer()
        server = origin.accept()
        assert server.read_exactly(6) == b"second"
        assert pending(book) == 1
        second.close()
        server.close()
        http = origin.accept()
        assert http.answer().target == "/third"
        assert third.response().body == b"ok"


def test_who_waits_for_one_version_does_not_hold_up_another(origin: Origin, other: Origin) -> None:
    endpoints = (
        Endpoint(id="a", address=origin.address, version="v1"),
        Endpoint(id="b", address=other.address, version="v2"),
    )
    db = Service(name="db", endpoints=endpoints, pool=PoolPolicy(max_connections=1))
    one, two = (StreamRoute(name=version, service="db", version=version) for version in ("v1", "v2"))
    with TcpBook(db, origins=(origin, other), streams=(one,)) as book:
        book.pair(origin)
        first = book.client()
        book.streams = (two,)
        book.apply((db,))
        client, server = book.pair(other)
        second = book.client()
        second.send(b"v2")
        assert pending(book) == 2
        client.close()
        server.close()
        assert other.accept().read_exactly(2) == b"v2"
        assert pending(book) == 1 and not first.ended


@pytest.mark.parametrize("limit", ["max_connections", "max_total"])
def test_idle_connections_of_requests_make_way(limit: str, origin: Origin) -> None:
    with MixedBook(service("db", origin, pool=PoolPolicy(**{limit: 1})), origins=(origin,)) as book:
        client = book.client_at(book.http)
        client.ask()
        http = origin.accept()
        http.answer()
        assert client.response().status == 200
        speaks(book, book.client(), origin)
        assert http.is_ended_by_peer()


def test_a_connection_counts_as_a_request_of_its_service(origin: Origin) -> None:
    with TcpBook(service("db", origin, circuit_breaker=CircuitBreaker(max_requests=1)), origins=(origin,)) as book:
        client, server = book.pair(origin)
        assert refused(book.client())
        entry = book.entry()
        assert entry["flags"] == "UO"
        assert entry["flag_details"] == "circuit_breaker.max_requests (1) of service db is reached"
        client.close()
        server.close()
        book.pair(origin)


# --- pool.max_total over workers ----------------------------------------------------------------------------------


def test_the_total_of_a_service_is_that_of_all_workers(origin: Origin) -> None:
    with TcpBook(service("db", origin, pool=PoolPolicy(max_total=2)), origins=(origin,)) as book:
        address = book.second_plane()
        client, server = book.pair(origin)
        second = book.client_at(address)
        speaks(book, second, origin)
        waiting = [book.client(), book.client_at(address)]
        assert pending(book) == 2 and not origin.has_connection_waiting()
        # It ends at the first worker: nobody tells the second one, and one of the two goes on.
        client.close()
        server.close()
        server = origin.accept()
        assert pending(book) == 1
        second.reset()
        origin.accept()
        for each in waiting:
            each.send(b"x")
        assert pending(book) == 0


@pytest.mark.parametrize("where", ["first", "second"])
def test_a_connection_of_another_worker_that_ends_makes_room(where: str, origin: Origin) -> None:
    with TcpBook(service("db", origin, pool=PoolPolicy(max_total=1)), origins=(origin,)) as book:
        addresses = {"first": book.address, "second": book.second_plane()}
        busy = book.client_at(addresses.pop(where))
        origin.accept()
        (address,) = addresses.values()
        waiting = [book.client_at(address) for _ in range(3)]
        for number, each in enumerate(waiting):
            each.send(b"%d" % number)
        assert pending(book) == 3
        for number, each in enumerate(waiting):
            busy.reset()
            server = origin.accept()
            assert server.read_exactly(1) == b"%d" % number
            busy = each
        # Who waits no more is not looked at any more.
        for plane in book.planes:
            book.until(lambda plane=plane: not plane.tables.service_table.crowded, "nobody waits")


def test_a_request_that_waits_for_another_worker_goes_on_too(origin: Origin) -> None:
    with MixedBook(service("db", origin, pool=PoolPolicy(max_total=1)), origins=(origin,)) as book:
        busy = book.client_at(book.second_plane())
        origin.accept()
        client = book.client_at(book.http)
        client.ask()
        assert pending(book) == 1
        busy.reset()
        origin.accept().answer()
        assert client.response().body == b"ok"


def test_who_comes_later_does_not_overtake_those_who_wait_for_another_worker(origin: Origin) -> None:
    with TcpBook(service("db", origin, pool=PoolPolicy(max_total=1)), origins=(origin,)) as book:
        second = book.second_plane()
        busy = book.client_at(second)
        origin.accept()
        first = book.client()
        first.send(b"first")
        # Everything of the other worker is served, but no tick of this one, when the next client comes.
        busy.reset()
        ticker = book.plane.ticker
        assert ticker is not None
        ticker.cancel()
        book.until(lambda: book.cell("service/db", slots.CONNECTIONS_ACTIVE) == 0, "room")
        assert pending(book) == 1
        later = book.client()
        later.send(b"later")
        assert origin.accept().read_exactly(5) == b"first"
        first.reset()
        assert origin.accept().read_exactly(5) == b"later"
        book.plane.tick()


def test_a_limit_that_is_set_while_they_wait_is_looked_after(origin: Origin) -> None:
    with TcpBook(service("db", origin, pool=PoolPolicy(max_connections=1)), origins=(origin,)) as book:
        busy, _ = book.pair(origin)
        waiting = book.client()
        assert not book.plane.tables.service_table.crowded
        book.apply((service("db", origin, pool=PoolPolicy(max_connections=1, max_total=1)),))
        assert [each.name for each in book.plane.tables.service_table.crowded] == ["db"]
        busy.reset()
        speaks(book, waiting, origin)


# --- listeners and the instance -----------------------------------------------------------------------------------


def connections(book: TcpBook) -> int:
    return book.listener_cell(slots.CONNECTIONS_ACTIVE)


def test_clients_over_the_limit_of_a_listener_wait_in_the_backlog(origin: Origin) -> None:
    with TcpBook(service("db", origin), origins=(origin,), max_connections=2) as book:
        pairs = [book.pair(origin) for _ in range(2)]
        third, fourth = book.client(), book.client()
        third.send(b"third")
        assert connections(book) == 2 and book.listener_cell(slots.CONNECTIONS_TOTAL) == 2
        for client, server in pairs:
            client.close()
            server.close()
        # Not after a pause: a connection that ends lets the next one in.
        book.settle()
        assert origin.accept().read_exactly(5) == b"third"
        speaks(book, fourth, origin)
        assert connections(book) == 2


def test_a_listener_that_stays_full_remembers_its_acceptors_once(origin: Origin) -> None:
    with TcpBook(service("db", origin), origins=(origin,), max_connections=1) as book:
        client, server = book.pair(origin)
        book.client()
        acceptor = book.plane.sockets.acceptors[LISTENER, 0]
        assert isinstance(acceptor, LimitedAcceptor)
        for _ in range(5):
            acceptor.on_readable()
        assert acceptor.listener.paused == [acceptor]
        client.close()
        server.close()
        origin.accept()


def test_a_higher_limit_lets_those_in_who_wait(origin: Origin) -> None:
    with TcpBook(service("db", origin), origins=(origin,), max_connections=1) as book:
        book.pair(origin)
        second, third = book.client(), book.client()
        assert connections(book) == 1
        book.max_connections = 2
        book.apply((service("db", origin),))
        book.settle()
        assert connections(book) == 2
        speaks(book, second, origin)
        book.max_connections = 0
        book.apply((service("db", origin),))
        speaks(book, third, origin)


def test_a_lower_limit_ends_no_connection(origin: Origin) -> None:
    with TcpBook(service("db", origin), origins=(origin,)) as book:
        pairs = [book.pair(origin) for _ in range(3)]
        book.max_connections = 1
        book.apply((service("db", origin),))
        waiting = book.client()
        for client, server in pairs:
            assert connections(book) + len(book.log_entries()) == 3
            client.send(b"x")
            assert server.read_exactly(1) == b"x"
            client.close()
            server.close()
            book.settle()
        speaks(book, waiting, origin)


def test_the_limit_of_a_listener_is_that_of_all_workers(origin: Origin) -> None:
    with TcpBook(service("db", origin), origins=(origin,), max_connections=1) as book:
        address = book.second_plane()
        client, server = book.pair(origin)
        other = book.client_at(address)
        other.send(b"x")
        assert connections(book) == 1
        client.close()
        server.close()
        # The second worker is not told: it looks again by itself.
        assert origin.accept().read_exactly(1) == b"x"


def test_connections_over_the_limit_of_the_instance_are_reset_with_uo(origin: Origin) -> None:
    settings = Settings(limits=Limits(connections=2))
    with TcpBook(service("db", origin), origins=(origin,), settings=settings) as book:
        first = book.pair(origin)
        book.pair(origin)
        assert refused(book.client())
        entry = book.entry()
        assert (entry["flags"], entry["flag_details"]) == ("UO", "limits.connections is reached")
        assert "route" not in entry
        assert book.listener_cell(slots.OVERFLOWS) == 1
        for each in first:
            each.close()
        book.until(lambda: connections(book) == 1, "one has ended")
        book.pair(origin)


def test_an_http_listener_has_the_same_limit(origin: Origin) -> None:
    with TcpBook(service("db", origin), origins=(origin,)) as book:
        book.protocol = Protocol.HTTP
        book.max_connections = 1
        book.apply((service("db", origin),))
        first, second = book.client(), book.client()
        second.ask()
        assert connections(book) == 1
        first.close()
        origin.accept().answer()
        assert second.response().status == 200
        book.of_http = 2


# --- endpoints that change meanwhile ------------------------------------------------------------------------------


def test_an_endpoint_that_is_removed_keeps_its_connections(origin: Origin, other: Origin) -> None:
    with TcpBook(service("db", origin), origins=(origin, other)) as book:
        client, server = book.pair(origin)
        row = book.numbers[f"endpoint/db/a/{origin.address}"]
        book.apply((service("db", other),))
        client.send(b"still here")
        assert server.read_exactly(10) == b"still here"
        book.pair(other)
        client.close()
        server.close()
        book.until(lambda: book.released == [row], "the row is free")
        assert book.table.total(row, slots.CONNECTIONS_ACTIVE) == 0


def test_a_service_and_a_route_that_are_removed_keep_their_connections(origin: Origin) -> None:
    with TcpBook(service("db", origin), service("new", origin), origins=(origin,)) as book:
        client, server = book.pair(origin)
        book.streams = (StreamRoute(name="other", service="new"),)
        book.apply((service("new", origin),))
        server.send(b"still here")
        assert client.read_exactly(10) == b"still here"
        client.close()
        server.close()
        assert book.entry()["service"] == "db"
        book.pair(origin)


def test_those_who_wait_for_an_endpoint_that_vanishes_are_reset(origin: Origin) -> None:
    pool = PoolPolicy(max_connections=1)
    with TcpBook(service("db", origin, pool=pool), origins=(origin,)) as book:
        book.pair(origin)
        waiting = book.client()
        down = Endpoint(id="a", address=origin.address, state=EndpointState.UNHEALTHY)
        book.apply((Service(name="db", endpoints=(down,), pool=pool),))
        assert refused(waiting)
        assert book.flags() == ["UH"]


def test_room_that_a_change_makes_serves_those_who_wait(origin: Origin, other: Origin) -> None:
    pool = PoolPolicy(max_connections=1)
    with TcpBook(service("db", origin, pool=pool), origins=(origin, other)) as book:
        book.pair(origin)
        waiting = book.client()
        book.apply((service("db", origin, other, pool=pool),))
        speaks(book, waiting, other)


def test_those_who_wait_for_a_service_that_vanishes_are_reset(origin: Origin) -> None:
    """Its connections are at another worker, so nothing ever ends here that would tell them."""
    db = service("db", origin, pool=PoolPolicy(max_total=1))
    with TcpBook(db, service("new"), origins=(origin,)) as book:
        busy = book.client_at(book.second_plane())
        origin.accept()
        waiting = book.client()
        book.streams = (StreamRoute(name="all", service="new"),)
        book.apply((service("new"),))
        assert refused(waiting)
        assert book.flags() == ["UH"]
        busy.reset()
        book.gone()


def test_a_full_queue_of_waiters_leaves_in_any_order(make_origin: Callable[[], Origin]) -> None:
    origin = make_origin()
    with TcpBook(service("db", origin, pool=PoolPolicy(max_connections=2)), origins=(origin,)) as book:
        clients = [book.client() for _ in range(20)]
        for number in (13, 2, 7, 19, 3):
            clients[number].reset()
            book.settle()
        assert pending(book) == 13
        for number, client in enumerate(clients):
            if number not in (13, 2, 7, 19, 3):
                client.reset()
                book.settle()
        book.gone()
        assert pending(book) == 0
        assert len(book.log_entries()) == 20
        assert set(book.flags()) == {"DC"}
