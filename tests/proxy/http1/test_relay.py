"""After a protocol upgrade: bytes both ways, ends one by one, and nothing left over."""

from __future__ import annotations

from pathlib import Path

import pytest
from playbook import Client, Origin, Playbook, Server, service

from discovery.model import AccessLog, LogFormat, Settings, Timeouts

SWITCH = b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: echo\r\nConnection: Upgrade\r\n\r\n"
ASK = b"GET /chat HTTP/1.1\r\nHost: a\r\nUpgrade: echo\r\nConnection: Upgrade\r\n\r\n"
LARGE = bytes(range(256)) * 40_000


def book_of(origin: Origin, **given: object) -> Playbook:
    return Playbook(service("app", origin), origins=(origin,), **given)


def upgraded(book: Playbook, origin: Origin) -> tuple[Client, Server]:
    client = book.client()
    client.send(ASK)
    upstream = origin.accept()
    request = upstream.request()
    assert (request.header("upgrade"), request.header("connection")) == ("echo", "upgrade")
    upstream.send(SWITCH)
    response = client.response()
    assert (response.status, response.header("upgrade"), response.header("connection")) == (101, "echo", "upgrade")
    return client, upstream


def test_bytes_pass_both_ways(origin: Origin) -> None:
    with book_of(origin) as book:
        client, upstream = upgraded(book, origin)
        for number in range(20):
            client.send(b"ping %d" % number)
            assert upstream.read_exactly(len(b"ping %d" % number)) == b"ping %d" % number
            upstream.send(b"pong")
            assert client.read_exactly(4) == b"pong"
        # Nothing of it is HTTP any more.
        client.send(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
        assert upstream.read_exactly(27) == b"GET / HTTP/1.1\r\nHost: a\r\n\r\n"


@pytest.mark.parametrize("cut", [1, 40, len(SWITCH) - 1, len(SWITCH), len(SWITCH) + 3])
def test_bytes_that_come_with_the_switch_belong_to_the_new_protocol(origin: Origin, cut: int) -> None:
    with book_of(origin) as book:
        client = book.client()
        client.send(ASK + b"early")
        upstream = origin.accept()
        assert upstream.head().target == "/chat"
        raw = SWITCH + b"welcome"
        upstream.send(raw[:cut], raw[cut:])
        assert client.response().status == 101
        assert client.read_exactly(7) == b"welcome"
        assert upstream.read_exactly(5) == b"early"


def test_bytes_of_others_do_not_get_in_between(origin: Origin) -> None:
    """The receive buffer is shared; what others leave in it is theirs."""
    with book_of(origin) as book:
        client = book.client()
        client.send(ASK)
        upstream = origin.accept()
        upstream.request()
        others = [book.client() for _ in range(3)]
        for other in others:
            other.send(b"POST /secret HTTP/1.1\r\nHost: a\r\nContent-Length: 100\r\n\r\nsecret")
        upstream.send(SWITCH[:30])
        for other in others:
            other.send(b"secret")
        upstream.send(SWITCH[30:])
        for other in others:
            other.send(b"secret")
        assert client.response().status == 101
        client.send(b"x")
        assert upstream.read_exactly(1) == b"x"
        upstream.send(b"y")
        assert client.read_exactly(1) == b"y"
        assert client.has_nothing_to_read() and upstream.has_nothing_to_read()


@pytest.mark.parametrize("first", ["client", "endpoint"])
def test_each_direction_ends_on_its_own(origin: Origin, first: str, tmp_path: Path) -> None:
    log = tmp_path / "log"
    settings = Settings(access_log=AccessLog(path=str(log), format=LogFormat.JSON))
    with book_of(origin, settings=settings, log=log) as book:
        client, upstream = upgraded(book, origin)
        one, other = (client, upstream) if first == "client" else (upstream, client)
        one.send(b"last words")
        one.finish_sending()
        assert other.read_to_end() == b"last words"
        # The other direction goes on.
        other.send(b"still", b" here")
        assert one.read_exactly(10) == b"still here"
        assert book.cell("listener/web", 0) == 1
        other.send(b"!")
        other.finish_sending()
        assert one.read_to_end() == b"!"
        book.until(lambda: not book.downstreams() and not book.upstreams(), "both closed")
        assert not one.was_reset and not other.was_reset
        (entry,) = book.log_entries()
        assert (entry["status"], entry["upstream_status"], entry["flags"]) == (101, 101, "")
        counted = {
            "client": (entry["bytes_in"], entry["bytes_out"]),
            "endpoint": (entry["bytes_out"], entry["bytes_in"]),
        }
        mine, theirs = counted[first]
        assert mine - (len(ASK) if first == "client" else 0) >= 10
        assert theirs - (len(ASK) if first == "endpoint" else 0) >= 11


@pytest.mark.parametrize("first", ["client", "endpoint"])
def test_a_large_stream_and_its_end_arrive_at_a_slow_reader(origin: Origin, first: str) -> None:
    with book_of(origin) as book:
        client, upstream = upgraded(book, origin)
        one, other = (client, upstream) if first == "client" else (upstream, client)
        received = bytearray()
        sent = 0
        while sent < len(LARGE):
            sent += one.send_some(LARGE[sent:])
            if sent < len(LARGE):
                received += other.take_available()
        one.finish_sending()
        book.settle()
        while not other.ended:
            received += other.take_available()
        assert bytes(received) == LARGE
        other.send(b"thanks")
        assert one.read_exactly(6) == b"thanks"
        other.finish_sending()
        assert one.is_ended_by_peer()
        book.until(lambda: not book.upstreams(), "both closed")


def test_both_directions_at_once(origin: Origin) -> None:
    with book_of(origin) as book:
        client, upstream = upgraded(book, origin)
        sent = [0, 0]
        received = [bytearray(), bytearray()]
        sides = (client, upstream)
        while min(len(part) for part in received) < len(LARGE):
            for index in (0, 1):
                if sent[index] < len(LARGE):
                    sent[index] += sides[index].send_some(LARGE[sent[index] : sent[index] + 100_000])
                received[1 - index] += sides[1 - index].take_available()
        assert received[0] == received[1] == LARGE


@pytest.mark.parametrize("first", ["client", "endpoint"])
def test_a_reset_ends_both(origin: Origin, first: str) -> None:
    with book_of(origin) as book:
        client, upstream = upgraded(book, origin)
        one, other = (client, upstream) if first == "client" else (upstream, client)
        one.reset()
        assert other.is_ended_by_peer()
        book.until(lambda: not book.downstreams() and not book.upstreams(), "both closed")


def test_silence_ends_both(origin: Origin, tmp_path: Path) -> None:
    log = tmp_path / "log"
    access = AccessLog(path=str(log), format=LogFormat.JSON)
    settings = Settings(access_log=access, timeouts=Timeouts(stream_idle=0.2, keep_alive=0.05))
    with book_of(origin, settings=settings, log=log) as book:
        client, upstream = upgraded(book, origin)
        for side, other in ((client, upstream), (upstream, client)) * 2:
            # Either direction counts as life.
            assert not client.is_ended_by_peer(0.1)
            side.send(b"x")
            assert other.read_exactly(1) == b"x"
        assert client.is_ended_by_peer() and upstream.is_ended_by_peer()
        assert book.log_entries()[0]["flags"] == "SI"


def test_a_total_timeout_does_not_end_it(origin: Origin) -> None:
    with Playbook(service("app", origin, timeout=0.1), origins=(origin,)) as book:
        client, upstream = upgraded(book, origin)
        assert not client.is_ended_by_peer(0.3)
        client.send(b"x")
        assert upstream.read_exactly(1) == b"x"


def test_an_upgrade_that_is_refused_stays_http(origin: Origin) -> None:
    with book_of(origin) as book:
        client = book.client()
        client.send(ASK)
        upstream = origin.accept()
        upstream.answer(b"HTTP/1.1 426 Upgrade Required\r\nUpgrade: other\r\nContent-Length: 2\r\n\r\nno")
        response = client.response()
        assert (response.status, response.header("upgrade"), response.body) == (426, "other", b"no")
        client.send(b"GET /next HTTP/1.1\r\nHost: a\r\n\r\n")
        assert upstream.answer().target == "/next"
        assert client.response().body == b"ok"


@pytest.mark.parametrize("value", ["h2c", "h2", "echo, h2c", "H2C"])
def test_an_upgrade_to_http_2_is_not_passed_on(origin: Origin, value: str) -> None:
    """It would carry requests past the routes."""
    with book_of(origin) as book:
        client = book.client()
        client.ask(headers={"Upgrade": value, "Connection": "Upgrade, HTTP2-Settings", "HTTP2-Settings": "x"})
        request = origin.accept().answer()
        assert not {"upgrade", "connection", "http2-settings"} & {name for name, _ in request.headers}
        assert client.response().status == 200


@pytest.mark.parametrize("slow", ["client", "endpoint"])
def test_silence_with_bytes_on_their_way_is_a_reset(origin: Origin, slow: str) -> None:
    """An end could be taken for theirs."""
    with book_of(origin, settings=Settings(timeouts=Timeouts(stream_idle=0.2))) as book:
        client, upstream = upgraded(book, origin)
        reader, writer = (client, upstream) if slow == "client" else (upstream, client)
        writer.send_some(LARGE)
        assert writer.is_ended_by_peer() and writer.was_reset
        assert reader.is_ended_by_peer() and reader.was_reset


def test_an_upgrade_with_a_body_is_an_ordinary_request(origin: Origin) -> None:
    with book_of(origin) as book:
        client = book.client()
        client.ask("POST", headers={"Upgrade": "echo", "Connection": "Upgrade"}, body=b"hello")
        request = origin.accept().answer()
        assert (request.body, request.header("upgrade")) == (b"hello", None)
        assert client.response().status == 200


def test_many_at_once_and_all_end_with_the_data_plane(origin: Origin) -> None:
    with book_of(origin) as book:
        pairs = [upgraded(book, origin) for _ in range(10)]
        for number, (client, upstream) in enumerate(pairs):
            client.send(b"%d" % number)
            assert upstream.read_exactly(1) == b"%d" % number
        book.plane.drain(0.0, 0.0, lambda: None)
        for client, upstream in pairs:
            assert client.is_ended_by_peer() and upstream.is_ended_by_peer()


def test_draining_gives_upgraded_connections_a_time_of_their_own(origin: Origin) -> None:
    with book_of(origin) as book:
        client, upstream = upgraded(book, origin)
        done: list[bool] = []
        book.plane.drain(0.0, 10.0, lambda: done.append(True))
        client.send(b"still here")
        assert upstream.read_exactly(10) == b"still here"
        assert not done
        client.close()
        upstream.close()
        book.until(lambda: done, "drained", 5.0)


def test_an_upgraded_connection_is_cut_off_at_its_own_deadline(origin: Origin) -> None:
    with book_of(origin) as book:
        client, upstream = upgraded(book, origin)
        done: list[bool] = []
        book.plane.drain(10.0, 0.1, lambda: done.append(True))
        book.until(lambda: done, "the deadline")
        assert client.is_ended_by_peer() and client.was_reset
        assert upstream.is_ended_by_peer()
