"""A data plane through its life: listening, changes of configuration under traffic, draining, and its end."""

from __future__ import annotations

import gc
import json
import logging
import socket
import sys
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest
from playbook import LISTENER, Origin, Playbook, service
from tcp_playbook import TcpBook
from turning import open_descriptors

from discovery.delta import change_between
from discovery.model import (
    AccessLog,
    Endpoint,
    EndpointState,
    Limits,
    LogFormat,
    PoolPolicy,
    Protocol,
    Route,
    Settings,
    StreamRoute,
    Timeouts,
)
from discovery.policies import Balancing
from proxy.dataplane import WHOLE
from proxy.stats import slots, words
from proxy.stats.allocator import keys_of

GET = b"GET /a HTTP/1.1\r\nHost: a\r\n\r\n"


@pytest.fixture
def origin() -> Iterator[Origin]:
    with Origin() as origin:
        yield origin


@pytest.fixture
def other() -> Iterator[Origin]:
    with Origin() as origin:
        yield origin


# --- listening ----------------------------------------------------------------------------------------------------


def test_a_listener_waits_until_a_snapshot_knows_it(origin: Origin) -> None:
    with Playbook(service("app", origin), origins=(origin,)) as book:
        sock = socket.create_server(("127.0.0.1", 0))
        address = sock.getsockname()
        book.plane.listen("later", sock)
        client = socket.create_connection(address)
        book.settle()
        assert book.downstreams() == []  # it waits in the backlog
        assert list(book.plane.sockets.acceptors) == [(LISTENER, 0)]
        book.plane.unlisten("later")
        client.close()
        assert book.plane.sockets.waiting == {}


def waiting_room(sock: socket.socket) -> int:
    """What listen(2) was told last: of a listening socket, tcpi_sacked has it (tcp_info of linux/tcp.h)."""
    return int.from_bytes(sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 104)[28:32], sys.byteorder)


def test_the_backlog_is_that_of_the_listener_in_force(origin: Origin) -> None:
    most = int(Path("/proc/sys/net/core/somaxconn").read_text())
    with TcpBook(service("app", origin), origins=(origin,)) as book:
        sock = socket.create_server(("127.0.0.1", 0), backlog=3)
        book.plane.listen(LISTENER, sock.dup(), 1)
        assert waiting_room(sock) == most
        for backlog, wanted in ((5, 5), (0, most), (7, 7)):
            book.backlog = backlog
            book.apply((service("app", origin),))
            assert waiting_room(sock) == wanted
        later = socket.create_server(("127.0.0.1", 0), backlog=3)
        book.plane.listen(LISTENER, later.dup(), 2)
        assert waiting_room(later) == 7
        sock.close()
        later.close()


def test_unlisten_refuses_new_connections_and_keeps_open_ones(origin: Origin) -> None:
    with Playbook(service("app", origin), origins=(origin,)) as book:
        client = book.client()
        book.plane.unlisten(LISTENER)
        book.plane.unlisten(LISTENER)
        with pytest.raises(ConnectionRefusedError):
            book.client()
        client.send(GET)
        origin.accept().answer()
        assert client.response().status == 200


def test_listening_again_replaces_the_socket(origin: Origin) -> None:
    with Playbook(service("app", origin), origins=(origin,)) as book:
        old = book.address
        sock = socket.create_server(("127.0.0.1", 0))
        book.address = f"127.0.0.1:{sock.getsockname()[1]}"
        book.plane.listen(LISTENER, sock)
        with pytest.raises(ConnectionRefusedError):
            socket.create_connection(("127.0.0.1", int(old.rpartition(":")[2])))
        client = book.client()
        client.send(GET)
        origin.accept().answer()
        assert client.response().status == 200


