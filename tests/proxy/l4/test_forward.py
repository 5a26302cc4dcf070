"""The way of a TCP connection: route, service, version, endpoint; and what a client is told when there is no way on."""

from __future__ import annotations

import os
import resource
import socket
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest
from tcp_playbook import LISTENER, Client, Origin, TcpBook, service

from discovery.model import Endpoint, EndpointState, PoolPolicy, Service, Settings, StreamRoute, Timeouts, TrafficSplit
from proxy.stats import slots


def refused(client: Client) -> bool:
    """The client's connection was reset and nothing came of it."""
    return client.is_ended_by_peer() and client.was_reset and client.received == b""


@contextmanager
def descriptors_left(count: int) -> Iterator[None]:
    """No more than `count` further descriptors can be opened."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    probe = [os.open("/dev/null", os.O_RDONLY) for _ in range(count + 1)]
    highest = probe[-1]
    for fd in probe:
        os.close(fd)
    # Every lower number is taken, or one of the `count`.
    resource.setrlimit(resource.RLIMIT_NOFILE, (highest, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


# --- the ordinary way ---------------------------------------------------------------------------------------------


def test_a_connection_is_passed_through_counted_and_logged(origin: Origin) -> None:
    with TcpBook(service("db", origin), origins=(origin,)) as book:
        client, server = book.pair(origin)
        assert book.gauges() == {
            f"listener/{LISTENER} active": 1,
            f"listener/{LISTENER} connections": 1,
            "service/db active": 1,
            "service/db connections": 1,
            f"endpoint/db/a/{origin.address} active": 1,
            f"endpoint/db/a/{origin.address} connections": 1,
        }
        client.send(b"hello")
        assert server.read_exactly(5) == b"hello"
        server.send(b"good morning")
        assert client.read_exactly(12) == b"good morning"
        port = client.socket.getsockname()[1]
        client.finish_sending()
        assert server.read_to_end() == b""
        server.close()
        assert client.is_ended_by_peer() and not client.was_reset
        book.gone()
        entry = book.entry()
        expected = {
            "protocol": "tcp",
            "listener": LISTENER,
            "flags": "",
            "route": "all",
            "service": "db",
            "endpoint": origin.address,
            "attempts": 1,
            "bytes_in": 5,
            "bytes_out": 12,
            "client": "127.0.0.1",
            "client_port": port,
        }
        assert {name: entry.get(name) for name in expected} == expected
        assert "flag_details" not in entry and entry["t_connect"] >= 0
        # From the client and to it; to the endpoint and from it.
        for key, into, out in (
            (f"listener/{LISTENER}", 5, 12),
            (f"route/{LISTENER}/all", 5, 12),
            ("service/db", 12, 5),
            (f"endpoint/db/a/{origin.address}", 12, 5),
        ):
            assert (book.cell(key, slots.BYTES_IN), book.cell(key, slots.BYTES_OUT)) == (into, out), key
        assert book.cell(f"endpoint/db/a/{origin.address}", slots.CONNECTS) == 1
        assert book.cell(f"endpoint/db/a/{origin.address}", slots.CONNECTIONS_TOTAL) == 1


def test_what_a_client_sends_before_its_endpoint_is_connected_arrives(origin: Origin) -> None:
    with TcpBook(service("db", origin), origins=(origin,)) as book:
        client = Client(book.address)
        client.book = book
        book.clients.append(client)
        client.socket.sendall(b"early")
        client.finish_sending()
        server = origin.accept()
        assert server.read_to_end() == b"early"
        server.send(b"late")
        assert client.read_exactly(4) == b"late"


def test_the_server_may_speak_first(origin: Origin) -> None:
    with TcpBook(service("db", origin), origins=(origin,)) as book:
        client, server = book.pair(origin)
        server.send(b"220 ready\r\n")
        assert client.read_exactly(11) == b"220 ready\r\n"


def test_connections_take_the_endpoints_in_turn(origin: Origin, other: Origin) -> None:
    with TcpBook(service("db", origin, other), origins=(origin, other)) as book:
        for _ in range(4):
            book.client()
        for each in (origin, other):
            each.accept()
            each.accept()
            assert not each.has_connection_waiting()


def test_a_route_with_clients_is_for_those(origin: Origin, other: Origin) -> None:
    streams = (
        StreamRoute(name="near", clients=("127.0.0.1/32",), service="near"),
        StreamRoute(name="far", clients=("10.0.0.0/8",), service="far"),
    )
    services = (service("far", other), service("near", origin))
    with TcpBook(*services, origins=(origin, other), streams=streams) as book:
        book.pair(origin)
        assert not other.has_connection_waiting()


def test_a_version_of_a_route_is_pinned(origin: Origin, other: Origin) -> None:
    endpoints = (
        Endpoint(id="a", address=origin.address, version="v1"),
        Endpoint(id="b", address=other.address, version="v2"),
    )
    streams = (StreamRoute(name="all", service="db", version="v2"),)
    with TcpBook(Service(name="db", endpoints=endpoints), origins=(origin, other), streams=streams) as book:
        for _ in range(3):
            client, server = book.pair(other)
            client.close()
            server.close()
            book.gone()
        assert not origin.has_connection_waiting()
        assert {entry["version"] for entry in book.log_entries()} == {"v2"}


def test_a_split_goes_to_a_share_that_has_endpoints(origin: Origin) -> None:
    split = (TrafficSplit(service="empty", weight=1_000_000), TrafficSplit(service="db", weight=1))
    streams = (StreamRoute(name="all", split=split),)
    with TcpBook(service("db", origin), service("empty"), origins=(origin,), streams=streams) as book:
        client, server = book.pair(origin)
        client.close()
        server.close()
        entry = book.entry()
        assert (entry["flags"], entry["service"]) == ("fo", "db")


def test_the_split_of_a_service_holds_for_connections(origin: Origin, other: Origin) -> None:
    endpoints = (
        Endpoint(id="a", address=origin.address, version="v1"),
        Endpoint(id="b", address=other.address, version="v2"),
    )
    split = (TrafficSplit(version="v1", weight=0), TrafficSplit(version="v2", weight=1))
    db = Service(name="db", endpoints=endpoints, traffic_split=split)
    with TcpBook(db, origins=(origin, other)) as book:
        for _ in range(3):
            book.pair(other)
        assert not origin.has_connection_waiting()


# --- no way on ----------------------------------------------------------------------------------------------------


def test_no_route_is_a_reset_with_nr(origin: Origin) -> None:
    streams = (StreamRoute(name="far", clients=("10.0.0.0/8",), service="db"),)
    with TcpBook(service("db", origin), origins=(origin,), streams=streams) as book:
        assert refused(book.client())
        entry = book.entry()
        assert (entry["flags"], entry["attempts"]) == ("NR", 0)
        assert "route" not in entry and "service" not in entry and "endpoint" not in entry
        assert not origin.has_connection_waiting()


def test_a_service_that_does_not_exist_is_a_reset_with_nc() -> None:
    streams = (StreamRoute(name="all", service="gone"),)
    with TcpBook(service("db"), streams=streams) as book:
        assert refused(book.client())
        assert book.flags() == ["NC"]


def test_no_usable_endpoint_is_a_reset_with_uh(origin: Origin) -> None:
    down = Endpoint(id="a", address=origin.address, state=EndpointState.UNHEALTHY)
    resting = Endpoint(id="b", address=origin.address, weight=0)
    for endpoints in ((), (down,), (resting,), (down, resting)):
        with TcpBook(Service(name="db", endpoints=endpoints), origins=()) as book:
            assert refused(book.client())
            assert book.flags() == ["UH"]
            assert book.entry()["service"] == "db"
    assert not origin.has_connection_waiting()


@pytest.mark.parametrize("how", ["at once", "later"])
def test_an_endpoint_that_refuses_is_followed_by_another(how: str, origin: Origin, tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as closed:
        late = f"127.0.0.1:{closed.getsockname()[1]}"
    bad = f"unix:{tmp_path}/nothing" if how == "at once" else late
    with TcpBook(service("db", bad, origin), origins=(origin,)) as book:
        pairs = [book.pair(origin) for _ in range(4)]
        for client, server in pairs:
            client.send(b"hi")
            assert server.read_exactly(2) == b"hi"
            client.close()
            server.close()
        book.gone()
        assert book.flags() == [""] * 4
        # The turn goes on behind what was picked, so the bad one is met by some of them.
        met = sum(entry["attempts"] == 2 for entry in book.log_entries())
        assert 1 <= met == book.cell(f"endpoint/db/a/{bad}", slots.CONNECT_FAILURES)
        assert book.cell("service/db", slots.REPLAYS) == met
        assert {entry["endpoint"] for entry in book.log_entries()} == {origin.address}


@pytest.mark.parametrize(("count", "met"), [(1, 1), (3, 3), (5, 5), (7, 5)])
@pytest.mark.parametrize("how", ["at once", "later"])
def test_no_connection_to_any_endpoint_is_a_reset_with_uf(how: str, count: int, met: int, tmp_path: Path) -> None:
    if how == "at once":
        addresses = [f"unix:{tmp_path}/{number}" for number in range(count)]
    else:
        closed = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
        addresses = [f"127.0.0.1:{each.getsockname()[1]}" for each in closed]
        for each in closed:
            each.close()
    with TcpBook(service("db", *addresses)) as book:
        assert refused(book.client())
        entry = book.entry()
        assert (entry["flags"], entry["attempts"]) == ("UF", met)
        reason = "ENOENT" if how == "at once" else "ECONNREFUSED"
        assert entry["flag_details"] == f"{entry['endpoint']}: {reason}"
        assert book.cell("service/db", slots.REPLAYS) == met - 1


def test_connecting_has_a_deadline_and_then_another_endpoint(origin: Origin, full_backlog: Callable[[], str]) -> None:
    settings = Settings(timeouts=Timeouts(connect=0.1))
    silent = full_backlog()
    with TcpBook(service("db", silent, origin), origins=(origin,), settings=settings) as book:
        for _ in range(2):
            book.client().send(b"x")
        for _ in range(2):
            assert origin.accept().read_exactly(1) == b"x"
        assert book.cell(f"endpoint/db/a/{silent}", slots.CONNECT_TIMEOUTS) == 1
        assert book.cell(f"endpoint/db/a/{silent}", slots.CONNECTIONS_ACTIVE) == 0


def test_a_deadline_at_the_only_endpoint_is_uf(full_backlog: Callable[[], str]) -> None:
    settings = Settings(timeouts=Timeouts(connect=0.1))
    silent = full_backlog()
    with TcpBook(service("db", silent), settings=settings) as book:
        client = book.client()
        assert book.gauges()["service/db connections"] == 1
        assert refused(client)
        entry = book.entry()
        assert (entry["flags"], entry["flag_details"]) == ("UF", f"{silent}: ETIMEDOUT")
        assert "t_connect" not in entry


def test_a_client_that_is_gone_when_its_endpoint_is_connected_is_dc(origin: Origin) -> None:
    with TcpBook(service("db", origin), origins=(origin,)) as book:
        client = Client(book.address)
        client.socket.sendall(b"bye")
        client.reset()
        server = origin.accept()
        assert server.is_ended_by_peer() and server.was_reset
        assert book.flags() == ["DC"]


def test_a_client_that_goes_while_its_endpoint_is_connecting_is_noticed_then(
    origin: Origin, full_backlog: Callable[[], str]
) -> None:
    settings = Settings(timeouts=Timeouts(connect=0.1))
    silent = full_backlog()
    with TcpBook(service("db", silent, origin), origins=(origin,), settings=settings) as book:
        client = book.client()
        if not book.server_end().connecting:
            client.reset()
            book.gone()
            client = book.client()
        client.reset()
        book.settle()
        assert book.server_end().connecting
        book.gone()
        last = book.log_entries()[-1]
        assert (last["flags"], last["attempts"]) == ("DC", 2)


# --- descriptors --------------------------------------------------------------------------------------------------


def test_no_descriptor_for_the_endpoint_is_uf(origin: Origin) -> None:
    with TcpBook(service("db", origin), origins=(origin,)) as book:
        client = Client(book.address)
        client.book = book
        book.clients.append(client)
        with descriptors_left(1):  # for the accepted one
            book.settle()
        assert refused(client)
        entry = book.entry()
        assert (entry["flags"], entry["flag_details"]) == ("UF", f"{origin.address}: EMFILE")
        assert not origin.has_connection_waiting()
        # All is well again.
        client, server = book.pair(origin)
        client.send(b"x")
        assert server.read_exactly(1) == b"x"


def test_no_descriptor_to_accept_with_keeps_the_client_waiting(origin: Origin) -> None:
    with TcpBook(service("db", origin), origins=(origin,)) as book:
        client = Client(book.address)
        client.book = book
        book.clients.append(client)
        with descriptors_left(0):
            book.settle()
            assert book.ends() == [] and book.gauges() == {}
        server = origin.accept()
        client.send(b"x")
        assert server.read_exactly(1) == b"x"


@pytest.mark.parametrize("left", range(6))
def test_however_many_descriptors_are_left_everybody_is_served_or_refused(left: int, origin: Origin) -> None:
    with TcpBook(service("db", origin), origins=(origin,)) as book:
        clients = [Client(book.address) for _ in range(4)]
        for client in clients:
            client.book = book
            book.clients.append(client)
        with descriptors_left(left):
            book.settle()
        book.until(lambda: book.listener_cell(slots.CONNECTIONS_TOTAL) == 4, "all accepted")
        for client in clients:
            client.close()


def test_a_watch_that_the_system_refuses_is_a_failed_connect(origin: Origin) -> None:
    with TcpBook(service("db", origin), origins=(origin,)) as book:
        client = Client(book.address)
        client.book = book
        book.clients.append(client)
        reactor = book.plane.reactor
        accepting = book.plane.sockets.acceptors[LISTENER, 0]
        kept = os.dup(reactor.fileno())
        nothing = os.open("/dev/null", os.O_RDONLY)
        os.dup2(nothing, reactor.fileno())  # now epoll_ctl fails
        try:
            accepting.on_readable()
        finally:
            os.dup2(kept, reactor.fileno())
            os.close(kept)
            os.close(nothing)
        assert refused(client)
        entry = book.entry()
        assert (entry["flags"], entry["flag_details"]) == ("UF", f"{origin.address}: EINVAL")


# --- silence and drains -------------------------------------------------------------------------------------------


def test_silence_ends_both_sides_with_si(origin: Origin) -> None:
    settings = Settings(timeouts=Timeouts(tcp_idle=0.3))
    with TcpBook(service("db", origin), origins=(origin,), settings=settings) as book:
        client, server = book.pair(origin)
        for one, two in ((client, server), (server, client)) * 2:
            # Either direction counts as life.
            assert not client.is_ended_by_peer(0.15)
            one.send(b"x")
            assert two.read_exactly(1) == b"x"
        assert client.is_ended_by_peer() and not client.was_reset
        assert server.is_ended_by_peer() and not server.was_reset
        assert book.flags() == ["SI"]


@pytest.mark.parametrize("slow", ["client", "server"])
def test_a_side_that_takes_little_by_little_is_not_silent(slow: str, origin: Origin) -> None:
    settings = Settings(timeouts=Timeouts(tcp_idle=0.3))
    with TcpBook(service("db", origin), origins=(origin,), settings=settings) as book:
        client, server = book.pair(origin)
        reader, writer = (client, server) if slow == "client" else (server, client)
        end = book.client_end() if slow == "client" else book.server_end()
        # With small buffers the kernel tells of little room already.
        reader.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 8192)
        with socket.fromfd(end.fd, socket.AF_INET, socket.SOCK_STREAM) as ours:
            ours.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 8192)
        total = writer.send_some(b"x" * 40_000_000)
        held = end.other
        assert held is not None and held.held
        read = 0
        deadline = time.monotonic() + 0.7
        while time.monotonic() < deadline:
            book.until(iter([False, True]).__next__, "a tick")
            with suppress(BlockingIOError):
                read += len(reader.socket.recv(32768, socket.MSG_DONTWAIT))
            # Nothing more is read from the writer meanwhile, so that is not what shows life.
            assert held.held
        assert 0 < read < total and book.flags() == []


@pytest.mark.parametrize("slow", ["client", "server"])
def test_silence_with_bytes_on_their_way_is_a_reset(slow: str, origin: Origin) -> None:
    settings = Settings(timeouts=Timeouts(tcp_idle=0.3))
    with TcpBook(service("db", origin), origins=(origin,), settings=settings) as book:
        client, server = book.pair(origin)
        reader, writer = (client, server) if slow == "client" else (server, client)
        writer.send_some(b"x" * 40_000_000)
        assert writer.is_ended_by_peer() and writer.was_reset
        assert reader.is_ended_by_peer() and reader.was_reset
        assert book.flags() == ["SI"]


def test_a_drain_waits_for_connections_and_accepts_none(origin: Origin) -> None:
    with TcpBook(service("db", origin), origins=(origin,)) as book:
        client, server = book.pair(origin)
        done: list[bool] = []
        book.plane.drain(0.0, 10.0, lambda: done.append(True))
        with pytest.raises(ConnectionRefusedError):
            book.client()
        client.send(b"still")
        assert server.read_exactly(5) == b"still"
        assert not done
        client.close()
        server.close()
        book.until(lambda: done, "drained")
        assert book.flags() == [""]


@pytest.mark.parametrize("state", ["open", "connecting", "waiting"])
def test_the_end_of_a_drain_cuts_what_is_left(state: str, origin: Origin, full_backlog: Callable[[], str]) -> None:
    target = full_backlog() if state == "connecting" else origin
    with TcpBook(service("db", target, pool=PoolPolicy(max_connections=1)), origins=(origin,)) as book:
        clients = [book.client() for _ in range(2 if state == "waiting" else 1)]
        done: list[bool] = []
        book.plane.drain(10.0, 0.1, lambda: done.append(True))
        book.until(lambda: done, "the deadline")
        for client in clients:
            assert client.is_ended_by_peer() and client.was_reset
        assert book.flags() == ["dr"] * len(clients)


def test_closing_the_data_plane_resets_everything(origin: Origin) -> None:
    book = TcpBook(service("db", origin, pool=PoolPolicy(max_connections=5)), origins=(origin,))
    pairs = [book.pair(origin) for _ in range(5)]
    waiting = [book.client() for _ in range(3)]
    book.plane.close()
    for client, server in pairs:
        assert client.is_ended_by_peer() and client.was_reset
        assert server.is_ended_by_peer() and server.was_reset
    for client in waiting:
        assert refused(client)
    assert book.gauges() == {} and book.bugs == []
    assert book.plane.reactor.open_streams == 0
    assert len(book.log_lines()) == 8
    book.folder.cleanup()


# --- ends and resets as the log tells them ------------------------------------------------------------------------


@pytest.mark.parametrize(("first", "flag"), [("client", "DC"), ("server", "UR")])
def test_a_reset_is_passed_on_and_logged(first: str, flag: str, origin: Origin) -> None:
    with TcpBook(service("db", origin), origins=(origin,)) as book:
        client, server = book.pair(origin)
        client.send(b"a")
        assert server.read_exactly(1) == b"a"
        one, two = (client, server) if first == "client" else (server, client)
        one.reset()
        assert two.is_ended_by_peer() and two.was_reset
        assert book.flags() == [flag]


def test_many_clients_and_no_end_is_missed(make_origin: Callable[[], Origin]) -> None:
    origins = tuple(make_origin() for _ in range(3))
    with TcpBook(service("db", *origins), origins=origins) as book:
        clients = [book.client() for _ in range(30)]
        servers = [each.accept() for each in origins for _ in range(10)]
        for number, client in enumerate(clients):
            client.send(b"%d" % number)
        for number, side in enumerate([*clients, *servers]):
            (side.reset if number % 3 == 0 else side.close)()
            book.settle()
        book.gone()
        assert len(book.log_entries()) == 30
