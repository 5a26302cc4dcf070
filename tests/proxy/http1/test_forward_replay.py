"""When an attempt fails: what is sent again, where, and what is answered instead."""

from __future__ import annotations

import socket
from collections.abc import Callable
from pathlib import Path

import pytest
from playbook import Origin, Playbook, Server, service

from discovery.model import AccessLog, Endpoint, Limits, LogFormat, Settings, Timeouts
from proxy.stats import slots

MakeOrigin = Callable[[], Origin]
GET = b"GET /a HTTP/1.1\r\nHost: a\r\n\r\n"


def refusing_address() -> str:
    """Nobody listens there."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        return f"127.0.0.1:{server.getsockname()[1]}"


def logging_to(path: Path, **given: object) -> Settings:
    return Settings(access_log=AccessLog(path=str(path), format=LogFormat.JSON), **given)


def warm(book: Playbook, origin: Origin) -> Server:
    """An idle connection to the origin, used once, and the origin's end of it."""
    client = book.client()
    client.send(GET)
    upstream = origin.accept()
    upstream.answer()
    assert client.response().status == 200
    client.close()
    book.until(lambda: not book.downstreams(), "the client gone")
    return upstream


def close_as_the_request_comes(upstream: Server) -> None:
    """What a server does whose keep-alive time is up just when a request is on its way."""
    upstream.head()
    upstream.close()


