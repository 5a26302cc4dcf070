"""Sessions of datagrams: who gets one, where it goes, how it ends, and what is counted and logged of it."""

from __future__ import annotations

import resource
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest
from datagrams import address_of, udp_socket
from udp_playbook import ADDRESS, LISTENER, UdpBook, service

from discovery.model import (
    AccessLog,
    Limits,
    Listener,
    LogFormat,
    PoolPolicy,
    Protocol,
    Settings,
    StreamRoute,
    Timeouts,
    TrafficSplit,
)
from discovery.policies import CircuitBreaker
from proxy.stats import slots
from proxy.udp import session

SECOND_WORKER = 1


@pytest.fixture
def origins() -> Iterator[tuple[socket.socket, socket.socket]]:
    one, two = udp_socket(), udp_socket()
    yield one, two
    one.close()
    two.close()


@pytest.fixture
def origin(origins: tuple[socket.socket, socket.socket]) -> socket.socket:
    return origins[0]


def dead_address() -> str:
    with udp_socket() as sock:
        return address_of(sock)


def logged(path: Path, **given: object) -> Settings:
    return Settings(access_log=AccessLog(path=str(path), format=LogFormat.JSON), **given)  # type: ignore[arg-type]


# --- where a session goes -------------------------------------------------------------------------------------------


def test_a_session_stays_with_its_endpoint_and_clients_take_turns(
    origins: tuple[socket.socket, socket.socket],
) -> None:
    with UdpBook(service("dns", *origins)) as book:
        clients = [book.client() for _ in range(4)]
        first = [book.exchange(client, *origins) for client in clients]
        assert first[0] is first[2] is not first[1]
        assert first[1] is first[3]
        assert [book.exchange(client, *origins) for client in clients] == first
        assert len(book.sessions()) == 4


def test_an_unhealthy_endpoint_gets_no_new_session(origins: tuple[socket.socket, socket.socket]) -> None:
    one, two = origins
    healthy, unhealthy = (service("dns", one, two, states=states) for states in ("hh", "uh"))
    with UdpBook(healthy) as book:
        book.apply(unhealthy)
        assert book.exchange(book.client(), *origins) is two


def test_routes_are_chosen_by_the_clients_network(origins: tuple[socket.socket, socket.socket]) -> None:
    one, two = origins
    routes = (
        StreamRoute(name="ours", clients=("127.0.0.0/8",), service="near"),
        StreamRoute(name="rest", service="far"),
    )
    with UdpBook(service("far", one), service("near", two), routes=routes) as book:
        assert book.exchange(book.client(), *origins) is two
        assert book.cell(f"route/{LISTENER}/ours", slots.CONNECTIONS_TOTAL) == 1
        assert book.cell(f"route/{LISTENER}/rest", slots.CONNECTIONS_TOTAL) == 0


def test_a_split_fails_over_to_the_share_that_is_usable(
    origins: tuple[socket.socket, socket.socket], tmp_path: Path
) -> None:
    one, two = origins
    split = (TrafficSplit(service="down", weight=1_000_000), TrafficSplit(service="up", weight=1))
    services = (service("down", one, states="u"), service("up", two))
    log = tmp_path / "log"
    routes = (StreamRoute(name="all", split=split),)
    with UdpBook(*services, routes=routes, settings=logged(log), log=log) as book:
        assert book.exchange(book.client(), *origins) is two
        book.sessions()[0].end("", "", False)
        (entry,) = book.log_entries()
        assert (entry["flags"], entry["service"]) == ("fo", "up")


@pytest.mark.parametrize("state", ["u", "e"])
def test_a_session_leaves_an_endpoint_that_is_lost(
    origins: tuple[socket.socket, socket.socket], state: str, tmp_path: Path
) -> None:
    log = tmp_path / "log"
    with UdpBook(service("dns", *origins), settings=logged(log), log=log) as book:
        clients = [book.client(), book.client()]
        places = [book.exchange(client, *origins) for client in clients]
        lost = origins.index(places[0])
        states = "".join(state if index == lost else "h" for index in range(2))
        book.apply(service("dns", *origins, states=states))
        assert [book.exchange(client, *origins) for client in clients] == [places[1], places[1]]
        assert [(entry["flags"], entry["endpoint"]) for entry in book.log_entries()] == [("UH", address_of(places[0]))]
        # The client is one session of the listener, before and after.
        assert book.listener_cell(slots.CONNECTIONS_TOTAL) == 2
        assert book.listener_cell(slots.CONNECTIONS_ACTIVE) == 2