def test_a_listener_may_have_several_sockets(origin: Origin) -> None:
    with Playbook(service("app", origin), origins=(origin,)) as book:
        mine = book.address
        orphan = socket.create_server(("127.0.0.1", 0))
        book.plane.listen(LISTENER, orphan.dup(), 1)
        first = book.client()
        book.address = f"127.0.0.1:{orphan.getsockname()[1]}"
        second = book.client()
        first.send(GET)
        upstream = origin.accept()
        upstream.answer()
        assert first.response().status == 200
        second.send(GET)
        upstream.answer()
        assert second.response().status == 200
        assert book.cell(f"listener/{LISTENER}", slots.CONNECTIONS_TOTAL) == 2
        # Letting go of one leaves the other, the connections, and whoever else holds the socket.
        book.plane.unlisten(LISTENER, 1)
        waiting = book.client()
        book.address = mine
        third = book.client()
        third.send(GET)
        assert book.cell(f"listener/{LISTENER}", slots.CONNECTIONS_TOTAL) == 3
        orphan.accept()[0].close()
        assert waiting.is_ended_by_peer()
        orphan.close()
        upstream.answer()
        assert third.response().status == 200


def test_connections_over_the_limit_are_answered_503(origin: Origin) -> None:
    settings = Settings(limits=Limits(connections=2))
    with Playbook(service("app", origin), origins=(origin,), settings=settings) as book:
        first, second = book.client(), book.client()
        for busy in (first, second):  # who only holds a connection would make room
            busy.send(GET)
        asked = [origin.accept(), origin.accept()]
        third = book.client()
        assert third.response().status == 503
        assert third.is_ended_by_peer() and not third.was_reset
        third.close()
        assert book.cell(f"listener/{LISTENER}", slots.OVERFLOWS) == 1
        book.until(lambda: len(book.downstreams()) == 2, "the third gone")
        for upstream in asked:
            upstream.answer()
        assert (first.response().status, second.response().status) == (200, 200)
        first.close()
        book.until(lambda: len(book.downstreams()) == 1, "the first gone")
        fourth = book.client()
        fourth.send(GET)
        asked[-1].answer()  # the connection that became idle last
        assert fourth.response().status == 200
        second.close()


def test_a_listener_that_changes_its_protocol_speaks_the_new_one_with_new_connections(origin: Origin) -> None:
    with TcpBook(service("app", origin), origins=(origin,)) as book:
        tunnel, far = book.pair(origin)
        upstream = None
        for _ in range(2):
            book.protocol = Protocol.HTTP
            book.apply((service("app", origin),))
            request = book.client()
            request.send(GET)
            upstream = upstream or origin.accept()  # the second time it is the same
            assert upstream.answer().header("via") is not None
            assert request.response().status == 200
            book.of_http += 1
            # What is open stays what it was.
            tunnel.send(GET)
            assert far.read_exactly(len(GET)) == GET
            book.protocol = Protocol.TCP
            book.apply((service("app", origin),))
            tunnel, far = book.pair(origin)
            tunnel.send(GET)
            assert far.read_exactly(len(GET)) == GET
            # It has no routes of requests any more.
            request.send(GET)
            assert request.response().status == 404
        assert len(book.plane.sockets.acceptors) == 1


def test_clients_in_the_backlog_get_the_new_protocol(origin: Origin) -> None:
    with TcpBook(service("app", origin), origins=(origin,), max_connections=1) as book:
        tunnel, far = book.pair(origin)
        request = book.client()
        request.send(GET)
        book.protocol = Protocol.HTTP
        book.apply((service("app", origin),))
        book.settle()
        assert book.downstreams() == []
        tunnel.close()
        far.close()
        origin.accept().answer()
        assert request.response().status == 200
        book.of_http = 1


def test_a_listener_that_comes_back_under_its_name_is_the_new_one(origin: Origin) -> None:
    with TcpBook(service("app", origin), origins=(origin,)) as book:
        listeners = book.listeners
        book.listeners = lambda routes: ()  # type: ignore[method-assign]
        book.apply((service("app", origin),))
        book.listeners = listeners  # type: ignore[method-assign]
        book.streams = (StreamRoute(name="new", service="app"),)
        book.apply((service("app", origin),))
        tunnel, far = book.pair(origin)
        tunnel.close()
        far.close()
        assert book.entry()["route"] == "new"