# --- stale connections --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("method", ["GET", "HEAD", "OPTIONS", "TRACE", "DELETE"])
def test_an_idempotent_request_on_a_stale_connection_is_sent_again(origin: Origin, method: str) -> None:
    with Playbook(service("app", origin), origins=(origin,)) as book:
        stale = warm(book, origin)
        client = book.client()
        client.ask(method, "/again")
        close_as_the_request_comes(stale)
        request = origin.accept().answer(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")
        assert (request.method, request.target) == (method, "/again")
        assert client.response(to=method).status == 200
        assert book.cell("service/app", slots.REPLAYS) == 1
        assert book.codes() == {200: 2}


@pytest.mark.parametrize(("method", "reason"), [("POST", "post_bytes_sent"), ("PATCH", "patch_bytes_sent")])
def test_a_request_that_may_have_been_acted_on_is_not(origin: Origin, tmp_path: Path, method: str, reason: str) -> None:
    log = tmp_path / "log"
    with Playbook(service("app", origin), origins=(origin,), settings=logging_to(log), log=log) as book:
        stale = warm(book, origin)
        client = book.client()
        client.ask(method)
        # It is young and quiet, so it is trusted with the request; and then it closes.
        close_as_the_request_comes(stale)
        assert client.response().status == 502
        assert not origin.has_connection_waiting()
        assert book.cell("service/app", slots.REPLAYS) == 0
        entry = book.log_entries()[-1]
        assert (entry["flags"], entry["retry_denied"], entry["attempts"]) == ("UC", reason, 1)


def test_a_reset_is_a_stale_connection_too(origin: Origin) -> None:
    with Playbook(service("app", origin), origins=(origin,)) as book:
        stale = warm(book, origin)
        client = book.client()
        client.send(GET)
        stale.head()
        stale.reset()
        origin.accept().answer()
        assert client.response().status == 200


def test_a_replay_does_not_take_another_idle_connection(origin: Origin) -> None:
    """They may all be stale."""
    with Playbook(service("app", origin), origins=(origin,)) as book:
        clients = [book.client() for _ in range(3)]
        for client in clients:
            client.send(GET)
        idle = [origin.accept() for _ in clients]
        for upstream in idle:
            upstream.answer()
        for client in clients:
            assert client.response().status == 200
        clients[0].send(GET)
        used = next(upstream for upstream in idle if upstream.receive_available())
        close_as_the_request_comes(used)
        fresh = origin.accept()
        assert fresh.answer().target == "/a"
        assert clients[0].response().status == 200


def test_a_fresh_connection_that_closes_is_not_tried_again(origin: Origin) -> None:
    """The endpoint got the request, and perhaps broke on it."""
    with Playbook(service("app", origin), origins=(origin,)) as book:
        client = book.client()
        client.send(GET)
        close_as_the_request_comes(origin.accept())
        assert client.response().status == 502
        assert not origin.has_connection_waiting()


def test_an_answer_that_began_is_not_asked_for_again(origin: Origin) -> None:
    with Playbook(service("app", origin), origins=(origin,)) as book:
        stale = warm(book, origin)
        client = book.client()
        client.send(GET)
        stale.head()
        stale.send(b"HTTP/1.1 2")
        stale.close()
        assert client.response().status == 502
        assert not origin.has_connection_waiting()


def test_an_interim_response_counts_as_an_answer(origin: Origin) -> None:
    with Playbook(service("app", origin), origins=(origin,)) as book:
        stale = warm(book, origin)
        client = book.client()
        client.send(GET)
        stale.head()
        stale.send(b"HTTP/1.1 102 Processing\r\n\r\n")
        stale.close()
        assert client.response().status == 502
        assert not origin.has_connection_waiting()


BODY = bytes(range(256)) * 150
CHUNKED_BODY = b"%x\r\n%s\r\n0\r\n\r\n" % (len(BODY), BODY)


@pytest.mark.parametrize("framing", ["length", "chunked"])
@pytest.mark.parametrize("cut", [0, 1, 1000, 38_000], ids=lambda cut: f"after {cut}")
def test_a_body_that_was_kept_is_sent_again_with_the_same_bytes(origin: Origin, framing: str, cut: int) -> None:
    """The first connection breaks when it has got a part of the body, and the client has not sent all of it."""
    field, wire = (
        (b"Content-Length: %d" % len(BODY), BODY)
        if framing == "length"
        else (b"Transfer-Encoding: chunked", CHUNKED_BODY)
    )
    with Playbook(service("app", origin), origins=(origin,)) as book:
        stale = warm(book, origin)
        client = book.client()
        client.send(b"PUT /p HTTP/1.1\r\nHost: a\r\n" + field + b"\r\n\r\n")
        stale.head()
        if cut:
            client.send(wire[:cut])
        book.settle()
        stale.close()
        fresh = origin.accept()
        client.send(wire[cut:])
        request = fresh.answer()
        assert (request.method, request.target, request.body) == ("PUT", "/p", BODY)
        assert client.response().body == b"ok"
        assert book.codes() == {200: 2}
        # The connection is in step: nothing was sent twice.
        client.send(GET)
        assert fresh.answer().target == "/a"
        assert client.response().status == 200


def test_a_body_that_was_complete_is_sent_again(origin: Origin) -> None:
    with Playbook(service("app", origin), origins=(origin,)) as book:
        stale = warm(book, origin)
        client = book.client()
        client.ask("PUT", body=BODY)
        assert stale.request().body == BODY
        stale.close()
        assert origin.accept().answer().body == BODY
        assert client.response().status == 200


@pytest.mark.parametrize(("size", "status"), [(1000, 200), (1001, 502)])
def test_a_body_above_the_limit_is_not_kept(origin: Origin, tmp_path: Path, size: int, status: int) -> None:
    log = tmp_path / "log"
    settings = logging_to(log, limits=Limits(replay_body=1000))
    with Playbook(service("app", origin), origins=(origin,), settings=settings, log=log) as book:
        stale = warm(book, origin)
        client = book.client()
        client.ask("PUT", body=b"x" * size)
        assert len(stale.request().body) == size
        stale.close()
        if status == 200:
            assert len(origin.accept().answer().body) == size
        assert client.response().status == status
        if status == 502:
            assert book.log_entries()[-1]["retry_denied"] == "body_not_kept"


def test_a_body_with_trailers_is_not_sent_again(origin: Origin) -> None:
    with Playbook(service("app", origin), origins=(origin,)) as book:
        stale = warm(book, origin)
        client = book.client()
        client.send(b"PUT / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n1\r\na\r\n0\r\nX-Sum: 1\r\n\r\n")
        assert stale.request().trailers == [("x-sum", "1")]
        stale.close()
        assert client.response().status == 502


def test_an_idle_connection_that_was_closed_is_noticed_at_once(origin: Origin) -> None:
    with Playbook(service("app", origin), origins=(origin,)) as book:
        upstream = warm(book, origin)
        upstream.close()
        book.until(lambda: not book.upstreams(), "the connection given up")
        client = book.client()
        client.ask("POST")
        origin.accept().answer()
        assert client.response().status == 200
        assert book.cell("service/app", slots.REPLAYS) == 0


def test_a_post_does_not_meet_an_end_that_was_not_told_yet(origin: Origin) -> None:
    """The end and the request are in the same batch of events."""
    with Playbook(service("app", origin), origins=(origin,)) as book:
        upstream = warm(book, origin)
        client = book.client()
        # Nothing is served between these two.
        client.socket.sendall(b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\n\r\n")
        upstream.socket.close()
        origin.accept().answer()
        assert client.response().status == 200


# --- connecting ---------------------------------------------------------------------------------------------------


def test_a_refused_connection_leads_to_the_next_endpoint(make_origin: MakeOrigin) -> None:
    origin = make_origin()
    dead = [refusing_address() for _ in range(2)]
    with Playbook(service("app", *dead, origin), origins=(origin,)) as book:
        for _ in range(3):
            client = book.client()
            client.ask("POST", body=b"hello", headers={"Connection": "close"})
            upstream = next((each for each in origin.connections if not each.ended), None) or origin.accept()
            assert (
                upstream.answer(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\nConnection: close\r\n\r\n").body == b"hello"
            )
            assert client.response().status == 200
            upstream.is_ended_by_peer()
        assert book.codes() == {200: 3}
        failures = sum(
            book.cell(f"endpoint/app/{id_}/{address}", slots.CONNECT_FAILURES)
            for id_, address in zip("ab", dead, strict=True)
        )
        assert failures == book.cell("service/app", slots.REPLAYS) > 0


def test_every_endpoint_is_tried_once(tmp_path: Path) -> None:
    dead = [refusing_address() for _ in range(3)]
    log = tmp_path / "log"
    with Playbook(service("app", *dead), settings=logging_to(log), log=log) as book:
        client = book.client()
        client.send(GET)
        response = client.response()
        assert response.status == 502
        assert "ECONNREFUSED" in response.text
        for id_, address in zip("abc", dead, strict=True):
            assert book.cell(f"endpoint/app/{id_}/{address}", slots.CONNECT_FAILURES) == 1
        (entry,) = book.log_entries()
        assert (entry["attempts"], entry["flags"], entry["retry_denied"]) == (3, "UF", "no_endpoint_left")
        # The client's connection is good.
        client.send(GET)
        assert client.response().status == 502


def test_no_more_than_five_attempts(tmp_path: Path) -> None:
    dead = [refusing_address() for _ in range(8)]
    log = tmp_path / "log"
    with Playbook(service("app", *dead), settings=logging_to(log), log=log) as book:
        client = book.client()
        client.send(GET)
        assert client.response().status == 502
        (entry,) = book.log_entries()
        assert (entry["attempts"], entry["retry_denied"]) == (5, "attempts")


def test_an_error_known_at_once_is_a_failed_connection(tmp_path: Path, origin: Origin) -> None:
    """A unix socket that is not there fails in the call itself."""
    missing = f"unix:{tmp_path}/missing"
    with Playbook(service("app", missing), origins=(origin,)) as book:
        client = book.client()
        for _ in range(3):
            client.send(GET)
            assert client.response().status == 502
        row = f"endpoint/app/a/{missing}"
        assert book.cell(row, slots.CONNECT_FAILURES) == 3
        assert book.cell(row, slots.CONNECTIONS_ACTIVE) == 0
        # And leads to the next endpoint.
        book.apply((service("app", missing, origin),))
        for _ in range(2):
            client.send(GET)
            upstream = origin.connections[0] if origin.connections else origin.accept()
            upstream.answer()  # type: ignore[attr-defined]
            assert client.response().status == 200


def test_connecting_too_long_is_504() -> None:
    """A listener whose backlog is full takes no connection and refuses none."""
    with socket.socket() as full:
        full.bind(("127.0.0.1", 0))
        full.listen(0)
        address = full.getsockname()
        blockers = []
        for _ in range(4):
            blocker = socket.socket()
            blocker.setblocking(False)
            blocker.connect_ex(address)
            blockers.append(blocker)
        target = f"127.0.0.1:{address[1]}"
        with Playbook(service("app", target), settings=Settings(timeouts=Timeouts(connect=0.15))) as book:
            client = book.client()
            client.send(GET)
            response = client.response()
            assert response.status == 504
            assert "(UF)" in response.text
            assert book.cell(f"endpoint/app/a/{target}", slots.CONNECT_TIMEOUTS) == 1
        for blocker in blockers:
            blocker.close()


def test_a_service_without_endpoints_is_503(tmp_path: Path) -> None:
    log = tmp_path / "log"
    with Playbook(service("app"), settings=logging_to(log), log=log) as book:
        client = book.client()
        client.send(GET)
        assert client.response().status == 503
        assert book.log_entries()[0]["flags"] == "UH"


def test_endpoints_take_turns(make_origin: MakeOrigin) -> None:
    origins = tuple(make_origin() for _ in range(3))
    with Playbook(service("app", *origins), origins=origins) as book:
        client = book.client()
        upstreams: dict[int, Server] = {}
        for number in range(9):
            client.send(GET)
            if number < 3:
                book.until(
                    lambda: any(each.is_called() for each in origins if each.port not in upstreams), "a connection"
                )
                called = next(each for each in origins if each.port not in upstreams and each.is_called())
                upstreams[called.port] = called.accept()
            asked = [upstream for upstream in upstreams.values() if upstream.receive_available()]
            assert len(asked) == 1
            asked[0].answer()
            assert client.response().status == 200
        for id_, each in zip("abc", origins, strict=True):
            assert book.codes(f"endpoint/app/{id_}/{each.address}") == {200: 3}


def test_backups_and_weight_zero(make_origin: MakeOrigin) -> None:
    primary, backup, zero = make_origin(), make_origin(), make_origin()

    def endpoints(*, primary_address: str) -> tuple[Endpoint, ...]:
        return (
            Endpoint(id="p", address=primary_address),
            Endpoint(id="b", address=backup.address, backup=True),
            Endpoint(id="z", address=zero.address, weight=0),
        )

    origins = (primary, backup, zero)
    with Playbook(service("app", endpoints=endpoints(primary_address=primary.address)), origins=origins) as book:
        client = book.client()
        for _ in range(2):
            client.send(GET)
            (primary.connections[0] if primary.connections else primary.accept()).answer()  # type: ignore[attr-defined]
            assert client.response().status == 200
        book.apply((service("app", endpoints=endpoints(primary_address=refusing_address())),))
        client.send(GET)
        backup.accept().answer()
        assert client.response().status == 200
        assert not zero.has_connection_waiting()