def test_a_session_stays_with_a_lost_endpoint_when_there_is_no_other(origin: socket.socket) -> None:
    with UdpBook(service("dns", origin)) as book:
        client = book.client()
        book.exchange(client, origin)
        (session,) = book.sessions()
        book.apply(service("dns", origin, states="u"))
        book.exchange(client, origin)
        assert book.sessions() == [session]
        other = book.client()
        other.send(b"x")
        assert book.has_nothing(origin)
        assert book.listener_cell(slots.DATAGRAMS_UNROUTED) == 1


@pytest.mark.parametrize("how", ["draining", "removed", "service removed", "weight 0"])
def test_a_session_stays_with_an_endpoint_that_takes_no_new_ones(
    origins: tuple[socket.socket, socket.socket], how: str
) -> None:
    one, two = origins
    with UdpBook(service("dns", one)) as book:
        client = book.client()
        book.exchange(client, one)
        match how:
            case "draining":
                book.apply(service("dns", one, two, states="dh"))
            case "removed":
                book.apply(service("dns", two))
            case "service removed":
                book.apply(service("other", two))
            case _:
                before = service("dns", one, two)
                closed = (type(before.endpoints[0])(id="a", address=address_of(one), weight=0), before.endpoints[1])
                book.apply(service("dns", endpoints=closed))
        assert book.exchange(client, one, two) is one
        assert book.exchange(book.client(), one, two) is two
        book.apply(service("dns", one))


# --- who gets none --------------------------------------------------------------------------------------------------


def test_without_a_usable_endpoint_datagrams_are_dropped_and_counted(origin: socket.socket, tmp_path: Path) -> None:
    log = tmp_path / "log"
    with UdpBook(service("dns", origin, states="u"), settings=logged(log), log=log) as book:
        client = book.client()
        for _ in range(3):
            client.send(b"x")
        book.until(lambda: book.listener_cell(slots.DATAGRAMS_UNROUTED) == 3, "all were dropped")
        assert book.sessions() == []
        # Not a line for each: that would make a flood of lines of a flood of datagrams.
        assert [(entry["flags"], entry["service"]) for entry in book.log_entries()] == [("UH", "dns")]


def test_a_client_that_no_route_takes_is_dropped(origin: socket.socket, tmp_path: Path) -> None:
    log = tmp_path / "log"
    routes = (StreamRoute(name="far", clients=("10.0.0.0/8",), service="dns"),)
    with UdpBook(service("dns", origin), routes=routes, settings=logged(log), log=log) as book:
        book.client().send(b"x")
        book.until(lambda: book.listener_cell(slots.DATAGRAMS_UNROUTED) == 1, "it was dropped")
        assert [entry["flags"] for entry in book.log_entries()] == ["NR"]


def test_a_route_to_no_service_drops(origin: socket.socket, tmp_path: Path) -> None:
    log = tmp_path / "log"
    routes = (StreamRoute(name="all", service="missing"),)
    with UdpBook(service("dns", origin), routes=routes, settings=logged(log), log=log) as book:
        book.client().send(b"x")
        book.until(lambda: book.listener_cell(slots.DATAGRAMS_UNROUTED) == 1, "it was dropped")
        assert [entry["flags"] for entry in book.log_entries()] == ["NC"]


@pytest.mark.parametrize("where", ["listener", "instance"])
def test_a_limit_of_sessions_holds_over_all_workers(origin: socket.socket, where: str, tmp_path: Path) -> None:
    log = tmp_path / "log"
    settings = logged(log, limits=Limits(udp_sessions=3 if where == "instance" else 0))
    limit = 3 if where == "listener" else 0
    with UdpBook(service("dns", origin), settings=settings, log=log, max_connections=limit) as book:
        # Another worker has one.
        row = book.numbers[f"listener/{LISTENER}"] if where == "listener" else slots.WORKER_SLOT
        cell = slots.CONNECTIONS_ACTIVE if where == "listener" else slots.WORKER_UDP_SESSIONS
        others = book.table.slot(SECOND_WORKER, row)
        others.add(cell, 1)
        one, two, three = (book.client() for _ in range(3))
        book.exchange(one, origin)
        book.exchange(two, origin)
        three.send(b"x")
        book.until(lambda: book.listener_cell(slots.OVERFLOWS) == 1, "the third was refused")
        assert len(book.sessions()) == 2
        assert [entry["flags"] for entry in book.log_entries()] == ["UO"]
        book.exchange(one, origin)

        others.add(cell, -1)
        book.exchange(three, origin)
        assert len(book.sessions()) == 3


def test_a_session_counts_as_a_request_of_its_service(origin: socket.socket) -> None:
    with UdpBook(service("dns", origin, circuit_breaker=CircuitBreaker(max_requests=1))) as book:
        one, two = book.client(), book.client()
        book.exchange(one, origin)
        two.send(b"x")
        book.until(lambda: book.listener_cell(slots.OVERFLOWS) == 1, "the second was refused")
        book.exchange(one, origin)
        book.sessions()[0].end("", "", False)
        book.exchange(two, origin)