def test_a_socket_of_datagrams_waits_for_a_listener_of_datagrams(origin: Origin) -> None:
    with TcpBook(service("app", origin), origins=(origin,)) as book:
        book.plane.listen(LISTENER, socket.socket(socket.AF_INET, socket.SOCK_DGRAM), 1)
        assert list(book.plane.sockets.acceptors) == [(LISTENER, 0)]
        assert list(book.plane.sockets.waiting) == [(LISTENER, 1)]
        book.protocol = Protocol.UDP
        book.apply((service("app", origin),))
        assert list(book.plane.sockets.acceptors) == [(LISTENER, 0), (LISTENER, 1)]


# --- changes under traffic ----------------------------------------------------------------------------------------


def test_a_change_keeps_idle_connections_of_endpoints_that_stay(origin: Origin) -> None:
    with Playbook(service("app", origin), origins=(origin,)) as book:
        client = book.client()
        client.send(GET)
        upstream = origin.accept()
        upstream.answer()
        assert client.response().status == 200
        for _ in range(3):
            book.apply((service("app", origin, timeout=5.0),))
            client.send(GET)
            upstream.answer()
            assert client.response().status == 200
        assert not origin.has_connection_waiting()
        assert book.codes() == {200: 4}


@pytest.mark.parametrize("endpoints", [20, 200])
def test_no_request_comes_between_the_steps_of_a_change_unless_it_is_large(origin: Origin, endpoints: int) -> None:
    """A request that is routed in between, by routes still in force, would get an endpoint of the new configuration."""
    with Playbook(service("app", origin), origins=(origin,)) as book:
        before = book.plane.tables.snapshot
        many = tuple(Endpoint(id=str(number), address=f"127.0.0.2:{1 + number}") for number in range(endpoints))
        snapshot = msgspec.structs.replace(before, version=2, services=(service("app", endpoints=many),))
        numbers = book.allocator.assign(keys_of(snapshot), 2)
        change = change_between(before, snapshot)
        steps = list(book.plane.steps(change, numbers))

        assert book.plane.tables.snapshot is change.snapshot
        assert bool(steps) is (endpoints > WHOLE)


