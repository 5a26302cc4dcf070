"""Limits of connections to an endpoint: who waits, in which order, for how long, and who is turned away."""

from __future__ import annotations

import time
from collections.abc import Callable

import pytest
from playbook import Client, Origin, Playbook, Server, service

from discovery.model import Endpoint, EndpointState, PoolPolicy, Settings, Timeouts
from proxy.stats import slots

MakeOrigin = Callable[[], Origin]


def limited(origin: Origin, connections: int = 1, pending: int = 1024, **given: object) -> Playbook:
    pool = PoolPolicy(max_connections=connections, max_pending=pending)
    return Playbook(service("app", origin, pool=pool, **given), origins=(origin,))


def ask(book: Playbook, name: str) -> Client:
    client = book.client()
    client.ask(target=f"/{name}")
    book.settle()
    return client


def pending(book: Playbook) -> int:
    return book.cell("service/app", slots.PENDING)


def answer(upstream: Server, name: str) -> None:
    assert upstream.answer().target == f"/{name}"


def test_requests_wait_and_are_served_in_order(origin: Origin) -> None:
    with limited(origin) as book:
        clients = {name: ask(book, name) for name in "abcde"}
        upstream = origin.accept()
        assert pending(book) == 4
        for left, name in zip((3, 2, 1, 0, 0), "abcde", strict=True):
            answer(upstream, name)
            assert clients[name].response().status == 200
            assert pending(book) == left
        assert not origin.has_connection_waiting()


def test_more_connections_are_opened_up_to_the_limit(origin: Origin) -> None:
    with limited(origin, connections=3) as book:
        clients = {name: ask(book, name) for name in "abcde"}
        upstreams = [origin.accept() for _ in range(3)]
        assert not origin.has_connection_waiting()
        assert pending(book) == 2
        for upstream, name in zip([*upstreams, *upstreams], "abcde", strict=False):
            answer(upstream, name)
            assert clients[name].response().status == 200


def test_a_full_queue_is_503(origin: Origin) -> None:
    with limited(origin, pending=2) as book:
        clients = {name: ask(book, name) for name in "abc"}
        refused = ask(book, "x")
        response = refused.response()
        assert response.status == 503
        assert "(UO)" in response.text
        assert response.header("x-envoy-overloaded") == "true"
        assert book.cell("service/app", slots.OVERFLOWS) == 1
        # Those who wait keep their places.
        upstream = origin.accept()
        for name in "abc":
            answer(upstream, name)
            assert clients[name].response().status == 200
        # And the one that was refused may ask again.
        refused.ask(target="/x")
        answer(upstream, "x")
        assert refused.response().status == 200


def test_other_ends_do_not_change_the_order(origin: Origin) -> None:
    """Requests that are refused or leave the queue end an exchange of the service too."""
    with limited(origin, pending=3) as book:
        clients = {name: ask(book, name) for name in "abcd"}
        for _ in range(3):
            assert ask(book, "x").response().status == 503
        clients.pop("c").close()
        book.until(lambda: pending(book) == 2, "one has left")
        upstream = origin.accept()
        for name in "abd":
            answer(upstream, name)
            assert clients[name].response().status == 200
        assert book.codes() == {200: 3, 499: 1, 503: 3}


def test_waiting_has_an_end(origin: Origin) -> None:
    pool = PoolPolicy(max_connections=1)
    settings = Settings(timeouts=Timeouts(connect=0.15))
    with Playbook(service("app", origin, pool=pool), origins=(origin,), settings=settings) as book:
        first = ask(book, "a")
        waiting = ask(book, "b")
        upstream = origin.accept()
        response = waiting.response()
        assert response.status == 503
        assert "(UO)" in response.text
        assert pending(book) == 0
        answer(upstream, "a")
        assert first.response().status == 200


def test_being_refused_does_not_prolong_the_waiting_of_others(origin: Origin) -> None:
    pool = PoolPolicy(max_connections=1, max_pending=1)
    settings = Settings(timeouts=Timeouts(connect=0.3))
    with Playbook(service("app", origin, pool=pool), origins=(origin,), settings=settings) as book:
        first = ask(book, "a")
        waiting = ask(book, "b")
        refused = book.client()
        start = time.monotonic()
        while not waiting.receive_available():
            assert time.monotonic() - start < 2.0, "it waits for ever"
            refused.ask(target="/x")
            assert refused.response().status == 503
        assert waiting.response().status == 503
        upstream = origin.accept()
        answer(upstream, "a")
        assert first.response().status == 200