def test_the_connections_of_an_endpoint_limit_its_sessions(origins: tuple[socket.socket, socket.socket]) -> None:
    with UdpBook(service("dns", *origins, pool=PoolPolicy(max_connections=1))) as book:
        one, two, three = (book.client() for _ in range(3))
        assert {book.exchange(client, *origins) for client in (one, two)} == set(origins)
        three.send(b"x")
        book.until(lambda: book.listener_cell(slots.OVERFLOWS) == 1, "the third was refused")
        assert book.cell("service/dns", slots.OVERFLOWS) == 1
        book.sessions()[0].end("", "", False)
        book.exchange(three, *origins)


def test_running_out_of_descriptors_is_a_limit_like_others(origin: socket.socket, tmp_path: Path) -> None:
    log = tmp_path / "log"
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    with UdpBook(service("dns", origin), settings=logged(log), log=log) as book:
        client, spare = book.client(), book.client()
        book.exchange(client, origin)
        resource.setrlimit(resource.RLIMIT_NOFILE, (0, hard))
        try:
            spare.send(b"x")
            book.plane.reactor.poll()
        finally:
            resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
        assert book.listener_cell(slots.OVERFLOWS) == 1
        (entry,) = book.log_entries()
        assert (entry["flags"], entry["flag_details"].rpartition(" ")[2]) == ("UO", "EMFILE")
        # No fault of the endpoint's.
        assert book.cell(f"endpoint/dns/a/{address_of(origin)}", slots.CONNECT_FAILURES) == 0
        book.exchange(spare, origin)


# --- how a session ends ---------------------------------------------------------------------------------------------


def test_a_silent_session_ends_and_its_line_says_all(origin: socket.socket, tmp_path: Path) -> None:
    log = tmp_path / "log"
    settings = logged(log, timeouts=Timeouts(udp_idle=0.2))
    with UdpBook(service("dns", origin), settings=settings, log=log) as book:
        client = book.client()
        book.exchange(client, origin)
        book.until(lambda: not book.sessions(), "the session ended")
        (entry,) = book.log_entries()
        assert entry["duration_ms"] >= 200
        del entry["ts"], entry["duration_ms"], entry["t_recv"], entry["t_queue"]
        assert entry == {
            "protocol": "udp",
            "listener": LISTENER,
            "flags": "SI",
            "route": "all",
            "service": "dns",
            "endpoint": address_of(origin),
            "attempts": 1,
            "bytes_in": 8,
            "bytes_out": 9,
            "datagrams_in": 1,
            "datagrams_out": 1,
            "client": "127.0.0.1",
            "client_port": client.getsockname()[1],
        }
        assert book.gauges() == {}


def test_all_rows_count_a_session(origin: socket.socket) -> None:
    with UdpBook(service("dns", origin)) as book:
        book.exchange(book.client(), origin)
        endpoint = f"endpoint/dns/a/{address_of(origin)}"
        assert book.gauges() == {
            f"listener/{LISTENER} active": 1,
            f"listener/{LISTENER} sessions": 1,
            "service/dns active": 1,
            "service/dns sessions": 1,
            f"{endpoint} active": 1,
            f"{endpoint} sessions": 1,
        }
        client_side, server_side = (f"listener/{LISTENER}", f"route/{LISTENER}/all"), ("service/dns", endpoint)
        for key in client_side:
            assert (book.cell(key, slots.BYTES_IN), book.cell(key, slots.BYTES_OUT)) == (8, 9)
        for key in server_side:
            assert (book.cell(key, slots.BYTES_IN), book.cell(key, slots.BYTES_OUT)) == (9, 8)
        for key in (*client_side, endpoint):
            assert book.cell(key, slots.CONNECTIONS_TOTAL) == 1
        assert book.table.total(slots.WORKER_SLOT, slots.WORKER_UDP_SESSIONS) == 1


def test_a_refusal_ends_the_session_and_the_next_datagram_goes_elsewhere(origin: socket.socket, tmp_path: Path) -> None:
    log = tmp_path / "log"
    dead = dead_address()
    with UdpBook(service("dns", dead, origin), settings=logged(log), log=log) as book:
        client = book.client()
        endpoint = f"endpoint/dns/a/{dead}"
        # The turn begins anywhere: at most one of two datagrams meets the dead endpoint.
        other = book.client()
        for each in (client, other):
            each.send(b"x")
        book.until(lambda: book.cell(endpoint, slots.CONNECT_FAILURES) == 1, "the refusal was counted")
        assert len(book.sessions()) == 1
        (entry,) = book.log_entries()
        assert (entry["flags"], entry["flag_details"]) == ("UF", f"{dead}: ECONNREFUSED")
        refused = client if entry["client_port"] == client.getsockname()[1] else other
        book.receive(origin)
        # Round robin comes back to the dead one every second time; a client that asks again gets through.
        refused.send(b"again")
        book.settle()
        refused.send(b"again")
        assert book.receive(origin) == b"again"