def test_an_endpoint_that_is_removed_finishes_its_request(origin: Origin, other: Origin) -> None:
    with Playbook(service("app", origin), origins=(origin, other)) as book:
        client = book.client()
        client.send(GET)
        upstream = origin.accept()
        upstream.head()
        row = book.numbers[f"endpoint/app/a/{origin.address}"]
        book.apply((service("app", endpoints=(Endpoint(id="b", address=other.address),)),))
        upstream.send(b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhello")
        upstream.send(b"world")
        assert client.response().body == b"helloworld"
        # Its connection is not kept, and its row is free when nothing is left that writes to it.
        assert upstream.is_ended_by_peer()
        gc.collect()
        assert book.released == [row]
        client.send(GET)
        other.accept().answer()
        assert client.response().status == 200


def test_idle_connections_of_a_removed_endpoint_are_closed(origin: Origin) -> None:
    with Playbook(service("app", origin), origins=(origin,)) as book:
        client = book.client()
        client.send(GET)
        upstream = origin.accept()
        upstream.answer()
        assert client.response().status == 200
        book.apply((service("app"),))
        assert upstream.is_ended_by_peer()


def test_a_route_that_is_removed_finishes_its_request(origin: Origin) -> None:
    with Playbook(service("app", origin), origins=(origin,)) as book:
        client = book.client()
        client.send(GET)
        upstream = origin.accept()
        upstream.head()
        route = book.numbers["route/web/all"]
        book.apply((service("app", origin),), (Route(name="new", service="app"),))
        upstream.send(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")
        assert client.response().status == 200
        gc.collect()
        assert book.released == [route]
        assert book.table.totals(route)[1] == {200: 1}


def test_room_that_a_change_makes_serves_those_who_wait(origin: Origin) -> None:
    narrow, wide = (service("app", origin, pool=PoolPolicy(max_connections=limit)) for limit in (1, 2))
    with Playbook(narrow, origins=(origin,)) as book:
        first, second = book.client(), book.client()
        first.send(GET)
        second.send(GET)
        busy = origin.accept()
        assert book.cell("service/app", slots.PENDING) == 1
        book.apply((wide,))
        origin.accept().answer()
        assert second.response().status == 200
        busy.answer()
        assert first.response().status == 200


def test_those_who_wait_for_an_endpoint_that_vanishes_are_answered(origin: Origin) -> None:
    with Playbook(service("app", origin, pool=PoolPolicy(max_connections=1)), origins=(origin,)) as book:
        first, second = book.client(), book.client()
        first.send(GET)
        second.send(GET)
        busy = origin.accept()
        down = Endpoint(id="a", address=origin.address, state=EndpointState.UNHEALTHY)
        book.apply((service("app", endpoints=(down,)),))
        assert second.response().status == 503
        busy.answer()
        assert first.response().status == 200


def test_a_service_that_vanishes_under_its_requests(origin: Origin) -> None:
    pool = PoolPolicy(max_connections=1)
    with Playbook(service("app", origin, pool=pool), service("other"), origins=(origin,)) as book:
        first, second = book.client(), book.client()
        first.send(GET)
        second.send(GET)
        busy = origin.accept()
        row = book.numbers["service/app"]
        book.apply((service("other"),))
        busy.answer()
        assert first.response().status == 200
        assert second.response().status == 503
        gc.collect()
        assert row in book.released
        cells, codes = book.table.totals(row)
        assert (codes, cells[slots.ACTIVE], cells[slots.PENDING]) == ({200: 1, 503: 1}, 0, 0)


def test_a_new_timeout_of_a_service_holds_for_its_routes(origin: Origin) -> None:
    routes = (Route(name="all", service="app"),)
    with Playbook(service("app", origin), origins=(origin,), routes=routes) as book:
        book.apply((service("app", origin, timeout=0.1),), routes)
        client = book.client()
        client.send(GET)
        origin.accept().request()
        assert client.response().status == 504


def test_new_settings_hold_for_the_next_request(origin: Origin, tmp_path: Path) -> None:
    with Playbook(service("app", origin), origins=(origin,)) as book:
        client = book.client()
        book.log = tmp_path / "log"
        access = AccessLog(path=str(book.log), format=LogFormat.JSON)
        settings = Settings(access_log=access, instance="hive-2", limits=Limits(body=3))
        book.apply((service("app", origin),), settings=settings)
        client.send(GET)
        request = origin.accept().answer()
        assert request.header("via") == "1.1 hive-2"
        assert client.response().status == 200
        assert [entry["status"] for entry in book.log_entries()] == [200]
        # Off again: the file is closed and nothing more is written.
        book.apply((service("app", origin),), settings=Settings())
        client.ask("POST", body=b"hello")
        origin.connections[0].answer()  # type: ignore[attr-defined]
        assert client.response().status == 200
        assert book.plane.log.file is None
        assert len(book.log.read_text().splitlines()) == 1


def test_a_rotated_log_is_opened_again(origin: Origin, tmp_path: Path) -> None:
    log = tmp_path / "log"
    settings = Settings(access_log=AccessLog(path=str(log), format=LogFormat.JSON))
    with Playbook(service("app"), settings=settings, log=log) as book:
        client = book.client()
        client.send(GET)
        assert client.response().status == 503
        log.rename(tmp_path / "log.1")
        book.plane.reopen_logs()
        client.send(GET)
        assert client.response().status == 503
        assert len(book.log_entries()) == 1
        assert len((tmp_path / "log.1").read_text().splitlines()) == 1


def test_a_log_that_cannot_be_opened_stops_nothing(origin: Origin, tmp_path: Path) -> None:
    log = tmp_path / "log"
    good = Settings(access_log=AccessLog(path=str(log), format=LogFormat.JSON))
    bad = Settings(instance="hive-2", access_log=AccessLog(path=str(tmp_path / "no" / "log"), format=LogFormat.JSON))
    with Playbook(service("app"), settings=good, log=log) as book:
        book.apply((service("app"),), settings=bad)
        client = book.client()
        client.send(GET)
        response = client.response()
        # All else is in force, and lines go where they went.
        assert (response.header("proxy-status") or "").startswith("hive-2")
        assert len(book.log_entries()) == 1
        assert [name for name, _ in book.events] == ["access log not opened"]
        assert book.events[0][1]["reason"] == "No such file or directory"
        # It is tried again with the next change.
        (tmp_path / "no").mkdir()
        book.apply((service("app"), service("other")))
        book.log = tmp_path / "no" / "log"
        client.send(GET)
        client.response()
        assert len(book.log_entries()) == 1


def test_a_rotation_that_fails_goes_on_in_the_old_file(origin: Origin, tmp_path: Path) -> None:
    folder = tmp_path / "logs"
    folder.mkdir()
    settings = Settings(access_log=AccessLog(path=str(folder / "log"), format=LogFormat.JSON))
    with Playbook(service("app"), settings=settings) as book:
        folder.rename(tmp_path / "old")
        book.plane.reopen_logs()
        client = book.client()
        client.send(GET)
        client.response()
        book.log = tmp_path / "old" / "log"
        assert len(book.log_entries()) == 1
        assert [name for name, _ in book.events] == ["access log not opened"]


# --- the end ------------------------------------------------------------------------------------------------------


def test_draining_ends_idle_connections_at_once_and_busy_ones_after_their_answer(origin: Origin) -> None:
    with Playbook(service("app", origin), origins=(origin,)) as book:
        idle, busy, partial = book.client(), book.client(), book.client()
        busy.send(GET)
        partial.send(b"GET /late HTTP/1.1\r\n")
        upstream = origin.accept()
        upstream.head()
        done: list[bool] = []
        book.plane.drain(10.0, 10.0, lambda: done.append(True))
        assert idle.is_ended_by_peer() and idle.received == b""
        with pytest.raises(ConnectionRefusedError):
            book.client()
        upstream.send(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")
        response = busy.response()
        assert (response.body, response.header("connection")) == (b"ok", "close")
        assert busy.is_ended_by_peer()
        # Who has begun to ask is still answered.
        assert not done
        partial.send(b"Host: a\r\n\r\n")
        origin.accept().answer()
        response = partial.response()
        assert (response.status, response.header("connection")) == (200, "close")
        book.until(lambda: done, "drained")
        assert done == [True]


def test_a_request_that_crosses_the_drain_is_answered(origin: Origin) -> None:
    with Playbook(service("app", origin), origins=(origin,)) as book:
        client = book.client()
        client.send(GET)
        upstream = origin.accept()
        upstream.answer()
        assert client.response().header("connection") is None
        done: list[bool] = []
        book.plane.drain(10.0, 10.0, lambda: done.append(True))
        client.send(GET)
        upstream.answer()
        assert client.response().header("connection") == "close"
        book.until(lambda: done, "drained")


def test_draining_has_an_end(origin: Origin) -> None:
    with Playbook(service("app", origin), origins=(origin,)) as book:
        client = book.client()
        client.send(GET)
        upstream = origin.accept()
        upstream.head()
        done: list[bool] = []
        book.plane.drain(0.1, 10.0, lambda: done.append(True))
        book.until(lambda: done, "the deadline")
        response = client.response()
        assert (response.status, response.header("connection")) == (503, "close")
        assert 'details="the proxy is shutting down"' in response.header("proxy-status")
        assert upstream.is_ended_by_peer()
        assert book.codes() == {503: 1}


def test_what_the_end_of_draining_cuts_says_so_in_the_log(origin: Origin, tmp_path: Path) -> None:
    """A response that is on its way, and an upgraded connection, which has a deadline of its own."""
    settings = Settings(access_log=AccessLog(path=str(tmp_path / "log"), format=LogFormat.JSON))
    with Playbook(service("app", origin), settings=settings, origins=(origin,)) as book:
        client, stream = book.client(), book.client()
        client.send(GET)
        origin.accept().answer(b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nhalf")
        client.read_until(b"half")
        stream.send(b"GET /s HTTP/1.1\r\nHost: a\r\nConnection: upgrade\r\nUpgrade: x\r\n\r\n")
        origin.accept().answer(b"HTTP/1.1 101 x\r\nConnection: upgrade\r\nUpgrade: x\r\n\r\n")
        stream.read_until(b"\r\n\r\n")
        done: list[bool] = []
        book.plane.drain(0.05, 0.1, lambda: done.append(True))
        book.until(lambda: done, "the deadlines")
        assert client.is_ended_by_peer() and client.was_reset
        assert stream.is_ended_by_peer()
        entries = [json.loads(line) for line in (tmp_path / "log").read_text().splitlines()]
        assert [(entry["status"], entry["flags"]) for entry in entries] == [(200, "dr"), (101, "dr")]


def test_draining_nothing_is_done_at_once(origin: Origin) -> None:
    with Playbook(service("app", origin), origins=(origin,)) as book:
        done: list[bool] = []
        book.plane.drain(10.0, 10.0, lambda: done.append(True))
        assert done == [True]


def test_closing_resets_everything_and_leaks_nothing(origin: Origin) -> None:
    gc.collect()
    before = open_descriptors()
    book = Playbook(service("app", origin, pool=PoolPolicy(max_connections=1)), origins=(origin,))
    clients = [book.client() for _ in range(5)]
    for client in clients[:4]:
        client.send(GET)  # one is served, three wait
    upstream = origin.accept()
    upstream.head()
    book.plane.close()
    for client in clients:
        assert client.is_ended_by_peer()
        client.close()
    assert upstream.is_ended_by_peer()
    assert book.gauges() == {}
    assert book.plane.reactor.open_streams == 0
    assert book.loop.readers == {}
    origin.close()
    del book, client, clients, upstream
    origin.book = None
    origin.connections.clear()
    gc.collect()
    assert {entry for entry in open_descriptors() - before} == set()


def test_a_bug_is_reported_with_its_stream_and_not_too_often(origin: Origin, caplog: pytest.LogCaptureFixture) -> None:
    with Playbook(service("app", origin), origins=(origin,)) as book:
        plane = book.plane
        with caplog.at_level(logging.ERROR, "hivemesh.bugs"):
            for _ in range(5):
                plane.reports.bug(plane.sockets.acceptors[LISTENER, 0], ZeroDivisionError("a bug"))
        assert len(caplog.records) == 1
        assert [name for name, _ in book.events] == ["bug"]
        assert "ZeroDivisionError" in book.events[0][1]["error"]


def test_keep_alive_and_request_limits_end_connections(origin: Origin) -> None:
    settings = Settings(limits=Limits(requests_per_connection=2), timeouts=Timeouts(keep_alive=0.15))
    with Playbook(service("app", origin), origins=(origin,), settings=settings) as book:
        client = book.client()
        client.send(GET)
        upstream = origin.accept()
        upstream.answer()
        assert client.response().header("connection") is None
        client.send(GET)
        upstream.answer()
        assert client.response().header("connection") == "close"
        assert client.is_ended_by_peer()
        client = book.client()
        client.send(GET)
        upstream.answer()
        assert client.response().status == 200
        assert client.is_ended_by_peer()


def test_a_bug_in_one_part_of_a_tick_does_not_end_the_ticks(origin: Origin, monkeypatch: pytest.MonkeyPatch) -> None:
    with Playbook(service("app", origin), origins=(origin,)) as book:
        looks: list[int] = []

        def look(services: object, now_ms: int) -> list[object]:
            looks.append(now_ms)
            if len(looks) == 1:
                raise KeyError("a service that is gone")
            return []

        monkeypatch.setattr(book.plane.tables.service_table.breakers, "look", look)
        with pytest.raises(KeyError, match="that is gone"):
            book.until(lambda: len(looks) > 1, "a tick")
        book.until(lambda: len(looks) > 1, "the tick after it")


def test_a_request_that_panic_sends_to_an_ill_endpoint_is_flagged_and_counted(origin: Origin, tmp_path: Path) -> None:
    ill = (
        Endpoint(id="a", address=origin.address, state=EndpointState.UNHEALTHY),
        Endpoint(id="b", address="127.0.0.1:9", state=EndpointState.DRAINING),
    )
    app = service("app", endpoints=ill, balancing=Balancing(panic_threshold_pct=50.0))
    log = tmp_path / "log"
    settings = Settings(access_log=AccessLog(path=str(log), format=LogFormat.JSON))
    with Playbook(app, origins=(origin,), settings=settings, log=log) as book:
        client = book.client()
        client.ask()
        origin.accept().answer()
        assert client.response().status == 200
        book.settle()
        [entry] = book.log_entries()
        assert (entry["flags"], entry["endpoint"]) == ("pa", origin.address)
        assert book.plane.tables.services["app"].shared.load(words.PANIC_PICKS) == 1
