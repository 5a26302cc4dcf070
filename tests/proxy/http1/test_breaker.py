"""What requests see of circuit breakers: what counts as an error, what is answered when it is open, who waits."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from breakers import end_ejection, endpoint, state, trip
from playbook import Client, Origin, Playbook, Server, service

from discovery.model import Endpoint, EndpointState, PoolPolicy, Route, Settings, Timeouts, TrafficSplit
from discovery.policies import CircuitBreaker
from mesh.breaker import CLOSED, HALF_OPEN, OPEN
from proxy.stats import words

MakeOrigin = Callable[[], Origin]
TWO = CircuitBreaker(consecutive_errors=2)
UNAVAILABLE = b"HTTP/1.1 503 Service Unavailable\r\nContent-Length: 0\r\n\r\n"


def ask(book: Playbook) -> Client:
    client = book.client()
    client.ask()
    book.settle()
    return client


def status(book: Playbook, origin: Origin | None = None, answer: bytes | None = None) -> tuple[int, str]:
    client = ask(book)
    if origin is not None:
        upstream = origin.accept()
        upstream.request()
        if answer is not None:
            upstream.send(answer)
        upstream.close()
    response = client.response()
    client.close()
    return response.status, response.text


@pytest.mark.parametrize("code", [502, 503, 504])
def test_gateway_errors_open_the_breaker_and_then_it_is_503_uo_at_once(origin: Origin, code: int) -> None:
    with Playbook(service("app", origin, circuit_breaker=TWO), origins=(origin,)) as book:
        error = b"HTTP/1.1 %d x\r\nContent-Length: 0\r\n\r\n" % code
        for _ in range(2):
            assert status(book, origin, error)[0] == code
        client = ask(book)
        response = client.response()
        assert response.status == 503
        assert "(UO)" in response.text
        assert "breaker" in response.text
        assert response.header("x-envoy-overloaded") == "true"
        assert not origin.has_connection_waiting()


@pytest.mark.parametrize(("count_500", "opens"), [(False, False), (True, True)])
def test_500_counts_where_it_is_said(origin: Origin, count_500: bool, opens: bool) -> None:
    policy = CircuitBreaker(consecutive_errors=2, count_500=count_500)
    with Playbook(service("app", origin, circuit_breaker=policy), origins=(origin,)) as book:
        for _ in range(2):
            status(book, origin, b"HTTP/1.1 500 x\r\nContent-Length: 0\r\n\r\n")
        assert (state(book) == OPEN) is opens


@pytest.mark.parametrize("code", [200, 404, 429, 501])
def test_other_answers_are_none(origin: Origin, code: int) -> None:
    with Playbook(service("app", origin, circuit_breaker=TWO), origins=(origin,)) as book:
        for _ in range(3):
            status(book, origin, b"HTTP/1.1 %d x\r\nContent-Length: 0\r\n\r\n" % code)
        assert endpoint(book).shared.load(words.BREAKER_WORD) == 0


def test_closing_without_an_answer_is_an_error(origin: Origin) -> None:
    with Playbook(service("app", origin, circuit_breaker=TWO), origins=(origin,)) as book:
        for _ in range(2):
            assert status(book, origin)[0] == 502
        assert state(book) == OPEN


@pytest.mark.parametrize(
    "answer",
    [
        b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhalf",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nx\r\n",
    ],
)
def test_an_answer_that_breaks_off_is_an_error_although_its_head_was_good(origin: Origin, answer: bytes) -> None:
    with Playbook(service("app", origin, circuit_breaker=TWO), origins=(origin,)) as book:
        for _ in range(2):
            ask(book)
            upstream = origin.accept()
            upstream.request()
            upstream.send(answer)
            upstream.close()
            book.until(lambda: not book.upstreams(), "the end")
        assert state(book) == OPEN


def test_a_client_that_leaves_says_nothing_of_the_endpoint(origin: Origin) -> None:
    with Playbook(service("app", origin, circuit_breaker=TWO), origins=(origin,)) as book:
        for _ in range(3):
            client = ask(book)
            origin.accept().request()
            client.close()
            book.until(lambda: not book.upstreams(), "the end")
        assert endpoint(book).shared.load(words.BREAKER_WORD) == 0


def test_silence_is_an_error_of_the_endpoint_and_a_slow_body_of_the_client_is_not(origin: Origin) -> None:
    settings = Settings(timeouts=Timeouts(response_header=0.05, stream_idle=0.05))
    with Playbook(service("app", origin, circuit_breaker=TWO), origins=(origin,), settings=settings) as book:
        assert status_of(ask(book)) == 504
        slow = book.client()
        slow.send(b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 9\r\n\r\nhalf")
        assert status_of(slow) == 408
        assert state(book) == CLOSED
        assert status_of(ask(book)) == 504
        assert state(book) == OPEN


def test_a_request_whose_whole_time_ends_at_its_endpoint_is_an_error(origin: Origin) -> None:
    app = service("app", origin, circuit_breaker=TWO, timeout=0.05)
    with Playbook(app, origins=(origin,)) as book:
        for _ in range(2):
            assert status_of(ask(book)) == 504
        assert state(book) == OPEN


def status_of(client: Client) -> int:
    found = client.response().status
    client.close()
    return found


def test_requests_go_to_the_other_endpoint_while_one_is_ejected(make_origin: MakeOrigin) -> None:
    a, b = make_origin(), make_origin()
    with Playbook(service("app", a, b, circuit_breaker=TWO), origins=(a, b)) as book:
        trip(book)
        for _ in range(4):
            assert status(book, b, b"HTTP/1.1 204 x\r\n\r\n")[0] == 204
        assert not a.has_connection_waiting()


def test_nothing_healthy_is_503_uh_and_one_healthy_but_ejected_503_uo(make_origin: MakeOrigin) -> None:
    a, b = make_origin(), make_origin()
    down = Endpoint(id="b", address=b.address, state=EndpointState.UNHEALTHY)
    up = Endpoint(id="a", address=a.address)
    with Playbook(service("app", endpoints=(up, down), circuit_breaker=TWO)) as book:
        trip(book)
        assert "(UO)" in status(book)[1]
        ill = Endpoint(id="a", address=a.address, state=EndpointState.UNHEALTHY)
        book.apply((service("app", endpoints=(ill, down), circuit_breaker=TWO),))
        assert "(UH)" in status(book)[1]


def test_the_word_outlives_a_change_of_the_configuration(origin: Origin) -> None:
    with Playbook(service("app", origin, circuit_breaker=TWO), origins=(origin,)) as book:
        trip(book)
        book.apply((service("app", origin, circuit_breaker=TWO, timeout=5.0),))
        assert "(UO)" in status(book)[1]


def test_half_open_requests_are_real_ones_and_close_it(origin: Origin) -> None:
    policy = CircuitBreaker(consecutive_errors=2, half_open_requests=2)
    with Playbook(service("app", origin, circuit_breaker=policy), origins=(origin,)) as book:
        trip(book)
        end_ejection(book)
        first, second, third = ask(book), ask(book), ask(book)
        assert third.response().status == 503
        servers = [origin.accept(), origin.accept()]
        assert not origin.has_connection_waiting()
        for server, client in zip(servers, (first, second), strict=True):
            server.answer()
            assert client.response().status == 200
        assert state(book) == CLOSED
        assert [name for name, _ in book.events] == ["endpoint ejected", "endpoint half-open", "endpoint recovered"]


def test_a_probe_whose_client_leaves_gives_its_place_back(origin: Origin) -> None:
    policy = CircuitBreaker(consecutive_errors=2, half_open_requests=1)
    with Playbook(service("app", origin, circuit_breaker=policy), origins=(origin,)) as book:
        trip(book)
        end_ejection(book)
        for _ in range(3):
            client = ask(book)
            origin.accept().request()
            client.close()
            book.until(lambda: not book.upstreams(), "the end")
        assert state(book) == HALF_OPEN
        client = ask(book)
        origin.accept().answer()
        assert client.response().status == 200
        assert state(book) == CLOSED


def test_a_probe_that_gets_no_connection_gives_its_place_back(origin: Origin) -> None:
    """The endpoint is full: the request waits, and is no probe meanwhile."""
    policy = CircuitBreaker(consecutive_errors=2, half_open_requests=2)
    app = service("app", origin, circuit_breaker=policy, pool=PoolPolicy(max_connections=1))
    with Playbook(app, origins=(origin,)) as book:
        first = ask(book)
        server = origin.accept()
        trip(book)
        end_ejection(book)
        second = ask(book)
        assert not second.receive_available()
        server.answer()
        assert first.response().status == 200
        server.answer()
        assert second.response().status == 200
        third = ask(book)
        server.answer()
        assert third.response().status == 200
        assert state(book) == CLOSED


def test_who_waits_for_an_endpoint_that_is_ejected_waits_no_longer(origin: Origin) -> None:
    app = service("app", origin, circuit_breaker=TWO, pool=PoolPolicy(max_connections=1))
    with Playbook(app, origins=(origin,)) as book:
        busy = ask(book)
        server = origin.accept()
        waiting = ask(book)
        assert not waiting.receive_available()
        trip(book)
        assert waiting.response().status == 503
        server.answer()
        assert busy.response().status == 200


def test_who_waits_gets_an_endpoint_when_its_ejection_is_over(make_origin: MakeOrigin) -> None:
    a, b = make_origin(), make_origin()
    app = service("app", a, b, circuit_breaker=TWO, pool=PoolPolicy(max_connections=1))
    with Playbook(app, origins=(a, b)) as book:
        trip(book)
        ask(book)
        b.accept()
        waiting = ask(book)
        assert not waiting.receive_available()
        end_ejection(book)
        a.accept().answer()
        assert waiting.response().status == 200


def test_a_share_of_a_split_that_is_ejected_is_not_drawn(make_origin: MakeOrigin) -> None:
    a, b = make_origin(), make_origin()
    endpoints = (
        Endpoint(id="a", address=a.address, version="v1"),
        Endpoint(id="b", address=b.address, version="v2"),
    )
    shares = (TrafficSplit(version="v1", weight=99), TrafficSplit(version="v2", weight=1))
    app = service("app", endpoints=endpoints, circuit_breaker=TWO)
    with Playbook(app, origins=(a, b), routes=(Route(name="all", service="app", split=shares),)) as book:
        trip(book)
        for _ in range(3):
            assert status(book, b, b"HTTP/1.1 204 x\r\n\r\n")[0] == 204


def test_a_failed_connect_is_an_error_and_goes_to_the_next_endpoint_first(origin: Origin) -> None:
    gone = Origin()
    address = gone.address
    gone.close()
    server: Server | None = None
    with Playbook(service("app", address, origin, circuit_breaker=TWO), origins=(origin,)) as book:
        for _ in range(6):
            client = ask(book)
            server = origin.accept() if server is None else server
            server.answer()
            assert client.response().status == 200
        assert state(book, "a") == OPEN
        assert book.cell(f"endpoint/app/a/{address}", 5) == 2