def test_sessions_end_with_their_listener(origin: socket.socket, tmp_path: Path) -> None:
    log = tmp_path / "log"
    with UdpBook(service("dns", origin), settings=logged(log), log=log) as book:
        book.exchange(book.client(), origin)
        book.plane.unlisten(LISTENER)
        assert len(book.sessions()) == 1
        book.apply(service("dns", origin), listeners=())
        assert book.sessions() == []
        assert [entry["flag_details"] for entry in book.log_entries()] == ["the listener is gone"]


def test_sessions_end_when_their_listener_moves_to_another_address(origin: socket.socket) -> None:
    moved = Listener(
        name=LISTENER,
        address="127.0.0.1:54",
        protocol=Protocol.UDP,
        streams=(StreamRoute(name="all", service="dns"),),
    )
    with UdpBook(service("dns", origin)) as book:
        book.exchange(book.client(), origin)
        book.plane.unlisten(LISTENER)
        book.apply(service("dns", origin), listeners=(moved,))
        assert book.sessions() == []
        assert moved.address != ADDRESS


def test_a_draining_worker_serves_the_sessions_that_it_has(
    origin: socket.socket, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    log = tmp_path / "log"
    monkeypatch.setattr(session, "DRAIN_IDLE", 0.3)
    with UdpBook(service("dns", origin), settings=logged(log), log=log) as book:
        known, new = book.client(), book.client()
        book.exchange(known, origin)
        done: list[bool] = []
        book.plane.drain(10.0, 10.0, lambda: done.append(True))
        new.send(b"x")
        book.until(lambda: book.listener_cell(slots.DATAGRAMS_UNROUTED) == 1, "the new client was dropped")
        book.exchange(known, origin)
        assert not done
        book.until(lambda: done, "the silent session did not hold it up")
        assert [entry["flags"] for entry in book.log_entries()] == ["SI"]
        assert book.plane.udp.servers == []


def test_the_end_of_a_drain_cuts_sessions_off(origin: socket.socket, tmp_path: Path) -> None:
    log = tmp_path / "log"
    with UdpBook(service("dns", origin), settings=logged(log), log=log) as book:
        book.exchange(book.client(), origin)
        done: list[bool] = []
        book.plane.drain(10.0, 0.2, lambda: done.append(True))
        book.until(lambda: done, "the drain is over")
        assert [entry["flags"] for entry in book.log_entries()] == ["dr"]
        assert book.sessions() == []


def test_a_draining_worker_reads_no_more_when_another_has_its_socket(origin: socket.socket) -> None:
    with UdpBook(service("dns", origin)) as book:
        client = book.client()
        client.send(b"x")
        _, source = book.receive_from(origin)
        book.plane.drain(10.0, 10.0, lambda: None)
        book.plane.unlisten(LISTENER)
        client.send(b"for the other worker")
        assert book.has_nothing(origin)
        origin.sendto(b"answer", source)
        assert book.receive(client) == b"answer"


def test_a_drain_without_sessions_is_over_at_once(origin: socket.socket) -> None:
    with UdpBook(service("dns", origin)) as book:
        done: list[bool] = []
        book.plane.drain(10.0, 10.0, lambda: done.append(True))
        assert done


def test_answers_still_come_while_another_worker_reads_the_socket(origin: socket.socket) -> None:
    with UdpBook(service("dns", origin), settings=Settings(timeouts=Timeouts(udp_idle=0.3))) as book:
        client = book.client()
        client.send(b"x")
        _, source = book.receive_from(origin)
        book.plane.unlisten(LISTENER)
        origin.sendto(b"answer", source)
        assert book.receive(client) == b"answer"
        # What the client sends from now on is for whoever reads the socket.
        client.send(b"x")
        assert book.has_nothing(origin)
        book.until(lambda: not book.plane.udp.servers, "the socket was closed with its last session")
        assert book.sessions() == []


def test_a_socket_that_another_worker_began_to_read_makes_new_sessions(origin: socket.socket) -> None:
    with UdpBook(service("dns", origin)) as book:
        taken_over = udp_socket()
        port = taken_over.getsockname()[1]
        client = udp_socket()
        book.clients.append(client)
        client.connect(("127.0.0.1", port))
        client.send(b"came before the hand-over")
        book.plane.unlisten(LISTENER)
        book.plane.listen(LISTENER, taken_over)
        data, source = book.receive_from(origin)
        assert data == b"came before the hand-over"
        origin.sendto(b"answer", source)
        assert book.receive(client) == b"answer"