def test_a_total_timeout_includes_waiting(origin: Origin) -> None:
    with limited(origin, timeout=2.0) as book:
        first = ask(book, "a")
        waiting = ask(book, "b")
        start = time.monotonic()
        upstream = origin.accept()
        upstream.request()
        book.until(lambda: time.monotonic() - start > 1.3, "time")
        upstream.send(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")
        assert first.response().status == 200
        assert upstream.head().target == "/b"
        assert waiting.response().status == 504
        # It would be 3.3 s if the clock had started with the connection.
        assert time.monotonic() - start < 3.0


def test_a_connection_that_ends_makes_room(origin: Origin) -> None:
    with limited(origin) as book:
        first, second = ask(book, "a"), ask(book, "b")
        upstream = origin.accept()
        upstream.answer(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")
        assert first.response().status == 200
        answer(origin.accept(), "b")
        assert second.response().status == 200


def test_a_client_that_leaves_makes_room(origin: Origin) -> None:
    with limited(origin) as book:
        first, second = ask(book, "a"), ask(book, "b")
        origin.accept()
        first.close()
        answer(origin.accept(), "b")
        assert second.response().status == 200


def test_a_failed_attempt_makes_room(origin: Origin) -> None:
    with limited(origin) as book:
        first, second = ask(book, "a"), ask(book, "b")
        upstream = origin.accept()
        upstream.head()
        upstream.close()
        assert first.response().status == 502
        answer(origin.accept(), "b")
        assert second.response().status == 200


def test_a_connection_that_could_not_be_made_takes_no_room(tmp_path: object) -> None:
    missing = f"unix:{tmp_path}/missing"
    pool = PoolPolicy(max_connections=1)
    with Playbook(service("app", missing, pool=pool)) as book:
        client = book.client()
        for _ in range(3):
            client.ask()
            assert client.response().status == 502


def test_a_request_that_may_not_use_the_idle_connection_gets_another(origin: Origin) -> None:
    """A connection that has idled for long is not trusted with a POST, and at the limit it must not bar its way."""
    with limited(origin) as book:
        client = book.client()
        client.ask(target="/a")
        upstream = origin.accept()
        answer(upstream, "a")
        assert client.response().status == 200
        start = time.monotonic()
        book.until(lambda: time.monotonic() - start > 1.05, "a second")
        client.ask("POST", target="/b", body=b"hello")
        answer(origin.accept(), "b")
        assert client.response().status == 200
        assert book.cell("service/app", slots.PENDING) == 0


def test_all_who_wait_are_answered_when_no_endpoint_is_left(origin: Origin) -> None:
    """However many they are."""
    with limited(origin) as book:
        first = ask(book, "a")
        upstream = origin.accept()
        waiting = [ask(book, f"{number}") for number in range(150)]
        assert pending(book) == 150
        down = Endpoint(id="a", address=origin.address, state=EndpointState.UNHEALTHY)
        book.apply((service("app", endpoints=(down,), pool=PoolPolicy(max_connections=1)),))
        answer(upstream, "a")
        assert first.response().status == 200
        for client in waiting:
            assert client.response().status == 503
        assert book.codes() == {200: 1, 503: 150}


@pytest.mark.parametrize("busy", [0, 1])
def test_an_endpoint_with_room_is_used_before_anybody_waits(make_origin: MakeOrigin, busy: int) -> None:
    origins = (make_origin(), make_origin())
    pool = PoolPolicy(max_connections=1)
    with Playbook(service("app", *origins, pool=pool), origins=origins) as book:
        clients = [ask(book, "a"), ask(book, "b")]
        upstreams = [each.accept() for each in origins]
        # One becomes free; whoever's turn it is, that one takes the next two requests.
        free = upstreams[busy]
        free.answer()
        done = next(client for client in clients if client.receive_available())
        assert done.response().status == 200
        for _ in range(3):
            done.ask(target="/again")
            assert pending(book) == 0
            assert free.answer().target == "/again"
            assert done.response().status == 200
        upstreams[1 - busy].answer()
        assert next(client for client in clients if client is not done).response().status == 200


# --- a limit that all workers share -------------------------------------------------------------------------------


class TwoWorkers(Playbook):
    """The data plane is the first; the test counts for the second."""

    workers = 2


def test_idle_connections_are_closed_for_those_who_wait_in_another_worker(origin: Origin) -> None:
    with TwoWorkers(service("app", origin, pool=PoolPolicy(max_total=3)), origins=(origin,)) as book:
        clients = [ask(book, name) for name in "abc"]
        for client in clients:
            upstream = origin.accept()
            upstream.answer()
            assert client.response().status == 200
        oldest, *kept = sorted(book.upstreams(), key=lambda stream: stream.idle_since)
        other = book.table.slot(1, book.numbers["service/app"])
        other.add(slots.PENDING, 1)
        book.until(lambda: oldest.fd < 0, "an idle connection is closed")
        other.add(slots.CONNECTIONS_ACTIVE, 1)
        other.add(slots.PENDING, -1)
        book.settle()
        assert set(book.upstreams()) == set(kept)
        other.add(slots.CONNECTIONS_ACTIVE, -1)


def test_idle_connections_stay_while_there_is_room_for_those_who_wait(origin: Origin) -> None:
    with TwoWorkers(service("app", origin, pool=PoolPolicy(max_total=2)), origins=(origin,)) as book:
        client = ask(book, "a")
        answer(origin.accept(), "a")
        assert client.response().status == 200
        other = book.table.slot(1, book.numbers["service/app"])
        other.add(slots.PENDING, 1)
        book.plane.tick()
        assert len(book.upstreams()) == 1
        other.add(slots.PENDING, -1)
